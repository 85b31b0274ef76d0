//! What most frames do not need: programs of their own, which begin with the frame once more.
//!
//! Each has a stack and an allowance of instructions to itself, and [`super::steer`] stays short.
//! The packet filter has let the frame pass by then, and what it noted stands.

use super::{
    config::{Config, Generation},
    cookie, direct, errors, forward,
    kernel::Kernel,
    known_reply, note, reply,
    send::{self, Sent},
    splice, too_big, vlan,
};
use crate::{
    parse::{Family, Packet, family, parse},
    verdict::Reason,
};

/// What is left to do about a frame.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Begin, refresh or end a connection with full NAT, or let a packet of one wait.
    Connection = 0,
    /// Forward an ICMP error.
    Error = 1,
    /// Tell the sender that its packet is too big.
    TooBig = 2,
    /// Take a VLAN tag off, and begin again.
    Tagged = 3,
    /// Forward a packet that has to wait to an endpoint that answers directly.
    Direct = 4,
    /// Answer a SYN by a cookie, or begin the connection of a client that answers one.
    Cookie = 5,
    /// Forward a packet of a connection that began by a cookie.
    Spliced = 6,
}

/// Number of tasks.
pub const TASKS: usize = 7;

impl Task {
    /// Returns what becomes of a frame whose task has no program.
    #[inline(always)]
    #[must_use]
    pub const fn undone(self) -> Reason {
        match self {
            // The host has no VLANs.
            Self::Tagged => Reason::NotIp,
            Self::Connection
            | Self::Error
            | Self::TooBig
            | Self::Direct
            | Self::Cookie
            | Self::Spliced => Reason::NoTask,
        }
    }
}

/// Why the path of a frame ends where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It goes nowhere.
    For(Reason),
    /// Another program goes on with it.
    Later(Task),
}

impl From<Reason> for Stop {
    #[inline(always)]
    fn from(reason: Reason) -> Self {
        Self::For(reason)
    }
}

/// Goes on with a frame that was left for a task.
///
/// # Errors
/// Returns why the frame goes nowhere, or the task that is left.
#[inline(always)]
pub fn resume(kernel: &impl Kernel, task: Task) -> Result<Sent, Stop> {
    finish(kernel, perform(kernel, task))
}

/// Ends this part of the frame's path: what is left to a task finds the frame's tag, and the kernel
/// gets the frame with it.
#[inline(always)]
pub(super) fn finish(kernel: &impl Kernel, decided: Result<Sent, Stop>) -> Result<Sent, Stop> {
    match decided {
        Err(Stop::For(reason)) => Err(Stop::For(vlan::put_back_for_kernel(kernel, reason))),
        Err(Stop::Later(task)) => {
            if let Some(scratch) = kernel.scratch() {
                // SAFETY: this CPU's.
                unsafe { (*scratch).tag = kernel.tag() };
            }
            Err(Stop::Later(task))
        }
        sent => sent,
    }
}

#[inline(always)]
fn perform(kernel: &impl Kernel, task: Task) -> Result<Sent, Stop> {
    // SAFETY: the kernel gives these as the bounds of the frame.
    let family = unsafe { family(kernel.start(), kernel.end()) }?;
    match (task, family) {
        (Task::Connection, family) => connect(kernel, family),
        (Task::Error, Family::V4) => Ok(errors::forward::<false>(kernel)?),
        (Task::Error, Family::V6) => Ok(errors::forward::<true>(kernel)?),
        (Task::TooBig, Family::V4) => Ok(too_big::tell::<false>(kernel)?),
        (Task::TooBig, Family::V6) => Ok(too_big::tell::<true>(kernel)?),
        (Task::Tagged, _) => {
            note::untagged(kernel);
            super::decide(kernel)
        }
        (Task::Direct, family) => direct_later(kernel, family),
        (Task::Cookie, family) => meet(kernel, family),
        (Task::Spliced, family) => spliced(kernel, family),
    }
}

/// Reads what a packet is out of memory, so that the verifier meets all that follows once and not for
/// each family and protocol: it does not know what is in a map.
#[inline(always)]
fn take_through_memory(kernel: &impl Kernel, packet: &mut Packet) {
    let Some(scratch) = kernel.scratch() else { return };
    let kind = u32::from(packet.v6)
        | u32::from(packet.has_checksum) << 1
        | u32::from(packet.tuple.protocol) << 8
        | u32::from(packet.tcp_flags) << 16;
    // SAFETY: this CPU's, and no reference to it is held.
    let kind = unsafe {
        (&raw mut (*scratch).kind).write_volatile(kind);
        (&raw const (*scratch).kind).read_volatile()
    };
    packet.v6 = kind & 1 != 0;
    packet.has_checksum = kind & 2 != 0;
    packet.tuple.protocol = (kind >> 8) as u8;
    packet.tcp_flags = (kind >> 16) as u8;
}

