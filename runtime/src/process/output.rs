//! The lines that a child writes, as log events of this process; records go on as they are.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use nix::{errno::Errno, sys::stat::Mode};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader},
    net::unix::pipe,
    task::JoinHandle,
};

/// Longest line that becomes one event; the rest of a longer one becomes the next event. A request
/// in an access log has a path of up to 60 KiB.
pub(super) const LINE_MAX: u64 = 64 * 1024;

/// What a record begins with, and no line of a log: a child's access logs are lines of JSON.
const RECORD: u8 = b'{';

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
                Ok(_) if line.first() == Some(&RECORD) => pass_on(&line).await,
                Ok(_) => {
                    let text = String::from_utf8_lossy(&line);
                    tracing::info!(process = %process, stream = name, "{}", text.trim_end());
                }
            }
        }
    })
}

/// Writes a record to our own standard output, which nothing else uses while children run.
async fn pass_on(line: &[u8]) {
    let line = line.to_vec();
    let written = tokio::task::spawn_blocking(move || {
        let mut stdout = io::stdout().lock();
        stdout.write_all(&line).and_then(|()| stdout.flush())
    });
    // Whoever closed our standard output does not want it.
    let _ = written.await;
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
