//! An engine apart from the one that runs, and what it takes of that one.

use model::Revision;

use super::{Engine, EngineError, Settings};
use crate::xdp::{
    flows::FlowNames,
    program::{Program, Sizes},
    vlans::Vlans,
};

/// What must be known of an engine to make another like it.
#[derive(Clone, Debug)]
pub struct Likeness {
    /// Its settings.
    pub settings: Settings,
    /// How large its tables are.
    pub sizes: Sizes,
    /// How many records its configuration's map has.
    pub records: u32,
    /// The revision that it runs, once it does.
    pub running: Option<Revision>,
}

impl Engine {
    /// Returns what must be known of it to make another like it.
    #[must_use]
    pub fn likeness(&self) -> Likeness {
        Likeness {
            settings: self.settings.clone(),
            sizes: self.program.sizes(),
            records: self.generations.map_records(),
            running: self.running,
        }
    }

    /// Makes an engine apart from the one that runs, which sees the same node: in no interface, with
    /// maps of its own, and without a word to anybody.
    ///
    /// # Errors
    /// Returns what the host or the kernel refused.
    pub fn apart(likeness: &Likeness) -> Result<Self, EngineError> {
        let program = Program::apart(likeness.sizes, likeness.records)?;
        let mut engine = Self::with(likeness.settings.clone(), program)?;
        engine.apart = true;
        Ok(engine)
    }

    /// Gives its program and what the numbers in its events stand for.
    #[must_use]
    pub fn into_parts(self) -> (Program, FlowNames) {
        (self.program, self.names)
    }

    /// Returns what the numbers in events of flows stand for.
    #[must_use]
    pub fn names(&self) -> &FlowNames {
        &self.names
    }

    /// Returns the VLANs of the host.
    #[must_use]
    pub fn vlans(&self) -> &Vlans {
        &self.vlans
    }
}
