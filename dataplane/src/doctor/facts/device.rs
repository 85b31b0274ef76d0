//! Facts of an interface.

use std::collections::BTreeMap;

use super::Fact;

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Where it stands among the others.
    pub link: Link,
    /// What its driver says.
    pub hardware: Hardware,
    /// The XDP program on it.
    pub xdp: Option<Attached>,
    /// What XDP its driver can do, as the kernel tells since Linux 6.3; `None` where it does not.
    pub native: Fact<Option<Native>>,
    /// The interrupts of its queues; empty where they are not told.
    pub interrupts: Vec<Interrupt>,
    /// `net.ipv4.conf.NAME.rp_filter`.
    pub rp_filter: Fact<u32>,
    /// The far end, where it is one of a veth pair.
    pub peer: Option<Peer>,
}

/// An interface as the kernel's links have it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Its number.
    pub index: u32,
    /// Whether it is switched on.
    pub up: bool,
    /// Whether the far end is there.
    pub carrier: bool,
    /// Whether it is the loopback interface.
    pub loopback: bool,
    /// Whether it has no neighbours to look for.
    pub no_arp: bool,
    /// The largest packet.
    pub mtu: u32,
    /// The largest MTU that may be set; zero where the driver sets no bound.
    pub mtu_max: u32,
    /// What it is where it is made by software, such as `veth` or `bond`.
    pub kind: Option<String>,
    /// The number of a bond's mode.
    pub bond_mode: Option<u8>,
    /// What it is a port of.
    pub master: Option<Joined>,
    /// What are its own ports.
    pub ports: Vec<String>,
    /// What stands on it, such as VLANs.
    pub on_top: Vec<Joined>,
}

/// Another interface that is joined to one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// Its name.
    pub name: String,
    /// What it is where it is made by software.
    pub kind: Option<String>,
}

impl Joined {
    /// Tells whether it is of a kind.
    #[must_use]
    pub fn is(&self, kind: &str) -> bool {
        self.kind.as_deref() == Some(kind)
    }
}

/// What a driver says (`ethtool`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hardware {
    /// The driver; `None` where there is none that says its name.
    pub driver: Option<Driver>,
    /// Features by their names, such as `rx-lro`.
    pub features: Fact<BTreeMap<String, Feature>>,
    /// The queues; `None` where the driver does not tell.
    pub channels: Option<Channels>,
    /// The rings; `None` where the driver does not tell.
    pub rings: Option<Rings>,
}

impl Hardware {
    /// Returns a feature.
    #[must_use]
    pub fn feature(&self, name: &str) -> Option<Feature> {
        self.features.as_ref().ok()?.get(name).copied()
    }

    /// Tells whether a feature is known to be on.
    #[must_use]
    pub fn is_on(&self, name: &str) -> bool {
        self.feature(name).is_some_and(|feature| feature.on)
    }
}

/// A driver.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Driver {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The firmware's version; empty where it has none.
    pub firmware: String,
    /// The device's place, such as `0000:00:03.0`.
    pub bus: String,
}

/// A feature of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feature {
    /// Whether it is on.
    pub on: bool,
    /// Whether it cannot be changed.
    pub fixed: bool,
}

/// Receive queues: in use, and at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channels {
    /// In use.
    pub receive: u32,
    /// At most.
    pub receive_max: u32,
    /// Whether queues are pairs of receive and send queues.
    pub combined: bool,
}

/// Entries of a receive ring: in use, and at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rings {
    /// In use.
    pub receive: u32,
    /// At most.
    pub receive_max: u32,
}

/// An XDP program on an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// Where it runs.
    pub mode: XdpMode,
    /// Its number.
    pub id: u32,
    /// Whose it is.
    pub owner: Fact<Owner>,
}

/// Where a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpMode {
    /// In the driver.
    Native,
    /// In the network stack.
    Generic,
    /// In the network card.
    Offloaded,
    /// In more than one of these.
    Several,
}

/// Whose a program is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A data plane's.
    MarchProxy,
    /// Another's, by the program's name.
    Other(String),
}

/// What XDP a driver can do: bits of [`native`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Native(pub u64);

impl Native {
    /// Tells whether all of some bits are set.
    #[must_use]
    pub fn has(self, bits: u64) -> bool {
        self.0 & bits == bits
    }
}

/// What XDP a driver can do (`enum netdev_xdp_act`, include/uapi/linux/netdev.h).
pub mod native {
    /// It runs programs, and sends back what they return.
    pub const BASIC: u64 = 1;
    /// It passes frames on to other interfaces.
    pub const REDIRECT: u64 = 2;
    /// It sends frames that other interfaces pass on.
    pub const NDO_XMIT: u64 = 4;
}

/// An interrupt of a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interrupt {
    /// Its number.
    pub number: u32,
    /// The CPUs that it falls on.
    pub cpus: Vec<usize>,
}

/// The far end of a veth pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// In another network namespace.
    Elsewhere,
    /// In the same one.
    Here {
        /// Its name.
        name: String,
        /// Whether an XDP program is attached to it.
        program: bool,
        /// Its features.
        hardware: Box<Hardware>,
    },
}

#[cfg(test)]
pub(in crate::doctor) fn sound() -> Device {
    let off = Feature { on: false, fixed: false };
    Device {
        link: Link {
            index: 2,
            up: true,
            carrier: true,
            mtu: 1500,
            mtu_max: 9710,
            ..Link::default()
        },
        hardware: Hardware {
            driver: Some(Driver {
                name: "ice".to_owned(),
                version: "6.12.3".to_owned(),
                firmware: "4.40".to_owned(),
                bus: "0000:3b:00.0".to_owned(),
            }),
            features: Ok(["rx-lro", "rx-gro-hw", "rx-vlan-hw-parse"]
                .map(|name| (name.to_owned(), off))
                .into()),
            channels: Some(Channels { receive: 4, receive_max: 64, combined: true }),
            rings: Some(Rings { receive: 2048, receive_max: 8160 }),
        },
        xdp: Some(Attached { mode: XdpMode::Native, id: 12, owner: Ok(Owner::MarchProxy) }),
        native: Ok(Some(Native(native::BASIC | native::REDIRECT | native::NDO_XMIT))),
        interrupts: (0..4)
            .map(|cpu| Interrupt { number: 40 + cpu as u32, cpus: vec![cpu] })
            .collect(),
        rp_filter: Ok(0),
        peer: None,
    }
}
