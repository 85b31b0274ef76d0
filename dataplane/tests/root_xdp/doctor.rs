//! The doctor on hosts that are made ill: it sees what is wrong, and its remedies mend it. Needs
//! root.

use std::net::SocketAddr;

use crate::support::{
    namespaces::{self, Namespace},
    objects::desired,
};
use dataplane::{
    Config,
    doctor::{Check, Finding, Level, Wishes, gather, judge},
    xdp::{Engine, PinFolder, Settings, detach, program::Mode},
};

/// Remedies that one check needs in a row: for checksums, then for GRO.
const ROUNDS_MAX: usize = 2;

/// A host in a namespace of its own, entered by the calling thread.
struct Host {
    wishes: Wishes,
    _namespace: Namespace,
}

impl Host {
    /// Makes a host with a veth pair `v0`, `v1`.
    fn new(pair: &str) -> Self {
        let namespace = Namespace::new("d");
        namespace.enter();
        namespaces::run(pair);
        let nowhere = std::path::PathBuf::from("/nonexistent");
        let control = Vec::<SocketAddr>::new();
        let mut config = Config::new(control, nowhere.clone(), nowhere.clone(), nowhere.clone());
        config.envoy = Some(nowhere);
        let interfaces = vec!["v0".to_owned()];
        let wishes = Wishes { interfaces, to: Vec::new(), node: Ok(false), config };
        Self { wishes, _namespace: namespace }
    }

    fn findings(&self) -> Findings {
        Findings(judge(&gather(&self.wishes)))
    }

    fn attach(&self) -> Attached {
        let instance = format!("test-doctor-{}", std::process::id());
        let pins = PinFolder::new("/sys/fs/bpf", &instance).unwrap();
        let settings = Settings::new(vec!["v0".to_owned()], pins.clone());
        let mut engine = Engine::open(settings).expect("root, see `cargo xtask setup`");
        engine.reconcile(&desired(1, &[])).unwrap();
        Attached { engine: Some(engine), pins }
    }
}

/// The program on `v0`; nothing is left of it in the end, also of a test that fails.
struct Attached {
    engine: Option<Engine>,
    pins: PinFolder,
}

impl Attached {
    fn mode(&self) -> &Mode {
        self.engine.as_ref().unwrap().attachments()["v0"].as_ref().unwrap()
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        drop(self.engine.take());
        let _gone = detach(&self.pins);
    }
}

/// What the doctor said.
struct Findings(Vec<Finding>);

impl Findings {
    #[track_caller]
    fn of(&self, check: Check, subject: &str) -> &Finding {
        let mut all = self.0.iter();
        all.find(|finding| finding.check == check && finding.subject == subject).expect("a finding")
    }

    #[track_caller]
    fn check(&self, check: Check, subject: &str, level: Level, found: &str) {
        let finding = self.of(check, subject);
        assert_eq!(finding.level, level, "{finding:?}");
        assert!(finding.found.contains(found), "{finding:?} lacks {found:?}");
    }
}

#[test]
fn root_each_remedy_mends_what_the_doctor_found() {
    let host = Host::new("ip link add v0 mtu 1000 type veth peer name v1");
    namespaces::run("ip link set v1 up");
    namespaces::run("ethtool -K v1 gro off");
    namespaces::run("sysctl -qw net.ipv4.conf.v0.rp_filter=1");
    let ill = [
        (Check::Link, "v0", Level::Warning, "switched off"),
        (Check::Mtu, "v0", Level::Warning, "1000 is less"),
        (Check::RpFilter, "v0", Level::Note, "strict"),
        (Check::VethPeer, "v0", Level::Warning, "v1 leaves checksums to the hardware"),
        (Check::LoForwarding, "host", Level::Note, "forwarding"),
        (Check::SnatPorts, "host", Level::Note, "61000-65535"),
    ];
    let mut findings = host.findings();
    for (check, subject, level, found) in ill {
        findings.check(check, subject, level, found);
    }
    for _ in 0..ROUNDS_MAX {
        let remedies = ill.map(|(check, subject, ..)| findings.of(check, subject).remedy.clone());
        remedies.iter().flatten().for_each(|remedy| namespaces::run(remedy));
        findings = host.findings();
    }
    for (check, subject, ..) in ill {
        // A program on the far end is not a matter of a command.
        if check != Check::VethPeer {
            assert_eq!(findings.of(check, subject).level, Level::Ok);
        }
    }
    findings.check(Check::VethPeer, "v0", Level::Warning, "v1 has no XDP program");
    findings.check(Check::Program, "host", Level::Ok, "takes the XDP program");
    findings.check(Check::DataPlane, "host", Level::Note, "no node yet");
    findings.check(Check::Envoy, "host", Level::Warning, "/nonexistent");
}

