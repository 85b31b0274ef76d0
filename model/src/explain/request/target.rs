//! Paths and queries as rules see them.

/// Brings a path into the form that rules match: `.` and `..` segments are resolved, and what needs
/// no percent-encoding has none (RFC 3986, section 6.2.2). Empty segments stay. `None` for a path
/// that no rule is asked about.
pub(super) fn normalized(path: &str) -> Option<String> {
    let decoded = decode_unreserved(path)?;
    let mut segments: Vec<&str> = Vec::new();
    let mut given = decoded[1..].split('/').peekable();
    while let Some(segment) = given.next() {
        let is_last = given.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    segments.pop();
                }
                if is_last {
                    segments.push("");
                }
            }
            plain => segments.push(plain),
        }
    }
    Some(format!("/{}", segments.join("/")))
}

fn decode_unreserved(path: &str) -> Option<String> {
    let mut decoded = String::with_capacity(path.len());
    let mut parts = path.split('%');
    decoded.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        let byte = u8::from_str_radix(digits, 16).ok()?;
        if byte == 0 {
            return None;
        }
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            decoded.push(char::from(byte));
        } else {
            decoded.push('%');
            decoded.push_str(digits);
        }
        decoded.push_str(rest);
    }
    Some(decoded)
}

/// Returns the first value of a query parameter, as it is written; empty for one without `=`.
pub(super) fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).find_map(|(key, value)| {
        (key == name).then_some(value) //
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_brought_into_one_form() {
        let check = |path: &str, expected: &str| {
            assert_eq!(normalized(path).as_deref(), Some(expected), "{path}");
        };
        check("/", "/");
        check("/a/./b", "/a/b");
        check("/a/.", "/a/");
        check("/a/..", "/");
        check("/a/../../b", "/b");
        check("/a//../b", "/a/b");
        check("/a//b/", "/a//b/");
        check("/%61/%2e%2E/b", "/b");
        check("/a%2fb%7E", "/a%2fb~");
        assert_eq!(normalized("/a%00"), None);
    }

    #[test]
    fn the_first_of_several_parameters_counts() {
        assert_eq!(parameter("a=1&b=2&a=3", "a"), Some("1"));
        assert_eq!(parameter("a&b=", "a"), Some(""));
        assert_eq!(parameter("a=1=2", "a"), Some("1=2"));
        assert_eq!(parameter("", "a"), None);
        assert_eq!(parameter("b=a", "a"), None);
    }
}
