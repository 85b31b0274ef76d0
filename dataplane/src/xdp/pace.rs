//! What limits are made with beside what they limit to (pure).

use super::qos::rate::Rate;
use ebpf_common::qos::Limit;

/// How fast the kernel's tick counter goes, and how many CPUs may borrow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Ticks a second.
    pub ticks_per_s: u32,
    /// CPUs that there may be.
    pub cpus: u32,
}

impl Default for Pace {
    /// What is common.
    fn default() -> Self {
        Self { ticks_per_s: 250, cpus: 2 }
    }
}

impl Pace {
    /// Makes the limit of a rate.
    #[must_use]
    pub fn limit(self, rate: Rate) -> Limit {
        Limit::new(rate.bytes_per_s, rate.burst, self.ticks_per_s, self.cpus)
    }
}
