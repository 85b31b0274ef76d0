//! Checks of the driver and of XDP on it: what is attached, in which mode, and why.

use super::{Check, Finding, Level, Looked, left_out, wish};
use crate::doctor::facts::{Attached, Device, Owner, Peer, XdpMode, native};

/// Drivers known for native XDP, for kernels before 6.3, which do not tell
/// (`grep -l ndo_bpf drivers/net` of Linux 6.1).
const KNOWN_NATIVE: [&str; 27] = [
    "atlantic",
    "bnxt_en",
    "bonding",
    "dpaa2-eth",
    "ena",
    "fsl_dpa",
    "fsl_enetc",
    "hv_netvsc",
    "i40e",
    "ice",
    "igb",
    "igc",
    "ixgbe",
    "ixgbevf",
    "mlx4_en",
    "mlx5_core",
    "mvneta",
    "mvpp2",
    "netdevsim",
    "netsec",
    "nfp",
    "nicvf",
    "qede",
    "sfc",
    "tun",
    "veth",
    "virtio_net",
];

pub(super) fn driver(looked: Looked<'_>) -> Finding {
    let Some(driver) = &looked.device.hardware.driver else {
        return looked.finding(Check::Driver, Level::Note, "no driver says its name");
    };
    let mut found = driver.name.clone();
    let parts = [("", &driver.version), ("firmware ", &driver.firmware), ("at ", &driver.bus)];
    for (what, value) in parts {
        if !value.is_empty() {
            found.push_str(&format!(", {what}{value}"));
        }
    }
    looked.finding(Check::Driver, Level::Ok, found)
}

pub(super) fn attached(looked: Looked<'_>) -> Finding {
    let finding = |level, found: String| looked.finding(Check::Xdp, level, found);
    let Some(attached) = &looked.device.xdp else { return missing(looked) };
    let Attached { mode, id, owner } = attached;
    let owner = match owner {
        Ok(owner) => owner,
        Err(gap) => {
            let found = format!("{}: program {id}; whose it is {gap}", name(*mode));
            return finding(Level::LeftOut, found).remedy(super::AS_ROOT);
        }
    };
    match (owner, mode) {
        (Owner::Other(name), _) => {
            let found = format!("another XDP program is attached ({name}, number {id})");
            finding(looked.grave(), found)
                .remedy(format!("ip link set dev {} xdp off", looked.name))
        }
        (Owner::MarchProxy, XdpMode::Native) => finding(Level::Ok, "native".to_owned()),
        (Owner::MarchProxy, XdpMode::Generic) => finding(
            Level::Warning,
            format!("generic, which is several times slower: {}", why(looked)),
        ),
        (Owner::MarchProxy, XdpMode::Offloaded | XdpMode::Several) => {
            let found = format!("{}: no mode that a data plane attaches in", name(*mode));
            finding(looked.grave(), found)
        }
    }
}

fn name(mode: XdpMode) -> &'static str {
    match mode {
        XdpMode::Native => "native",
        XdpMode::Generic => "generic",
        XdpMode::Offloaded => "offloaded",
        XdpMode::Several => "in several modes",
    }
}

fn missing(looked: Looked<'_>) -> Finding {
    let plane = &looked.facts.plane;
    let finding = |level, found: String| looked.finding(Check::Xdp, level, found);
    if !looked.wanted() {
        let remedy = wish(looked.facts, &[looked.name], "");
        return finding(Level::Note, "not attached, and not asked for here".into()).remedy(remedy);
    }
    match (&plane.running, &plane.told) {
        (Err(gap), _) => left_out(Check::Xdp, looked.name, gap),
        (Ok(None), _) => finding(Level::Warning, "not attached: no data plane runs".into())
            .remedy("marchproxy up"),
        (Ok(Some(_)), Ok(Some(told))) => {
            finding(Level::Problem, format!("not attached; the data plane says: {told}"))
        }
        (Ok(Some(_)), _) => finding(
            Level::Problem,
            "not attached, and the data plane does not answer for the reason".into(),
        ),
    }
}

/// Why a program runs in generic mode: in the data plane's words, or else by what stands in the way.
fn why(looked: Looked<'_>) -> String {
    let told = looked.facts.plane.told.as_ref().ok().and_then(Option::as_ref);
    let own = format!("{}: generic (", looked.name);
    told.and_then(|told| told.split_once(own.as_str()))
        .and_then(|(_, rest)| rest.split("); ").next())
        .map(|reason| reason.strip_suffix(')').unwrap_or(reason).to_owned())
        .or_else(|| obstacle(looked.device))
        .unwrap_or_else(|| "the reason is known to the process that attached it alone".to_owned())
}

