//! The identifiers and addresses that the replicated log speaks about, as the model defines them.
//!
//! What gives an id its authority (certificates, the cluster CA) lives outside this crate.

pub use model::Revision;
pub use model::cluster::{NodeAddresses, NodeId};
