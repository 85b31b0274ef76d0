//! Several CPUs at the table of connections at once: no port has two owners, no flow two ports, and
//! no established connection is lost, however full the table is.

use std::{
    collections::{BTreeMap, BTreeSet},
    println, thread, vec,
    vec::Vec,
};

use super::site::{self, NODE};
use crate::{
    host::{Cpu, Tables, frame::Guard},
    layout::{Connection, TCP},
    path::Sent,
    state::{Clock, TCP_ACK, TCP_SYN},
    verdict::Reason,
};

/// More than a machine of a few processors runs at once, so that each can be stopped anywhere.
const THREADS: u64 = 4;
/// Ticks in a unit of [`Clock`].
const UNIT: u64 = 16;

/// The end of a connection at the backend: its address's last byte, and the node's port.
type Place = (u8, u16);

/// Makes a segment from a client, known by its number.
fn segment(client: u32, flags: u8) -> Vec<u8> {
    let mut bytes = vec![0; 60];
    site::whole(&mut bytes, false, TCP);
    bytes[26..30].copy_from_slice(&(0x0a01_0000 + (client >> 8)).to_be_bytes());
    bytes[34..36].copy_from_slice(&(2_000 + (client & 0xff) as u16).to_be_bytes());
    bytes[47] = flags;
    site::aim(&mut bytes, false, 0);
    bytes
}

/// Makes the answer of the server at a place.
fn answer((backend, port): Place) -> Vec<u8> {
    let mut bytes = vec![0; 60];
    site::whole(&mut bytes, false, TCP);
    bytes[26..30].copy_from_slice(&[10, 0, 0, backend]);
    bytes[30..34].copy_from_slice(&NODE.words[3].to_ne_bytes());
    bytes[34..36].copy_from_slice(&8_000u16.to_be_bytes());
    bytes[36..38].copy_from_slice(&port.to_be_bytes());
    bytes[47] = TCP_SYN | TCP_ACK;
    bytes
}

/// Sends a segment; returns where it went, or nothing where there was no room.
fn send(cpu: &mut Cpu<'_>, client: u32, flags: u8) -> Option<Place> {
    match cpu.run(&segment(client, flags), 2, Guard::Behind) {
        Ok(Sent::Back) => {
            let sent = cpu.frame();
            Some((sent[33], u16::from_be_bytes([sent[34], sent[35]])))
        }
        Err(Reason::TableRefused | Reason::PortsExhausted) => None,
        other => panic!("{other:?}"),
    }
}

/// Sends the answer of a server; returns the client that it went to.
fn reply(cpu: &mut Cpu<'_>, place: Place) -> Option<u32> {
    match cpu.run(&answer(place), 2, Guard::Behind) {
        Ok(Sent::Back) => {
            let sent = cpu.frame();
            let address = u32::from_be_bytes(sent[30..34].try_into().unwrap()) - 0x0a01_0000;
            let port = u32::from(u16::from_be_bytes([sent[36], sent[37]])) - 2_000;
            Some(address << 8 | port)
        }
        Err(Reason::NotService) => None,
        other => panic!("{other:?}"),
    }
}

