//! The UDP echo server.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result};

use super::Shared;
use crate::place::Place;

/// A stopped server is gone after this long.
const LOOK_AROUND: Duration = Duration::from_millis(50);
const DATAGRAM_MAX: usize = 2048;

/// Starts the server's thread and returns the bound address.
pub(super) fn start(
    place: &Place,
    thread: &str,
    address: SocketAddr,
    shared: &Arc<Shared>,
) -> Result<SocketAddr> {
    let socket = place
        .run(|| UdpSocket::bind(address))?
        .with_context(|| format!("{}: binding {address}/udp", shared.name))?;
    socket.set_read_timeout(Some(LOOK_AROUND))?;
    let address = socket.local_addr()?;
    let shared = Arc::clone(shared);
    place.spawn(thread, move || serve(&socket, &shared))?;
    Ok(address)
}

fn serve(socket: &UdpSocket, shared: &Shared) {
    let mut buffer = [0u8; DATAGRAM_MAX];
    while !shared.stopped.load(Ordering::SeqCst) {
        let Ok((count, client)) = socket.recv_from(&mut buffer) else { continue };
        shared.requests.fetch_add(1, Ordering::Relaxed);
        let mut answer = format!("{} ", shared.name).into_bytes();
        answer.extend_from_slice(&buffer[..count]);
        let _ = socket.send_to(&answer, client);
    }
}
