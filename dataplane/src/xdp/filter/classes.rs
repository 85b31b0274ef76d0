//! Classes of addresses: those that are in the same sets of prefixes (pure).

use std::collections::{BTreeMap, HashMap};

use ebpf_common::filter::CLASSES_MAX;
use model::Prefix;
use std::net::IpAddr;

/// Tells that prefixes overlap in too many ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "prefixes of different lists and rules overlap in more than {CLASSES_MAX} ways; merge lists \
     that the same rules refer to"
)]
pub struct TooManyClasses;

/// Numbers classes. Class 0 has the addresses that are in no set.
#[derive(Clone, Debug)]
pub struct ClassNumbers {
    numbers: HashMap<Vec<u32>, u32>,
    members: Vec<Vec<u32>>,
}

impl Default for ClassNumbers {
    fn default() -> Self {
        Self { numbers: HashMap::from([(Vec::new(), 0)]), members: vec![Vec::new()] }
    }
}

impl ClassNumbers {
    /// Returns the sets that the addresses of each class are in.
    #[must_use]
    pub fn members(&self) -> &[Vec<u32>] {
        &self.members
    }

    fn number(&mut self, sets: &[u32]) -> Result<u32, TooManyClasses> {
        if let Some(number) = self.numbers.get(sets) {
            return Ok(*number);
        }
        if self.members.len() == CLASSES_MAX {
            return Err(TooManyClasses);
        }
        let number = self.members.len() as u32;
        self.numbers.insert(sets.to_vec(), number);
        self.members.push(sets.to_vec());
        Ok(number)
    }
}

/// The first address of a stretch and the class of all addresses in it.
pub type Border = (u128, u32);

/// Returns the first and the last address of a prefix, as numbers within its family.
#[must_use]
pub fn ends(prefix: &Prefix) -> (u128, u128) {
    match prefix.network() {
        IpAddr::V4(v4) => {
            let first = u128::from(v4.to_bits());
            (first, first | (u128::from(u32::MAX) >> prefix.length()))
        }
        IpAddr::V6(v6) => {
            let first = v6.to_bits();
            (first, first | u128::MAX.checked_shr(prefix.length().into()).unwrap_or(0))
        }
    }
}

/// Divides the addresses from `first` to `last` into stretches of one class, of which neighbours
/// differ. The sets are prefixes of one family in order, by their numbers.
///
/// # Errors
/// There would be too many classes.
pub fn stretches(
    sets: &BTreeMap<u32, &[Prefix]>,
    (first, last): (u128, u128),
    numbers: &mut ClassNumbers,
) -> Result<Vec<Border>, TooManyClasses> {
    // Where sets begin (true) and end; an end stands at the address behind it.
    let mut turns: Vec<(u128, bool, u32)> = Vec::new();
    for (set, prefixes) in sets {
        let from = prefixes.partition_point(|prefix| ends(prefix).1 < first);
        for (begin, end) in prefixes[from..].iter().map(ends).take_while(|ends| ends.0 <= last) {
            turns.push((begin.max(first), true, *set));
            if end < last {
                turns.push((end + 1, false, *set));
            }
        }
    }
    turns.sort_unstable();
    let mut borders = Vec::with_capacity(turns.len() + 1);
    let mut inside: Vec<u32> = Vec::new();
    let mut turns = turns.into_iter().peekable();
    let mut at = first;
    loop {
        while let Some((_, begins, set)) = turns.next_if(|turn| turn.0 == at) {
            // Ends come before beginnings, so a set that goes on is never there twice.
            match (begins, inside.binary_search(&set)) {
                (true, Err(place)) => inside.insert(place, set),
                (false, Ok(place)) => drop(inside.remove(place)),
                (true, Ok(_)) | (false, Err(_)) => {}
            }
        }
        let class = numbers.number(&inside)?;
        if borders.last().is_none_or(|(_, before)| *before != class) {
            borders.push((at, class));
        }
        match turns.peek() {
            Some((next, ..)) => at = *next,
            None => return Ok(borders),
        }
    }
}
