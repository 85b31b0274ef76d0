//! The `adapter.Adapter` service: its methods by path, as a code generator would write them.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    sync::Arc,
    task::{Context, Poll},
};

use prost::Message;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Request, Response, Status,
    body::Body,
    codegen::{BoxFuture, Service, http},
    server::{Grpc, NamedService, UnaryService},
};
use tonic_prost::ProstCodec;

use super::{
    messages::{ClearStateRequest, ClearStateResponse, Done, ResourceRequest, SetStateRequest},
    state::State,
};

/// Serves until the listener fails.
pub(crate) async fn serve(
    listener: TcpListener,
    state: State,
) -> Result<(), tonic::transport::Error> {
    tonic::transport::Server::builder()
        .add_service(Adapter(Arc::new(state)))
        .serve_with_incoming(TcpListenerStream::new(listener))
        .await
}

#[derive(Clone)]
struct Adapter(Arc<State>);

impl NamedService for Adapter {
    const NAME: &'static str = "adapter.Adapter";
}

impl Service<http::Request<Body>> for Adapter {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let state = self.0.clone();
        let done = |(): ()| Done { success: true };
        match request.uri().path() {
            "/adapter.Adapter/SetState" => {
                unary(request, move |set: SetStateRequest| state.set(set).map(done))
            }
            "/adapter.Adapter/ClearState" => unary(request, move |_: ClearStateRequest| {
                state.clear();
                Ok(ClearStateResponse { response: "cleared".to_owned() })
            }),
            "/adapter.Adapter/AddResource" | "/adapter.Adapter/UpdateResource" => {
                unary(request, move |put: ResourceRequest| state.put(&put).map(done))
            }
            "/adapter.Adapter/RemoveResource" => {
                unary(request, move |remove: ResourceRequest| state.remove(&remove).map(done))
            }
            _ => Box::pin(ready(Ok(Status::unimplemented("no such method").into_http()))),
        }
    }
}

fn unary<Req, Res>(
    request: http::Request<Body>,
    method: impl FnMut(Req) -> Result<Res, Status> + Send + 'static,
) -> BoxFuture<http::Response<Body>, Infallible>
where
    Req: Message + Default + 'static,
    Res: Message + Default + 'static,
{
    Box::pin(async move {
        let codec = ProstCodec::<Res, Req>::default();
        Ok(Grpc::new(codec).unary(Method(method), request).await)
    })
}

/// A method that answers at once.
struct Method<F>(F);

impl<F, Req, Res> UnaryService<Req> for Method<F>
where
    F: FnMut(Req) -> Result<Res, Status>,
{
    type Response = Res;
    type Future = Ready<Result<Response<Res>, Status>>;

    fn call(&mut self, request: Request<Req>) -> Self::Future {
        ready((self.0)(request.into_inner()).map(Response::new))
    }
}
