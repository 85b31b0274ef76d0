//! Checks of the link, and of what stands above and below it: where XDP should be attached.

use super::{Check, Finding, Level, Looked, wish};

/// Modes of a bond that run native XDP (`bond_xdp_check`, drivers/net/bonding/bond_main.c):
/// round robin, active backup, XOR and LACP.
const BOND_MODES: [u8; 4] = [0, 1, 2, 4];

pub(super) fn link(looked: Looked<'_>) -> Finding {
    let link = &looked.device.link;
    let finding = |level, found: &str| looked.finding(Check::Link, level, found);
    if link.loopback {
        return finding(looked.grave(), "the loopback interface: no client comes in by it");
    }
    if !link.up {
        return finding(looked.grave(), "switched off")
            .remedy(format!("ip link set dev {} up", looked.name));
    }
    if !link.carrier {
        return finding(looked.grave(), "no carrier: nothing answers at the far end");
    }
    finding(Level::Ok, "up")
}

/// Says where to attach; a plain interface has one finding that nothing is in the way.
pub(super) fn layers(looked: Looked<'_>) -> Vec<Finding> {
    let link = &looked.device.link;
    let finding = |level, found: String| looked.finding(Check::Layering, level, found);
    let mut findings = Vec::new();
    match link.kind.as_deref() {
        Some("bond") => findings.push(match link.bond_mode {
            Some(mode) if !BOND_MODES.contains(&mode) => finding(
                Level::Warning,
                format!("a bond in mode {mode}, which has no native XDP: use 802.3ad, balance-xor, \
                         balance-rr or active-backup"),
            ),
            _ => finding(Level::Ok, "a bond: its ports run the program".to_owned()),
        }),
        Some("bridge") => findings.push(finding(
            Level::Warning,
            "a bridge, which has XDP in generic mode only; give the node's addresses to an interface \
             without one for native mode"
                .to_owned(),
        )),
        Some("vlan") => findings.push(finding(
            Level::Warning,
            "a VLAN, which has XDP in generic mode only; on the interface below, tagged frames go to \
             the kernel"
                .to_owned(),
        )),
        _ => {}
    }
    if let Some(master) = &link.master {
        let attach = wish(looked.facts, &[&master.name], looked.name);
        let name = &master.name;
        findings.push(match master.kind.as_deref() {
            Some("bond") => finding(
                looked.grave(),
                format!(
                    "a port of bond {name}: frames come in by its other ports too; attach there"
                ),
            )
            .remedy(attach),
            Some("bridge") => finding(
                Level::Warning,
                format!(
                    "a port of bridge {name}: routes lead to the bridge, to which native XDP \
                         cannot send; attach there"
                ),
            )
            .remedy(attach),
            Some("vrf") => finding(
                Level::Warning,
                format!("in VRF {name}: the program's route lookups are made in the main table"),
            ),
            _ => finding(Level::Note, format!("a port of {name}")),
        });
    }
    let vlans: Vec<&str> = link
        .on_top
        .iter()
        .filter(|joined| joined.is("vlan"))
        .map(|joined| joined.name.as_str())
        .collect();
    if !vlans.is_empty() {
        let found =
            format!("frames of {} go to the kernel: tagged ones are not carried", vlans.join(", "));
        findings.push(finding(Level::Note, found));
    }
    if findings.is_empty() {
        findings.push(finding(Level::Ok, "nothing above or below that matters".to_owned()));
    }
    // One finding a check: the worst is the one that counts.
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.level));
    findings.truncate(1);
    findings
}

#[cfg(test)]
mod tests {
    use super::super::tests::check;
    use super::*;
    use crate::doctor::facts::{Facts, Joined};

    const LAYERING: (Check, &str) = (Check::Layering, "eth0");

    #[test]
    fn a_link_must_be_up_and_connected() {
        let of = (Check::Link, "eth0");
        let up = Some("ip link set dev eth0 up");
        check(|_| {}, of, Level::Ok, "up", None);
        check(|facts| facts.eth0().link.up = false, of, Level::Problem, "switched off", up);
        check(|facts| facts.eth0().link.carrier = false, of, Level::Problem, "no carrier", None);
        check(|facts| facts.eth0().link.loopback = true, of, Level::Problem, "loopback", None);
        let unwanted = |facts: &mut Facts| {
            facts.eth0().link.up = false;
            facts.plane.interfaces.clear();
        };
        check(unwanted, of, Level::Warning, "switched off", up);
    }

    #[test]
    fn software_interfaces_are_told_by_what_xdp_they_have() {
        let kind = |kind: &str, mode, level, found| {
            let spoil = |facts: &mut Facts| {
                facts.eth0().link.kind = Some(kind.to_owned());
                facts.eth0().link.bond_mode = mode;
            };
            check(spoil, LAYERING, level, found, None);
        };
        for mode in BOND_MODES {
            kind("bond", Some(mode), Level::Ok, "a bond");
        }
        for mode in [3, 5, 6] {
            kind("bond", Some(mode), Level::Warning, "no native XDP");
        }
        kind("bond", None, Level::Ok, "a bond");
        kind("bridge", None, Level::Warning, "a bridge");
        kind("vlan", None, Level::Warning, "a VLAN");
        kind("veth", None, Level::Ok, "nothing above or below");
    }

    #[test]
    fn a_port_is_told_where_to_attach() {
        let port = |kind: &str| {
            let master = Joined { name: "up0".to_owned(), kind: Some(kind.to_owned()) };
            move |facts: &mut Facts| {
                facts.plane.interfaces.push("eth1".to_owned());
                facts.eth0().link.master = Some(master);
            }
        };
        let there = Some("marchproxy up --xdp eth1 --xdp up0");
        check(port("bond"), LAYERING, Level::Problem, "a port of bond up0", there);
        check(port("bridge"), LAYERING, Level::Warning, "a port of bridge up0", there);
        check(port("vrf"), LAYERING, Level::Warning, "in VRF up0", None);
        check(port("team"), LAYERING, Level::Note, "a port of up0", None);
    }

    #[test]
    fn vlans_on_top_are_noted() {
        let vlan = |facts: &mut Facts| {
            let kind = Some("vlan".to_owned());
            facts.eth0().link.on_top = vec![Joined { name: "eth0.5".to_owned(), kind }];
        };
        check(vlan, LAYERING, Level::Note, "frames of eth0.5 go to the kernel", None);
    }
}
