//! Path rewrites, by the rules of the Gateway API: a prefix is replaced by whole segments, and
//! there is always exactly one slash where the replacement meets the rest.

use model::route::PathMatch;

use super::pb::{self, matcher, route};

/// Sets how a forwarded request's path is rewritten.
pub(super) fn path(action: &mut route::RouteAction, matched: &PathMatch, replacement: &str) {
    match rewrite(matched, replacement) {
        PathRewrite::Prefix(prefix) => action.prefix_rewrite = prefix,
        PathRewrite::Regex { pattern, substitution } => {
            action.regex_rewrite = Some(regex(&pattern, &substitution));
        }
    }
}

/// Says how the path of a redirect is made of that of the request.
pub(super) fn redirected(
    matched: &PathMatch,
    replacement: &str,
) -> route::redirect_action::PathRewriteSpecifier {
    use route::redirect_action::PathRewriteSpecifier;
    match rewrite(matched, replacement) {
        PathRewrite::Prefix(prefix) => PathRewriteSpecifier::PrefixRewrite(prefix),
        PathRewrite::Regex { pattern, substitution } => {
            PathRewriteSpecifier::RegexRewrite(regex(&pattern, &substitution))
        }
    }
}

/// Replaces what a pattern matches.
pub(super) fn regex(pattern: &str, substitution: &str) -> matcher::RegexMatchAndSubstitute {
    matcher::RegexMatchAndSubstitute {
        pattern: Some(pb::regex(pattern)),
        substitution: substitution.to_owned(),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum PathRewrite {
    /// Envoy's own: replaces what matched.
    Prefix(String),
    /// Replaces what the pattern matches.
    Regex { pattern: String, substitution: String },
}

fn rewrite(matched: &PathMatch, replacement: &str) -> PathRewrite {
    let substitution = |text: &str| text.replace('\\', r"\\");
    match matched {
        PathMatch::Exact(_) => PathRewrite::Prefix(replacement.to_owned()),
        PathMatch::Regex(_) => {
            PathRewrite::Regex { pattern: "^.*$".into(), substitution: substitution(replacement) }
        }
        PathMatch::Prefix(prefix) => {
            let prefix = prefix.trim_end_matches('/');
            if prefix.is_empty() {
                let base = substitution(replacement.trim_end_matches('/'));
                PathRewrite::Regex { pattern: "^/".into(), substitution: base + "/" }
            } else if replacement.is_empty() || replacement.ends_with('/') {
                let base = substitution(replacement.trim_end_matches('/'));
                PathRewrite::Regex {
                    pattern: format!("^{}/?", escape(prefix)),
                    substitution: base + "/",
                }
            } else {
                PathRewrite::Prefix(replacement.to_owned())
            }
        }
    }
}

/// Escapes a text for RE2: every ASCII character that is not a letter or digit may be escaped.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_ascii() && !character.is_ascii_alphanumeric() {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rewrite_keeps_one_slash_where_parts_meet() {
        let check = |prefix: &str, replacement: &str, expected: PathRewrite| {
            assert_eq!(rewrite(&PathMatch::Prefix(prefix.into()), replacement), expected);
        };
        let regex = |pattern: &str, substitution: &str| PathRewrite::Regex {
            pattern: pattern.into(),
            substitution: substitution.into(),
        };
        check("/old", "/new", PathRewrite::Prefix("/new".into()));
        check("/old/", "/new", PathRewrite::Prefix("/new".into()));
        check("/old", "/", regex(r"^\/old/?", "/"));
        check("/a.b", "/new/", regex(r"^\/a\.b/?", "/new/"));
        check("/", "/base", regex("^/", "/base/"));
        check("/", r"/b\1", regex("^/", r"/b\\1/"));
    }
}
