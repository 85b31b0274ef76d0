//! The data plane of a node: it follows the control nodes' configuration and makes Envoy and the
//! XDP program carry it out.
//!
//! [`run`] is the whole of it; [`root`] shows the actors and how they are restarted.
//!
//! **Architecture invariants.** Nothing here asks a control node before it acts on what it knows:
//! with all of them gone, and after a cold start, traffic goes on. Engines know [`Desired`] only,
//! never the push protocol.

pub mod acme;
pub mod admin;
pub mod afxdp;
pub mod announce;
pub mod certificates;
pub mod config;
pub mod desired;
pub mod detach;
pub mod doctor;
pub mod envoy;
pub mod hand_over;
pub mod l7;
pub mod lkg;
pub mod metrics;
pub mod modules;
mod netlink;
pub mod preflight;
pub mod quotas;
pub mod root;
pub mod secret_files;
pub mod shares;
pub mod subscriber;
pub mod tasks;
pub mod xdp;
pub mod xds;

pub use certificates::Certificates;
pub use config::Config;
pub use desired::{Changed, Desired, DesiredReceiver};
pub use detach::{DetachError, detach};
pub use hand_over::HandOver;
pub use modules::Modules;
pub use root::{DataPlane, RunError, run};