/// What keeps a driver from native mode, as far as it can be seen.
fn obstacle(device: &Device) -> Option<String> {
    let kind = device.link.kind.as_deref();
    if matches!(kind, Some("bridge" | "vlan" | "macvlan" | "ipvlan" | "vxlan" | "dummy")) {
        return Some(format!("a {} has no native XDP", kind.unwrap_or_default()));
    }
    if let Some(setting) = setting(device) {
        return Some(setting);
    }
    // `veth_set_xdp_features` (drivers/net/veth.c).
    matches!(device.peer, Some(Peer::Here { .. } | Peer::Elsewhere)).then(|| {
        "the far end of the veth pair has more send queues than this end has receive queues".into()
    })
}

/// A setting that keeps a driver from native mode, though it could.
fn setting(device: &Device) -> Option<String> {
    let merges = |name: &&str| super::offloads::refuses(&device.hardware, name);
    if let Some(feature) = ["rx-lro", "rx-gro-hw"].into_iter().find(merges) {
        return Some(format!("{feature} is on"));
    }
    let mtu = device.link.mtu;
    (mtu > super::size::SINGLE_BUFFER_MTU_MAX).then(|| format!("the MTU of {mtu} is too large"))
}

pub(super) fn native(looked: Looked<'_>) -> Finding {
    let device = looked.device;
    let finding = |level, found: String| looked.finding(Check::NativeXdp, level, found);
    let runs = matches!(&device.xdp, Some(Attached { mode: XdpMode::Native, .. }));
    let driver = device.hardware.driver.as_ref().map_or("", |driver| driver.name.as_str());
    let ability = match &device.native {
        Ok(ability) => *ability,
        Err(gap) => return left_out(Check::NativeXdp, looked.name, gap),
    };
    match ability {
        // Drivers may tell that they send only once they run a program.
        Some(ability)
            if runs && !ability.has(native::NDO_XMIT) && 1 < looked.facts.interfaces.len() =>
        {
            let found = "the driver runs XDP, but sends nothing that comes in by another interface";
            finding(Level::Warning, found.to_owned())
        }
        _ if runs => finding(Level::Ok, "the driver runs a program".to_owned()),
        Some(ability) if ability.has(native::BASIC | native::REDIRECT) => match setting(device) {
            None => finding(Level::Ok, "the driver says that it can".to_owned()),
            Some(setting) => {
                let found = format!("the driver says that it can, but {setting}; XDP is generic");
                finding(Level::Warning, found)
            }
        },
        Some(_) => {
            let reason = obstacle(device).map_or(String::new(), |reason| format!(": {reason}"));
            finding(
                Level::Warning,
                format!("the driver says that it cannot{reason}; XDP is generic"),
            )
        }
        None if KNOWN_NATIVE.contains(&driver) => {
            finding(Level::Ok, format!("{driver} is known to (the kernel tells from 6.3 on)"))
        }
        None => finding(Level::Note, "not known: the kernel tells from 6.3 on".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check, hidden, is_left_out};
    use super::*;
    use crate::doctor::facts::{Driver, Facts, Feature, Native, sound_device};

    const XDP: (Check, &str) = (Check::Xdp, "eth0");
    const NATIVE: (Check, &str) = (Check::NativeXdp, "eth0");

    #[test]
    fn the_driver_is_named_with_what_it_tells() {
        let of = (Check::Driver, "eth0");
        check(|_| {}, of, Level::Ok, "ice, 6.12.3, firmware 4.40, at 0000:3b:00.0", None);
        let short = |facts: &mut Facts| {
            let name = "veth".to_owned();
            facts.eth0().hardware.driver = Some(Driver { name, ..Driver::default() });
        };
        check(short, of, Level::Ok, "veth", None);
        check(|facts| facts.eth0().hardware.driver = None, of, Level::Note, "no driver", None);
    }

    fn mode(facts: &mut Facts, mode: XdpMode) {
        facts.eth0().xdp = Some(Attached { mode, id: 7, owner: Ok(Owner::MarchProxy) });
    }

    #[test]
    fn generic_mode_is_told_with_its_reason() {
        check(|_| {}, XDP, Level::Ok, "native", None);
        let told = |facts: &mut Facts| {
            mode(facts, XdpMode::Generic);
            let told = "eth9: native; eth0: generic (bpf_link_create: not (now) supported); \
                        eth1: generic (x)";
            facts.plane.told = Ok(Some(told.to_owned()));
        };
        check(told, XDP, Level::Warning, "slower: bpf_link_create: not (now) supported", None);
        let seen = |facts: &mut Facts| {
            mode(facts, XdpMode::Generic);
            facts.plane.told = Ok(Some("eth0: generic".to_owned()));
            let on = Feature { on: true, fixed: false };
            facts.eth0().hardware.features = Ok([("rx-lro".to_owned(), on)].into());
        };
        check(seen, XDP, Level::Warning, "rx-lro is on", None);
        let unknown = |facts: &mut Facts| {
            mode(facts, XdpMode::Generic);
            facts.plane.told = hidden();
        };
        check(unknown, XDP, Level::Warning, "the reason is known to the process", None);
        for odd in [XdpMode::Offloaded, XdpMode::Several] {
            check(|facts| mode(facts, odd), XDP, Level::Problem, "no mode", None);
        }
    }

    #[test]
    fn a_foreign_program_is_a_problem_where_xdp_is_wanted() {
        let foreign = |facts: &mut Facts| {
            mode(facts, XdpMode::Native);
            facts.eth0().xdp.as_mut().unwrap().owner = Ok(Owner::Other("xdp_pass".to_owned()));
        };
        let off = Some("ip link set dev eth0 xdp off");
        check(foreign, XDP, Level::Problem, "(xdp_pass, number 7)", off);
        let unwanted = |facts: &mut Facts| {
            foreign(facts);
            facts.plane.interfaces.clear();
        };
        check(unwanted, XDP, Level::Warning, "xdp_pass", off);
        let hidden_owner = |facts: &mut Facts| {
            mode(facts, XdpMode::Native);
            facts.eth0().xdp.as_mut().unwrap().owner = hidden();
        };
        let root = Some("sudo marchproxy doctor");
        check(hidden_owner, XDP, Level::LeftOut, "native: program 7; whose it is needs root", root);
    }

    #[test]
    fn what_is_not_attached_is_told_with_the_words_of_the_data_plane() {
        let none = |facts: &mut Facts| {
            facts.eth0().xdp = None;
            facts.plane.told = Ok(Some("interface eth0: no such device".to_owned()));
        };
        check(none, XDP, Level::Problem, "says: interface eth0: no such device", None);
        let mute = |facts: &mut Facts| {
            none(facts);
            facts.plane.told = hidden();
        };
        check(mute, XDP, Level::Problem, "does not answer", None);
        let stopped = |facts: &mut Facts| {
            none(facts);
            facts.plane.running = Ok(None);
        };
        check(stopped, XDP, Level::Warning, "no data plane runs", Some("marchproxy up"));
        let unasked = |facts: &mut Facts| {
            none(facts);
            facts.plane.interfaces = vec!["eth7".to_owned()];
        };
        let ask = Some("marchproxy up --xdp eth7 --xdp eth0");
        check(unasked, XDP, Level::Note, "not asked for", ask);
        let unknown = |facts: &mut Facts| {
            none(facts);
            facts.plane.running = hidden();
        };
        is_left_out(unknown, XDP);
    }

    #[test]
    fn native_mode_is_known_from_what_runs_from_the_driver_or_from_a_list() {
        let idle = |facts: &mut Facts, bits| {
            facts.eth0().xdp = None;
            facts.eth0().native = Ok(bits);
        };
        let full = Native(native::BASIC | native::REDIRECT);
        check(|_| {}, NATIVE, Level::Ok, "runs a program", None);
        check(|facts| idle(facts, Some(full)), NATIVE, Level::Ok, "says that it can", None);
        let jumbo = |facts: &mut Facts| {
            idle(facts, Some(full));
            facts.eth0().link.mtu = 9000;
        };
        check(jumbo, NATIVE, Level::Warning, "it can, but the MTU of 9000 is too large", None);
        check(|facts| idle(facts, Some(Native(0))), NATIVE, Level::Warning, "cannot; XDP", None);
        let basic = Some(Native(native::BASIC));
        check(|facts| idle(facts, basic), NATIVE, Level::Warning, "cannot", None);
        check(|facts| idle(facts, None), NATIVE, Level::Ok, "ice is known", None);
        let odd = |facts: &mut Facts| {
            idle(facts, None);
            facts.eth0().hardware.driver = None;
        };
        check(odd, NATIVE, Level::Note, "not known", None);
        is_left_out(|facts| facts.eth0().native = hidden(), NATIVE);
    }

    #[test]
    fn a_driver_that_does_not_send_for_others_is_told_where_there_are_others() {
        let deaf = |facts: &mut Facts| facts.eth0().native = Ok(Some(Native(native::BASIC)));
        check(deaf, NATIVE, Level::Ok, "runs a program", None);
        let two = |facts: &mut Facts| {
            deaf(facts);
            facts.interfaces.insert("eth1".to_owned(), Ok(Some(sound_device())));
        };
        check(two, NATIVE, Level::Warning, "sends nothing that comes in by another", None);
    }

    #[test]
    fn an_obstacle_is_named() {
        let cannot = |spoil: fn(&mut Device), found| {
            let spoil = |facts: &mut Facts| {
                facts.eth0().xdp = None;
                facts.eth0().native = Ok(Some(Native(0)));
                spoil(facts.eth0());
            };
            check(spoil, NATIVE, Level::Warning, found, None);
        };
        cannot(|device| device.link.kind = Some("bridge".to_owned()), "a bridge has no native");
        cannot(|device| device.link.mtu = 9000, "the MTU of 9000 is too large");
        cannot(|device| device.peer = Some(Peer::Elsewhere), "more send queues");
    }
}
