//! Who a node is: cluster and node ids, the cluster's certificate authority, node certificates.
//!
//! A node is its key pair and the certificate the cluster's CA gave it; addresses are hints. No
//! network and no clock of its own beyond the time of issue; TLS is in [`crate::tls`].

mod authority;
mod keys;
mod name;
mod node;
mod pin;

pub use authority::{Authority, AuthorityError, CLOCK_TOLERANCE, Validity};
pub use keys::{KeyError, KeyPair, SigningRequest};
pub use model::cluster::NodeId;
pub use name::{CLUSTER_ID_LENGTH, ClusterId, InvalidName, PeerIdentity, Role};
pub use node::{CertifiedKey, IdentityError, NodeIdentity};
pub use pin::{CaPin, InvalidPin};
