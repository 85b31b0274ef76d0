//! What waits in user space: packets over a limit, by class, until their limiter lets them go.
//!
//! ```text
//! XDP ─ over the limit, rewritten ─▶ AF_XDP socket of the queue ─▶ worker ─▶ out, when its turn comes
//!                                                                    │
//! push ─▶ lane (one a limiter and direction) ─▶ turns (P0, then P1 to P3 by weight) ─▶ pull
//!            │ too long, too many: dropped           │ the limiter's word, shared with XDP
//! ```
//! The scheduler does no I/O and has no clock: the time comes in, packets and what is to be done with
//! them come out. A worker is a thread for a queue of an interface; the crew has one at each queue as
//! long as a policy lets something wait. Worker and XDP share a limiter's word, so together they keep
//! its rate, and the count of its packets that wait, by which XDP sends the others behind them.

pub mod clock;
pub mod crew;
pub mod frame;
pub mod gates;
pub mod host;
pub mod io;
pub mod lane;
pub mod mark;
pub mod memory;
pub mod outlet;
pub mod placement;
pub mod priority;
pub mod scheduler;
pub mod shape;
pub mod socket;
pub mod sojourn;
pub mod tally;
pub mod view;
pub mod words;
pub mod worker;

#[cfg(test)]
mod tests;
