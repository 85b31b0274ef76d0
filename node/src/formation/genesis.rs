//! The first node: CA, cluster key, node 1, the administrator's token, and the first transaction.
//!
//! Kept in this order: cluster key, `founding.json` (the sealed CA and the token), the data plane's
//! identity, the control identity. The last one makes the host node 1; `founding.json` stays until
//! its content is committed in the store, so that a crash at any point is finished by the next start.

use std::{collections::BTreeMap, fs, path::Path};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use consensus::{Compare, Consensus, InitializeError, Op, ProposeError, Transaction};
use model::cluster::{NodeAddresses, NodeId};
use runtime::identity::{
    Authority, ClusterId, KeyPair, NodeIdentity, PeerIdentity, Role as ProcessRole,
};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use super::promise::{keep, read};
use crate::{
    certificates::{ClusterKey, Lifetime},
    control::store::AUTHORITY,
    secret_file::{self, SecretFileError},
    tokens::{self, Role},
};

const FOUNDING_FILE: &str = "founding.json";
const ADMIN_TOKEN_FILE: &str = "admin.token";
/// What to do about a token's file that is bad.
const TOKEN_REMEDY: &str = "restore it, or remove it: context files that were written keep their \
                            token, and it makes others (`marchproxy token create`)";
/// The name of the first token.
const ADMIN: &str = "admin";
/// The actor of the first transaction.
const ACTOR: &str = "genesis";
/// The first node's number.
const FIRST: NodeId = NodeId(1);

#[derive(Serialize, Deserialize)]
struct Founding {
    authority: String,
    admin_token: String,
}

impl Drop for Founding {
    fn drop(&mut self) {
        self.admin_token.zeroize();
    }
}

/// Makes the identity of node 1 of a new cluster.
pub(crate) fn found(
    cluster: ClusterId,
    identity_dir: &Path,
    dataplane_dir: &Path,
    lifetime: Lifetime,
) -> anyhow::Result<NodeIdentity> {
    let authority = Authority::create(cluster.clone())?;
    let key = ClusterKey::random();
    key.save(identity_dir, &cluster)?;
    let founding = Founding {
        authority: URL_SAFE_NO_PAD.encode(key.seal(&authority)),
        admin_token: tokens::new_token(),
    };
    secret_file::write(&identity_dir.join(ADMIN_TOKEN_FILE), &cluster, &founding.admin_token)?;
    keep(&identity_dir.join(FOUNDING_FILE), &founding)?;
    let make = |role| -> anyhow::Result<NodeIdentity> {
        let node = runtime::identity::NodeId(FIRST.0);
        let peer = PeerIdentity { cluster: cluster.clone(), node, role };
        let pair = KeyPair::generate()?;
        let now = std::time::SystemTime::now();
        let pem = authority.issue(&pair.csr()?.0, &peer, lifetime.validity(now))?;
        Ok(NodeIdentity::new(authority.certificate_pem(), &pem, pair)?)
    };
    make(ProcessRole::DataPlane)?.save(dataplane_dir)?;
    let identity = make(ProcessRole::Control)?;
    identity.save(identity_dir)?;
    Ok(identity)
}

/// Finishes what [`found`] began, if it is not finished: initializes Raft and writes the CA and the
/// administrator's token into the store.
pub(crate) async fn finish(
    consensus: &Consensus,
    addresses: NodeAddresses,
    identity_dir: &Path,
) -> anyhow::Result<()> {
    let path = identity_dir.join(FOUNDING_FILE);
    let Some(founding) = read::<Founding>(&path)? else { return Ok(()) };
    match consensus.initialize(BTreeMap::from([(FIRST, addresses)])).await {
        Ok(()) | Err(InitializeError::AlreadyInitialized) => {}
        Err(error) => return Err(error.into()),
    }
    let sealed = URL_SAFE_NO_PAD.decode(&founding.authority)?;
    let (token_key, token) = tokens::record(ADMIN, &founding.admin_token, Role::Admin, ACTOR);
    let ops = vec![
        Op::Put { key: AUTHORITY.to_owned(), value: sealed.into() },
        Op::Put { key: token_key, value: token },
    ];
    let mut transaction = Transaction::new(ACTOR, "form the cluster", ops);
    transaction.compare = vec![Compare::KeyRevision { key: AUTHORITY.to_owned(), revision: None }];
    match consensus.propose(transaction).await {
        // A conflict: an earlier start committed it and died before it removed the file.
        Ok(_) | Err(ProposeError::Conflict { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(fs::remove_file(&path)?)
}

/// The administrator's token, on the node that made the cluster.
pub(crate) fn admin_token(
    identity_dir: &Path,
    cluster: &ClusterId,
) -> Result<Option<Zeroizing<String>>, SecretFileError> {
    let path = identity_dir.join(ADMIN_TOKEN_FILE);
    if !path.exists() {
        return Ok(None);
    }
    secret_file::read(&path, cluster, TOKEN_REMEDY).map(Some)
}
