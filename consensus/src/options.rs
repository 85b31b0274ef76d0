//! How a node is started.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;

use crate::disk::Disk;
use crate::ids::NodeId;

/// Tells which control node a verified certificate chain belongs to, or why it is refused.
pub type PeerCheck = Arc<dyn Fn(&[CertificateDer<'_>]) -> Result<NodeId, String> + Send + Sync>;

/// Tells why a node may not speak with this one. Asked at each handshake and each request, so that it
/// must be cheap.
pub type NodeCheck = Arc<dyn Fn(NodeId) -> Result<(), String> + Send + Sync>;

/// Mutual TLS between the members.
#[derive(Clone)]
pub struct RaftTls {
    /// Asks for and verifies client certificates of the cluster CA. ALPN is set to `h2` here.
    pub server: Arc<rustls::ServerConfig>,
    /// Presents this node's certificate and verifies the peer's. ALPN is set to `h2` here.
    pub client: Arc<rustls::ClientConfig>,
    /// The DNS name that every member's certificate carries.
    pub server_name: String,
    /// Names the node of a verified chain; the role must be that of a control node.
    pub peer_check: PeerCheck,
    /// Refuses nodes by their number, also on connections that stand.
    pub node_check: NodeCheck,
}

impl fmt::Debug for RaftTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RaftTls").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}

/// The timers of Raft, chosen by the distance between the voters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Profile {
    /// Voters within a few milliseconds: heartbeat 50 ms, election after 300-500 ms.
    #[default]
    Lan,
    /// Voters in different regions: heartbeat 250 ms, election after 1.5-2.5 s.
    Wan,
}

/// Everything that [`crate::Consensus::start`] needs.
#[derive(Clone)]
pub struct Options {
    /// This node.
    pub node: NodeId,
    /// The cluster; a directory or peer of another one is refused.
    pub cluster: String,
    /// The data directory; `wal/`, `snap/`, `store/` and `consensus` are made in it.
    pub dir: PathBuf,
    /// Where Raft listens.
    pub raft_address: SocketAddr,
    /// The credentials between members.
    pub tls: RaftTls,
    /// The timers.
    pub profile: Profile,
    /// Sizes and counts that tests make smaller.
    pub tuning: Tuning,
    /// The file system below log and snapshots; tests put a faulty one here.
    pub disk: Arc<dyn Disk>,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("node", &self.node)
            .field("cluster", &self.cluster)
            .field("dir", &self.dir)
            .field("raft_address", &self.raft_address)
            .field("profile", &self.profile)
            .field("tuning", &self.tuning)
            .finish_non_exhaustive()
    }
}

impl Options {
    /// Fills in the defaults: LAN timers, the standard sizes and the real file system.
    pub fn new(
        node: NodeId,
        cluster: impl Into<String>,
        dir: impl Into<PathBuf>,
        raft_address: SocketAddr,
        tls: RaftTls,
    ) -> Self {
        Self {
            node,
            cluster: cluster.into(),
            dir: dir.into(),
            raft_address,
            tls,
            profile: Profile::Lan,
            tuning: Tuning::default(),
            disk: Arc::new(crate::disk::RealDisk),
        }
    }
}

/// Sizes and counts with a sensible default each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tuning {
    /// Bytes of a log segment. 64 MiB: large enough that a new one is rare, small enough to fill.
    pub segment_bytes: u64,
    /// Entries after which a snapshot is written.
    pub snapshot_after: u64,
    /// Entries that stay in the log after a snapshot, for members that are a little behind.
    pub keep_after_snapshot: u64,
    /// How long a proposal or a read waits for a leader and for its answer.
    pub request_timeout: Duration,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            segment_bytes: 64 * 1024 * 1024,
            snapshot_after: 10_000,
            keep_after_snapshot: 5_000,
            request_timeout: Duration::from_secs(5),
        }
    }
}
