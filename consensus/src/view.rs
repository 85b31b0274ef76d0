//! An immutable picture of the replicated state at one revision.
//!
//! Backed by persistent maps: cloning costs a few pointers, and a reader never holds up apply.

use bytes::Bytes;

use crate::ids::Revision;

/// A value with the revisions that made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned {
    /// The bytes that were written.
    pub value: Bytes,
    /// The revision of the last write.
    pub mod_revision: Revision,
    /// The revision that created the key after it was last absent.
    pub create_revision: Revision,
    /// Log time of the last write, in milliseconds since the Unix epoch.
    pub time_ms: u64,
}

/// All keys at one revision.
#[derive(Debug, Clone, Default)]
pub struct View {
    pub(crate) revision: Revision,
    pub(crate) time_ms: u64,
    pub(crate) objects: imbl::OrdMap<std::sync::Arc<str>, Versioned>,
}

impl View {
    /// The last entry that this view contains.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// Log time at that entry, in milliseconds since the Unix epoch.
    pub fn time_ms(&self) -> u64 {
        self.time_ms
    }

    /// Looks one key up.
    pub fn get(&self, key: &str) -> Option<&Versioned> {
        self.objects.get(key)
    }

    /// Iterates all keys that start with `prefix`, in byte order.
    pub fn scan<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a Versioned)> {
        self.objects
            .range::<_, str>((std::ops::Bound::Included(prefix), std::ops::Bound::Unbounded))
            .take_while(move |(key, _)| key.starts_with(prefix))
            .map(|(key, value)| (&**key, value))
    }

    /// The number of keys.
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// Whether there is no key at all.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }
}
