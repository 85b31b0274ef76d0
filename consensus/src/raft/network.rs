//! openraft's network: each RPC as one call on the peer's cached channel.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use openraft::OptionalSend;
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderError,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use super::peers::{Peers, client, unary};
use super::{Node, Snapshot, Types, Vote, convert, service};
use crate::ids::NodeId;
use crate::pb::rpc as pb;
use crate::snap::SnapshotFile;

/// Bytes of a snapshot in one message.
const PIECE_BYTES: usize = 1024 * 1024;
/// Pieces that are read ahead of the network.
const PIECES_AHEAD: usize = 4;

/// Makes a client a peer.
pub(crate) struct Network {
    pub(crate) peers: Peers,
    /// How long an append may take; above a slow fsync, at most an election timeout.
    pub(crate) append_timeout: Duration,
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Client;

    async fn new_client(&mut self, target: u64, node: &Node) -> Client {
        Client {
            peers: self.peers.clone(),
            target: NodeId(target),
            address: node.0.raft,
            append_timeout: self.append_timeout,
        }
    }
}

/// The calls to one peer.
pub(crate) struct Client {
    peers: Peers,
    target: NodeId,
    address: SocketAddr,
    append_timeout: Duration,
}

impl Client {
    async fn unary<Q, A>(
        &self,
        path: &'static str,
        request: Q,
        timeout: Duration,
    ) -> Result<A, RPCError<Types>>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        let channel = self.peers.channel(self.target, self.address);
        unary(channel, path, request, timeout).await.map_err(|status| failed(&status))
    }
}

/// Tells openraft whether to back off.
fn failed(status: &Status) -> RPCError<Types> {
    let text = format!("{:?}: {}", status.code(), status.message());
    match status.code() {
        Code::DeadlineExceeded => RPCError::Network(NetworkError::from_string(text)),
        _ => RPCError::Unreachable(Unreachable::from_string(text)),
    }
}

fn missing(what: &'static str) -> RPCError<Types> {
    RPCError::Network(NetworkError::from_string(format!("the answer has no {what}")))
}

impl RaftNetworkV2<Types> for Client {
    type SnapshotData = SnapshotFile;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        let request = pb::AppendRequest {
            header: self.peers.header(self.target),
            vote: Some(convert::vote_message(&rpc.vote)),
            previous: rpc.prev_log_id.as_ref().map(convert::log_id_message),
            entries: rpc.entries.iter().map(convert::entry_message).collect(),
            committed: rpc.leader_commit.as_ref().map(convert::log_id_message),
        };
        let timeout = option.hard_ttl().max(self.append_timeout);
        let answer: pb::AppendResponse = self.unary(service::APPEND, request, timeout).await?;
        Ok(match answer.outcome.ok_or_else(|| missing("outcome"))? {
            pb::AppendOutcome::Success(_) => AppendEntriesResponse::Success,
            pb::AppendOutcome::Partial(upto) => {
                AppendEntriesResponse::PartialSuccess(upto.log_id.as_ref().map(convert::log_id))
            }
            pb::AppendOutcome::Conflict(_) => AppendEntriesResponse::Conflict,
            pb::AppendOutcome::HigherVote(vote) => {
                AppendEntriesResponse::HigherVote(convert::vote(&vote))
            }
        })
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.ask_vote(service::VOTE, rpc, option).await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.ask_vote(service::PRE_VOTE, rpc, option).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let first = pb::SnapshotPiece {
            header: self.peers.header(self.target),
            vote: Some(convert::vote_message(&vote)),
            data: Bytes::new(),
        };
        let channel = self.peers.channel(self.target, self.address);
        let call = send_snapshot(channel, first, snapshot.snapshot);
        let answer = tokio::select! {
            answer = tokio::time::timeout(option.hard_ttl(), call) => answer,
            closed = cancel => return Err(StreamingError::Closed(closed)),
        };
        let answer = answer.unwrap_or_else(|_| {
            Err(Status::deadline_exceeded(format!("no answer within {:?}", option.hard_ttl())))
        });
        let answer = answer.map_err(|status| StreamingError::from(failed(&status)))?;
        let vote = answer.vote.ok_or_else(|| missing("vote")).map_err(StreamingError::from)?;
        Ok(SnapshotResponse::new(convert::vote(&vote)))
    }

    async fn transfer_leader(
        &mut self,
        rpc: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        let request = pb::TransferRequest {
            header: self.peers.header(self.target),
            vote: Some(convert::vote_message(rpc.from_leader())),
            last: rpc.last_log_id().map(convert::log_id_message),
        };
        let timeout = option.hard_ttl().max(self.append_timeout);
        let answer: pb::TransferResponse = self.unary(service::TRANSFER, request, timeout).await?;
        if answer.vote_changed {
            let actual = answer.actual_vote.ok_or_else(|| missing("vote"))?;
            let (expected, actual) = (*rpc.from_leader(), convert::vote(&actual));
            return Ok(Err(TransferLeaderError::VoteChanged { expected, actual }));
        }
        if answer.not_flushed {
            return Ok(Err(TransferLeaderError::LogNotFlushed {
                expected: rpc.last_log_id().copied(),
                actual: answer.actual_last.as_ref().map(convert::log_id),
            }));
        }
        Ok(Ok(()))
    }
}

impl Client {
    async fn ask_vote(
        &self,
        path: &'static str,
        rpc: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let request = pb::VoteRequest {
            header: self.peers.header(self.target),
            vote: Some(convert::vote_message(&rpc.vote)),
            last: rpc.last_log_id.as_ref().map(convert::log_id_message),
            leadership_transfer: rpc.leadership_transfer,
        };
        let answer: pb::VoteResponse = self.unary(path, request, option.hard_ttl()).await?;
        let vote = convert::vote(&answer.vote.ok_or_else(|| missing("vote"))?);
        let last = answer.last.as_ref().map(convert::log_id);
        Ok(VoteResponse::new(vote, last, answer.granted))
    }
}

/// Streams a snapshot file, first the header, then its bytes.
async fn send_snapshot(
    channel: tonic::transport::Channel,
    first: pb::SnapshotPiece,
    snapshot: SnapshotFile,
) -> Result<pb::SnapshotResponse, Status> {
    let (sender, receiver) = tokio::sync::mpsc::channel(PIECES_AHEAD);
    let reader = tokio::task::spawn_blocking(move || -> std::io::Result<()> {
        let mut piece = first;
        let mut at = 0;
        // A closed channel means that the call ended; its own result says why.
        while sender.blocking_send(piece).is_ok() && at < snapshot.size {
            let mut data = vec![0; (snapshot.size - at).min(PIECE_BYTES as u64) as usize];
            snapshot.file.read_at(&mut data, at)?;
            at += data.len() as u64;
            piece = pb::SnapshotPiece { header: None, vote: None, data: Bytes::from(data) };
        }
        Ok(())
    });
    let mut client = client(channel);
    client.ready().await.map_err(|e| Status::unavailable(e.to_string()))?;
    let stream = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let path = PathAndQuery::from_static(service::SNAPSHOT);
    let codec = ProstCodec::<pb::SnapshotPiece, pb::SnapshotResponse>::default();
    let answer = client.client_streaming(Request::new(stream), path, codec).await;
    match reader.await {
        Ok(Ok(())) => Ok(answer?.into_inner()),
        Ok(Err(error)) => Err(Status::internal(format!("read the snapshot: {error}"))),
        Err(error) => Err(Status::internal(error.to_string())),
    }
}
