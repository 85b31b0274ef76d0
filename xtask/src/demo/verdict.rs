//! What was measured, and whether it is what was promised.

use std::fmt::Display;

/// Measurements in the order in which they were made.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    lines: Vec<(bool, String)>,
}

impl Verdict {
    /// Notes a measurement that has no bar.
    pub(super) fn note(&mut self, what: impl Display) {
        self.lines.push((true, what.to_string()));
    }

    /// Notes a measurement and whether its bar held.
    pub(super) fn bar(&mut self, held: bool, what: impl Display) {
        if !held {
            eprintln!("  NO  {what}");
        }
        self.lines.push((held, what.to_string()));
    }

    /// Whether every bar held.
    pub(super) fn held(&self) -> bool {
        self.lines.iter().all(|(held, _)| *held)
    }

    /// Prints all of it.
    pub(super) fn print(&self) {
        println!("\nmeasured:");
        for (held, line) in &self.lines {
            println!("  {} {line}", if *held { "  " } else { "NO" });
        }
        let short = self.lines.iter().filter(|(held, _)| !held).count();
        match short {
            0 => println!("all of it held"),
            count => println!("{count} fell short"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_missed_bar_is_a_failure() {
        let mut verdict = Verdict::default();
        verdict.note("a figure");
        verdict.bar(true, "held");
        assert!(verdict.held());
        verdict.bar(false, "missed");
        assert!(!verdict.held());
    }
}
