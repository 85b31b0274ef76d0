//! The gRPC service: one task per stream, which drives its [`Session`]. It decides nothing.

use std::{
    collections::VecDeque,
    future::pending,
    net::Shutdown,
    os::fd::{AsFd, OwnedFd},
    pin::Pin,
    sync::{Arc, Mutex},
    time::Instant,
};

use envoy_types::pb::envoy::service::discovery::v3::{
    self as pb,
    aggregated_discovery_service_server::{
        AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
    },
};
use futures::{Stream, StreamExt};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::{mpsc, watch},
};
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tonic::{Request, Response, Status, Streaming};

use super::{
    ledger::{Ledger, Standing},
    listening::{Listening, Look},
    sm::{self, Answer, Session},
    transfer::Transferred,
};
use crate::{
    envoy::{Admin, Leading},
    l7::{ResourceType, World},
};

/// Responses between a session and its connection: one per type may be in flight.
const RESPONSES_QUEUED_MAX: usize = ResourceType::ALL.len();

/// Connections that are remembered: one per start of Envoy; those of before are closed.
const CONNECTIONS_MAX: usize = 8;

/// What a stream tells of itself.
#[derive(Debug)]
pub(super) enum StreamEvent {
    /// Envoy connected.
    Opened,
    /// It answered for a revision.
    Answered(Answer),
    /// It is gone.
    Closed,
}

/// What all streams share.
#[derive(Clone)]
pub(super) struct Shared {
    /// None until a configuration is known: nothing is sent before.
    pub(super) worlds: watch::Receiver<Option<World>>,
    pub(super) ledger: Arc<Mutex<Ledger>>,
    /// Where the refusals that stand go, to be saved.
    pub(super) standing: watch::Sender<Arc<Standing>>,
    pub(super) events: mpsc::Sender<StreamEvent>,
    pub(super) transferred: Arc<Transferred>,
    /// Tells where Envoy listens.
    pub(super) admin: Admin,
    /// Which of two Envoys of this node is told the configuration.
    pub(super) leading: watch::Receiver<Leading>,
}

/// Serves streams until the listener fails.
pub(super) async fn serve(
    listener: UnixListener,
    shared: Shared,
) -> Result<(), tonic::transport::Error> {
    let mut connections = Connections::default();
    let incoming = UnixListenerStream::new(listener)
        .map(move |accepted| accepted.inspect(|connection| connections.note(connection)));
    tonic::transport::Server::builder()
        .add_service(AggregatedDiscoveryServiceServer::new(Ads(shared)))
        .serve_with_incoming(incoming)
        .await
}

/// Connections, to be shut when the server ends: tonic serves each in a task of its own, which
/// would outlive the server, and Envoy would go on asking there.
#[derive(Default)]
struct Connections(VecDeque<OwnedFd>);

impl Connections {
    fn note(&mut self, connection: &UnixStream) {
        match connection.as_fd().try_clone_to_owned() {
            Ok(copy) => self.0.push_back(copy),
            Err(error) => tracing::warn!(%error, "a connection cannot be shut with the server"),
        }
        if self.0.len() > CONNECTIONS_MAX {
            self.0.pop_front();
        }
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        for connection in self.0.drain(..) {
            // One that the peer has closed is shut already.
            let _ = std::os::unix::net::UnixStream::from(connection).shutdown(Shutdown::Both);
        }
    }
}

struct Ads(Shared);

