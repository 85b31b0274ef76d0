//! Committed bytes of each persisted format: what was once written must be read for ever.

use std::path::PathBuf;

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

/// Reads a fixture.
pub(crate) fn read(name: &str) -> Vec<u8> {
    std::fs::read(path(name)).unwrap()
}

/// Compares freshly written bytes with a fixture, or makes one that is missing when asked to.
pub(crate) fn check(name: &str, written: &[u8]) {
    let make = std::env::var_os("MARCHPROXY_MAKE_FIXTURES").is_some();
    if make && !path(name).exists() {
        std::fs::write(path(name), written).unwrap();
    }
    assert!(read(name) == written, "the bytes of {name} changed: give them a new version");
}
