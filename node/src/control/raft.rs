//! What a control process asks of its replicated store: who may speak Raft with it, and when a
//! joiner has caught up.
//!
//! Refused are nodes that are known to be removed, not those that are no members as far as this
//! node knows: one that was down for long must listen to members that came in the meantime.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use consensus::{Consensus, Consistency, Options, Profile, RaftTls};
use model::cluster::NodeId;
use runtime::{
    identity::{NodeIdentity, Role},
    tls::{LiveIdentity, peer_identity},
};

use super::store::AUTHORITY;
use crate::{membership::removal::Removed, settings::Settings};

/// How long a joiner waits to receive what the cluster knows: a snapshot of 10,000 objects takes
/// seconds, a leader may change meanwhile.
const CATCH_UP_WITHIN: Duration = Duration::from_secs(60);
/// Between two looks at what has arrived.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The options of a node's store; `removed` is asked at each handshake and request.
pub(super) fn options(
    settings: &Settings,
    identity: &NodeIdentity,
    live: &LiveIdentity,
    removed: Removed,
) -> anyhow::Result<Options> {
    let tls = RaftTls {
        server: live.server_mtls(&[Role::Control])?,
        client: live.client_mtls(Role::Control)?,
        server_name: identity.cluster().server_name(Role::Control),
        peer_check: Arc::new(|chain| {
            let peer = peer_identity(chain).map_err(|error| error.to_string())?;
            match peer.role {
                Role::Control => Ok(NodeId(peer.node.0)),
                Role::DataPlane => Err(format!("{peer} has no business with Raft")),
            }
        }),
        node_check: Arc::new(move |node| match removed.contains(node) {
            true => Err(format!("node {node} was removed from the cluster")),
            false => Ok(()),
        }),
    };
    let mut options = Options::new(
        NodeId(identity.node().0),
        identity.cluster().as_str(),
        &settings.data_dir,
        settings.addresses().raft,
        tls,
    );
    options.profile = if settings.wan { Profile::Wan } else { Profile::Lan };
    Ok(options)
}

/// Waits until the cluster's state has arrived on a node that was just let in.
pub(super) async fn catch_up(consensus: &Consensus, node: NodeId) -> anyhow::Result<()> {
    let arrived = async {
        loop {
            let member = consensus.status().borrow().members.contains_key(&node);
            let view = consensus.read(Consistency::Stale).await?;
            if member && view.get(AUTHORITY).is_some() {
                return anyhow::Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    tokio::time::timeout(CATCH_UP_WITHIN, arrived).await.with_context(|| {
        format!(
            "this host was let in as node {node}, but no member's data arrived within \
             {CATCH_UP_WITHIN:?}: see that the members reach its Raft port, then run `marchproxy up`"
        )
    })?
}

#[cfg(test)]
mod tests {
    use runtime::identity::{Authority, ClusterId, KeyPair, PeerIdentity, Validity};

    use super::*;
    use crate::settings::Flags;

    #[test]
    fn a_removed_node_and_a_data_plane_are_refused_and_a_node_not_heard_of_is_not() {
        let authority = Authority::create(ClusterId::random()).unwrap();
        let identity = |node, role| {
            let key = KeyPair::generate().unwrap();
            let node = runtime::identity::NodeId(node);
            let peer = PeerIdentity { cluster: authority.cluster().clone(), node, role };
            let pem = authority.issue(&key.csr().unwrap().0, &peer, Validity::node()).unwrap();
            NodeIdentity::new(authority.certificate_pem(), &pem, key).unwrap()
        };
        let own = identity(1, Role::Control);
        let live = LiveIdentity::new(&own).unwrap();
        let settings = Settings::resolve(Flags {
            data_dir: Some("/nowhere".into()),
            address: Some("127.0.0.1".parse().unwrap()),
            ..Flags::default()
        })
        .unwrap();
        let removed = Removed::default();
        let tls = options(&settings, &own, &live, removed.clone()).unwrap().tls;
        let ask = |node, role| {
            let chain = [identity(node, role).certified_key().certificate().clone()];
            (tls.peer_check)(&chain).and_then(|node| (tls.node_check)(node).map(|()| node))
        };
        assert_eq!(ask(7, Role::Control), Ok(NodeId(7)));
        assert!(ask(7, Role::DataPlane).is_err());
        removed.note(NodeId(7));
        let refused = ask(7, Role::Control).unwrap_err();
        assert!(refused.contains("node 7 was removed"), "{refused}");
        assert_eq!(ask(8, Role::Control), Ok(NodeId(8)));
    }
}
