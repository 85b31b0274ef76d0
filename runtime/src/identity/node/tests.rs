//! An identity on the disk, whole and damaged.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::identity::{Authority, Validity};

fn issue(ca: &Authority, node: u64) -> (String, KeyPair) {
    let key = KeyPair::generate().unwrap();
    let peer =
        PeerIdentity { cluster: ca.cluster().clone(), node: NodeId(node), role: Role::Control };
    let pem = ca.issue(&key.csr().unwrap().0, &peer, Validity::node()).unwrap();
    (pem, key)
}

fn authority() -> Authority {
    Authority::create(ClusterId::random()).unwrap()
}

#[test]
fn an_identity_survives_the_disk_and_is_private() {
    let ca = authority();
    let (pem, key) = issue(&ca, 4);
    let identity = NodeIdentity::new(ca.certificate_pem(), &pem, key).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path().join("identity");
    assert!(NodeIdentity::load(&directory).unwrap().is_none());
    identity.save(&directory).unwrap();
    let again = NodeIdentity::load(&directory).unwrap().unwrap();
    assert_eq!(again.peer(), identity.peer());
    assert_eq!(again.pin(), ca.pin());
    assert_eq!(again.expires(), identity.expires());
    let mode = fs::metadata(directory.join(FILE)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    fs::set_permissions(directory.join(FILE), fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(NodeIdentity::load(&directory), Err(IdentityError::Exposed { .. })));
}

#[test]
fn every_truncation_of_the_file_is_an_error_not_an_identity() {
    let ca = authority();
    let (pem, key) = issue(&ca, 4);
    let directory = tempfile::tempdir().unwrap();
    let identity = NodeIdentity::new(ca.certificate_pem(), &pem, key).unwrap();
    identity.save(directory.path()).unwrap();
    let path = directory.path().join(FILE);
    let whole = fs::read(&path).unwrap();
    for length in (0..whole.len() - 2).step_by(37) {
        fs::write(&path, &whole[..length]).unwrap();
        assert!(NodeIdentity::load(directory.path()).is_err(), "{length} bytes");
    }
}

#[test]
fn a_changed_byte_is_an_error_that_names_the_file() {
    let ca = authority();
    let (pem, key) = issue(&ca, 4);
    let directory = tempfile::tempdir().unwrap();
    let identity = NodeIdentity::new(ca.certificate_pem(), &pem, key).unwrap();
    identity.save(directory.path()).unwrap();
    for (name, step) in [(FILE, 7), (CA_FILE, 1)] {
        let path = directory.path().join(name);
        let whole = fs::read(&path).unwrap();
        for at in (0..whole.len()).step_by(step) {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            fs::write(&path, &changed).unwrap();
            let error = NodeIdentity::load(directory.path()).unwrap_err();
            assert!(error.to_string().contains(name), "{at}: {error}");
        }
        fs::write(&path, &whole).unwrap();
    }
    fs::remove_file(directory.path().join(CA_FILE)).unwrap();
    NodeIdentity::load(directory.path()).unwrap();
    assert!(directory.path().join(CA_FILE).exists());
}

#[test]
fn parts_that_do_not_belong_together_are_refused() {
    let (ca, other) = (authority(), authority());
    let (pem, key) = issue(&ca, 4);
    let wrong_key = NodeIdentity::new(ca.certificate_pem(), &pem, KeyPair::generate().unwrap());
    assert!(matches!(wrong_key, Err(IdentityError::OtherKey)));
    let wrong_ca = NodeIdentity::new(other.certificate_pem(), &pem, key);
    assert!(matches!(wrong_ca, Err(IdentityError::OtherAuthority)));
}
