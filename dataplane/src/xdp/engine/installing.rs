//! Puts an image in force, in the map that there is or in a larger one.

use super::{Engine, EngineError};
use crate::xdp::generation::map_records;

impl Engine {
    /// Tells whether the map should be made larger while nothing waits for it.
    pub(super) fn is_tight(&self) -> bool {
        self.generations.is_tight(self.image.next_length())
    }

    /// Puts the image in force.
    pub(super) fn swap(&mut self) -> Result<(), EngineError> {
        if self.image.length() > self.generations.capacity() {
            return self.enlarge();
        }
        let generation = self.stamp();
        self.generations.install(self.image.sheet())?;
        self.settle(generation);
        Ok(())
    }

    /// Puts the image in force in a larger map, which takes some tenths of a second.
    pub(super) fn enlarge(&mut self) -> Result<(), EngineError> {
        let generation = self.stamp();
        let larger = self.program.larger(map_records(self.image.length())?)?;
        let mut generations = larger.generations()?;
        self.image.sheet().forget_copies();
        generations.take_ways(&self.generations);
        generations.install(self.image.sheet())?;
        self.generations = generations;
        self.settle(generation);
        self.program.replace(larger)?;
        tracing::info!(records = self.generations.capacity(), "XDP maps made larger");
        Ok(())
    }

    fn stamp(&mut self) -> u64 {
        let generation = self.generation + 1;
        let revision = self.planner.plan().revision;
        self.image.stamp(generation, revision.0);
        // Before the first packet that sees it.
        self.names.set_generation(generation, revision);
        self.named.send_replace(self.names.clone());
        generation
    }

    fn settle(&mut self, generation: u64) {
        self.generation = generation;
        self.image.treatments().limiters().settled();
        tracing::debug!(generation, revision = %self.planner.plan().revision, "XDP maps swapped");
    }
}
