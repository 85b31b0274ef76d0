//! Checks of the kernel's settings of the network: forwarding, ports, reverse paths.

use ebpf_common::layout::{SNAT_PORT_FIRST, SNAT_PORT_LAST};
use model::listener::Forwarding;

use super::{Check, Finding, HOST, Level, Looked, left_out};
use crate::doctor::facts::{Facts, Network, Switch};

pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let network = &facts.host.network;
    let runs = facts.plane.runs();
    vec![lo_forwarding(network, runs), ip_forward(&network.ip_forward), snat_ports(network, runs)]
}

/// The data plane sets this when it starts; while one runs, somebody has set it back.
fn lo_forwarding(network: &Network, runs: bool) -> Finding {
    let finding = |level, found: &str| Finding::new(Check::LoForwarding, HOST, level, found);
    let switches = [
        ("net.ipv4.conf.lo.forwarding", &network.lo_forwarding_v4),
        ("net.ipv6.conf.lo.forwarding", &network.lo_forwarding_v6),
    ];
    let mut off = Vec::new();
    for (name, switch) in switches {
        match switch {
            Ok(Some(true) | None) => {}
            Ok(Some(false)) => off.push(name),
            Err(gap) => return left_out(Check::LoForwarding, HOST, gap),
        }
    }
    if off.is_empty() {
        return finding(Level::Ok, "on: the kernel answers the program's route lookups");
    }
    let assignments: Vec<String> = off.iter().map(|name| format!("{name}=1")).collect();
    let remedy = format!("sysctl -w {}", assignments.join(" "));
    let off = off.join(" and ");
    if runs {
        let found = format!("{off} off: packets for endpoints are dropped (forwarding_off)");
        return finding(Level::Problem, &found).remedy(remedy);
    }
    match &network.writable {
        Ok(true) => {
            let found = format!("{off} off; the data plane switches it on when it starts");
            finding(Level::Note, &found).remedy(remedy)
        }
        Ok(false) => {
            let found =
                format!("{off} off, and /proc/sys/net is read-only here: XDP will not load");
            finding(Level::Problem, &found).remedy(remedy)
        }
        Err(gap) => left_out(Check::LoForwarding, HOST, gap),
    }
}

fn ip_forward(switch: &Switch) -> Finding {
    let finding = |level, found: &str| Finding::new(Check::IpForward, HOST, level, found);
    match switch {
        Err(gap) => left_out(Check::IpForward, HOST, gap),
        Ok(Some(true)) => {
            finding(Level::Note, "on: the host is a router; XDP does not need it to be one")
        }
        Ok(_) => finding(Level::Ok, "off: XDP forwards without it"),
    }
}

fn snat_ports(network: &Network, runs: bool) -> Finding {
    let finding = |level, found: String| Finding::new(Check::SnatPorts, HOST, level, found);
    let (reserved, ephemeral) = match (&network.reserved_ports, &network.ephemeral_ports) {
        (Ok(reserved), Ok(ephemeral)) => (reserved, *ephemeral),
        (Err(gap), _) | (_, Err(gap)) => return left_out(Check::SnatPorts, HOST, gap),
    };
    let range = format!("{SNAT_PORT_FIRST}-{SNAT_PORT_LAST}");
    let covered = |(first, last): &(u16, u16)| {
        let range = *first..=*last;
        range.contains(&SNAT_PORT_FIRST) && range.contains(&SNAT_PORT_LAST)
    };
    if reserved.iter().any(covered) {
        return finding(Level::Ok, format!("{range} are reserved for connections to endpoints"));
    }
    let mut parts: Vec<String> =
        reserved.iter().map(|(first, last)| format!("{first}-{last}")).collect();
    parts.push(range.clone());
    let remedy = format!("sysctl -w net.ipv4.ip_local_reserved_ports={}", parts.join(","));
    let clash = ephemeral.1 >= SNAT_PORT_FIRST;
    let (first, last) = ephemeral;
    match (runs, clash) {
        (true, true) => finding(
            Level::Problem,
            format!("{range} are not reserved, and the kernel gives {first}-{last} to sockets"),
        ),
        (true, false) => finding(
            Level::Warning,
            format!("{range} are not reserved; the kernel gives {first}-{last} to sockets"),
        ),
        (false, true) => finding(
            Level::Note,
            format!(
                "{range} are not reserved yet: the data plane does it when it starts, but sockets \
                 may hold some by then, as the kernel gives {first}-{last}"
            ),
        ),
        (false, false) => finding(
            Level::Note,
            format!("{range} are not reserved yet: the data plane does it when it starts"),
        ),
    }
    .remedy(remedy)
}

