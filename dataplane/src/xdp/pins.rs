//! Where the maps and links of an instance are pinned, and how they are removed.
//!
//! ```text
//! /sys/fs/bpf/marchproxy/<instance>/mp_config_v5 …        maps, by name and layout version
//!                                  /link_native_eth0      links, by mode and interface
//! ```
//! The mode stands in a link's name, since the kernel does not tell it.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use ebpf_common::{
    filter::{
        FILTER_MAP,
        rates::{FILTER_RULES_MAP, FILTER_SPENT_MAP, SOURCES_MAP},
    },
    layout::{
        CLAIMS_MAP, CONFIG_MAP, CONNECTIONS_MAP, COUNTERS_MAP, CPU_ENDPOINTS_MAP, ENDPOINTS_MAP,
        EVENTS_MAP, FLOWS_MAP, HANDSHAKES_MAP, STATS_MAP, TASKS_MAP, VLANS_MAP,
    },
    qos::{CREDIT_MAP, SPENT_MAP, wait::SOCKETS_MAP},
};
use nix::{
    mount::{MsFlags, mount},
    sys::statfs::{FsType, statfs},
};

/// The maps that are pinned.
pub const MAPS: [&str; 19] = [
    CONFIG_MAP,
    CLAIMS_MAP,
    CONNECTIONS_MAP,
    COUNTERS_MAP,
    CPU_ENDPOINTS_MAP,
    ENDPOINTS_MAP,
    EVENTS_MAP,
    FLOWS_MAP,
    HANDSHAKES_MAP,
    STATS_MAP,
    TASKS_MAP,
    VLANS_MAP,
    FILTER_MAP,
    FILTER_RULES_MAP,
    FILTER_SPENT_MAP,
    SOURCES_MAP,
    SPENT_MAP,
    CREDIT_MAP,
    SOCKETS_MAP,
];
/// The configuration's map while a larger one takes its place.
pub const CONFIG_NEXT: &str = "mp_config_next";
/// `BPF_FS_MAGIC` (include/uapi/linux/magic.h).
const BPF_FS_MAGIC: i64 = 0xcafe_4a11;
/// Folder of all instances on the BPF file system.
const PRODUCT: &str = "marchproxy";
/// Where the BPF file system is by convention.
pub const BPFFS: &str = "/sys/fs/bpf";

/// Tells why the pins cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PinsError {
    /// The instance's name cannot be a folder's.
    #[error("instance name {0:?} is not made of letters, digits, `-`, `_` and `.` alone")]
    Instance(String),
    /// There is no BPF file system and none could be mounted.
    #[error("no BPF file system at {path}, and it could not be mounted")]
    Mount {
        /// Where it should be.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file of the folder could not be used.
    #[error("{path} on the BPF file system")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// The folder of one data plane's pins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinFolder {
    bpffs: PathBuf,
    instance: String,
}

