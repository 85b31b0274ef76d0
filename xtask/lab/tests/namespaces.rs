//! The laboratory's network, its cuts, and that nothing of it is left behind.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::net::SocketAddr;
use std::time::Duration;

use lab::load;
use lab::serve::{Protocol, Server};
use lab::{Instance, Launch, Network, Place, Plan, instance, tool};

const LIMIT: Duration = Duration::from_secs(10);

fn need_root() {
    assert!(
        nix::unistd::geteuid().is_root(),
        "this test makes network namespaces: run it as root, after `cargo xtask setup`"
    );
}

fn exchange(network: &Network, from: &str, to: SocketAddr) -> load::Report {
    let plan = load::Plan {
        senders: 1,
        timeout: Duration::from_millis(150),
        ..load::Plan::new(&network.place(from).unwrap(), &[to])
    };
    let load = plan.udp().unwrap();
    lab::waiting::wait_for("five exchanges", LIMIT, || load.report().sent >= 5).unwrap();
    load.stop()
}

#[test]
fn root_hosts_reach_each_other_in_both_families_until_they_are_cut() {
    need_root();
    let instance = Instance::new().unwrap();
    let network = Network::build(&instance, Plan::two_clouds()).unwrap();
    let backend = network.plan().find("backend-b1").unwrap().clone();
    let place = network.place("backend-b1").unwrap();
    for address in backend.addresses() {
        let target = SocketAddr::new(address, 9002);
        let _server = Server::start(&place, "b1", Protocol::Udp, target).unwrap();
        // One over the router, one over the bridge of the same cloud.
        for from in ["client", "node-3"] {
            let report = exchange(&network, from, target);
            assert_eq!(report.failed, 0, "{from} -> {target}: {report}");
            network.cut(from, "backend-b1").unwrap();
            let report = exchange(&network, from, target);
            assert_eq!(report.answered, 0, "{from} -> {target} although cut: {report}");
            network.mend(from, "backend-b1").unwrap();
        }
        network.cut("client", "backend-b1").unwrap();
        network.heal().unwrap();
        assert_eq!(exchange(&network, "client", target).failed, 0);
    }
}

#[test]
fn root_a_host_has_a_bpf_file_system_that_outlives_its_processes() {
    need_root();
    let instance = Instance::new().unwrap();
    let network = Network::build(&instance, Plan::two_clouds()).unwrap();
    let place = network.place("node-1").unwrap();
    tool::run(&place, "mkdir", &["/sys/fs/bpf/pins"]).unwrap();
    assert!(tool::run(&place, "ls", &["/sys/fs/bpf"]).unwrap().contains("pins"));
    let other = network.place("node-2").unwrap();
    assert!(!tool::run(&other, "ls", &["/sys/fs/bpf"]).unwrap().contains("pins"));
    assert_eq!(tool::run(&place, "ls", &["/sys/class/net"]).unwrap().trim(), "eth0\nlo");
}

#[test]
fn root_offloads_are_off_where_xdp_would_see_partial_checksums() {
    need_root();
    let instance = Instance::new().unwrap();
    let network = Network::build(&instance, Plan::two_clouds()).unwrap();
    let features =
        tool::run(&network.place("client").unwrap(), "ethtool", &["-k", "eth0"]).unwrap();
    for feature in ["tx-checksumming", "tcp-segmentation-offload", "generic-segmentation-offload"] {
        assert!(features.contains(&format!("{feature}: off")), "{features}");
    }
}

#[test]
fn root_nothing_is_left_of_an_instance() {
    need_root();
    let instance = Instance::new().unwrap();
    let (name, directory) = (instance.name().to_owned(), instance.directory().to_owned());
    let network = Network::build(&instance, Plan::two_clouds()).unwrap();
    // A process that left its parent's session, as a data plane does.
    let place = network.place("node-1").unwrap();
    let started = Launch::new(&name, &place, "/bin/sh")
        .args(["-c", "setsid sleep 300 </dev/null >/dev/null 2>&1 & echo started"])
        .output(LIMIT)
        .unwrap();
    assert_eq!(started.ok().unwrap().trim(), "started");
    assert_eq!(instance::processes(&name).len(), 1);
    assert!(instance::namespaces(&name).len() > 8);
    drop(instance);
    assert_eq!(instance::processes(&name).len(), 0);
    assert_eq!(instance::namespaces(&name), Vec::<String>::new());
    assert!(!directory.exists());
}

#[test]
fn processes_of_an_instance_are_found_and_killed_without_namespaces() {
    let instance = Instance::new().unwrap();
    let name = instance.name().to_owned();
    let process = Launch::new(&name, &Place::Here, "/bin/sleep")
        .args(["300"])
        .start("sleep", &instance.logs())
        .unwrap();
    assert_eq!(instance::processes(&name), vec![process.pid()]);
    std::mem::forget(process);
    drop(instance);
    assert_eq!(instance::processes(&name), vec![]);
}
