//! What a data plane is started with.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    path::PathBuf,
    time::Duration,
};

use runtime::process::Keeper;

use crate::{afxdp::priority::Priority, envoy::Keeping};

/// The settings of a data plane.
#[derive(Debug, Clone)]
pub struct Config {
    /// Push addresses of control nodes, the preferred one (of this host) first.
    pub control: Vec<SocketAddr>,
    /// Where this data plane's identity is saved.
    pub identity_dir: PathBuf,
    /// Where the last known good configuration is kept; survives reboots.
    pub state_dir: PathBuf,
    /// Where lock, sockets and Envoy's files stand; may be emptied by a reboot.
    pub run_dir: PathBuf,
    /// Interfaces that XDP is attached to; empty leaves TCP and UDP to Envoy.
    pub interfaces: Vec<String>,
    /// The Envoy executable; looked for where absent.
    pub envoy: Option<PathBuf>,
    /// Envoy's worker threads; the number of cores where absent.
    pub envoy_concurrency: Option<u32>,
    /// The most memory that Envoy may allocate, in bytes; three quarters of what there is where absent.
    pub envoy_memory: Option<u64>,
    /// The address that listeners on `*` take on this node; all addresses where absent.
    pub listen_address: Option<IpAddr>,
    /// The IPv4 address that XDP's connections to endpoints leave from; found where absent.
    pub source_v4: Option<Ipv4Addr>,
    /// The IPv6 address that XDP's connections to endpoints leave from; found where absent.
    pub source_v6: Option<Ipv6Addr>,
    /// Flows of direct server return that XDP's table has room for; rounded up to a power of two.
    pub flows: u32,
    /// Connections with full NAT that XDP's table has room for; rounded up to a power of two.
    pub connections: u32,
    /// Of how many packets one is told of in the stream of flows; 0 when only what is dropped, and
    /// what begins and ends connections is.
    pub flow_sampling: u32,
    /// The priority of workers, in which packets wait for a limit.
    pub worker_priority: Priority,
    /// How long open requests may take at a shutdown.
    pub drain: Duration,
    /// How long Envoy goes on without a data plane.
    pub envoy_linger: Duration,
    /// How Envoy's keeper is started, by which it outlives this process; without one it does not.
    pub keeper: Option<Keeper>,
}

impl Config {
    /// How long open requests may take at a shutdown where nothing else is asked for.
    pub const DRAIN: Duration = Duration::from_secs(10);

    /// Settings with nothing but what has no default.
    #[must_use]
    pub fn new(
        control: Vec<SocketAddr>,
        identity_dir: PathBuf,
        state_dir: PathBuf,
        run_dir: PathBuf,
    ) -> Self {
        Self {
            control,
            identity_dir,
            state_dir,
            run_dir,
            interfaces: Vec::new(),
            envoy: None,
            envoy_concurrency: None,
            envoy_memory: None,
            listen_address: None,
            source_v4: None,
            source_v6: None,
            flows: ebpf_common::layout::FLOWS,
            connections: ebpf_common::layout::CONNECTIONS,
            flow_sampling: ebpf_common::layout::FLOW_SAMPLING_DEFAULT,
            worker_priority: Priority::default(),
            drain: Self::DRAIN,
            envoy_linger: Keeping::LINGER,
            keeper: None,
        }
    }

    /// Where certificates lie that were issued for the cluster; survives reboots.
    #[must_use]
    pub fn certificates_dir(&self) -> PathBuf {
        self.state_dir.join("certificates")
    }

    /// Where the modules of filters lie; survives reboots.
    #[must_use]
    pub fn modules_dir(&self) -> PathBuf {
        self.state_dir.join("modules")
    }

    /// The lock that the running data plane of a run directory holds.
    #[must_use]
    pub fn lock_file(&self) -> PathBuf {
        self.run_dir.join("dataplane.lock")
    }

    /// The Unix socket with metrics and status.
    #[must_use]
    pub fn admin_socket(&self) -> PathBuf {
        self.run_dir.join("dataplane.sock")
    }

    /// How Envoy is kept while this data plane is replaced.
    pub(crate) fn keeping(&self) -> Option<Keeping> {
        let (owner, linger) = (self.lock_file(), self.envoy_linger);
        self.keeper.clone().map(|keeper| Keeping { keeper, owner, linger })
    }

    pub(crate) fn xds_socket(&self) -> PathBuf {
        self.run_dir.join("xds.sock")
    }

    /// The address that Envoy binds for listeners on `*`.
    pub(crate) fn any_address(&self) -> IpAddr {
        self.listen_address.unwrap_or_else(|| {
            // A kernel without IPv6 refuses this, and then Envoy would be refused too.
            match UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)) {
                Ok(_) => Ipv6Addr::UNSPECIFIED.into(),
                Err(_) => Ipv4Addr::UNSPECIFIED.into(),
            }
        })
    }
}
