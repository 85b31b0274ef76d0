//! What the kernel keeps of limiters: what they have spent, and each CPU's credit and counters.

use ebpf_common::qos::{CREDIT_MAP, Spent, Way};

use super::limiters::Limiters;
use crate::xdp::{
    mapping::Mapping,
    program::{LoadError, Program},
    record::of_spent,
    statistics::{LimiterCounters, sum},
};

/// The maps of limiters.
#[derive(Debug)]
pub struct LimiterMaps {
    spent: Mapping,
}

impl LimiterMaps {
    /// Takes over the maps of a program.
    ///
    /// # Errors
    /// Returns what the kernel refused.
    pub fn new(program: &Program) -> Result<Self, LoadError> {
        Ok(Self { spent: program.spent()? })
    }

    /// Clears what is left of those who had the numbers before. It must come before the
    /// configuration that names them.
    ///
    /// # Errors
    /// Returns what the kernel refused.
    pub fn begin(
        &mut self,
        program: &mut Program,
        numbers: impl IntoIterator<Item = u16>,
    ) -> Result<(), LoadError> {
        for number in numbers {
            for way in Way::ALL {
                let entry = way.entry(number);
                // Nothing spent is a whole burst.
                self.spent.set(entry as usize, &of_spent(Spent::default()));
                program.clear_credit(entry)?;
            }
        }
        Ok(())
    }

    /// Reads the counters.
    ///
    /// # Errors
    /// Returns what the kernel refused.
    pub fn counters(
        &self,
        program: &mut Program,
        limiters: &Limiters,
    ) -> Result<Vec<LimiterCounters>, LoadError> {
        let credit = program.credit()?;
        let mut all = Vec::new();
        for ((policy, listener), number) in limiters.iter() {
            for way in Way::ALL {
                let values = credit
                    .get(&way.entry(number), 0)
                    .map_err(|source| LoadError::Map { name: CREDIT_MAP, source })?;
                let [_, words @ ..] = sum(&values.iter().copied().collect::<Vec<_>>());
                let (policy, listener) = (policy.to_string(), listener.to_string());
                all.push(LimiterCounters { policy, listener, way, words });
            }
        }
        Ok(all)
    }
}
