//! Connections that live long: a WebSocket that is talked to, a download that takes its time.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::http1::{Connection, Request};
use crate::place::Place;
use crate::serve::{accept_key, read_frame, write_frame};
use crate::waiting::wait_for;

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const TEXT: u8 = 1;
/// Longest silence of a peer that is taken.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// An open WebSocket to `/ws` of a test server.
#[derive(Debug)]
pub struct WebSocket {
    connection: Connection<TcpStream>,
    echoes: u64,
}

impl WebSocket {
    /// Opens it.
    ///
    /// # Errors
    /// When the upgrade is refused.
    pub fn open(place: &Place, target: SocketAddr, host: &str) -> Result<Self> {
        let mut connection = connect(place, target)?;
        let headers = [
            ("upgrade", "websocket"),
            ("connection", "Upgrade"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", KEY),
        ];
        let request = Request { headers: &headers, ..Request::get(host, "/ws") };
        let head = connection.start(&request)?;
        ensure!(head.status == 101, "the upgrade was answered by {}", head.status);
        ensure!(
            head.header("sec-websocket-accept") == Some(accept_key(KEY).as_str()),
            "a wrong sec-websocket-accept"
        );
        Ok(Self { connection, echoes: 0 })
    }

    /// Sends a text and waits for its echo.
    ///
    /// # Errors
    /// When the WebSocket was cut, or the echo is another text.
    pub fn exchange(&mut self) -> Result<()> {
        let text = format!("echo {}", self.echoes);
        let stream = self.connection.stream();
        write_frame(stream.get_mut(), TEXT, text.as_bytes(), Some([7, 1, 5, 3]))
            .with_context(|| format!("the websocket was cut after {} echoes", self.echoes))?;
        let (opcode, payload) = read_frame(stream)
            .with_context(|| format!("the websocket was cut after {} echoes", self.echoes))?;
        let payload = String::from_utf8_lossy(&payload);
        ensure!(
            opcode == TEXT && payload.ends_with(&text),
            "sent {text:?}, got opcode {opcode} {payload:?}"
        );
        self.echoes += 1;
        Ok(())
    }
}

/// A download under way on a thread.
#[derive(Debug)]
pub struct Download {
    received: Arc<AtomicU64>,
    thread: std::thread::JoinHandle<Result<u64>>,
}

impl Download {
    /// Starts a download that the server paces over `seconds`.
    ///
    /// # Errors
    /// When the connection is refused.
    pub fn start(place: &Place, target: SocketAddr, host: &str, seconds: u64) -> Result<Self> {
        let mut connection = connect(place, target)?;
        let host = host.to_owned();
        let received = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&received);
        let thread = std::thread::Builder::new().name("download".into()).spawn(move || {
            let head =
                connection.start(&Request::get(&host, &format!("/slow?seconds={seconds}")))?;
            ensure!(head.status == 200, "the download was answered by {}", head.status);
            connection
                .read_body(&head, |bytes| {
                    counter.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                    Ok(())
                })
                .with_context(|| {
                    format!("the download was cut at {} bytes", counter.load(Ordering::Relaxed))
                })?;
            Ok(counter.load(Ordering::Relaxed))
        })?;
        let download = Self { received, thread };
        wait_for("the first bytes of a download", SILENCE_MAX, || {
            download.received() > 0 || download.is_done()
        })?;
        Ok(download)
    }

    /// Bytes so far.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Whether it has ended, whole or cut.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for its end and returns its length.
    ///
    /// # Errors
    /// When it was cut.
    pub fn finish(self) -> Result<u64> {
        match self.thread.join() {
            Ok(result) => result,
            Err(_) => bail!("the download's thread panicked"),
        }
    }
}

fn connect(place: &Place, target: SocketAddr) -> Result<Connection<TcpStream>> {
    let stream = place
        .run(|| TcpStream::connect_timeout(&target, SILENCE_MAX))?
        .with_context(|| format!("connecting to {target}"))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(SILENCE_MAX))?;
    stream.set_write_timeout(Some(SILENCE_MAX))?;
    Ok(Connection::new(stream))
}
