//! SIGINT, SIGTERM and SIGHUP clear the laboratory away before they end the process. The handler
//! writes one byte to a pipe; a thread does the work, so nothing runs in signal context.

use std::io::Read;
use std::os::fd::IntoRawFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, Ordering};

use anyhow::{Context, Result, anyhow};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, raise, sigaction};

use crate::instance;

const CAUGHT: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];

static PIPE: AtomicI32 = AtomicI32::new(-1);
static INSTALLED: OnceLock<Result<(), String>> = OnceLock::new();

/// Installs the handlers, once per process.
///
/// # Errors
/// When the kernel has no pipe or thread left for it.
pub(crate) fn install() -> Result<()> {
    INSTALLED
        .get_or_init(|| start().map_err(|error| format!("{error:#}")))
        .clone()
        .map_err(|error| anyhow!("installing signal handlers: {error}"))
}

fn start() -> Result<()> {
    let (mut reader, writer) = std::io::pipe().context("making a pipe")?;
    PIPE.store(writer.into_raw_fd(), Ordering::SeqCst);
    let action =
        SigAction::new(SigHandler::Handler(on_signal), SaFlags::SA_RESTART, SigSet::empty());
    for signal in CAUGHT {
        // SAFETY: the handler only calls write(2), which is async-signal-safe.
        unsafe { sigaction(signal, &action) }.context("installing a signal handler")?;
    }
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            let mut byte = [0u8];
            if reader.read_exact(&mut byte).is_ok() {
                instance::destroy_live();
                end_with(i32::from(byte[0]));
            }
        })
        .context("starting the signal thread")?;
    Ok(())
}

extern "C" fn on_signal(number: i32) {
    let byte = [u8::try_from(number).unwrap_or(15)];
    let pipe = PIPE.load(Ordering::SeqCst);
    // SAFETY: `pipe` is the writing end of a pipe that is never closed; one byte is read from a
    // live array.
    unsafe { nix::libc::write(pipe, byte.as_ptr().cast(), 1) };
}

/// Ends the process as the signal would have, so that the caller's shell sees the usual status.
fn end_with(number: i32) {
    if let Ok(signal) = Signal::try_from(number) {
        let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
        // SAFETY: restoring the default action runs no code of ours.
        let _ = unsafe { sigaction(signal, &default) };
        let _ = raise(signal);
    }
}
