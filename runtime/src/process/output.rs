//! The lines that a child writes, as log events of this process.

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};

/// Longest line that becomes one event; the rest of a longer one becomes the next event.
const LINE_MAX: u64 = 8 * 1024;

/// Logs each line of `stream` until its end.
pub(super) fn trace(
    process: String,
    name: &'static str,
    stream: impl AsyncRead + Send + Unpin + 'static,
) {
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
    });
}
