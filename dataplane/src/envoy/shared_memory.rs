//! What Envoys that hand over to each other meet in: a segment of shared memory, by a number that is
//! this run directory's, and sockets in that directory.

use std::{fs, io, os::unix::fs::MetadataExt, path::Path};

use sha2::{Digest, Sha256};

/// Envoy multiplies the number by ten; this leaves room for that in 32 bits.
const BASE_ID_MAX: u32 = 0x0fff_ffff;
/// The layout that [`unlock`] knows, as `envoy --hot-restart-version` tells it: a version of the
/// protocol and the size of the segment.
const LAYOUT: &str = "11.104";
/// Where the flags stand in that layout; bit 0 says that an Envoy initializes.
const FLAGS: std::ops::Range<usize> = 96..104;

/// Returns the number by which Envoys of a run directory find each other, and no others do: of the
/// directory's path and place on the device, so that containers with equal paths differ.
///
/// # Errors
/// The directory cannot be looked at.
pub(super) fn base_id(run_dir: &Path) -> io::Result<u32> {
    let path = fs::canonicalize(run_dir)?;
    let metadata = fs::metadata(&path)?;
    let mut hash = Sha256::new();
    hash.update(path.as_os_str().as_encoded_bytes());
    hash.update(metadata.dev().to_be_bytes());
    hash.update(metadata.ino().to_be_bytes());
    let [a, b, c, d, ..] = <[u8; 32]>::from(hash.finalize());
    Ok(u32::from_be_bytes([a, b, c, d]) & BASE_ID_MAX)
}

fn segment(base_id: u32) -> std::path::PathBuf {
    format!("/dev/shm/envoy_shared_memory_{base_id}0").into()
}

/// Clears the mark that an Envoy leaves that ended before it was live: until then no other may take
/// over. Tells whether the mark is gone; of a layout that is not known it stays.
///
/// Only when no Envoy initializes.
///
/// # Errors
/// The segment cannot be read or written.
pub(super) fn unlock(base_id: u32, hot_restart_version: &str) -> io::Result<bool> {
    if hot_restart_version != LAYOUT {
        return Ok(false);
    }
    let path = segment(base_id);
    let mut bytes = fs::read(&path)?;
    if bytes.len() != FLAGS.end {
        return Ok(false);
    }
    if bytes[FLAGS.start] & 1 == 0 {
        return Ok(true);
    }
    bytes[FLAGS.start] &= !1;
    let file = fs::OpenOptions::new().write(true).open(&path)?;
    // In place: the segment is the file, and Envoys have it mapped.
    std::os::unix::fs::FileExt::write_all_at(&file, &bytes[FLAGS], FLAGS.start as u64)?;
    Ok(true)
}

/// Removes the segment, once no Envoy uses it.
pub(super) fn remove(base_id: u32) {
    match fs::remove_file(segment(base_id)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::debug!(%error, "envoy's shared memory stays");
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_run_directory_has_its_number() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let id = base_id(a.path()).unwrap();
        assert_eq!(id, base_id(a.path()).unwrap());
        assert_ne!(id, base_id(b.path()).unwrap());
        assert!(u64::from(id) * 10 < u64::from(u32::MAX));
    }

    #[test]
    fn only_a_layout_that_is_known_is_written_to() {
        assert!(!unlock(0, "12.104").unwrap());
        assert!(unlock(BASE_ID_MAX, LAYOUT).is_err(), "there is no such segment");
    }
}
