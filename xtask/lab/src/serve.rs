//! Real servers for the laboratory: HTTP with WebSockets and slow downloads, TCP echo, UDP echo.
//! Each answers with its own name, so that a client sees which backend it reached. Stopping one
//! closes its listener and cuts its connections, as the death of its host would.

mod http;
mod tcp;
mod udp;
mod websocket;

use std::collections::HashMap;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result};
use nix::sys::socket;

use crate::place::Place;

pub use websocket::{accept_key, read_frame, write_frame};

/// Which protocols a server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1: `/` names the server, `/healthz` its health, `/status/CODE` any status, `/slow`
    /// a long download, `/ws` a WebSocket echo.
    Http,
    /// Lines: `X` is answered by `NAME X`.
    Tcp,
    /// Datagrams: `X` is answered by `NAME X`.
    Udp,
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    listener: Option<TcpListener>,
}

/// What the threads of a server share.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub(crate) name: String,
    pub(crate) stopped: AtomicBool,
    pub(crate) healthy: AtomicBool,
    pub(crate) requests: AtomicU64,
    connections: Mutex<HashMap<u64, TcpStream>>,
    serial: AtomicU64,
}

impl Server {
    /// Starts a server named `name` in `place`; port 0 takes a free one.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn start(
        place: &Place,
        name: &str,
        protocol: Protocol,
        address: SocketAddr,
    ) -> Result<Self> {
        let shared =
            Shared { name: name.to_owned(), healthy: AtomicBool::new(true), ..Shared::default() };
        let shared = Arc::new(shared);
        let thread = format!("{name}-{protocol:?}");
        if protocol == Protocol::Udp {
            let address = udp::start(place, &thread, address, &shared)?;
            return Ok(Self { address, shared, listener: None });
        }
        let listener = place
            .run(|| TcpListener::bind(address))?
            .with_context(|| format!("{name}: binding {address}/tcp"))?;
        let address = listener.local_addr()?;
        let accepting = listener.try_clone()?;
        let for_thread = Arc::clone(&shared);
        let talk = if protocol == Protocol::Http { http::talk } else { tcp::talk };
        place.spawn(&thread, move || accept(&accepting, &for_thread, talk))?;
        Ok(Self { address, shared, listener: Some(listener) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many requests, lines or datagrams it has answered.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }

    /// What `/healthz` answers from now on: 200 or 503.
    pub fn set_healthy(&self, healthy: bool) {
        self.shared.healthy.store(healthy, Ordering::Relaxed);
    }

    /// Closes the listener and cuts all connections.
    pub fn stop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        if let Some(listener) = self.listener.take() {
            // Wakes the accepting thread, which closes the last copy of the socket.
            let _ = socket::shutdown(listener.as_raw_fd(), socket::Shutdown::Both);
        }
        for stream in self.shared.connections.lock().expect("no panic while held").values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn accept(
    listener: &TcpListener,
    shared: &Arc<Shared>,
    talk: fn(TcpStream, &Shared) -> Result<()>,
) {
    while !shared.stopped.load(Ordering::SeqCst) {
        let Ok((stream, _)) = listener.accept() else { continue };
        let _ = stream.set_nodelay(true);
        let Ok(copy) = stream.try_clone() else { continue };
        let id = shared.serial.fetch_add(1, Ordering::Relaxed);
        shared.connections.lock().expect("no panic while held").insert(id, copy);
        if shared.stopped.load(Ordering::SeqCst) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        let for_thread = Arc::clone(shared);
        let thread = std::thread::Builder::new().name(format!("{}-{id}", shared.name));
        let spawned = thread.spawn(move || {
            // A client that goes away in the middle is ordinary.
            let _ = talk(stream, &for_thread);
            for_thread.connections.lock().expect("no panic while held").remove(&id);
        });
        if spawned.is_err() {
            shared.connections.lock().expect("no panic while held").remove(&id);
        }
    }
}
