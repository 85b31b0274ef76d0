//! openraft on our storage and our network: the only part of the workspace that names it.

pub(crate) mod command;
#[cfg(test)]
mod conformance;
pub(crate) mod convert;
pub(crate) mod leader_calls;
pub(crate) mod log_storage;
pub(crate) mod network;
pub(crate) mod peers;
pub(crate) mod recovery;
pub(crate) mod server;
pub(crate) mod service;
pub(crate) mod state_machine;
pub(crate) mod transport;

use std::net::SocketAddr;

use openraft::impls::leader_id_std;

pub(crate) use command::Command;

use crate::ids::NodeAddresses;
use crate::state::apply::Outcome;

/// What the membership holds of each member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node(pub(crate) NodeAddresses);

/// Stands for no node; openraft's suite wants one.
impl Default for Node {
    fn default() -> Self {
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let (name, zone) = (String::new(), String::new());
        Self(NodeAddresses { name, api: nowhere, raft: nowhere, push: nowhere, zone })
    }
}

openraft::declare_raft_types!(
    /// The types that openraft is used with.
    pub(crate) Types:
        D = Command,
        R = Outcome,
        NodeId = u64,
        Node = Node,
        LeaderId = leader_id_std::LeaderId<Self::Term, Self::NodeId>,
);

pub(crate) type Raft = openraft::Raft<Types, state_machine::StateMachine>;
pub(crate) type LogId = openraft::type_config::alias::LogIdOf<Types>;
pub(crate) type Vote = openraft::type_config::alias::VoteOf<Types>;
pub(crate) type Entry = openraft::type_config::alias::EntryOf<Types>;
pub(crate) type Membership = openraft::Membership<u64, Node>;
pub(crate) type StoredMembership = openraft::type_config::alias::StoredMembershipOf<Types>;
pub(crate) type SnapshotMeta = openraft::type_config::alias::SnapshotMetaOf<Types>;
pub(crate) type Snapshot =
    openraft::type_config::alias::SnapshotOf<Types, crate::snap::SnapshotFile>;
