//! House rules that no lint knows: each file says what it is, and none is called by what says
//! nothing.

use std::fs;

use anyhow::{Result, ensure};

use crate::workspace::{read, root};

const NAMELESS: [&str; 6] = ["mod", "utils", "util", "helpers", "misc", "manager"];
/// Past this, the question is which second thing lives in the file. It is asked, not forbidden.
const LINES_ASK: usize = 400;

/// Checks the tracked sources.
///
/// # Errors
/// All violations.
pub(crate) fn check() -> Result<()> {
    let list =
        read(std::process::Command::new("git").args(["ls-files", "*.rs"]).current_dir(root()))?;
    let mut found = Vec::new();
    for path in list.lines() {
        // Deleted in the work tree, but not yet in the index.
        let Ok(text) = fs::read_to_string(root().join(path)) else { continue };
        found.extend(violations(path, &text));
        let lines = text.lines().count();
        if lines > LINES_ASK {
            eprintln!("      {path} has {lines} lines: which second thing lives there?");
        }
    }
    ensure!(found.is_empty(), "\n  {}", found.join("\n  "));
    Ok(())
}

fn violations(path: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    if !text.starts_with("//!") {
        found.push(format!("{path} does not begin with //!"));
    }
    let stem = path.rsplit('/').next().unwrap_or(path).trim_end_matches(".rs");
    if NAMELESS.contains(&stem) {
        found.push(format!("{path}: the name says nothing"));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_without_a_purpose_or_a_name_are_found() {
        assert_eq!(violations("a/b.rs", "//! What.\n"), Vec::<String>::new());
        assert_eq!(violations("a/utils.rs", "use x;").len(), 2);
        assert_eq!(violations("a/mod.rs", "//! x").len(), 1);
    }
}
