//! From the client to an endpoint that answers the client directly: the packet stays as it is, and
//! gets another Ethernet address or an outer header.
//!
//! A flow keeps its endpoint by an entry in the table of flows. A SYN makes none while the segments
//! after it go to the same endpoint without; after a change of the endpoints, segments without an entry
//! go where the endpoints before lead. What a SYN enters then makes way for all else, so a flood of them
//! displaces no flow.

use super::{
    config::Config,
    kernel::Kernel,
    note,
    send::{self, Sent},
    task::Stop,
    too_big,
};
use crate::{
    event::why,
    flows, hash,
    layout::{
        self, Address, CpuEndpoint, Endpoint, Entry, Flow, FlowBucket, Hop, Pool, TCP, Tuple, UDP,
        counter, forwarding, link, stat,
    },
    parse::{ETHERNET, Packet},
    state::opens,
    tunnel::{self, Ends},
    verdict::Reason,
};

/// Forwards a packet for a service that is not NAT.
///
/// # Errors
/// Returns why the packet cannot go on.
#[inline(always)]
pub(super) fn forward<K: Kernel>(
    kernel: &K,
    packet: &Packet,
    config: &Config<'_, K>,
    service: &Entry,
) -> Result<Sent, Stop> {
    let ticks = kernel.ticks();
    let flow = hash::flow(&packet.tuple);
    let bucket = kernel.flows(flow).ok_or(Reason::TableRefused)?;
    let chosen = choose(kernel, packet, config, service, bucket, flow, flows::seen_time(ticks))?;
    let number = chosen as u16;
    kernel.set(layout::note::ENDPOINT, number.into());
    let mut way = Way::find(kernel, config, service, number, packet.v6, ticks)?;
    way.known.counters[counter::CONNECTIONS] += u64::from(chosen / BEGUN);
    if let Some(mtu) = way.exceeded_by(packet) {
        return Err(too_big::later(kernel, mtu));
    }
    Ok(way.send(kernel, packet, flow)?)
}

/// Forwards an ICMP error about a flow to the flow's endpoint.
///
/// # Errors
/// Returns why it cannot go on.
#[inline(always)]
pub(super) fn forward_error<K: Kernel>(
    kernel: &K,
    packet: &Packet,
    config: &Config<'_, K>,
    service: &Entry,
) -> Result<Sent, Reason> {
    let ticks = kernel.ticks();
    let flow = hash::flow(&packet.tuple);
    let bucket = kernel.flows(flow).ok_or(Reason::TableRefused)?;
    // SAFETY: the map's; other CPUs replace places as a whole.
    let found = flows::find(unsafe { &*bucket }, flows::tag(flow), flows::seen_time(ticks));
    let number = match found {
        Some((_, known)) => known.endpoint(),
        None => follows(config, service, packet.v6, flow)?,
    };
    kernel.set(layout::note::ENDPOINT, number.into());
    let mut way = Way::find(kernel, config, service, number, packet.v6, ticks)?;
    if way.exceeded_by(packet).is_some() {
        // Nobody is told of an error in an error's way (RFC 1122 section 3.2.2).
        return Err(Reason::TooBig);
    }
    way.send(kernel, packet, flow)
}

/// Returns where segments of a flow without an entry go.
#[inline(always)]
fn follows<K: Kernel>(
    config: &Config<'_, K>,
    service: &Entry,
    v6: bool,
    flow: u64,
) -> Result<u16, Reason> {
    let (pool, before) = pools(service, v6);
    config.choose(before, flow).or_else(|_| config.choose(pool, flow))
}

/// Returns the service's endpoints, and those that it had before its last change.
#[inline(always)]
fn pools(service: &Entry, v6: bool) -> (&Pool, &Pool) {
    if v6 { (&service.v6, &service.v4) } else { (&service.v4, &service.v6) }
}

/// How a packet gets to its endpoint.
struct Way<'a> {
    service: &'a Entry,
    endpoint: &'a Endpoint,
    source: Address,
    known: &'a mut CpuEndpoint,
}

impl<'a> Way<'a> {
    #[inline(always)]
    fn find<K: Kernel>(
        kernel: &'a K,
        config: &Config<'a, K>,
        service: &'a Entry,
        number: u16,
        v6: bool,
        ticks: u64,
    ) -> Result<Self, Reason> {
        let endpoint = endpoint(kernel, number).ok_or(Reason::BrokenConfiguration)?;
        let source =
            if v6 { config.header.source_v6 } else { Address::v4(config.header.source_v4) };
        let now = flows::looked_up(ticks, config.ways());
        let known = known(kernel, number, endpoint, &source, now)?;
        Ok(Self { service, endpoint, source, known })
    }

