//! The data plane of a node: it follows the control nodes' configuration and makes Envoy and the
//! XDP program carry it out.

pub mod admin;
pub mod desired;
pub mod lkg;
pub mod metrics;
pub mod subscriber;
pub mod tasks;
pub mod xdp;
pub mod envoy;
pub mod l7;
pub mod xds;

pub use desired::{Changed, Desired, DesiredReceiver};
