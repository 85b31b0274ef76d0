//! Which Envoy of the node is told the configuration, while two run for the time of a hot restart.

use std::sync::Arc;

/// The Envoy that takes, or is to take, the node's traffic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leading {
    /// What tells its start from all others; none before the first, when any is told.
    pub instance: Option<Arc<str>>,
    /// Whether it can be asked by its admin interface: one that an Envoy that failed was to take
    /// over from has closed that for good.
    pub admin: bool,
}

impl Default for Leading {
    fn default() -> Self {
        Self { instance: None, admin: true }
    }
}

impl Leading {
    /// Tells whether an Envoy is told nothing: another one of its node leads.
    #[must_use]
    pub fn passes_over(&self, instance: &str) -> bool {
        !instance.is_empty() && self.instance.as_deref().is_some_and(|leads| leads != instance)
    }
}
