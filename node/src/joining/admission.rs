//! The member's side of joining: secrets are made, consumed by compare-and-set, and paid out in
//! certificates and membership.
//!
//! The order makes it repeatable: the node id and its key are written into the secret's record in
//! one transaction; whatever fails after that, the same key gets the same id again.

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use consensus::{
    Compare, Consensus, Consistency, MembershipError, Op, ProposeError, Transaction, View,
};
use model::{
    api::{JoinRequest, JoinResponse, NodeInfo},
    cluster::{NodeAddresses, NodeId},
};
use runtime::identity::{PeerIdentity, Role};
use tokio::time::Instant;

use super::{
    JoinError, JoinGrant, JoinLine,
    line::{JoinRole, TTL_DEFAULT, TTL_MAX, TTL_MIN},
    secret::{Admission, Secret, Use, admit, check_clock, spent},
};
use crate::{
    certificates::{Certificates, IssueError},
    control::store::{JOIN, removed_key},
    membership::members,
    tokens::{TokenError, fingerprint, now_ms, random_text},
};

/// What every join secret starts with, so that scanners for leaked secrets can find it.
const PREFIX: &str = "mpj_";
/// How long a membership change may wait for others: three joiners at once take turns.
const CHANGE_WITHIN: Duration = Duration::from_secs(30);
/// Between two attempts at a membership change: a change takes a few round trips.
const CHANGE_RETRY: Duration = Duration::from_millis(100);

/// Spent secrets that go with one transaction; the next one takes the next.
const PURGED_MAX: usize = 100;

/// Lets nodes in; clones share everything.
#[derive(Clone)]
pub(crate) struct Admissions {
    consensus: Consensus,
    certificates: Certificates,
}

impl Admissions {
    pub(crate) fn new(consensus: Consensus, certificates: Certificates) -> Self {
        Self { consensus, certificates }
    }

    /// Makes a secret and the line that carries it.
    pub(crate) async fn create_line(
        &self,
        actor: &str,
        ttl: Option<Duration>,
    ) -> Result<JoinLine, TokenError> {
        let ttl = ttl.unwrap_or(TTL_DEFAULT);
        if !(TTL_MIN..=TTL_MAX).contains(&ttl) {
            return Err(TokenError::TimeToLive);
        }
        let text = random_text(PREFIX);
        let ttl_ms = u64::try_from(ttl.as_millis()).expect("seven days fit");
        let expires_ms = now_ms() + ttl_ms;
        let secret = Secret { expires_ms, created_by: actor.to_owned(), used: None };
        let unavailable = |reason: String| TokenError::Unavailable { reason };
        let view = self.consensus.read(Consistency::Stale).await;
        let mut ops = purge(&view.map_err(|error| unavailable(error.to_string()))?);
        ops.push(Op::Put { key: key_of(&text), value: encode(&secret) });
        let transaction = Transaction::new(actor, "create join secret", ops);
        self.consensus
            .propose(transaction)
            .await
            .map_err(|error| unavailable(error.to_string()))?;
        let identity = self.certificates.identity();
        Ok(JoinLine {
            cluster: identity.cluster().clone(),
            pin: identity.pin(),
            api: self.apis(identity.node()),
            role: JoinRole::Control,
            secret: text,
            expires_ms,
        })
    }

    /// The APIs of all members, this node's first.
    fn apis(&self, own: runtime::identity::NodeId) -> Vec<SocketAddr> {
        let status = self.consensus.status().borrow().clone();
        let mut members: Vec<_> = status.members.iter().collect();
        members.sort_by_key(|(node, _)| (node.0 != own.0, node.0));
        members.into_iter().map(|(_, member)| member.addresses.api).collect()
    }

    /// Lets a node in, or in again.
    pub(crate) async fn admit(
        &self,
        secret: &str,
        request: JoinRequest,
    ) -> Result<JoinGrant, JoinError> {
        let key = public_key(&request.csr)?;
        let admission = self.look(secret, &key).await?;
        check_clock(request.time_ms, now_ms())?;
        let node = match admission {
            Admission::Again(node) => node,
            Admission::Fresh => self.consume(secret, &key, &request.addresses).await?,
        };
        let identity = self.certificates.identity();
        let peer = |role| PeerIdentity {
            cluster: identity.cluster().clone(),
            node: runtime::identity::NodeId(node.0),
            role,
        };
        let certificate = self.certificates.issue(&request.csr, &peer(Role::Control)).await?;
        let dataplane_certificate =
            self.certificates.issue(&request.dataplane_csr, &peer(Role::DataPlane)).await?;
        self.add(node, request.addresses).await?;
        tracing::info!(%node, "let a node in");
        Ok(JoinGrant {
            response: JoinResponse {
                cluster: identity.cluster().to_string(),
                node,
                certificate,
                dataplane_certificate,
                authority: identity.ca_pem().to_owned(),
                members: self.members(),
            },
            cluster_key: self.certificates.cluster_key().to_text().to_string(),
        })
    }

