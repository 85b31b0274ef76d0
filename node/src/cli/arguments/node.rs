//! Arguments of the long-running processes.

use std::{
    ffi::OsString,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use clap::{Args, Subcommand, ValueEnum};
use dataplane::afxdp::priority::Priority;

use super::Output;
use crate::settings::{
    DATA_DIR, Flags, envoy_memory, flow_sampling, worker_priority, xdp_connections, xdp_flows,
};

/// How logs are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// A line for people
    #[default]
    Text,
    /// A JSON object a line
    Json,
}

/// How and how much is logged, to the standard error.
#[derive(Args, Clone, Debug)]
pub struct LogArgs {
    /// How logs are written
    #[arg(long = "log", value_enum, default_value_t, value_name = "FORMAT")]
    pub format: LogFormat,
    /// What is logged, as a filter: `info`, `warn,node::api=debug`
    #[arg(long, value_name = "FILTER", default_value = "info,openraft=warn")]
    pub log_level: String,
}

/// Arguments of `up`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Alone, `up` forms a cluster of one node, writes the context file of its administrator and prints a
join line for the next host. On a host that was a node before, it takes up that node, with the
settings it had; flags that are given now replace them.

With --expect, --peers and a shared secret, the same command on every host forms one cluster:
  marchproxy up --expect 3 --peers 10.0.0.1,10.0.0.2,10.0.0.3 --cluster-secret-file /etc/marchproxy/secret

Several nodes on one host:
  marchproxy up --address 127.0.0.11 --listen-address 127.0.0.11 --data-dir /tmp/n1 --run-dir /tmp/r1")]
pub struct UpArgs {
    /// The node's settings.
    #[command(flatten)]
    pub flags: Flags,
    /// Form the cluster together with others: how many founders there are
    #[arg(long, value_name = "N", requires_all = ["peers", "cluster_secret_file"],
          value_parser = clap::value_parser!(u16).range(1..=7))]
    pub expect: Option<u16>,
    /// Addresses or one DNS name of the founders, this host included or not
    #[arg(long, value_name = "ADDRESS,…", value_delimiter = ',', requires = "expect")]
    pub peers: Vec<String>,
    /// A file (mode 0600) with the secret that all founders share, at least 32 characters
    #[arg(long, value_name = "FILE", requires = "expect")]
    pub cluster_secret_file: Option<PathBuf>,
    /// Logs.
    #[command(flatten)]
    pub log: LogArgs,
}

/// Arguments of `join`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Get a join line on any node with `marchproxy token join`. It works once and for an hour.
  marchproxy join mp1.…
After a restart of the host, `marchproxy up` takes up the node; no line is needed again.")]
pub struct JoinArgs {
    /// The join line
    #[arg(value_name = "LINE")]
    pub line: String,
    /// The node's settings.
    #[command(flatten)]
    pub flags: Flags,
    /// Logs.
    #[command(flatten)]
    pub log: LogArgs,
}

/// What is done with a data plane besides running it.
#[derive(Subcommand, Clone, Debug)]
pub enum DataplaneCommand {
    /// Take XDP off this host after its data plane was stopped; established L4 connections end
    Detach(DetachArgs),
    /// Replace Envoy by another one that takes over: no request fails
    RestartEnvoy {
        /// Where.
        #[command(flatten)]
        arguments: RestartArgs,
        /// End the one that runs before the other starts: connections are refused meanwhile. For
        /// versions of Envoy that cannot hand over to each other
        #[arg(long)]
        drain: bool,
    },
    /// Replace the data plane's process, after an upgrade of this program: no request fails
    Restart(RestartArgs),
    /// Keep Envoy while its data plane is replaced
    #[command(hide = true)]
    Keep {
        /// What is kept, and how.
        #[arg(last = true)]
        keep: Vec<OsString>,
    },
}

/// Arguments of `dataplane restart` and `dataplane restart-envoy`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
One node after the other; the first that fails ends it. Envoy goes on while the data plane's process
is replaced, and so do XDP and the addresses that are announced.")]
pub struct RestartArgs {
    /// The node; may be given more than once
    #[arg(long, value_name = "ID", required = true)]
    pub node: Vec<u64>,
}

/// Arguments of `dataplane detach`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
XDP programs, their links and maps outlive the data plane, so that traffic goes on. This removes
those of the node in the data directory, and nothing of another node on the host.")]
pub struct DetachArgs {
    /// The node's directory
    #[arg(long, value_name = "DIR", env = "MARCHPROXY_DATA_DIR", default_value = DATA_DIR)]
    pub data_dir: PathBuf,
    /// Where sockets and locks are [default: the node's, or /run/marchproxy]
    #[arg(long, value_name = "DIR", env = "MARCHPROXY_RUN_DIR")]
    pub run_dir: Option<PathBuf>,
}

