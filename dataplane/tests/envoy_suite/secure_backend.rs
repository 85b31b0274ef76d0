//! A server that says how it was reached: by which version of HTTP, over which connection, with
//! which certificate of the client. Speaks HTTP/1.1 and HTTP/2, with TLS when given one.

use std::{
    collections::BTreeSet,
    convert::Infallible,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use model::cluster::NodeId;
use runtime::identity::{Authority, KeyPair, PeerIdentity, Role, Validity};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use sha2::{Digest, Sha256};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

/// A certificate chain, its key and the name it is for.
pub(crate) struct Issued {
    pub(crate) chain: String,
    pub(crate) key: String,
    pub(crate) name: String,
}

pub(crate) fn issue(authority: &Authority, node: u64) -> Issued {
    let identity = PeerIdentity {
        cluster: authority.cluster().clone(),
        node: NodeId(node),
        role: Role::DataPlane,
    };
    let key = KeyPair::generate().unwrap();
    let csr = key.csr().unwrap();
    let chain = authority.issue(&csr.0, &identity, Validity::node()).unwrap();
    let [_, name] = identity.dns_names();
    Issued { chain, key: key.to_pem().to_string(), name }
}

/// Makes TLS that asks clients for certificates of `authority`.
pub(crate) fn tls(authority: &Authority, issued: &Issued, protocols: &[&str]) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate().clone()).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let chain = CertificateDer::pem_slice_iter(issued.chain.as_bytes());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(
            chain.collect::<Result<_, _>>().unwrap(),
            PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap(),
        )
        .unwrap();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    config
}

#[derive(Default)]
pub(crate) struct Seen {
    /// Connections that spoke HTTP.
    pub(crate) connections: AtomicU64,
    /// Hashes of the certificates of clients.
    pub(crate) clients: Mutex<BTreeSet<String>>,
    /// What the gRPC health service answers.
    pub(crate) not_serving: AtomicBool,
    /// Health checks by gRPC.
    pub(crate) checks: AtomicU64,
}

pub(crate) struct SecureBackend {
    pub(crate) port: u16,
    pub(crate) seen: Arc<Seen>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for SecureBackend {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl SecureBackend {
    pub(crate) async fn start(name: &str, tls: Option<ServerConfig>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::<Seen>::default();
        let acceptor = tls.map(|tls| TlsAcceptor::from(Arc::new(tls)));
        let (name, all): (Arc<str>, _) = (name.into(), seen.clone());
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (name, seen, acceptor) = (name.clone(), all.clone(), acceptor.clone());
                tokio::spawn(async move {
                    let Some(acceptor) = acceptor else {
                        return serve(stream, name, seen).await;
                    };
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let certificates = stream.get_ref().1.peer_certificates();
                    if let Some(client) = certificates.and_then(<[_]>::first) {
                        let hash = hex::encode(Sha256::digest(client));
                        seen.clients.lock().unwrap().insert(hash);
                    }
                    serve(stream, name, seen).await;
                });
            }
        });
        Self { port, seen, task }
    }

    pub(crate) fn connections(&self) -> u64 {
        self.seen.connections.load(Ordering::Relaxed)
    }
}

async fn serve<S>(stream: S, name: Arc<str>, seen: Arc<Seen>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    seen.connections.fetch_add(1, Ordering::Relaxed);
    let service = service_fn(move |request| answer(name.clone(), seen.clone(), request));
    let _ = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn answer(
    name: Arc<str>,
    seen: Arc<Seen>,
    request: Request<Incoming>,
) -> Result<Response<BoxBody<Bytes, Infallible>>, Infallible> {
    if request.uri().path() == "/grpc.health.v1.Health/Check" {
        seen.checks.fetch_add(1, Ordering::Relaxed);
        return Ok(health(seen.not_serving.load(Ordering::Relaxed)));
    }
    if let Some(ms) = request.headers().get("x-delay-ms") {
        let ms = ms.to_str().unwrap().parse().unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(ms)).await;
    }
    let body = serde_json::json!({
        "backend": &*name,
        "version": format!("{:?}", request.version()),
    });
    Ok(Response::new(Full::new(Bytes::from(body.to_string())).boxed()))
}

/// `HealthCheckResponse` with the status `SERVING` or `NOT_SERVING`.
fn health(not_serving: bool) -> Response<BoxBody<Bytes, Infallible>> {
    let message = Bytes::from(vec![0, 0, 0, 0, 2, 0x08, if not_serving { 2 } else { 1 }]);
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().unwrap());
    let body = Full::new(message).with_trailers(async move { Some(Ok(trailers)) });
    let mut response = Response::new(body.boxed());
    response.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
    response
}
