//! Loads the program on trial: whether the kernel takes it, without a pin, a setting or an
//! interface touched.

use aya::{EbpfLoader, programs::Xdp};
use ebpf_common::layout::{
    CLAIMS_MAP, CONNECTIONS_MAP, COUNTERS_MAP, CPU_ENDPOINTS_MAP, ENDPOINTS_MAP, FLOWS_MAP, PROGRAM,
};

use runtime::chain::chain;

use super::program::{LoadError, OBJECT, tasks};

/// Entries of each large map on trial: the verifier does not look at how many there are, and the
/// real ones take tens of megabytes.
const ENTRIES: u32 = 1024;

/// Loads the program and lets it go.
///
/// # Errors
/// Returns what the kernel refused.
pub fn load() -> Result<(), LoadError> {
    let mut loader = EbpfLoader::new();
    let large =
        [CLAIMS_MAP, CONNECTIONS_MAP, COUNTERS_MAP, CPU_ENDPOINTS_MAP, ENDPOINTS_MAP, FLOWS_MAP];
    for name in large {
        loader.map_max_entries(name, ENTRIES);
    }
    let mut ebpf = loader.load(OBJECT).map_err(|error| LoadError::Object(Box::new(error)))?;
    let xdp: &mut Xdp = ebpf
        .program_mut(PROGRAM)
        .and_then(|program| program.try_into().ok())
        .expect("the object has the program");
    xdp.load().map_err(|error| LoadError::Program(Box::new(error)))?;
    tasks::load(&mut ebpf, true)
}

/// Writes an error and its causes in one line. The verifier's log ends with what it refuses, so of
/// many lines the last ones are kept.
#[must_use]
pub fn words(error: &LoadError) -> String {
    const LINES: usize = 3;
    let text = chain(error);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let kept = lines.len().saturating_sub(LINES);
    match lines.first() {
        Some(first) if kept > 0 => format!("{first} … {}", lines[kept..].join("; ")),
        _ => lines.join("; "),
    }
}
