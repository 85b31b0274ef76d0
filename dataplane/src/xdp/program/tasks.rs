//! The programs that the XDP program leaves tasks to.
//!
//! Their array is pinned, since the kernel empties one that no process and no pin holds. A program
//! of an earlier process leaves its tasks to those of this one as soon as they are in force; both
//! work on the same maps.
//!
//! The one for frames with VLAN tags is the whole path once more, and takes the kernel as long to
//! check; it is loaded on hosts that have VLANs. Without it such frames are the kernel's.

use aya::{
    Ebpf,
    maps::{MapData, ProgramArray},
    programs::Xdp,
};
use ebpf_common::{
    layout::{TASK_PROGRAMS, TASKS_MAP},
    path::Task,
};

use super::LoadError;

/// Returns the names of those that are loaded, by their numbers.
fn wanted(vlans: bool) -> impl Iterator<Item = (u32, &'static str)> {
    let all = (0..).zip(TASK_PROGRAMS);
    all.filter(move |(number, _)| vlans || *number != Task::Tagged as u32)
}

/// Loads the programs; those for VLANs where there are some.
///
/// # Errors
/// Returns what the kernel refused.
pub(in crate::xdp) fn load(ebpf: &mut Ebpf, vlans: bool) -> Result<(), LoadError> {
    for (_, name) in wanted(vlans) {
        let program = program(ebpf, name);
        if program.fd().is_ok() {
            continue;
        }
        program.load().map_err(|error| LoadError::Program(Box::new(error)))?;
    }
    Ok(())
}

/// Puts the loaded programs into the array, in place of those before.
///
/// # Errors
/// Returns what the kernel refused.
pub(super) fn put_in_force(ebpf: &mut Ebpf, vlans: bool) -> Result<(), LoadError> {
    let failed = |source| LoadError::Map { name: TASKS_MAP, source };
    let mut files = Vec::with_capacity(TASK_PROGRAMS.len());
    for (number, name) in wanted(vlans) {
        let file = program(ebpf, name).fd().and_then(|file| Ok(file.try_clone()?));
        files.push((number, file.map_err(|error| LoadError::Program(Box::new(error)))?));
    }
    let map = ebpf.map_mut(TASKS_MAP).expect("the object has the map");
    let mut array: ProgramArray<&mut MapData> = map.try_into().map_err(failed)?;
    for (number, file) in &files {
        array.set(*number, file, 0).map_err(failed)?;
    }
    Ok(())
}

fn program<'e>(ebpf: &'e mut Ebpf, name: &str) -> &'e mut Xdp {
    ebpf.program_mut(name)
        .and_then(|program| program.try_into().ok())
        .expect("the object has the program")
}
