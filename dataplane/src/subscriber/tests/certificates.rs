//! Certificates that come with a configuration, and what does not wait for them.

use std::io;

use model::Refusal;
use runtime::push::{ChallengeAnswer, Grant, Material};
use rustls::pki_types::{CertificateDer, pem::PemObject};

use super::*;

fn certificate(name: &str) -> Value {
    json!({"kind": "Certificate", "metadata": {"name": name},
           "spec": {"issuer": {"name": "own"}, "hosts": ["a.example"]}})
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::new(model::Kind::Certificate, "default", name)
}

fn material(name: &str, text: &str) -> ToPlane {
    let private = format!("-----BEGIN PRIVATE KEY-----\n{text}\n");
    let private = zeroize::Zeroizing::new(private).into();
    let chain = format!("-----BEGIN CERTIFICATE-----\n{text}\n");
    ToPlane::Certificate(Material { certificate: key(name), chain, key: private })
}

impl Plane {
    fn pem(&self, name: &str) -> io::Result<String> {
        let directory = self.identity_dir.path().join("certificates/default");
        std::fs::read_to_string(directory.join(name).join("certificate.pem"))
    }

    async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let held = async {
            while !holds(self) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(DEADLINE, held).await.expect(what);
    }

    async fn envoy(&self, revision: u64, ack: AckState) {
        let report = EngineReport::new(Engine::Envoy, Revision(revision), ack);
        self.book.sender.send(report).await.unwrap();
    }
}

