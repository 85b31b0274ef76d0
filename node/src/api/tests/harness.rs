//! A one-node cluster in a temporary directory, and a caller that can send anything.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use model::api::TokenRole;
use rustls_pki_types::ServerName;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::{
    api::{self, Options},
    client::{Client, Context, Secret},
    control::{self, Running, Start},
    settings::{Flags, Settings},
};

pub(super) const SHOP: &str = include_str!("../../../../examples/shop.yaml");

/// Nodes of this test process.
static NODES: AtomicU8 = AtomicU8::new(0);

/// A node that serves its API.
pub(super) struct Node {
    pub(super) running: Running,
    pub(super) admin: String,
    pub(super) read: String,
    directory: tempfile::TempDir,
}

/// An answer as it came.
#[derive(Debug)]
pub(super) struct Raw {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Raw {
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {:?}", String::from_utf8_lossy(&self.body)))
    }

    pub(super) fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }
}

impl Node {
    /// Starts a cluster of one, each on a loopback address of its own.
    pub(super) async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let pid = std::process::id();
        let nth = NODES.fetch_add(1, Ordering::Relaxed);
        let address = IpAddr::from([127, 64 + nth, (pid >> 8) as u8, (pid % 250) as u8 + 1]);
        let flags = Flags {
            data_dir: Some(directory.path().join("data")),
            run_dir: Some(directory.path().join("run")),
            address: Some(address),
            no_dataplane: true,
            ..Flags::default()
        };
        let settings = Settings::resolve(flags).unwrap();
        let options = Options {
            run_dir: settings.run_dir.clone(),
            metrics: Arc::new(|| "# HELP x\n".to_owned()),
        };
        let running =
            Box::pin(control::start(settings, Start::Up, api::server(options))).await.unwrap();
        let admin = running.admin_token.as_ref().unwrap().as_str().to_owned();
        let read = running.control.create_token("test", "reader", TokenRole::Read).await.unwrap();
        Self { running, admin, read, directory }
    }

    pub(super) fn context(&self, token: &str) -> Context {
        Context {
            servers: vec![self.running.control.node().1.api.into()],
            ca_pin: self.running.control.identity().pin(),
            token: Secret::new(token),
        }
    }

    pub(super) fn run_dir(&self) -> std::path::PathBuf {
        self.directory.path().join("run")
    }

    pub(super) fn client(&self) -> Client {
        Client::new(&self.context(&self.admin)).unwrap()
    }

    /// Ends it in order.
    pub(super) async fn stop(self) {
        self.running.shutdown().await;
    }

    pub(super) async fn get(&self, path: &str) -> Raw {
        self.call(Method::GET, path, Some(&self.admin), &[], "").await
    }

    pub(super) async fn post(&self, path: &str, body: impl Into<Bytes>) -> Raw {
        self.call(Method::POST, path, Some(&self.admin), &[], body).await
    }

    /// Sends one request on a connection of its own and reads the whole answer.
    pub(super) async fn call(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Raw {
        let exchange = self.exchange(method, path, token, headers, body.into());
        tokio::time::timeout(Duration::from_secs(30), exchange).await.expect("an answer in time")
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Raw {
        let address = self.running.control.node().1.api;
        let tls = runtime::tls::client_pinned(&self.running.control.identity().pin()).unwrap();
        let tcp = TcpStream::connect(address).await.unwrap();
        let tls = tokio_rustls::TlsConnector::from(tls)
            .connect(ServerName::from(address.ip()), tcp)
            .await
            .unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(tls)).await.unwrap();
        let _driver = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(connection));
        let mut request =
            http::Request::builder().method(method).uri(path).header("host", address.to_string());
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = sender.send_request(request.body(Full::new(body)).unwrap()).await.unwrap();
        let (head, mut body) = response.into_parts();
        let bytes = if head.headers.get("content-type").is_some_and(|t| t == "text/event-stream") {
            // An open end: the first part is enough.
            body.frame().await.unwrap().unwrap().into_data().unwrap()
        } else {
            body.collect().await.unwrap().to_bytes()
        };
        Raw { status: head.status, headers: head.headers, body: bytes }
    }
}
