//! One session of a push client.

use std::{convert::Infallible, time::Duration};

use consensus::{Batch, Compacted, Consensus, Consistency, WatchError, Watcher};
use model::{ObjectKey, Revision, cluster::NodeId};
use quinn::{RecvStream, SendStream};
use runtime::{
    push::{FrameError, FrameReader, FrameWriter, FromPlane, Resume, ToPlane, snapshot_messages},
    tls::PeerError,
};
use serde_json::Value;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::Publisher;
use crate::{
    announce::Lease,
    control::{
        SnapshotError,
        store::{OBJECTS, configuration_revision, object_of},
    },
    shares::Loan,
};

/// Time for a frame to leave. The flow-control window holds the largest frame, so a client that
/// reads at all takes it in this time.
pub(super) const WRITE_WITHIN: Duration = Duration::from_secs(10);
/// Between two pings.
const PING_EVERY: Duration = Duration::from_secs(3);
/// Silence of a data plane after which it hangs: QUIC's keep-alive tells of a lost host, this of a
/// process that does not work any more.
const SILENT_MAX: Duration = Duration::from_secs(15);
/// Time for the last words.
const LEAVE_WITHIN: Duration = Duration::from_millis(500);

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum SessionEnd {
    #[error(transparent)]
    Peer(#[from] PeerError),
    #[error("the stream failed")]
    Frame(#[from] FrameError),
    #[error("node {node} is not a member")]
    Stranger { node: NodeId },
    #[error("node {node} was removed from the cluster")]
    Removed { node: NodeId },
    #[error("the client sent {what}")]
    Protocol { what: &'static str },
    #[error("the client closed the stream")]
    Closed,
    #[error("the client said nothing for {0:?}")]
    Silent(Duration),
    #[error("the client took no data for {WRITE_WITHIN:?}; it may resume")]
    Slow,
    #[error("this node has revision {applied}, the client {held} already: ask another node")]
    Behind { applied: Revision, held: Revision },
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error("the store stopped")]
    Stopped,
}

/// The stream of a session.
pub(super) struct Link {
    reader: FrameReader<RecvStream, FromPlane>,
    writer: Writer,
}

struct Writer(FrameWriter<SendStream, ToPlane>);

impl Link {
    pub(super) fn new(send: SendStream, receive: RecvStream) -> Self {
        Self { reader: FrameReader::new(receive), writer: Writer(FrameWriter::new(send)) }
    }

    /// The client's first message.
    pub(super) async fn hello(&mut self, within: Duration) -> Result<FromPlane, SessionEnd> {
        timeout(within, self.reader.read())
            .await
            .map_err(|_| SessionEnd::Silent(within))??
            .ok_or(SessionEnd::Closed)
    }

    /// Tells the client the last word, and that nothing follows.
    pub(super) async fn leave(&mut self, goodbye: ToPlane) {
        let leave = async {
            self.writer.0.write(&goodbye).await.ok()?;
            self.writer.0.stream_mut().finish().ok()?;
            self.writer.0.stream_mut().stopped().await.ok()
        };
        // A client that does not hear it finds the connection closed.
        let _ = timeout(LEAVE_WITHIN, leave).await;
    }
}

impl Writer {
    async fn send(&mut self, message: &ToPlane) -> Result<(), SessionEnd> {
        Ok(timeout(WRITE_WITHIN, self.0.write(message)).await.map_err(|_| SessionEnd::Slow)??)
    }
}

/// Serves a data plane until it leaves, fails, or the token is cancelled.
pub(super) async fn plane(
    publisher: &Publisher,
    link: &mut Link,
    node: NodeId,
    resume: Option<Resume>,
    stop: &CancellationToken,
) -> Result<(), SessionEnd> {
    let Link { reader, writer } = link;
    let listen = listen(publisher, reader, node);
    let follow = follow(publisher, writer, node, resume);
    tokio::select! {
        end = listen => end.map(|never| match never {}),
        end = follow => end.map(|never| match never {}),
        () = stop.cancelled() => Ok(()),
    }
}

async fn listen(
    publisher: &Publisher,
    reader: &mut FrameReader<RecvStream, FromPlane>,
    node: NodeId,
) -> Result<Infallible, SessionEnd> {
    loop {
        let message = timeout(SILENT_MAX, reader.read())
            .await
            .map_err(|_| SessionEnd::Silent(SILENT_MAX))??
            .ok_or(SessionEnd::Closed)?;
        match message {
            FromPlane::Reports { reports } => publisher.ledger.engines(node, reports),
            FromPlane::Addresses { addresses } => publisher.ledger.addresses(node, addresses),
            FromPlane::Uses(uses) => publisher.shares.used(node, uses),
            FromPlane::Pong => {}
            FromPlane::Hello { .. } | FromPlane::PeerHello { .. } => {
                return Err(SessionEnd::Protocol { what: "a second hello" });
            }
        }
    }
}

async fn follow(
    publisher: &Publisher,
    writer: &mut Writer,
    node: NodeId,
    resume: Option<Resume>,
) -> Result<Infallible, SessionEnd> {
    let cluster = publisher.cluster.clone();
    let held = resume.filter(|resume| resume.cluster == cluster).map(|resume| resume.revision);
    writer.send(&ToPlane::Welcome { cluster, node: publisher.node }).await?;
    let (mut position, mut watcher) = begin(publisher, writer, held).await?;
    let mut health = publisher.health.clone();
    health.mark_changed();
    let mut lease = publisher.lease.clone();
    lease.mark_changed();
    let mut loan = publisher.shares.loan();
    loan.mark_changed();
    let mut ping = interval(PING_EVERY);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            batch = watcher.next() => match batch {
                Ok(batch) => {
                    if let Some(delta) = delta(position, &batch) {
                        position = batch.revision;
                        publisher.ledger.committed(position);
                        writer.send(&delta).await?;
                        metrics::counter!("marchproxy_push_deltas_total").increment(1);
                    }
                }
                Err(WatchError::Lagged { .. }) => {
                    (position, watcher) = snapshot(publisher, writer).await?;
                }
                Err(WatchError::Stopped) => return Err(SessionEnd::Stopped),
            },
            Ok(()) = health.changed() => {
                let update = health.borrow_and_update().clone();
                if let Some(update) = update {
                    writer.send(&ToPlane::Health(update)).await?;
                }
            }
            // What is this node's is its own data plane's alone.
            Ok(()) = lease.changed(), if node == publisher.node => {
                let grant = lease.borrow_and_update().as_ref().map(Lease::grant);
                if let Some(grant) = grant {
                    writer.send(&ToPlane::Announce(grant)).await?;
                }
            }
            Ok(()) = loan.changed(), if node == publisher.node => {
                let grant = loan.borrow_and_update().as_ref().map(Loan::grant);
                if let Some(grant) = grant {
                    writer.send(&ToPlane::Shares(grant)).await?;
                }
            }
            _ = ping.tick() => writer.send(&ToPlane::Ping).await?,
        }
    }
}

