//! What an operator sets for a node, kept in its data directory so that a restart needs no flags.
//!
//! A flag that is given wins over the kept value and is kept in turn. What is a secret, and what
//! names the node in its cluster, is not here but in `identity/`.

mod bounds;
mod host;

use std::{
    fs, io,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use dataplane::afxdp::priority::Priority;
use model::cluster::NodeAddresses;
use runtime::{
    durable::{self, DurableError},
    identity::PeerIdentity,
};
use serde::{Deserialize, Serialize};

pub use bounds::{envoy_memory, flow_sampling, worker_priority, xdp_connections, xdp_flows};

use crate::{certificates::Lifetime, tokens::fingerprint};

/// Default of `--data-dir`.
pub const DATA_DIR: &str = "/var/lib/marchproxy";
/// Folder of the data plane in the data directory of its node.
pub const DATAPLANE_FOLDER: &str = "dataplane";
/// Default of `--run-dir`.
pub const RUN_DIR: &str = "/run/marchproxy";
/// Default of `--api-port`.
pub const API_PORT: u16 = 7800;
/// Default of `--raft-port`.
pub const RAFT_PORT: u16 = 7801;
/// Default of `--push-port`.
pub const PUSH_PORT: u16 = 7802;

const FILE: &str = "settings.json";
/// What to do about a file that is bad.
const REMEDY: &str = "restore it, or remove it and give the flags of the first start again";

/// The flags of `up` and `join`; what is absent keeps its stored value, or its default.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct Flags {
    /// Where the node keeps its identity, log and snapshots [default: /var/lib/marchproxy]
    #[arg(long, value_name = "DIR", env = "MARCHPROXY_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// Where sockets and locks of running processes are [default: /run/marchproxy]
    #[arg(long, value_name = "DIR", env = "MARCHPROXY_RUN_DIR")]
    pub run_dir: Option<PathBuf>,
    /// This node's address, under which the others reach it [default: that of the default route]
    #[arg(long, value_name = "IP")]
    pub address: Option<IpAddr>,
    /// Port of the API, TCP [default: 7800]
    #[arg(long, value_name = "PORT")]
    pub api_port: Option<u16>,
    /// Port of Raft, TCP [default: 7801]
    #[arg(long, value_name = "PORT")]
    pub raft_port: Option<u16>,
    /// Port of the configuration push, UDP [default: 7802]
    #[arg(long, value_name = "PORT")]
    pub push_port: Option<u16>,
    /// The node's name for people [default: the host name]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// The failure domain that the node stands in
    #[arg(long, value_name = "ZONE")]
    pub zone: Option<String>,
    /// Timers for voters in different regions (heartbeat 250 ms) in place of a few milliseconds
    #[arg(long)]
    pub wan: bool,
    /// Starts no data plane beside this control process
    #[arg(long)]
    pub no_dataplane: bool,
    /// The Envoy binary [default: the one on PATH, or that which setup fetched]
    #[arg(long, value_name = "FILE", env = "MARCHPROXY_ENVOY")]
    pub envoy: Option<PathBuf>,
    /// The most memory that Envoy may allocate, in MiB [default: three quarters of what there is]
    #[arg(long, value_name = "MEBIBYTES", value_parser = envoy_memory())]
    pub envoy_memory: Option<u32>,
    /// Interfaces that carry L4 traffic by XDP; may be given more than once
    #[arg(long = "xdp", value_name = "INTERFACE")]
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
    /// The address that listeners on `*` take on this node
    #[arg(long, value_name = "IP")]
    pub listen_address: Option<IpAddr>,
}