impl Served {
    /// Asks for a word, which comes behind all that was done before.
    async fn ping(&mut self) {
        self.say(ToPlane::Ping).await;
        loop {
            match soon(self.reader.read()).await.unwrap() {
                Some(FromPlane::Pong) => return,
                Some(FromPlane::Reports { .. }) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn certificates_are_kept_apart_from_the_configuration() {
    let ca = Authority::create(ClusterId::random()).unwrap();
    let control = Control::start(&ca, 1);
    let mut plane = Plane::start(&ca, vec![control.address()], Desired::default()).await;
    let (mut served, _) = control.serve().await;
    served.snapshot(4, vec![certificate("a")]).await;
    plane.at(4).await;
    assert!(plane.pem("a").unwrap().contains("PRIVATE KEY"), "one stands in for it");
    // One of an object that is yet to come is kept as well.
    served.say(material("a", "first")).await;
    served.say(material("b", "second")).await;
    served.say(delta(4, 5, vec![certificate("b")], vec![])).await;
    plane.at(5).await;
    plane
        .until("both are kept", |plane| {
            let holds = |name, text| plane.pem(name).is_ok_and(|pem| pem.contains(text));
            holds("a", "first") && holds("b", "second")
        })
        .await;
    plane.supervisor.stop("test over").await;
}

#[tokio::test]
async fn one_that_nothing_names_is_removed_when_envoy_has_lived_without_it() {
    let ca = Authority::create(ClusterId::random()).unwrap();
    let control = Control::start(&ca, 1);
    let mut plane = Plane::start(&ca, vec![control.address()], Desired::default()).await;
    let (mut served, _) = control.serve().await;
    served.snapshot(4, vec![certificate("a"), certificate("b")]).await;
    plane.at(4).await;
    plane.envoy(4, AckState::Applied).await;
    served.say(delta(4, 5, vec![service("a", 1)], vec![key("a")])).await;
    plane.at(5).await;
    let refusal = Refusal {
        object: None,
        resource: String::new(),
        field: String::new(),
        message: String::new(),
    };
    for ack in [AckState::Pending, AckState::Refused { refusals: vec![refusal] }] {
        plane.envoy(5, ack).await;
        tokio::time::sleep(2 * FORGOTTEN_AFTER).await;
        served.ping().await;
        assert!(plane.pem("a").is_ok(), "what Envoy runs names it still");
    }
    plane.envoy(5, AckState::Applied).await;
    tokio::time::sleep(FORGOTTEN_AFTER / 3).await;
    assert!(plane.pem("a").is_ok(), "Envoy has not lived without it");
    plane.until("it is removed", |plane| plane.pem("a").is_err()).await;
    assert!(plane.pem("b").is_ok());

    // One that is named again meanwhile stays, and what a life before has left goes.
    served.snapshot(7, vec![certificate("c")]).await;
    plane.at(7).await;
    plane.envoy(7, AckState::Applied).await;
    served.say(delta(7, 8, vec![certificate("b")], vec![])).await;
    plane.at(8).await;
    plane.envoy(8, AckState::Applied).await;
    tokio::time::sleep(2 * FORGOTTEN_AFTER).await;
    assert!(plane.pem("b").is_ok() && plane.pem("c").is_ok());
    std::fs::create_dir_all(plane.identity_dir.path().join("certificates/default/old")).unwrap();
    served.connection.close(0u32.into(), b"test");
    let (_again, _) = control.serve().await;
    let old = plane.identity_dir.path().join("certificates/default/old");
    plane.until("the leftover is removed", |_| !old.exists()).await;
    plane.supervisor.stop("test over").await;
}

#[tokio::test]
#[expect(clippy::await_holding_lock, reason = "that all else goes on meanwhile is the claim")]
async fn neither_words_nor_leases_nor_health_wait_for_the_disk() {
    let ca = Authority::create(ClusterId::random()).unwrap();
    let control = Control::start(&ca, 1);
    let mut plane = Plane::start(&ca, vec![control.address()], Desired::default()).await;
    let (mut served, _) = control.serve().await;
    served.snapshot(4, vec![service("a", 1)]).await;
    plane.at(4).await;

    // As when the disk takes its time for thousands of them.
    let disk = plane.certificates.alone();
    for at in 0..300 {
        served.say(material(&format!("c{at}"), "first")).await;
    }
    served.snapshot(6, vec![service("a", 1), certificate("c0")]).await;
    served.say(delta(6, 7, vec![service("a", 2)], vec![])).await;
    let endpoint =
        model::EndpointId { service: super::key("a"), address: "192.0.2.1:1".parse().unwrap() };
    let update = HealthUpdate { unhealthy: vec![endpoint.clone()], panicking: vec![] };
    served.say(ToPlane::Health(update)).await;
    let grant = Grant { addresses: vec!["192.0.2.9".parse().unwrap()], lease_ms: 14_500 };
    served.say(ToPlane::Announce(grant)).await;
    served.ping().await;
    assert!(plane.granted.borrow().is_some(), "the lease is known");
    assert!(plane.desired.borrow().unhealthy.contains(&endpoint), "who is unhealthy is known");
    // What names a certificate without a file is not in force, nor is what came behind it.
    assert_eq!(plane.desired.borrow().revision, Revision(4));

    // The next session begins at what is in force, and is not waited for either.
    served.connection.close(0u32.into(), b"test");
    let (mut served, _) = control.serve().await;
    assert_eq!(served.resume.as_ref().unwrap().revision, Revision(4));
    served.say(delta(4, 7, vec![service("a", 2), certificate("c0")], vec![])).await;
    served.ping().await;
    drop(disk);
    let desired = plane.at(7).await;
    expect_ports(&desired, &[("a", 2)]);
    assert!(desired.unhealthy.contains(&endpoint), "what was known of health meanwhile");
    plane
        .until("all are kept", |plane| {
            (0..300).all(|at| plane.pem(&format!("c{at}")).is_ok_and(|pem| pem.contains("first")))
        })
        .await;
    plane.supervisor.stop("test over").await;
}

#[tokio::test]
async fn of_several_challenges_in_handshakes_the_newest_is_shown() {
    let ca = Authority::create(ClusterId::random()).unwrap();
    let control = Control::start(&ca, 1);
    let plane = Plane::start(&ca, vec![control.address()], Desired::default()).await;
    let (mut served, _) = control.serve().await;
    let answer = |host: &str, by_handshake, at_ms| {
        let key_authorization = format!("{host}.thumb");
        ChallengeAnswer { host: host.to_owned(), key_authorization, by_handshake, at_ms }
    };
    let challenges = [
        ("a".to_owned(), answer("newest.example", true, 9)),
        ("b".to_owned(), answer("http.example", false, 10)),
        ("z".to_owned(), answer("older.example", true, 8)),
    ];
    served.say(ToPlane::Challenges { challenges: challenges.into() }).await;
    served.ping().await;
    let shown = crate::certificates::challenge_file(plane.certificates.directory());
    let pem = std::fs::read(shown).unwrap();
    let shown = CertificateDer::from_pem_slice(&pem).unwrap();
    let host = b"newest.example";
    assert!(shown.windows(host.len()).any(|part| part == host));
    assert_eq!(plane.challenges.borrow().keys().collect::<Vec<_>>(), ["b"]);
    plane.supervisor.stop("test over").await;
}
