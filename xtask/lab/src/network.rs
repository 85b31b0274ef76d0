//! Builds a plan out of network namespaces: one per host, and one router with a bridge per subnet
//! that every host is cabled to. Also cuts and heals paths between hosts.
//!
//! Each host has a switch port of its own, so a relay that delays or drops can stand between the
//! two later; the kernels this runs on have no netem.
//!
//! Two facts of veth decide the settings. A sender with checksum or segmentation offload hands an
//! XDP program packets with partial checksums, so offloads are off on both ends. A frame that an
//! XDP program transmits is late or lost unless the far end has a program too, so every switch
//! port has one that passes all frames.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use crate::instance::Instance;
use crate::pass;
use crate::place::Place;
use crate::plan::{Host, Plan};
use crate::tool;

/// Name of a host's interface, inside its namespace.
pub const INTERFACE: &str = "eth0";

/// Name of the switch ports' program on the router's BPF file system.
const PASS: &str = "pass";

const OFFLOADS_OFF: [&str; 6] = ["tx", "off", "tso", "off", "gso", "off"];

/// The sets hold ordered pairs of addresses; a frame of a pair in a set is dropped at the port
/// where it enters the switch, whether it is to be bridged or routed.
const CUTS: &str = "\
table bridge cuts {
  set v4 { type ipv4_addr . ipv4_addr; }
  set v6 { type ipv6_addr . ipv6_addr; }
  chain ingress {
    type filter hook prerouting priority 0; policy accept;
    ip saddr . ip daddr @v4 counter drop
    ip6 saddr . ip6 daddr @v6 counter drop
  }
}
";

/// A built plan. The namespaces belong to the [`Instance`], which removes them.
#[derive(Debug, Clone)]
pub struct Network {
    instance: String,
    directory: PathBuf,
    plan: Plan,
}

impl Network {
    /// Builds all namespaces, cables and addresses. Needs root.
    ///
    /// # Errors
    /// When not root, or when a tool refuses; what was built is removed with the instance.
    pub fn build(instance: &Instance, plan: Plan) -> Result<Self> {
        ensure!(
            nix::unistd::geteuid().is_root(),
            "network namespaces need root; run as root, or use the loopback variant"
        );
        let network = Self::attach(instance, plan);
        network.build_router()?;
        for (index, host) in network.plan.hosts().iter().enumerate() {
            network
                .build_host(index, host)
                .with_context(|| format!("building host {}", host.name))?;
        }
        Ok(network)
    }

    /// The handle of a network that is already built.
    #[must_use]
    pub fn attach(instance: &Instance, plan: Plan) -> Self {
        Self {
            instance: instance.name().to_owned(),
            directory: instance.directory().to_owned(),
            plan,
        }
    }

    /// The plan it was built from.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Where processes and threads of a host run.
    ///
    /// # Errors
    /// When the plan has no such host.
    pub fn place(&self, host: &str) -> Result<Place> {
        self.plan.find(host)?;
        Ok(Place::Host { namespace: self.namespace(host), bpffs: Some(self.bpffs(host)) })
    }

    /// Cuts all traffic between two hosts, both ways and both families.
    ///
    /// # Errors
    /// When a host is not there or `nft` refuses.
    pub fn cut(&self, one: &str, other: &str) -> Result<()> {
        self.change_cut("add", one, other)
    }

    /// Undoes one [`Network::cut`].
    ///
    /// # Errors
    /// When a host is not there or the path was not cut.
    pub fn mend(&self, one: &str, other: &str) -> Result<()> {
        self.change_cut("delete", one, other)
    }

    /// Undoes every cut.
    ///
    /// # Errors
    /// When `nft` refuses.
    pub fn heal(&self) -> Result<()> {
        let commands = "flush set bridge cuts v4\nflush set bridge cuts v6\n";
        self.nft(commands)
    }

    fn change_cut(&self, verb: &str, one: &str, other: &str) -> Result<()> {
        let (a, b) = (self.plan.find(one)?, self.plan.find(other)?);
        let mut commands = String::new();
        for (from, to) in [(a, b), (b, a)] {
            let _ = writeln!(
                commands,
                "{verb} element bridge cuts v4 {{ {} . {} }}\n{verb} element bridge cuts v6 {{ {} . {} }}",
                from.v4, to.v4, from.v6, to.v6
            );
        }
        self.nft(&commands)
    }

