//! A gRPC server that takes calls of any service, and the client for it. Messages are texts.
//!
//! An answer begins with the server's name. The method `Chat` answers each message of a stream as it
//! comes; every other method answers one message, as its metadata asks: `x-unavailable-first: n` fails
//! the server's first `n` calls, `x-delay-ms` waits.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use http::uri::PathAndQuery;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_stream::{Stream, StreamExt, wrappers::ReceiverStream};
use tonic::{
    Request, Response, Status, Streaming,
    body::Body,
    codegen::BoxFuture,
    server::{StreamingService, UnaryService},
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;

type Texts = ProstCodec<String, String>;

pub(crate) struct GrpcBackend {
    pub(crate) port: u16,
    seen: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for GrpcBackend {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl GrpcBackend {
    pub(crate) async fn start(name: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::<AtomicU64>::default();
        let calls = seen.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let calls = calls.clone();
                let service = service_fn(move |request| answer(name, calls.clone(), request));
                tokio::spawn(
                    hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        Self { port, seen, task }
    }

    /// The calls that came.
    pub(crate) fn seen(&self) -> u64 {
        self.seen.load(Ordering::Relaxed)
    }

    /// Its document.
    pub(crate) fn service(&self, name: &str) -> String {
        format!(
            "---\nkind: Service\nmetadata: {{ name: {name} }}\nspec: {{ protocol: HTTP2, endpoints: \
             [{{ address: 127.0.0.1, port: {} }}] }}\n",
            self.port
        )
    }
}

async fn answer(
    name: &'static str,
    calls: Arc<AtomicU64>,
    request: http::Request<Incoming>,
) -> Result<http::Response<Body>, Infallible> {
    let call = Call { name, number: calls.fetch_add(1, Ordering::Relaxed) + 1 };
    let mut server = tonic::server::Grpc::new(Texts::default());
    Ok(if request.uri().path().ends_with("/Chat") {
        server.streaming(call, request).await
    } else {
        server.unary(call, request).await
    })
}

struct Call {
    name: &'static str,
    number: u64,
}

impl UnaryService<String> for Call {
    type Response = String;
    type Future = BoxFuture<Response<String>, Status>;

    fn call(&mut self, request: Request<String>) -> Self::Future {
        let (name, number) = (self.name, self.number);
        Box::pin(async move {
            let asked = |name: &str| {
                let value = request.metadata().get(name)?.to_str().ok()?;
                value.parse::<u64>().ok()
            };
            if let Some(delay) = asked("x-delay-ms") {
                tokio::time::sleep(Duration::from_millis(delay)).await;
            }
            if asked("x-unavailable-first").is_some_and(|first| number <= first) {
                return Err(Status::unavailable("as asked"));
            }
            Ok(Response::new(format!("{name}: {}", request.get_ref())))
        })
    }
}

impl StreamingService<String> for Call {
    type Response = String;
    type ResponseStream = std::pin::Pin<Box<dyn Stream<Item = Result<String, Status>> + Send>>;
    type Future = BoxFuture<Response<Self::ResponseStream>, Status>;

    fn call(&mut self, request: Request<Streaming<String>>) -> Self::Future {
        let name = self.name;
        let answers = request.into_inner().map(move |text| Ok(format!("{name}: {}", text?)));
        Box::pin(async move { Ok(Response::new(Box::pin(answers) as Self::ResponseStream)) })
    }
}

/// A client of a listener, for one host.
pub(crate) struct GrpcClient(Channel);

impl GrpcClient {
    pub(crate) async fn connect(port: u16, host: &str) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{port}")).unwrap();
        let origin = format!("http://{host}").parse().unwrap();
        Self(endpoint.origin(origin).connect().await.expect("the listener takes connections"))
    }

    /// Calls a method, such as `shop.Cart/Add`.
    pub(crate) async fn call(
        &self,
        method: &str,
        metadata: &[(&'static str, &str)],
    ) -> Result<String, Status> {
        let mut client = tonic::client::Grpc::new(self.0.clone());
        client.ready().await.unwrap();
        let mut request = Request::new("hello".to_owned());
        for (name, value) in metadata {
            request.metadata_mut().insert(*name, value.parse().unwrap());
        }
        Ok(client.unary(request, path(method), Texts::default()).await?.into_inner())
    }

    /// Opens a stream in both directions.
    pub(crate) async fn chat(
        &self,
        method: &str,
    ) -> Result<(mpsc::Sender<String>, Streaming<String>), Status> {
        let mut client = tonic::client::Grpc::new(self.0.clone());
        client.ready().await.unwrap();
        let (sender, texts) = mpsc::channel(1);
        let request = Request::new(ReceiverStream::new(texts));
        let answers = client.streaming(request, path(method), Texts::default()).await?;
        Ok((sender, answers.into_inner()))
    }
}

fn path(method: &str) -> PathAndQuery {
    format!("/{method}").parse().unwrap()
}
