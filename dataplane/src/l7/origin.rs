//! Where a resource's parts came from, so that Envoy's refusal names an object and a field.

use model::ObjectKey;

/// A part of a resource that Envoy might refuse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The object.
    pub object: ObjectKey,
    /// The field, such as `spec.rules[0].matches[1].path.regex`.
    pub field: String,
    /// The text that stands in the resource, as Envoy would quote it.
    pub text: String,
    /// Which route of the resource's table it is in, when it is in one.
    pub route: Option<usize>,
}

/// Shorter quotes than this are in every message by chance.
const SHORTEST_QUOTE: usize = 3;

/// Finds the part that a refusal speaks of.
///
/// Envoy quotes whole texts (`Invalid path: /etc/x`), fragments (RE2: `invalid repetition size:
/// {1001}`) or positions (`...Routes[3]...`). A whole text counts most, then a position, then the
/// longest fragment; among equals the first.
#[must_use]
pub fn find<'a>(origins: &'a [Origin], message: &str) -> Option<&'a Origin> {
    let whole = origins
        .iter()
        .filter(|origin| origin.text.len() >= SHORTEST_QUOTE && message.contains(&origin.text))
        .max_by_key(|origin| origin.text.len());
    if whole.is_some() {
        return whole;
    }
    let route = quoted_route(message);
    let fragments = fragments(message);
    origins
        .iter()
        .rev()
        .filter_map(|origin| {
            let fragment = fragments
                .iter()
                .filter(|fragment| origin.text.contains(**fragment))
                .map(|fragment| fragment.len())
                .max()
                .unwrap_or(0);
            let position = route.is_some() && origin.route == route;
            (position || fragment > 0).then_some((position, fragment, origin))
        })
        .max_by_key(|(position, fragment, _)| (*position, *fragment))
        .map(|(_, _, origin)| origin)
}

/// Reads the position of a protobuf validation error.
fn quoted_route(message: &str) -> Option<usize> {
    let rest = &message[message.find("Routes[")? + "Routes[".len()..];
    rest[..rest.find(']')?].parse().ok()
}

/// Lists what a message may quote: what follows a colon, stands between quotes, or between blanks.
fn fragments(message: &str) -> Vec<&str> {
    message
        .split([' ', '\'', '"', ',', '\n'])
        .map(|part| part.trim_end_matches(['.', ':', ';']))
        .filter(|part| part.len() >= SHORTEST_QUOTE && !part.chars().all(char::is_alphabetic))
        .collect()
}

#[cfg(test)]
mod tests {
    use model::Kind;

    use super::*;

    fn origin(field: &str, text: &str, route: usize) -> Origin {
        Origin {
            object: ObjectKey::new(Kind::HttpRoute, "default", "r"),
            field: field.into(),
            text: text.into(),
            route: Some(route),
        }
    }

    #[test]
    fn a_refusal_names_the_field_that_it_quotes() {
        let origins = [
            origin("a", "/plain", 0),
            origin("b", "x{1001}y", 1),
            origin("c", "(?i)other", 2),
            origin("d", "/plain/longer", 3),
        ];
        let check = |message: &str, field: Option<&str>| {
            let found = find(&origins, message).map(|origin| origin.field.as_str());
            assert_eq!(found, field, "{message}");
        };
        check("Error: invalid repetition size: {1001}", Some("b"));
        check("bad regex 'x{1001}y': invalid", Some("b"));
        check("Invalid path: /plain/longer", Some("d"));
        check("VirtualHosts[0]: caused by Routes[2]: value length must be", Some("c"));
        check("out of memory", None);
    }
}
