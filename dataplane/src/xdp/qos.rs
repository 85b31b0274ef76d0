//! QoS policies: what of them lies in the records of a configuration, and what they have done.
//!
//! ```text
//! planner ─▶ Carried.policy ─▶ treatments ─▶ records of the image    (pure)
//!                                  └─▶ limiters: numbers ─▶ kernel's counters and credit
//! ```
//! A change of a policy is a change of records, in force with the generation. What a limiter has
//! let through is known by its number, which it keeps as long as its policy is for its listener,
//! also over a restart of the process.

pub mod kernel;
pub mod limiters;
pub mod meter;
pub mod rate;
pub mod report;
pub mod shares;
pub mod treatments;

use std::sync::Arc;

use model::{ObjectKey, QosPolicy};

/// A policy that is for a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Which one.
    pub key: ObjectKey,
    /// What it says.
    pub spec: Arc<QosPolicy>,
}
