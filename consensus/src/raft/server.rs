//! What this node answers to its peers. Raft RPCs go straight to openraft's handle.

use std::sync::Arc;

use futures::StreamExt;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, TransferLeaderError, TransferLeaderRequest,
    VoteRequest, VoteResponse,
};
use tonic::{Request, Status, Streaming};

use super::convert::{self, InvalidMessage};
use super::leader_calls::LeaderCalls;
use super::transport::Peer;
use super::{Raft, Snapshot, Types};
use crate::errors::Fatal;
use crate::failure::Failure;
use crate::ids::NodeId;
use crate::options::NodeCheck;
use crate::pb::rpc as pb;
use crate::pb::storage::Vote;
use crate::snap::{SnapshotFile, Snapshots};

/// The handlers; clones share everything.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) node: NodeId,
    pub(crate) cluster: Arc<str>,
    pub(crate) node_check: NodeCheck,
    pub(crate) raft: Raft,
    pub(crate) calls: LeaderCalls,
    pub(crate) snapshots: Snapshots,
    pub(crate) failure: Failure,
}

impl Server {
    /// Refuses whoever is not a member of this cluster that means this node.
    fn check(&self, peer: Option<Peer>, header: Option<&pb::Header>) -> Result<(), Status> {
        let refuse = |text: String| {
            tracing::warn!(reason = %text, "a Raft request was refused");
            Err(Status::permission_denied(text))
        };
        let Some(header) = header else { return refuse("the request has no header".into()) };
        if header.version != pb::RPC_VERSION {
            return refuse(format!(
                "node {} speaks version {}, this node {}",
                header.from,
                header.version,
                pb::RPC_VERSION
            ));
        }
        if *header.cluster != *self.cluster {
            return refuse(format!(
                "node {} is of cluster {}, this is cluster {}",
                header.from, header.cluster, self.cluster
            ));
        }
        if header.to != self.node.0 {
            return refuse(format!("node {} was meant, this is node {}", header.to, self.node));
        }
        match peer {
            // A connection outlives the moment in which its node is refused.
            Some(Peer(node)) if node.0 == header.from => (self.node_check)(node).or_else(refuse),
            Some(Peer(node)) => {
                refuse(format!("the certificate of node {node} speaks for node {}", header.from))
            }
            None => refuse("the connection has no certificate".into()),
        }
    }

    pub(crate) async fn append(
        &self,
        request: Request<pb::AppendRequest>,
    ) -> Result<pb::AppendResponse, Status> {
        let (peer, request) = parts(request);
        self.check(peer, request.header.as_ref())?;
        let entries: Result<Vec<_>, _> = request.entries.into_iter().map(convert::entry).collect();
        let entries = entries.map_err(|error| {
            if let InvalidMessage::Command(error) = &error {
                // The leader is newer: this member can neither apply nor skip what follows.
                self.failure.report(Fatal { part: "raft", reason: error.to_string() });
            }
            Status::failed_precondition(error.to_string())
        })?;
        let rpc = AppendEntriesRequest {
            vote: vote(request.vote)?,
            prev_log_id: request.previous.as_ref().map(convert::log_id),
            entries,
            leader_commit: request.committed.as_ref().map(convert::log_id),
        };
        let outcome = match self.raft.append_entries(rpc).await.map_err(stopped)? {
            AppendEntriesResponse::Success => pb::AppendOutcome::Success(true),
            AppendEntriesResponse::PartialSuccess(upto) => {
                let log_id = upto.as_ref().map(convert::log_id_message);
                pb::AppendOutcome::Partial(pb::MaybeLogId { log_id })
            }
            AppendEntriesResponse::Conflict => pb::AppendOutcome::Conflict(true),
            AppendEntriesResponse::HigherVote(vote) => {
                pb::AppendOutcome::HigherVote(convert::vote_message(&vote))
            }
        };
        Ok(pb::AppendResponse { outcome: Some(outcome) })
    }

    pub(crate) async fn vote(
        &self,
        request: Request<pb::VoteRequest>,
    ) -> Result<pb::VoteResponse, Status> {
        let rpc = self.vote_request(request)?;
        Ok(vote_response(&self.raft.vote(rpc).await.map_err(stopped)?))
    }

    pub(crate) async fn pre_vote(
        &self,
        request: Request<pb::VoteRequest>,
    ) -> Result<pb::VoteResponse, Status> {
        let rpc = self.vote_request(request)?;
        Ok(vote_response(&self.raft.pre_vote(rpc).await.map_err(stopped)?))
    }

    fn vote_request(
        &self,
        request: Request<pb::VoteRequest>,
    ) -> Result<VoteRequest<Types>, Status> {
        let (peer, request) = parts(request);
        self.check(peer, request.header.as_ref())?;
        let mut rpc =
            VoteRequest::new(vote(request.vote)?, request.last.as_ref().map(convert::log_id));
        rpc.leadership_transfer = request.leadership_transfer;
        Ok(rpc)
    }

