//! Facts of the host as a whole.

use super::Fact;

/// The host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Its kernel.
    pub kernel: Kernel,
    /// CPUs that are online.
    pub cpus: usize,
    /// What concerns BPF.
    pub bpf: Bpf,
    /// What the data plane may do: the running one, or else one that this user would start.
    pub capabilities: Fact<Capabilities>,
    /// Bytes that it may lock; `None` where there is no limit.
    pub memlock: Fact<Option<u64>>,
    /// The network's settings.
    pub network: Network,
}

/// The kernel's version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// As the kernel says it, such as `6.1.0-28-amd64`.
    pub release: String,
    /// Major and minor number; zero where the release does not begin with them.
    pub version: (u32, u32),
}

impl Kernel {
    /// Reads a release.
    #[must_use]
    pub fn parse(release: &str) -> Self {
        let mut numbers = release
            .split(|c: char| !c.is_ascii_digit())
            .map(|number| number.parse().unwrap_or_default());
        let version = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
        Self { release: release.to_owned(), version }
    }
}

/// What concerns BPF.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bpf {
    /// Whether the kernel brings its type information.
    pub has_btf: bool,
    /// The BPF file system.
    pub bpffs: Bpffs,
    /// `net.core.bpf_jit_enable`; `None` where the kernel has no such switch.
    pub jit: Fact<Option<u32>>,
    /// `net.core.bpf_jit_harden`.
    pub jit_harden: Fact<Option<u32>>,
    /// `kernel.unprivileged_bpf_disabled`.
    pub unprivileged_disabled: Fact<Option<u32>>,
    /// Whether the kernel took the XDP program, or its words.
    pub program: Fact<Result<(), String>>,
}

/// The BPF file system at its usual place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bpffs {
    /// It is there.
    Mounted,
    /// Its folder is there, and something else is on it.
    NotMounted,
    /// There is no folder for it.
    NoFolder,
}

/// Sets of capabilities, as `/proc/PID/status` has them: a bit for each number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// What the process may do.
    pub effective: u64,
    /// What a child that root starts may do at most.
    pub bounding: u64,
    /// Whether the process is the running data plane.
    pub of_plane: bool,
}

/// Numbers of capabilities (include/uapi/linux/capability.h).
pub mod capability {
    /// Changes of interfaces; attaching XDP.
    pub const NET_ADMIN: u32 = 12;
    /// Everything else, of which the two below were a part before Linux 5.8.
    pub const SYS_ADMIN: u32 = 21;
    /// What programs need that compare pointers.
    pub const PERFMON: u32 = 38;
    /// Loading programs and making maps.
    pub const BPF: u32 = 39;
}

/// A switch of the kernel that is on or off; `None` where the kernel has no such switch.
pub type Switch = Fact<Option<bool>>;

/// Settings of the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// `net.ipv4.conf.lo.forwarding`.
    pub lo_forwarding_v4: Switch,
    /// `net.ipv6.conf.lo.forwarding`.
    pub lo_forwarding_v6: Switch,
    /// `net.ipv4.ip_forward`.
    pub ip_forward: Switch,
    /// Whether this user may change such settings: they are read-only in some containers.
    pub writable: Fact<bool>,
    /// `net.ipv4.ip_local_reserved_ports`: ranges, both ends included.
    pub reserved_ports: Fact<Vec<(u16, u16)>>,
    /// `net.ipv4.ip_local_port_range`.
    pub ephemeral_ports: Fact<(u16, u16)>,
    /// `net.ipv4.conf.all.rp_filter`.
    pub rp_filter_all: Fact<u32>,
}

#[cfg(test)]
pub(in crate::doctor) fn sound() -> Host {
    Host {
        kernel: Kernel::parse("6.12.3-amd64"),
        cpus: 4,
        bpf: Bpf {
            has_btf: true,
            bpffs: Bpffs::Mounted,
            jit: Ok(Some(1)),
            jit_harden: Ok(Some(0)),
            unprivileged_disabled: Ok(Some(2)),
            program: Ok(Ok(())),
        },
        capabilities: Ok(Capabilities { effective: !0, bounding: !0, of_plane: true }),
        memlock: Ok(Some(8 << 20)),
        network: Network {
            lo_forwarding_v4: Ok(Some(true)),
            lo_forwarding_v6: Ok(Some(true)),
            ip_forward: Ok(Some(false)),
            writable: Ok(true),
            reserved_ports: Ok(vec![(61_000, 65_535)]),
            ephemeral_ports: Ok((32_768, 60_999)),
            rp_filter_all: Ok(0),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_read_as_far_as_it_has_numbers() {
        let check = |release, version| assert_eq!(Kernel::parse(release).version, version);
        check("6.1.0-28-amd64", (6, 1));
        check("6.18.44-fc-v595", (6, 18));
        check("5.10", (5, 10));
        check("7", (7, 0));
        check("unknown", (0, 0));
    }
}
