//! The programs that the XDP program leaves tasks to.
//!
//! Their array is pinned, since the kernel empties one that no process and no pin holds. A program
//! of an earlier process leaves its tasks to those of this one as soon as they are in force; both
//! work on the same maps.

use aya::{
    Ebpf,
    maps::{MapData, ProgramArray},
    programs::Xdp,
};
use ebpf_common::layout::{TASK_PROGRAMS, TASKS_MAP};

use super::LoadError;

/// Loads the programs.
///
/// # Errors
/// Returns what the kernel refused.
pub(in crate::xdp) fn load(ebpf: &mut Ebpf) -> Result<(), LoadError> {
    for name in TASK_PROGRAMS {
        program(ebpf, name).load().map_err(|error| LoadError::Program(Box::new(error)))?;
    }
    Ok(())
}

/// Puts the loaded programs into the array, in place of those before.
///
/// # Errors
/// Returns what the kernel refused.
pub(super) fn put_in_force(ebpf: &mut Ebpf) -> Result<(), LoadError> {
    let failed = |source| LoadError::Map { name: TASKS_MAP, source };
    let mut files = Vec::with_capacity(TASK_PROGRAMS.len());
    for name in TASK_PROGRAMS {
        let file = program(ebpf, name).fd().and_then(|file| Ok(file.try_clone()?));
        files.push(file.map_err(|error| LoadError::Program(Box::new(error)))?);
    }
    let map = ebpf.map_mut(TASKS_MAP).expect("the object has the map");
    let mut array: ProgramArray<&mut MapData> = map.try_into().map_err(failed)?;
    for (index, file) in (0..).zip(&files) {
        array.set(index, file, 0).map_err(failed)?;
    }
    Ok(())
}

fn program<'e>(ebpf: &'e mut Ebpf, name: &str) -> &'e mut Xdp {
    ebpf.program_mut(name)
        .and_then(|program| program.try_into().ok())
        .expect("the object has the program")
}
