//! What lies in the store: what certificates were issued, and the authorities of internal issuers.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use model::{Issued, ObjectKey};
use runtime::push::{Material, PrivateKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::authority::Pair;
use crate::{
    certificates::{ClusterKey, ClusterKeyError, Sealed},
    control::store::{CERTIFICATES, ISSUERS, named_key},
};

const VERSION: u32 = 1;

/// Why a record cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordError {
    /// It is damaged, or of a version that this program does not know.
    #[error("the record is unreadable by this version")]
    Form,
    /// Its key does not open.
    #[error(transparent)]
    Key(Box<ClusterKeyError>),
}

/// A certificate with its key, encrypted in its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    version: u32,
    /// What it was issued for; empty for an authority.
    #[serde(default)]
    pub(super) asked: String,
    /// In PEM; what is issued, then those of its authorities but the root.
    pub(super) chain: String,
    key: Sealed,
    pub(super) not_before_ms: u64,
    pub(super) not_after_ms: u64,
    /// Before that the next one is not issued, whatever is left.
    #[serde(default, skip_serializing_if = "is_zero")]
    not_due_before_ms: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Record {
    /// Reads the stored form.
    pub(crate) fn read(stored: &[u8]) -> Result<Self, RecordError> {
        let record: Self = serde_json::from_slice(stored).map_err(|_| RecordError::Form)?;
        if record.version == VERSION { Ok(record) } else { Err(RecordError::Form) }
    }

    /// Returns the stored form.
    pub(super) fn to_stored(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("its keys are text")
    }

    /// Seals what a certificate was issued.
    pub(super) fn of_certificate(
        place: &Place<'_>,
        key: &ObjectKey,
        asked: String,
        pair: &Pair,
    ) -> Self {
        Self { asked, ..Self::sealed(place, &named_key(CERTIFICATES, key), pair) }
    }

    /// Seals the authority of an issuer.
    pub(super) fn of_authority(place: &Place<'_>, key: &ObjectKey, pair: &Pair) -> Self {
        Self::sealed(place, &named_key(ISSUERS, key), pair)
    }

    fn sealed(place: &Place<'_>, at: &str, pair: &Pair) -> Self {
        Self {
            version: VERSION,
            asked: String::new(),
            chain: pair.certificate.clone(),
            key: place.seal(at, &pair.key),
            not_before_ms: milliseconds(pair.not_before),
            not_after_ms: milliseconds(pair.not_after),
            not_due_before_ms: 0,
        }
    }

    /// Opens the authority of an issuer.
    pub(super) fn authority(
        &self,
        place: &Place<'_>,
        key: &ObjectKey,
    ) -> Result<Pair, RecordError> {
        Ok(Pair {
            certificate: self.chain.clone(),
            key: place.open(&named_key(ISSUERS, key), &self.key)?,
            not_before: UNIX_EPOCH + Duration::from_millis(self.not_before_ms),
            not_after: UNIX_EPOCH + Duration::from_millis(self.not_after_ms),
        })
    }

    /// Opens what data planes are sent.
    pub(crate) fn material(
        &self,
        place: &Place<'_>,
        certificate: ObjectKey,
    ) -> Result<Material, RecordError> {
        let key = place.open(&named_key(CERTIFICATES, &certificate), &self.key)?;
        let key = PrivateKey::from(key);
        Ok(Material { certificate, chain: self.chain.clone(), key })
    }

    /// Tells when the next one is to be issued.
    pub(super) fn due_ms(&self, asked: &Issued) -> u64 {
        let valid = Duration::from_millis(self.not_after_ms.saturating_sub(self.not_before_ms));
        // Of how long it is valid the authority has decided; the cluster keeps to what was asked for.
        let chosen = self.not_due_before_ms > 0;
        let before = if chosen { asked.renews_before(valid) } else { asked.renew_before };
        let before = u64::try_from(before.as_millis()).unwrap_or(u64::MAX);
        self.not_after_ms.saturating_sub(before).max(self.not_due_before_ms)
    }

    /// Has the next one issued at that time at the earliest.
    pub(super) fn not_due_before(&mut self, at: SystemTime) {
        self.not_due_before_ms = milliseconds(at);
    }
}

/// Reads of a stored record alone when what it holds ends.
pub(super) fn not_after_ms(stored: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct End {
        not_after_ms: u64,
    }
    serde_json::from_slice(stored).ok().map(|End { not_after_ms }| not_after_ms)
}

/// Where secrets are encrypted: by which key, in which cluster.
pub(crate) struct Place<'a> {
    pub(crate) key: &'a ClusterKey,
    pub(crate) cluster: &'a str,
}

impl Place<'_> {
    pub(super) fn seal(&self, at: &str, text: &str) -> Sealed {
        self.key.seal_text(&self.name(at), text)
    }

    pub(super) fn open(&self, at: &str, sealed: &Sealed) -> Result<Zeroizing<String>, RecordError> {
        let opened = self.key.open_text(&self.name(at), sealed);
        opened.map_err(|error| RecordError::Key(Box::new(error)))
    }

    fn name(&self, at: &str) -> String {
        format!("{} {at}", self.cluster)
    }
}

/// Names what is asked for, by an authority's certificate: another one of either is issued anew.
pub(super) fn asked(issued: &Issued, authority: &str) -> String {
    let Issued { issuer, hosts, lifetime, renew_before: _ } = issued;
    let asked = serde_json::to_vec(&(issuer, hosts, lifetime.as_millis(), authority));
    let mut hash = Sha256::new();
    hash.update(asked.expect("it has text and numbers only"));
    hex::encode(&hash.finalize()[..16])
}

pub(super) fn milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_millis().try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::{super::authority, *};

    #[test]
    fn a_record_opens_in_its_place_only_and_shows_no_key() {
        let key = ClusterKey::random();
        let place = Place { key: &key, cluster: "0123456789abcdef" };
        let (own, other): (ObjectKey, ObjectKey) =
            ("Certificate/a/b".parse().unwrap(), "Certificate/a/c".parse().unwrap());
        let pair = authority::create(&"Issuer/a/b".parse().unwrap(), SystemTime::now()).unwrap();
        let record = Record::of_certificate(&place, &own, "asked".into(), &pair);
        let stored = record.to_stored();
        assert!(!String::from_utf8_lossy(&stored).contains("PRIVATE"));
        let read = Record::read(&stored).unwrap();
        assert_eq!(read, record);
        assert_eq!(read.material(&place, own.clone()).unwrap().key.as_str(), pair.key.as_str());
        assert!(read.material(&place, other).is_err(), "of another certificate");
        assert!(read.authority(&place, &own).is_err(), "not an issuer's");
        let elsewhere = Place { key: &key, cluster: "fedcba9876543210" };
        assert!(read.material(&elsewhere, own.clone()).is_err(), "another cluster's");
        let foreign = ClusterKey::random();
        assert!(read.material(&Place { key: &foreign, ..place }, own).is_err());
        let newer =
            String::from_utf8(stored).unwrap().replacen("\"version\":1", "\"version\":2", 1);
        assert!(matches!(Record::read(newer.as_bytes()), Err(RecordError::Form)));
    }
}