impl PinFolder {
    /// Names the folder; touches nothing.
    ///
    /// # Errors
    /// Returns an error when `instance` cannot be a folder's name.
    pub fn new(bpffs: impl Into<PathBuf>, instance: &str) -> Result<Self, PinsError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if instance.is_empty() || instance.starts_with('.') || !instance.chars().all(plain) {
            return Err(PinsError::Instance(instance.to_owned()));
        }
        Ok(Self { bpffs: bpffs.into(), instance: instance.to_owned() })
    }

    /// Returns the folder.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.bpffs.join(PRODUCT).join(&self.instance)
    }

    /// Returns the path of a map's pin.
    #[must_use]
    pub fn map(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Returns the path of a link's pin; `mode` is `native` or `generic`.
    #[must_use]
    pub fn link(&self, interface: &str, mode: &str) -> PathBuf {
        // bpffs refuses names with dots (kernel/bpf/inode.c, bpf_lookup), interfaces may have them.
        self.path().join(format!("link_{mode}_{}", interface.replace('.', "@")))
    }

    /// Mounts the BPF file system when there is none, and makes the folder.
    ///
    /// # Errors
    /// Returns what the kernel refused.
    pub fn prepare(&self) -> Result<(), PinsError> {
        if !is_bpffs(&self.bpffs) {
            mount(Some("bpf"), &self.bpffs, Some("bpf"), MsFlags::empty(), Some("mode=0700"))
                .map_err(|source| PinsError::Mount {
                    path: self.bpffs.clone(),
                    source: source.into(),
                })?;
        }
        let path = self.path();
        fs::create_dir_all(&path).map_err(|source| PinsError::File { path, source })
    }

    /// Removes pinned maps of other layout versions.
    ///
    /// # Errors
    /// Returns the first file that could not be removed.
    pub fn remove_other_layouts(&self) -> Result<Vec<String>, PinsError> {
        self.remove_if(|name| name.starts_with("mp_") && !MAPS.contains(&name))
    }

    /// Removes the links of interfaces that are not in the list.
    ///
    /// # Errors
    /// Returns the first file that could not be removed.
    pub fn remove_other_links(&self, interfaces: &[String]) -> Result<Vec<String>, PinsError> {
        let kept: Vec<PathBuf> = interfaces
            .iter()
            .flat_map(|interface| [self.link(interface, "native"), self.link(interface, "generic")])
            .collect();
        self.remove_if(|name| name.starts_with("link_") && !kept.contains(&self.path().join(name)))
    }

    fn remove_if(&self, unwanted: impl Fn(&str) -> bool) -> Result<Vec<String>, PinsError> {
        let mut removed = Vec::new();
        for name in self.names()? {
            if unwanted(&name) {
                let path = self.path().join(&name);
                fs::remove_file(&path).map_err(|source| PinsError::File { path, source })?;
                removed.push(name);
            }
        }
        Ok(removed)
    }

    fn names(&self) -> Result<Vec<String>, PinsError> {
        let path = self.path();
        names(&path).map_err(|source| PinsError::File { path, source })
    }
}

/// Tells whether a BPF file system is mounted at a path.
#[must_use]
pub fn is_bpffs(path: &Path) -> bool {
    statfs(path).is_ok_and(|info| info.filesystem_type() == FsType(BPF_FS_MAGIC))
}

/// Lists the interfaces with a pinned link of any instance.
///
/// # Errors
/// A folder cannot be read.
pub fn linked(bpffs: &Path) -> io::Result<Vec<String>> {
    let mut interfaces = BTreeSet::new();
    for instance in names(&bpffs.join(PRODUCT))? {
        for name in names(&bpffs.join(PRODUCT).join(instance))? {
            interfaces.extend(interface_of(&name));
        }
    }
    Ok(interfaces.into_iter().collect())
}

/// Reads the interface from the name of a link's pin.
fn interface_of(name: &str) -> Option<String> {
    let (mode, interface) = name.strip_prefix("link_")?.split_once('_')?;
    matches!(mode, "native" | "generic").then(|| interface.replace('@', "."))
}

/// The names in a folder; none where there is no folder.
fn names(path: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

/// Takes the XDP program off the interfaces of an instance and removes its maps: nothing is left
/// in the kernel. Established L4 connections end. Returns what was removed.
///
/// # Errors
/// Returns the first file that could not be removed.
pub fn detach(pins: &PinFolder) -> Result<Vec<String>, PinsError> {
    if !is_bpffs(&pins.bpffs) {
        return Ok(Vec::new());
    }
    // Links first: the program must not run on maps that are going.
    let mut removed = pins.remove_if(|name| name.starts_with("link_"))?;
    removed.extend(pins.remove_if(|_| true)?);
    for path in [pins.path(), pins.bpffs.join(PRODUCT)] {
        match fs::remove_dir(&path) {
            Ok(()) => {}
            // Another instance's folder may still be in the product's.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty
                ) => {}
            Err(source) => return Err(PinsError::File { path, source }),
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_are_read_back_from_the_pins_of_all_instances() {
        let directory = tempfile::tempdir().unwrap();
        let bpffs = directory.path();
        assert_eq!(linked(bpffs).unwrap(), Vec::<String>::new());
        for (instance, interface, mode) in
            [("a-1", "eth0.5", "native"), ("a-1", "x_y", "generic"), ("b-2", "eth0.5", "generic")]
        {
            let pins = PinFolder::new(bpffs, instance).unwrap();
            fs::create_dir_all(pins.path()).unwrap();
            fs::write(pins.link(interface, mode), "").unwrap();
            fs::write(pins.map("mp_config_v2"), "").unwrap();
        }
        assert_eq!(linked(bpffs).unwrap(), ["eth0.5", "x_y"]);
    }
}
