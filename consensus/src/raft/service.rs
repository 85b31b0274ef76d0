//! The gRPC service: paths to handlers. No decisions; those are in [`super::server`].

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tonic::body::Body;
use tonic::server::Grpc;
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;
use tower::Service;

use super::peers::MESSAGE_BYTES_MAX;
use super::server::Server;

pub(crate) const APPEND: &str = "/marchproxy.raft.v1.Raft/Append";
pub(crate) const VOTE: &str = "/marchproxy.raft.v1.Raft/Vote";
pub(crate) const PRE_VOTE: &str = "/marchproxy.raft.v1.Raft/PreVote";
pub(crate) const SNAPSHOT: &str = "/marchproxy.raft.v1.Raft/Snapshot";
pub(crate) const TRANSFER: &str = "/marchproxy.raft.v1.Raft/Transfer";
pub(crate) const FORWARD: &str = "/marchproxy.raft.v1.Raft/Forward";

/// Routes requests by their path.
#[derive(Clone)]
pub(crate) struct RaftService(pub(crate) Server);

type Answer = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

impl Service<http::Request<Body>> for RaftService {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Answer {
        let server = self.0.clone();
        let path = request.uri().path().to_owned();
        match path.as_str() {
            APPEND => unary(request, move |r| {
                let server = server.clone();
                async move { server.append(r).await }
            }),
            VOTE => unary(request, move |r| {
                let server = server.clone();
                async move { server.vote(r).await }
            }),
            PRE_VOTE => unary(request, move |r| {
                let server = server.clone();
                async move { server.pre_vote(r).await }
            }),
            TRANSFER => unary(request, move |r| {
                let server = server.clone();
                async move { server.transfer(r).await }
            }),
            FORWARD => unary(request, move |r| {
                let server = server.clone();
                async move { server.forward(r).await }
            }),
            SNAPSHOT => Box::pin(async move {
                let handler = tower::service_fn(move |r| {
                    let server = server.clone();
                    async move { server.snapshot(r).await.map(Response::new) }
                });
                Ok(grpc().client_streaming(handler, request).await)
            }),
            _ => Box::pin(async { Ok(Status::unimplemented("no such method").into_http()) }),
        }
    }
}

fn unary<Q, A, F>(
    request: http::Request<Body>,
    handler: impl Fn(Request<Q>) -> F + Send + Sync + 'static,
) -> Answer
where
    Q: prost::Message + Default + Send + 'static,
    A: prost::Message + Send + 'static,
    F: Future<Output = Result<A, Status>> + Send + 'static,
{
    Box::pin(async move {
        let handler = tower::service_fn(move |request| {
            let answer = handler(request);
            async move { answer.await.map(Response::new) }
        });
        Ok(grpc::<Q, A>().unary(handler, request).await)
    })
}

fn grpc<Q, A>() -> Grpc<ProstCodec<A, Q>>
where
    Q: prost::Message + Default + Send + 'static,
    A: prost::Message + Send + 'static,
{
    Grpc::new(ProstCodec::default())
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}
