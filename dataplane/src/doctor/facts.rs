//! What the judgement is made from: plain values, read once.

mod device;
mod host;

use std::{collections::BTreeMap, fmt, io, net::IpAddr};

use model::listener::Forwarding;

pub use device::{
    Attached, Channels, Device, Driver, Feature, Hardware, Interrupt, Joined, Link, Native, Owner,
    Peer, Rings, XdpMode, native,
};
pub use host::{Bpf, Bpffs, Capabilities, Host, Kernel, Network, Switch, capability};

/// A fact, or why it is not known.
pub type Fact<T> = Result<T, Gap>;

/// Why a fact is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gap {
    /// Only root may read it.
    NeedsRoot,
    /// The host refused, in its words.
    Failed(String),
}

impl Gap {
    /// Tells a refusal for want of rights from others.
    #[must_use]
    pub fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::PermissionDenied => Self::NeedsRoot,
            _ => Self::Failed(error.to_string()),
        }
    }
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NeedsRoot => f.write_str("needs root"),
            Self::Failed(words) => f.write_str(words),
        }
    }
}

/// Everything that is known of a host.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The host as a whole.
    pub host: Host,
    /// Its data plane.
    pub plane: Plane,
    /// The interfaces looked at, by name; `None` where there is no such interface.
    pub interfaces: BTreeMap<String, Fact<Option<Device>>>,
    /// The ways to endpoints.
    pub ways: Vec<Way>,
}

/// The data plane of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plane {
    /// Whether this host is a node, by its settings.
    pub node: Fact<bool>,
    /// The process that runs.
    pub running: Fact<Option<i32>>,
    /// The interfaces that XDP is wanted on.
    pub interfaces: Vec<String>,
    /// What the running one says of XDP; `None` where none runs.
    pub told: Fact<Option<String>>,
    /// The interfaces with a pinned link, of any data plane.
    pub pinned: Fact<Vec<String>>,
    /// What the last accepted configuration asks for; `None` where there is none.
    pub accepted: Fact<Option<Accepted>>,
    /// The Envoy that would run, or why none would.
    pub envoy: Result<Envoy, String>,
}

impl Plane {
    /// Tells whether XDP is wanted on an interface.
    #[must_use]
    pub fn wants(&self, interface: &str) -> bool {
        self.interfaces.iter().any(|name| name == interface)
    }

    /// Tells whether a data plane runs, as far as is known.
    #[must_use]
    pub fn runs(&self) -> bool {
        matches!(self.running, Ok(Some(_)))
    }

    /// Tells whether XDP forwards by one of some ways, as far as is known.
    #[must_use]
    pub fn forwards(&self, by: &[Forwarding]) -> bool {
        let endpoints = |accepted: &Accepted| {
            accepted.endpoints.values().flatten().any(|forwarding| by.contains(forwarding))
        };
        matches!(&self.accepted, Ok(Some(accepted)) if endpoints(accepted))
    }
}

/// What a configuration asks of this host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// The endpoints that XDP sends to, with the ways of forwarding.
    pub endpoints: BTreeMap<IpAddr, Vec<Forwarding>>,
    /// How many listeners only Envoy can carry.
    pub for_envoy: usize,
}

/// An Envoy executable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envoy {
    /// Where it is.
    pub path: String,
    /// Its version.
    pub version: String,
}

/// The way to an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// The endpoint.
    pub to: IpAddr,
    /// How XDP forwards to it; empty where it was asked about by hand.
    pub forwarding: Vec<Forwarding>,
    /// What the kernel's routes say.
    pub route: Fact<Route>,
}

/// An answer of the kernel's routes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// There is none, in the kernel's words.
    Missing(String),
    /// It is an address of this host.
    Local,
    /// It leaves by an interface.
    Leaves {
        /// Which.
        interface: String,
        /// The next hop, where it is not the endpoint itself.
        gateway: Option<IpAddr>,
        /// What is known of the next hop's link address.
        neighbour: Fact<Neighbour>,
    },
}

/// What the kernel knows of a neighbour's link address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Neighbour {
    /// It is known.
    Known,
    /// The interface needs none.
    NotNeeded,
    /// The kernel asks and has no answer yet.
    Asked,
    /// The kernel asked, and nobody answered.
    Silent,
    /// The kernel has not asked.
    Unasked,
}

#[cfg(test)]
pub(super) use device::sound as sound_device;

/// The facts of a host where nothing is amiss: the tests of the judgement begin with them.
#[cfg(test)]
pub(super) fn sound() -> Facts {
    let envoy = Envoy { path: "/usr/bin/envoy".to_owned(), version: "1.39.3".to_owned() };
    Facts {
        host: host::sound(),
        plane: Plane {
            node: Ok(true),
            running: Ok(Some(4711)),
            interfaces: vec!["eth0".to_owned()],
            told: Ok(Some("eth0: native".to_owned())),
            pinned: Ok(vec!["eth0".to_owned()]),
            accepted: Ok(Some(Accepted::default())),
            envoy: Ok(envoy),
        },
        interfaces: BTreeMap::from([("eth0".to_owned(), Ok(Some(sound_device())))]),
        ways: Vec::new(),
    }
}

#[cfg(test)]
impl Facts {
    /// The sound device, to spoil it.
    pub(super) fn eth0(&mut self) -> &mut Device {
        self.interfaces.get_mut("eth0").unwrap().as_mut().unwrap().as_mut().unwrap()
    }
}
