//! Checks of what the driver does to packets before the program sees them.

use super::{Check, Finding, Level, Looked, left_out};
use crate::doctor::facts::{Attached, Hardware, XdpMode};

pub(super) fn judge(looked: Looked<'_>) -> Vec<Finding> {
    if let Err(gap) = &looked.device.hardware.features {
        let checks = [Check::Lro, Check::GroHw, Check::VlanStrip];
        return checks.map(|check| left_out(check, looked.name, gap)).into();
    }
    vec![
        merging(looked, Check::Lro, "rx-lro", "lro"),
        merging(looked, Check::GroHw, "rx-gro-hw", "rx-gro-hw"),
        vlan_strip(looked),
    ]
}

/// Merged packets do not fit into one buffer, so drivers refuse native XDP while they merge.
fn merging(looked: Looked<'_>, check: Check, name: &str, option: &str) -> Finding {
    let finding = |level, found: &str| looked.finding(check, level, found);
    let native = matches!(&looked.device.xdp, Some(Attached { mode: XdpMode::Native, .. }));
    match looked.device.hardware.feature(name) {
        None => finding(Level::Ok, "the driver has none"),
        Some(feature) if !feature.on => finding(Level::Ok, "off"),
        Some(_) if native => finding(Level::Ok, "on, and the driver runs native XDP all the same"),
        Some(_) if !refuses(&looked.device.hardware, name) => {
            finding(Level::Ok, "on; the driver switches it off for XDP")
        }
        Some(feature) if feature.fixed => {
            finding(looked.grave(), "on and fixed: the driver refuses native XDP")
        }
        Some(_) => finding(looked.grave(), "on: the driver refuses native XDP")
            .remedy(format!("ethtool -K {} {option} off", looked.name)),
    }
}

/// Tells whether a driver refuses native XDP because of a feature. virtio_net switches its own off,
/// where the other side of the device lets it (`virtnet_xdp_set`, drivers/net/virtio_net.c).
pub(super) fn refuses(hardware: &Hardware, name: &str) -> bool {
    let yields = hardware.driver.as_ref().is_some_and(|driver| driver.name == "virtio_net");
    hardware.feature(name).is_some_and(|feature| feature.on && (feature.fixed || !yields))
}

/// A tag that the driver takes off is not in the frame: the program would answer without it.
fn vlan_strip(looked: Looked<'_>) -> Finding {
    let finding = |level, found: String| looked.finding(Check::VlanStrip, level, found);
    let vlans: Vec<&str> = looked
        .device
        .link
        .on_top
        .iter()
        .filter(|joined| joined.is("vlan"))
        .map(|joined| joined.name.as_str())
        .collect();
    match looked.device.hardware.feature("rx-vlan-hw-parse") {
        Some(feature) if feature.on && !vlans.is_empty() => {
            let found = format!(
                "on, and {} stands on this: native XDP takes its frames for untagged ones",
                vlans.join(", ")
            );
            let finding = finding(Level::Warning, found);
            if feature.fixed {
                return finding;
            }
            finding.remedy(format!("ethtool -K {} rxvlan off", looked.name))
        }
        Some(feature) if feature.on => finding(Level::Ok, "on; no VLAN stands on this".to_owned()),
        _ => finding(Level::Ok, "off: frames keep their tags".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check, hidden, is_left_out};
    use super::*;
    use crate::doctor::facts::{Driver, Facts, Feature, Joined};

    fn set(facts: &mut Facts, name: &str, on: bool, fixed: bool) {
        facts.eth0().hardware.features = Ok([(name.to_owned(), Feature { on, fixed })].into());
    }

    #[test]
    fn merging_must_be_off_where_native_mode_is_yet_to_come() {
        let cases = [
            (Check::Lro, "rx-lro", "ethtool -K eth0 lro off"),
            (Check::GroHw, "rx-gro-hw", "ethtool -K eth0 rx-gro-hw off"),
        ];
        for (of, name, off) in cases {
            let of = (of, "eth0");
            let idle = |on, fixed| {
                move |facts: &mut Facts| {
                    facts.eth0().xdp = None;
                    set(facts, name, on, fixed);
                }
            };
            check(idle(true, false), of, Level::Problem, "refuses native", Some(off));
            check(idle(true, true), of, Level::Problem, "fixed", None);
            check(idle(false, false), of, Level::Ok, "off", None);
            check(|facts| set(facts, "x", true, false), of, Level::Ok, "has none", None);
            check(|facts| set(facts, name, true, false), of, Level::Ok, "all the same", None);
            let virtio = |fixed| {
                move |facts: &mut Facts| {
                    idle(true, fixed)(facts);
                    let driver = Driver { name: "virtio_net".to_owned(), ..Driver::default() };
                    facts.eth0().hardware.driver = Some(driver);
                }
            };
            check(virtio(false), of, Level::Ok, "switches it off", None);
            check(virtio(true), of, Level::Problem, "fixed", None);
            let unwanted = |facts: &mut Facts| {
                idle(true, false)(facts);
                facts.plane.interfaces.clear();
            };
            check(unwanted, of, Level::Warning, "refuses native", Some(off));
            is_left_out(|facts| facts.eth0().hardware.features = hidden(), of);
        }
    }

    #[test]
    fn tags_are_taken_off_at_the_cost_of_vlans_only() {
        let of = (Check::VlanStrip, "eth0");
        let strip = |facts: &mut Facts| set(facts, "rx-vlan-hw-parse", true, false);
        check(strip, of, Level::Ok, "no VLAN", None);
        let vlan = |facts: &mut Facts| {
            let joined = |name: &str, kind: &str| Joined {
                name: name.to_owned(),
                kind: Some(kind.to_owned()),
            };
            facts.eth0().link.on_top = vec![joined("mv0", "macvlan"), joined("eth0.5", "vlan")];
        };
        let both = |facts: &mut Facts| {
            strip(facts);
            vlan(facts);
        };
        let off = Some("ethtool -K eth0 rxvlan off");
        check(both, of, Level::Warning, "on, and eth0.5 stands", off);
        let fixed = |facts: &mut Facts| {
            vlan(facts);
            set(facts, "rx-vlan-hw-parse", true, true);
        };
        check(fixed, of, Level::Warning, "eth0.5", None);
        check(vlan, of, Level::Ok, "keep their tags", None);
        is_left_out(|facts| facts.eth0().hardware.features = hidden(), of);
    }
}
