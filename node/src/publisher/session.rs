//! One session of a push client.

mod certificates;
mod modules;

use std::{collections::BTreeMap, convert::Infallible, future::ready, time::Duration};

use consensus::{Batch, Compacted, Consensus, Consistency, View, WatchError, Watcher};
use model::{ModuleId, ObjectKey, Revision, Snapshot, cluster::NodeId};
use quinn::{RecvStream, SendStream};
use runtime::{
    push::{
        FrameError, FrameReader, FrameWriter, FromPlane, MAX_FRAME, Resume, ToPlane,
        snapshot_messages,
    },
    tls::PeerError,
};
use serde_json::Value;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use self::certificates::Certificates;
use super::Publisher;
use crate::{
    announce::Lease,
    control::{
        SnapshotError,
        store::{CONFIGURATION, configuration_revision, object_of},
    },
    rollout,
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
/// Objects of one delta, as stored. What a node has missed may be more than a frame holds, and goes by a
/// snapshot then, in chunks.
const DELTA_BYTES_MAX: usize = MAX_FRAME / 2;
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

/// What a data plane has when it comes.
pub(super) struct Held {
    pub(super) resume: Option<Resume>,
    pub(super) modules: Vec<ModuleId>,
}

/// Serves a data plane until it leaves, fails, or the token is cancelled.
pub(super) async fn plane(
    publisher: &Publisher,
    link: &mut Link,
    node: NodeId,
    held: Held,
    stop: &CancellationToken,
) -> Result<(), SessionEnd> {
    let Link { reader, writer } = link;
    let listen = listen(publisher, reader, node);
    let follow = follow(publisher, writer, node, held);
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
            FromPlane::Traffic(traffic) => publisher.traffic.counted(node, traffic, true),
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
    Held { resume, modules }: Held,
) -> Result<Infallible, SessionEnd> {
    let cluster = publisher.cluster.clone();
    let held = resume.filter(|resume| resume.cluster == cluster).map(|resume| resume.revision);
    writer.send(&ToPlane::Welcome { cluster, node: publisher.node }).await?;
    let position = match held {
        Some(held) => Some(caught_up(&publisher.consensus, held).await?),
        None => None,
    };
    let mut changes = changes(&publisher.consensus).await?;
    let mut health = publisher.health.clone();
    health.mark_changed();
    let mut lease = publisher.lease.clone();
    lease.mark_changed();
    let mut loan = publisher.shares.loan();
    loan.mark_changed();
    let mut ping = interval(PING_EVERY);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let outgoing = modules::Outgoing::new(modules);
    let certificates = Certificates::default();
    let mut standing = Standing { position, counting: false, whole: true, certificates, outgoing };
    standing.outgoing.look(publisher, writer).await?;
    standing.advance(publisher, writer, node).await?;
    loop {
        if std::mem::take(&mut standing.whole) {
            // Who has just connected answers none.
            if certificates::are_challenges(publisher).await? {
                certificates::challenges(publisher, writer).await?;
            }
            standing.certificates.add_all(publisher).await?;
        }
        tokio::select! {
            biased;
            change = changes.next() => {
                let (issued, asked, kept) = match change {
                    Ok(batch) => {
                        let asked = certificates::asks_otherwise(&batch);
                        (certificates::in_batch(&batch), asked, modules::in_batch(&batch))
                    }
                    // What it says is looked up, so nothing is missed.
                    Err(WatchError::Lagged { .. }) => {
                        changes = self::changes(&publisher.consensus).await?;
                        standing.whole = true;
                        (Vec::new(), true, true)
                    }
                    Err(WatchError::Stopped) => return Err(SessionEnd::Stopped),
                };
                if kept {
                    standing.outgoing.look(publisher, writer).await?;
                }
                standing.advance(publisher, writer, node).await?;
                standing.certificates.add(issued);
                if asked {
                    certificates::challenges(publisher, writer).await?;
                }
            }
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
            // The last two: nothing waits for the parts of a module, nor for thousands of certificates.
            () = ready(()), if standing.outgoing.is_under_way() => {
                if standing.outgoing.send(publisher, writer).await? {
                    standing.advance(publisher, writer, node).await?;
                }
            }
            Some(position) = ready(standing.position), if standing.certificates.wait() => {
                standing.certificates.send_some(publisher, writer, position).await?;
            }
        }
    }
}

/// Returns where a client stands, once this node has what the client has: it is never led back.
async fn caught_up(consensus: &Consensus, held: Revision) -> Result<Revision, SessionEnd> {
    if consensus.read(Consistency::AtLeast(held)).await.is_err() {
        let applied = consensus.status().borrow().last_applied;
        return Err(SessionEnd::Behind { applied, held });
    }
    Ok(held)
}

/// Follows all changes from now on.
async fn changes(consensus: &Consensus) -> Result<Watcher, SessionEnd> {
    loop {
        let view = consensus.read(Consistency::Stale).await.map_err(SnapshotError::from)?;
        // So far behind that the history went by meanwhile: once more.
        if let Ok(watcher) = consensus.watch("", view.revision()) {
            return Ok(watcher);
        }
    }
}

/// Where a client stands.
struct Standing {
    /// None before it has a configuration.
    position: Option<Revision>,
    /// Whether it counts traffic.
    counting: bool,
    /// Whether it is to be sent all certificates: at the begin, and after a snapshot, with which it may
    /// have dropped those that it knew no object of.
    whole: bool,
    /// Those that it is yet to be sent.
    certificates: Certificates,
    /// The modules that it lacks.
    outgoing: modules::Outgoing,
}

impl Standing {
    /// Brings a client to the revision that its node should have, once it has the modules which that
    /// names; has it count traffic while that is asked of it.
    async fn advance(
        &mut self,
        publisher: &Publisher,
        writer: &mut Writer,
        node: NodeId,
    ) -> Result<(), SessionEnd> {
        let consensus = &publisher.consensus;
        let view = consensus.read(Consistency::Stale).await.map_err(SnapshotError::from)?;
        let (to, wanted) = rollout::standing(&view, node);
        if wanted != self.counting {
            writer.send(&ToPlane::CountTraffic { wanted }).await?;
        }
        self.counting = wanted;
        if self.position.is_some_and(|from| to <= from) {
            return Ok(());
        }
        // By what is to be sent, not by the change that led here: others may have come meanwhile.
        self.outgoing.look_at(publisher, writer, &view).await?;
        if self.outgoing.is_under_way()
            && self.outgoing.lacks_of(&configuration(publisher, &view, node)?)
        {
            return Ok(());
        }
        let Some(from) = self.position else {
            return self.begin_anew(publisher, writer, &view, node).await;
        };
        let batches = history_after(consensus, from).map(|batches| {
            let due = batches.into_iter().filter(|batch| batch.revision <= to);
            due.collect::<Vec<_>>()
        });
        let Some(batches) = batches.ok().filter(|batches| weight(batches) <= DELTA_BYTES_MAX)
        else {
            return self.begin_anew(publisher, writer, &view, node).await;
        };
        for batch in &batches {
            if batch.events.iter().any(|event| event.key == CONFIGURATION) {
                publisher.ledger.committed(batch.revision);
            }
        }
        writer.send(&delta(from, to, &batches)?).await?;
        metrics::counter!("marchproxy_push_deltas_total").increment(1);
        self.position = Some(to);
        self.certificates.moved();
        Ok(())
    }

    async fn begin_anew(
        &mut self,
        publisher: &Publisher,
        writer: &mut Writer,
        view: &View,
        node: NodeId,
    ) -> Result<(), SessionEnd> {
        self.position = Some(snapshot(publisher, writer, view, node).await?);
        self.whole = true;
        self.certificates.moved();
        Ok(())
    }
}

/// Sends the whole configuration that a node should have; returns its revision.
async fn snapshot(
    publisher: &Publisher,
    writer: &mut Writer,
    view: &View,
    node: NodeId,
) -> Result<Revision, SessionEnd> {
    let snapshot = configuration(publisher, view, node)?;
    let wanted = snapshot.revision();
    let objects = snapshot.objects().map(|(_, object)| {
        let value = object.to_value();
        let length = value.to_string().len();
        (value, length)
    });
    for message in snapshot_messages(snapshot.revision(), objects.collect()) {
        writer.send(&message).await?;
    }
    metrics::counter!("marchproxy_push_snapshots_total").increment(1);
    Ok(wanted)
}

/// Returns the configuration that a node should have.
fn configuration(publisher: &Publisher, view: &View, node: NodeId) -> Result<Snapshot, SessionEnd> {
    let snapshot = publisher.configuration.in_view(view)?;
    // A newer one than the view's is of another view, which may hold the node back.
    let (wanted, _) = rollout::standing(view, node);
    if snapshot.revision() == wanted {
        return Ok(snapshot);
    }
    Ok(publisher.configuration.read_at(wanted)?)
}

/// Lists what came after a revision of the configuration. Where the kept history begins later, that
/// is no gap if no object had changed up to its beginning.
fn history_after(consensus: &Consensus, revision: Revision) -> Result<Vec<Batch>, Compacted> {
    match consensus.history(revision, usize::MAX) {
        Err(Compacted::Below { floor })
            if configuration_revision(&consensus.read_at(floor)?) == revision =>
        {
            consensus.history(floor, usize::MAX)
        }
        other => other,
    }
}

/// Returns how many bytes of objects batches have.
fn weight(batches: &[Batch]) -> usize {
    let events = batches.iter().flat_map(|batch| batch.events.iter());
    let events = events.filter(|event| object_of(&event.key).is_some());
    events.filter_map(|event| event.current.as_ref()).map(|stored| stored.value.len()).sum()
}

/// What batches come to for a client at `from`: the last that each object became.
fn delta(from: Revision, to: Revision, batches: &[Batch]) -> Result<ToPlane, SnapshotError> {
    let mut last: BTreeMap<ObjectKey, Option<Value>> = BTreeMap::new();
    for event in batches.iter().flat_map(|batch| batch.events.iter()) {
        let Some(key) = object_of(&event.key) else { continue };
        let value = match &event.current {
            // Stored objects are canonical JSON.
            Some(stored) => {
                let value = serde_json::from_slice(&stored.value).map_err(|error| {
                    SnapshotError::Unreadable {
                        key: event.key.to_string(),
                        reason: error.to_string(),
                    }
                })?;
                Some(value)
            }
            None => None,
        };
        last.insert(key, value);
    }
    let (mut puts, mut deletes) = (Vec::new(), Vec::new());
    for (key, value) in last {
        match value {
            Some(value) => puts.push(value),
            None => deletes.push(key),
        }
    }
    Ok(ToPlane::Delta { from, to, puts, deletes })
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
    let mut traffic = publisher.traffic.subscribe();
    let mut said = None;
    let mut told = None;
    let mut passed_on = Instant::now();
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
            Ok(()) = traffic.changed() => {
                let own: Vec<_> = {
                    let heard = traffic.borrow_and_update();
                    let own = heard.iter().filter(|(_, heard)| heard.own && heard.at > passed_on);
                    own.map(|(node, heard)| (*node, heard.traffic)).collect()
                };
                passed_on = Instant::now();
                for (node, traffic) in own {
                    link.writer.send(&ToPlane::Traffic { node, traffic }).await?;
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
