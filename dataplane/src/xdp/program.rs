//! The XDP program in the kernel: loaded with pinned maps, attached by pinned links.
//!
//! Invariants: maps of the same layout version are taken over with all connections; a link that
//! is there is updated in place (`BPF_LINK_UPDATE`), so no packet sees an interface without the
//! program; dropping a [`Program`] detaches nothing.

use std::{
    collections::BTreeMap,
    ffi::CString,
    fmt, fs, io,
    os::fd::{AsFd as _, BorrowedFd},
    path::{Path, PathBuf},
};

use aya::{
    Ebpf, EbpfLoader,
    maps::{ArrayOfMaps, Map, MapData, MapError, PerCpuArray, PerCpuValues},
    programs::{
        ProgramError, Xdp, XdpMode,
        links::{FdLink, PinnedLink},
        xdp::XdpLink,
    },
};
use ebpf_common::filter::{FILTER_HITS_MAP, FILTER_MAP, FILTER_SLOTS, HITS_MAX};
use ebpf_common::layout::{
    CONFIG_MAP, CONFIG_RECORDS, CONNECTIONS_MAP, CONNECTIONS_MAX, COUNTER_WORDS, COUNTERS_MAP,
    Connection, ENDPOINTS_MAP, ENDPOINTS_MAX, Endpoint, FLOW_MASK, FLOWS_MAP, Flow, FlowBucket,
    PROGRAM, Record, SERVICES_MAX, SNAT_PORT_FIRST, SNAT_PORT_LAST, STATS_MAP, STATS_WORDS, Tuple,
};

use super::{
    generation::{CONFIG_RECORDS_MAX, Generations},
    mapping::Mapping,
    pins::{CONFIG_NEXT, MAPS, PinFolder, PinsError},
};

/// The object, built by `build.rs`.
pub(super) static OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/marchproxy-xdp"));

/// Switches without which the kernel answers no route lookup of the program. Of the loopback
/// interface only: no real interface becomes a router by it.
const FORWARDING: [&str; 2] =
    ["/proc/sys/net/ipv4/conf/lo/forwarding", "/proc/sys/net/ipv6/conf/lo/forwarding"];

/// Flows in a bucket of the table of flows.
const FLOWS_PER_BUCKET: u32 = (size_of::<FlowBucket>() / size_of::<Flow>()) as u32;

/// Ports that the kernel gives to no socket by itself (Documentation/networking/ip-sysctl.rst);
/// without them a widened ephemeral range could clash with connections to endpoints.
const RESERVED_PORTS: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";

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

/// Tells why an interface does not run the program.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// There is no such interface.
    #[error("no such interface")]
    NoInterface,
    /// Another XDP program is there.
    #[error("another XDP program is attached")]
    Busy,
    /// Neither mode was accepted.
    #[error("native mode: {native}; generic mode: {generic}")]
    Refused {
        /// What was said of native mode.
        native: String,
        /// What was said of generic mode.
        generic: String,
    },
    /// The kernel has no XDP links (before Linux 5.9), so nothing could be pinned.
    #[error("the kernel has no XDP links, which came with Linux 5.9")]
    NoLinks,
    /// The link could not be pinned or taken over.
    #[error("the link's pin: {0}")]
    Pin(String),
}

/// How an interface runs the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In the driver.
    Native,
    /// In the network stack, and why not in the driver; `None` when an earlier process knew.
    Generic(Option<String>),
}

