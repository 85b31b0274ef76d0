//! Versions of resources: a hash of the canonical content that a resource was made of.
//!
//! Never a hash of encoded bytes: maps in messages encode in random order.

use std::{io, sync::Arc};

use serde::Serialize;
use sha2::{Digest, Sha256};

/// Counts changes of the translation itself: one that makes other resources of the same objects
/// must change every version.
const TRANSLATION: u32 = 3;
/// 64 bits: two versions of one name collide once in 2^64.
const BYTES: usize = 8;

/// Collects what a resource is made of.
pub(super) struct Version(Sha256);

impl Version {
    /// Starts with the kind of the resource.
    pub(super) fn of(kind: super::ResourceType) -> Self {
        let mut hash = Sha256::new();
        hash.update(TRANSLATION.to_be_bytes());
        hash.update([kind.code()]);
        Self(hash)
    }

    /// Adds a part in its canonical JSON.
    pub(super) fn part(mut self, part: &impl Serialize) -> Self {
        self.add(part);
        self
    }

    /// Adds a part in its canonical JSON.
    pub(super) fn add(&mut self, part: &impl Serialize) {
        serde_json::to_writer(Writer(&mut self.0), part)
            .expect("parts have string keys and finite numbers, and hashing does not fail");
        self.0.update([0]);
    }

    pub(super) fn finish(self) -> Arc<str> {
        hex::encode(&self.0.finalize()[..BYTES]).into()
    }
}

struct Writer<'a>(&'a mut Sha256);

impl io::Write for Writer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
