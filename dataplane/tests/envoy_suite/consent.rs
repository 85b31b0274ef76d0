//! An HTTP server that gives the same answer to everything, and remembers what it was asked.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::Full;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// What it was asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
}

pub(crate) struct Consent {
    pub(crate) port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
    body: Arc<Mutex<Bytes>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Consent {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Consent {
    pub(crate) async fn start(status: u16, body: &str) -> Self {
        Self::at(TcpListener::bind("127.0.0.1:0").await.unwrap(), status, body)
    }

    /// Answers whom a listener takes, and took before.
    pub(crate) fn at(listener: TcpListener, status: u16, body: &str) -> Self {
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let body = Arc::new(Mutex::new(Bytes::from(body.to_owned())));
        let (remembered, said) = (asked.clone(), body.clone());
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (remembered, said) = (remembered.clone(), said.clone());
                tokio::spawn(async move {
                    let service = service_fn(move |request: Request<Incoming>| {
                        let path = request.uri().path().to_owned();
                        let headers = request.headers().clone();
                        remembered.lock().unwrap().push(Asked { path, headers });
                        let answer = Response::builder()
                            .status(status)
                            .header("x-consent", "given")
                            .body(Full::new(said.lock().unwrap().clone()))
                            .unwrap();
                        async move { Ok::<_, Infallible>(answer) }
                    });
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self { port, asked, body, task }
    }

    /// Says something else from the next answer on.
    pub(crate) fn say(&self, body: &str) {
        *self.body.lock().unwrap() = Bytes::from(body.to_owned());
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}
