//! Sessions with control nodes, one after the other, for as long as the data plane runs.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use model::{Snapshot, cluster::NodeId, shares::Uses};
use quinn::{Connection, Endpoint, RecvStream, SendStream, VarInt};
use runtime::{
    chain::chain,
    push::{
        self, Command, ConnectError, EndpointError, Follower, FrameError, FrameReader, FrameWriter,
        FromPlane, ProtocolError, ToPlane,
    },
    tls::{LiveIdentity, SavedIdentity},
};
use tokio::time::timeout;

use super::{
    SubscriberArguments,
    apply::{self, InvalidObject},
    renewal,
    retry::Retry,
};
use crate::{
    announce::Granted,
    certificates::{CertificateError, Certificates},
    desired::Desired,
    metrics, quotas,
    shares::Loan,
    tasks::Task,
};

/// How long a handshake may take: several round trips around the world.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);

/// How long the server may leave a message of ours unread.
const WRITE_WITHIN: Duration = Duration::from_secs(10);

/// The longest lease that is believed.
const LEASE_MAX: Duration = Duration::from_secs(60);

/// Objects of a change that are checked on the runtime's own thread; more go to a blocking one.
const INLINE_OBJECTS: usize = 64;

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
enum SessionError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("{address} does not answer within {CONNECT_WITHIN:?}")]
    Silent { address: SocketAddr },
    #[error("no endpoint for addresses like {address}")]
    Endpoint {
        address: SocketAddr,
        #[source]
        source: EndpointError,
    },
    #[error("the connection is lost")]
    Lost(#[from] quinn::ConnectionError),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("the control node reads nothing within {WRITE_WITHIN:?}")]
    Stuck,
    #[error("the control node broke the protocol")]
    Protocol(#[from] ProtocolError),
    #[error(transparent)]
    Invalid(#[from] InvalidObject),
    #[error("the control node left: {reason}")]
    Left { reason: String },
    #[error("the control node ended the session")]
    Ended,
}

impl SessionError {
    /// Whether the next session should ask for everything although a state is held.
    fn asks_for_everything(&self) -> bool {
        matches!(self, Self::Protocol(error) if !error.keeps_resume())
    }
}

/// Local endpoints, one for each address family that is used.
#[derive(Debug)]
struct Endpoints {
    identity: LiveIdentity,
    v4: Option<Endpoint>,
    v6: Option<Endpoint>,
}

impl Endpoints {
    fn new(identity: &LiveIdentity) -> Self {
        Self { identity: identity.clone(), v4: None, v6: None }
    }

    fn toward(&mut self, address: SocketAddr) -> Result<&Endpoint, SessionError> {
        let (place, any): (_, SocketAddr) = match address {
            SocketAddr::V4(_) => (&mut self.v4, (Ipv4Addr::UNSPECIFIED, 0).into()),
            SocketAddr::V6(_) => (&mut self.v6, (Ipv6Addr::UNSPECIFIED, 0).into()),
        };
        if place.is_none() {
            let endpoint = push::client_endpoint(&self.identity, any)
                .map_err(|source| SessionError::Endpoint { address, source })?;
            *place = Some(endpoint);
        }
        Ok(place.as_ref().expect("filled above"))
    }
}

/// Keeps a session with one of the control nodes; never returns.
pub(super) async fn run(arguments: SubscriberArguments) {
    let mut endpoints = Endpoints::new(arguments.identity.live());
    let mut retry = Retry::new(arguments.control.clone());
    let mut everything = false;
    loop {
        let address = retry.address();
        let error = match connect(&mut endpoints, &arguments.identity, address).await {
            Ok(connection) => {
                let mut greeted = false;
                let end = follow(&connection, &arguments, everything, &mut greeted).await;
                // Closing puts this side's reason in the place of the other's.
                let closed = connection.close_reason();
                connection.close(VarInt::from_u32(0), b"session over");
                if greeted {
                    retry.greeted();
                }
                // A server's refusal of this side arrives after the handshake, as the reason why
                // the connection closed, which says more than the stream's error.
                match (end, closed) {
                    (SessionError::Frame(_), Some(reason)) => SessionError::Lost(reason),
                    (end, _) => end,
                }
            }
            Err(error) => error,
        };
        everything = error.asks_for_everything();
        metrics::connected(false);
        metrics::failure();
        let words = chain(&error);
        let wait = retry.failed(rand::random());
        tracing::warn!(%address, error = %words, ?wait, "not following a control node");
        arguments.status.send_modify(|status| {
            status.node = None;
            status.address = Some(address);
            status.last_error = Some(words);
        });
        tokio::time::sleep(wait).await;
    }
}

async fn connect(
    endpoints: &mut Endpoints,
    identity: &SavedIdentity,
    address: SocketAddr,
) -> Result<Connection, SessionError> {
    renewal::take_up(identity);
    let cluster = identity.live().identity().cluster().clone();
    let endpoint = endpoints.toward(address)?;
    match timeout(CONNECT_WITHIN, push::connect(endpoint, &cluster, address)).await {
        Ok(connection) => Ok(connection?),
        Err(_) => Err(SessionError::Silent { address }),
    }
}

struct Session<'a> {
    arguments: &'a SubscriberArguments,
    follower: Follower,
    writer: FrameWriter<SendStream, FromPlane>,
    address: SocketAddr,
    greeted: &'a mut bool,
}

/// Follows the control node until the session ends, which it always does with a reason.
async fn follow(
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
        address: connection.remote_address(),
        greeted,
    };
    let hello = session.follower.hello(arguments.plane.clone(), everything);
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
                let now = self.now();
                let next = blocking(move || apply::replace(&now, revision, &objects)).await?;
                self.stand_in(&next).await;
                self.publish(next);
                self.forget(|certificates, config| certificates.forget_others(config)).await;
            }
            Command::Change { revision, puts, deletes } => {
                let now = self.now();
                let certificates = apply::certificates(&deletes);
                let stands_in = apply::has_certificates(&puts);
                let next = if puts.len() <= INLINE_OBJECTS {
                    apply::change(&now, revision, &puts, &deletes)?
                } else {
                    blocking(move || apply::change(&now, revision, &puts, &deletes)).await?
                };
                if stands_in {
                    self.stand_in(&next).await;
                }
                self.publish(next);
                if !certificates.is_empty() {
                    self.forget(move |kept, _| kept.forget(&certificates)).await;
                }
            }
            Command::Health(update) => self.publish(apply::health(&self.now(), update)),
            Command::Announce(grant) => {
                let until = Instant::now() + Duration::from_millis(grant.lease_ms).min(LEASE_MAX);
                let addresses = grant.addresses.into_iter().collect();
                self.arguments.granted.send_replace(Some(Granted { addresses, until }));
            }
            Command::Shares(grant) => {
                self.arguments.loan.send_replace(Some(Loan::new(grant, Instant::now())));
            }
            Command::Certificate(material) => {
                let certificates = self.arguments.certificates.clone();
                let name = material.certificate.clone();
                match blocking(move || certificates.keep(&material)).await {
                    Ok(()) => tracing::info!(certificate = %name, "a certificate came"),
                    Err(error) => {
                        tracing::error!(certificate = %name, error = %chain(&error), "not kept");
                    }
                }
            }
            Command::Challenges(challenges) => {
                let (by_handshake, over_http): (Vec<_>, Vec<_>) =
                    challenges.into_iter().partition(|(_, answer)| answer.by_handshake);
                let told = over_http.into_iter().map(|(token, it)| (token, it.key_authorization));
                self.arguments.challenges.send_replace(Arc::new(told.collect()));
                // A leader has one at a time; of two, while leaders change, the last of the map is shown.
                for (_, answer) in by_handshake {
                    let certificates = self.arguments.certificates.clone();
                    let put = move || certificates.answer(&answer.host, &answer.key_authorization);
                    if let Err(error) = blocking(put).await {
                        tracing::error!(error = %chain(&error), "a challenge is not answered");
                    }
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

    fn now(&self) -> Arc<Desired> {
        Arc::clone(&self.arguments.desired.borrow())
    }

    /// Lets certificates stand in that have not come. An engine tells of one that it misses.
    async fn stand_in(&self, next: &Desired) {
        let (certificates, config) = (self.arguments.certificates.clone(), next.config.clone());
        if let Err(error) = blocking(move || certificates.stand_in(&config)).await {
            tracing::error!(error = %chain(&error), "a certificate has nothing in its place");
        }
    }

    /// Removes certificates that nothing names any more. What stays is in nobody's way.
    async fn forget(
        &self,
        remove: impl FnOnce(&Certificates, &Snapshot) -> Result<(), CertificateError> + Send + 'static,
    ) {
        let (certificates, config) =
            (self.arguments.certificates.clone(), self.now().config.clone());
        if let Err(error) = blocking(move || remove(&certificates, &config)).await {
            tracing::warn!(error = %chain(&error), "a certificate of before stays on the disk");
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

/// Runs a long computation off the runtime's threads; its panic is this task's panic.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
