//! An HTTP server that keeps what it is sent.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// The path and the body of a request.
type Kept = (String, Vec<u8>);

pub(crate) struct Collector {
    pub(crate) port: u16,
    kept: Arc<Mutex<Vec<Kept>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Collector {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let kept = Arc::new(Mutex::new(Vec::new()));
        let keeping = kept.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let kept = keeping.clone();
                tokio::spawn(async move {
                    let service = service_fn(move |request| keep(kept.clone(), request));
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self { port, kept, task }
    }

    /// What was sent so far.
    pub(crate) fn bodies(&self) -> Vec<Kept> {
        self.kept.lock().unwrap().clone()
    }
}

async fn keep(
    kept: Arc<Mutex<Vec<Kept>>>,
    request: Request<Incoming>,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    if let Ok(body) = request.into_body().collect().await {
        kept.lock().unwrap().push((path, body.to_bytes().to_vec()));
    }
    Ok(Response::new(Empty::new()))
}
