//! Drives a [`Client`]: one task for all its streams. It decides nothing.

use std::{
    collections::HashMap,
    future::pending,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use tokio::sync::{mpsc, watch};
use tonic::Status;

use super::{
    client::{Client, Request, Sent, StreamId, Wire},
    ledger::{Ledger, Standing},
    listening::{Listening, Look},
    registry::{NewClient, Registry},
    sm::{self, Answer, Session},
    transfer::Transferred,
};
use crate::{
    envoy::{Admin, Leading},
    l7::World,
};

/// Where a stream's responses go.
pub(super) type Streams = mpsc::Sender<Sent>;

/// What a client is told by its streams.
#[derive(Debug)]
pub(super) enum Input {
    Opened(StreamId, Wire, Streams),
    Requested(StreamId, Request),
    Closed(StreamId),
}

/// What a client tells of itself.
#[derive(Debug)]
pub(super) enum StreamEvent {
    /// It connected.
    Opened,
    /// It answered for a revision.
    Answered(Answer),
    /// It is gone.
    Closed,
}

/// What all clients share.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    /// None until a configuration is known: nothing is sent before.
    pub(super) worlds: watch::Receiver<Option<World>>,
    pub(super) transferred: Arc<Transferred>,
    /// What there is of the node's own Envoy; other clients have a ledger each, while they last.
    pub(super) own: Option<OwnEnvoy>,
    /// Whether clusters linger for requests that go on.
    pub(super) lingers: bool,
}

/// What is kept and asked of the node's own Envoy.
#[derive(Clone, Debug)]
pub(super) struct OwnEnvoy {
    pub(super) ledger: Arc<Mutex<Ledger>>,
    /// Where the refusals that stand go, to be saved.
    pub(super) standing: watch::Sender<Arc<Standing>>,
    pub(super) events: mpsc::Sender<StreamEvent>,
    /// Tells where Envoy listens.
    pub(super) admin: Admin,
    /// Which of two Envoys of this node is told the configuration.
    pub(super) leading: watch::Receiver<Leading>,
    /// Whether it opens ports; one that does not runs what it has accepted.
    pub(super) opens_ports: bool,
}

/// Runs one client until its last stream ends or the actor does.
pub(super) async fn drive(shared: Shared, registry: Arc<Registry>, new: NewClient) {
    let events = shared.own.as_ref().map(|own| own.events.clone());
    let tell = async |event| {
        if let Some(events) = &events {
            // Nobody listens when the actor stops; the client ends with it.
            let _ = events.send(event).await;
        }
    };
    let (connection, client) = (new.connection, new.client);
    tell(StreamEvent::Opened).await;
    Driver::run(shared, &registry, new).await;
    registry.forget(connection, client);
    tell(StreamEvent::Closed).await;
}

type Looking = Pin<Box<dyn Future<Output = (u64, Listening, Look)> + Send>>;

struct Driver {
    shared: Shared,
    ledger: Arc<Mutex<Ledger>>,
    client: Client,
    streams: HashMap<StreamId, Streams>,
    /// What tells this start of Envoy from others.
    instance: String,
}

impl Driver {
    /// Returns when the client is gone, or the data plane stops.
    async fn run(mut shared: Shared, registry: &Registry, new: NewClient) {
        let NewClient { connection, client, mut inputs } = new;
        let world = match shared.worlds.wait_for(Option::is_some).await {
            Ok(world) => world.clone().unwrap_or_default(),
            Err(_) => return,
        };
        let session = Session::new(world);
        let session = if shared.lingers { session } else { session.without_linger() };
        let ledger = shared.own.as_ref().map_or_else(Arc::default, |own| own.ledger.clone());
        let mut look = shared.own.as_ref().map(|own| Look::new(own.admin.clone()));
        // A look goes on while requests are served.
        let mut looking: Option<Looking> = None;
        let mut driver = Self {
            shared,
            ledger,
            client: Client::new(session),
            streams: HashMap::new(),
            instance: String::new(),
        };
        loop {
            if driver.is_passed_over() {
                return driver.pass_over(&mut inputs).await;
            }
            let timeout = driver.client.next_timeout(&lock(&driver.ledger));
            let timer = async move {
                match timeout {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                input = inputs.recv() => {
                    let Some(input) = input else { return };
                    driver.input(input);
                    if driver.client.is_gone()
                        && registry.leave(connection, client, &mut inputs)
                    {
                        return;
                    }
                }
                changed = driver.shared.worlds.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let world = driver.shared.worlds.borrow_and_update().clone();
                    driver.client.set_world(world.unwrap_or_default());
                }
                (asked, listening, looked) = async {
                    match &mut looking {
                        Some(looking) => looking.await,
                        None => pending().await,
                    }
                } => {
                    driver.client.handle_listening(asked, &listening);
                    (look, looking) = (Some(looked), None);
                }
                () = timer => {}
                changed = leading_changed(&mut driver.shared.own) => {
                    if changed.is_err() {
                        return;
                    }
                    continue;
                }
            }
            if driver.is_passed_over() {
                continue;
            }
            if let Some(asked) = driver.client.opening()
                && !driver.tells_listening()
            {
                driver.client.handle_listening_unseen(asked);
            }
            match (driver.client.opening(), &looking, &mut look) {
                (Some(asked), None, Some(look)) => {
                    let mut look = look.clone();
                    looking = Some(Box::pin(async move { (asked, look.next().await, look) }));
                }
                (Some(_), ..) | (None, _, None) => {}
                (None, _, Some(look)) => {
                    looking = None;
                    look.again();
                }
            }
            driver.send().await;
            driver.tell().await;
        }
    }

