//! What is said on a push stream, as JSON (one message a frame, tagged by `type`).

use std::{collections::BTreeMap, fmt, net::IpAddr};

use model::{
    EndpointId, EngineReport, ModuleId, ObjectKey, Revision,
    ack::NodeReport,
    announce::AddressReport,
    cluster,
    rollout::NodeTraffic,
    shares::{LoanId, Share, Uses},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::identity::{ClusterId, NodeId};

/// Size of a snapshot chunk above which the next object begins another one: large enough that
/// 10,000 objects take some forty frames, small enough that pings pass between them.
pub const SNAPSHOT_CHUNK_BYTES: usize = 256 * 1024;

/// What a data plane is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaneInfo {
    /// Version of the program.
    pub version: String,
    /// The host's name.
    pub host: String,
    /// Process id on that host.
    pub pid: u32,
}

/// The state that a client already has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resume {
    /// The cluster that the state came from.
    pub cluster: ClusterId,
    /// The state's revision.
    pub revision: Revision,
}

/// What a client sends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromPlane {
    /// First message of a data plane.
    Hello {
        /// Who asks.
        plane: PlaneInfo,
        /// What it has already; `None` asks for everything.
        resume: Option<Resume>,
        /// The modules that it has already.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        modules: Vec<ModuleId>,
    },
    /// First message of another control node that wants this node's ledger.
    PeerHello {
        /// Who asks.
        node: NodeId,
    },
    /// How engines stand; the newest report of an engine replaces its older ones.
    Reports {
        /// At most one for each engine.
        reports: Vec<EngineReport>,
    },
    /// How the node stands to the addresses that are announced; replaces what was said before.
    Addresses {
        /// One for each address that listeners want announced.
        addresses: Vec<AddressReport>,
    },
    /// What the node says of the limits that nodes share; replaces what was said before. Once a
    /// second while there are such limits.
    Uses(Uses),
    /// What the node's Envoy counts; replaces what was said before. Once a second while it is asked
    /// for.
    Traffic(NodeTraffic),
    /// Answers a ping.
    Pong,
}

/// What a server sends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToPlane {
    /// First message: who serves.
    Welcome {
        /// The cluster.
        cluster: ClusterId,
        /// The serving node.
        node: NodeId,
    },
    /// A whole state follows, and replaces what the client has.
    SnapshotStart {
        /// The state's revision.
        revision: Revision,
        /// How many objects the chunks hold together.
        objects_total: usize,
    },
    /// A part of the state.
    SnapshotChunk {
        /// Objects in their canonical form.
        objects: Vec<Value>,
    },
    /// The state is complete.
    SnapshotEnd {
        /// The same revision as at the start.
        revision: Revision,
    },
    /// What changed between two revisions.
    Delta {
        /// The state this builds on.
        from: Revision,
        /// The state it leads to.
        to: Revision,
        /// Objects that came or changed, whole.
        puts: Vec<Value>,
        /// Objects that went.
        deletes: Vec<ObjectKey>,
    },
    /// What the node's probes know; replaces the update before.
    Health(HealthUpdate),
    /// Which addresses the node announces; replaces what was said before. Sent again and again.
    Announce(Grant),
    /// The node's shares of limits; replaces what was said before. Sent again and again.
    Shares(ShareGrant),
    /// What a node says of the limits that nodes share, to another control node.
    Uses {
        /// Who says it.
        node: NodeId,
        /// What it says.
        uses: Uses,
    },
    /// A certificate with its key, of a `Certificate` that is issued; replaces the one before. All of
    /// them are sent at the begin of a session.
    Certificate(Material),
    /// What authorities are answered that are asked by ACME, by token; replaces what was said before.
    Challenges {
        /// The answers.
        challenges: BTreeMap<String, ChallengeAnswer>,
    },
    /// The modules of the store; replaces what was said before. Others are not needed, unless the
    /// client's configuration names them.
    Modules {
        /// All of them.
        stored: Vec<ModuleId>,
    },
    /// A part of a module, between other messages; the parts of one come in order, and before any
    /// configuration that names it.
    ModulePart(ModulePart),
    /// Whether to count traffic once a second.
    CountTraffic {
        /// It is wanted from now on, or not any more.
        wanted: bool,
    },
    /// What the Envoy of a node counts whose data plane is connected to this one, to another control
    /// node.
    Traffic {
        /// Which node.
        node: cluster::NodeId,
        /// What it counts.
        traffic: NodeTraffic,
    },
    /// The node's ledger, to another control node; replaces the one before.
    Ledger {
        /// Reports of the data planes connected to this node.
        reports: Vec<NodeReport>,
    },
    /// Asks for a [`FromPlane::Pong`].
    Ping,
    /// The client's node was taken out of the cluster for good; the server ends the session.
    Removed {
        /// The client's node.
        node: NodeId,
    },
    /// The server ends the session.
    Goodbye {
        /// Why.
        reason: String,
    },
}

