//! Real handshakes in memory: who gets in, and with which reason the others are refused.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use rustls::{
    ClientConfig, ClientConnection, ServerConfig, ServerConnection, pki_types::ServerName,
};

use super::*;
use crate::identity::{
    Authority, CLOCK_TOLERANCE, ClusterId, KeyPair, NodeId, PeerIdentity, Validity,
};

struct Outcome {
    client: Result<(), rustls::Error>,
    server: Result<(), rustls::Error>,
    /// Whom the server saw.
    seen: Option<PeerIdentity>,
}

impl Outcome {
    fn client_refuses(&self) -> &PeerError {
        refusal(self.client.as_ref().expect_err("the client accepts")).expect("a reason")
    }

    fn server_refuses(&self) -> &PeerError {
        refusal(self.server.as_ref().expect_err("the server accepts")).expect("a reason")
    }

    fn accepted(&self) {
        self.client.as_ref().expect("client");
        self.server.as_ref().expect("server");
    }
}

fn handshake(server: &Arc<ServerConfig>, client: &Arc<ClientConfig>, name: &str) -> Outcome {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::clone(client), name).unwrap();
    let mut server = ServerConnection::new(Arc::clone(server)).unwrap();
    let mut outcome = Outcome { client: Ok(()), server: Ok(()), seen: None };
    // A TLS 1.3 handshake takes three flights; the rest carries alerts.
    for _ in 0..6 {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut wire.as_slice()).unwrap();
        if outcome.server.is_ok() {
            outcome.server = server.process_new_packets().map(drop);
        }
        let mut wire = Vec::new();
        server.write_tls(&mut wire).unwrap();
        client.read_tls(&mut wire.as_slice()).unwrap();
        if outcome.client.is_ok() {
            outcome.client = client.process_new_packets().map(drop);
        }
    }
    let finished = !client.is_handshaking() && !server.is_handshaking();
    assert!(finished || outcome.client.is_err() || outcome.server.is_err(), "no end");
    outcome.seen = server.peer_certificates().and_then(|chain| peer_identity(chain).ok());
    outcome
}

fn authority() -> Authority {
    Authority::create(ClusterId::random()).unwrap()
}

fn node_at(ca: &Authority, node: u64, role: Role, validity: Validity) -> NodeIdentity {
    let peer = PeerIdentity { cluster: ca.cluster().clone(), node: NodeId(node), role };
    let key = KeyPair::generate().unwrap();
    let pem = ca.issue(&key.csr().unwrap().0, &peer, validity).unwrap();
    NodeIdentity::new(ca.certificate_pem(), &pem, key).unwrap()
}

fn node(ca: &Authority, node: u64, role: Role) -> NodeIdentity {
    node_at(ca, node, role, Validity::node())
}

fn control_name(ca: &Authority) -> String {
    ca.cluster().server_name(Role::Control)
}

#[test]
fn nodes_of_one_cluster_know_each_other() {
    let ca = authority();
    let server = server_mtls(&node(&ca, 1, Role::Control)).unwrap();
    for role in Role::ALL {
        let peer = node(&ca, 2, role);
        let outcome = handshake(&server, &client_mtls(&peer).unwrap(), &control_name(&ca));
        outcome.accepted();
        assert_eq!(outcome.seen.as_ref(), Some(peer.peer()));
    }
}

#[test]
fn a_node_of_another_cluster_is_refused_on_both_sides() {
    let (ours, theirs) = (authority(), authority());
    let server = server_mtls(&node(&ours, 1, Role::Control)).unwrap();
    let client = client_mtls(&node(&theirs, 2, Role::Control)).unwrap();
    let outcome = handshake(&server, &client, &control_name(&ours));
    assert!(matches!(outcome.client_refuses(), PeerError::OtherCluster { .. }));

    // A client that does not mind whom it talks to still does not get in.
    let careless = careless_client(&node(&theirs, 2, Role::Control));
    let outcome = handshake(&server, &careless, &control_name(&ours));
    let PeerError::OtherCluster { found, own } = outcome.server_refuses() else {
        panic!("{}", outcome.server_refuses())
    };
    assert_eq!((found, own), (theirs.cluster(), ours.cluster()));
}

#[test]
fn another_ca_that_claims_the_same_cluster_is_refused() {
    let ours = authority();
    let forged = Authority::create(ours.cluster().clone()).unwrap();
    let server = server_mtls(&node(&ours, 1, Role::Control)).unwrap();
    let outcome = handshake(
        &server,
        &careless_client(&node(&forged, 1, Role::Control)),
        &control_name(&ours),
    );
    assert!(matches!(outcome.server_refuses(), PeerError::UnknownAuthority { .. }));

    let server = server_mtls(&node(&forged, 1, Role::Control)).unwrap();
    let client = client_mtls(&node(&ours, 2, Role::Control)).unwrap();
    let outcome = handshake(&server, &client, &control_name(&ours));
    assert!(matches!(outcome.client_refuses(), PeerError::UnknownAuthority { .. }));
}

