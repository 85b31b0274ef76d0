//! The XDP program in the kernel: loaded with pinned maps, attached by pinned links.
//!
//! Invariants: maps of the same layout version are taken over with all connections; a link that
//! is there is updated in place (`BPF_LINK_UPDATE`), so no packet sees an interface without the
//! program; dropping a [`Program`] detaches nothing.

mod host;
mod links;
mod maps;

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use aya::{
    Ebpf, EbpfLoader,
    maps::MapError,
    programs::{ProgramError, Xdp, links::PinnedLink},
};
use ebpf_common::layout::{CONFIG_MAP, FLOW_MASK, FLOWS_MAP, Flow, FlowBucket, PROGRAM};

pub use self::links::{AttachError, Mode};
use super::{
    generation::Generations,
    pins::{CONFIG_NEXT, MAPS, PinFolder, PinsError},
};

/// The object, built by `build.rs`.
pub(super) static OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/marchproxy-xdp"));

/// Flows in a bucket of the table of flows.
const FLOWS_PER_BUCKET: u32 = (size_of::<FlowBucket>() / size_of::<Flow>()) as u32;

/// Tells why the program is not in the kernel.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The pins cannot be used.
    #[error(transparent)]
    Pins(#[from] PinsError),
    /// The object or a map was refused.
    #[error("the XDP object was not loaded")]
    Object(#[source] Box<aya::EbpfError>),
    /// The kernel refused the program.
    #[error("the kernel refused the XDP program")]
    Program(#[source] Box<ProgramError>),
    /// A map cannot be used.
    #[error("map {name}")]
    Map {
        /// Its name.
        name: &'static str,
        /// Why not.
        source: MapError,
    },
    /// A setting of the kernel could not be made.
    #[error("{path} could not be set to {value}")]
    Setting {
        /// The setting's file.
        path: &'static str,
        /// What it should hold.
        value: String,
        /// Why not.
        source: io::Error,
    },
}

/// The loaded program.
#[derive(Debug)]
pub struct Program {
    ebpf: Ebpf,
    pins: PinFolder,
    buckets: u32,
    links: BTreeMap<String, (u32, PinnedLink)>,
}

impl Program {
    /// Loads the program, with the maps that an earlier process pinned or with new ones: a table for
    /// that many flows, and a map of that many records for the configuration.
    ///
    /// # Errors
    /// Returns what the host or the kernel refused.
    pub fn load(pins: PinFolder, flows: u32, records: u32) -> Result<Self, LoadError> {
        pins.prepare()?;
        host::prepare()?;
        let buckets = flows.div_ceil(FLOWS_PER_BUCKET).max(1).next_power_of_two();
        maps::drop_unlike_maps(&pins, buckets)?;
        let ebpf = load_object(&pins, buckets, &pins.map(CONFIG_MAP), records)?;
        Ok(Self { ebpf, pins, buckets, links: BTreeMap::new() })
    }

    /// Loads the program once more, with a map of that many records for the configuration. It is in
    /// no interface before [`Self::replace`].
    ///
    /// # Errors
    /// Returns what the host or the kernel refused.
    pub fn larger(&self, records: u32) -> Result<Larger, LoadError> {
        let path = self.pins.map(CONFIG_NEXT);
        remove_pin(path.clone())?;
        Ok(Larger { ebpf: load_object(&self.pins, self.buckets, &path, records)? })
    }

    /// Puts the larger program into the links of all interfaces, and pins its map in place of the one
    /// before. A process that ends in between leaves that one, with what was in force there.
    ///
    /// # Errors
    /// Returns that the map was not pinned; the larger program runs.
    pub fn replace(&mut self, larger: Larger) -> Result<(), PinsError> {
        self.ebpf = larger.ebpf;
        self.replace_in_links();
        let path = self.pins.map(CONFIG_NEXT);
        fs::rename(&path, self.pins.map(CONFIG_MAP))
            .map_err(|source| PinsError::File { path, source })
    }

    /// Returns the loaded program, for test runs.
    pub fn xdp(&mut self) -> &mut Xdp {
        xdp(&mut self.ebpf)
    }
}

/// The program with a larger map, before it takes the place of the one that runs.
#[derive(Debug)]
pub struct Larger {
    ebpf: Ebpf,
}

impl Larger {
    /// Returns the copies of the configuration, of which none is in force.
    ///
    /// # Errors
    /// Returns what the kernel refused.
    pub fn generations(&self) -> Result<Generations, LoadError> {
        maps::generations(&self.ebpf)
    }
}

fn xdp(ebpf: &mut Ebpf) -> &mut Xdp {
    ebpf.program_mut(PROGRAM)
        .and_then(|program| program.try_into().ok())
        .expect("the object has the program")
}

/// Loads the object: with pinned maps, of which the configuration's may be elsewhere.
fn load_object(
    pins: &PinFolder,
    buckets: u32,
    config: &Path,
    records: u32,
) -> Result<Ebpf, LoadError> {
    let mask = buckets - 1;
    let mut loader = EbpfLoader::new();
    for name in MAPS {
        let path = if name == CONFIG_MAP { config.to_owned() } else { pins.map(name) };
        loader.map_pin_path(name, path);
    }
    loader.map_max_entries(CONFIG_MAP, records);
    loader.map_max_entries(FLOWS_MAP, buckets);
    loader.override_global(FLOW_MASK, &mask, true);
    let mut ebpf = loader.load(OBJECT).map_err(|error| LoadError::Object(Box::new(error)))?;
    xdp(&mut ebpf).load().map_err(|error| LoadError::Program(Box::new(error)))?;
    Ok(ebpf)
}

fn remove_pin(path: PathBuf) -> Result<(), PinsError> {
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(PinsError::File { path, source: error })
        }
        _ => Ok(()),
    }
}
