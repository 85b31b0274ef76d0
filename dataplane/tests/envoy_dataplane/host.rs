//! The place where a data plane runs, and what clients see of it.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    path::PathBuf,
    time::{Duration, Instant},
};

use dataplane::{Config, DataPlane, envoy};
use runtime::{
    identity::{Authority, ClusterId, KeyPair, NodeId, NodeIdentity, PeerIdentity, Role, Validity},
    telemetry::Metrics,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const DEADLINE: Duration = Duration::from_secs(30);

/// Waits for something that is due.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.unwrap_or_else(|_| panic!("{what}: not in time"))
}

/// Repeats `probe` until it gives something.
pub(crate) async fn eventually<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: not in time");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A host that has joined a cluster, with the folders of its data plane.
pub(crate) struct Host {
    pub(crate) authority: Authority,
    directory: tempfile::TempDir,
    metrics: Metrics,
}

impl Host {
    pub(crate) fn new() -> Self {
        envoy::find(None).expect("an Envoy for the tests; `cargo xtask setup` fetches one");
        let authority = Authority::create(ClusterId::random()).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let host =
            Self { authority, directory, metrics: Metrics::install("dataplane", "test").unwrap() };
        host.node(Role::DataPlane).save(&host.place("identity")).unwrap();
        host
    }

    pub(crate) fn node(&self, role: Role) -> NodeIdentity {
        let cluster = self.authority.cluster().clone();
        let peer = PeerIdentity { cluster, node: NodeId(1), role };
        let key = KeyPair::generate().unwrap();
        let request = key.csr().unwrap();
        let pem = self.authority.issue(&request.0, &peer, Validity::node()).unwrap();
        NodeIdentity::new(self.authority.certificate_pem(), &pem, key).unwrap()
    }

    pub(crate) fn directory(&self) -> &std::path::Path {
        self.directory.path()
    }

    pub(crate) fn place(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Starts a data plane that follows the control node at `control`.
    pub(crate) async fn start(&self, control: SocketAddr) -> DataPlane {
        let place = |name| self.place(name);
        let mut config =
            Config::new(vec![control], place("identity"), place("state"), place("run"));
        config.listen_address = Some(Ipv4Addr::LOCALHOST.into());
        config.drain = Duration::from_millis(200);
        DataPlane::start(config, self.metrics.clone()).await.unwrap()
    }

    pub(crate) fn envoy_pid(&self) -> Option<i32> {
        let text = fs::read_to_string(self.place("run/envoy.pid")).ok()?;
        text.split_whitespace().next()?.parse().ok()
    }
}

/// An address where nothing answers.
pub(crate) fn nobody() -> SocketAddr {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// One request on a connection of its own; `None` when nobody takes it.
pub(crate) async fn ask(port: u16) -> Option<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.ok()?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: shop.example\r\n\r\n").await.ok()?;
    let mut answer = Vec::new();
    // To the end of the body only: a server may take a second to close a connection.
    loop {
        if stream.read_buf(&mut answer).await.ok()? == 0 {
            return None;
        }
        let text = std::str::from_utf8(&answer).ok()?;
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?;
        if body.len() >= length.parse().ok()? {
            return head.starts_with("HTTP/1.1 200").then(|| body.to_owned());
        }
    }
}

pub(crate) async fn until_answered(port: u16, expected: &str) {
    let what = format!("the answer {expected:?}");
    eventually(&what, async || ask(port).await.filter(|got| got == expected)).await;
}