/// The stricter of the two values holds (Documentation/networking/ip-sysctl.rst).
pub(super) fn rp_filter(looked: Looked<'_>) -> Finding {
    let values = (&looked.facts.host.network.rp_filter_all, &looked.device.rp_filter);
    let (all, own) = match values {
        (Ok(all), Ok(own)) => (*all, *own),
        (Err(gap), _) | (_, Err(gap)) => return left_out(Check::RpFilter, looked.name, gap),
    };
    match all.max(own) {
        1 => {
            const DIRECT: [Forwarding; 3] = [Forwarding::L2, Forwarding::Ipip, Forwarding::Gue];
            let several = looked.facts.interfaces.len() > 1;
            let direct = looked.facts.plane.forwards(&DIRECT);
            let level = if several || direct { Level::Warning } else { Level::Note };
            let found = "strict: what XDP leaves to the kernel is dropped where its way back is by \
                         another interface, as with direct server return and tunnels";
            // A dot in an interface's name would be taken for a separator.
            let remedy = if looked.name.contains('.') {
                format!("sysctl -w net/ipv4/conf/{}/rp_filter=2", looked.name)
            } else {
                format!("sysctl -w net.ipv4.conf.{}.rp_filter=2", looked.name)
            };
            looked.finding(Check::RpFilter, level, found).remedy(remedy)
        }
        2 => looked.finding(Check::RpFilter, Level::Ok, "loose"),
        _ => looked.finding(Check::RpFilter, Level::Ok, "off"),
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::super::tests::{check, hidden, is_left_out};
    use super::*;
    use crate::doctor::facts::{Accepted, sound_device};

    #[test]
    fn forwarding_of_lo_must_be_on_while_a_data_plane_runs() {
        let lo = |spoil: fn(&mut Facts), level, found, remedy| {
            check(spoil, (Check::LoForwarding, HOST), level, found, remedy);
        };
        let four = Some("sysctl -w net.ipv4.conf.lo.forwarding=1");
        let off = |facts: &mut Facts| facts.host.network.lo_forwarding_v4 = Ok(Some(false));
        lo(off, Level::Problem, "net.ipv4.conf.lo.forwarding off: packets", four);
        let both = Some("sysctl -w net.ipv4.conf.lo.forwarding=1 net.ipv6.conf.lo.forwarding=1");
        let both_off = |facts: &mut Facts| {
            facts.plane.running = Ok(None);
            facts.host.network.lo_forwarding_v4 = Ok(Some(false));
            facts.host.network.lo_forwarding_v6 = Ok(Some(false));
        };
        lo(both_off, Level::Note, "switches it on when it starts", both);
        let read_only = |facts: &mut Facts| {
            facts.plane.running = Ok(None);
            facts.host.network.lo_forwarding_v4 = Ok(Some(false));
            facts.host.network.writable = Ok(false);
        };
        lo(read_only, Level::Problem, "read-only", four);
        let no_v6 = |facts: &mut Facts| facts.host.network.lo_forwarding_v6 = Ok(None);
        lo(no_v6, Level::Ok, "on", None);
        let of = (Check::LoForwarding, HOST);
        is_left_out(|facts| facts.host.network.lo_forwarding_v4 = hidden(), of);
        let unknown = |facts: &mut Facts| {
            facts.plane.running = hidden();
            facts.host.network.lo_forwarding_v4 = Ok(Some(false));
            facts.host.network.writable = hidden();
        };
        is_left_out(unknown, of);
    }

    #[test]
    fn a_router_is_noted() {
        let of = (Check::IpForward, HOST);
        let on = |facts: &mut Facts| facts.host.network.ip_forward = Ok(Some(true));
        check(on, of, Level::Note, "router", None);
        is_left_out(|facts| facts.host.network.ip_forward = hidden(), of);
    }

    #[test]
    fn source_ports_must_be_reserved_while_a_data_plane_runs() {
        let ports = |reserved: &[(u16, u16)], ephemeral, runs, level, found, remedy| {
            let spoil = |facts: &mut Facts| {
                facts.host.network.reserved_ports = Ok(reserved.to_vec());
                facts.host.network.ephemeral_ports = Ok(ephemeral);
                facts.plane.running = Ok(if runs { Some(1) } else { None });
            };
            check(spoil, (Check::SnatPorts, HOST), level, found, remedy);
        };
        let usual = (32_768, 60_999);
        let all = Some("sysctl -w net.ipv4.ip_local_reserved_ports=61000-65535");
        ports(&[(60_000, 65_535)], usual, true, Level::Ok, "are reserved", None);
        ports(&[], usual, true, Level::Warning, "not reserved; the kernel", all);
        ports(&[], (1024, 65_535), true, Level::Problem, "gives 1024-65535", all);
        ports(&[], usual, false, Level::Note, "when it starts", all);
        ports(&[], (1024, 65_535), false, Level::Note, "may hold some", all);
        let kept = Some("sysctl -w net.ipv4.ip_local_reserved_ports=8080-8080,61000-65535");
        ports(&[(8080, 8080)], usual, true, Level::Warning, "not reserved", kept);
        ports(&[(61_000, 65_534)], usual, true, Level::Warning, "not reserved", {
            Some("sysctl -w net.ipv4.ip_local_reserved_ports=61000-65534,61000-65535")
        });
        let of = (Check::SnatPorts, HOST);
        is_left_out(|facts| facts.host.network.reserved_ports = hidden(), of);
        is_left_out(|facts| facts.host.network.ephemeral_ports = hidden(), of);
    }

    #[test]
    fn strict_reverse_paths_are_worse_where_answers_come_in_by_another_way() {
        let of = (Check::RpFilter, "eth0");
        let remedy = Some("sysctl -w net.ipv4.conf.eth0.rp_filter=2");
        let own = |facts: &mut Facts| facts.eth0().rp_filter = Ok(1);
        check(own, of, Level::Note, "strict", remedy);
        let all = |facts: &mut Facts| facts.host.network.rp_filter_all = Ok(1);
        check(all, of, Level::Note, "strict", remedy);
        let loose = |facts: &mut Facts| {
            facts.host.network.rp_filter_all = Ok(1);
            facts.eth0().rp_filter = Ok(2);
        };
        check(loose, of, Level::Ok, "loose", None);
        let direct = |facts: &mut Facts| {
            own(facts);
            let to: IpAddr = "10.0.0.2".parse().unwrap();
            let endpoints = [(to, vec![Forwarding::Ipip])].into();
            facts.plane.accepted = Ok(Some(Accepted { endpoints, for_envoy: 0 }));
        };
        check(direct, of, Level::Warning, "strict", remedy);
        let several = |facts: &mut Facts| {
            let device = crate::doctor::facts::Device { rp_filter: Ok(1), ..sound_device() };
            facts.interfaces.insert("eth1.7".to_owned(), Ok(Some(device)));
        };
        let slashes = Some("sysctl -w net/ipv4/conf/eth1.7/rp_filter=2");
        check(several, (Check::RpFilter, "eth1.7"), Level::Warning, "strict", slashes);
        is_left_out(|facts| facts.eth0().rp_filter = hidden(), of);
        is_left_out(|facts| facts.host.network.rp_filter_all = hidden(), of);
    }
}
