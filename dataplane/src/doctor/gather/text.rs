//! Small texts of `/proc` and `/sys`: read, and taken apart (the latter pure).

use std::{fs, io, path::Path, str::FromStr};

use crate::doctor::facts::{Fact, Gap};

/// Reads a file; `None` where there is none.
pub(super) fn file(path: impl AsRef<Path>) -> Fact<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Gap::of(&error)),
    }
}

/// Reads a file that should be there.
pub(super) fn must(path: &str) -> Fact<String> {
    file(path)?.ok_or_else(|| Gap::Failed(format!("there is no {path}")))
}

/// Reads a file with a value; `None` where there is no file.
pub(super) fn value<T: FromStr>(path: &str) -> Fact<Option<T>> {
    file(path)?
        .map(|text| text.parse().map_err(|_| Gap::Failed(format!("{path} holds {text:?}"))))
        .transpose()
}

/// Reads ranges such as `0-3,8`; what is none is left out.
pub(crate) fn ranges<T: FromStr + Copy>(text: &str) -> Vec<(T, T)> {
    text.split(',')
        .filter_map(|part| {
            let (first, last) = part.trim().split_once('-').unwrap_or((part, part));
            Some((first.trim().parse().ok()?, last.trim().parse().ok()?))
        })
        .collect()
}

/// Reads a line `NAME VALUE …` of a file such as `/proc/PID/status`.
pub(super) fn line<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_lines_are_read() {
        assert_eq!(ranges::<u16>("0-3,8, 61000-65535"), [(0, 3), (8, 8), (61_000, 65_535)]);
        assert_eq!(ranges::<u16>(""), []);
        assert_eq!(ranges::<u16>("x,1-,70000,5"), [(5, 5)]);
        let status = "Name:\tmarchproxy\nCapEff:\t000001ffffffffff\n";
        assert_eq!(line(status, "CapEff:"), Some("000001ffffffffff"));
        assert_eq!(line(status, "CapBnd:"), None);
    }

    #[test]
    fn a_file_that_is_not_there_is_told_from_one_that_is_wrong() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f").to_str().unwrap().to_owned();
        assert_eq!(value::<u32>(&path), Ok(None));
        assert!(matches!(must(&path), Err(Gap::Failed(words)) if words.contains(&path)));
        fs::write(&path, "7\n").unwrap();
        assert_eq!(value::<u32>(&path), Ok(Some(7)));
        fs::write(&path, "seven").unwrap();
        assert!(matches!(value::<u32>(&path), Err(Gap::Failed(words)) if words.contains("seven")));
    }
}
