//! L4 by XDP in network namespaces: the leader dies, established flows stay, in both families.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use chaos_tests::{LIMIT, in_namespaces};
use lab::load::{Load, Plan as LoadPlan};
use lab::serve::{Protocol, Server};
use lab::waiting::wait_until;
use lab::{Cluster, Instance, Network, Place, Plan, Programs, documents};

const BACKENDS: [&str; 2] = ["backend-a1", "backend-b1"];
const BACKEND_PORT: u16 = 9001;
const UDP_BACKEND_PORT: u16 = 9002;

struct Stage {
    cluster: Cluster,
    client: Place,
    network: Network,
    _servers: Vec<Server>,
}

#[test]
fn root_xdp_keeps_established_flows_when_the_leader_is_killed_in_both_families() {
    in_namespaces(play);
}

fn play(instance: &Instance) -> Result<()> {
    let mut stage = build(instance)?;
    stage.cluster.form()?;
    stage.cluster.settle()?;
    stage.cluster.apply(2, &configuration(&stage)?)?;
    let status = stage.cluster.status(0)?;
    for (node, engine, report) in status.engines().filter(|(_, engine, _)| *engine == "xdp") {
        ensure!(report["state"] == "applied", "node {node}, {engine}: {report}");
    }
    let loads = [
        load(&stage, 7004, false)?.tcp()?,
        load(&stage, 7006, true)?.tcp()?,
        load(&stage, 7104, false)?.udp()?,
        load(&stage, 7106, true)?.udp()?,
    ];
    unharmed(&loads, "before anything happened")?;

    let leader = stage.cluster.leader()?;
    stage.cluster.members[leader].kill_control();
    let other = (leader + 1) % 3;
    let mut api = stage.cluster.api(other)?;
    let more = documents::service("more", &[SocketAddr::new([10, 9, 8, 7].into(), 1)]);
    wait_until("a write after the leader's death", LIMIT, || api.apply(&more))?;
    unharmed(&loads, "after the leader's death")?;
    stage.cluster.members[leader].restart()?;
    unharmed(&loads, "after its return")?;

    for load in loads {
        let report = load.stop();
        ensure!(report.by_server.len() == BACKENDS.len(), "{:?}", report.by_server);
    }
    Ok(())
}

fn build(instance: &Instance) -> Result<Stage> {
    let network = Network::build(instance, Plan::two_clouds())?;
    let mut servers = Vec::new();
    for name in BACKENDS {
        let place = network.place(name)?;
        for address in network.plan().find(name)?.addresses() {
            let at = |port| SocketAddr::new(address, port);
            servers.push(Server::start(&place, name, Protocol::Tcp, at(BACKEND_PORT))?);
            servers.push(Server::start(&place, name, Protocol::Udp, at(UDP_BACKEND_PORT))?);
        }
    }
    let cluster = Cluster::in_network(instance, &Programs::find()?, &network)?;
    Ok(Stage { cluster, client: network.place("client")?, network, _servers: servers })
}

/// A TCP and a UDP service in each family, each on a port of its own.
fn configuration(stage: &Stage) -> Result<String> {
    let mut text = String::new();
    for (family, index) in [("4", 0), ("6", 1)] {
        for (protocol, port, backend_port) in
            [("TCP", "700", BACKEND_PORT), ("UDP", "710", UDP_BACKEND_PORT)]
        {
            let name = format!("{}{family}", protocol.to_lowercase());
            let mut endpoints = Vec::new();
            for backend in BACKENDS {
                let address = stage.network.plan().find(backend)?.addresses()[index];
                endpoints.push(SocketAddr::new(address, backend_port));
            }
            text += &documents::listener(&name, protocol, format!("{port}{family}").parse()?);
            text += &documents::l4_route(protocol, &name, &name, &name);
            text += &documents::service(&name, &endpoints);
        }
    }
    Ok(text)
}

fn load(stage: &Stage, port: u16, six: bool) -> Result<LoadPlan> {
    let mut targets = Vec::new();
    for host in stage.network.plan().hosts().iter().filter(|host| host.name.starts_with("node-")) {
        targets.push(SocketAddr::new(host.addresses()[usize::from(six)], port));
    }
    Ok(LoadPlan {
        senders: 4,
        interval: Duration::from_millis(20),
        ..LoadPlan::new(&stage.client, &targets)
    })
}

/// 200 more answers on each load, and not one failure so far.
fn unharmed(loads: &[Load], when: &str) -> Result<()> {
    for (what, load) in ["TCP 4", "TCP 6", "UDP 4", "UDP 6"].iter().zip(loads) {
        load.wait_answered(200, LIMIT)?;
        let report = load.report();
        ensure!(report.failed == 0 && report.broken == 0, "{what}, {when}: {report}");
    }
    Ok(())
}