/// Brings the client to a revision from which the watch goes on.
async fn begin(
    publisher: &Publisher,
    writer: &mut Writer,
    held: Option<Revision>,
) -> Result<(Revision, Watcher), SessionEnd> {
    let Some(held) = held else { return snapshot(publisher, writer).await };
    // A client is never led back: this node first catches up with what the client has.
    if publisher.consensus.read(Consistency::AtLeast(held)).await.is_err() {
        let applied = publisher.consensus.status().borrow().last_applied;
        return Err(SessionEnd::Behind { applied, held });
    }
    match watch_after(&publisher.consensus, held) {
        Ok(watcher) => Ok((held, watcher)),
        Err(_) => snapshot(publisher, writer).await,
    }
}

async fn snapshot(
    publisher: &Publisher,
    writer: &mut Writer,
) -> Result<(Revision, Watcher), SessionEnd> {
    loop {
        let snapshot = publisher.configuration.read(Consistency::Stale).await?;
        let revision = snapshot.revision();
        let objects = snapshot.objects().map(|(_, object)| {
            let value = object.to_value();
            let length = value.to_string().len();
            (value, length)
        });
        for message in snapshot_messages(revision, objects.collect()) {
            writer.send(&message).await?;
        }
        metrics::counter!("marchproxy_push_snapshots_total").increment(1);
        // After an error so slow a client that the history went by meanwhile: once more.
        if let Ok(watcher) = watch_after(&publisher.consensus, revision) {
            return Ok((revision, watcher));
        }
    }
}

