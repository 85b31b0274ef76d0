//! Counts in the JUnit report that nextest writes. Only the attributes of the root element are
//! read, so no XML parser is needed.

use anyhow::{Context, Result};

/// How many tests ran, and how many of them failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Passed, after a retry at the latest.
    pub(crate) passed: u64,
    /// Failed, timed out or crashed.
    pub(crate) failed: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

/// Reads the counts of `<testsuites tests= failures= errors=>`.
///
/// # Errors
/// When the text is no such report.
pub(crate) fn counts(report: &str) -> Result<Counts> {
    let (_, rest) = report.split_once("<testsuites ").context("no <testsuites> in the report")?;
    let (root, _) = rest.split_once('>').context("the report is cut")?;
    let attribute = |name: &str| -> Result<u64> {
        let marker = format!("{name}=\"");
        let (_, rest) =
            root.split_once(&marker).with_context(|| format!("no {name} in the report"))?;
        let (value, _) = rest.split_once('"').context("the report is cut")?;
        value.parse().with_context(|| format!("{name}={value:?} in the report"))
    };
    let failed = attribute("failures")? + attribute("errors")?;
    Ok(Counts { passed: attribute("tests")?.saturating_sub(failed), failed })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_element_is_counted() {
        let report = r#"<?xml version="1.0"?>
<testsuites name="nextest-run" tests="7" failures="1" errors="2" uuid="x" time="1.0">
    <testsuite name="a" tests="7" disabled="0" errors="2" failures="1">"#;
        assert_eq!(counts(report).unwrap(), Counts { passed: 4, failed: 3 });
    }

    #[test]
    fn a_foreign_or_cut_report_is_an_error() {
        for report in ["", "<testsuites tests=\"1\"", "<testsuites name=\"x\">"] {
            assert!(counts(report).is_err(), "{report}");
        }
    }
}