    fn input(&mut self, input: Input) {
        let now = Instant::now();
        match input {
            Input::Opened(id, wire, responses) => {
                self.streams.insert(id, responses);
                self.client.open(id, wire);
            }
            Input::Requested(id, request) => {
                if let Some(node) = request.node() {
                    sm::instance(node).clone_into(&mut self.instance);
                    if self.is_passed_over() {
                        return;
                    }
                }
                self.shared.transferred.heard(&request);
                self.client.handle_request(now, id, request, &mut lock(&self.ledger));
            }
            Input::Closed(id) => {
                self.streams.remove(&id);
                self.client.close(now, id, &mut lock(&self.ledger));
            }
        }
    }

    /// Whether another Envoy of the node leads.
    fn is_passed_over(&self) -> bool {
        let own = self.shared.own.as_ref();
        own.is_some_and(|own| own.leading.borrow().passes_over(&self.instance))
    }

    /// Whether the client can be asked where it listens.
    fn tells_listening(&self) -> bool {
        self.shared.own.as_ref().is_some_and(|own| own.opens_ports && own.leading.borrow().admin)
    }

    /// Tells an Envoy nothing while another one of its node leads: the ledger is about that one, and
    /// this one goes on with what it has. Should it lead again, its streams end: it is to begin anew.
    async fn pass_over(mut self, inputs: &mut mpsc::Receiver<Input>) {
        tracing::debug!(instance = self.instance, "another envoy of this node leads");
        while self.is_passed_over() && !self.streams.is_empty() {
            tokio::select! {
                input = inputs.recv() => match input {
                    Some(Input::Opened(id, _, responses)) => {
                        self.streams.insert(id, responses);
                    }
                    Some(Input::Closed(id)) => {
                        self.streams.remove(&id);
                    }
                    Some(Input::Requested(..)) => {}
                    None => return,
                },
                changed = leading_changed(&mut self.shared.own) => {
                    if changed.is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// Sends all that is to be sent. A stream's channel has room for a response of each type.
    async fn send(&mut self) {
        loop {
            let sent = self.client.poll(Instant::now(), &mut lock(&self.ledger));
            let Some((id, sent)) = sent else { return };
            self.shared.transferred.sent(&sent);
            if let Some(stream) = self.streams.get(&id) {
                // One that is gone says so by its end.
                let _ = stream.send(sent).await;
            }
        }
    }

    /// Tells what the node's own Envoy refused and answered for.
    async fn tell(&mut self) {
        let Some(own) = &self.shared.own else { return };
        let saved = own.standing.borrow().clone();
        let standing = self.client.standing(&lock(&self.ledger), &saved);
        if let Some(standing) = standing {
            own.standing.send_replace(Arc::new(standing));
        }
        let answer = self.client.poll_answer(&lock(&self.ledger));
        if let Some(answer) = answer {
            let _ = own.events.send(StreamEvent::Answered(answer)).await;
        }
    }
}

/// The status of streams whose client is overrun or ended.
pub(super) fn unavailable() -> Status {
    Status::unavailable("the configuration server stops, or is overrun by this client")
}

async fn leading_changed(own: &mut Option<OwnEnvoy>) -> Result<(), watch::error::RecvError> {
    match own {
        Some(own) => own.leading.changed().await,
        None => pending().await,
    }
}

fn lock(ledger: &Mutex<Ledger>) -> MutexGuard<'_, Ledger> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}
