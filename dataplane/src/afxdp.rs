//! What waits in user space: packets over a limit, by class, until their limiter lets them go.
//!
//! ```text
//! push ─▶ lane (one a limiter and direction) ─▶ turns (P0, then P1 to P3 by weight) ─▶ pull
//!            │ too long, too many: dropped           │ the limiter's word, shared with XDP
//! ```
//! The scheduler does no I/O and has no clock: the time comes in, packets and what is to be done with
//! them come out.

pub mod clock;
pub mod lane;
pub mod scheduler;
pub mod shape;
pub mod sojourn;

#[cfg(test)]
mod tests;
