//! One session: what comes, what is done, what is told. It waits for nothing that takes long but the parsing of
//! what came: who does not answer in time is cut off, and loses its addresses.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use model::{Kind, ModuleId, cluster::NodeId, shares::Uses};
use quinn::{Connection, RecvStream, SendStream};
use runtime::{
    chain::chain,
    push::{Command, Follower, FrameReader, FrameWriter, FromPlane, ToPlane},
};
use tokio::time::timeout;

use super::{SessionError, WRITE_WITHIN, blocking, files::Files};
use crate::{
    announce::Granted,
    desired::{Changed, Desired},
    metrics, quotas,
    shares::Loan,
    subscriber::{SubscriberArguments, apply, arriving::Arriving},
    tasks::Task,
};

/// The longest lease that is believed.
const LEASE_MAX: Duration = Duration::from_secs(60);

/// Objects of a change that are checked on the runtime's own thread; more go to a blocking one.
const INLINE_OBJECTS: usize = 64;

struct Session<'a> {
    arguments: &'a SubscriberArguments,
    follower: Follower,
    writer: FrameWriter<SendStream, FromPlane>,
    files: Files,
    arriving: Arriving,
    address: SocketAddr,
    greeted: &'a mut bool,
}

/// Follows the control node until the session ends, which it always does with a reason.
pub(super) async fn follow(
    connection: &Connection,
    arguments: &SubscriberArguments,
    everything: bool,
    greeted: &mut bool,
) -> SessionError {
    let (send, receive) = match connection.open_bi().await {
        Ok(streams) => streams,
        Err(error) => return error.into(),
    };
    let held = Some(arguments.desired.borrow().revision).filter(|revision| revision.0 > 0);
    let cluster = arguments.identity.live().identity().cluster().clone();
    let mut session = Session {
        arguments,
        follower: Follower::new(cluster, held),
        writer: FrameWriter::new(send),
        files: Files::new(
            arguments.certificates.clone(),
            arguments.modules.clone(),
            arguments.forget_after,
        ),
        arriving: Arriving::default(),
        address: connection.remote_address(),
        greeted,
    };
    let modules = arguments.modules.clone();
    let modules = blocking(move || modules.held()).await.unwrap_or_else(|error| {
        // They are sent again.
        tracing::error!(error = %chain(&error), "modules cannot be read");
        BTreeSet::new()
    });
    let modules = modules.into_iter().collect();
    let hello = session.follower.hello(arguments.plane.clone(), everything, modules);
    if let Err(error) = session.write(&hello).await {
        return error;
    }
    let node = NodeId(arguments.identity.live().identity().node().0);
    // In a task of its own, so that no large change is in its way.
    let asking = quotas::keep(connection.clone(), arguments.quotas.clone(), node);
    let _asking = Task::spawn(async move { match asking.await {} });
    session.run(FrameReader::new(receive)).await
}

