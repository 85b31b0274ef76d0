//! Renewed certificates: the control process saves them, this process takes them up.
//!
//! A session that stands is not touched: TLS looks at a certificate when it shakes hands. So what
//! counts is the look before each handshake; the one from time to time is for the metrics, and
//! tells early of what cannot be used.

use std::{convert::Infallible, time::Duration};

use runtime::{telemetry, tls::SavedIdentity};

/// How often it is looked: about as often as metrics are scraped, and a millionth of a processor.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Looks from time to time.
pub(super) async fn follow(identity: SavedIdentity, look_every: Duration) -> Infallible {
    telemetry::show_certificates(&identity.live().identity());
    loop {
        take_up(&identity);
        tokio::time::sleep(look_every).await;
    }
}

/// Puts what is saved to use; what cannot be used is told of, and the certificate in use stays.
pub(super) fn take_up(identity: &SavedIdentity) {
    match identity.take_up() {
        Ok(false) => {}
        Ok(true) => {
            telemetry::show_certificates(&identity.live().identity());
            tracing::info!("took up the renewed certificate of the data plane");
        }
        Err(error) => tracing::warn!(%error, "the saved certificate cannot be used"),
    }
}

#[cfg(test)]
mod tests {
    use runtime::identity::{
        Authority, ClusterId, KeyPair, NodeId, NodeIdentity, PeerIdentity, Role, Validity,
    };

    use super::*;

    #[tokio::test]
    async fn a_renewed_certificate_is_taken_up_while_no_handshake_asks_for_it() {
        let ca = Authority::create(ClusterId::random()).unwrap();
        let issue = || {
            let cluster = ca.cluster().clone();
            let peer = PeerIdentity { cluster, node: NodeId(1), role: Role::DataPlane };
            let key = KeyPair::generate().unwrap();
            let pem = ca.issue(&key.csr().unwrap().0, &peer, Validity::node()).unwrap();
            NodeIdentity::new(ca.certificate_pem(), &pem, key).unwrap()
        };
        let directory = tempfile::tempdir().unwrap();
        let first = issue();
        first.save(directory.path()).unwrap();
        let identity = SavedIdentity::new(directory.path().to_owned(), &first).unwrap();
        let renewed = issue();
        let shown = async {
            renewed.save(directory.path()).unwrap();
            let renewed = renewed.certified_key().certificate();
            while identity.live().identity().certified_key().certificate() != renewed {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            never = follow(identity.clone(), Duration::from_millis(1)) => match never {},
            done = tokio::time::timeout(Duration::from_secs(20), shown) => done.expect("in time"),
        }
    }
}
