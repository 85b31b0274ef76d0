//! What the leader does about the members next. Pure.

use consensus::{RaftState, RaftStatus};
use model::cluster::NodeId;

/// Voters that a cluster grows to by itself: five bear the loss of two, more only slow commits.
pub(crate) const VOTERS_WANTED: usize = 5;

/// Entries that a learner may lack: what a busy leader commits within a heartbeat or two.
const BEHIND_MAX: u64 = 100;
/// Silence after which a learner is not promoted: a vote that does not answer weakens the quorum.
const SILENT_MAX_MS: u64 = 1_000;

/// The learner to promote now, if this node leads and one is ready; the lowest id first.
pub(crate) fn next_promotion(status: &RaftStatus) -> Option<NodeId> {
    if status.state != RaftState::Leader {
        return None;
    }
    let voters = status.members.values().filter(|member| member.voter);
    if voters.clone().count() >= VOTERS_WANTED {
        return None;
    }
    // A new voter raises the quorum: not while a voter is silent.
    let silent = |ms: Option<u64>| ms.is_none_or(|ms| ms > SILENT_MAX_MS);
    let own = status.node;
    let quiet = status
        .members
        .iter()
        .any(|(node, member)| member.voter && Some(*node) != own && silent(member.last_contact_ms));
    if quiet {
        return None;
    }
    status.members.iter().find_map(|(node, member)| {
        let behind = status.last_log.saturating_sub(member.matched?);
        let ready = !member.voter && behind <= BEHIND_MAX && !silent(member.last_contact_ms);
        ready.then_some(*node)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use consensus::Member;
    use model::cluster::NodeAddresses;

    use super::*;

    fn member(voter: bool, matched: Option<u64>, last_contact_ms: Option<u64>) -> Member {
        let at = "10.0.0.1:1".parse().unwrap();
        let addresses =
            NodeAddresses { name: String::new(), api: at, raft: at, push: at, zone: String::new() };
        Member { voter, addresses, matched, last_contact_ms }
    }

    fn status(state: RaftState, others: Vec<Member>) -> RaftStatus {
        let mut members = BTreeMap::from([(NodeId(1), member(true, Some(1000), None))]);
        members.extend(others.into_iter().zip(2..).map(|(member, id)| (NodeId(id), member)));
        RaftStatus { node: Some(NodeId(1)), state, last_log: 1000, members, ..Default::default() }
    }

    #[test]
    fn only_a_leader_promotes_and_only_one_who_is_ready() {
        let check = |state, others, expected: Option<u64>| {
            assert_eq!(next_promotion(&status(state, others)), expected.map(NodeId));
        };
        let ready = || member(false, Some(900), Some(1_000));
        let voter = || member(true, Some(1000), Some(10));
        check(RaftState::Leader, vec![], None);
        check(RaftState::Leader, vec![ready()], Some(2));
        check(RaftState::Follower, vec![ready()], None);
        check(RaftState::Leader, vec![member(false, Some(899), Some(10))], None);
        check(RaftState::Leader, vec![member(false, None, Some(10))], None);
        check(RaftState::Leader, vec![member(false, Some(1000), Some(1_001))], None);
        check(RaftState::Leader, vec![member(false, Some(1000), None)], None);
        check(RaftState::Leader, vec![voter(), member(false, None, None), ready()], Some(4));
        check(RaftState::Leader, vec![member(true, Some(5), Some(1_001)), ready()], None);
        check(RaftState::Leader, vec![voter(), voter(), voter(), ready()], Some(5));
        check(RaftState::Leader, vec![voter(), voter(), voter(), voter(), ready()], None);
    }
}
