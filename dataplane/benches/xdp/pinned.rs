//! Holds the program ready in the kernel, so that any program can time it with
//! `BPF_PROG_TEST_RUN`: `cargo xtask bench xdp --pin FOLDER`.
//!
//! It works in the network namespace that it is started in, since the kernel looks routes up in
//! that of whoever makes the test run. There it makes a veth pair with addresses that are set aside
//! for measurements, and takes everything away when it is told to stop.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use aya::maps::MapData;
use dataplane::xdp::{Engine, PinFolder, Settings, detach, pins::BPFFS};
use ebpf_common::layout::PROGRAM;
use model::listener::Forwarding;
use nix::sys::signal::{SigSet, Signal};

use crate::{
    ENDPOINTS, TABLE, services,
    support::{namespaces::run, objects::desired},
};

/// The interface that endpoints are behind, and its far end.
const INTERFACE: &str = "mpbench0";
const FAR_END: &str = "mpbench1";
/// The node's addresses: of RFC 2544's range for benchmarks, and a local one (RFC 4193).
const ADDRESSES: [&str; 2] = ["198.18.0.1/24", "fd00:198:18::1/64"];

/// What `--pin` and `--forwarding` say, when they are there.
pub(crate) fn arguments(mut words: impl Iterator<Item = String>) -> Option<(PathBuf, Forwarding)> {
    let (mut folder, mut forwarding) = (None, Forwarding::Ipip);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--pin" => folder = words.next().map(PathBuf::from),
            "--forwarding" => {
                let name = words.next();
                let all = [Forwarding::Ipip, Forwarding::Gue, Forwarding::L2, Forwarding::Nat];
                forwarding = all
                    .into_iter()
                    .find(|forwarding| name == Some(format!("{forwarding:?}")))
                    .unwrap_or_else(|| panic!("--forwarding wants one of {all:?}"));
            }
            _ => {}
        }
    }
    Some((folder?, forwarding))
}

/// Pins the program and waits to be told to stop.
pub(crate) fn hold(folder: &Path, forwarding: Forwarding) {
    // Before there is a thread that a signal could end.
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    signals.thread_block().expect("signals can be blocked");
    let pinned = Pinned::new(folder, forwarding);
    println!("{}", pinned.folder.join(PROGRAM).display());
    eprintln!("serves until it is stopped (Ctrl-C)");
    let _signal = signals.wait().expect("a signal");
}

/// The program, pinned; all is undone on drop.
struct Pinned {
    folder: PathBuf,
    made_folder: bool,
    files: Vec<PathBuf>,
    pins: PinFolder,
    engine: Engine,
    _interface: Interface,
}

impl Pinned {
    fn new(folder: &Path, forwarding: Forwarding) -> Self {
        let interface = Interface::new();
        let pins = PinFolder::new(BPFFS, &format!("bench-xdp-{}", std::process::id()));
        let pins = pins.expect("a folder's name");
        let settings =
            Settings { flows: TABLE, ..Settings::new(vec![INTERFACE.to_owned()], pins.clone()) };
        let engine = Engine::open(settings).unwrap_or_else(|error| panic!("{error:?} (root?)"));
        let made_folder = !folder.exists();
        let folder = folder.to_owned();
        let mut pinned =
            Self { folder, made_folder, files: Vec::new(), pins, engine, _interface: interface };
        let services = services(endpoint, forwarding);
        pinned.engine.reconcile(&desired(1, &services)).expect("the kernel takes the services");
        pinned.pin();
        pinned
    }

    fn pin(&mut self) {
        let folder = self.folder.clone();
        fs::create_dir_all(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let program = folder.join(PROGRAM);
        let refused = |path: &Path| format!("{} on a BPF file system", path.display());
        self.engine.program().xdp().pin(&program).unwrap_or_else(|error| {
            panic!("{}: {error}", refused(&program));
        });
        self.files.push(program);
        for name in dataplane::xdp::pins::MAPS {
            let map = MapData::from_pin(self.pins.map(name)).expect("the engine has pinned it");
            let path = folder.join(name);
            map.pin(&path).unwrap_or_else(|error| panic!("{}: {error}", refused(&path)));
            self.files.push(path);
        }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        for path in &self.files {
            let _gone = fs::remove_file(path);
        }
        if self.made_folder {
            let _gone = fs::remove_dir(&self.folder);
        }
        let _gone = detach(&self.pins);
    }
}

/// The interface, with ways to all endpoints that are known for good.
struct Interface;

impl Interface {
    fn new() -> Self {
        run(&format!("ip link add {INTERFACE} type veth peer name {FAR_END}"));
        let interface = Self;
        run(&format!("ip link set {INTERFACE} up"));
        run(&format!("ip link set {FAR_END} up"));
        for address in ADDRESSES {
            let nodad = if address.contains(':') { "nodad" } else { "" };
            run(&format!("ip addr add {address} dev {INTERFACE} {nodad}"));
        }
        for n in 0..ENDPOINTS {
            for ip in endpoint(n) {
                run(&format!(
                    "ip neigh replace {ip} lladdr 02:00:00:00:01:{n:02x} dev {INTERFACE} nud permanent"
                ));
            }
        }
        interface
    }
}

impl Drop for Interface {
    fn drop(&mut self) {
        let _gone = Command::new("ip").args(["link", "del", INTERFACE]).output();
    }
}

/// The addresses of an endpoint.
fn endpoint(n: u8) -> [String; 2] {
    [format!("198.18.0.{}", 101 + n), format!("fd00:198:18::1:{n:x}")]
}
