//! Reads what concerns the host as a whole.

use std::{fs, path::Path};

use nix::unistd::{AccessFlags, access, geteuid};

use super::text;
use crate::{
    doctor::facts::{Bpf, Bpffs, Capabilities, Fact, Gap, Host, Kernel, Network, Plane, Switch},
    xdp::{
        pins::{BPFFS, is_bpffs},
        trial,
    },
};

/// A setting that the data plane makes when it starts.
const SET_AT_START: &str = "/proc/sys/net/ipv4/conf/lo/forwarding";

pub(super) fn read(plane: &Plane) -> Host {
    let release = text::must("/proc/sys/kernel/osrelease").unwrap_or_default();
    let process = match plane.running {
        Ok(Some(pid)) => pid.to_string(),
        _ => "self".to_owned(),
    };
    Host {
        kernel: Kernel::parse(&release),
        cpus: cpus(),
        bpf: bpf(),
        capabilities: capabilities(&process, plane.runs()),
        memlock: memlock(&process),
        network: network(),
    }
}

fn cpus() -> usize {
    let online = text::must("/sys/devices/system/cpu/online").unwrap_or_default();
    let count = text::ranges::<usize>(&online).iter().map(|(first, last)| last + 1 - first).sum();
    if count > 0 { count } else { std::thread::available_parallelism().map_or(1, Into::into) }
}

fn bpf() -> Bpf {
    Bpf {
        has_btf: Path::new("/sys/kernel/btf/vmlinux").exists(),
        bpffs: match Path::new(BPFFS) {
            path if is_bpffs(path) => Bpffs::Mounted,
            path if path.is_dir() => Bpffs::NotMounted,
            _ => Bpffs::NoFolder,
        },
        jit: jit(),
        jit_harden: text::value("/proc/sys/net/core/bpf_jit_harden"),
        unprivileged_disabled: text::value("/proc/sys/kernel/unprivileged_bpf_disabled"),
        program: if geteuid().is_root() {
            Ok(trial::load().map_err(|error| trial::words(&error)))
        } else {
            Err(Gap::NeedsRoot)
        },
    }
}

fn jit() -> Fact<Option<u32>> {
    let found = text::value("/proc/sys/net/core/bpf_jit_enable")?;
    // A neighbour of the switch that every kernel has, and that is of the host alone, too.
    if found.is_none() && !Path::new("/proc/sys/net/core/netdev_budget").exists() {
        let words = "told in the host's own network namespace only";
        return Err(Gap::Failed(words.to_owned()));
    }
    Ok(found)
}

fn capabilities(process: &str, of_plane: bool) -> Fact<Capabilities> {
    let path = format!("/proc/{process}/status");
    let status = text::must(&path)?;
    let set = |name| {
        let hex = text::line(&status, name).and_then(|hex| u64::from_str_radix(hex, 16).ok());
        hex.ok_or_else(|| Gap::Failed(format!("{path} has no {name}")))
    };
    Ok(Capabilities { effective: set("CapEff:")?, bounding: set("CapBnd:")?, of_plane })
}

fn memlock(process: &str) -> Fact<Option<u64>> {
    let path = format!("/proc/{process}/limits");
    let limits = text::must(&path)?;
    let soft = text::line(&limits, "Max locked memory").and_then(|l| l.split_whitespace().next());
    match soft {
        Some("unlimited") => Ok(None),
        Some(bytes) if bytes.parse::<u64>().is_ok() => Ok(bytes.parse().ok()),
        _ => Err(Gap::Failed(format!("{path} has no limit of locked memory"))),
    }
}

fn network() -> Network {
    let switch = |path| -> Switch { Ok(text::value::<u32>(path)?.map(|value| value != 0)) };
    Network {
        lo_forwarding_v4: switch(SET_AT_START),
        lo_forwarding_v6: switch("/proc/sys/net/ipv6/conf/lo/forwarding"),
        ip_forward: switch("/proc/sys/net/ipv4/ip_forward"),
        writable: writable(),
        reserved_ports: text::must("/proc/sys/net/ipv4/ip_local_reserved_ports")
            .map(|ports| text::ranges(&ports)),
        ephemeral_ports: ephemeral_ports(),
        rp_filter_all: text::value("/proc/sys/net/ipv4/conf/all/rp_filter")
            .map(|value| value.unwrap_or(0)),
    }
}

fn writable() -> Fact<bool> {
    if !geteuid().is_root() {
        return Err(Gap::NeedsRoot);
    }
    // Root is refused only where the file system is read-only.
    Ok(access(SET_AT_START, AccessFlags::W_OK).is_ok())
}

fn ephemeral_ports() -> Fact<(u16, u16)> {
    let path = "/proc/sys/net/ipv4/ip_local_port_range";
    let found = fs::read_to_string(path).map_err(|error| Gap::of(&error))?;
    let mut ports = found.split_whitespace().map(str::parse);
    match (ports.next(), ports.next()) {
        (Some(Ok(first)), Some(Ok(last))) => Ok((first, last)),
        _ => Err(Gap::Failed(format!("{path} holds {found:?}"))),
    }
}
