//! The server: connections in, clients out. It decides nothing.

use std::{io, sync::Arc, time::Duration};

use futures::StreamExt;
use tokio::{
    net::{TcpListener, UnixListener},
    sync::watch,
};
use tokio_stream::wrappers::{TcpListenerStream, UnixListenerStream};

use super::{connection::Connection, discovery, driver::Shared, open::Open, registry::Registry};
use crate::{
    acme::{Answers, Challenges},
    l7::World,
    quotas::{self, Quotas},
};

/// Streams of one connection: an Envoy without the aggregated stream opens one per cluster.
const STREAMS_MAX: u32 = 16 * 1024;

/// How long a peer over a network may be silent before it is asked whether it lives, and how long it
/// may take to say so. A client that stands still has its state kept meanwhile, and no longer.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// The services with what they share.
#[derive(Clone)]
pub(super) struct Discovery {
    pub(super) shared: Shared,
    pub(super) registry: Arc<Registry>,
}

impl Discovery {
    fn new(shared: Shared) -> Self {
        Self { shared, registry: Arc::default() }
    }
}

fn builder() -> tonic::transport::Server {
    tonic::transport::Server::builder().max_concurrent_streams(STREAMS_MAX)
}

/// Serves the node's own Envoy until the listener fails.
pub(super) async fn serve(
    listener: UnixListener,
    shared: Shared,
    challenges: watch::Receiver<Arc<Challenges>>,
    quotas: Quotas,
) -> Result<(), tonic::transport::Error> {
    let discovery = Discovery::new(shared);
    let mut open = Open::default();
    let incoming = UnixListenerStream::new(listener).map(move |accepted| {
        accepted.map(|connection| {
            let (number, noted) = open.note(&connection);
            Connection::new(connection, number).noted(noted)
        })
    });
    let routes = discovery::routes(&discovery)
        .add_service(Answers::service(challenges))
        .add_service(quotas::Service::new(quotas));
    builder().add_routes(routes).serve_with_incoming(incoming).await
}

/// A configuration server for clients of any kind, each with a ledger of its own while it lasts.
///
/// It is what the data plane serves its Envoy with, without what is kept of that one: for tests of
/// the protocol, and to be pointed at by other people's.
#[derive(Debug)]
pub struct Server {
    shared: Shared,
}

impl Server {
    /// Makes a server of what clients are to have; they are sent nothing while that is none.
    #[must_use]
    pub fn new(worlds: watch::Receiver<Option<World>>) -> Self {
        let shared = Shared { worlds, transferred: Arc::default(), own: None, lingers: true };
        Self { shared }
    }

    /// Removes clusters as soon as nothing that was sent refers to them, where else they stay a while
    /// for requests that go on: for clients without traffic.
    #[must_use]
    pub fn without_linger(mut self) -> Self {
        self.shared.lingers = false;
        self
    }

    /// Serves plain connections until the listener fails.
    ///
    /// # Errors
    /// Connections are accepted no more.
    pub async fn serve(self, listener: TcpListener) -> io::Result<()> {
        let discovery = Discovery::new(self.shared);
        let mut number = 0;
        let incoming = TcpListenerStream::new(listener).map(move |accepted| {
            number += 1;
            accepted.map(|connection| Connection::new(connection, number))
        });
        builder()
            .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
            .add_routes(discovery::routes(&discovery))
            .serve_with_incoming(incoming)
            .await
            .map_err(io::Error::other)
    }
}
