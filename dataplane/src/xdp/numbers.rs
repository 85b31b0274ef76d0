//! Numbers of endpoints that flows refer to (pure).
//!
//! Invariant: a number stands for another address only when no flow can refer to it any more. An
//! endpoint that comes back while its number rests gets the same one.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::SocketAddr,
    time::{Duration, Instant},
};

use ebpf_common::{flows::IDLE_MAX_S, layout::ENDPOINTS_MAX};

/// How long a number rests after its endpoint went: as long as an idle flow may be, at most.
pub const REST: Duration = Duration::from_secs(IDLE_MAX_S);

/// The numbers.
#[derive(Debug, Default)]
pub struct Numbers {
    held: HashMap<SocketAddr, Held>,
    /// Those at rest, by the time that they were given back.
    resting: BTreeSet<(Instant, u16)>,
    addresses: BTreeMap<u16, SocketAddr>,
    /// Numbers up to this one have been given out, or were left by an earlier process.
    tried: u16,
    /// What user space must tell the program: who a number stands for from now on.
    news: Vec<(u16, SocketAddr)>,
}

#[derive(Debug)]
struct Held {
    number: u16,
    users: usize,
    /// When the last user went.
    rests: Option<Instant>,
}

impl Numbers {
    /// Takes over what an earlier process left in the kernel: all rest from now on.
    #[must_use]
    pub fn restored(left: impl IntoIterator<Item = (u16, SocketAddr)>, now: Instant) -> Self {
        let mut numbers = Self::default();
        for (number, address) in left {
            if number != 0 && !numbers.held.contains_key(&address) {
                numbers.held.insert(address, Held { number, users: 0, rests: Some(now) });
                numbers.addresses.insert(number, address);
                numbers.resting.insert((now, number));
            }
        }
        numbers
    }

    /// Gives an endpoint its number, for one more user; `None` when all are taken or at rest.
    pub fn hold(&mut self, address: SocketAddr, now: Instant) -> Option<u16> {
        if let Some(held) = self.held.get_mut(&address) {
            if let Some(at) = held.rests.take() {
                self.resting.remove(&(at, held.number));
            }
            held.users += 1;
            return Some(held.number);
        }
        let number = self.free_number(now)?;
        self.held.insert(address, Held { number, users: 1, rests: None });
        self.addresses.insert(number, address);
        self.news.push((number, address));
        Some(number)
    }

    /// Does what [`Self::hold`] does, for who can do without a number: half of them are for others.
    pub fn hold_spare(&mut self, address: SocketAddr, now: Instant) -> Option<u16> {
        let is_spare = usize::from(self.tried) < ENDPOINTS_MAX / 2
            || self.held.contains_key(&address)
            || self.resting.first().is_some_and(|(at, _)| now.duration_since(*at) > REST);
        if is_spare { self.hold(address, now) } else { None }
    }

    /// Returns the number of an endpoint that has one.
    #[must_use]
    pub fn of(&self, address: SocketAddr) -> Option<u16> {
        self.held.get(&address).map(|held| held.number)
    }

    /// Ends one use.
    pub fn release(&mut self, address: SocketAddr, now: Instant) {
        if let Some(held) = self.held.get_mut(&address) {
            held.users = held.users.saturating_sub(1);
            if held.users == 0 && held.rests.is_none() {
                held.rests = Some(now);
                self.resting.insert((now, held.number));
            }
        }
    }

    /// Returns what the program has not been told yet.
    pub fn take_news(&mut self) -> Vec<(u16, SocketAddr)> {
        std::mem::take(&mut self.news)
    }

    /// Returns a number that nobody has had yet, or else the one that has rested for longest.
    fn free_number(&mut self, now: Instant) -> Option<u16> {
        while usize::from(self.tried) + 1 < ENDPOINTS_MAX {
            self.tried += 1;
            if !self.addresses.contains_key(&self.tried) {
                return Some(self.tried);
            }
        }
        let (at, number) = *self.resting.first()?;
        if now.duration_since(at) <= REST {
            return None;
        }
        self.resting.pop_first();
        if let Some(address) = self.addresses.remove(&number) {
            self.held.remove(&address);
        }
        Some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(n: u32) -> SocketAddr {
        SocketAddr::from(((0x0a00_0000 + n).to_be_bytes(), 80))
    }

    #[test]
    fn an_endpoint_keeps_its_number_while_it_is_used_or_rests() {
        let now = Instant::now();
        let mut numbers = Numbers::default();
        assert_eq!(numbers.hold(at(1), now), Some(1));
        assert_eq!(numbers.hold(at(2), now), Some(2));
        assert_eq!(numbers.hold(at(1), now), Some(1));
        numbers.release(at(1), now);
        numbers.release(at(1), now);
        assert_eq!(numbers.hold(at(3), now), Some(3), "1 rests");
        assert_eq!(numbers.hold(at(1), now), Some(1), "and comes back");
        assert_eq!(numbers.take_news(), [(1, at(1)), (2, at(2)), (3, at(3))]);
        assert!(numbers.take_news().is_empty());
    }

    #[test]
    fn a_number_stands_for_another_only_after_its_rest() {
        let start = Instant::now();
        let mut numbers = Numbers::default();
        let last = ENDPOINTS_MAX as u32 - 1;
        for n in 1..=last {
            assert_eq!(numbers.hold(at(n), start), Some(n as u16));
        }
        assert_eq!(numbers.hold(at(0), start), None, "all are in use");
        numbers.release(at(7), start);
        assert_eq!(numbers.hold(at(0), start + REST), None, "it rests");
        let later = start + REST + Duration::from_secs(1);
        assert_eq!(numbers.hold(at(0), later), Some(7));
        assert_eq!(numbers.hold(at(7), later), None, "its number is another's");
    }

    #[test]
    fn who_can_do_without_a_number_leaves_half_of_them() {
        let start = Instant::now();
        let mut numbers = Numbers::default();
        let half = ENDPOINTS_MAX as u32 / 2;
        for n in 1..=half {
            assert_eq!(numbers.hold_spare(at(n), start), Some(n as u16));
        }
        assert_eq!(numbers.hold_spare(at(0), start), None);
        assert_eq!(numbers.hold_spare(at(5), start), Some(5), "it has one");
        assert_eq!(numbers.hold(at(half + 1), start), Some(half as u16 + 1));
        for _ in 0..2 {
            numbers.release(at(5), start);
        }
        assert_eq!(numbers.of(at(5)), Some(5), "while it rests too");
        let later = start + REST + Duration::from_secs(1);
        assert_eq!(numbers.hold_spare(at(0), start), None, "5 rests");
        assert!(numbers.hold_spare(at(0), later).is_some());
    }

    #[test]
    fn what_an_earlier_process_left_rests_and_comes_back() {
        let now = Instant::now();
        let mut numbers = Numbers::restored([(5, at(5)), (2, at(2)), (9, at(5))], now);
        assert_eq!(numbers.hold(at(5), now), Some(5));
        assert!(numbers.take_news().is_empty(), "the program knows it");
        let fresh: Vec<_> = (20..24).filter_map(|n| numbers.hold(at(n), now)).collect();
        assert_eq!(fresh, [1, 3, 4, 6]);
    }
}