    /// Returns the largest packet that the way takes, when this one is larger.
    #[inline(always)]
    fn exceeded_by(&self, packet: &Packet) -> Option<u16> {
        let overhead = match self.service.forwarding {
            forwarding::L2 => 0,
            forwarding::GUE => tunnel::overhead(packet.v6, true),
            _ => tunnel::overhead(packet.v6, false),
        } as u16;
        let mtu = self.known.hop.mtu;
        let exceeded = mtu != 0 && u32::from(packet.length) + u32::from(overhead) > u32::from(mtu);
        exceeded.then(|| mtu.saturating_sub(overhead))
    }

    #[inline(always)]
    fn send(&mut self, kernel: &impl Kernel, packet: &Packet, flow: u64) -> Result<Sent, Reason> {
        let service = self.service;
        let CpuEndpoint { hop, counters: of_endpoint, .. } = &mut *self.known;
        let sent = if service.forwarding == forwarding::L2 {
            to_neighbour(kernel, hop)
        } else {
            let ends = Ends { source: &self.source, destination: &self.endpoint.address };
            match (packet.v6, service.forwarding == forwarding::GUE) {
                (false, false) => {
                    through_tunnel::<false, false, _>(kernel, packet, ends, hop, flow)
                }
                (false, true) => through_tunnel::<false, true, _>(kernel, packet, ends, hop, flow),
                (true, false) => through_tunnel::<true, false, _>(kernel, packet, ends, hop, flow),
                (true, true) => through_tunnel::<true, true, _>(kernel, packet, ends, hop, flow),
            }
        };
        sent?;
        if let Some(counters) = kernel.counters(service.slot) {
            // SAFETY: this CPU's, and no other reference to it is held.
            let counters = unsafe { &mut *counters };
            counters[counter::PACKETS_IN] += 1;
            counters[counter::BYTES_IN] += u64::from(packet.length);
        }
        of_endpoint[counter::PACKETS_IN] += 1;
        of_endpoint[counter::BYTES_IN] += u64::from(packet.length);
        send::leave(kernel, hop)
    }
}

/// Added by [`choose`] to the number when a flow begins.
const BEGUN: u32 = 1 << 16;

/// Returns the number of the flow's endpoint.
#[inline(always)]
fn choose<K: Kernel>(
    kernel: &K,
    packet: &Packet,
    config: &Config<'_, K>,
    service: &Entry,
    bucket: *mut FlowBucket,
    flow: u64,
    now: u16,
) -> Result<u32, Reason> {
    let tag = flows::tag(flow);
    // SAFETY: the map's; other CPUs replace places as a whole.
    let seen = unsafe { &*bucket };
    let tcp = packet.tuple.protocol == TCP;
    let begins = tcp && opens(packet.tcp_flags);
    let found = flows::find(seen, tag, now);
    if let Some((place, known)) = found
        && !begins
    {
        if known.seen() == now {
            return Ok(known.endpoint().into());
        }
        // Once in a while, since it costs a lookup: UDP leaves an endpoint that left the service.
        if tcp || stays(kernel, config, service, known.endpoint()) {
            put(bucket, place, Flow::new(tag, known.endpoint(), now));
            return Ok(known.endpoint().into());
        }
        kernel.count(stat::FLOWS_MOVED);
    }
    if service.draining != 0 {
        return Err(Reason::Draining);
    }
    let (pool, before) = pools(service, packet.v6);
    // Where the flow is led if it began before the last change.
    let earlier = if tcp { config.choose(before, flow).ok() } else { None };
    let mut begun = 0;
    let current = match earlier {
        Some(earlier) if !begins => earlier,
        _ => {
            let current = config.choose(pool, flow)?;
            if begins || !tcp {
                count_begun(kernel, service);
                note::remember(kernel, kernel.start(), kernel.end(), why::BEGUN);
                begun = BEGUN;
            }
            current
        }
    };
    // Where the segments after a SYN go without a new entry.
    let follows = match found {
        _ if !begins => None,
        Some((_, ended)) => Some(ended.endpoint()),
        None => Some(earlier.unwrap_or(current)),
    };
    if follows == Some(current) {
        return Ok(begun + u32::from(current));
    }
    let (place, age) = flows::place_for(seen, tag, now);
    let (number, seen_at) = match follows {
        // One that may be of a flood takes no place from one that goes on.
        Some(follows) if age < flows::BEGUN => return Ok(begun + u32::from(follows)),
        Some(_) => (current, flows::begun_time(now)),
        None => (current, now),
    };
    put(bucket, place, Flow::new(tag, number, seen_at));
    Ok(begun + u32::from(number))
}

