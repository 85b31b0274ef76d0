//! Nothing of the path reaches beyond the frame, whatever the frame holds.

use proptest::prelude::*;
use std::{vec, vec::Vec};

use super::site;
use crate::{
    host::{
        Cpu,
        frame::{Frame, Guard},
    },
    layout::{TCP, UDP},
    path::Sent,
    verdict::{Action, Reason},
};

/// Runs something in a process of its own; returns the signal that ended it, if one did.
fn signal_of(work: impl FnOnce()) -> Option<i32> {
    // SAFETY: the child does nothing but the work and leaves without unwinding.
    unsafe {
        let child = libc::fork();
        assert!(child >= 0, "a process for the attempt");
        if child == 0 {
            work();
            libc::_exit(0);
        }
        let mut status = 0;
        assert_eq!(libc::waitpid(child, &raw mut status, 0), child);
        libc::WIFSIGNALED(status).then(|| libc::WTERMSIG(status))
    }
}

#[test]
fn the_byte_beyond_the_guarded_end_is_out_of_reach() {
    let mut frame = Frame::new();
    for length in [14, 60, 1_514] {
        for (guard, at) in [(Guard::Behind, length), (Guard::Before, -1)] {
            frame.put(&vec![7; length as usize], guard);
            let read = |at: isize| {
                let address = frame.start().wrapping_add_signed(at) as *const u8;
                // SAFETY: none; that is what is tried.
                let _byte = core::hint::black_box(unsafe { address.read_volatile() });
            };
            assert_eq!(signal_of(|| read(at)), Some(libc::SIGSEGV), "{guard:?} {length}");
            assert_eq!(signal_of(|| read(0)), None);
            assert_eq!(signal_of(|| read(length - 1)), None);
        }
    }
}

#[test]
fn a_frame_grows_and_shrinks_as_the_kernel_has_it() {
    for guard in [Guard::Before, Guard::Behind] {
        let mut frame = Frame::new();
        let bytes: Vec<u8> = (0..60).collect();
        frame.put(&bytes, guard);
        assert!(frame.grow_head(20));
        assert_eq!((&frame.bytes()[20..], frame.bytes().len()), (&bytes[..], 80));
        assert!(frame.grow_head(-20));
        assert_eq!(frame.bytes(), bytes);
        assert!(frame.grow_tail(-40));
        assert_eq!(frame.bytes(), &bytes[..20]);
        assert!(!frame.grow_tail(-7), "an Ethernet header must stay");
        assert!(frame.grow_head(256) && !frame.grow_head(1), "the headroom is used up");
    }
}

/// Bytes that mostly get past the first comparisons.
fn frames() -> impl Strategy<Value = (Vec<u8>, u32)> {
    let any_bytes = prop::collection::vec(any::<u8>(), 0..140);
    (any_bytes, 0..8u8, any::<[bool; 2]>(), 0..4u8, 0..200u32).prop_map(
        |(mut bytes, kind, [tcp, tagged], port, ingress)| {
            if bytes.len() > 60 && kind < 7 {
                let v6 = kind & 1 == 1;
                let ip = if v6 { 40 } else { 20 };
                let protocol = match (kind, tcp, v6) {
                    (4.., _, false) => 1,
                    (4.., _, true) => 58,
                    (_, true, _) => TCP,
                    _ => UDP,
                };
                site::whole(&mut bytes, v6, protocol);
                site::aim(&mut bytes, v6, port);
                if kind >= 4 && bytes.len() > 14 + ip + 8 + ip + 8 {
                    let error = if v6 { 2 } else { 3 };
                    site::quote(&mut bytes, v6, error, port);
                }
            }
            if tagged && bytes.len() > 14 {
                bytes.splice(12..12, [0x81, 0, 0x20, 5]);
            }
            (bytes, ingress)
        },
    )
}

#[test]
fn frames_such_as_these_go_every_way() {
    let tables = site::tables(1 << 6);
    let mut cpu = Cpu::new(&tables);
    for v6 in [false, true] {
        for port in 0..site::PORTS.len() as u8 {
            for protocol in [TCP, UDP] {
                let mut bytes = vec![1; 120];
                site::whole(&mut bytes, v6, protocol);
                site::aim(&mut bytes, v6, port);
                assert_eq!(cpu.run(&bytes, 2, Guard::Behind), Ok(Sent::Back), "{v6} {port}");
                site::whole(&mut bytes, v6, if v6 { 58 } else { 1 });
                site::quote(&mut bytes, v6, if v6 { 2 } else { 3 }, port);
                assert_eq!(cpu.run(&bytes, 2, Guard::Before), Ok(Sent::Back), "error {v6} {port}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn no_bytes_make_the_path_reach_beyond_the_frame_or_change_what_it_passes(
        sequence in prop::collection::vec(frames(), 1..6),
    ) {
        let tables = site::tables(1 << 6);
        let mut cpu = Cpu::new(&tables);
        for (bytes, ingress) in &sequence {
            for guard in [Guard::Before, Guard::Behind] {
                let decided = cpu.run(bytes, *ingress, guard);
                if decided.is_err_and(|reason: Reason| reason.action() == Action::Pass) {
                    prop_assert_eq!(&cpu.frame(), bytes);
                }
            }
        }
    }
}
