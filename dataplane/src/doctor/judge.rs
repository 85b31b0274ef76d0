//! The judgement: facts become findings (pure).
//!
//! A check that could not be looked at is told as [`Level::LeftOut`]; one that does not apply, such
//! as the far end of what is no veth, is not told.

mod attachment;
mod kernel;
mod layering;
mod network;
mod next_hop;
mod offloads;
mod plane;
mod queues;
mod size;
mod veth;

use super::{
    facts::{Device, Facts, Gap},
    finding::{Check, Finding, HOST, Level},
};

/// Where the findings are meant to end: as root, everything can be looked at.
const AS_ROOT: &str = "sudo marchproxy doctor";

/// Judges a host: the host first, then each interface by name, then the ways to endpoints.
#[must_use]
pub fn judge(facts: &Facts) -> Vec<Finding> {
    let mut findings = kernel::judge(&facts.host);
    findings.extend(network::judge(facts));
    findings.extend(plane::judge(facts));
    for (name, device) in &facts.interfaces {
        match device {
            Ok(Some(device)) => findings.extend(interface(name, device, facts)),
            Ok(None) => {
                findings.push(Finding::new(Check::Link, name, Level::Problem, "no such interface"));
            }
            Err(gap) => findings.push(left_out(Check::Link, name, gap)),
        }
    }
    if facts.interfaces.is_empty() {
        let found = "no interface looked at: no default route, and the node has no --xdp interface";
        findings.push(
            Finding::new(Check::Link, HOST, Level::Note, found)
                .remedy("marchproxy doctor --interface NAME"),
        );
    }
    findings.extend(facts.ways.iter().map(|way| next_hop::judge(way, facts)));
    findings
}

fn interface(name: &str, device: &Device, facts: &Facts) -> Vec<Finding> {
    let looked = Looked { name, device, facts };
    let mut findings = vec![layering::link(looked), attachment::driver(looked)];
    findings.extend([
        attachment::attached(looked),
        attachment::native(looked),
        size::judge(looked),
    ]);
    findings.extend(offloads::judge(looked));
    findings.extend(layering::layers(looked));
    findings.extend(veth::judge(looked));
    findings.extend(queues::judge(looked));
    findings.push(network::rp_filter(looked));
    findings
}

/// An interface in its host.
#[derive(Clone, Copy, Debug)]
struct Looked<'a> {
    name: &'a str,
    device: &'a Device,
    facts: &'a Facts,
}

impl Looked<'_> {
    fn finding(self, check: Check, level: Level, found: impl Into<String>) -> Finding {
        Finding::new(check, self.name, level, found)
    }

    /// Whether XDP is wanted here.
    fn wanted(self) -> bool {
        self.facts.plane.wants(self.name)
    }

    /// A problem where XDP is wanted, a warning elsewhere.
    fn grave(self) -> Level {
        if self.wanted() { Level::Problem } else { Level::Warning }
    }
}

/// Says that a check was not made.
fn left_out(check: Check, subject: &str, gap: &Gap) -> Finding {
    let finding = Finding::new(check, subject, Level::LeftOut, format!("not looked at: {gap}"));
    match gap {
        Gap::NeedsRoot => finding.remedy(AS_ROOT),
        Gap::Failed(_) => finding,
    }
}

/// The command that gives the node other XDP interfaces, on top of those that it has.
fn wish(facts: &Facts, more: &[&str], but: &str) -> String {
    let kept = facts.plane.interfaces.iter().map(String::as_str).filter(|name| *name != but);
    let mut names: Vec<&str> = kept.collect();
    for name in more {
        if !names.contains(name) {
            names.push(name);
        }
    }
    names.iter().fold("marchproxy up".to_owned(), |command, name| format!("{command} --xdp {name}"))
}

#[cfg(test)]
mod tests;