#[test]
fn a_data_plane_can_neither_act_as_control_nor_pass_where_only_control_may() {
    let ca = authority();
    let server = server_mtls_for(&node(&ca, 1, Role::Control), &[Role::Control]).unwrap();
    let client = client_mtls(&node(&ca, 2, Role::DataPlane)).unwrap();
    let outcome = handshake(&server, &client, &control_name(&ca));
    assert!(matches!(outcome.server_refuses(), PeerError::OtherRole { .. }));

    let server = server_mtls(&node(&ca, 2, Role::DataPlane)).unwrap();
    let client = client_mtls(&node(&ca, 1, Role::Control)).unwrap();
    let outcome = handshake(&server, &client, &control_name(&ca));
    assert!(matches!(outcome.client_refuses(), PeerError::OtherRole { .. }));
}

#[test]
fn a_client_without_a_certificate_is_refused_but_by_the_api() {
    let ca = authority();
    let identity = node(&ca, 1, Role::Control);
    let anonymous = client_pinned(&ca.pin()).unwrap();
    let outcome = handshake(&server_mtls(&identity).unwrap(), &anonymous, "any.name");
    assert_eq!(outcome.server, Err(rustls::Error::NoCertificatesPresented));
    handshake(&server_api(&identity).unwrap(), &anonymous, "any.name").accepted();
    // The API still knows a node by its certificate, and refuses a stranger's.
    let known = handshake(
        &server_api(&identity).unwrap(),
        &client_mtls(&node(&ca, 9, Role::Control)).unwrap(),
        &control_name(&ca),
    );
    known.accepted();
    assert_eq!(known.seen.unwrap().node, NodeId(9));
    let stranger = careless_client(&node(&authority(), 2, Role::Control));
    let outcome = handshake(&server_api(&identity).unwrap(), &stranger, "any.name");
    assert!(matches!(outcome.server_refuses(), PeerError::OtherCluster { .. }));
}

#[test]
fn a_pin_admits_its_ca_only_and_only_control_nodes() {
    let (ours, theirs) = (authority(), authority());
    let pinned = client_pinned(&ours.pin()).unwrap();
    let other = server_api(&node(&theirs, 1, Role::Control)).unwrap();
    let outcome = handshake(&other, &pinned, "any.name");
    let PeerError::OtherPin { expected, presented } = outcome.client_refuses() else {
        panic!("{}", outcome.client_refuses())
    };
    assert_eq!((*expected, presented.as_slice()), (ours.pin(), &[theirs.pin()][..]));

    let plane = server_api(&node(&ours, 1, Role::DataPlane)).unwrap();
    let outcome = handshake(&plane, &pinned, "any.name");
    assert!(matches!(outcome.client_refuses(), PeerError::OtherRole { .. }));
}

#[test]
fn showing_the_pinned_ca_beside_a_foreign_certificate_does_not_help() {
    let (ours, theirs) = (authority(), authority());
    let impostor = node(&theirs, 1, Role::Control);
    let key = provider().key_provider.load_private_key(impostor.private_der()).unwrap();
    let chain = vec![impostor.certified_key().certificate().clone(), ours.certificate().clone()];
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(
            rustls::sign::CertifiedKey::new(chain, key),
        )));
    let outcome = handshake(&Arc::new(config), &client_pinned(&ours.pin()).unwrap(), "any.name");
    assert!(matches!(outcome.client_refuses(), PeerError::UnknownAuthority { .. }));
}

#[test]
fn a_clock_an_hour_off_works_and_one_further_off_gets_a_clear_reason() {
    let ca = authority();
    let server = server_mtls(&node(&ca, 1, Role::Control)).unwrap();
    let hour = Duration::from_secs(3600);
    let now = SystemTime::now();
    let connect = |from: SystemTime, lifetime: Duration| {
        let peer = node_at(&ca, 2, Role::Control, Validity { from, lifetime });
        handshake(&server, &client_mtls(&peer).unwrap(), &control_name(&ca))
    };
    // Issued by a clock one hour ahead of ours.
    connect(now + hour, 24 * hour).accepted();
    let outcome = connect(now + CLOCK_TOLERANCE + hour, 24 * hour);
    let PeerError::NotYetValid { ahead, .. } = outcome.server_refuses() else {
        panic!("{}", outcome.server_refuses())
    };
    assert!(*ahead > hour - Duration::from_secs(60) && *ahead <= hour, "{ahead:?}");
    assert!(outcome.server_refuses().to_string().contains("clock"));

    let outcome = connect(now - 24 * hour, 23 * hour);
    assert!(matches!(outcome.server_refuses(), PeerError::Expired { .. }));
}