#[test]
fn root_xdp_is_told_in_the_mode_in_which_it_is_attached() {
    let mut host = Host::new("ip link add v0 type veth peer name v1");
    namespaces::run("ip link set v0 up");
    namespaces::run("ip link set v1 up");
    let findings = host.findings();
    findings.check(Check::Xdp, "v0", Level::Note, "not attached, and not asked for");
    findings.check(Check::NativeXdp, "v0", Level::Ok, "says that it can");
    host.wishes.config.interfaces.push("v0".to_owned());
    host.findings().check(Check::Xdp, "v0", Level::Warning, "no data plane runs");
    let attached = host.attach();
    assert_eq!(*attached.mode(), Mode::Native);
    let findings = host.findings();
    findings.check(Check::Xdp, "v0", Level::Ok, "native");
    findings.check(Check::NativeXdp, "v0", Level::Ok, "runs a program");
    findings.check(Check::DataPlane, "host", Level::Warning, "forwards on");
    findings.check(Check::LoForwarding, "host", Level::Ok, "on");
    findings.check(Check::SnatPorts, "host", Level::Ok, "reserved");
    drop(attached);
    host.findings().check(Check::Xdp, "v0", Level::Warning, "not attached");
}

#[test]
fn root_generic_mode_is_told_with_what_keeps_the_driver_from_native_mode() {
    // A far end with more send queues than this end has receive queues (`veth_set_xdp_features`).
    let host = Host::new(
        "ip link add v0 numtxqueues 1 numrxqueues 1 type veth peer name v1 numtxqueues 2 numrxqueues 2",
    );
    namespaces::run("ip link set v0 up");
    namespaces::run("ip link set v1 up");
    let findings = host.findings();
    findings.check(Check::NativeXdp, "v0", Level::Warning, "more send queues");
    findings.check(Check::Driver, "v0", Level::Ok, "veth");
    assert!(findings.of(Check::Queues, "v0").found.starts_with("1 receive queue for "));
    let attached = host.attach();
    assert!(matches!(attached.mode(), Mode::Generic(_)));
    host.findings().check(
        Check::Xdp,
        "v0",
        Level::Warning,
        "generic, which is several times slower: the far",
    );
}

#[test]
fn root_ways_to_endpoints_are_told_by_what_the_kernel_knows() {
    let mut host = Host::new("ip link add v0 type veth peer name v1");
    for line in [
        "ip link set v0 up",
        "ip link set v1 up",
        "ip addr add 10.0.0.1/24 dev v0",
        "ip addr add fd00::1/64 dev v0 nodad",
        "ip neigh replace 10.0.0.2 lladdr 02:00:00:00:00:02 dev v0 nud permanent",
        "ip neigh replace fd00::2 lladdr 02:00:00:00:00:02 dev v0 nud permanent",
        "ip route add 192.0.2.0/24 via 10.0.0.2",
        "ip route add unreachable 198.51.100.0/24",
        "ip link add w0 type veth peer name w1",
        "ip link set w0 up",
        "ip link set w1 up",
        "ip addr add 10.1.0.1/24 dev w0",
        "ip neigh replace 10.1.0.2 lladdr 02:00:00:00:00:02 dev w0 nud permanent",
    ] {
        namespaces::run(line);
    }
    let ways = [
        ("10.0.0.2", Level::Ok, "on v0"),
        ("fd00::2", Level::Ok, "on v0"),
        ("192.0.2.7", Level::Ok, "by 10.0.0.2 on v0"),
        ("10.0.0.1", Level::Problem, "an address of this host"),
        ("10.0.0.9", Level::Problem, "nobody answers"),
        ("fd00::9", Level::Problem, "nobody answers"),
        ("203.0.113.1", Level::Problem, "no route to it"),
        ("198.51.100.1", Level::Problem, "no route to it"),
        ("10.1.0.2", Level::Warning, "on w0, which is not an --xdp interface"),
    ];
    host.wishes.to = ways.iter().map(|(to, ..)| to.parse().unwrap()).collect();
    let findings = host.findings();
    for (to, level, found) in ways {
        findings.check(Check::NextHop, to, level, found);
    }
}
