//! An address that the nodes announce on their link: traffic to it survives its owner.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use chaos_tests::{LIMIT, in_namespaces};
use lab::load::{Load, Plan as LoadPlan};
use lab::serve::{Protocol, Server};
use lab::waiting::wait_for;
use lab::{Cluster, Instance, Network, Place, Plan, Programs, documents};

/// On the subnet of all hosts, and none of theirs.
const ADDRESS: &str = "10.77.1.200";
const PORT: u16 = 7000;
const BACKENDS: [&str; 2] = ["backend-1", "backend-2"];
const BACKEND_PORT: u16 = 9001;
/// What the documentation states: a lost owner's addresses are another node's within this time.
const FAILOVER: Duration = Duration::from_secs(10);
/// What the documentation states: a node that hears nobody has no address any more by then.
const LEASE_ENDS: Duration = Duration::from_secs(20);

struct Stage {
    cluster: Cluster,
    client: Place,
    network: Network,
    _servers: Vec<Server>,
}

#[test]
fn root_an_announced_address_is_another_nodes_soon_after_its_owner_is_lost() {
    in_namespaces(play);
}

fn play(instance: &Instance) -> Result<()> {
    let mut stage = build(instance)?;
    stage.cluster.form()?;
    stage.cluster.settle()?;
    stage.cluster.apply(0, &configuration(&stage)?)?;
    let first = stage.wait_owner(None, LIMIT)?;
    let load = stage.load()?;
    load.wait_answered(20, LIMIT)?;
    ensure!(stage.clients_neighbour()? == stage.ethernet(first)?, "the client asks the owner");

    // The owner's host falls silent: its cable is cut, and it runs on.
    stage.ip(first, "link set eth0 down")?;
    let begun = Instant::now();
    let second = stage.wait_owner(Some(first), LIMIT)?;
    load.wait_answered(20, LIMIT)?;
    let took = begun.elapsed();
    ensure!(took < FAILOVER, "{took:?} until the traffic went on");
    ensure!(stage.clients_neighbour()? == stage.ethernet(second)?, "the client's entry is new");
    wait_for("the silent owner's address to end", LEASE_ENDS, || !stage.has(first))?;

    // All its processes are killed at once, and the kernel goes on.
    stage.ip(first, "link set eth0 up")?;
    let owner = stage.wait_owner(None, LIMIT)?;
    stage.cluster.members[owner].kill_all();
    let begun = Instant::now();
    stage.wait_owner(Some(owner), LIMIT)?;
    let took = begun.elapsed();
    ensure!(took < FAILOVER, "{took:?} until another node announced it");
    wait_for("the killed owner's address to end", LEASE_ENDS, || !stage.has(owner))?;
    load.wait_answered(20, LIMIT)?;
    let report = load.stop();
    ensure!(report.by_server.len() == BACKENDS.len(), "{report}");
    Ok(())
}

fn build(instance: &Instance) -> Result<Stage> {
    let mut plan = Plan::new().subnet("lan", 77, 1)?.host("client", "lan", 100)?;
    for (name, number) in [("node-1", 101), ("node-2", 102), ("node-3", 103)] {
        plan = plan.host(name, "lan", number)?;
    }
    for (name, number) in BACKENDS.into_iter().zip([11, 12]) {
        plan = plan.host(name, "lan", number)?;
    }
    let network = Network::build(instance, plan)?;
    let mut servers = Vec::new();
    for name in BACKENDS {
        let at = SocketAddr::new(network.plan().find(name)?.v4.into(), BACKEND_PORT);
        servers.push(Server::start(&network.place(name)?, name, Protocol::Tcp, at)?);
    }
    let cluster = Cluster::in_network(instance, &Programs::find()?, &network)?;
    Ok(Stage { cluster, client: network.place("client")?, network, _servers: servers })
}

fn configuration(stage: &Stage) -> Result<String> {
    let mut endpoints = Vec::new();
    for name in BACKENDS {
        endpoints.push(SocketAddr::new(stage.network.plan().find(name)?.v4.into(), BACKEND_PORT));
    }
    let listener = format!(
        "---\nkind: Listener\nmetadata: {{ name: l4 }}\nspec: {{ protocol: TCP, port: {PORT}, \
         address: {ADDRESS}, engine: xdp, announce: L2 }}\n"
    );
    Ok(listener
        + &documents::l4_route("TCP", "l4", "l4", "l4")
        + &documents::service("l4", &endpoints))
}

impl Stage {
    /// New connections to the address, one after the other; some may fail.
    fn load(&self) -> Result<Load> {
        let target = SocketAddr::new(ADDRESS.parse()?, PORT);
        let plan = LoadPlan {
            senders: 1,
            interval: Duration::from_millis(50),
            ..LoadPlan::new(&self.client, &[target])
        };
        plan.tcp()
    }

    /// Waits until one node, and not `other_than`, says that it announces the address.
    fn wait_owner(&self, other_than: Option<usize>, limit: Duration) -> Result<usize> {
        let mut found = None;
        wait_for("an owner of the address", limit, || {
            found = self.owner(other_than);
            found.is_some()
        })?;
        found.context("an owner")
    }

    /// The owner, as any other node tells it.
    fn owner(&self, other_than: Option<usize>) -> Option<usize> {
        let asked = (0..self.cluster.members.len()).find(|index| Some(*index) != other_than)?;
        let status = self.cluster.status(asked).ok()?;
        let reports = status.0["reports"].as_array()?.iter();
        let owners: Vec<usize> = reports
            .filter(|report| report["connected"] == true)
            .filter(|report| report["addresses"][0]["state"] == "announced")
            .filter_map(|report| {
                let name = status.name(report["node"].as_u64()?)?;
                self.cluster.members.iter().position(|member| member.settings().name == name)
            })
            .filter(|owner| Some(*owner) != other_than)
            .collect();
        owners.first().copied().filter(|_| owners.len() == 1)
    }

    fn ip(&self, member: usize, words: &str) -> Result<String> {
        run(&self.cluster.members[member].settings().place, &format!("ip {words}"))
    }

    fn has(&self, member: usize) -> bool {
        let shown = self.ip(member, "-o addr show dev eth0");
        shown.is_ok_and(|shown| shown.contains(&format!(" {ADDRESS}/")))
    }

    fn ethernet(&self, member: usize) -> Result<String> {
        let shown = self.ip(member, "-o link show dev eth0")?;
        let entry = shown.split("link/ether ").nth(1).context(shown.clone())?;
        Ok(entry.split_whitespace().next().unwrap_or_default().to_owned())
    }

    fn clients_neighbour(&self) -> Result<String> {
        let address: IpAddr = ADDRESS.parse()?;
        let shown = run(&self.client, &format!("ip neigh show {address}"))?;
        let entry = shown.split("lladdr ").nth(1).context(shown.clone())?;
        Ok(entry.split_whitespace().next().unwrap_or_default().to_owned())
    }
}

fn run(place: &Place, line: &str) -> Result<String> {
    place.run(|| {
        let mut words = line.split(' ');
        let program = words.next().context("a program")?;
        let output = std::process::Command::new(program).args(words).output()?;
        ensure!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    })?
}
