//! Puts together what is known of an interface.

use aya::programs::{ProgramError, loaded_programs};
use ebpf_common::layout::PROGRAM;

use super::{
    ethtool, interrupts,
    links::{FarEnd, Links},
    native, text,
};
use crate::doctor::facts::{Attached, Device, Fact, Gap, Owner, Peer};

/// Reads an interface; `None` where there is none of that name.
pub(super) fn read(name: &str, links: &Links) -> Option<Device> {
    let told = links.by_name(name)?;
    let hardware = ethtool::read(name);
    let bus = hardware.driver.as_ref().map_or("", |driver| driver.bus.as_str());
    Some(Device {
        link: links.link(told),
        interrupts: interrupts::read(bus),
        hardware,
        xdp: told.xdp.map(|(mode, id)| Attached { mode, id, owner: owner(id) }),
        native: native::read(told.link.index).map_err(|error| Gap::of(&error)),
        rp_filter: rp_filter(name),
        peer: links.far_end(told).map(|far_end| match far_end {
            FarEnd::Elsewhere => Peer::Elsewhere,
            FarEnd::Here(told) => Peer::Here {
                name: told.name.clone(),
                program: told.xdp.is_some(),
                hardware: Box::new(ethtool::read(&told.name)),
            },
        }),
    })
}

fn rp_filter(name: &str) -> Fact<u32> {
    let path = format!("/proc/sys/net/ipv4/conf/{name}/rp_filter");
    // An interface without IPv4 filters nothing.
    Ok(text::value(&path)?.unwrap_or(0))
}

/// Looks for a program's name among all that are loaded.
fn owner(id: u32) -> Fact<Owner> {
    for program in loaded_programs() {
        let program = program.map_err(|error| match error {
            ProgramError::SyscallError(error) => Gap::of(&error.io_error),
            other => Gap::Failed(other.to_string()),
        })?;
        if program.id() == id {
            let name = program.name_as_str().unwrap_or_default();
            return Ok(match name {
                PROGRAM => Owner::MarchProxy,
                "" => Owner::Other("without a name".to_owned()),
                name => Owner::Other(name.to_owned()),
            });
        }
    }
    Err(Gap::Failed("not told by the kernel".to_owned()))
}
