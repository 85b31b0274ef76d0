//! What the tests of the judgement share, and those of the whole.

use std::collections::BTreeSet;

use super::*;
use crate::doctor::facts::{self, Gap};

/// Spoils a sound host and looks at one finding: its level, a part of what was found, its remedy.
pub(super) fn check(
    spoil: impl FnOnce(&mut Facts),
    (check, subject): (Check, &str),
    level: Level,
    found: &str,
    remedy: Option<&str>,
) {
    let finding = finding(spoil, check, subject);
    let finding = finding.unwrap_or_else(|| panic!("no finding {check} of {subject}"));
    assert_eq!(finding.level, level, "{finding:?}");
    assert!(finding.found.contains(found), "{finding:?} lacks {found:?}");
    assert_eq!(finding.remedy.as_deref(), remedy, "{finding:?}");
}

/// Spoils a sound host and returns one finding.
pub(super) fn finding(
    spoil: impl FnOnce(&mut Facts),
    check: Check,
    subject: &str,
) -> Option<Finding> {
    let mut facts = facts::sound();
    spoil(&mut facts);
    let mut all = judge(&facts).into_iter();
    all.find(|finding| finding.check == check && finding.subject == subject)
}

/// A fact that only root may read.
pub(super) fn hidden<T>() -> facts::Fact<T> {
    Err(Gap::NeedsRoot)
}

/// What is told of a check that needs root.
pub(super) fn is_left_out(spoil: impl FnOnce(&mut Facts), of: (Check, &str)) {
    check(spoil, of, Level::LeftOut, "not looked at: needs root", Some(AS_ROOT));
}

#[test]
fn of_a_sound_host_nothing_is_worse_than_ok_and_each_check_is_told_once() {
    let findings = judge(&facts::sound());
    let mut told = BTreeSet::new();
    for finding in &findings {
        assert_eq!(finding.level, Level::Ok, "{finding:?}");
        assert!(told.insert((finding.check, finding.subject.clone())), "{finding:?}");
    }
    let silent: Vec<Check> = Check::ALL
        .iter()
        .copied()
        .filter(|check| !findings.iter().any(|finding| finding.check == *check))
        .collect();
    // They need endpoints, and a veth.
    assert_eq!(silent, [Check::VethPeer, Check::NextHop]);
}

#[test]
fn an_interface_that_is_not_there_is_a_problem_and_one_that_is_not_told_is_left_out() {
    let link = (Check::Link, "eth0");
    let gone = |facts: &mut Facts| {
        facts.interfaces.insert("eth0".to_owned(), Ok(None));
    };
    check(gone, link, Level::Problem, "no such interface", None);
    let untold = |facts: &mut Facts| {
        facts.interfaces.insert("eth0".to_owned(), Err(Gap::Failed("I/O error".to_owned())));
    };
    check(untold, link, Level::LeftOut, "I/O error", None);
    let remedy = Some("marchproxy doctor --interface NAME");
    check(
        |facts| facts.interfaces.clear(),
        (Check::Link, HOST),
        Level::Note,
        "no interface looked at",
        remedy,
    );
}
