//! A control node that says what it is told to.

use std::net::SocketAddr;

use model::{AckState, Engine, Revision};
use runtime::{
    identity::{ClusterId, NodeId, Role},
    push::{
        FrameReader, FrameWriter, FromPlane, ToPlane, connected_peer, server_endpoint,
        snapshot_messages,
    },
};
use serde_json::Value;

use crate::host::{Host, soon};

/// A control node that waits for its data plane.
pub(crate) struct Control {
    endpoint: quinn::Endpoint,
    cluster: ClusterId,
}

/// A session with the data plane; it ends when this is dropped.
pub(crate) struct Session {
    _connection: quinn::Connection,
    reader: FrameReader<quinn::RecvStream, FromPlane>,
    writer: FrameWriter<quinn::SendStream, ToPlane>,
}

impl Control {
    pub(crate) fn start(host: &Host, address: SocketAddr) -> Self {
        let endpoint = server_endpoint(&host.node(Role::Control), address).unwrap();
        Self { endpoint, cluster: host.authority.cluster().clone() }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.endpoint.local_addr().unwrap()
    }

    pub(crate) async fn session(&self) -> Session {
        let connecting = async { self.endpoint.accept().await.unwrap().await.unwrap() };
        let connection = soon("a session", connecting).await;
        assert_eq!(connected_peer(&connection).unwrap().role, Role::DataPlane);
        let (send, receive) = soon("a stream", connection.accept_bi()).await.unwrap();
        let mut session = Session {
            _connection: connection,
            reader: FrameReader::new(receive),
            writer: FrameWriter::new(send),
        };
        soon("a hello", session.reader.read()).await.unwrap();
        session.write(&ToPlane::Welcome { cluster: self.cluster.clone(), node: NodeId(1) }).await;
        session
    }
}

impl Session {
    pub(crate) async fn write(&mut self, message: &ToPlane) {
        self.writer.write(message).await.unwrap();
    }

    /// Pushes a whole configuration.
    pub(crate) async fn push(&mut self, revision: Revision, objects: Vec<Value>) {
        let objects = objects.into_iter().map(|object| {
            let length = object.to_string().len();
            (object, length)
        });
        for message in snapshot_messages(revision, objects.collect()) {
            self.write(&message).await;
        }
    }

    /// Waits for Envoy's answer to a revision.
    pub(crate) async fn answer(&mut self, revision: Revision) -> AckState {
        let answer = async {
            loop {
                let message = self.reader.read().await.unwrap();
                let Some(FromPlane::Reports { reports }) = message else { continue };
                let envoy = reports.into_iter().find(|report| {
                    report.engine == Engine::Envoy
                        && report.revision == revision
                        && !matches!(report.ack, AckState::Unavailable { .. })
                });
                if let Some(report) = envoy {
                    return report.ack;
                }
            }
        };
        soon("Envoy's answer", answer).await
    }
}