    fn nft(&self, commands: &str) -> Result<()> {
        tool::run_with_input(&self.router(), "nft", &["-f", "-"], commands).map(drop)
    }

    fn namespace(&self, host: &str) -> String {
        format!("{}-{host}", self.instance)
    }

    fn router(&self) -> Place {
        Place::namespace(&self.namespace("router"))
    }

    fn add_namespace(&self, host: &str) -> Result<Place> {
        let namespace = self.namespace(host);
        tool::run(&Place::Here, "ip", &["netns", "add", &namespace])?;
        let place = Place::namespace(&namespace);
        place.run(|| {
            // Addresses are unique by construction: detection would only delay them.
            write_sysctl("ipv6/conf/default/accept_dad", "0")?;
            write_sysctl("ipv6/conf/all/accept_dad", "0")?;
            write_sysctl("ipv6/conf/default/accept_ra", "0")
        })??;
        Ok(place)
    }

    fn build_router(&self) -> Result<()> {
        let place = self.add_namespace("router")?;
        let mut batch = String::from("link set lo up\n");
        for (index, subnet) in self.plan.subnets().iter().enumerate() {
            // Without multicast snooping: it needs a querier, or IPv6 neighbours go unheard.
            let _ =
                writeln!(batch, "link add br{index} type bridge mcast_snooping 0 forward_delay 0");
            let _ = writeln!(batch, "addr add {}/24 dev br{index}", subnet.gateway_v4());
            let _ = writeln!(batch, "addr add {}/64 dev br{index} nodad", subnet.gateway_v6());
            let _ = writeln!(batch, "link set br{index} up");
        }
        tool::run_with_input(&place, "ip", &["-batch", "-"], &batch)?;
        place.run(|| {
            write_sysctl("ipv4/ip_forward", "1")?;
            write_sysctl("ipv6/conf/all/forwarding", "1")
        })??;
        self.mount_bpffs("router")?;
        pass::pin(&self.bpffs("router").join(PASS))?;
        self.nft(CUTS)
    }

    fn build_host(&self, index: usize, host: &Host) -> Result<()> {
        let place = self.add_namespace(&host.name)?;
        let (router, port) = (self.namespace("router"), format!("port{index}"));
        let namespace = self.namespace(&host.name);
        let subnet = &self.plan.subnets()[host.subnet];
        tool::run_with_input(
            &Place::Here,
            "ip",
            &["-batch", "-"],
            &format!(
                "link add {port} netns {router} type veth peer name {INTERFACE} netns {namespace}\n"
            ),
        )?;
        let pass = self.bpffs("router").join(PASS);
        let port_up = format!(
            "link set {port} master br{}\nlink set {port} xdpdrv pinned {}\nlink set {port} up\n",
            host.subnet,
            pass.display()
        );
        tool::run_with_input(&self.router(), "ip", &["-batch", "-"], &port_up)?;
        let host_up = format!(
            "link set lo up\nlink set {INTERFACE} up\n\
             addr add {}/24 dev {INTERFACE}\naddr add {}/64 dev {INTERFACE} nodad\n\
             route add default via {}\nroute add ::/0 via {}\n",
            host.v4,
            host.v6,
            subnet.gateway_v4(),
            subnet.gateway_v6()
        );
        tool::run_with_input(&place, "ip", &["-batch", "-"], &host_up)?;
        let offloads = |name| [&["-K", name][..], &OFFLOADS_OFF].concat();
        tool::run(&place, "ethtool", &offloads(INTERFACE))?;
        tool::run(&self.router(), "ethtool", &offloads(&port))?;
        self.mount_bpffs(&host.name)
    }

    fn bpffs(&self, host: &str) -> PathBuf {
        self.directory.join("bpf").join(host)
    }

    fn mount_bpffs(&self, host: &str) -> Result<()> {
        let path = self.bpffs(host);
        fs::create_dir_all(&path)?;
        let path = path.to_string_lossy().into_owned();
        tool::run(&Place::Here, "mount", &["-t", "bpf", "bpf", &path]).map(drop)
    }
}

fn write_sysctl(name: &str, value: &str) -> Result<()> {
    let path = format!("/proc/sys/net/{name}");
    fs::write(&path, value).with_context(|| format!("writing {value} to {path}"))
}
