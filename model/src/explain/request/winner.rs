//! Which of several matches wins: the order of precedence as docs/configuration.md has it.

use std::cmp::Ordering;

use super::routes::Found;
use crate::route::PathMatch;

/// Picks the match that goes before all others; each of the others comes with the reason.
pub(super) fn of(matching: Vec<Found<'_>>) -> Option<(Found<'_>, Vec<(Found<'_>, String)>)> {
    let mut rest = matching.into_iter();
    let mut best = rest.next()?;
    let mut beaten = Vec::new();
    for next in rest {
        if contest(&next, &best).0 == Ordering::Less {
            beaten.push(std::mem::replace(&mut best, next));
        } else {
            beaten.push(next);
        }
    }
    let others = beaten.into_iter().map(|other| {
        let (_, reason) = contest(&best, &other);
        (other, reason.to_owned())
    });
    Some((best, others.collect()))
}

/// Compares two matches, criterion by criterion: `Less` when the first one goes before the second;
/// and says what speaks for the one that does.
fn contest(one: &Found<'_>, other: &Found<'_>) -> (Ordering, &'static str) {
    let (a, b) = (one.matched, other.matched);
    let criteria = [
        (class(&a.path).cmp(&class(&b.path)), reason_of_class(&a.path, &b.path)),
        (prefix(&b.path).cmp(&prefix(&a.path)), "the longer prefix goes first"),
        (b.method.is_some().cmp(&a.method.is_some()), "one with a method goes first"),
        (b.headers.len().cmp(&a.headers.len()), "more headers go first"),
        (b.query.len().cmp(&a.query.len()), "more parameters go first"),
        (one.route.namespace.cmp(&other.route.namespace), "the first namespace goes first"),
        (one.route.name.cmp(&other.route.name), "the first name of a route goes first"),
        (one.rule_index.cmp(&other.rule_index), "the first rule goes first"),
        (one.match_index.cmp(&other.match_index), "the first match goes first"),
    ];
    let decides = criteria.into_iter().find(|(order, _)| order.is_ne());
    decides.unwrap_or((Ordering::Equal, "they are the same"))
}

/// Exact paths, prefixes, expressions, and the prefix that takes everything, in this order.
fn class(path: &PathMatch) -> u8 {
    match path {
        PathMatch::Exact(_) => 0,
        PathMatch::Prefix(prefix) if prefix != "/" => 1,
        PathMatch::Regex(_) => 2,
        PathMatch::Prefix(_) => 3,
    }
}

fn reason_of_class(one: &PathMatch, other: &PathMatch) -> &'static str {
    match class(one).min(class(other)) {
        0 => "an exact path goes first",
        1 => "a prefix goes before an expression and before /",
        _ => "an expression goes before the prefix /",
    }
}

/// How many bytes a prefix has.
fn prefix(path: &PathMatch) -> usize {
    match path {
        PathMatch::Prefix(prefix) => prefix.len(),
        PathMatch::Exact(_) | PathMatch::Regex(_) => 0,
    }
}
