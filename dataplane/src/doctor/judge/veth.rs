//! The check of a veth pair's far end.
//!
//! A veth delivers what XDP sends only to an end that polls (`veth_xdp_xmit`, drivers/net/veth.c):
//! one with a program of its own, or with GRO. What is sent back ([`XDP_TX`]) is delivered at once
//! only where the far end has a program (`veth_xdp_flush`). And a far end that leaves checksums to
//! the hardware sends packets whose checksums are partial, which the program would carry on.
//!
//! [`XDP_TX`]: https://docs.ebpf.io/linux/program-type/BPF_PROG_TYPE_XDP/

use super::{Check, Finding, Level, Looked};
use crate::doctor::facts::{Hardware, Peer};

/// Features that leave checksums to the hardware.
const CHECKSUMS: [&str; 3] = ["tx-checksum-ip-generic", "tx-checksum-ipv4", "tx-checksum-ipv6"];

pub(super) fn judge(looked: Looked<'_>) -> Option<Finding> {
    let finding = |level, found: String| looked.finding(Check::VethPeer, level, found);
    Some(match looked.device.peer.as_ref()? {
        Peer::Elsewhere => {
            let found = "the far end is in another network namespace: look there (an XDP program or \
                         GRO must be on, tx checksum offload off)";
            finding(Level::LeftOut, found.to_owned())
        }
        Peer::Here { name, program, hardware } => far_end(looked, name, *program, hardware),
    })
}

fn far_end(looked: Looked<'_>, name: &str, program: bool, hardware: &Hardware) -> Finding {
    let finding = |level, found: String| looked.finding(Check::VethPeer, level, found);
    if let Err(gap) = &hardware.features {
        return super::left_out(Check::VethPeer, looked.name, gap);
    }
    if CHECKSUMS.iter().any(|feature| hardware.is_on(feature)) {
        let found =
            format!("{name} leaves checksums to the hardware: what XDP forwards has wrong ones");
        return finding(looked.grave(), found)
            .remedy(format!("ethtool -K {name} tx off tso off gso off"));
    }
    if !program && !hardware.is_on("rx-gro") {
        let found = format!("{name} has neither an XDP program nor GRO: what XDP sends is dropped");
        return finding(looked.grave(), found).remedy(format!("ethtool -K {name} gro on"));
    }
    if !program {
        let found =
            format!("{name} has no XDP program: what XDP sends back waits for other traffic");
        return finding(Level::Warning, found);
    }
    finding(Level::Ok, format!("{name} runs a program and sends whole checksums"))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check, finding, hidden, is_left_out};
    use super::*;
    use crate::doctor::facts::{Facts, Feature};

    const PEER: (Check, &str) = (Check::VethPeer, "eth0");

    fn peer(program: bool, on: &[&str]) -> impl FnOnce(&mut Facts) {
        let on = on.iter().map(|name| ((*name).to_owned(), Feature { on: true, fixed: false }));
        let features = Ok(on.collect());
        move |facts: &mut Facts| {
            let hardware = Hardware { features, ..facts.eth0().hardware.clone() };
            let hardware = Box::new(hardware);
            facts.eth0().peer = Some(Peer::Here { name: "v1".to_owned(), program, hardware });
        }
    }

    #[test]
    fn the_far_end_must_take_what_xdp_sends_and_send_whole_checksums() {
        assert_eq!(finding(|_| {}, PEER.0, PEER.1), None);
        check(peer(true, &["rx-gro"]), PEER, Level::Ok, "v1 runs a program", None);
        check(peer(false, &["rx-gro"]), PEER, Level::Warning, "waits", None);
        let gro = Some("ethtool -K v1 gro on");
        check(peer(false, &[]), PEER, Level::Problem, "neither", gro);
        let off = Some("ethtool -K v1 tx off tso off gso off");
        for name in CHECKSUMS {
            check(peer(true, &[name]), PEER, Level::Problem, "wrong ones", off);
        }
        let unwanted = |facts: &mut Facts| {
            peer(false, &[])(facts);
            facts.plane.interfaces.clear();
        };
        check(unwanted, PEER, Level::Warning, "neither", gro);
    }

    #[test]
    fn a_far_end_out_of_sight_is_left_out_with_what_to_look_at() {
        let away = |facts: &mut Facts| facts.eth0().peer = Some(Peer::Elsewhere);
        check(away, PEER, Level::LeftOut, "look there", None);
        let mute = |facts: &mut Facts| {
            let hardware =
                Box::new(Hardware { features: hidden(), ..facts.eth0().hardware.clone() });
            facts.eth0().peer = Some(Peer::Here { name: "v1".to_owned(), program: true, hardware });
        };
        is_left_out(mute, PEER);
    }
}
