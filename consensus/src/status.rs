//! What a node knows about its cluster, as a value that is republished whenever it changes.

use std::collections::BTreeMap;

use crate::ids::{NodeAddresses, NodeId, Revision};

/// The part that this node plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RaftState {
    /// Receives the log without a vote, or is not yet in a cluster.
    #[default]
    Learner,
    /// Receives the log and votes.
    Follower,
    /// Asks for votes.
    Candidate,
    /// Orders the log.
    Leader,
    /// Stopped.
    Shutdown,
}

impl RaftState {
    /// The name in lower case, as the status shows it.
    pub fn as_str(self) -> &'static str {
        match self {
            RaftState::Learner => "learner",
            RaftState::Follower => "follower",
            RaftState::Candidate => "candidate",
            RaftState::Leader => "leader",
            RaftState::Shutdown => "shutdown",
        }
    }
}

/// One member as the log's membership has it, with what the leader knows of its progress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Whether it votes.
    pub voter: bool,
    /// Where it is.
    pub addresses: NodeAddresses,
    /// The last log index that it is known to hold; only the leader knows.
    pub matched: Option<u64>,
    /// Milliseconds since it last acknowledged the leader; only the leader knows.
    pub last_contact_ms: Option<u64>,
}

/// The state of Raft on this node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RaftStatus {
    /// This node, `None` only before the start.
    pub node: Option<NodeId>,
    /// The current term.
    pub term: u64,
    /// The leader, when one is known.
    pub leader: Option<NodeId>,
    /// The part that this node plays.
    pub state: RaftState,
    /// The last entry that is applied here.
    pub last_applied: Revision,
    /// The last entry that this node knows to be committed.
    pub committed: Revision,
    /// The last entry in the newest snapshot.
    pub snapshot: Revision,
    /// The last entry in this node's log.
    pub last_log: u64,
    /// All members.
    pub members: BTreeMap<NodeId, Member>,
}

impl RaftStatus {
    /// Whether this node belongs to a formed cluster.
    pub fn initialized(&self) -> bool {
        !self.members.is_empty()
    }
}
