//! The packet filter: makes the kernel's tables follow the `PacketFilter`s of a configuration.
//!
//! ```text
//! Snapshot ─▶ rules ─▶ classes ─▶ v4, v6 ─▶ tables ─▶ kernel      (pure up to tables)
//! ```
//! A change costs what changed: of IPv4 the /16s concerned are made anew beside the old ones, and
//! one front, which refers to old and new ones, replaces the front before it; so a packet sees one
//! filter. A process that finds the filter of an earlier one leaves it in force, makes its own in
//! the other bank of the arena, and then replaces it.

pub mod arena;
pub mod classes;
pub mod counters;
pub mod kernel;
pub mod rates;
pub mod rules;
pub mod tables;
pub mod v4;
pub mod v6;

use std::{
    io,
    time::{SystemTime, UNIX_EPOCH},
};

use ebpf_common::{
    filter::{BANK_CHUNKS, BANKS},
    qos::Spent,
};
use model::{Kind, Snapshot};

use self::{
    counters::CounterNumbers,
    kernel::{Chunks, Kernel},
    tables::{Tables, TablesError},
};
use super::{
    flows::names::FilterNames,
    program::{LoadError, Program},
    qos::ticks::Pace,
    record::of_spent,
};

/// Tells why the kernel does not run the filter that is desired; what it ran before it still runs.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// The maps cannot be used.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// There are no tables for it.
    #[error(transparent)]
    Tables(#[from] TablesError),
    /// The kernel did not take them.
    #[error("the packet filter's maps")]
    Kernel(#[source] io::Error),
}

/// What a rule has done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleCounters {
    /// The rule, `kind/namespace/name rules[index]`.
    pub rule: String,
    /// Packets that it has dropped.
    pub dropped: u64,
    /// Sources that lost their place in the table to others before they had saved up a whole burst.
    pub displaced: u64,
}

/// The filter that runs.
#[derive(Debug, Default)]
pub struct Filter {
    /// What rates are made with.
    pace: Pace,
    /// What was followed last.
    config: Option<Snapshot>,
    /// None when there is no filter, or none of this process.
    tables: Option<Tables>,
    chunks: Chunks,
    counters: CounterNumbers,
    /// The number of the front in force, or of the last attempt at one.
    serial: u32,
    /// What that number stands for, until it is asked for.
    names: Option<FilterNames>,
}

impl Filter {
    /// Begins without a filter.
    #[must_use]
    pub fn new(pace: Pace) -> Self {
        Self { pace, ..Self::default() }
    }

    /// Makes the kernel run the filters of a configuration; does nothing where it already does.
    ///
    /// # Errors
    /// Returns why it does not; the next attempt begins anew.
    pub fn follow(&mut self, config: &Snapshot, program: &mut Program) -> Result<(), FilterError> {
        if self.config.as_ref().is_some_and(|followed| is_same(followed, config)) {
            self.config = Some(config.clone());
            return Ok(());
        }
        let followed = self.change(config, program);
        self.config = followed.is_ok().then(|| config.clone());
        if followed.is_err() {
            // They may be half of each; the next ones go into the other bank.
            self.tables = None;
        }
        followed
    }

    fn change(&mut self, config: &Snapshot, program: &mut Program) -> Result<(), FilterError> {
        if config.packet_filters().next().is_none() {
            let outer = program.filter_fd()?;
            kernel::remove(outer).map_err(FilterError::Kernel)?;
            kernel::release(outer, &mut self.chunks, |_| false).map_err(FilterError::Kernel)?;
            self.tables = None;
            self.counters = CounterNumbers::default();
            return Ok(());
        }
        if let Some(mut tables) = self.tables.take() {
            match self.install(&mut tables, config, program) {
                // Classes that no address is in any more are counted until the tables are new.
                Err(FilterError::Tables(_)) => {}
                outcome => {
                    self.tables = Some(tables);
                    return outcome;
                }
            }
        }
        let in_force = {
            let outer = program.filter()?;
            let kernel = Kernel { outer, chunks: &mut self.chunks };
            kernel.bank().map_err(FilterError::Kernel)?
        };
        let bank = in_force.map_or(0, |bank| (bank + 1) % BANKS);
        let of_bank = |chunk: u32| chunk / BANK_CHUNKS == bank;
        // What an attempt that failed has left.
        self.release(program, |chunk| !of_bank(chunk))?;
        let mut tables = Tables::new(bank, self.pace);
        self.install(&mut tables, config, program)?;
        self.tables = Some(tables);
        self.release(program, of_bank)
    }

    fn release(
        &mut self,
        program: &mut Program,
        stay: impl Fn(u32) -> bool,
    ) -> Result<(), FilterError> {
        let outer = program.filter_fd()?;
        kernel::release(outer, &mut self.chunks, stay).map_err(FilterError::Kernel)
    }

    fn install(
        &mut self,
        tables: &mut Tables,
        config: &Snapshot,
        program: &mut Program,
    ) -> Result<(), FilterError> {
        let outer = program.filter()?;
        let mut kernel = Kernel { outer, chunks: &mut self.chunks };
        tables.update(config, &mut kernel)?;
        let fresh = self.counters.give(&tables.rules().order);
        if !fresh.is_empty() {
            let mut spent = program.filter_spent()?;
            for number in fresh {
                // Nothing spent is a whole burst.
                spent.set(number.into(), &of_spent(Spent::default()));
                program.clear_filter_rule(number)?;
            }
        }
        self.serial = next_serial(self.serial);
        let front = tables.front(&self.counters, self.serial);
        let outer = program.filter()?;
        let mut kernel = Kernel { outer, chunks: &mut self.chunks };
        kernel.install(&front).map_err(FilterError::Kernel)?;
        let order = tables.rules().order.clone();
        let (serial, revision) = (self.serial, config.revision());
        self.names = Some(FilterNames { serial, revision, order });
        tables.settle();
        Ok(())
    }

    /// Returns what the number of the filter in force stands for, once.
    pub fn take_names(&mut self) -> Option<FilterNames> {
        self.names.take()
    }

    /// Reads what each rule has done.
    ///
    /// # Errors
    /// Returns what the kernel refused.
    pub fn counters(&self, program: &Program) -> Result<Vec<RuleCounters>, LoadError> {
        let read = program.filter_rules()?;
        self.counters
            .iter()
            .map(|((filter, index), number)| {
                let [_, dropped, displaced] = read(number)?;
                Ok(RuleCounters { rule: format!("{filter} rules[{index}]"), dropped, displaced })
            })
            .collect()
    }
}

/// Returns another number: after those of the process before, which began with the time of its
/// start.
fn next_serial(last: u32) -> u32 {
    if last == 0 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        return (now.as_secs() as u32).max(1);
    }
    last.wrapping_add(1).max(1)
}

/// Tells whether two configurations have the same filters and lists.
fn is_same(old: &Snapshot, new: &Snapshot) -> bool {
    let concerns = |kind| matches!(kind, Kind::PacketFilter | Kind::PrefixList);
    !old.diff(new).iter().any(|change| change.of_spec().is_some() && concerns(change.key().kind))
}

#[cfg(test)]
#[path = "filter/tests.rs"]
mod tests;
