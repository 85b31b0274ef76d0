//! Which lanes are full: XDP drops what comes for them, before it is copied and taken here (pure).
//!
//! A lane's gate is shut when the scheduler refuses a packet of it, and opens when such a packet has
//! room again, with some more so that it does not go to and fro. Shut gates are renewed: one that its
//! worker leaves behind opens by itself.

use std::collections::BTreeMap;

/// Ticks for which a gate is shut: one more than its worker may sleep, and one since its time falls
/// short of the kernel's by up to one.
const SHUT_FOR: u64 = 3;

/// Where XDP reads which gates are shut.
pub trait GateWords {
    /// Shuts a lane's gate at this worker's queue until a tick; 0 opens it.
    fn shut_until(&self, lane: u32, tick: u64);
}

/// A lane whose gate is shut.
#[derive(Clone, Copy, Debug)]
struct Shut {
    /// Bytes of the packet that had no room.
    bytes: u32,
    /// Until which tick XDP knows of it.
    until: u64,
}

/// The gates of a worker.
#[derive(Debug, Default)]
pub struct Gates(BTreeMap<u32, Shut>);

impl Gates {
    /// Notes that a packet of a lane had no room.
    pub fn refused(&mut self, lane: u32, bytes: u32) {
        let shut = self.0.entry(lane).or_insert(Shut { bytes, until: 0 });
        shut.bytes = shut.bytes.min(bytes);
    }

    /// Tells whether any is shut: the worker must look again within a tick.
    #[must_use]
    pub fn are_shut(&self) -> bool {
        !self.0.is_empty()
    }

    /// Opens gates of lanes that have room again for a packet of some bytes, and renews the others.
    pub fn look(&mut self, tick: u64, words: &impl GateWords, has_room: impl Fn(u32, u32) -> bool) {
        self.0.retain(|lane, shut| {
            if has_room(*lane, shut.bytes) {
                words.shut_until(*lane, 0);
                return false;
            }
            if shut.until != tick + SHUT_FOR {
                shut.until = tick + SHUT_FOR;
                words.shut_until(*lane, shut.until);
            }
            true
        });
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[derive(Default)]
    struct Told(RefCell<Vec<(u32, u64)>>);

    impl GateWords for Told {
        fn shut_until(&self, lane: u32, tick: u64) {
            self.0.borrow_mut().push((lane, tick));
        }
    }

    #[test]
    fn a_gate_is_shut_from_a_refusal_until_there_is_room_and_renewed_once_a_tick() {
        let (mut gates, told) = (Gates::default(), Told::default());
        gates.look(9, &told, |_, _| true);
        assert!(!gates.are_shut() && told.0.borrow().is_empty());
        gates.refused(4, 1_500);
        gates.refused(4, 400);
        gates.refused(7, 1_000);
        for tick in [10, 10, 10, 11] {
            gates.look(tick, &told, |lane, bytes| {
                assert_eq!(bytes, if lane == 4 { 400 } else { 1_000 }, "the smallest one counts");
                false
            });
        }
        assert!(gates.are_shut());
        gates.look(11, &told, |lane, _| lane == 4);
        gates.look(12, &told, |_, _| true);
        assert!(!gates.are_shut());
        let expected = [(4, 13), (7, 13), (4, 14), (7, 14), (4, 0), (7, 0)];
        assert_eq!(told.0.take(), expected);
    }
}
