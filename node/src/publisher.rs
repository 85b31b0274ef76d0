//! The publisher: pushes the configuration to data planes and takes their reports.
//!
//! A QUIC server with mutual TLS. Each data plane has one session ([`session`]): a snapshot or the
//! deltas since its revision, then a delta for each revision straight from the watch. Other control
//! nodes have a session each that streams this node's part of the ledger ([`peers`]).
//!
//! A session keeps a position in the history, not a queue: a slow data plane costs nothing, and is
//! cut when a frame does not leave within [`session::WRITE_WITHIN`]; it resumes when it comes back.

pub(crate) mod endpoint;
pub(crate) mod peers;
mod session;

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};
use std::{collections::HashMap, time::Duration};

use consensus::Consensus;
use model::cluster::NodeId;
use quinn::{Connection, Endpoint, Incoming, VarInt};
use runtime::{
    identity::{ClusterId, Role},
    push::{FromPlane, HealthUpdate, ToPlane, connected_peer},
};
use tokio::{sync::watch, task::JoinSet};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{
    announce::Lease,
    certificates::Certificates,
    control::configuration::Configuration,
    ledger::Ledger,
    membership::removal::Removed,
    quotas::{self, Quotas},
    rollout::Traffic,
    shares::Shares,
};

/// Sessions at a time: far above fifty nodes and their reconnects, far below what memory bears.
const SESSIONS_MAX: usize = 1_024;
/// Time for a client to shake hands, open its stream and say who it is.
const HELLO_WITHIN: Duration = Duration::from_secs(10);

/// What every session uses.
#[derive(Clone)]
pub(crate) struct Publisher {
    pub(crate) consensus: Consensus,
    pub(crate) configuration: Configuration,
    pub(crate) ledger: Ledger,
    pub(crate) health: watch::Receiver<Option<HealthUpdate>>,
    pub(crate) lease: watch::Receiver<Option<Lease>>,
    pub(crate) shares: Shares,
    pub(crate) traffic: Traffic,
    pub(crate) quotas: Quotas,
    pub(crate) certificates: Certificates,
    pub(crate) removed: Removed,
    pub(crate) cluster: ClusterId,
    pub(crate) node: NodeId,
    pub(crate) sessions: Sessions,
}

impl Publisher {
    /// Accepts sessions until the token is cancelled, then takes leave of all.
    pub(crate) async fn run(
        self,
        endpoint: Endpoint,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        let mut sessions = JoinSet::new();
        loop {
            tokio::select! {
                incoming = endpoint.accept() => {
                    let Some(incoming) = incoming else { anyhow::bail!("the QUIC endpoint closed") };
                    if sessions.len() >= SESSIONS_MAX {
                        incoming.refuse();
                        continue;
                    }
                    sessions.spawn(self.clone().serve(incoming, stop.clone()));
                }
                Some(ended) = sessions.join_next() => {
                    if let Err(error) = ended && error.is_panic() {
                        tracing::error!(%error, "a push session panicked");
                    }
                }
                () = stop.cancelled() => break,
            }
        }
        while sessions.join_next().await.is_some() {}
        Ok(())
    }

    async fn serve(self, incoming: Incoming, stop: CancellationToken) {
        let remote = incoming.remote_address();
        let accepted = async {
            let connection = incoming.await?;
            let stream = connection.accept_bi().await?;
            Ok::<_, quinn::ConnectionError>((connection, stream))
        };
        let (connection, (send, receive)) = match tokio::time::timeout(HELLO_WITHIN, accepted).await
        {
            Ok(Ok(accepted)) => accepted,
            Ok(Err(error)) => {
                tracing::info!(%remote, %error, "a push client was not let in");
                return;
            }
            Err(_) => return,
        };
        let mut link = session::Link::new(send, receive);
        let served = self.session(&connection, &mut link, &stop).await;
        let reason = match &served {
            Ok(()) => "the control process stops".to_owned(),
            Err(error) => error.to_string(),
        };
        tracing::info!(%remote, %reason, "a push session ended");
        link.leave(match served {
            Err(session::SessionEnd::Removed { node }) => {
                ToPlane::Removed { node: runtime::identity::NodeId(node.0) }
            }
            _ => ToPlane::Goodbye { reason: reason.clone() },
        })
        .await;
        connection.close(VarInt::from_u32(0), reason.as_bytes());
    }