    fn members(&self) -> Vec<NodeInfo> {
        // A joiner wants their addresses, and finds out itself whom it reaches.
        members(&self.consensus.status().borrow(), &BTreeSet::new())
    }

    async fn look(&self, secret: &str, key: &str) -> Result<Admission, JoinError> {
        let view = self.consensus.read(Consistency::Linearizable).await.map_err(unavailable)?;
        let stored = view.get(&key_of(secret)).and_then(|stored| decode(&stored.value));
        let admission = admit(stored.as_ref(), key, now_ms())?;
        match admission {
            Admission::Again(node) if view.get(&removed_key(node)).is_some() => {
                Err(JoinError::Removed { node })
            }
            admission => Ok(admission),
        }
    }

    /// Numbers the node and writes number and key into the secret's record; the first one wins.
    async fn consume(
        &self,
        secret: &str,
        key: &str,
        addresses: &NodeAddresses,
    ) -> Result<NodeId, JoinError> {
        self.refuse_members(addresses)?;
        let node = self.consensus.allocate_node_id().await.map_err(unavailable)?;
        let view = self.consensus.read(Consistency::Linearizable).await.map_err(unavailable)?;
        let at = key_of(secret);
        let Some(stored) = view.get(&at) else { return Err(JoinError::Wrong) };
        let record = decode(&stored.value).ok_or(JoinError::Wrong)?;
        if let Admission::Again(node) = admit(Some(&record), key, now_ms())? {
            return Ok(node);
        }
        let used = Secret { used: Some(Use { node, key: key.to_owned() }), ..record };
        let mut ops = purge(&view);
        ops.push(Op::Put { key: at.clone(), value: encode(&used) });
        let mut transaction =
            Transaction::new(used.created_by.clone(), format!("node {node} joins"), ops);
        transaction.compare =
            vec![Compare::KeyRevision { key: at, revision: Some(stored.mod_revision) }];
        match self.consensus.propose(transaction).await {
            Ok(_) => Ok(node),
            Err(ProposeError::Conflict { .. }) => match self.look(secret, key).await? {
                Admission::Again(node) => Ok(node),
                Admission::Fresh => Err(JoinError::Unavailable {
                    reason: "the join secret changed while it was used".to_owned(),
                }),
            },
            Err(error) => Err(unavailable(error)),
        }
    }

    fn refuse_members(&self, addresses: &NodeAddresses) -> Result<(), JoinError> {
        let status = self.consensus.status().borrow().clone();
        for (node, member) in &status.members {
            let theirs = &member.addresses;
            let pairs = [
                (theirs.raft, addresses.raft),
                (theirs.api, addresses.api),
                (theirs.push, addresses.push),
            ];
            if let Some((address, _)) = pairs.into_iter().find(|(theirs, new)| theirs == new) {
                return Err(JoinError::Member { node: *node, address });
            }
        }
        Ok(())
    }

    /// Adds the learner; changes are made one at a time, so this takes its turn.
    async fn add(&self, node: NodeId, addresses: NodeAddresses) -> Result<(), JoinError> {
        let deadline = Instant::now() + CHANGE_WITHIN;
        loop {
            match self.consensus.add_learner(node, addresses.clone()).await {
                Ok(()) => return Ok(()),
                Err(error) => {
                    let temporary = matches!(
                        error,
                        MembershipError::InProgress
                            | MembershipError::NoLeader { .. }
                            | MembershipError::OutcomeUnknown { .. }
                    );
                    if !temporary || Instant::now() >= deadline {
                        return Err(unavailable(error));
                    }
                }
            }
            tokio::time::sleep(CHANGE_RETRY).await;
        }
    }
}

/// The removal of secrets that are spent by the time of the log.
fn purge(view: &View) -> Vec<Op> {
    view.scan(JOIN)
        .filter(|(_, stored)| {
            decode(&stored.value).is_some_and(|secret| spent(&secret, view.time_ms()))
        })
        .take(PURGED_MAX)
        .map(|(key, _)| Op::Delete { key: key.to_owned() })
        .collect()
}

fn key_of(secret: &str) -> String {
    format!("{JOIN}{}", fingerprint(secret))
}

fn encode(secret: &Secret) -> bytes::Bytes {
    serde_json::to_vec(secret).expect("it has string keys only").into()
}

fn decode(stored: &[u8]) -> Option<Secret> {
    serde_json::from_slice(stored).ok()
}

/// SHA-256 of the public key in a certificate request, after the proof that its owner made it.
fn public_key(csr: &str) -> Result<String, JoinError> {
    use rcgen::PublicKeyData as _;
    use sha2::Digest as _;
    let refuse = |error| IssueError::Authority(runtime::identity::AuthorityError::Request(error));
    let request = rcgen::CertificateSigningRequestParams::from_pem(csr).map_err(refuse)?;
    Ok(hex::encode(sha2::Sha256::digest(request.public_key.subject_public_key_info())))
}

fn unavailable(error: impl std::fmt::Display) -> JoinError {
    JoinError::Unavailable { reason: error.to_string() }
}