/// Lets all CPUs do the same at once; each has its number.
fn at_once<T: Send>(
    tables: &Tables,
    seed: u64,
    work: impl Fn(&mut Cpu<'_>, u64) -> T + Sync,
) -> Vec<T> {
    thread::scope(|scope| {
        let work = &work;
        let started: Vec<_> = (0..THREADS)
            .map(|number| {
                let seed = seed.wrapping_mul(0x9e37_79b9).wrapping_add(number * 2 + 1);
                scope.spawn(move || work(&mut Cpu::unsettled(tables, seed), number))
            })
            .collect();
        started.into_iter().map(|thread| thread.join().expect("no CPU panics")).collect()
    })
}

/// Numbers in an order of the seed's own.
fn shuffled(count: u32, seed: u64) -> impl Iterator<Item = u32> {
    let (stride, offset) = ([1, 7, 11, 13][seed as usize % 4], seed as u32 % count);
    (0..count).map(move |n| (n * stride + offset) % count)
}

/// Checks what must hold between the entries that packets use without a look at their words.
fn check(tables: &Tables, replies: bool) -> usize {
    let clock = Clock::new(tables.ticks(), site::TICKS_PER_SECOND);
    let all: Vec<Connection> = tables
        .connections()
        .into_iter()
        .map(|(_, connection)| connection)
        .filter(|it| clock.since(it.refreshed) < 2 && (it.reply == 1) == replies)
        .collect();
    let key =
        |it: &Connection| (it.key.source.words, it.key.source_port_be, it.key.destination_port_be);
    let keys: BTreeSet<_> = all.iter().map(key).collect();
    assert_eq!(keys.len(), all.len(), "a key has two entries");
    let ends: BTreeSet<_> = all
        .iter()
        .map(|it| (it.to.destination.words, it.to.source_port_be, it.to.destination_port_be))
        .collect();
    assert_eq!(ends.len(), all.len(), "two connections became one");
    all.len()
}

/// Takes together what all CPUs have seen while no time passed: what a packet has used then is in
/// use until it passes. Returns the owner of each place, and how many packets were refused.
fn owners(seen: Vec<Vec<(u32, Option<Place>)>>) -> (BTreeMap<Place, u32>, usize) {
    let (mut places, mut owners, mut refused) = (BTreeMap::new(), BTreeMap::new(), 0);
    for (client, place) in seen.into_iter().flatten() {
        let Some(place) = place else {
            refused += 1;
            continue;
        };
        let before = *places.entry(client).or_insert(place);
        assert_eq!(before, place, "client {client} has two ports");
        let owner = *owners.entry(place).or_insert(client);
        assert_eq!(owner, client, "port {place:?} has two owners");
    }
    (owners, refused)
}

#[test]
fn no_port_has_two_owners_and_no_flow_two_ports() {
    const PHASES: u64 = 60;
    const FLOWS: u32 = 120;
    let tables = site::tables(1 << 12);
    let (mut begun, mut refused) = (0, 0);
    for phase in 0..PHASES {
        // Within a phase no time passes, so nothing that was begun may go.
        tables.set_ticks(tables.ticks() + 4 * UNIT);
        let first = phase as u32 * FLOWS;
        let seen = at_once(&tables, phase, |cpu, number| {
            let order = shuffled(FLOWS, phase * 31 + number).chain(shuffled(FLOWS, phase));
            order.map(|n| (first + n, send(cpu, first + n, TCP_ACK))).collect::<Vec<_>>()
        });
        let (owners, turned_away) = owners(seen);
        begun += owners.len();
        refused += turned_away;
        assert_eq!(check(&tables, false), owners.len());
        check(&tables, true);
        // Answers find their own clients.
        let answered = at_once(&tables, phase, |cpu, _| {
            owners.iter().all(|(place, client)| reply(cpu, *place) == Some(*client))
        });
        assert_eq!(answered, [true; THREADS as usize]);
    }
    // One that comes while another CPU writes the same connection is refused, and seldom.
    println!("{begun} flows begun, {refused} packets refused");
    let sent = PHASES as usize * 2 * THREADS as usize * FLOWS as usize;
    assert!(begun > PHASES as usize * FLOWS as usize * 9 / 10, "{begun} begun");
    assert!(refused < sent / 20, "{refused} of {sent} refused");
}

#[test]
fn no_established_connection_is_lost_or_moved_in_a_full_table() {
    const PHASES: u64 = 60;
    const ESTABLISHED: u32 = 60;
    const FLOOD: u32 = 600;
    // Room for 256 connections.
    let tables = site::tables(1 << 6);
    let mut places = Vec::new();
    {
        let mut cpu = Cpu::new(&tables);
        for client in 0..ESTABLISHED {
            let place = send(&mut cpu, client, TCP_SYN).expect("room");
            assert_eq!(reply(&mut cpu, place), Some(client));
            assert_eq!(send(&mut cpu, client, TCP_ACK), Some(place));
            places.push(place);
        }
    }
    let (mut passed, mut refused) = (0, 0);
    for phase in 0..PHASES {
        // So long that what is opening makes way, or not quite, and that entries are refreshed.
        tables.set_ticks(tables.ticks() + UNIT * (1 + phase % 9));
        // Some of the flood goes on for several phases without an answer.
        let first = 10_000 + phase as u32 * FLOOD / 4;
        let seen = at_once(&tables, phase, |cpu, number| {
            let mut seen = Vec::new();
            let flags = if number == 0 { TCP_SYN } else { TCP_ACK };
            for n in shuffled(FLOOD, phase * 17 + number) {
                seen.push((first + n, send(cpu, first + n, flags)));
                let client = n % ESTABLISHED;
                let place = places[client as usize];
                assert_eq!(send(cpu, client, TCP_ACK), Some(place), "client {client}");
                assert_eq!(reply(cpu, place), Some(client), "client {client}");
            }
            seen
        });
        let (owners, turned_away) = owners(seen);
        passed += owners.len();
        refused += turned_away;
        assert!(!owners.keys().any(|place| places.contains(place)), "an established one's port");
        check(&tables, false);
        check(&tables, true);
    }
    println!("{passed} of the flood passed, {refused} refused");
    assert!(passed > 1_000 && refused > 1_000, "the table was full, and did not stay so");
}