    async fn session(
        &self,
        connection: &Connection,
        link: &mut session::Link,
        stop: &CancellationToken,
    ) -> Result<(), session::SessionEnd> {
        let peer = connected_peer(connection)?;
        let node = NodeId(peer.node.0);
        let hello = link.hello(HELLO_WITHIN).await?;
        if self.removed.contains(node) {
            return Err(session::SessionEnd::Removed { node });
        }
        if !self.consensus.status().borrow().members.contains_key(&node) {
            return Err(session::SessionEnd::Stranger { node });
        }
        let asking = quotas::Peer { node, role: peer.role };
        // In a task of its own, so that no large change is in its way.
        let asked = self.clone().asked(connection.clone(), asking);
        let _asked = AbortOnDropHandle::new(tokio::spawn(asked));
        tokio::select! {
            ended = self.served(hello, peer.role, node, link, stop) => ended,
            () = self.removed.wait_for(node) => Err(session::SessionEnd::Removed { node }),
        }
    }

    /// Answers what is asked of limits, a stream after the other, until the connection ends.
    async fn asked(self, connection: Connection, peer: quotas::Peer) {
        while let Ok((send, receive)) = connection.accept_bi().await {
            let (quotas, consensus) = (self.quotas.clone(), self.consensus.clone());
            if let Err(error) = quotas::serve(quotas, consensus, peer, send, receive).await {
                tracing::info!(node = %peer.node, %error, "what is asked of limits is not answered");
            }
        }
    }

    async fn served(
        &self,
        hello: FromPlane,
        role: Role,
        node: NodeId,
        link: &mut session::Link,
        stop: &CancellationToken,
    ) -> Result<(), session::SessionEnd> {
        match (hello, role) {
            (FromPlane::Hello { plane, resume, modules }, Role::DataPlane) => {
                let _open = self.sessions.open(node, self.ledger.clone());
                tracing::info!(%node, version = plane.version, pid = plane.pid, "a data plane connected");
                session::plane(self, link, node, session::Held { resume, modules }, stop).await
            }
            (FromPlane::PeerHello { .. }, Role::Control) => {
                session::peer(self, link, node, stop).await
            }
            _ => Err(session::SessionEnd::Protocol {
                what: "a first message that does not fit the role",
            }),
        }
    }
}

/// Which session of a data plane is its newest: the end of an older one says nothing.
#[derive(Clone, Default)]
pub(crate) struct Sessions {
    newest: Arc<Mutex<HashMap<NodeId, u64>>>,
    next: Arc<AtomicU64>,
}

struct Open {
    sessions: Sessions,
    ledger: Ledger,
    node: NodeId,
    number: u64,
}

impl Sessions {
    fn open(&self, node: NodeId, ledger: Ledger) -> Open {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.newest().insert(node, number);
        ledger.connected(node, true);
        self.count();
        Open { sessions: self.clone(), ledger, node, number }
    }

    fn newest(&self) -> std::sync::MutexGuard<'_, HashMap<NodeId, u64>> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self) {
        metrics::gauge!("marchproxy_push_sessions").set(self.newest().len() as f64);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut newest = self.sessions.newest();
        if newest.get(&self.node) == Some(&self.number) {
            newest.remove(&self.node);
            drop(newest);
            self.ledger.connected(self.node, false);
            self.sessions.count();
        }
    }
}

/// The metrics that are written here, with their meaning.
pub(crate) fn describe() {
    use metrics::{Unit, describe_counter, describe_gauge};
    describe_gauge!("marchproxy_push_sessions", Unit::Count, "Data planes connected to this node");
    describe_counter!("marchproxy_push_deltas_total", Unit::Count, "Deltas pushed to data planes");
    describe_counter!(
        "marchproxy_push_snapshots_total",
        Unit::Count,
        "Whole configurations pushed to data planes"
    );
    describe_counter!(
        "marchproxy_push_modules_total",
        Unit::Count,
        "Modules pushed to data planes"
    );
}