type Responses<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl AggregatedDiscoveryService for Ads {
    type StreamAggregatedResourcesStream = Responses<pb::DiscoveryResponse>;
    type DeltaAggregatedResourcesStream = Responses<pb::DeltaDiscoveryResponse>;

    async fn stream_aggregated_resources(
        &self,
        _: Request<Streaming<pb::DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        Err(Status::unimplemented("this server speaks the delta protocol only"))
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<pb::DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        let (sender, receiver) = mpsc::channel(RESPONSES_QUEUED_MAX);
        let shared = self.0.clone();
        tokio::spawn(async move {
            // Nobody listens when the actor stops; the stream ends with it.
            let _ = shared.events.send(StreamEvent::Opened).await;
            if let Err(status) = drive(request.into_inner(), &sender, shared.clone()).await {
                tracing::debug!(%status, "envoy's stream ended");
            }
            let _ = shared.events.send(StreamEvent::Closed).await;
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

type Looking = Pin<Box<dyn Future<Output = (u64, Listening, Look)> + Send>>;

/// Runs one stream until Envoy or the actor ends it.
async fn drive(
    mut requests: Streaming<pb::DeltaDiscoveryRequest>,
    responses: &mpsc::Sender<Result<pb::DeltaDiscoveryResponse, Status>>,
    mut shared: Shared,
) -> Result<(), Status> {
    let gone = |_| Status::unavailable("the data plane stops");
    let world = shared.worlds.wait_for(Option::is_some).await.map_err(gone)?.clone();
    let mut session = Session::new(world.unwrap_or_default());
    let mut look = Look::new(shared.admin.clone());
    // A look goes on while requests are served.
    let mut looking: Option<Looking> = None;
    let mut instance = String::new();
    loop {
        if shared.leading.borrow_and_update().passes_over(&instance) {
            return pass_over(&instance, responses, &mut shared.leading).await;
        }
        let timeout = session.next_timeout(&lock(&shared.ledger));
        let timer = async move {
            match timeout {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => pending().await,
            }
        };
        tokio::select! {
            request = requests.message() => {
                let Some(request) = request? else { return Ok(()) };
                if let Some(node) = &request.node {
                    sm::instance(node).clone_into(&mut instance);
                    if shared.leading.borrow().passes_over(&instance) {
                        continue;
                    }
                }
                if let Some(error) = &request.error_detail {
                    shared.transferred.refused(&request.type_url);
                    tracing::debug!(kind = request.type_url, message = error.message, "refused by envoy");
                }
                session.handle_request(Instant::now(), &request, &mut lock(&shared.ledger));
            }
            changed = shared.worlds.changed() => {
                changed.map_err(gone)?;
                let world = shared.worlds.borrow_and_update().clone();
                session.set_world(world.unwrap_or_default());
            }
            (asked, listening, looked) = async {
                match &mut looking {
                    Some(looking) => looking.await,
                    None => pending().await,
                }
            } => {
                session.handle_listening(asked, &listening);
                (look, looking) = (looked, None);
            }
            () = timer => {}
            changed = shared.leading.changed() => {
                changed.map_err(gone)?;
                continue;
            }
        }
        if let Some(asked) = session.opening()
            && !shared.leading.borrow().admin
        {
            session.handle_listening_unseen(asked);
        }
        match (session.opening(), &looking) {
            (Some(asked), None) => {
                let mut look = look.clone();
                looking = Some(Box::pin(async move { (asked, look.next().await, look) }));
            }
            (Some(_), Some(_)) => {}
            (None, _) => {
                looking = None;
                look.again();
            }
        }
        loop {
            let response = session.poll_response(Instant::now(), &mut lock(&shared.ledger));
            let Some(response) = response else { break };
            shared.transferred.sent(&response);
            if responses.send(Ok(response)).await.is_err() {
                return Ok(());
            }
        }
        let saved = shared.standing.borrow().clone();
        let standing = session.standing(&lock(&shared.ledger), &saved);
        if let Some(standing) = standing {
            shared.standing.send_replace(Arc::new(standing));
        }
        let answer = session.poll_answer(&lock(&shared.ledger));
        if let Some(answer) = answer {
            let _ = shared.events.send(StreamEvent::Answered(answer)).await;
        }
    }
}

/// Tells an Envoy nothing while another one of its node leads: the ledger is about that one, and this
/// one goes on with what it has. Should it lead again, it is to begin anew.
async fn pass_over(
    instance: &str,
    responses: &mpsc::Sender<Result<pb::DeltaDiscoveryResponse, Status>>,
    leading: &mut watch::Receiver<Leading>,
) -> Result<(), Status> {
    tracing::debug!(instance, "another envoy of this node leads");
    tokio::select! {
        () = responses.closed() => Ok(()),
        // That this ends with an error means that the data plane stops.
        _ = leading.wait_for(|leading| !leading.passes_over(instance)) => {
            Err(Status::unavailable("begin anew"))
        }
    }
}

fn lock(ledger: &Mutex<Ledger>) -> std::sync::MutexGuard<'_, Ledger> {
    ledger.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
