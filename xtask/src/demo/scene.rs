//! The scene of the demo: hosts, backends, and a cluster that is not started yet.

use std::fs;
use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result};
use lab::serve::{Protocol, Server};
use lab::{Cluster, Instance, Loopback, Network, Place, Plan, Programs};

use crate::workspace::root;

/// Ports of `examples/shop.yaml`.
pub(super) const WEB_PORT: u16 = 8080;
pub(super) const ORDERS_PORT: u16 = 7000;
pub(super) const TICKS_PORT: u16 = 7100;
const HTTP_PORT: u16 = 9000;
const TCP_PORT: u16 = 9001;
const UDP_PORT: u16 = 9002;

const BACKENDS: [&str; 4] = ["backend-a1", "backend-a2", "backend-b1", "backend-b2"];

/// Everything that the story plays with. Its instance goes last.
pub(super) struct Scene {
    /// The three nodes.
    pub(super) cluster: Cluster,
    /// Where the client stands.
    pub(super) client: Place,
    /// What is applied.
    pub(super) shop: String,
    /// Whether XDP carries L4.
    pub(super) xdp: bool,
    /// The HTTP server of each backend.
    pub(super) web: Vec<(&'static str, Server)>,
    _l4: Vec<Server>,
    /// The laboratory.
    pub(super) instance: Instance,
}

impl Scene {
    /// Builds it: in network namespaces as root, on loopback otherwise.
    ///
    /// # Errors
    /// When a tool, an address or the example is missing.
    pub(super) fn build(programs: &Programs, as_root: bool) -> Result<Self> {
        let path = root().join("examples/shop.yaml");
        let shop =
            fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let instance = Instance::new()?;
        let plan = Plan::two_clouds();
        let (cluster, client, shop, network) = if as_root {
            let network = Network::build(&instance, plan.clone())?;
            let cluster = Cluster::in_network(&instance, programs, &network)?;
            (cluster, network.place("client")?, shop, Some(network))
        } else {
            let cluster = Cluster::on_loopback(&instance, programs, Loopback::net(0, 0), 3);
            // Every address of 127.0.0.0/8 is this host: the clouds move there as they are.
            (cluster, Place::Here, shop.replace(" 10.77.", " 127.77."), None)
        };
        let (mut web, mut l4) = (Vec::new(), Vec::new());
        for name in BACKENDS {
            let (place, address): (Place, IpAddr) = match &network {
                Some(network) => (network.place(name)?, plan.find(name)?.v4.into()),
                None => {
                    let [_, b, c, d] = plan.find(name)?.v4.octets();
                    (Place::Here, [127, b, c, d].into())
                }
            };
            let at = |port| SocketAddr::new(address, port);
            web.push((name, Server::start(&place, name, Protocol::Http, at(HTTP_PORT))?));
            l4.push(Server::start(&place, name, Protocol::Tcp, at(TCP_PORT))?);
            l4.push(Server::start(&place, name, Protocol::Udp, at(UDP_PORT))?);
        }
        Ok(Self { cluster, client, shop, xdp: as_root, web, _l4: l4, instance })
    }

    /// The address of a listener on each node.
    pub(super) fn targets(&self, port: u16) -> Vec<SocketAddr> {
        self.cluster.members.iter().map(|member| member.listener(port)).collect()
    }

    /// Says how to play with what stands.
    pub(super) fn print_use(&self) {
        let member = &self.cluster.members[0];
        let program = member.settings().binary.display().to_string();
        let (inside, from_client) = if self.xdp {
            let name = self.instance.name();
            (format!("ip netns exec {name}-node-1 "), format!("ip netns exec {name}-client "))
        } else {
            (String::new(), String::new())
        };
        println!("\nThe cluster stays up until Ctrl-C. To play with it:\n");
        println!("  export MARCHPROXY_CONTEXT={}", member.context_file().display());
        println!("  {inside}{program} status");
        println!("  {inside}{program} apply -f examples/shop.yaml --wait");
        println!(
            "  {from_client}curl -H 'host: shop.example' http://{}/",
            member.listener(WEB_PORT)
        );
        println!("\nAPI: https://{} (token in the context file)", member.api());
        println!("logs: {}", self.instance.logs().display());
    }
}
