//! The lines that a child writes, as log events of this process.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use nix::{errno::Errno, sys::stat::Mode};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader},
    net::unix::pipe,
    task::JoinHandle,
};

/// Longest line that becomes one event; the rest of a longer one becomes the next event.
pub(super) const LINE_MAX: u64 = 8 * 1024;

/// Logs each line of `stream` until its end.
pub(super) fn trace(
    process: String,
    name: &'static str,
    stream: impl AsyncRead + Send + Unpin + 'static,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut reader = BufReader::new(stream);
        let mut line = Vec::new();
        loop {
            line.clear();
            match (&mut reader).take(LINE_MAX).read_until(b'\n', &mut line).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {
                    let text = String::from_utf8_lossy(&line);
                    tracing::info!(process = %process, stream = name, "{}", text.trim_end());
                }
            }
        }
    })
}

/// Logs each line of the named pipe that a keeper writes to; makes the pipe, for the owner only.
///
/// # Errors
/// It cannot be made or opened.
pub fn trace_pipe(process: &str, path: &Path) -> io::Result<JoinHandle<()>> {
    match nix::unistd::mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR) {
        Ok(()) | Err(Errno::EEXIST) => {}
        Err(errno) => return Err(errno.into()),
    }
    // Open for writing as well, it has no end when a writer goes.
    let reader = pipe::OpenOptions::new().read_write(true).open_receiver(path)?;
    Ok(trace(process.to_owned(), "output", reader))
}

/// Opens a named pipe for writing that never waits: neither for a reader nor for room.
pub(super) fn open_pipe(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(path)
}
