//! ICMP errors about the flows of services, from a client's network to the endpoint.
//!
//! An endpoint that answers directly learns the MTU of the way to the client by them, so they must
//! come to the endpoint that has the flow.

use aya_ebpf::programs::XdpContext;
use ebpf_common::{
    icmp::parse_error,
    layout::{forwarding, stat},
    parse::Family,
    verdict::Reason,
};

use crate::{
    config::{Config, Generation},
    direct,
    maps::Stats,
};

/// Forwards an ICMP error to the endpoint of the flow that it is about.
///
/// # Errors
/// Returns why it cannot go on; [`Reason::NotTransport`] leaves it to the kernel.
#[inline(always)]
pub fn forward(context: &XdpContext, stats: Stats, family: Family) -> Result<u32, Reason> {
    // SAFETY: the kernel gives these as the bounds of the frame.
    let packet = unsafe { parse_error(context.data(), context.data_end(), family) }?;
    let config = Config::of(Generation::current()?)?;
    let service = config.service(&packet.tuple).ok_or(Reason::NotTransport)?;
    if service.forwarding == forwarding::NAT {
        return Err(Reason::NotTransport);
    }
    let action = direct::forward_error(context, stats, &packet, &config, service)?;
    stats.count(stat::ERRORS_FORWARDED);
    Ok(action)
}
