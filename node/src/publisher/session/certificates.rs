//! What a data plane is sent of issued certificates: all of them, then each that is issued. Held back or
//! not, every node is sent them: which it shows, its configuration says.

use consensus::{Batch, Consistency};
use model::{Kind, ObjectKey};
use runtime::push::ToPlane;

use super::{Publisher, SessionEnd, Writer};
use crate::{
    control::{
        SnapshotError,
        store::{CERTIFICATES, CHALLENGES, named_key, named_of},
    },
    issuing::{Place, Record, acme},
};

/// Lists the certificates that were issued in a batch.
pub(super) fn in_batch(batch: &Batch) -> Vec<ObjectKey> {
    let issued = batch.events.iter().filter(|event| event.current.is_some());
    issued.filter_map(|event| named_of(CERTIFICATES, Kind::Certificate, &event.key)).collect()
}

/// Sends all.
pub(super) async fn all(publisher: &Publisher, writer: &mut Writer) -> Result<(), SessionEnd> {
    let view = publisher.consensus.read(Consistency::Stale).await.map_err(SnapshotError::from)?;
    for (at, stored) in view.scan(CERTIFICATES) {
        if let Some(key) = named_of(CERTIFICATES, Kind::Certificate, at) {
            send(publisher, writer, key, &stored.value).await?;
        }
    }
    Ok(())
}

/// Sends one, as it is by now.
pub(super) async fn one(
    publisher: &Publisher,
    writer: &mut Writer,
    key: ObjectKey,
) -> Result<(), SessionEnd> {
    let view = publisher.consensus.read(Consistency::Stale).await.map_err(SnapshotError::from)?;
    match view.get(&named_key(CERTIFICATES, &key)) {
        Some(stored) => send(publisher, writer, key, &stored.value).await,
        None => Ok(()),
    }
}

/// Tells whether a batch changes what authorities are answered.
pub(super) fn asks_otherwise(batch: &Batch) -> bool {
    batch.events.iter().any(|event| event.key.starts_with(CHALLENGES))
}

/// Tells whether authorities are answered something.
pub(super) async fn are_challenges(publisher: &Publisher) -> Result<bool, SessionEnd> {
    let view = publisher.consensus.read(Consistency::Stale).await.map_err(SnapshotError::from)?;
    Ok(view.scan(CHALLENGES).next().is_some())
}

/// Sends what authorities are answered.
pub(super) async fn challenges(
    publisher: &Publisher,
    writer: &mut Writer,
) -> Result<(), SessionEnd> {
    let view = publisher.consensus.read(Consistency::Stale).await.map_err(SnapshotError::from)?;
    writer.send(&ToPlane::Challenges { challenges: acme::answers(&view) }).await
}

async fn send(
    publisher: &Publisher,
    writer: &mut Writer,
    key: ObjectKey,
    stored: &[u8],
) -> Result<(), SessionEnd> {
    let place =
        Place { key: publisher.certificates.cluster_key(), cluster: publisher.cluster.as_str() };
    let opened = Record::read(stored).and_then(|record| record.material(&place, key.clone()));
    match opened {
        Ok(material) => writer.send(&ToPlane::Certificate(material)).await,
        Err(error) => {
            // The leader issues it anew; the others go on.
            tracing::error!(certificate = %key, %error, "not sent to data planes");
            Ok(())
        }
    }
}
