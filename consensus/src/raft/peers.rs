//! One cached channel a peer, and the calls that go over it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::uri::PathAndQuery;
use prost::Message;
use tonic::transport::Channel;
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

use super::service;
use super::transport::Transport;
use crate::ids::NodeId;
use crate::pb::rpc::{ForwardRequest, ForwardResponse, Header, RPC_VERSION};

/// The largest message: one transaction beside a full read of the log, with room to spare.
pub(crate) const MESSAGE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// All peers; clones share the channels.
#[derive(Clone)]
pub(crate) struct Peers {
    transport: Transport,
    cluster: Arc<str>,
    node: NodeId,
    channels: Arc<Mutex<HashMap<NodeId, (SocketAddr, Channel)>>>,
}

impl Peers {
    pub(crate) fn new(transport: Transport, cluster: &str, node: NodeId) -> Self {
        Self { transport, cluster: cluster.into(), node, channels: Arc::default() }
    }

    /// What each request to `to` begins with.
    pub(crate) fn header(&self, to: NodeId) -> Option<Header> {
        Some(Header {
            version: RPC_VERSION,
            cluster: self.cluster.to_string(),
            from: self.node.0,
            to: to.0,
        })
    }

    /// The channel to a peer.
    pub(crate) fn channel(&self, node: NodeId, address: SocketAddr) -> Channel {
        let mut channels = self.channels.lock().expect("no one panics with this lock");
        match channels.get(&node) {
            Some((known, channel)) if *known == address => channel.clone(),
            _ => {
                let channel = self.transport.channel(node, address);
                channels.insert(node, (address, channel.clone()));
                channel
            }
        }
    }

    /// Sends on a call that only the leader can answer.
    pub(crate) async fn forward(
        &self,
        node: NodeId,
        address: SocketAddr,
        request: ForwardRequest,
        timeout: Duration,
    ) -> Result<ForwardResponse, Status> {
        let channel = self.channel(node, address);
        unary(channel, service::FORWARD, request, timeout).await
    }
}

/// Calls a unary method, with a limit on the time.
pub(crate) async fn unary<Q, A>(
    channel: Channel,
    path: &'static str,
    request: Q,
    timeout: Duration,
) -> Result<A, Status>
where
    Q: Message + Send + Sync + 'static,
    A: Message + Default + Send + Sync + 'static,
{
    let call = async {
        let mut client = client(channel);
        client.ready().await.map_err(|e| Status::unavailable(sources(&e)))?;
        let path = PathAndQuery::from_static(path);
        let codec = ProstCodec::<Q, A>::default();
        client.unary(Request::new(request), path, codec).await
    };
    match tokio::time::timeout(timeout, call).await {
        Ok(answer) => Ok(answer?.into_inner()),
        Err(_) => Err(Status::deadline_exceeded(format!("no answer within {timeout:?}"))),
    }
}

/// A client with our limits.
pub(crate) fn client(channel: Channel) -> tonic::client::Grpc<Channel> {
    tonic::client::Grpc::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

/// An error with its causes in one line.
fn sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text = format!("{text}: {source}");
        next = source.source();
    }
    text
}