/// Tells whether a flow's endpoint still belongs to the service.
#[inline(always)]
fn stays<K: Kernel>(kernel: &K, config: &Config<'_, K>, service: &Entry, number: u16) -> bool {
    service.draining != 0
        || endpoint(kernel, number).is_some_and(|endpoint| {
            config.has_backend(service.slot, endpoint.address, endpoint.port_be, UDP)
        })
}

/// Puts a flow into a place, as a whole. Two CPUs that take the same place at the same moment lose
/// one of their flows, whose next packet takes a place again.
#[inline(always)]
fn put(bucket: *mut FlowBucket, place: usize, flow: Flow) {
    // SAFETY: the mask keeps the place within the bucket's eight.
    unsafe { bucket.cast::<u64>().add(place & 7).write_volatile(flow.0) };
}

#[inline(always)]
fn count_begun(kernel: &impl Kernel, service: &Entry) {
    if let Some(counters) = kernel.counters(service.slot) {
        // SAFETY: this CPU's, and no other reference to it is held.
        let counters = unsafe { &mut *counters };
        counters[counter::CONNECTIONS] += 1;
    }
}

/// Returns an endpoint by its number.
#[inline(always)]
fn endpoint(kernel: &impl Kernel, number: u16) -> Option<&Endpoint> {
    // SAFETY: a number's endpoint is written only while no packet refers to it.
    kernel.endpoint(number).map(|pointer| unsafe { &*pointer })
}

/// Returns what this CPU has of an endpoint, with the next hop looked up again once in a while.
#[inline(always)]
#[expect(clippy::mut_from_ref, reason = "the kernel gives it once a frame, to one CPU")]
fn known<'k>(
    kernel: &'k impl Kernel,
    number: u16,
    endpoint: &Endpoint,
    source: &Address,
    now: u32,
) -> Result<&'k mut CpuEndpoint, Reason> {
    let known = kernel.cpu_endpoint(number).ok_or(Reason::BrokenConfiguration)?;
    // SAFETY: this CPU's, and asked for once a frame.
    let known = unsafe { &mut *known };
    if known.checked != now || known.hop.ifindex == 0 {
        look_up(kernel, known, endpoint, source, now)?;
    }
    Ok(known)
}

/// Looks the next hop to an endpoint up again.
///
/// A function of its own, for the sake of the path's stack.
#[inline(never)]
fn look_up<K: Kernel>(
    kernel: &K,
    known: &mut CpuEndpoint,
    endpoint: &Endpoint,
    source: &Address,
    now: u32,
) -> Result<(), Reason> {
    let way =
        Tuple { source: *source, destination: endpoint.address, protocol: UDP, ..Tuple::default() };
    match kernel.next_hop(&way) {
        Ok(hop) => {
            known.hop = hop;
            known.checked = now;
            Ok(())
        }
        // A neighbour that is being confirmed.
        Err(Reason::NoNeighbour) if known.hop.ifindex != 0 => Ok(()),
        Err(reason) => Err(reason),
    }
}

/// Gives the frame the endpoint's Ethernet address.
#[inline(always)]
fn to_neighbour(kernel: &impl Kernel, hop: &Hop) -> Result<(), Reason> {
    if hop.link & link::GATEWAY != 0 {
        return Err(Reason::NotOnLink);
    }
    // SAFETY: the kernel gives these as the bounds of the frame.
    unsafe { tunnel::write_ethernet(kernel.start(), kernel.end(), hop, None) }
}

/// Puts outer headers in front of the packet.
#[inline(always)]
fn through_tunnel<const V6: bool, const GUE: bool, K: Kernel>(
    kernel: &K,
    packet: &Packet,
    ends: Ends<'_>,
    hop: &Hop,
    flow: u64,
) -> Result<(), Reason> {
    let overhead = const { tunnel::overhead(V6, GUE) };
    if ends.source.same(&Address::default()) || ends.source.same(&Address::v4(0)) {
        return Err(Reason::NoSource);
    }
    if !kernel.grow_head(overhead as i32) {
        return Err(Reason::NoHeadroom);
    }
    let (start, end) = (kernel.start(), kernel.end());
    if start + ETHERNET + overhead > end {
        return Err(Reason::Malformed);
    }
    // SAFETY: the comparison above.
    unsafe {
        tunnel::write_ethernet(start, end, hop, Some(V6))?;
        tunnel::write_outer::<V6, GUE>(start + ETHERNET, packet, ends, flow);
    }
    Ok(())
}