/// Watches objects after a revision of the configuration. Where the kept history begins later, that
/// is no gap if no object had changed up to its beginning.
fn watch_after(consensus: &Consensus, revision: Revision) -> Result<Watcher, Compacted> {
    match consensus.watch(OBJECTS, revision) {
        Err(Compacted::Below { floor })
            if configuration_revision(&consensus.read_at(floor)?) == revision =>
        {
            consensus.watch(OBJECTS, floor)
        }
        other => other,
    }
}

/// What a batch comes to for a client at `from`; `None` when it changes no object.
fn delta(from: Revision, batch: &Batch) -> Option<ToPlane> {
    let mut puts: Vec<Value> = Vec::new();
    let mut deletes: Vec<ObjectKey> = Vec::new();
    for event in batch.events.iter() {
        let Some(key) = object_of(&event.key) else { continue };
        match &event.current {
            // Stored objects are canonical JSON; one that is not would be refused at every reader.
            Some(stored) => puts.push(serde_json::from_slice(&stored.value).ok()?),
            None => deletes.push(key),
        }
    }
    (!puts.is_empty() || !deletes.is_empty()).then_some(ToPlane::Delta {
        from,
        to: batch.revision,
        puts,
        deletes,
    })
}

/// Streams to another control node this node's part of the ledger, what this node says of the limits
/// that nodes share, and what it lends of them, as the leader.
pub(super) async fn peer(
    publisher: &Publisher,
    link: &mut Link,
    node: NodeId,
    stop: &CancellationToken,
) -> Result<(), SessionEnd> {
    let welcome = ToPlane::Welcome { cluster: publisher.cluster.clone(), node: publisher.node };
    link.writer.send(&welcome).await?;
    let mut table = publisher.ledger.subscribe();
    let (mut uses, mut lent) = (publisher.shares.uses(), publisher.shares.lent());
    let mut said = None;
    let mut told = None;
    loop {
        let present = table.borrow_and_update().clone();
        let reports = present.own_news(told.as_ref());
        told = Some(present);
        if !reports.is_empty() {
            link.writer.send(&ToPlane::Ledger { reports }).await?;
        }
        tokio::select! {
            changed = table.changed() => changed.map_err(|_| SessionEnd::Stopped)?,
            Ok(()) = uses.changed() => {
                // What other nodes say comes from themselves.
                let heard = uses.borrow_and_update().get(&publisher.node).cloned();
                if let Some(heard) = heard
                    && said != Some(heard.at)
                {
                    said = Some(heard.at);
                    let uses = ToPlane::Uses { node: publisher.node, uses: heard.uses };
                    link.writer.send(&uses).await?;
                }
            }
            Ok(()) = lent.changed() => {
                let grant = lent.borrow_and_update().get(&node).cloned();
                if let Some(grant) = grant {
                    link.writer.send(&ToPlane::Shares(grant)).await?;
                }
            }
            message = link.reader.read() => match message? {
                Some(FromPlane::Pong) => {}
                Some(_) => return Err(SessionEnd::Protocol { what: "more than a hello" }),
                None => return Err(SessionEnd::Closed),
            },
            () = stop.cancelled() => return Ok(()),
        }
    }
}