impl Session<'_> {
    async fn run(&mut self, mut reader: FrameReader<RecvStream, ToPlane>) -> SessionError {
        let mut reports = self.arguments.reports.clone();
        // A new session gets all reports, as soon as it is greeted.
        reports.mark_unchanged();
        let mut addresses = self.arguments.addresses.clone();
        addresses.mark_unchanged();
        let mut uses = self.arguments.uses.clone();
        uses.mark_unchanged();
        let mut traffic = self.arguments.traffic.clone();
        traffic.mark_unchanged();
        loop {
            self.files.look(&self.arguments.desired.borrow(), &self.arguments.reports.borrow());
            let step = tokio::select! {
                message = reader.read() => match message {
                    Ok(Some(message)) => self.receive(message).await,
                    Ok(None) => Err(SessionError::Ended),
                    Err(error) => Err(error.into()),
                },
                Ok(()) = reports.changed(), if *self.greeted => {
                    let newest = reports.borrow_and_update().values().cloned().collect();
                    self.write(&FromPlane::Reports { reports: newest }).await
                }
                Ok(()) = addresses.changed(), if *self.greeted => {
                    let addresses = addresses.borrow_and_update().to_vec();
                    self.write(&FromPlane::Addresses { addresses }).await
                }
                Ok(()) = uses.changed(), if *self.greeted => {
                    let uses = Uses::clone(&uses.borrow_and_update());
                    self.write(&FromPlane::Uses(uses)).await
                }
                Ok(()) = traffic.changed(), if *self.greeted => {
                    let traffic = *traffic.borrow_and_update();
                    self.write(&FromPlane::Traffic(traffic)).await
                }
                prepared = self.files.done() => {
                    if let Some(next) = prepared {
                        self.publish(apply::with_health_of(next, &self.in_force()));
                    }
                    Ok(())
                }
            };
            if let Err(error) = step {
                return error;
            }
        }
    }

    /// Takes one message in and does what the state machine commands.
    async fn receive(&mut self, message: ToPlane) -> Result<(), SessionError> {
        match self.follower.receive(message)? {
            Command::Wait => {}
            Command::Greeted { node } => {
                *self.greeted = true;
                // Who is greeted is told what this node asks for.
                self.arguments.counting.send_replace(false);
                self.arguments.challenges.send_replace(Arc::default());
                metrics::connected(true);
                metrics::session();
                tracing::info!(%node, address = %self.address, "following a control node");
                self.arguments.status.send_modify(|status| {
                    status.node = Some(node);
                    status.address = Some(self.address);
                });
                let reports = self.arguments.reports.borrow().values().cloned().collect();
                self.write(&FromPlane::Reports { reports }).await?;
                let addresses = self.arguments.addresses.borrow().to_vec();
                if !addresses.is_empty() {
                    self.write(&FromPlane::Addresses { addresses }).await?;
                }
            }
            Command::Replace { revision, objects } => {
                let now = self.newest();
                let next = blocking(move || apply::replace(&now, revision, &objects)).await?;
                self.files.may_lie_about();
                self.next(next, true);
            }
            Command::Change { revision, puts, deletes } => {
                let now = self.newest();
                let certificates = apply::has_certificates(&puts);
                let brings = certificates || apply::has_modules(&puts);
                if deletes.iter().any(|key| key.kind == Kind::Certificate) || certificates {
                    self.files.may_lie_about();
                }
                let next = if puts.len() <= INLINE_OBJECTS {
                    apply::change(&now, revision, &puts, &deletes)?
                } else {
                    blocking(move || apply::change(&now, revision, &puts, &deletes)).await?
                };
                self.next(next, brings);
            }
            Command::Health(update) => self.publish(apply::health(&self.in_force(), update)),
            Command::Announce(grant) => {
                let until = Instant::now() + Duration::from_millis(grant.lease_ms).min(LEASE_MAX);
                let addresses = grant.addresses.into_iter().collect();
                self.arguments.granted.send_replace(Some(Granted { addresses, until }));
            }
            Command::Shares(grant) => {
                self.arguments.loan.send_replace(Some(Loan::new(grant, Instant::now())));
            }
            Command::Certificate(material) => self.arguments.certificates.hand_in(material),
            Command::Challenges(challenges) => {
                let (by_handshake, over_http): (Vec<_>, Vec<_>) =
                    challenges.into_iter().partition(|(_, answer)| answer.by_handshake);
                let told = over_http.into_iter().map(|(token, it)| (token, it.key_authorization));
                self.arguments.challenges.send_replace(Arc::new(told.collect()));
                // A leader has one at a time; of two, while leaders change, the newest is asked for.
                let newest = by_handshake.into_iter().max_by_key(|(_, answer)| answer.at_ms);
                if let Some((_, answer)) = newest {
                    let certificates = self.arguments.certificates.clone();
                    let put = move || certificates.answer(&answer.host, &answer.key_authorization);
                    if let Err(error) = blocking(put).await {
                        tracing::error!(error = %chain(&error), "a challenge is not answered");
                    }
                }
            }
            Command::Modules(stored) => {
                let (modules, config) =
                    (self.arguments.modules.clone(), self.newest().config.clone());
                let stored = stored.into_iter().collect();
                let forgotten = blocking(move || modules.forget_others(&stored, &config)).await;
                if let Err(error) = forgotten {
                    tracing::warn!(error = %chain(&error), "a module of before stays on the disk");
                }
            }
            Command::ModulePart(part) => {
                if let Some((module, bytes)) = self.arriving.take(part)? {
                    self.keep(module, bytes).await;
                }
            }
            Command::CountTraffic(wanted) => {
                self.arguments.counting.send_replace(wanted);
            }
            Command::Pong => self.write(&FromPlane::Pong).await?,
            Command::Leave { reason } => return Err(SessionError::Left { reason }),
        }
        Ok(())
    }

    /// Keeps a module that has come, and has it run where it was missing.
    async fn keep(&mut self, module: ModuleId, bytes: Vec<u8>) {
        let modules = self.arguments.modules.clone();
        match blocking(move || modules.keep(module, &bytes)).await {
            Ok(()) => tracing::info!(%module, "a module came"),
            Err(error) => {
                tracing::error!(%module, error = %chain(&error), "not kept");
                return;
            }
        }
        let mut next = Desired::clone(&self.newest());
        if next.config.filter_modules().any(|(_, it)| it.sha256 == module) {
            next.changed = Changed::Modules;
            self.next(next, true);
        }
    }

    fn in_force(&self) -> Arc<Desired> {
        Arc::clone(&self.arguments.desired.borrow())
    }

    /// What came last, in force or not: what comes next builds on it.
    fn newest(&self) -> Arc<Desired> {
        self.files.ahead().unwrap_or_else(|| self.in_force())
    }

    /// Puts what came in force, or has it wait for the files that it names.
    fn next(&mut self, next: Desired, names_others: bool) {
        if let Some(next) = self.files.next(next, names_others) {
            self.publish(next);
        }
    }

    fn publish(&self, next: Desired) {
        let revision = next.revision;
        metrics::desired(revision, next.config.len(), next.unhealthy.len());
        tracing::debug!(%revision, cause = ?next.changed, objects = next.config.len(),
            unhealthy = next.unhealthy.len(), "desired state");
        self.arguments.desired.send_replace(Arc::new(next));
        self.arguments.status.send_if_modified(|status| {
            let changed = status.revision != revision;
            status.revision = revision;
            changed
        });
    }

    async fn write(&mut self, message: &FromPlane) -> Result<(), SessionError> {
        match timeout(WRITE_WITHIN, self.writer.write(message)).await {
            Ok(written) => Ok(written?),
            Err(_) => Err(SessionError::Stuck),
        }
    }
}
