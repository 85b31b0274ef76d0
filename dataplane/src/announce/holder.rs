//! Holds the addresses: makes the host's agree with what is granted, and tells the link.
//!
//! All of it blocks; the actor calls it off the runtime's threads.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::IpAddr,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use model::{
    Engine, EngineReport, Snapshot,
    announce::{AddressReport, AddressState, wanted},
};

use super::{
    Granted, frames,
    links::{self, Link, Links},
    plan,
};
use crate::xdp::L4Placement;

/// Frames that tell of a move, one a look: some neighbours take a second one only (Linux's
/// `locktime` is a second), and one may be lost.
const TELLINGS: u32 = 3;
/// How long a node is not fit for an address that its kernel refused: else it would be given it again
/// as soon as it has lost it.
const RETRY_AFTER: Duration = Duration::from_secs(60);
/// What an address outlives its lease by: lifetimes are whole seconds.
const ROUNDING: Duration = Duration::from_secs(1);

/// What a look is made from.
#[derive(Clone, Debug)]
pub struct Input {
    /// The configuration.
    pub config: Snapshot,
    /// Which listeners XDP carries.
    pub placement: Arc<L4Placement>,
    /// How the engines stand.
    pub reports: Arc<BTreeMap<Engine, EngineReport>>,
    /// What is granted; `None` before the first word.
    pub granted: Option<Granted>,
    /// Why this node should have no address, though it could.
    pub leaving: Option<&'static str>,
}

/// The holder.
#[derive(Debug, Default)]
pub struct Holder {
    /// Interfaces that clients come in by; any when empty.
    allowed: Vec<String>,
    held: BTreeMap<IpAddr, Held>,
    /// What the kernel refused, and when.
    refused: BTreeMap<IpAddr, (Instant, String)>,
    /// Whether what an earlier process left has been looked at.
    swept: bool,
}

#[derive(Debug)]
struct Held {
    link: Link,
    since_ms: u64,
    tellings: u32,
}

impl Holder {
    /// Makes a holder that holds nothing.
    #[must_use]
    pub fn new(allowed: Vec<String>) -> Self {
        Self { allowed, ..Self::default() }
    }

    /// Tells whether it holds an address.
    #[must_use]
    pub fn is_holding(&self) -> bool {
        !self.held.is_empty()
    }

    /// Brings the host in line with what is granted; returns how it stands to each address.
    ///
    /// # Errors
    /// Returns why the host's interfaces could not be read; the next look tries again.
    pub fn look(&mut self, input: &Input) -> io::Result<Vec<AddressReport>> {
        let wanted = wanted(&input.config);
        if wanted.is_empty() && self.held.is_empty() && self.swept {
            return Ok(Vec::new());
        }
        let links = Links::read()?;
        let now = Instant::now();
        let granted = input.granted.as_ref().filter(|granted| granted.until > now);
        let lifetime = granted.map(|it| it.until.saturating_duration_since(now) + ROUNDING);
        let mut reports = Vec::with_capacity(wanted.len());
        let mut keep = BTreeSet::new();
        for address in &wanted {
            let state = match self.stand(*address, &links, input) {
                Err(reason) => {
                    self.held.remove(address);
                    AddressState::Unfit { reason }
                }
                Ok(link) => {
                    let is_granted = granted.is_some_and(|it| it.addresses.contains(address));
                    match lifetime.filter(|_| is_granted) {
                        Some(lifetime) => {
                            keep.insert((link.index, *address));
                            self.hold(*address, &link, &links, lifetime)
                        }
                        None => {
                            self.held.remove(address);
                            AddressState::Fit { interface: link.name }
                        }
                    }
                }
            };
            reports.push(AddressReport { address: *address, state });
        }
        self.held.retain(|address, _| wanted.contains(address));
        self.refused.retain(|address, _| wanted.contains(address));
        // Before the first word, what an earlier process left is let be: it ends by itself.
        let silent = input.granted.is_none() && input.leaving.is_none();
        for left in links.assigned.iter().filter(|it| it.marked && self.is_ours(it.link, &links)) {
            let pending = silent && wanted.contains(&left.address);
            if keep.contains(&(left.link, left.address)) || pending {
                continue;
            }
            match links::unassign(left.link, left.address) {
                Ok(()) => {
                    tracing::info!(address = %left.address, "an address is announced no more");
                }
                // It ends with its lifetime.
                Err(error) => {
                    tracing::warn!(address = %left.address, %error, "it is not taken off");
                }
            }
        }
        self.swept = true;
        if let Err(error) = self.tell() {
            tracing::warn!(%error, "neighbours are not told of a move");
        }
        metrics::gauge!("marchproxy_announced_addresses").set(self.held.len() as f64);
        Ok(reports)
    }

