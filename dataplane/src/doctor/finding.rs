//! What the doctor says: a check, what it is about, how bad it is, and what to do.

use std::fmt;

use serde::{Serialize, Serializer};

/// The subject of findings about the host as a whole.
pub const HOST: &str = "host";

/// How bad a finding is; the worst is the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// As it should be.
    Ok,
    /// Not looked at, and why.
    LeftOut,
    /// Worth knowing; nothing need be done.
    Note,
    /// Traffic flows, but slower or less of it than could be.
    Warning,
    /// Something does not work, or will not.
    Problem,
}

impl Level {
    /// All levels, the worst first.
    pub const WORST_FIRST: [Self; 5] =
        [Self::Problem, Self::Warning, Self::Note, Self::LeftOut, Self::Ok];

    /// Returns the name, as in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::LeftOut => "left-out",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

macro_rules! checks {
    ($($(#[doc = $text:literal])+ $variant:ident = $name:literal,)+) => {
        /// What is checked. Names are for scripts, and never change.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Check {
            $($(#[doc = $text])+ $variant,)+
        }

        impl Check {
            /// All checks, in the order in which they are told.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// Returns the name, as in JSON.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }
        }
    };
}

checks! {
    /// The kernel's version, for XDP links and more.
    Kernel = "kernel",
    /// The kernel's own type information.
    Btf = "btf",
    /// The BPF file system that pins stand on.
    Bpffs = "bpffs",
    /// What the data plane may do.
    Capabilities = "capabilities",
    /// How much memory may be locked, where the kernel still counts BPF's as such.
    Memlock = "memlock",
    /// Whether BPF programs are compiled to machine code.
    Jit = "jit",
    /// Whether anyone may load BPF programs.
    UnprivilegedBpf = "unprivileged-bpf",
    /// Whether the kernel takes the XDP program.
    Program = "program",
    /// The switch without which the kernel answers no route lookup of the program.
    LoForwarding = "lo-forwarding",
    /// Whether the host is a router.
    IpForward = "ip-forward",
    /// The source ports of connections to endpoints.
    SnatPorts = "snat-ports",
    /// The data plane of this host.
    DataPlane = "data-plane",
    /// The Envoy executable.
    Envoy = "envoy",
    /// Whether the interface is there, up and connected.
    Link = "link",
    /// The driver and its firmware.
    Driver = "driver",
    /// Whether XDP is attached, and how.
    Xdp = "xdp",
    /// Whether the driver runs XDP itself.
    NativeXdp = "native-xdp",
    /// Room for packets and tunnel headers.
    Mtu = "mtu",
    /// Large receive offload.
    Lro = "lro",
    /// Generic receive offload in hardware.
    GroHw = "gro-hw",
    /// VLAN tags that the driver takes off.
    VlanStrip = "vlan-strip",
    /// Bonds, bridges and VLANs: which interface to attach to.
    Layering = "layering",
    /// The far end of a veth pair.
    VethPeer = "veth-peer",
    /// Receive queues and CPUs.
    Queues = "queues",
    /// Which CPUs the interrupts of the queues fall on.
    Irq = "irq",
    /// The receive ring.
    Ring = "ring",
    /// Reverse-path filtering.
    RpFilter = "rp-filter",
    /// The way to an endpoint.
    NextHop = "next-hop",
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Serialize for Check {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// One line of the doctor's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was checked.
    pub check: Check,
    /// What it is about: an interface, an endpoint's address, or [`HOST`].
    pub subject: String,
    /// How bad it is.
    pub level: Level,
    /// What was found, in one line.
    pub found: String,
    /// The command that mends it, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Finding {
    /// Makes a finding without a remedy; line breaks in what was found become spaces.
    pub fn new(check: Check, subject: &str, level: Level, found: impl Into<String>) -> Self {
        let found = found.into().replace(['\n', '\r', '\t'], " ");
        Self { check, subject: subject.to_owned(), level, found, remedy: None }
    }

    /// Adds the command that mends it.
    #[must_use]
    pub fn remedy(self, command: impl Into<String>) -> Self {
        Self { remedy: Some(command.into()), ..self }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_of_checks_are_unique_and_made_for_scripts() {
        let names: BTreeSet<&str> = Check::ALL.iter().map(|check| check.name()).collect();
        assert_eq!(names.len(), Check::ALL.len());
        for name in names {
            assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '-'), "{name}");
        }
    }

    #[test]
    fn a_finding_is_one_line_and_its_json_has_a_remedy_only_where_there_is_one() {
        let finding = Finding::new(Check::GroHw, "eth0", Level::LeftOut, "a\nb");
        let json = serde_json::to_string(&finding).unwrap();
        let expected = r#"{"check":"gro-hw","subject":"eth0","level":"left-out","found":"a b"}"#;
        assert_eq!(json, expected);
        let json = serde_json::to_string(&finding.remedy("x y")).unwrap();
        assert!(json.ends_with(r#""found":"a b","remedy":"x y"}"#), "{json}");
        assert!(Level::WORST_FIRST.is_sorted_by(|a, b| a > b));
        for level in Level::WORST_FIRST {
            assert_eq!(serde_json::to_value(level).unwrap(), level.name());
        }
    }
}
