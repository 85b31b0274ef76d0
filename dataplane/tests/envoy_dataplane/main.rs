//! A whole data plane with a real Envoy, fed by a control node whose every word the test decides.

#![expect(clippy::unwrap_used, reason = "a test stops where something is not as it should be")]

mod cold_start;
mod control;
mod hand_over;
mod host;
mod process;
mod refusal;
