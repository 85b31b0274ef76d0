//! Nodes in this process: real TLS, real files, loopback addresses of the test's own.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use consensus::{Op, Transaction};
use model::Object;
use node::{
    api,
    certificates::Lifetime,
    control::{Control, Running, Start, start},
    joining::JoinLine,
    settings::{Flags, Settings},
};
use sha2::Digest;

/// Time for anything to happen on two busy cores.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// A service with one endpoint, as a document makes it.
pub(crate) fn service(name: &str, port: u16) -> Object {
    let text = format!(
        "kind: Service\nmetadata: {{ name: {name} }}\nspec:\n  endpoints: [{{ address: 10.0.0.1, \
         port: {port} }}]\n"
    );
    model::parse::parse_documents(&text).unwrap().remove(0)
}

/// Asks again until there is an answer.
pub(crate) async fn eventually<T>(mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DEADLINE, asking).await.expect("in time")
}

/// Some nodes of one test.
pub(crate) struct Cluster {
    test: u8,
    lifetime: Lifetime,
    dir: tempfile::TempDir,
    nodes: BTreeMap<u8, Running>,
}

impl Cluster {
    /// No node yet; `test` numbers the test, so that addresses are its own.
    pub(crate) fn new(test: u8) -> Self {
        let (lifetime, dir) = (Lifetime::default(), tempfile::tempdir().unwrap());
        Self { test, lifetime, dir, nodes: BTreeMap::new() }
    }

    /// With certificates that live for another time than usual.
    pub(crate) fn with_lifetime(self, lifetime: Duration) -> Self {
        Self { lifetime: Lifetime::new(lifetime), ..self }
    }

    /// The address of a node.
    pub(crate) fn address(&self, id: u8) -> IpAddr {
        // Of this process, so that another checkout's tests may run beside.
        let process = 64 + (std::process::id() % 128) as u8;
        Ipv4Addr::new(127, process, self.test, id).into()
    }

    fn settings(&self, id: u8) -> Settings {
        let base = self.dir.path().join(id.to_string());
        let settings = Settings::resolve(Flags {
            data_dir: Some(base.join("data")),
            run_dir: Some(base.join("run")),
            address: Some(self.address(id)),
            name: Some(format!("node-{id}")),
            no_dataplane: true,
            ..Flags::default()
        });
        Settings { certificate_lifetime: self.lifetime, ..settings.unwrap() }
    }

    /// A start of a node, that the test awaits.
    pub(crate) fn starting(
        &self,
        id: u8,
        how: Start,
    ) -> impl Future<Output = anyhow::Result<Running>> + Send + 'static {
        let settings = self.settings(id);
        let options =
            api::Options { run_dir: settings.run_dir.clone(), metrics: Arc::new(String::new) };
        let started = start(settings, how, api::server(options));
        async move { tokio::time::timeout(DEADLINE, started).await? }
    }

    /// Takes in a started node.
    pub(crate) fn add(&mut self, id: u8, running: Running) {
        self.nodes.insert(id, running);
    }

    /// Forms a cluster.
    pub(crate) async fn up(&mut self, id: u8) {
        let running = self.starting(id, Start::Up).await.unwrap();
        self.add(id, running);
    }

    /// Joins by a line.
    pub(crate) async fn join(&mut self, id: u8, line: JoinLine) {
        let running = self.starting(id, Start::Join { line }).await.unwrap();
        self.add(id, running);
    }

    /// Starts a node from nothing but its data directory.
    pub(crate) async fn restart(&mut self, id: u8) {
        let running = self.restarting(id).await.unwrap();
        self.add(id, running);
    }

    /// As [`Self::restart`], with what comes of it.
    pub(crate) async fn restarting(&self, id: u8) -> anyhow::Result<Running> {
        let data_dir = Some(self.data(id));
        let settings = Settings::resolve(Flags { data_dir, ..Flags::default() })?;
        let settings = Settings { certificate_lifetime: self.lifetime, ..settings };
        let options =
            api::Options { run_dir: settings.run_dir.clone(), metrics: Arc::new(String::new) };
        tokio::time::timeout(DEADLINE, start(settings, Start::Up, api::server(options))).await?
    }

    /// A node's data directory.
    pub(crate) fn data(&self, id: u8) -> PathBuf {
        self.dir.path().join(id.to_string()).join("data")
    }

    /// Waits until a node ends by itself, and returns why.
    pub(crate) async fn failed(&mut self, id: u8) -> String {
        let running = self.nodes.get_mut(&id).expect("it runs");
        let failure = tokio::time::timeout(DEADLINE, running.failed()).await.expect("in time");
        format!("{failure:#}")
    }

    /// A join line from a node.
    pub(crate) async fn line(&self, id: u8) -> JoinLine {
        self.control(id).create_join_line("test", None).await.unwrap()
    }

    /// Where a line's secret is in the store.
    pub(crate) fn secret_key(line: &JoinLine) -> String {
        format!("join/{}", hex::encode(sha2::Sha256::digest(line.secret.as_bytes())))
    }

    /// Makes a line's time run out.
    pub(crate) async fn expire(&self, line: &JoinLine) {
        let key = Self::secret_key(line);
        let value = Bytes::from_static(br#"{"expiresMs":1,"createdBy":"test"}"#);
        let put = Transaction::new("test", "expire", vec![Op::Put { key, value }]);
        self.control(1).consensus().propose(put).await.unwrap();
    }

    /// A running node.
    pub(crate) fn running(&self, id: u8) -> &Running {
        &self.nodes[&id]
    }

    /// A node's handle.
    pub(crate) fn control(&self, id: u8) -> &Control {
        &self.running(id).control
    }

    /// A node that does not lead.
    pub(crate) fn follower(&self) -> u8 {
        *self.nodes.keys().find(|id| self.follows(**id)).expect("one follows")
    }

    /// Whether a node follows a leader.
    pub(crate) fn follows(&self, id: u8) -> bool {
        let status = self.control(id).consensus().status();
        let status = status.borrow();
        status.leader.is_some() && status.leader != status.node
    }

    /// Waits until every node knows of so many voters.
    pub(crate) async fn voters(&self, wanted: usize) {
        for running in self.nodes.values() {
            let mut status = running.control.consensus().status();
            let seen = status.wait_for(|status| {
                status.members.values().filter(|member| member.voter).count() == wanted
            });
            let seen = tokio::time::timeout(DEADLINE, seen).await;
            assert!(seen.is_ok(), "{:?}", running.control.consensus().status().borrow().members);
        }
    }

    /// A secret that founders share.
    pub(crate) fn secret_file(&self) -> PathBuf {
        let path = self.dir.path().join("secret");
        std::fs::write(&path, "s".repeat(40)).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// Ends one node.
    pub(crate) async fn stop(&mut self, id: u8) {
        self.nodes.remove(&id).expect("it runs").shutdown().await;
        // QUIC gives its socket back when its last task has ended, a moment later.
        let push = std::net::SocketAddr::new(self.address(id), 7802);
        eventually(async || std::net::UdpSocket::bind(push).ok()).await;
    }

    /// Ends all nodes.
    pub(crate) async fn shutdown(self) {
        for (_, running) in self.nodes {
            running.shutdown().await;
        }
    }
}