    pub(crate) async fn transfer(
        &self,
        request: Request<pb::TransferRequest>,
    ) -> Result<pb::TransferResponse, Status> {
        let (peer, request) = parts(request);
        self.check(peer, request.header.as_ref())?;
        let last = request.last.as_ref().map(convert::log_id);
        let rpc = TransferLeaderRequest::new(vote(request.vote)?, self.node.0, last);
        let result = self.raft.handle_transfer_leader(rpc).await;
        Ok(match result.map_err(|e| Status::unavailable(e.to_string()))? {
            Ok(()) => pb::TransferResponse::default(),
            Err(TransferLeaderError::VoteChanged { actual, .. }) => pb::TransferResponse {
                vote_changed: true,
                actual_vote: Some(convert::vote_message(&actual)),
                ..Default::default()
            },
            Err(TransferLeaderError::LogNotFlushed { actual, .. }) => pb::TransferResponse {
                not_flushed: true,
                actual_last: actual.as_ref().map(convert::log_id_message),
                ..Default::default()
            },
        })
    }

    pub(crate) async fn forward(
        &self,
        request: Request<pb::ForwardRequest>,
    ) -> Result<pb::ForwardResponse, Status> {
        let (peer, request) = parts(request);
        self.check(peer, request.header.as_ref())?;
        let call = request.call.ok_or_else(|| Status::invalid_argument("the call is missing"))?;
        Ok(pb::ForwardResponse { answer: Some(self.calls.answer(call).await) })
    }

    pub(crate) async fn snapshot(
        &self,
        request: Request<Streaming<pb::SnapshotPiece>>,
    ) -> Result<pb::SnapshotResponse, Status> {
        let (peer, mut pieces) = parts(request);
        let first = pieces.next().await.ok_or_else(|| Status::invalid_argument("no piece"))??;
        self.check(peer, first.header.as_ref())?;
        let vote = vote(first.vote)?;
        let received = self.receive(pieces).await?;
        let path = received.path.clone();
        let result = self.install(vote, received).await;
        // Installing writes its own file; this one is swept at the next start if it stays.
        let _ = self.snapshots.disk.remove(&path);
        result
    }

    async fn install(
        &self,
        vote: super::Vote,
        received: SnapshotFile,
    ) -> Result<pb::SnapshotResponse, Status> {
        let image = self.snapshots.header(&received);
        let image = image.map_err(|e| Status::invalid_argument(e.to_string()))?;
        let meta = convert::snapshot_meta(&image);
        let meta = meta.map_err(|e| Status::invalid_argument(e.to_string()))?;
        let snapshot = Snapshot { meta, snapshot: received };
        let installed = self.raft.install_full_snapshot(vote, snapshot).await;
        let installed = installed.map_err(|e| Status::unavailable(e.to_string()))?;
        Ok(pb::SnapshotResponse { vote: Some(convert::vote_message(&installed.vote)) })
    }

    /// Writes the pieces to a file and checks all of it, so that openraft never sees a bad one.
    async fn receive(
        &self,
        mut pieces: Streaming<pb::SnapshotPiece>,
    ) -> Result<SnapshotFile, Status> {
        let internal = |e: std::io::Error| Status::internal(format!("store the snapshot: {e}"));
        let path = self.snapshots.temporary("received");
        let file = self.snapshots.disk.create(&path).map_err(internal)?;
        let mut size = 0;
        while let Some(piece) = pieces.next().await {
            let data = piece?.data;
            file.write_at(&data, size).map_err(internal)?;
            size += data.len() as u64;
        }
        let received = SnapshotFile { path, file: Arc::from(file), size };
        let (snapshots, checked) = (self.snapshots.clone(), received.clone());
        let read = tokio::task::spawn_blocking(move || snapshots.read(&checked).map(|_| ())).await;
        read.map_err(|e| Status::internal(e.to_string()))?
            .map_err(|e| Status::data_loss(e.to_string()))?;
        Ok(received)
    }
}

fn parts<T>(request: Request<T>) -> (Option<Peer>, T) {
    let peer = request.extensions().get::<Peer>().copied();
    (peer, request.into_inner())
}

fn vote(vote: Option<Vote>) -> Result<super::Vote, Status> {
    vote.as_ref().map(convert::vote).ok_or_else(|| Status::invalid_argument("the vote is missing"))
}

fn vote_response(response: &VoteResponse<Types>) -> pb::VoteResponse {
    pb::VoteResponse {
        vote: Some(convert::vote_message(&response.vote)),
        granted: response.vote_granted,
        last: response.last_log_id.as_ref().map(convert::log_id_message),
    }
}

fn stopped(error: impl std::fmt::Display) -> Status {
    Status::unavailable(error.to_string())
}