/// Everything that is set for a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// Where identity, log and snapshots are. Not kept: it is where the file lies.
    #[serde(skip)]
    pub data_dir: PathBuf,
    /// Where sockets and locks are.
    pub run_dir: PathBuf,
    /// The node's address.
    pub address: IpAddr,
    /// Port of the API.
    pub api_port: u16,
    /// Port of Raft.
    pub raft_port: u16,
    /// Port of the push.
    pub push_port: u16,
    /// The node's name for people.
    pub name: String,
    /// The failure domain, may be empty.
    pub zone: String,
    /// Whether the timers are those for voters in different regions.
    pub wan: bool,
    /// Whether a data plane runs beside.
    pub dataplane: bool,
    /// The Envoy binary, when one was named.
    pub envoy: Option<PathBuf>,
    /// The most memory that Envoy may allocate, in MiB, when a number was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub envoy_memory: Option<u32>,
    /// Interfaces for XDP.
    pub xdp: Vec<String>,
    /// Flows that XDP keeps track of, when a number was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub xdp_flows: Option<u32>,
    /// Connections that XDP has room for, when a number was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub xdp_connections: Option<u32>,
    /// Of how many packets one is told of, when a number was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow_sampling: Option<u32>,
    /// The priority of workers, when one was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker_priority: Option<Priority>,
    /// What `*` means for this node's listeners.
    pub listen_address: Option<IpAddr>,
    /// How long the certificates are valid that this node issues. Not kept, and no flag.
    #[serde(skip)]
    pub certificate_lifetime: Lifetime,
    /// Whose settings these are, once the host is a member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
}

/// The file: the settings, and SHA-256 over them, so that a changed byte does not pass for a wish.
#[derive(Serialize, Deserialize)]
struct Kept {
    settings: Settings,
    sha256: String,
}

/// Why the settings cannot be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The operating system's words.
        source: io::Error,
    },
    /// The file is damaged.
    #[error("{} is damaged: {REMEDY}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The file is not what was kept.
    #[error(
        "{} is damaged, or was changed by hand (flags of `up` change settings): {REMEDY}",
        path.display()
    )]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// The file is another node's.
    #[error("{} is of {found}, this is {own}: {REMEDY}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        found: String,
        /// Who this node is.
        own: PeerIdentity,
    },
    /// The file cannot be written.
    #[error(transparent)]
    Write(#[from] DurableError),
    /// This host's address is not known and was not given.
    #[error("cannot tell which address the others reach this host under: give --address IP")]
    NoAddress,
    /// The address is not one that others can reach.
    #[error("--address {address} is not an address of one host")]
    Address {
        /// What was given.
        address: IpAddr,
    },
    /// Two ports are the same.
    #[error("--api-port and --raft-port are both {port}; they must differ")]
    Ports {
        /// The port.
        port: u16,
    },
}

impl Settings {
    /// Puts flags over the kept settings over the defaults.
    ///
    /// # Errors
    /// The file is damaged, or a value cannot be.
    pub fn resolve(flags: Flags) -> Result<Self, SettingsError> {
        let data_dir = flags.data_dir.clone().unwrap_or_else(|| PathBuf::from(DATA_DIR));
        let kept = Self::load(&data_dir)?;
        Self::merge(data_dir, kept, flags)
    }

