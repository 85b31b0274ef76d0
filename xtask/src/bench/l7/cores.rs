//! Which core a process runs on, and how much of it it has used.

use std::fs;

use anyhow::{Context, Result};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

/// The core of the proxy that is measured.
pub(super) const PROXY: usize = 0;
/// The core of everything else.
pub(super) const REST: usize = 1;

/// How many cores there are for us.
pub(super) fn count() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Runs `work` on a thread that has one core; what it starts inherits that.
///
/// # Errors
/// When the thread cannot be moved, and those of `work`.
///
/// # Panics
/// With the panic of `work`.
pub(super) fn on<T: Send>(core: usize, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            pin_thread(Pid::from_raw(0), core)?;
            work()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Moves all threads of a process to a core.
///
/// # Errors
/// When it is gone.
pub(super) fn pin(pid: Pid, core: usize) -> Result<()> {
    for thread in threads(pid)? {
        // A thread that ended meanwhile needs no core.
        let _ = pin_thread(thread, core);
    }
    Ok(())
}

/// The CPU time that the threads of a process have used, in microseconds; what ended before is not
/// in it.
#[expect(clippy::cast_precision_loss, reason = "a second of CPU time is 10^9 ns")]
pub(super) fn microseconds(pid: Pid) -> f64 {
    let of = |thread: Pid| {
        let text = fs::read_to_string(format!("/proc/{pid}/task/{thread}/schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    };
    let threads = threads(pid).unwrap_or_default();
    threads.into_iter().filter_map(of).sum::<u64>() as f64 / 1e3
}

fn threads(pid: Pid) -> Result<Vec<Pid>> {
    let path = format!("/proc/{pid}/task");
    let entries = fs::read_dir(&path).with_context(|| format!("reading {path}"))?;
    Ok(entries
        .flatten()
        .filter_map(|entry| Some(Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)))
        .collect())
}

fn pin_thread(thread: Pid, core: usize) -> Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core)?;
    sched_setaffinity(thread, &cores).with_context(|| format!("moving {thread} to core {core}"))
}
