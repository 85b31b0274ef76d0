//! Numbers of limiters (pure).
//!
//! Invariant: a number that is given back is given out again only when no packet can see the
//! configuration that named it.

use std::collections::{BTreeMap, BTreeSet};

use ebpf_common::qos::LIMITERS_MAX;
use model::ObjectKey;

use crate::xdp::plan::Frontend;

/// Whose a limiter is: policy and listener.
pub type Owner = (ObjectKey, ObjectKey);

/// The numbers.
#[derive(Debug, Default)]
pub struct Limiters {
    held: BTreeMap<Frontend, (Owner, u16)>,
    used: BTreeSet<u16>,
    /// Given back, and named by the configuration in force.
    resting: BTreeSet<u16>,
    /// What an earlier process had, until it is known whose they are.
    left: BTreeMap<Frontend, u16>,
    /// Numbers of which user space must clear what was counted.
    news: Vec<u16>,
}

impl Limiters {
    /// Takes over a number that an earlier process gave out; one for the same policy, as far as
    /// can be known, goes on where it was.
    pub fn restore(&mut self, frontend: Frontend, number: u16) {
        if number != 0 && usize::from(number) < LIMITERS_MAX && self.used.insert(number) {
            self.left.insert(frontend, number);
        }
    }

    /// Gives the limiter of a frontend its number; none when there are too many.
    pub fn hold(&mut self, frontend: Frontend, owner: &Owner) -> Option<u16> {
        if let Some((holder, number)) = self.held.get(&frontend) {
            if holder == owner {
                return Some(*number);
            }
            self.release(&frontend);
        }
        let number = match self.left.remove(&frontend) {
            Some(number) => number,
            None => {
                let free =
                    |number: &u16| !self.used.contains(number) && !self.resting.contains(number);
                let number = (1..LIMITERS_MAX as u16).find(free)?;
                self.used.insert(number);
                self.news.push(number);
                number
            }
        };
        self.held.insert(frontend, (owner.clone(), number));
        Some(number)
    }

    /// Takes the number from a frontend.
    pub fn release(&mut self, frontend: &Frontend) {
        let held = self.held.remove(frontend).map(|(_, number)| number);
        for number in held.into_iter().chain(self.left.remove(frontend)) {
            self.used.remove(&number);
            self.resting.insert(number);
        }
    }

    /// Returns the numbers that begin anew.
    pub fn take_news(&mut self) -> Vec<u16> {
        std::mem::take(&mut self.news)
    }

    /// Notes that the configuration before is out of sight.
    pub fn settled(&mut self) {
        self.resting.clear();
    }

    /// Walks over the limiters.
    pub fn iter(&self) -> impl Iterator<Item = (&Owner, u16)> {
        self.held.values().map(|(owner, number)| (owner, *number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frontend(port: u16) -> Frontend {
        Frontend { address: None, port, protocol: 6 }
    }

    fn owner(policy: &str) -> Owner {
        let key = |text: &str| text.parse().expect("a key");
        (key(&format!("QoSPolicy/default/{policy}")), key("Listener/default/l"))
    }

    #[test]
    fn a_limiter_keeps_its_number_while_its_policy_lives() {
        let mut limiters = Limiters::default();
        assert_eq!(limiters.hold(frontend(1), &owner("a")), Some(1));
        assert_eq!(limiters.hold(frontend(2), &owner("a")), Some(2));
        assert_eq!(limiters.hold(frontend(1), &owner("a")), Some(1));
        assert_eq!(limiters.take_news(), [1, 2]);
        assert_eq!(limiters.hold(frontend(1), &owner("b")), Some(3), "1 is still seen");
        limiters.settled();
        assert_eq!(limiters.hold(frontend(3), &owner("a")), Some(1));
        assert_eq!(limiters.take_news(), [3, 1]);
    }

    #[test]
    fn what_an_earlier_process_left_goes_on() {
        let mut limiters = Limiters::default();
        limiters.restore(frontend(1), 7);
        limiters.restore(frontend(2), 1);
        limiters.restore(frontend(3), 1);
        limiters.restore(frontend(4), LIMITERS_MAX as u16);
        assert_eq!(limiters.hold(frontend(1), &owner("a")), Some(7));
        assert_eq!(limiters.hold(frontend(3), &owner("a")), Some(2), "1 is another's");
        assert_eq!(limiters.take_news(), [2]);
        limiters.release(&frontend(2));
        limiters.settled();
        assert_eq!(limiters.hold(frontend(5), &owner("a")), Some(1));
    }

    #[test]
    fn there_are_as_many_as_the_maps_hold() {
        let mut limiters = Limiters::default();
        for port in 1..LIMITERS_MAX as u16 {
            assert_eq!(limiters.hold(frontend(port), &owner("a")), Some(port));
        }
        assert_eq!(limiters.hold(frontend(0), &owner("a")), None);
        limiters.release(&frontend(9));
        assert_eq!(limiters.hold(frontend(0), &owner("a")), None);
        limiters.settled();
        assert_eq!(limiters.hold(frontend(0), &owner("a")), Some(9));
    }
}
