//! Regular expressions, which Envoy runs by RE2. What the parser takes means the same to both.

use regex::{Captures, Regex};

use crate::parse::whole_match;

/// Tells whether an expression takes the whole of a text.
pub(super) fn takes_all(expression: &str, text: &str) -> bool {
    whole_match(expression).is_ok_and(|regex| regex.is_match(text))
}

/// Replaces each part of a text that an expression matches; `\1` to `\9` in the substitution are its
/// groups, `\0` is the whole match.
pub(super) fn replaced(expression: &str, text: &str, substitution: &str) -> String {
    let Ok(regex) = Regex::new(expression) else { return text.to_owned() };
    let fill = |captures: &Captures<'_>| {
        let mut filled = String::new();
        let mut characters = substitution.chars();
        while let Some(character) = characters.next() {
            if character != '\\' {
                filled.push(character);
                continue;
            }
            let group = characters.next().and_then(|digit| digit.to_digit(10)).unwrap_or(0);
            filled.push_str(captures.get(group as usize).map_or("", |group| group.as_str()));
        }
        filled
    };
    regex.replace_all(text, fill).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_put_in() {
        let check = |expression: &str, text: &str, substitution: &str, expected: &str| {
            assert_eq!(replaced(expression, text, substitution), expected, "{expression}");
        };
        check("/v([0-9]+)/(.*)", "/v2/cart", r"/\2/version/\1", "/cart/version/2");
        check("a", "/a/ba", "x", "/x/bx");
        check("(a)|b", "/ab", r"[\1]", "/[a][]");
        check("z", "/a", "x", "/a");
        assert!(takes_all("a|ab", "ab") && !takes_all("a", "ab"));
    }
}
