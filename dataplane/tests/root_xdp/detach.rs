//! Taking XDP off a host by the identity of the node that it was.

use std::process::Command;

use dataplane::{
    Config, DetachError, detach,
    xdp::{Engine, PinFolder, Settings},
};
use runtime::{
    identity::{Authority, ClusterId, KeyPair, NodeId, NodeIdentity, PeerIdentity, Role, Validity},
    process::PidLock,
};

use crate::support::{
    namespaces::{self, Namespace},
    objects::desired,
};

#[test]
fn root_detach_removes_what_a_stopped_data_plane_left_and_nothing_of_a_running_one() {
    let namespace = Namespace::new("d");
    namespace.enter();
    namespaces::run("ip link add v0 type veth peer name v1");
    namespaces::run("ip link set v0 up");
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let config = Config::new(Vec::new(), at("identity"), at("state"), at("run"));
    assert!(matches!(detach(&config), Err(DetachError::NoIdentity { .. })));

    let authority = Authority::create(ClusterId::random()).unwrap();
    let key = KeyPair::generate().unwrap();
    let peer = PeerIdentity {
        cluster: authority.cluster().clone(),
        node: NodeId(7),
        role: Role::DataPlane,
    };
    let certificate = authority.issue(&key.csr().unwrap().0, &peer, Validity::node()).unwrap();
    let identity = NodeIdentity::new(authority.certificate_pem(), &certificate, key).unwrap();
    identity.save(&at("identity")).unwrap();
    assert_eq!(detach(&config).unwrap(), Vec::<String>::new(), "nothing is there yet");

    let instance = format!("{}-7", authority.cluster());
    let pins = PinFolder::new("/sys/fs/bpf", &instance).unwrap();
    let mut engine = Engine::open(Settings::new(vec!["v0".to_owned()], pins.clone())).unwrap();
    engine.reconcile(&desired(1, &[])).unwrap();
    let attached = || {
        let output = Command::new("ip").args(["-d", "link", "show", "v0"]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).contains("prog/xdp")
    };
    assert!(attached());

    std::fs::create_dir(at("run")).unwrap();
    let lock = PidLock::acquire(&config.lock_file()).unwrap();
    assert!(matches!(detach(&config), Err(DetachError::Running(_))));
    assert!(attached(), "a running data plane keeps its own");
    drop((engine, lock));

    let removed = detach(&config).unwrap();
    assert!(removed.contains(&"link_native_v0".to_owned()), "{removed:?}");
    assert!(!attached() && !pins.path().exists());
}
