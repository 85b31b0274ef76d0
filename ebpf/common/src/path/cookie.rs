//! SYN cookies of services with full NAT: a SYN is answered here and forgotten, and a connection begins
//! when its client answers that.
//!
//! ```text
//! client                        node                       backend
//!   SYN n ────────────────────▶
//!       ◀──── SYN-ACK c, n + 1        window 0: nothing may follow yet
//!   ACK n + 1, c + 1 ─────────▶ SYN n ───────────────────▶
//! ```
//! What comes then is in [`super::splice`]. Invariant: a SYN takes no place of a table and no port.

use super::{
    config::Config,
    connection,
    forward::{self, Begins},
    kernel::{Kernel, Scratch},
    send::{self, Sent},
    splice,
    task::Stop,
};
use crate::{
    cookie::{self, SIZE_DEFAULT_V4, SIZE_DEFAULT_V6},
    layout::{Address, Entry, Hop, Pool, cookies, note, splice as state, stat},
    parse::{Family, Packet, family},
    rewrite::reversed,
    segment::Tail,
    state::{TCP_ACK, TCP_SYN, opens},
    verdict::Reason,
};

/// The largest segment that is offered to clients: what Ethernet leaves.
const OFFERED_V4: u16 = 1_460;
const OFFERED_V6: u16 = 1_440;

/// Tells whether a packet of no connection to a service is for [`meet`].
#[inline(always)]
pub(super) fn concerns(service: &Entry) -> bool {
    service.cookies == cookies::ALWAYS
}

/// Answers a SYN by a cookie, or begins the connection of an acknowledgement that has one.
///
/// # Errors
/// Returns why the packet cannot go on.
#[inline(always)]
pub(super) fn meet<K: Kernel>(
    kernel: &K,
    packet: &Packet,
    config: &Config<'_, K>,
    service: &Entry,
) -> Result<Sent, Stop> {
    connection::check(packet)?;
    if service.draining != 0 {
        return Err(Reason::Draining.into());
    }
    can_begin(packet, config, service)?;
    let scratch = kernel.scratch().ok_or(Reason::NoTask)?;
    if opens(packet.tcp_flags) {
        let hop = connection::way_back(kernel).ok_or(Reason::Malformed)?;
        // SAFETY: this CPU's, and no other reference to it is held.
        let made = answer(kernel, kernel.start(), kernel.end(), packet, unsafe { &mut *scratch });
        if made == 0 {
            return Err(Reason::NoTask.into());
        }
        kernel.set(note::ENDPOINT, note::ANSWERED);
        kernel.count(stat::COOKIES_SENT);
        return send(kernel, &hop);
    }
    // SAFETY: as above.
    let segment = unsafe { &mut (*scratch).segment };
    if splice::acknowledged(kernel, kernel.start(), kernel.end(), packet, segment) == 0 {
        return Err(Reason::CookieRefused.into());
    }
    let clock = connection::clock(kernel);
    let cookie = segment.acknowledgement;
    let begins = Begins { splice: state::WAITING, cookie };
    let connection = forward::begin(kernel, packet, config, service, clock, begins)?;
    if connection.splice != state::WAITING || connection.cookie != cookie {
        // Another CPU was faster, with another connection of the same flow.
        return Err(Reason::CookieRefused.into());
    }
    // SAFETY: as above.
    splice::open(packet, connection, unsafe { &mut (*scratch).segment });
    send::count(kernel, packet, connection);
    kernel.count(stat::COOKIES_ACCEPTED);
    send(kernel, &connection.hop)
}

/// Turns the frame into the segment that was made, and sends it.
#[inline(always)]
fn send(kernel: &impl Kernel, hop: &Hop) -> Result<Sent, Stop> {
    // Read once more, else the verifier would follow each family through all that comes before.
    // SAFETY: the kernel gives these as the bounds of the frame.
    let family = unsafe { family(kernel.start(), kernel.end()) }?;
    let scratch = kernel.scratch().ok_or(Reason::NoTask)?;
    // SAFETY: this CPU's, and no other reference to it is held.
    let segment = unsafe { &(*scratch).segment };
    splice::write(kernel, family == Family::V6, segment, Tail::Size, hop)?;
    Ok(send::leave(kernel, hop)?)
}

/// Makes the answer to a SYN; returns 0 where there is no key to make a cookie with.
///
/// A function of its own, for the sake of the path's stack. The bounds are given to it, since the
/// compiler would give it halves of them.
#[inline(never)]
fn answer<K: Kernel>(
    kernel: &K,
    start: usize,
    end: usize,
    packet: &Packet,
    scratch: &mut Scratch,
) -> u32 {
    // SAFETY: the kernel gives these as the bounds of the frame.
    unsafe {
        if !scratch.segment.read_numbers(start, end, packet.v6) {
            return 0;
        }
        // Last, since how far the frame was found to reach is of no account then.
        scratch.options.read(start, end, packet.v6, packet.length);
    }
    let Some(key) = kernel.cookie_key() else { return 0 };
    let first = scratch.segment.sequence;
    let (offered, default) =
        if packet.v6 { (OFFERED_V6, SIZE_DEFAULT_V6) } else { (OFFERED_V4, SIZE_DEFAULT_V4) };
    let said = match scratch.options.size() {
        0 => default,
        said => said as u16,
    };
    let number = cookie::size_number(said);
    let clock = connection::clock(kernel);
    let segment = &mut scratch.segment;
    segment.tuple = reversed(&packet.tuple);
    segment.sequence = cookie::make(key, &packet.tuple, first, number, clock);
    segment.acknowledgement = first.wrapping_add(1);
    segment.flags = TCP_SYN | TCP_ACK;
    segment.window = 0;
    let size = cookie::size(number);
    segment.size = if size < offered { size } else { offered };
    segment.class = 0;
    1
}

/// Tells whether a connection could begin, as far as that is known without an entry.
#[inline(always)]
fn can_begin<K: Kernel>(
    packet: &Packet,
    config: &Config<'_, K>,
    service: &Entry,
) -> Result<(), Reason> {
    let (pool, source): (&Pool, Address) = if packet.v6 {
        (&service.v6, config.header.source_v6)
    } else {
        (&service.v4, Address::v4(config.header.source_v4))
    };
    if pool.maglev_size == 0 {
        Err(Reason::NoBackend)
    } else if source.same(&Address::default()) || source.same(&Address::v4(0)) {
        Err(Reason::NoSource)
    } else {
        Ok(())
    }
}