impl Mode {
    /// Returns `native` or `generic`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic(_) => "generic",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Native | Self::Generic(None) => f.write_str(self.name()),
            Self::Generic(Some(reason)) => write!(f, "generic ({reason})"),
        }
    }
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
    /// Loads the program, with the maps that an earlier process pinned or with new ones.
    ///
    /// # Errors
    /// Returns what the host or the kernel refused.
    pub fn load(pins: PinFolder, flows: u32) -> Result<Self, LoadError> {
        pins.prepare()?;
        for path in FORWARDING {
            ensure(path, |value| value == "1", |_| "1".to_owned())?;
        }
        reserve_ports()?;
        let buckets = flows.div_ceil(FLOWS_PER_BUCKET).max(1).next_power_of_two();
        drop_unlike_maps(&pins, buckets)?;
        let ebpf = load_object(&pins, buckets, &pins.map(CONFIG_MAP), CONFIG_RECORDS as u32)?;
        Ok(Self { ebpf, pins, buckets, links: BTreeMap::new() })
    }

    /// Loads the program again, with a configuration map of that many records in which nothing is
    /// in force. Interfaces go on with the program before until [`Self::replace_in_links`].
    ///
    /// # Errors
    /// Returns what the host or the kernel refused; the program before stays.
    pub fn enlarge(&mut self, records: u32) -> Result<(), LoadError> {
        let path = self.pins.map(CONFIG_NEXT);
        remove_pin(path.clone())?;
        self.ebpf = load_object(&self.pins, self.buckets, &path, records)?;
        Ok(())
    }

    /// Puts the program into the links of all interfaces.
    pub fn replace_in_links(&mut self) {
        for (interface, (index, _)) in std::mem::take(&mut self.links) {
            for mode in [Mode::Native, Mode::Generic(None)] {
                // One that is left out is attached again by the next reconciliation.
                if let Err(error) = self.take_over(&interface, index, &mode) {
                    tracing::warn!(%interface, %error, "XDP program not replaced");
                }
            }
        }
    }

    /// Pins the enlarged configuration map under its name; an earlier end of the process finds the
    /// map before, with what was in force there.
    ///
    /// # Errors
    /// Returns what the host refused.
    pub fn keep_enlarged(&self) -> Result<(), PinsError> {
        let path = self.pins.map(CONFIG_NEXT);
        fs::rename(&path, self.pins.map(CONFIG_MAP))
            .map_err(|source| PinsError::File { path, source })
    }

    /// Attaches the program to an interface, or puts it into the link that is there: in driver
    /// mode, else in generic mode.
    ///
    /// # Errors
    /// Returns why the interface does not run it.
    pub fn attach(&mut self, interface: &str) -> Result<Mode, AttachError> {
        let name = CString::new(interface).map_err(|_| AttachError::NoInterface)?;
        // SAFETY: the string ends with a zero byte.
        let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
        if index == 0 {
            return Err(AttachError::NoInterface);
        }
        for mode in [Mode::Native, Mode::Generic(None)] {
            if self.take_over(interface, index, &mode)? {
                return Ok(mode);
            }
        }
        match self.attach_new(interface, index, &Mode::Native) {
            Ok(()) => Ok(Mode::Native),
            Err(Refusal::Final(error)) => Err(error),
            Err(Refusal::Mode(native)) => {
                match self.attach_new(interface, index, &Mode::Generic(None)) {
                    Ok(()) => Ok(Mode::Generic(Some(native))),
                    Err(Refusal::Final(error)) => Err(error),
                    Err(Refusal::Mode(generic)) => Err(AttachError::Refused { native, generic }),
                }
            }
        }
    }

    /// Tells whether an interface that was attached is still the same one.
    #[must_use]
    pub fn is_attached(&self, interface: &str) -> bool {
        let Ok(name) = CString::new(interface) else { return false };
        // SAFETY: the string ends with a zero byte.
        let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
        self.links.get(interface).is_some_and(|(attached, _)| index != 0 && *attached == index)
    }

    /// Puts the program into a pinned link, and tells whether there was one that lives.
    fn take_over(&mut self, interface: &str, index: u32, mode: &Mode) -> Result<bool, AttachError> {
        let path = self.pins.link(interface, mode.name());
        if !path.exists() {
            return Ok(false);
        }
        let pin = |error: String| AttachError::Pin(error);
        let pinned = PinnedLink::from_pin(&path).map_err(|error| pin(error.to_string()))?;
        let link = XdpLink::try_from(FdLink::from(pinned)).map_err(|e| pin(e.to_string()))?;
        let xdp = xdp(&mut self.ebpf);
        match xdp.attach_to_link(link) {
            Ok(id) => {
                // Held by its pin; kept out of aya's set, which would detach on drop.
                let _taken = xdp.take_link(id).map_err(|error| pin(error.to_string()))?;
                let pinned = PinnedLink::from_pin(&path).map_err(|e| pin(e.to_string()))?;
                self.links.insert(interface.to_owned(), (index, pinned));
                Ok(true)
            }
            // Its interface is gone (ENOLINK): one of the same name is another.
            Err(error) if os_error(&error) == Some(libc::ENOLINK) => {
                fs::remove_file(&path).map_err(|error| pin(error.to_string()))?;
                Ok(false)
            }
            Err(error) => Err(pin(words(&error))),
        }
    }

    fn attach_new(&mut self, interface: &str, index: u32, mode: &Mode) -> Result<(), Refusal> {
        let xdp_mode = match mode {
            Mode::Native => XdpMode::Driver,
            Mode::Generic(_) => XdpMode::Skb,
        };
        let xdp = xdp(&mut self.ebpf);
        let id =
            xdp.attach_to_if_index(index, xdp_mode).map_err(|error| match os_error(&error) {
                Some(libc::EBUSY | libc::EEXIST) => Refusal::Final(AttachError::Busy),
                Some(libc::ENODEV) => Refusal::Final(AttachError::NoInterface),
                _ => Refusal::Mode(words(&error)),
            })?;
        let pin = |error: String| Refusal::Final(AttachError::Pin(error));
        let link = xdp.take_link(id).map_err(|error| pin(error.to_string()))?;
        // aya falls back to netlink on its own; such an attachment cannot be pinned. It ends
        // with the failed conversion.
        let link = FdLink::try_from(link).map_err(|_| Refusal::Final(AttachError::NoLinks))?;
        let path = self.pins.link(interface, mode.name());
        let pinned = link.pin(&path).map_err(|error| pin(error.to_string()))?;
        self.links.insert(interface.to_owned(), (index, pinned));
        Ok(())
    }

    /// Returns the copies of the configuration.
    ///
    /// # Errors
    /// Returns what the kernel refused.
    pub fn generations(&self) -> Result<Generations, LoadError> {
        let failed = |error| LoadError::Map { name: CONFIG_MAP, source: MapError::IoError(error) };
        Generations::new(self.mapping(CONFIG_MAP)?).map_err(failed)
    }

    /// Returns the counters of the services.
    ///
    /// # Errors
    /// Returns an error when the object has no such map.
    pub fn counters(
        &mut self,
    ) -> Result<PerCpuArray<&mut MapData, [u64; COUNTER_WORDS]>, LoadError> {
        let map = self.ebpf.map_mut(COUNTERS_MAP).expect("the object has the map");
        map.try_into().map_err(|source| LoadError::Map { name: COUNTERS_MAP, source })
    }

    /// Returns the endpoints by their numbers.
    ///
    /// # Errors
    /// Returns what the kernel refused.
    pub fn endpoints(&self) -> Result<Mapping, LoadError> {
        self.mapping(ENDPOINTS_MAP)
    }

    fn mapping(&self, name: &'static str) -> Result<Mapping, LoadError> {
        let Some(Map::Array(map)) = self.ebpf.map(name) else {
            panic!("the object has the map, and it is an array");
        };
        let failed = |source| LoadError::Map { name, source };
        let records = map.info().map_err(failed)?.max_entries() as usize;
        Mapping::new(map.fd().as_fd(), records).map_err(|error| failed(MapError::IoError(error)))
    }

    /// Returns the packet filter's outer map.
    ///
    /// # Errors
    /// Returns an error when the object has no such map.
    pub fn filter(&mut self) -> Result<ArrayOfMaps<&mut MapData, MapData>, LoadError> {
        let map = self.ebpf.map_mut(FILTER_MAP).expect("the object has the map");
        map.try_into().map_err(|source| LoadError::Map { name: FILTER_MAP, source })
    }

    /// Returns the descriptor of the packet filter's outer map.
    ///
    /// # Errors
    /// Returns an error when the object has no such map.
    pub fn filter_fd(&self) -> Result<BorrowedFd<'_>, LoadError> {
        match self.ebpf.map(FILTER_MAP) {
            Some(Map::ArrayOfMaps(map)) => Ok(map.fd().as_fd()),
            _ => Err(LoadError::Map {
                name: FILTER_MAP,
                source: MapError::InvalidName { name: FILTER_MAP.to_owned() },
            }),
        }
    }

    /// Returns a function that reads how many packets a rule of the packet filter has dropped.
    ///
    /// # Errors
    /// Returns an error when the object has no such map.
    pub fn filter_hits(&self) -> Result<impl Fn(u8) -> Result<u64, LoadError>, LoadError> {
        let failed = |source| LoadError::Map { name: FILTER_HITS_MAP, source };
        let map = self.ebpf.map(FILTER_HITS_MAP).expect("the object has the map");
        let hits: PerCpuArray<&MapData, u64> = map.try_into().map_err(failed)?;
        Ok(move |counter: u8| {
            let cpus = hits.get(&u32::from(counter), 0).map_err(failed)?;
            Ok(cpus.iter().copied().fold(0, u64::wrapping_add))
        })
    }

    /// Sets the counter of a rule of the packet filter to zero.
    ///
    /// # Errors
    /// Returns what the kernel refused.
    pub fn clear_filter_hits(&mut self, counter: u8) -> Result<(), LoadError> {
        let failed = |source| LoadError::Map { name: FILTER_HITS_MAP, source };
        let cpus = aya::util::nr_cpus().map_err(|(_, error)| failed(MapError::IoError(error)))?;
        let zero = PerCpuValues::try_from(vec![0u64; cpus])
            .map_err(|error| failed(MapError::IoError(error)))?;
        let map = self.ebpf.map_mut(FILTER_HITS_MAP).expect("the object has the map");
        let mut hits: PerCpuArray<&mut MapData, u64> = map.try_into().map_err(failed)?;
        hits.set(counter.into(), zero, 0).map_err(failed)
    }

    /// Sets the counters of a service slot to zero.
    ///
    /// # Errors
    /// Returns what the kernel refused.
    pub fn clear_counters(&mut self, slot: u32) -> Result<(), LoadError> {
        let failed = |source| LoadError::Map { name: COUNTERS_MAP, source };
        let cpus = aya::util::nr_cpus().map_err(|(_, error)| failed(MapError::IoError(error)))?;
        let zero = PerCpuValues::try_from(vec![[0u64; COUNTER_WORDS]; cpus])
            .map_err(|error| failed(MapError::IoError(error)))?;
        self.counters()?.set(slot, zero, 0).map_err(failed)
    }

    /// Returns the statistics.
    ///
    /// # Errors
    /// Returns an error when the object has no such map.
    pub fn statistics(&self) -> Result<PerCpuArray<&MapData, [u64; STATS_WORDS]>, LoadError> {
        let map = self.ebpf.map(STATS_MAP).expect("the object has the map");
        map.try_into().map_err(|source| LoadError::Map { name: STATS_MAP, source })
    }

    /// Returns the loaded program, for test runs.
    pub fn xdp(&mut self) -> &mut Xdp {
        xdp(&mut self.ebpf)
    }
}

