//! Ends the measurement in good order when it is told to: namespaces, pins and settings of the host
//! go back.

use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{SigHandler, Signal, signal};

static CAME: AtomicBool = AtomicBool::new(false);

/// Begins to watch for signals.
pub(crate) fn watch() {
    for number in [Signal::SIGINT, Signal::SIGTERM] {
        // SAFETY: the handler does nothing but store a flag.
        unsafe { signal(number, SigHandler::Handler(note)) }.expect("a handler can be set");
    }
}

/// Tells whether a signal has come.
pub(crate) fn came() -> bool {
    CAME.load(Ordering::Relaxed)
}

extern "C" fn note(_number: libc::c_int) {
    CAME.store(true, Ordering::Relaxed);
}
