//! Watches when a new UDP listener answers, by sending datagrams to each node at a steady pace.
//! The time counted is when the first answer arrived.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use lab::Place;
use lab::waiting::{Pacer, wait_until};

/// A stopped watch is gone after this long.
const LOOK_AROUND: Duration = Duration::from_millis(100);

/// A running watch.
#[derive(Debug)]
pub(super) struct UdpWatch {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    stop: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    port: Option<u16>,
    seen: Vec<Option<Instant>>,
}

impl UdpWatch {
    /// Sends to each target from `place`, once an interval.
    ///
    /// # Errors
    /// When a socket or thread cannot be had.
    pub(super) fn start(place: &Place, targets: &[IpAddr], interval: Duration) -> Result<Self> {
        let state = State { port: None, seen: vec![None; targets.len()] };
        let shared = Arc::new(Shared { stop: AtomicBool::new(false), state: Mutex::new(state) });
        for (index, target) in targets.iter().copied().enumerate() {
            let socket = place.run(|| UdpSocket::bind(("0.0.0.0", 0)))?.context("a UDP socket")?;
            socket.set_read_timeout(Some(LOOK_AROUND))?;
            let sending = socket.try_clone()?;
            let for_sender = Arc::clone(&shared);
            place.spawn("udp-send", move || send(&for_sender, &sending, target, interval))?;
            let shared = Arc::clone(&shared);
            place.spawn("udp-receive", move || receive(&shared, &socket, index, target))?;
        }
        Ok(Self { shared })
    }

    /// Watches for answers from `port` from now on.
    pub(super) fn expect(&self, port: u16) {
        let mut state = self.shared.state.lock().expect("no panic while held");
        state.port = Some(port);
        state.seen.fill(None);
    }

    /// Waits until every target answers; returns when each did first.
    ///
    /// # Errors
    /// When `limit` passes.
    pub(super) fn seen(&self, limit: Duration) -> Result<Vec<Instant>> {
        wait_until("every node to answer on the new port", limit, || {
            let state = self.shared.state.lock().expect("no panic while held");
            let seen: Option<Vec<Instant>> = state.seen.iter().copied().collect();
            seen.ok_or_else(|| anyhow!("port {:?}, seen {:?}", state.port, state.seen))
        })
    }
}

impl Drop for UdpWatch {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
    }
}

fn send(shared: &Shared, socket: &UdpSocket, target: IpAddr, interval: Duration) {
    let mut pacer = Pacer::new(interval);
    while !shared.stop.load(Ordering::Relaxed) {
        pacer.turn();
        let port = shared.state.lock().expect("no panic while held").port;
        if let Some(port) = port {
            // A port that nobody serves yet answers with an ICMP error, which is as expected.
            let _ = socket.send_to(b"x", SocketAddr::new(target, port));
        }
    }
}

fn receive(shared: &Shared, socket: &UdpSocket, index: usize, target: IpAddr) {
    let mut buffer = [0u8; 256];
    while !shared.stop.load(Ordering::Relaxed) {
        let Ok((_, from)) = socket.recv_from(&mut buffer) else { continue };
        let at = Instant::now();
        let mut state = shared.state.lock().expect("no panic while held");
        if from.ip() == target && state.port == Some(from.port()) && state.seen[index].is_none() {
            state.seen[index] = Some(at);
        }
    }
}
