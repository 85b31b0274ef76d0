//! A loaded cluster with its backends, and the documents that it is loaded with.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::api::Api;
use lab::serve::{Protocol, Server};
use lab::{Certificate, Cluster, Instance, Loopback, Network, Place, Plan, Programs, documents};

use crate::progress::Step;

pub(super) const WEB_PORT: u16 = 8080;
pub(super) const SECURE_PORT: u16 = 8443;
/// First port of the L4 services that are there from the start; those of the trials follow.
const L4_PORT: u16 = 10_000;
const BACKEND_PORT: u16 = 9000;
/// The backends' names, in their order.
pub(super) const BACKENDS: [&str; 2] = ["backend-a1", "backend-a2"];
/// Objects in one apply while the base is loaded.
const LOAD_BATCH: usize = 500;
const LOAD_MAX: Duration = Duration::from_secs(300);

/// Where a measurement runs.
pub(super) struct Site {
    pub(super) cluster: Cluster,
    pub(super) client: Place,
    pub(super) backends: Vec<SocketAddr>,
    /// Two certificates for the same host.
    pub(super) certificates: [Certificate; 2],
    _servers: Vec<Server>,
    _instance: Instance,
}

impl Site {
    /// An API connection to a node that does not lead.
    pub(super) fn follower(&self) -> Result<Api> {
        let follower = (self.cluster.leader()? + 1) % self.cluster.members.len();
        self.cluster.api(follower)
    }

    /// Where each node takes the traffic of a port.
    pub(super) fn listeners(&self, port: u16) -> Vec<SocketAddr> {
        self.cluster.members.iter().map(|member| member.listener(port)).collect()
    }

    /// The nodes' addresses.
    pub(super) fn addresses(&self) -> Vec<IpAddr> {
        self.cluster.members.iter().map(|member| member.settings().address).collect()
    }
}

/// The name of an HTTP host.
pub(super) fn host(index: usize) -> String {
    format!("h{index}.bench.example")
}

/// A host with a service of its own.
pub(super) fn one_host(index: usize, backend: SocketAddr) -> String {
    let name = format!("s{index}");
    documents::service(&name, &[backend])
        + &documents::http_route(&name, "web", &host(index), &name)
}

/// The port of an L4 service.
pub(super) fn l4_port(index: usize) -> Result<u16> {
    let port = usize::from(L4_PORT) + index;
    u16::try_from(port).with_context(|| format!("no port left for L4 service {index}"))
}

/// A UDP port with a service of its own.
pub(super) fn one_port(index: usize, backend: SocketAddr) -> Result<String> {
    let name = format!("s{index}");
    Ok(documents::service(&name, &[backend])
        + &documents::listener(&name, "UDP", l4_port(index)?)
        + &documents::l4_route("UDP", &name, &name, &name))
}

/// Three nodes with so many HTTP hosts, an HTTPS listener, and two backends.
pub(super) fn http(programs: &Programs, root: bool, hosts: usize, step: &Step) -> Result<Site> {
    let site = form(programs, Protocol::Http, root)?;
    let base = documents::http_listener("web", WEB_PORT)
        + &documents::https_listener("secure", SECURE_PORT, &site.certificates[0]);
    load(&site, base, hosts, 2, step, |index| Ok(one_host(index, site.backends[0])))?;
    Ok(site)
}

/// Three nodes with so many UDP ports.
pub(super) fn packets(programs: &Programs, ports: usize, step: &Step) -> Result<Site> {
    let site = form(programs, Protocol::Udp, true)?;
    load(&site, String::new(), ports, 3, step, |index| one_port(index, site.backends[0]))?;
    Ok(site)
}

fn form(programs: &Programs, protocol: Protocol, root: bool) -> Result<Site> {
    let instance = Instance::new()?;
    let mut servers = Vec::new();
    let mut backends = Vec::new();
    let (mut cluster, client) = if root {
        let network = Network::build(&instance, Plan::two_clouds())?;
        for name in BACKENDS {
            let address = SocketAddr::new(network.plan().find(name)?.v4.into(), BACKEND_PORT);
            servers.push(Server::start(&network.place(name)?, name, protocol, address)?);
            backends.push(address);
        }
        (Cluster::in_network(&instance, programs, &network)?, network.place("client")?)
    } else {
        let net = Loopback::own();
        for (host, name) in (100..).zip(BACKENDS) {
            let address = net.at(host, BACKEND_PORT);
            servers.push(Server::start(&Place::Here, name, protocol, address)?);
            backends.push(address);
        }
        (Cluster::on_loopback(&instance, programs, net, 3), Place::Here)
    };
    let certificate = |name| Certificate::write(instance.directory(), name, &host(0));
    let certificates = [certificate("one")?, certificate("other")?];
    cluster.form()?;
    cluster.settle()?;
    Ok(Site { cluster, client, backends, certificates, _servers: servers, _instance: instance })
}

fn load(
    site: &Site,
    base: String,
    count: usize,
    objects: usize,
    step: &Step,
    one: impl Fn(usize) -> Result<String>,
) -> Result<()> {
    let since = Instant::now();
    let mut api = site.follower()?;
    let mut revision = 0;
    if !base.is_empty() {
        revision = api.apply(&base)?.0;
    }
    let batch = LOAD_BATCH / objects;
    for start in (0..count).step_by(batch) {
        let end = count.min(start + batch);
        let text = (start..end).map(&one).collect::<Result<String>>()?;
        revision = api.apply(&text)?.0;
        step.note(format!("{end} of {count}"));
    }
    ensure!(revision > 0, "nothing was loaded");
    site.cluster.wait_applied(revision, since, LOAD_MAX).map(drop)
}
