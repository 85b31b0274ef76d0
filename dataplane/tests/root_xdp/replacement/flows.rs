//! Established flows: their packets in both directions, and what each has become.

use std::{
    fmt::Write as _,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use rand::{Rng as _, rngs::StdRng};

use super::wire::Wire;
use crate::support::packets::{ACK, Frame, SYN, TCP, UDP};

/// A listener with its share of the flows.
struct Service {
    name: &'static str,
    protocol: u8,
    address: &'static str,
    mode: &'static str,
    share: u64,
}

const fn service(
    name: &'static str,
    protocol: u8,
    address: &'static str,
    mode: &'static str,
    share: u64,
) -> Service {
    Service { name, protocol, address, mode, share }
}

/// All of them on port 80; shares add up to 100.
const SERVICES: [Service; 8] = [
    service("nat4", TCP, "192.0.2.10", "NAT", 25),
    service("nat6", TCP, "2001:db8::10", "NAT", 25),
    service("nat4-udp", UDP, "192.0.2.11", "NAT", 5),
    service("l2-4", TCP, "192.0.2.12", "L2", 10),
    service("ipip6", TCP, "2001:db8::12", "IPIP", 10),
    service("gue4", TCP, "192.0.2.13", "GUE", 10),
    service("l2-6", TCP, "2001:db8::13", "L2", 10),
    service("gue6-udp", UDP, "2001:db8::14", "GUE", 5),
];
/// Frames under way at once: a veth's ring holds 256.
const WINDOW: u64 = 128;
/// What marks our own frames, at their end, before the number of the flow.
const MARK: u32 = 0x6d70_7870;
/// Time after which frames that have not come are lost.
const PATIENCE: Duration = Duration::from_secs(2);

/// All listeners with all endpoints.
pub(super) fn all(random: &mut StdRng) -> String {
    SERVICES.iter().map(|service| document(random, service, 4)).collect()
}

/// Most listeners, with some endpoints each. Those of UDP keep all, which their flows depend on.
pub(super) fn some(random: &mut StdRng) -> String {
    let mut text = String::new();
    for service in &SERVICES {
        let udp = service.protocol == UDP;
        if !udp && random.random_bool(0.1) {
            continue;
        }
        let hosts = if udp { 4 } else { random.random_range(1..=4) };
        text += &document(random, service, hosts);
    }
    // One that has no flows comes and goes.
    if random.random_bool(0.5) {
        let other = service("other", TCP, "192.0.2.99", "NAT", 0);
        let hosts = random.random_range(1..=4);
        text += &document(random, &other, hosts);
    }
    text
}

fn document(random: &mut StdRng, service: &Service, hosts: usize) -> String {
    let Service { name, address, mode, .. } = *service;
    let (protocol, route) =
        if service.protocol == TCP { ("TCP", "TCPRoute") } else { ("UDP", "UDPRoute") };
    // Full NAT has as many connections to an endpoint as it has ports.
    let ports = if mode == "NAT" { 8_000..8_010 } else { 80..81 };
    // All SYNs come before the first answer, and so many half-open connections call for cookies.
    let cookies = if (protocol, mode) == ("TCP", "NAT") { ", synCookies: Never" } else { "" };
    let mut left: Vec<u8> = vec![21, 22, 23, 24];
    while left.len() > hosts {
        left.remove(random.random_range(0..left.len()));
    }
    let mut endpoints = String::new();
    for host in left {
        let ip =
            if address.contains(':') { format!("fd00::{host}") } else { format!("10.0.0.{host}") };
        for port in ports.clone() {
            let weight = random.random_range(1..4);
            write!(endpoints, "{{ address: '{ip}', port: {port}, weight: {weight} }}, ").unwrap();
        }
    }
    format!(
        "kind: Listener\nmetadata: {{ name: {name} }}\nspec: {{ protocol: {protocol}, \
         address: '{address}', port: 80, engine: xdp, forwarding: {mode}{cookies} }}\n---\n\
         kind: {route}\nmetadata: {{ name: {name} }}\nspec:\n  listeners: [{{ name: {name} }}]\n  \
         backends: [{{ service: {{ name: {name} }} }}]\n---\n\
         kind: Service\nmetadata: {{ name: {name} }}\nspec:\n  endpoints: [{endpoints}]\n---\n"
    )
}

/// What came of the load.
pub(super) struct Report {
    pub(super) flows: u64,
    /// How many times all packets were sent.
    pub(super) rounds: u64,
    pub(super) sent: u64,
    pub(super) received: u64,
    pub(super) moved: u64,
    /// A frame that was not what its flow's became before.
    pub(super) example: Option<String>,
}

/// The packets of established flows, and a hash of what each becomes.
pub(super) struct Flows {
    flows: u64,
    frames: Vec<Vec<u8>>,
    becomes: Vec<u64>,
}

impl Flows {
    /// Opens flows through the wire: a SYN, with full NAT its answer, then data.
    pub(super) fn establish(wire: &Wire, flows: u64) -> Self {
        let mut opening = Vec::new();
        let mut data = Vec::new();
        let mut nat = Vec::new();
        for service in &SERVICES {
            for n in 0..flows * service.share / 100 {
                let v6 = service.address.contains(':');
                let port = 1_024 + n;
                let (client, listener) = if v6 {
                    (format!("[fd00::100]:{port}"), format!("[{}]:80", service.address))
                } else {
                    (format!("10.0.0.100:{port}"), format!("{}:80", service.address))
                };
                let mut frame = Frame::new(service.protocol, &client, &listener);
                frame.ethernet_source = [2, 0, 0, 0, 0, 0x64];
                frame.payload = marked(opening.len());
                opening.push(frame.bytes());
                if service.protocol == TCP {
                    frame.tcp_flags = ACK;
                }
                data.push(frame.bytes());
                nat.push(service.mode == "NAT");
            }
        }
        let count = opening.len() as u64;
        let opened = pass(wire, &opening);
        // What full NAT has sent tells what its answer is.
        let mut answers = Vec::new();
        for (flow, sent) in opened.iter().enumerate().filter(|(flow, _)| nat[*flow]) {
            let sent = Frame::read(sent);
            let mut answer = sent.answer(&marked(data.len() + answers.len()));
            if answer.protocol == TCP {
                answer.tcp_flags = SYN | ACK;
            }
            answer.ethernet_destination = [2, 0, 0, 0, 0, 1];
            assert_eq!(sent.payload, marked(flow));
            answers.push(answer);
        }
        // Their marks count on from those of the data.
        let renumbered = |n: usize, mut answer: Frame| {
            answer.payload = marked(n);
            answer.bytes()
        };
        let first: Vec<_> =
            answers.iter().enumerate().map(|(n, it)| renumbered(n, it.clone())).collect();
        pass(wire, &first);
        let mut frames = data;
        for mut answer in answers {
            if answer.protocol == TCP {
                answer.tcp_flags = ACK;
            }
            frames.push(renumbered(frames.len(), answer));
        }
        let becomes = pass(wire, &frames).iter().map(|frame| hashed(frame)).collect();
        Self { flows: count, frames, becomes }
    }

    /// Sends all packets again and again until it is told to stop.
    pub(super) fn go_on(self, wire: &Wire, stop: &AtomicBool, passed: &AtomicU64) -> Report {
        let mut report =
            Report { flows: self.flows, rounds: 0, sent: 0, received: 0, moved: 0, example: None };
        let mut next = 0;
        let mut heard = Instant::now();
        loop {
            let stopped = stop.load(Ordering::SeqCst);
            let under_way = report.sent - report.received;
            if stopped && under_way == 0 || heard.elapsed() > PATIENCE {
                return report;
            }
            if !stopped && under_way < WINDOW {
                let room = (WINDOW - under_way) as usize;
                let frames = self.frames[next..].iter().take(room).map(Vec::as_slice);
                let sent = wire.send(frames);
                report.sent += sent as u64;
                next += sent;
                if next == self.frames.len() {
                    next = 0;
                    report.rounds += 1;
                }
            }
            let mut received = 0;
            wire.receive(|frame| {
                let Some(number) = number_of(frame) else { return };
                received += 1;
                if self.becomes.get(number) != Some(&hashed(frame)) {
                    report.moved += 1;
                    report
                        .example
                        .get_or_insert_with(|| format!("{number}: {}", hex::encode(frame)));
                }
            });
            if received > 0 {
                report.received += received;
                passed.fetch_add(received, Ordering::SeqCst);
                heard = Instant::now();
            }
        }
    }
}

/// Sends each frame once; returns what they became, in their order.
fn pass(wire: &Wire, frames: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut became: Vec<Vec<u8>> = vec![Vec::new(); frames.len()];
    let (mut sent, mut received) = (0, 0);
    let mut heard = Instant::now();
    while received < frames.len() {
        assert!(heard.elapsed() < PATIENCE, "{received} of {sent} frames came back");
        let room = (WINDOW as usize).saturating_sub(sent - received);
        sent += wire.send(frames[sent..].iter().take(room).map(Vec::as_slice));
        wire.receive(|frame| {
            if let Some(number) = number_of(frame) {
                received += 1;
                became[number] = frame.to_vec();
                heard = Instant::now();
            }
        });
    }
    became
}

fn marked(number: usize) -> Vec<u8> {
    [MARK.to_be_bytes(), (number as u32).to_be_bytes()].concat()
}

/// Returns the number that a frame of ours has.
fn number_of(frame: &[u8]) -> Option<usize> {
    let (rest, number) = frame.split_last_chunk::<4>()?;
    let (_, mark) = rest.split_last_chunk::<4>()?;
    (*mark == MARK.to_be_bytes()).then_some(u32::from_be_bytes(*number) as usize)
}

fn hashed(frame: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    frame.hash(&mut hasher);
    hasher.finish()
}
