//! The data plane of a node: it follows the control nodes' configuration and makes Envoy and the
//! XDP program carry it out.

pub mod desired;

pub use desired::{Changed, Desired, DesiredReceiver};