/// Arguments of `dataplane`, as the control process gives them.
#[derive(Args, Clone, Debug)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct DataplaneArgs {
    /// What else to do.
    #[command(subcommand)]
    pub command: Option<DataplaneCommand>,
    /// The data plane's directory
    #[arg(long, value_name = "DIR", required = true)]
    pub data_dir: Option<PathBuf>,
    /// Where sockets and locks are
    #[arg(long, value_name = "DIR", required = true)]
    pub run_dir: Option<PathBuf>,
    /// Where the control process pushes; without it, the data plane runs what it has on disk
    #[arg(long, value_name = "ADDRESS")]
    pub push: Option<SocketAddr>,
    /// The Envoy binary [default: the one on PATH]
    #[arg(long, value_name = "FILE")]
    pub envoy: Option<PathBuf>,
    /// The most memory that Envoy may allocate, in MiB [default: three quarters of what there is]
    #[arg(long, value_name = "MEBIBYTES", value_parser = envoy_memory())]
    pub envoy_memory: Option<u32>,
    /// Interfaces that carry L4 traffic by XDP
    #[arg(long, value_name = "INTERFACE")]
    pub xdp: Vec<String>,
    /// Flows of direct server return that are kept track of, 8 bytes each [default: 1048576]
    #[arg(long, value_name = "FLOWS", value_parser = xdp_flows())]
    pub xdp_flows: Option<u32>,
    /// Connections with full NAT that there is room for, 363 bytes each [default: 98304]
    #[arg(long, value_name = "CONNECTIONS", value_parser = xdp_connections())]
    pub xdp_connections: Option<u32>,
    /// Of how many packets one is told of in `flows`; 0 for drops, begins and ends alone [default: 1024]
    #[arg(long, value_name = "N", value_parser = flow_sampling())]
    pub flow_sampling: Option<u32>,
    /// Before which threads workers go, where packets wait for a limit [default: realtime]
    #[arg(long, value_name = "PRIORITY", value_parser = worker_priority())]
    pub worker_priority: Option<Priority>,
    /// The address that listeners on `*` take
    #[arg(long, value_name = "IP")]
    pub listen_address: Option<IpAddr>,
    /// Logs.
    #[command(flatten)]
    pub log: LogArgs,
}

/// Arguments of `doctor`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  marchproxy doctor
  marchproxy doctor --interface eth0 --interface eth1 --to 10.0.0.21
  marchproxy doctor -o json | jq '.findings[] | select(.level == \"problem\")'

It needs no cluster and changes nothing. Where a node of this host keeps settings and a
configuration, its interfaces and endpoints are looked at too. Without root, what only root may read
is told as left out. Exit status: 0 no problem, 1 at least one, 2 wrong command line.")]
pub struct DoctorArgs {
    /// The interface to look at; may be given more than once [default: the node's, or those of the
    /// default routes]
    #[arg(long, value_name = "NAME", value_parser = parse_interface)]
    pub interface: Vec<String>,
    /// An address to look for the way to, as an endpoint's; may be given more than once
    #[arg(long, value_name = "ADDRESS")]
    pub to: Vec<IpAddr>,
    /// Where the node keeps its settings [default: /var/lib/marchproxy]
    #[arg(long, value_name = "DIR", env = "MARCHPROXY_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// Where sockets and locks of running processes are [default: the node's, or /run/marchproxy]
    #[arg(long, value_name = "DIR", env = "MARCHPROXY_RUN_DIR")]
    pub run_dir: Option<PathBuf>,
    /// The Envoy binary [default: the node's, the one on PATH, or that which setup fetched]
    #[arg(long, value_name = "FILE", env = "MARCHPROXY_ENVOY")]
    pub envoy: Option<PathBuf>,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
}

/// Takes what can be an interface's name (`dev_valid_name`, net/core/dev.c).
fn parse_interface(name: &str) -> Result<String, String> {
    let plain = |c: char| !c.is_whitespace() && c != '/' && c != ':';
    if (1..16).contains(&name.len()) && name != "." && name != ".." && name.chars().all(plain) {
        Ok(name.to_owned())
    } else {
        Err(format!("{name:?} cannot be the name of an interface"))
    }
}
