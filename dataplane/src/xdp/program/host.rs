//! Settings of the kernel that the program relies on, and what it must be told of the kernel.

use std::{fs, io};

use ebpf_common::layout::{SNAT_PORT_FIRST, SNAT_PORT_LAST};

use super::LoadError;

/// Switches without which the kernel answers no route lookup of the program. Of the loopback
/// interface only: no real interface becomes a router by it.
const FORWARDING: [&str; 2] =
    ["/proc/sys/net/ipv4/conf/lo/forwarding", "/proc/sys/net/ipv6/conf/lo/forwarding"];

/// Ports that the kernel gives to no socket by itself (Documentation/networking/ip-sysctl.rst);
/// without them a widened ephemeral range could clash with connections to endpoints.
const RESERVED_PORTS: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";

/// Makes the settings where they are not made.
///
/// # Errors
/// Returns the first that could not be made.
pub(super) fn prepare() -> Result<(), LoadError> {
    for path in FORWARDING {
        ensure(path, |value| value == "1", |_| "1".to_owned())?;
    }
    reserve_ports()
}

/// Makes a setting where it is not as wanted; what the kernel does not have is left out, such as
/// those of IPv6 where there is none.
fn ensure(
    path: &'static str,
    holds: impl Fn(&str) -> bool,
    wanted: impl Fn(&str) -> String,
) -> Result<(), LoadError> {
    let found = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.unwrap_or_default(),
    };
    if holds(found.trim()) {
        return Ok(());
    }
    let value = wanted(found.trim());
    fs::write(path, &value).map_err(|source| LoadError::Setting { path, value, source })
}

fn reserve_ports() -> Result<(), LoadError> {
    let range = format!("{SNAT_PORT_FIRST}-{SNAT_PORT_LAST}");
    ensure(
        RESERVED_PORTS,
        |found| found.split(',').any(|part| part == range),
        // The kernel merges ranges that touch.
        |found| if found.is_empty() { range.clone() } else { format!("{found},{range}") },
    )
}

/// A number that is another at each start of the kernel, as pinned maps are.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Returns the seed of the table of connections: not to be foreseen from outside, and the same for
/// all processes that use the pinned table.
///
/// # Errors
/// Returns that the kernel does not tell it.
pub(super) fn seed() -> Result<u64, LoadError> {
    let failed = |source| LoadError::Kernel { what: BOOT_ID, source };
    let id = fs::read_to_string(BOOT_ID).map_err(failed)?;
    let digits: String = id.chars().filter(char::is_ascii_hexdigit).take(16).collect();
    u64::from_str_radix(&digits, 16)
        .map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidData, error)))
}
