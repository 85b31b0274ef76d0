//! Nodes of a cluster.

use std::{fmt, net::SocketAddr};

use serde::{Deserialize, Serialize};

/// Numbers a node; never used again after the node has left.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct NodeId(pub u64);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where a node is reached; hints, since identity is in the certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeAddresses {
    /// The node's name for people; its host name by default.
    pub name: String,
    /// HTTPS API.
    pub api: SocketAddr,
    /// Raft over gRPC.
    pub raft: SocketAddr,
    /// Push over QUIC.
    pub push: SocketAddr,
    /// The failure domain; may be empty.
    #[serde(default)]
    pub zone: String,
}