    /// Finds the interface that an address would be on; else says why this node can't have it.
    fn stand(&self, address: IpAddr, links: &Links, input: &Input) -> Result<Link, String> {
        if let Some(reason) = input.leaving {
            return Err(reason.to_owned());
        }
        if let Some((at, reason)) = self.refused.get(&address)
            && at.elapsed() < RETRY_AFTER
        {
            return Err(reason.clone());
        }
        let link = plan::link_of(address, links, &self.allowed)?;
        plan::carried(address, &input.config, &input.placement, &input.reports)?;
        Ok(link.clone())
    }

    /// Tells whether an interface is one that this data plane would put addresses on.
    fn is_ours(&self, link: u32, links: &Links) -> bool {
        self.allowed.is_empty()
            || links.by_index(link).is_some_and(|link| links.is_named(link, &self.allowed))
    }

    fn hold(
        &mut self,
        address: IpAddr,
        link: &Link,
        links: &Links,
        lifetime: Duration,
    ) -> AddressState {
        let there = links.assigned.iter().any(|it| it.address == address && it.link == link.index);
        let as_before = self.held.get(&address).is_some_and(|held| held.link == *link);
        if let Err(error) = links::assign(link.index, address, lifetime) {
            let reason = format!("the kernel refuses it on {}: {error}", link.name);
            tracing::warn!(%address, reason, "an address is not announced");
            self.held.remove(&address);
            self.refused.insert(address, (Instant::now(), reason.clone()));
            return AddressState::Unfit { reason };
        }
        self.refused.remove(&address);
        if !there || !as_before {
            tracing::info!(%address, interface = link.name, "an address is announced");
            let since_ms = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_millis() as u64);
            let held = Held { link: link.clone(), since_ms, tellings: TELLINGS };
            self.held.insert(address, held);
        }
        let since_ms = self.held.get(&address).map_or(0, |held| held.since_ms);
        AddressState::Announced { interface: link.name.clone(), since_ms }
    }

    /// Tells the link of addresses that have come here.
    fn tell(&mut self) -> io::Result<()> {
        let mut socket = None;
        for (address, held) in self.held.iter_mut().filter(|(_, held)| held.tellings > 0) {
            let socket = match &mut socket {
                Some(socket) => socket,
                none => none.insert(packet_socket()?),
            };
            let frame = frames::announcement(*address, held.link.ethernet);
            send(socket, held.link.index, &frame)?;
            held.tellings -= 1;
            metrics::counter!("marchproxy_announcements_sent_total").increment(1);
        }
        Ok(())
    }
}

/// Takes all marked addresses off the interfaces of a data plane; any when `allowed` is empty.
/// Returns them.
///
/// # Errors
/// Returns what the kernel refused.
pub fn release(allowed: &[String]) -> io::Result<Vec<IpAddr>> {
    let links = Links::read()?;
    let holder = Holder::new(allowed.to_vec());
    let mut released = Vec::new();
    for left in links.assigned.iter().filter(|it| it.marked && holder.is_ours(it.link, &links)) {
        links::unassign(left.link, left.address)?;
        released.push(left.address);
    }
    Ok(released)
}

fn packet_socket() -> io::Result<OwnedFd> {
    // Protocol 0: it receives nothing.
    // SAFETY: no memory is involved.
    let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a descriptor just opened, and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn send(socket: &OwnedFd, link: u32, frame: &[u8]) -> io::Result<()> {
    // SAFETY: integers, for which zero is a value.
    let mut to: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    to.sll_family = libc::AF_PACKET as u16;
    to.sll_ifindex = link as i32;
    // SAFETY: both pointers are to live memory of the lengths given.
    let sent = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            frame.as_ptr().cast(),
            frame.len(),
            0,
            (&raw const to).cast(),
            size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The metrics that are written here, with their meaning.
pub(super) fn describe() {
    metrics::describe_gauge!(
        "marchproxy_announced_addresses",
        metrics::Unit::Count,
        "Addresses that this node has and answers for on its link"
    );
    metrics::describe_counter!(
        "marchproxy_announcements_sent_total",
        metrics::Unit::Count,
        "ARP announcements and unsolicited neighbor advertisements sent"
    );
}
