//! Three namespaces in a row: the client, the node, and the server that stands for all endpoints.

use std::{fs, io::Write as _, net::IpAddr, process::Command, thread};

use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};

use crate::support::namespaces::Namespace;

/// Endpoints on either side of the node.
pub(crate) const ENDPOINTS: u8 = 100;
/// Last part of the first endpoint's address.
const FIRST: u8 = 101;
/// The node's addresses, towards the client and towards the server.
const NODE: [&str; 2] = ["10.1.0.1", "10.2.0.1"];

pub(crate) const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x0c];
pub(crate) const NEAR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub(crate) const FAR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
pub(crate) const SERVER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 5];

/// Returns the address of an endpoint, on the client's side of the node or on the server's.
pub(crate) fn endpoint(n: u8, near: bool) -> String {
    format!("10.{}.0.{}", if near { 1 } else { 2 }, FIRST + n)
}

/// Tells whether an address is an endpoint's on the server's side.
pub(crate) fn is_endpoint(ip: IpAddr) -> bool {
    (0..ENDPOINTS).any(|n| endpoint(n, false) == ip.to_string())
}

/// Tells whether an address is the node's.
pub(crate) fn is_node(ip: IpAddr) -> bool {
    NODE.contains(&ip.to_string().as_str())
}

/// Priority of threads that never sleep.
const BUSY: i32 = 1;
/// Priority of the thread that tells them to stop.
pub(crate) const IN_CHARGE: i32 = 2;

/// Which CPU does what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cpus {
    /// The generator's.
    pub(crate) generator: usize,
    /// The node's and the receiver's.
    pub(crate) node: usize,
}

impl Cpus {
    /// Takes the first and the last of those that this process may use.
    pub(crate) fn choose() -> Self {
        let allowed = sched_getaffinity(Pid::from_raw(0)).expect("the kernel tells it");
        let all: Vec<usize> =
            (0..CpuSet::count()).filter(|cpu| allowed.is_set(*cpu).unwrap_or(false)).collect();
        let (generator, node) = (all[0], all[all.len() - 1]);
        if generator == node {
            eprintln!("      one CPU only: the generator and the node share it");
        }
        Self { generator, node }
    }
}

/// Makes a thread (0 for the calling one) run on one CPU, before all that is not a part of this.
pub(crate) fn pin(thread: i32, cpu: usize) {
    let mut set = CpuSet::new();
    set.set(cpu).expect("a CPU that is there");
    sched_setaffinity(Pid::from_raw(thread), &set).expect("a thread may be moved by root");
    go_before(thread, BUSY);
}

/// Gives a thread (0 for the calling one) a real-time priority, so that what else the host does
/// costs it little; the kernel leaves the rest 5 % (sched(7)). Nice values would count only within
/// a session.
pub(crate) fn go_before(thread: i32, priority: i32) {
    let parameter = libc::sched_param { sched_priority: priority };
    // SAFETY: the parameter is read during the call only.
    let failed =
        unsafe { libc::sched_setscheduler(thread, libc::SCHED_FIFO, &raw const parameter) };
    assert_eq!(failed, 0, "root may raise a thread's priority");
}

/// Runs something on a thread of its own in a namespace.
pub(crate) fn within<T: Send>(namespace: &Namespace, work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            namespace.enter();
            work()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// The namespaces. The interfaces of client and server are `eth0`.
pub(crate) struct Site {
    pub(crate) client: Namespace,
    pub(crate) node: Namespace,
    pub(crate) server: Namespace,
    /// The node's interface towards the client; its name is the only one of its kind on the host,
    /// since NAPI threads are known by it.
    pub(crate) near: String,
    /// The node's interface towards the server.
    pub(crate) far: String,
}

impl Site {
    pub(crate) fn new(number: usize) -> Self {
        let [client, node, server] = ["c", "n", "s"].map(Namespace::new);
        let name = |side: &str| format!("m{}{side}{number}", std::process::id());
        let (near, far) = (name("n"), name("f"));
        for (device, mac, address, other, other_mac, other_address) in [
            (&near, NEAR_MAC, NODE[0], &client, CLIENT_MAC, "10.1.0.2"),
            (&far, FAR_MAC, NODE[1], &server, SERVER_MAC, "10.2.0.2"),
        ] {
            node.run(&format!(
                "ip link add {device} address {} numrxqueues 1 numtxqueues 1 type veth \
                 peer name eth0 address {} numrxqueues 1 numtxqueues 1 netns {}",
                text(mac),
                text(other_mac),
                other.0
            ));
            for (place, device, address) in
                [(&node, device.as_str(), address), (other, "eth0", other_address)]
            {
                place.run(&format!("ip link set {device} up"));
                place.run(&format!("ip addr add {address}/24 dev {device}"));
                place.run(&format!("ethtool -K {device} tx off tso off gso off"));
            }
        }
        let site = Self { client, node, server, near, far };
        site.make_ways();
        site
    }

    /// Makes the ways to all endpoints and back to all flows' sources known for good.
    fn make_ways(&self) {
        let mut lines = vec![format!("route add 11.0.0.0/8 via 10.1.0.2 dev {}", self.near)];
        let mut neighbour = |ip: &str, mac, device: &str| {
            lines.push(format!(
                "neigh replace {ip} lladdr {} dev {device} nud permanent",
                text(mac)
            ));
        };
        neighbour("10.1.0.2", CLIENT_MAC, &self.near);
        for n in 0..ENDPOINTS {
            neighbour(&endpoint(n, true), CLIENT_MAC, &self.near);
            neighbour(&endpoint(n, false), SERVER_MAC, &self.far);
        }
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        file.write_all(lines.join("\n").as_bytes()).expect("a temporary file takes it");
        self.node.run(&format!("ip -batch {}", file.path().display()));
    }

    /// Gives the node's receive path a thread of its own, on one CPU. Comes after what makes the
    /// interface poll at all: a program, or GRO.
    pub(crate) fn pin_node(&self, cpu: usize) {
        let command = format!("echo 1 > /sys/class/net/{}/threaded", self.near);
        let done =
            Command::new("ip").args(["netns", "exec", &self.node.0, "sh", "-c", &command]).status();
        assert!(done.is_ok_and(|status| status.success()), "`{command}` failed");
        let prefix = format!("napi/{}-", self.near);
        let threads: Vec<i32> = fs::read_dir("/proc")
            .expect("/proc")
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter(|id: &i32| {
                fs::read_to_string(format!("/proc/{id}/comm"))
                    .is_ok_and(|name| name.starts_with(&prefix))
            })
            .collect();
        assert_eq!(threads.len(), 1, "threads named {prefix}…");
        pin(threads[0], cpu);
    }
}

fn text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}
