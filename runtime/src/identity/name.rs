//! The names of clusters, nodes and roles, and the SPIFFE URI that carries them in a certificate.
//!
//! URI: `spiffe://<cluster-id>/node/<node-id>/<role>`
//! (<https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE-ID.md>).

use std::{fmt, str::FromStr};

use model::cluster::NodeId;
use rand::Rng;
use serde::{Deserialize, Serialize};

/// Length of a cluster id in characters: 64 bits in hexadecimal.
pub const CLUSTER_ID_LENGTH: usize = 16;

/// A name that is not of the form it must have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// Not 16 lower-case hexadecimal characters.
    #[error("cluster id {found:?} is not {CLUSTER_ID_LENGTH} lower-case hexadecimal characters")]
    Cluster {
        /// What was found.
        found: String,
    },
    /// Not a positive decimal number.
    #[error("node id {found:?} is not a positive decimal number")]
    Node {
        /// What was found.
        found: String,
    },
    /// Neither of the two roles.
    #[error("role {found:?} is neither `control` nor `dataplane`")]
    Role {
        /// What was found.
        found: String,
    },
    /// Not `spiffe://<cluster-id>/node/<node-id>/<role>`.
    #[error("URI {found:?} is not spiffe://<cluster-id>/node/<node-id>/<role>")]
    Uri {
        /// What was found.
        found: String,
    },
}

/// The id of a cluster: 16 lower-case hexadecimal characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClusterId(String);

impl ClusterId {
    /// A new random id.
    #[must_use]
    pub fn random() -> Self {
        Self(format!("{:016x}", rand::rng().random::<u64>()))
    }

    /// The id's characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The DNS name under which every node of the cluster serves in `role`: the name that TLS
    /// clients ask for and verify.
    #[must_use]
    pub fn server_name(&self, role: Role) -> String {
        format!("{role}.{self}.marchproxy")
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ClusterId {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let hexadecimal = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() == CLUSTER_ID_LENGTH && text.bytes().all(hexadecimal) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidName::Cluster { found: text.to_owned() })
        }
    }
}

impl TryFrom<String> for ClusterId {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<ClusterId> for String {
    fn from(id: ClusterId) -> Self {
        id.0
    }
}

/// What a process of a node may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Takes part in consensus, serves the API and pushes configuration.
    Control,
    /// Receives configuration and carries traffic.
    DataPlane,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 2] = [Self::Control, Self::DataPlane];
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Control => "control",
            Self::DataPlane => "dataplane",
        })
    }
}

impl FromStr for Role {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        match text {
            "control" => Ok(Self::Control),
            "dataplane" => Ok(Self::DataPlane),
            _ => Err(InvalidName::Role { found: text.to_owned() }),
        }
    }
}

/// Whom a certificate names: cluster, node and role.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PeerIdentity {
    /// The cluster whose CA issued the certificate.
    pub cluster: ClusterId,
    /// The node.
    pub node: NodeId,
    /// The role of the process that holds the key.
    pub role: Role,
}

impl PeerIdentity {
    /// The SPIFFE URI of this identity.
    #[must_use]
    pub fn uri(&self) -> String {
        format!("spiffe://{}/node/{}/{}", self.cluster, self.node, self.role)
    }

    /// The DNS names of this identity: the role's shared name and the node's own.
    #[must_use]
    pub fn dns_names(&self) -> [String; 2] {
        [
            self.cluster.server_name(self.role),
            format!("node-{}.{}.marchproxy", self.node, self.cluster),
        ]
    }
}

impl fmt::Display for PeerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of node {} of cluster {}", self.role, self.node, self.cluster)
    }
}

impl FromStr for PeerIdentity {
    type Err = InvalidName;

    fn from_str(uri: &str) -> Result<Self, InvalidName> {
        let invalid = || InvalidName::Uri { found: uri.to_owned() };
        let rest = uri.strip_prefix("spiffe://").ok_or_else(invalid)?;
        let mut parts = rest.split('/');
        let (Some(cluster), Some("node"), Some(node), Some(role), None) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(invalid());
        };
        Ok(Self { cluster: cluster.parse()?, node: node_id(node)?, role: role.parse()? })
    }
}

/// Reads the one decimal form of a node id, so that two texts never name one node.
fn node_id(text: &str) -> Result<NodeId, InvalidName> {
    let invalid = || InvalidName::Node { found: text.to_owned() };
    let canonical = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    if !canonical {
        return Err(invalid());
    }
    text.parse().map(NodeId).map_err(|_| invalid())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn uris_are_read_strictly() {
        let check = |uri: &str, valid: bool| {
            assert_eq!(uri.parse::<PeerIdentity>().is_ok(), valid, "{uri}");
        };
        check("spiffe://0123456789abcdef/node/1/control", true);
        check("spiffe://0123456789abcdef/node/18446744073709551615/dataplane", true);
        check("spiffe://0123456789ABCDEF/node/1/control", false);
        check("spiffe://0123456789abcde/node/1/control", false);
        check("spiffe://0123456789abcdef/node/0/control", false);
        check("spiffe://0123456789abcdef/node/01/control", false);
        check("spiffe://0123456789abcdef/node/+1/control", false);
        check("spiffe://0123456789abcdef/node/18446744073709551616/control", false);
        check("spiffe://0123456789abcdef/node//control", false);
        check("spiffe://0123456789abcdef/node/1/admin", false);
        check("spiffe://0123456789abcdef/node/1/control/", false);
        check("spiffe://0123456789abcdef/node/1", false);
        check("https://0123456789abcdef/node/1/control", false);
        check("", false);
    }

    proptest! {
        #[test]
        fn an_identity_survives_its_uri(cluster in any::<u64>(), node in 1u64.., control: bool) {
            let identity = PeerIdentity {
                cluster: format!("{cluster:016x}").parse().unwrap(),
                node: NodeId(node),
                role: if control { Role::Control } else { Role::DataPlane },
            };
            prop_assert_eq!(identity.uri().parse::<PeerIdentity>().unwrap(), identity);
        }

        #[test]
        fn reading_any_text_does_not_panic(text in ".{0,80}") {
            let _ = text.parse::<PeerIdentity>();
        }
    }
}
