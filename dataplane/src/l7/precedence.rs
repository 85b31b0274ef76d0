//! Which of two matches of one host goes first, by the rules of the Gateway API.
//!
//! Exact path, then longer prefix, then regex; a method before none; more headers; more query
//! parameters; then the order of the routes' keys, of the rules, of the matches. Envoy takes the
//! first route that matches.

use std::cmp::Reverse;

use model::{
    ObjectKey,
    route::{HttpMatch, PathMatch},
};

/// The sorting key of a match: smaller goes first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    path: PathRank,
    without_method: bool,
    headers: Reverse<usize>,
    query: Reverse<usize>,
    route: ObjectKey,
    rule: usize,
    position: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum PathRank {
    Exact,
    Prefix(Reverse<usize>),
    Regex,
    /// The prefix `/` takes every request, so that a regex must stand before it to mean anything.
    Everything,
}

impl Rank {
    pub(super) fn of(m: &HttpMatch, route: &ObjectKey, rule: usize, position: usize) -> Self {
        Self {
            path: match &m.path {
                PathMatch::Exact(_) => PathRank::Exact,
                PathMatch::Prefix(prefix) => match prefix.trim_end_matches('/').len() {
                    0 => PathRank::Everything,
                    length => PathRank::Prefix(Reverse(length)),
                },
                PathMatch::Regex(_) => PathRank::Regex,
            },
            without_method: m.method.is_none(),
            headers: Reverse(m.headers.len()),
            query: Reverse(m.query.len()),
            route: route.clone(),
            rule,
            position,
        }
    }
}

#[cfg(test)]
mod tests {
    use model::{
        Kind,
        route::{NamedMatch, ValueMatch},
    };

    use super::*;

    fn case(path: PathMatch, method: bool, headers: usize, query: usize) -> HttpMatch {
        let named = |count| {
            vec![NamedMatch { name: "n".into(), value: ValueMatch::Exact("v".into()) }; count]
        };
        HttpMatch {
            path,
            method: method.then(|| "GET".to_owned()),
            headers: named(headers),
            query: named(query),
        }
    }

    #[test]
    fn more_specific_matches_go_first() {
        let prefix = |text: &str| PathMatch::Prefix(text.into());
        // From first to last.
        let cases = [
            case(PathMatch::Exact("/a".into()), true, 0, 0),
            case(PathMatch::Exact("/a".into()), false, 3, 3),
            case(prefix("/a/b"), false, 0, 0),
            case(prefix("/a"), true, 0, 0),
            case(prefix("/a"), false, 2, 0),
            case(prefix("/a"), false, 1, 9),
            case(prefix("/a"), false, 1, 1),
            case(prefix("/a"), false, 1, 0),
            case(PathMatch::Regex("/.*".into()), true, 9, 9),
            case(prefix("/"), true, 9, 9),
            case(prefix("/"), false, 0, 0),
        ];
        let key = ObjectKey::new(Kind::HttpRoute, "default", "r");
        for (i, a) in cases.iter().enumerate() {
            for (j, b) in cases.iter().enumerate() {
                let order = Rank::of(a, &key, 0, 0).cmp(&Rank::of(b, &key, 0, 0));
                assert_eq!(order, i.cmp(&j), "{a:?} against {b:?}");
            }
        }
    }

    #[test]
    fn ties_go_to_the_earlier_name_then_rule_then_match() {
        let m = case(PathMatch::Prefix("/".into()), false, 0, 0);
        let key = |name: &str| ObjectKey::new(Kind::HttpRoute, "default", name);
        let ranks = [
            Rank::of(&m, &key("a"), 1, 1),
            Rank::of(&m, &key("b"), 0, 0),
            Rank::of(&m, &key("b"), 0, 1),
            Rank::of(&m, &key("b"), 1, 0),
        ];
        assert!(ranks.is_sorted());
    }
}
