//! The check of the MTU: what drivers take for the program, and what tunnels leave.

use ebpf_common::tunnel;
use model::listener::Forwarding;

use super::{Check, Finding, Level, Looked};
use crate::doctor::facts::{Attached, XdpMode};

/// The largest MTU for a program whose frames stand in one page each, by the tightest of the
/// common drivers: 4096 bytes less 256 of headroom, 320 of `skb_shared_info`, and the Ethernet
/// header with checksum and a tag (`ENA_XDP_MAX_MTU`, drivers/net/ethernet/amazon/ena).
pub(super) const SINGLE_BUFFER_MTU_MAX: u32 = 3498;
/// The largest packet of most clients.
const USUAL: u32 = 1500;
/// The least that IPv6 needs (RFC 8200, section 5).
const IPV6_MIN: u32 = 1280;

pub(super) fn judge(looked: Looked<'_>) -> Finding {
    let finding = |level, found: String| looked.finding(Check::Mtu, level, found);
    let set = |mtu: u32| format!("ip link set dev {} mtu {mtu}", looked.name);
    let (mtu, mtu_max) = (looked.device.link.mtu, looked.device.link.mtu_max);
    let native = matches!(&looked.device.xdp, Some(Attached { mode: XdpMode::Native, .. }));
    if mtu < IPV6_MIN {
        let found = format!("{mtu} is less than the {IPV6_MIN} that IPv6 needs");
        return finding(Level::Warning, found).remedy(set(USUAL));
    }
    if mtu > SINGLE_BUFFER_MTU_MAX && !native {
        let found = format!(
            "{mtu} is more than the {SINGLE_BUFFER_MTU_MAX} that drivers take with native XDP"
        );
        return finding(Level::Warning, found).remedy(set(USUAL));
    }
    let overhead = overhead(looked);
    let wanted = USUAL + overhead;
    if overhead > 0 && mtu < wanted {
        let found = format!(
            "{mtu}, and the tunnels in use take {overhead}: senders of packets above {} are told \
             that they are too big; to spare them that, raise it, or give the endpoints an MTU of {}",
            mtu - overhead,
            mtu - overhead
        );
        let finding = finding(Level::Note, found);
        let may = mtu_max == 0 || wanted <= mtu_max;
        return if may { finding.remedy(set(wanted)) } else { finding };
    }
    let room = |v6, gue| mtu - bytes(v6, gue);
    let found = format!(
        "{mtu}; packets of {} (IPv6 {}) bytes fit through IPIP, of {} ({}) through GUE",
        room(false, false),
        room(true, false),
        room(false, true),
        room(true, true)
    );
    finding(Level::Ok, found)
}

/// The bytes that the widest tunnel in use takes.
fn overhead(looked: Looked<'_>) -> u32 {
    let Ok(Some(accepted)) = &looked.facts.plane.accepted else { return 0 };
    let all =
        accepted.endpoints.iter().flat_map(|(to, ways)| ways.iter().map(move |way| (to, way)));
    all.map(|(to, forwarding)| match forwarding {
        Forwarding::Nat | Forwarding::L2 => 0,
        Forwarding::Ipip => bytes(to.is_ipv6(), false),
        Forwarding::Gue => bytes(to.is_ipv6(), true),
    })
    .max()
    .unwrap_or(0)
}

fn bytes(v6: bool, gue: bool) -> u32 {
    tunnel::overhead(v6, gue) as u32
}

#[cfg(test)]
mod tests {
    use super::super::tests::check;
    use super::*;
    use crate::doctor::facts::{Accepted, Facts};

    const MTU: (Check, &str) = (Check::Mtu, "eth0");

    #[test]
    fn an_mtu_must_suit_the_driver_and_ipv6() {
        let set = Some("ip link set dev eth0 mtu 1500");
        let room = "1500; packets of 1480 (IPv6 1460) bytes fit through IPIP, of 1472 (1452)";
        check(|_| {}, MTU, Level::Ok, room, None);
        check(|facts| facts.eth0().link.mtu = 1279, MTU, Level::Warning, "1280 that IPv6", set);
        let jumbo = |facts: &mut Facts| facts.eth0().link.mtu = 9000;
        check(jumbo, MTU, Level::Ok, "9000", None);
        let idle = |facts: &mut Facts| {
            jumbo(facts);
            facts.eth0().xdp = None;
        };
        check(idle, MTU, Level::Warning, "9000 is more than the 3498", set);
    }

    #[test]
    fn tunnels_in_use_want_room() {
        let tunnel = |to: &str, forwarding, mtu, mtu_max| {
            let to = to.parse().unwrap();
            move |facts: &mut Facts| {
                let endpoints = [(to, vec![Forwarding::Nat, forwarding])].into();
                facts.plane.accepted = Ok(Some(Accepted { endpoints, for_envoy: 0 }));
                facts.eth0().link.mtu = mtu;
                facts.eth0().link.mtu_max = mtu_max;
            }
        };
        use Forwarding::{Gue, Ipip, L2};
        let tight = |spoil, found, mtu: u32| {
            let remedy = format!("ip link set dev eth0 mtu {mtu}");
            check(spoil, MTU, Level::Note, found, Some(&remedy));
        };
        tight(tunnel("10.0.0.2", Ipip, 1500, 0), "take 20: senders of packets above 1480", 1520);
        tight(tunnel("10.0.0.2", Gue, 1500, 9000), "take 28: senders of packets above 1472", 1528);
        tight(tunnel("fd00::2", Ipip, 1500, 0), "take 40: senders of packets above 1460", 1540);
        tight(tunnel("fd00::2", Gue, 1547, 0), "take 48: senders of packets above 1499", 1548);
        check(tunnel("fd00::2", Gue, 1548, 0), MTU, Level::Ok, "1548", None);
        check(tunnel("10.0.0.2", L2, 1500, 0), MTU, Level::Ok, "1500", None);
        let stiff = tunnel("10.0.0.2", Ipip, 1500, 1500);
        check(stiff, MTU, Level::Note, "give the endpoints an MTU of 1480", None);
    }
}