/// A certificate that was issued for the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Material {
    /// The object that asks for it.
    pub certificate: ObjectKey,
    /// The certificate, then those of its authorities but the root, in PEM.
    pub chain: String,
    /// The private key, in PEM.
    pub key: PrivateKey,
}

/// A part of a module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModulePart {
    /// Which module.
    pub module: ModuleId,
    /// Which part, from 0 on.
    pub part: u32,
    /// How many there are.
    pub parts: u32,
    /// Its bytes, in base64.
    pub data: String,
}

/// What an authority is answered that is asked by ACME.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChallengeAnswer {
    /// For which host.
    pub host: String,
    /// What proves the account (RFC 8555, section 8.1).
    pub key_authorization: String,
    /// Whether it is shown in a handshake (RFC 8737), or told over HTTP.
    pub by_handshake: bool,
    /// When it was asked for, in milliseconds since 1970-01-01 UTC: of several in handshakes, the newest is
    /// shown.
    #[serde(default)]
    pub at_ms: u64,
}

/// A private key in PEM, wiped from memory on drop and told to nobody's log.
#[derive(Clone, PartialEq, Eq)]
pub struct PrivateKey(Zeroizing<String>);

impl PrivateKey {
    /// The PEM.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<Zeroizing<String>> for PrivateKey {
    fn from(pem: Zeroizing<String>) -> Self {
        Self(pem)
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a private key")
    }
}

impl Serialize for PrivateKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for PrivateKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|pem| Self(Zeroizing::new(pem)))
    }
}

/// The whole set of endpoints that should get no traffic.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthUpdate {
    /// Endpoints that fail their probes.
    pub unhealthy: Vec<EndpointId>,
    /// Services so many of whose endpoints fail that the failures are not acted upon.
    #[serde(default)]
    pub panicking: Vec<ObjectKey>,
}

/// The shares of limits that a node may use.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareGrant {
    /// Which loan it is.
    pub loan: LoanId,
    /// One a limit.
    pub shares: Vec<Share>,
    /// For how long, in milliseconds from now on.
    pub lease_ms: u64,
}

/// The addresses that are a node's, and for how long without another word.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The addresses.
    pub addresses: Vec<IpAddr>,
    /// For how many milliseconds.
    pub lease_ms: u64,
}

/// Cuts a whole state into messages: start, chunks of about [`SNAPSHOT_CHUNK_BYTES`], end.
///
/// Each object comes with its length in bytes as JSON.
#[must_use]
pub fn snapshot_messages(revision: Revision, objects: Vec<(Value, usize)>) -> Vec<ToPlane> {
    let mut messages = vec![ToPlane::SnapshotStart { revision, objects_total: objects.len() }];
    let (mut chunk, mut bytes) = (Vec::new(), 0);
    for (object, length) in objects {
        chunk.push(object);
        bytes += length;
        if bytes >= SNAPSHOT_CHUNK_BYTES {
            messages.push(ToPlane::SnapshotChunk { objects: std::mem::take(&mut chunk) });
            bytes = 0;
        }
    }
    if !chunk.is_empty() {
        messages.push(ToPlane::SnapshotChunk { objects: chunk });
    }
    messages.push(ToPlane::SnapshotEnd { revision });
    messages
}

#[cfg(test)]
mod tests {
    use model::{
        flow::Direction,
        shares::{ShareKey, ShareUse},
    };
    use serde_json::json;

    use super::*;