/// Leaves a packet that does not wait for [`Task::Connection`].
#[inline(always)]
pub(super) fn connection_later(kernel: &impl Kernel) -> Stop {
    if let Some(scratch) = kernel.scratch() {
        // SAFETY: this CPU's, and no other reference to it is held.
        unsafe { (*scratch).ticket.entry = 0 };
    }
    Stop::Later(Task::Connection)
}

/// Forwards a packet for a service that is not NAT, and lets it wait.
#[inline(always)]
fn direct_later(kernel: &impl Kernel, family: Family) -> Result<Sent, Stop> {
    note::remember(kernel, kernel.start(), kernel.end(), 0);
    // SAFETY: the kernel gives these as the bounds of the frame.
    let packet: Packet = unsafe { parse(kernel.start(), kernel.end(), family) }?;
    let config = Config::of(Generation::current(kernel)?)?;
    let service = config.service(&packet.tuple).ok_or(Reason::NotService)?;
    let sent = direct::forward(kernel, &packet, &config, service)?;
    wait_if_told(kernel, sent)
}

/// Lets a frame wait that is ready to be sent, where it has to.
#[inline(always)]
fn wait_if_told(kernel: &impl Kernel, sent: Sent) -> Result<Sent, Stop> {
    let scratch = kernel.scratch().ok_or(Reason::NoTask)?;
    // SAFETY: this CPU's, and no other reference to it is held.
    let ticket = unsafe { &mut (*scratch).ticket };
    if ticket.entry == 0 {
        return Ok(sent);
    }
    ticket.ifindex = match sent {
        Sent::On(ifindex) => ifindex,
        Sent::Back | Sent::Later => kernel.ingress(),
    };
    Ok(Sent::Later)
}

/// Forwards a packet whose connection begins, ends, or must be refreshed, or that has to wait.
#[inline(always)]
fn connect(kernel: &impl Kernel, family: Family) -> Result<Sent, Stop> {
    note::remember(kernel, kernel.start(), kernel.end(), 0);
    // SAFETY: the kernel gives these as the bounds of the frame.
    let mut packet: Packet = unsafe { parse(kernel.start(), kernel.end(), family) }?;
    take_through_memory(kernel, &mut packet);
    let generation = Generation::current(kernel)?;
    let port = u16::from_be(packet.tuple.destination_port_be);
    let ways = generation.ways;
    let connection = match known_reply(kernel, &packet, generation.knows_port(port), port) {
        Some(found) => reply::connection(kernel, &packet, found, ways)?,
        None => {
            let config = Config::of(generation)?;
            let service = config.service(&packet.tuple).ok_or(Reason::NotService)?;
            forward::connection(kernel, &packet, &config, service)?
        }
    };
    let sent = send::send(kernel, &packet, connection)?;
    wait_if_told(kernel, sent)
}

/// Meets a packet of no connection to a service with SYN cookies. What is answered does not wait, and
/// the SYN to the backend goes at once: a connection has one.
#[inline(always)]
fn meet(kernel: &impl Kernel, family: Family) -> Result<Sent, Stop> {
    note::remember(kernel, kernel.start(), kernel.end(), 0);
    // SAFETY: the kernel gives these as the bounds of the frame.
    let mut packet: Packet = unsafe { parse(kernel.start(), kernel.end(), family) }?;
    take_through_memory(kernel, &mut packet);
    let config = Config::of(Generation::current(kernel)?)?;
    let service = config.service(&packet.tuple).ok_or(Reason::NotService)?;
    cookie::meet(kernel, &packet, &config, service)
}

/// Forwards a packet of a connection that began by a SYN cookie.
#[inline(always)]
fn spliced(kernel: &impl Kernel, family: Family) -> Result<Sent, Stop> {
    note::remember(kernel, kernel.start(), kernel.end(), 0);
    // SAFETY: the kernel gives these as the bounds of the frame.
    let mut packet: Packet = unsafe { parse(kernel.start(), kernel.end(), family) }?;
    take_through_memory(kernel, &mut packet);
    let ways = Generation::current(kernel)?.ways;
    let sent = splice::forward(kernel, &packet, ways)?;
    wait_if_told(kernel, sent)
}