#[test]
fn a_renewed_certificate_is_shown_from_the_next_handshake_on() {
    let ca = authority();
    let live = LiveIdentity::new(&node(&ca, 1, Role::Control)).unwrap();
    let server = live.server_mtls(&Role::ALL).unwrap();
    let client = client_mtls(&node(&ca, 2, Role::Control)).unwrap();
    handshake(&server, &client, &control_name(&ca)).accepted();

    let expired = Validity {
        from: SystemTime::now() - Duration::from_secs(7200),
        lifetime: Duration::from_secs(1),
    };
    live.replace(&node_at(&ca, 1, Role::Control, expired)).unwrap();
    let outcome = handshake(&server, &client, &control_name(&ca));
    assert!(matches!(outcome.client_refuses(), PeerError::Expired { .. }));
    live.replace(&node(&ca, 1, Role::Control)).unwrap();
    handshake(&server, &client, &control_name(&ca)).accepted();

    assert!(matches!(
        live.replace(&node(&ca, 3, Role::Control)),
        Err(TlsError::OtherIdentity { .. })
    ));
}

#[test]
fn a_client_shows_a_renewed_certificate_from_the_next_handshake_on() {
    let ca = authority();
    let server = server_mtls(&node(&ca, 1, Role::Control)).unwrap();
    let expired = Validity {
        from: SystemTime::now() - Duration::from_secs(7200),
        lifetime: Duration::from_secs(1),
    };
    let live = LiveIdentity::new(&node_at(&ca, 2, Role::DataPlane, expired)).unwrap();
    let client = live.client_mtls(Role::Control).unwrap();
    let outcome = handshake(&server, &client, &control_name(&ca));
    assert!(matches!(outcome.server_refuses(), PeerError::Expired { .. }));
    live.replace(&node(&ca, 2, Role::DataPlane)).unwrap();
    handshake(&server, &client, &control_name(&ca)).accepted();
}

#[test]
fn what_another_process_saves_is_taken_up_unless_it_is_damaged_or_anothers() {
    let ca = authority();
    let directory = tempfile::tempdir().unwrap();
    let first = node(&ca, 2, Role::DataPlane);
    first.save(directory.path()).unwrap();
    let saved = SavedIdentity::new(directory.path().to_owned(), &first).unwrap();
    let used = || saved.live().identity().certified_key().certificate().clone();
    assert!(!saved.take_up().unwrap());

    let renewed = node(&ca, 2, Role::DataPlane);
    renewed.save(directory.path()).unwrap();
    assert!(saved.take_up().unwrap() && !saved.take_up().unwrap());
    assert_eq!(used(), *renewed.certified_key().certificate());

    node(&ca, 3, Role::DataPlane).save(directory.path()).unwrap();
    let other = saved.take_up();
    assert!(matches!(other, Err(TakeUpError::Tls(TlsError::OtherIdentity { .. }))), "{other:?}");
    let file = NodeIdentity::file(directory.path());
    std::fs::write(&file, "half").unwrap();
    assert!(matches!(saved.take_up(), Err(TakeUpError::Identity(_))));
    std::fs::remove_file(&file).unwrap();
    assert!(matches!(saved.take_up(), Err(TakeUpError::Missing { .. })));
    assert_eq!(used(), *renewed.certified_key().certificate());
}

#[test]
fn a_wrong_server_name_is_refused() {
    let ca = authority();
    let server = server_mtls(&node(&ca, 1, Role::Control)).unwrap();
    let client = client_mtls(&node(&ca, 2, Role::Control)).unwrap();
    assert!(handshake(&server, &client, "control.other.marchproxy").client.is_err());
}

/// Shows its certificate to anyone who asks, and accepts anyone.
fn careless_client(identity: &NodeIdentity) -> Arc<ClientConfig> {
    #[derive(Debug)]
    struct Anyone;
    impl rustls::client::danger::ServerCertVerifier for Anyone {
        fn verify_server_cert(
            &self,
            _: &rustls_pki_types::CertificateDer<'_>,
            _: &[rustls_pki_types::CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: rustls_pki_types::UnixTime,
        ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
            Ok(rustls::client::danger::ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &rustls_pki_types::CertificateDer<'_>,
            _: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
        }

        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &rustls_pki_types::CertificateDer<'_>,
            _: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
        }

        fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
            provider().signature_verification_algorithms.supported_schemes()
        }
    }
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone))
        .with_client_auth_cert(identity.chain(), identity.private_der())
        .unwrap();
    Arc::new(config)
}