    #[test]
    fn the_wire_form_stays() {
        let check = |message: ToPlane, wire: Value| {
            assert_eq!(serde_json::to_value(&message).unwrap(), wire);
            assert_eq!(serde_json::from_value::<ToPlane>(wire).unwrap(), message);
        };
        check(ToPlane::Ping, json!({"type": "ping"}));
        check(
            ToPlane::Welcome { cluster: "0123456789abcdef".parse().unwrap(), node: NodeId(3) },
            json!({"type": "welcome", "cluster": "0123456789abcdef", "node": 3}),
        );
        check(
            ToPlane::Delta {
                from: Revision(1),
                to: Revision(4),
                puts: vec![json!({"kind": "Service"})],
                deletes: vec!["Service/default/a".parse().unwrap()],
            },
            json!({"type": "delta", "from": 1, "to": 4, "puts": [{"kind": "Service"}],
                   "deletes": ["Service/default/a"]}),
        );
        check(
            ToPlane::Health(HealthUpdate {
                unhealthy: vec![EndpointId {
                    service: "Service/default/a".parse().unwrap(),
                    address: "[::1]:80".parse().unwrap(),
                }],
                panicking: vec![],
            }),
            json!({"type": "health", "panicking": [],
                   "unhealthy": [{"service": "Service/default/a", "address": "[::1]:80"}]}),
        );
        check(
            ToPlane::Announce(Grant {
                addresses: vec!["192.0.2.1".parse().unwrap()],
                lease_ms: 14_500,
            }),
            json!({"type": "announce", "addresses": ["192.0.2.1"], "lease_ms": 14500}),
        );
        let answer = ChallengeAnswer {
            host: "a.example".to_owned(),
            key_authorization: "t.x".to_owned(),
            by_handshake: true,
            at_ms: 7,
        };
        check(
            ToPlane::Challenges { challenges: [("t".to_owned(), answer)].into() },
            json!({"type": "challenges", "challenges": {"t": {"host": "a.example",
                   "key_authorization": "t.x", "by_handshake": true, "at_ms": 7}}}),
        );
        let module = ModuleId([0xab; 32]);
        let digits = "ab".repeat(32);
        check(
            ToPlane::Modules { stored: vec![module] },
            json!({"type": "modules", "stored": [digits]}),
        );
        check(
            ToPlane::ModulePart(ModulePart { module, part: 0, parts: 2, data: "AGFz".into() }),
            json!({"type": "module_part", "module": digits, "part": 0, "parts": 2, "data": "AGFz"}),
        );
        let key = PrivateKey::from(Zeroizing::new("k".to_owned()));
        let certificate = "Certificate/default/a".parse().unwrap();
        let material = Material { certificate, chain: "c".to_owned(), key };
        assert!(!format!("{material:?}").contains("\"k\""), "{material:?}");
        check(
            ToPlane::Certificate(material),
            json!({"type": "certificate", "certificate": "Certificate/default/a", "chain": "c",
                   "key": "k"}),
        );
        let key = ShareKey {
            policy: "QoSPolicy/default/gold".parse().unwrap(),
            listener: "Listener/default/web".parse().unwrap(),
            direction: Direction::In,
        };
        let loan = LoanId { office: 7, number: 2 };
        let share = Share { key: key.clone(), bytes_per_s: 900, alone: 300 };
        check(
            ToPlane::Shares(ShareGrant { loan, shares: vec![share], lease_ms: 5_000 }),
            json!({"type": "shares", "loan": {"office": 7, "number": 2}, "lease_ms": 5000, "shares": [
                   {"policy": "QoSPolicy/default/gold", "listener": "Listener/default/web",
                    "direction": "in", "bytes_per_s": 900, "alone": 300}]}),
        );
        let said = ShareUse { key, used: 5, wants_more: true, share: 300 };
        check(
            ToPlane::Uses { node: NodeId(2), uses: Uses { loan: Some(loan), uses: vec![said] } },
            json!({"type": "uses", "node": 2, "uses": {"loan": {"office": 7, "number": 2}, "uses": [
                   {"policy": "QoSPolicy/default/gold", "listener": "Listener/default/web",
                    "direction": "in", "used": 5, "wants_more": true, "share": 300}]}}),
        );
        let hello = FromPlane::Hello {
            plane: PlaneInfo { version: "0.1.0".into(), host: "a".into(), pid: 7 },
            resume: Some(Resume {
                cluster: "0123456789abcdef".parse().unwrap(),
                revision: Revision(9),
            }),
            modules: Vec::new(),
        };
        let wire = json!({"type": "hello", "plane": {"version": "0.1.0", "host": "a", "pid": 7},
                          "resume": {"cluster": "0123456789abcdef", "revision": 9}});
        assert_eq!(serde_json::to_value(&hello).unwrap(), wire);
        assert_eq!(serde_json::from_value::<FromPlane>(wire).unwrap(), hello);
    }

    #[test]
    fn chunks_hold_every_object_once_and_none_is_empty() {
        let count = |objects: usize, length: usize| {
            let objects = (0..objects).map(|n| (json!(n), length)).collect();
            let messages = snapshot_messages(Revision(5), objects);
            let mut seen = Vec::new();
            for message in &messages[1..messages.len() - 1] {
                let ToPlane::SnapshotChunk { objects } = message else { panic!("{message:?}") };
                assert!(!objects.is_empty());
                seen.extend(objects.iter().map(|n| n.as_u64().unwrap()));
            }
            let expected: Vec<u64> = (0..seen.len() as u64).collect();
            assert_eq!(seen, expected);
            (seen.len(), messages.len() - 2)
        };
        assert_eq!(count(0, 1), (0, 0));
        assert_eq!(count(10_000, 1_000).0, 10_000);
        assert_eq!(count(10, SNAPSHOT_CHUNK_BYTES), (10, 10));
        assert_eq!(count(4, SNAPSHOT_CHUNK_BYTES / 2), (4, 2));
    }
}