    /// Reads the kept settings; `None` where none were ever kept.
    ///
    /// # Errors
    /// The file is unreadable or damaged.
    pub fn load(data_dir: &Path) -> Result<Option<Self>, SettingsError> {
        let path = data_dir.join(FILE);
        let text = match fs::read(&path) {
            Ok(text) => text,
            // A data directory that is none is told of where it is made.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                return Ok(None);
            }
            Err(source) => return Err(SettingsError::Read { path, source }),
        };
        let kept: Kept = match serde_json::from_slice(&text) {
            Ok(kept) => kept,
            Err(source) => return Err(SettingsError::Damaged { path, source }),
        };
        let mut settings = kept.settings;
        if settings.sum() != kept.sha256 {
            return Err(SettingsError::Changed { path });
        }
        data_dir.clone_into(&mut settings.data_dir);
        Ok(Some(settings))
    }

    /// Keeps the settings in the data directory.
    ///
    /// # Errors
    /// The directory cannot be made or written.
    pub fn save(&self) -> Result<(), SettingsError> {
        durable::private_directory(&self.data_dir)?;
        let kept = Kept { sha256: self.sum(), settings: self.clone() };
        let text = serde_json::to_vec_pretty(&kept).expect("settings have string keys only");
        Ok(durable::replace(&self.data_dir.join(FILE), &text, 0o600)?)
    }

    fn sum(&self) -> String {
        let text = serde_json::to_string(self).expect("settings have string keys only");
        fingerprint(&text)
    }

    /// The settings as those of a node.
    #[must_use]
    pub fn of(mut self, owner: &PeerIdentity) -> Self {
        self.owner = Some(owner.to_string());
        self
    }

    /// Refuses settings that were kept for another node.
    ///
    /// # Errors
    /// [`SettingsError::Foreign`].
    pub fn check_owner(&self, own: &PeerIdentity) -> Result<(), SettingsError> {
        match &self.owner {
            Some(found) if *found != own.to_string() => Err(SettingsError::Foreign {
                path: self.data_dir.join(FILE),
                found: found.clone(),
                own: own.clone(),
            }),
            _ => Ok(()),
        }
    }

    /// The addresses that the node is known by.
    #[must_use]
    pub fn addresses(&self) -> NodeAddresses {
        let at = |port| SocketAddr::new(self.address, port);
        NodeAddresses {
            name: self.name.clone(),
            api: at(self.api_port),
            raft: at(self.raft_port),
            push: at(self.push_port),
            zone: self.zone.clone(),
        }
    }

    /// Where the control process's key and certificate are.
    #[must_use]
    pub fn identity_dir(&self) -> PathBuf {
        self.data_dir.join("identity")
    }

    /// Where the data plane keeps its own state.
    #[must_use]
    pub fn dataplane_dir(&self) -> PathBuf {
        self.data_dir.join(DATAPLANE_FOLDER)
    }

    /// Where the data plane's key and certificate are.
    #[must_use]
    pub fn dataplane_identity_dir(&self) -> PathBuf {
        self.dataplane_dir().join("identity")
    }

    fn merge(data_dir: PathBuf, kept: Option<Self>, flags: Flags) -> Result<Self, SettingsError> {
        let base = match kept {
            Some(kept) => kept,
            None => Self::defaults(flags.address.map_or_else(host::default_address, Ok)?),
        };
        let merged = Self {
            data_dir,
            run_dir: flags.run_dir.unwrap_or(base.run_dir),
            address: flags.address.unwrap_or(base.address),
            api_port: flags.api_port.unwrap_or(base.api_port),
            raft_port: flags.raft_port.unwrap_or(base.raft_port),
            push_port: flags.push_port.unwrap_or(base.push_port),
            name: flags.name.unwrap_or(base.name),
            zone: flags.zone.unwrap_or(base.zone),
            wan: flags.wan || base.wan,
            dataplane: base.dataplane && !flags.no_dataplane,
            envoy: flags.envoy.or(base.envoy),
            envoy_memory: flags.envoy_memory.or(base.envoy_memory),
            xdp: if flags.xdp.is_empty() { base.xdp } else { flags.xdp },
            xdp_flows: flags.xdp_flows.or(base.xdp_flows),
            xdp_connections: flags.xdp_connections.or(base.xdp_connections),
            flow_sampling: flags.flow_sampling.or(base.flow_sampling),
            worker_priority: flags.worker_priority.or(base.worker_priority),
            listen_address: flags.listen_address.or(base.listen_address),
            certificate_lifetime: base.certificate_lifetime,
            owner: base.owner,
        };
        merged.check()
    }

    fn check(self) -> Result<Self, SettingsError> {
        if self.address.is_unspecified() || self.address.is_multicast() {
            return Err(SettingsError::Address { address: self.address });
        }
        if self.api_port == self.raft_port {
            return Err(SettingsError::Ports { port: self.api_port });
        }
        Ok(self)
    }

    fn defaults(address: IpAddr) -> Self {
        Self {
            data_dir: PathBuf::from(DATA_DIR),
            run_dir: PathBuf::from(RUN_DIR),
            address,
            api_port: API_PORT,
            raft_port: RAFT_PORT,
            push_port: PUSH_PORT,
            name: host::name(),
            zone: String::new(),
            wan: false,
            dataplane: true,
            envoy: None,
            envoy_memory: None,
            xdp: Vec::new(),
            xdp_flows: None,
            xdp_connections: None,
            flow_sampling: None,
            worker_priority: None,
            listen_address: None,
            certificate_lifetime: Lifetime::default(),
            owner: None,
        }
    }
}

#[cfg(test)]
mod tests;
