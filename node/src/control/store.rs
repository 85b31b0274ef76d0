//! Where things lie in the replicated store.
//!
//! | key | value |
//! |---|---|
//! | `objects/<kind>/<namespace>/<name>` | canonical JSON of the object |
//! | `cluster/configuration` | empty; written with every change of objects, so that its revision is that of the configuration |
//! | `cluster/authority` | the CA's key and certificate, encrypted ([`crate::certificates`]) |
//! | `cluster/nodes/<id>` | name, addresses, whether a data plane runs there |
//! | `cluster/removed/<id>` | empty; the node was taken out for good |
//! | `cluster/owners` | which node announces which address (`crate::announce`) |
//! | `cluster/rollout` | the newest rollout (`crate::rollout`) |
//! | `certificates/<namespace>/<name>` | what a `Certificate` was issued, its key encrypted (`crate::issuing`) |
//! | `issuers/<namespace>/<name>` | the authority of an internal `Issuer`, its key encrypted |
//! | `acme/accounts/<namespace>/<name>` | the account of an `Issuer` that is asked by ACME, its key encrypted |
//! | `acme/challenges/<token>` | what the authority is to be answered |
//! | `acme/failures/<namespace>/<name>` | why a `Certificate` was not issued, and when it is tried again |
//! | `modules/<SHA-256>` | size and parts of a module that is whole (`crate::modules`) |
//! | `module-parts/<SHA-256>/<number>` | a part of a module |
//! | `tokens/<name>` | role and SHA-256 of a token |
//! | `join/<SHA-256 of the secret>` | a join secret's expiry and, once used, by whom |

use bytes::Bytes;
use consensus::{Compare, Op, View};
use model::{Kind, Object, ObjectKey, Revision, cluster::NodeId};

/// Start of the keys of configuration objects.
pub const OBJECTS: &str = "objects/";
/// The key whose revision is that of the configuration.
pub const CONFIGURATION: &str = "cluster/configuration";
/// The encrypted certificate authority.
pub const AUTHORITY: &str = "cluster/authority";
/// Start of the keys of nodes.
pub const NODES: &str = "cluster/nodes/";
/// Start of the keys of removed nodes.
pub const REMOVED: &str = "cluster/removed/";
/// Where the owners of announced addresses lie.
pub const OWNERS: &str = "cluster/owners";
/// Where the newest rollout lies.
pub const ROLLOUT: &str = "cluster/rollout";
/// Start of the keys of issued certificates.
pub const CERTIFICATES: &str = "certificates/";
/// Start of the keys of internal issuers' authorities.
pub const ISSUERS: &str = "issuers/";
/// Start of the keys of accounts at authorities that are asked by ACME.
pub const ACCOUNTS: &str = "acme/accounts/";
/// Start of the keys of what authorities are answered.
pub const CHALLENGES: &str = "acme/challenges/";
/// Start of the keys of what came of orders that failed.
pub const FAILURES: &str = "acme/failures/";
/// Start of the keys of modules that are whole.
pub const MODULES: &str = "modules/";
/// Start of the keys of parts of modules.
pub const MODULE_PARTS: &str = "module-parts/";
/// Start of the keys of API tokens.
pub const TOKENS: &str = "tokens/";
/// Start of the keys of join secrets.
pub const JOIN: &str = "join/";

/// Where an object lies.
#[must_use]
pub fn object_key(key: &ObjectKey) -> String {
    format!("{OBJECTS}{key}")
}

/// Which object lies at a key of the store; `None` when it is not an object's.
#[must_use]
pub fn object_of(key: &str) -> Option<ObjectKey> {
    key.strip_prefix(OBJECTS)?.parse().ok()
}

/// Where lies what a certificate was issued, or the authority of an issuer.
#[must_use]
pub fn named_key(start: &str, key: &ObjectKey) -> String {
    format!("{start}{}/{}", key.namespace, key.name)
}

/// Which object of a kind a key is of that starts so.
#[must_use]
pub fn named_of(start: &str, kind: Kind, key: &str) -> Option<ObjectKey> {
    let (namespace, name) = key.strip_prefix(start)?.split_once('/')?;
    Some(ObjectKey::new(kind, namespace, name))
}

/// Where a node's record lies.
#[must_use]
pub fn node_key(node: NodeId) -> String {
    format!("{NODES}{node}")
}

/// Where it stands that a node was removed.
#[must_use]
pub fn removed_key(node: NodeId) -> String {
    format!("{REMOVED}{node}")
}

/// The revision of the configuration in a view.
#[must_use]
pub fn configuration_revision(view: &View) -> Revision {
    view.get(CONFIGURATION).map_or(Revision::ZERO, |head| head.mod_revision)
}

/// The condition that the configuration is still at `at`.
#[must_use]
pub fn configuration_unchanged(at: Revision) -> Compare {
    Compare::KeyRevision {
        key: CONFIGURATION.to_owned(),
        revision: (at != Revision::ZERO).then_some(at),
    }
}

/// The write that goes with every change of objects.
#[must_use]
pub fn touch_configuration() -> Op {
    Op::Put { key: CONFIGURATION.to_owned(), value: Bytes::new() }
}

/// The write that stores an object.
#[must_use]
pub fn put_object(object: &Object) -> Op {
    Op::Put { key: object_key(&object.key()), value: object.to_canonical().into() }
}

/// The write that removes an object.
#[must_use]
pub fn delete_object(key: &ObjectKey) -> Op {
    Op::Delete { key: object_key(key) }
}
