//! The XDP program in the kernel: loaded with pinned maps, attached by pinned links.
//!
//! Invariants: maps of the same layout version are taken over with all connections; a link that
//! is there is updated in place (`BPF_LINK_UPDATE`), so no packet sees an interface without the
//! program; dropping a [`Program`] detaches nothing.

mod apart;
mod host;
mod links;
mod maps;
mod sizes;
pub(super) mod tasks;

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
use ebpf_common::layout::{
    CLAIM_MASK, CLAIMS_MAP, CONFIG_MAP, CONNECTION_SEED, CONNECTIONS_MAP, FLOW_MASK, FLOW_SAMPLING,
    FLOWS_MAP, PROGRAM, TICKS_PER_SECOND,
};

pub use self::{
    links::{AttachError, Mode},
    sizes::Sizes,
};
use super::{
    generation::Generations,
    pins::{CONFIG_NEXT, MAPS, PinFolder, PinsError},
    ticks,
};

/// The object, built by `build.rs`.
pub(super) static OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/marchproxy-xdp"));

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
    /// Something of the kernel that the program must be told could not be read.
    #[error("{what} could not be read")]
    Kernel {
        /// What.
        what: &'static str,
        /// Why not.
        source: io::Error,
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
    /// `None` for one apart from those that run.
    pins: Option<PinFolder>,
    sizes: Sizes,
    sampling: u32,
    /// Whether frames with VLAN tags are taken.
    vlans: bool,
    links: BTreeMap<String, (u32, PinnedLink)>,
}

impl Program {
    /// Loads the program, with the maps that an earlier process pinned or with new ones: tables of
    /// those sizes, and a map of that many records for the configuration. Of `sampling` packets one
    /// is told of; 0 leaves that out.
    ///
    /// # Errors
    /// Returns what the host or the kernel refused.
    pub fn load(
        pins: PinFolder,
        sizes: Sizes,
        sampling: u32,
        records: u32,
    ) -> Result<Self, LoadError> {
        pins.prepare()?;
        host::prepare()?;
        maps::drop_unlike_maps(&pins, sizes)?;
        let config = pins.map(CONFIG_MAP);
        let mut ebpf = load_object(Some((&pins, &config)), sizes, sampling, records, false)?;
        tasks::put_in_force(&mut ebpf, false)?;
        let (pins, links) = (Some(pins), BTreeMap::new());
        Ok(Self { ebpf, pins, sizes, sampling, vlans: false, links })
    }

    /// Loads the program apart from those that run: with maps of its own, which are not pinned, and
    /// without a setting of the host touched. It tells of every packet.
    ///
    /// # Errors
    /// Returns what the host or the kernel refused.
    pub fn apart(sizes: Sizes, records: u32) -> Result<Self, LoadError> {
        let mut ebpf = load_object(None, sizes, 1, records, false)?;
        tasks::put_in_force(&mut ebpf, false)?;
        let links = BTreeMap::new();
        Ok(Self { ebpf, pins: None, sizes, sampling: 1, vlans: false, links })
    }

    /// Returns how large the tables are.
    #[must_use]
    pub fn sizes(&self) -> Sizes {
        self.sizes
    }

    /// Takes frames with VLAN tags too, from then on.
    ///
    /// # Errors
    /// Returns what the kernel refused; such frames are the kernel's then.
    pub fn take_vlans(&mut self) -> Result<(), LoadError> {
        if !self.vlans {
            tasks::load(&mut self.ebpf, true)?;
            tasks::put_in_force(&mut self.ebpf, true)?;
            self.vlans = true;
        }
        Ok(())
    }

    /// Loads the program once more, with a map of that many records for the configuration. It is in
    /// no interface before [`Self::replace`].
    ///
    /// # Errors
    /// Returns what the host or the kernel refused.
    pub fn larger(&self, records: u32) -> Result<Larger, LoadError> {
        let place = self.pins.as_ref().map(|pins| (pins, pins.map(CONFIG_NEXT)));
        if let Some((_, path)) = &place {
            remove_pin(path.clone())?;
        }
        let place = place.as_ref().map(|(pins, path)| (*pins, path.as_path()));
        let ebpf = load_object(place, self.sizes, self.sampling, records, self.vlans)?;
        Ok(Larger { ebpf })
    }

    /// Puts the larger program into the links of all interfaces, and pins its map in place of the one
    /// before. A process that ends in between leaves that one, with what was in force there.
    ///
    /// # Errors
    /// Returns what the kernel refused, or that the map was not pinned; the larger program runs.
    pub fn replace(&mut self, larger: Larger) -> Result<(), LoadError> {
        self.ebpf = larger.ebpf;
        // Those of before go on with the same maps but for the configuration, which is in force in
        // both.
        tasks::put_in_force(&mut self.ebpf, self.vlans)?;
        self.replace_in_links();
        let Some(pins) = &self.pins else { return Ok(()) };
        let path = pins.map(CONFIG_NEXT);
        Ok(fs::rename(&path, pins.map(CONFIG_MAP))
            .map_err(|source| PinsError::File { path, source })?)
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

/// Loads the object: with pinned maps, of which the configuration's may be elsewhere, or with maps
/// of its own.
fn load_object(
    pinned: Option<(&PinFolder, &Path)>,
    sizes: Sizes,
    sampling: u32,
    records: u32,
    vlans: bool,
) -> Result<Ebpf, LoadError> {
    let (flow_mask, claim_mask) = (sizes.flow_buckets - 1, sizes.claim_buckets - 1);
    let seed = host::seed()?;
    let ticks = ticks::per_second()
        .map_err(|source| LoadError::Kernel { what: "the length of a tick", source })?;
    let mut loader = EbpfLoader::new();
    if let Some((pins, config)) = pinned {
        for name in MAPS {
            let path = if name == CONFIG_MAP { config.to_owned() } else { pins.map(name) };
            loader.map_pin_path(name, path);
        }
    }
    loader.map_max_entries(CONFIG_MAP, records);
    loader.map_max_entries(FLOWS_MAP, sizes.flow_buckets);
    loader.map_max_entries(CLAIMS_MAP, sizes.claim_buckets);
    loader.map_max_entries(CONNECTIONS_MAP, sizes.places());
    loader.override_global(FLOW_MASK, &flow_mask, true);
    loader.override_global(CLAIM_MASK, &claim_mask, true);
    loader.override_global(CONNECTION_SEED, &seed, true);
    loader.override_global(FLOW_SAMPLING, &sampling, true);
    loader.override_global(TICKS_PER_SECOND, &ticks, true);
    let mut ebpf = loader.load(OBJECT).map_err(|error| LoadError::Object(Box::new(error)))?;
    xdp(&mut ebpf).load().map_err(|error| LoadError::Program(Box::new(error)))?;
    tasks::load(&mut ebpf, vlans)?;
    maps::make_cookie_key(&mut ebpf)?;
    maps::bind_sockets(&ebpf)?;
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