enum Refusal {
    /// The mode is refused; another may be accepted.
    Mode(String),
    /// No mode will be.
    Final(AttachError),
}

fn xdp(ebpf: &mut Ebpf) -> &mut Xdp {
    ebpf.program_mut(PROGRAM)
        .and_then(|program| program.try_into().ok())
        .expect("the object has the program")
}

fn os_error(error: &ProgramError) -> Option<i32> {
    match error {
        ProgramError::SyscallError(error) => error.io_error.raw_os_error(),
        _ => None,
    }
}

fn words(error: &ProgramError) -> String {
    match error {
        ProgramError::SyscallError(error) => format!("{}: {}", error.call, error.io_error),
        other => other.to_string(),
    }
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

/// Unpins maps whose shape is not what their name promises: a name is meant to stand for one
/// layout, and a mistake in that must cost connections, not correctness. A table of flows of
/// another length is one that the operator resized.
fn drop_unlike_maps(pins: &PinFolder, buckets: u32) -> Result<(), LoadError> {
    let sizes = |key: usize, value: usize, entries: usize| {
        (key as u32, value as u32, entries as u32..=entries as u32)
    };
    let configs = CONFIG_RECORDS as u32..=CONFIG_RECORDS_MAX;
    let shapes = [
        (CONFIG_MAP, (4, size_of::<Record>() as u32, configs)),
        (CONNECTIONS_MAP, sizes(size_of::<Tuple>(), size_of::<Connection>(), CONNECTIONS_MAX)),
        (COUNTERS_MAP, sizes(4, 8 * COUNTER_WORDS, SERVICES_MAX)),
        (FLOWS_MAP, sizes(4, size_of::<FlowBucket>(), buckets as usize)),
        (ENDPOINTS_MAP, sizes(4, size_of::<Endpoint>(), ENDPOINTS_MAX)),
        (STATS_MAP, sizes(4, 8 * STATS_WORDS, 1)),
        (FILTER_MAP, sizes(4, 4, FILTER_SLOTS)),
        (FILTER_HITS_MAP, sizes(4, 8, HITS_MAX)),
    ];
    for (name, shape) in shapes {
        let path = pins.map(name);
        if !path.exists() {
            continue;
        }
        let info = MapData::from_pin(&path).and_then(|map| map.info());
        let found = info.as_ref().ok().map(|i| (i.key_size(), i.value_size(), i.max_entries()));
        let fits = |(key, value, entries): (u32, u32, u32)| {
            (key, value) == (shape.0, shape.1) && shape.2.contains(&entries)
        };
        if !found.is_some_and(fits) {
            tracing::warn!(map = name, ?found, wanted = ?shape, "pinned map of another shape removed");
            remove_pin(path)?;
        }
    }
    Ok(())
}
