//! Counts and failed tests in the JUnit report that nextest writes. Only attributes and the names of
//! elements are read, and what tests print is escaped there, so no XML parser is needed.

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

/// Lists the tests that failed: `binary test`.
pub(crate) fn failed(report: &str) -> Vec<String> {
    with_element(report, &["<failure", "<error"])
}

/// Lists the tests that passed after a retry: `binary test`.
pub(crate) fn flaky(report: &str) -> Vec<String> {
    with_element(report, &["<flakyFailure", "<flakyError"])
}

fn with_element(report: &str, elements: &[&str]) -> Vec<String> {
    let attribute = |case: &str, name: &str| {
        let (_, rest) = case.split_once(&format!("{name}=\""))?;
        rest.split_once('"').map(|(value, _)| value.to_owned())
    };
    report
        .split("<testcase ")
        .skip(1)
        .filter(|case| elements.iter().any(|element| case.contains(element)))
        .map(|case| {
            // Behind the split, `name` comes first and `classname` is no match for it.
            let name = attribute(case, "name");
            [attribute(case, "classname"), name].into_iter().flatten().collect::<Vec<_>>().join(" ")
        })
        .collect()
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
    fn failed_and_flaky_tests_are_named() {
        let report = r#"<testsuites tests="3" failures="1" errors="1">
<testsuite name="a">
  <testcase name="fine" classname="a::b"><system-out>&lt;failure</system-out></testcase>
  <testcase name="m::wrong" classname="a::b" time="1"><failure type="x">no</failure></testcase>
  <testcase name="m::gone" classname="a"><error type="y"/></testcase>
  <testcase name="m::late" classname="a"><flakyFailure type="z">once</flakyFailure></testcase>
</testsuite></testsuites>"#;
        assert_eq!(failed(report), ["a::b m::wrong", "a m::gone"]);
        assert_eq!(flaky(report), ["a m::late"]);
    }

    #[test]
    fn a_foreign_or_cut_report_is_an_error() {
        for report in ["", "<testsuites tests=\"1\"", "<testsuites name=\"x\">"] {
            assert!(counts(report).is_err(), "{report}");
        }
    }
}
