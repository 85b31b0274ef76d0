//! HTTPS with certificates from files.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use dataplane::Certificates;
use runtime::push::Material;
use rustls::{ProtocolVersion, version};
use zeroize::Zeroizing;

use crate::{
    backend::Backend,
    certificates::{Authority, TlsClient, certificates, https_listener},
    plane::{DEADLINE, Plane, eventually, free_port, route, service, to},
};

/// Certificates that are changed under the connections.
const CHANGES: usize = 20;
/// A secret that was refused has been tried again by then.
const RETRIED: Duration = Duration::from_secs(12);
/// Connections that stay while certificates change.
const KEPT: usize = 4;

/// A listener with the certificates of some files, and a service behind every host.
fn site(port: u16, directory: &Path, names: &[&str], more: &str, backend: &Backend) -> String {
    https_listener(port, &(certificates(directory, names) + more))
        + &service("a", &[backend.port])
        + &route("r", "*", &to("a"))
}

async fn shown(client: &TlsClient, port: u16, name: &str, expected: &rcgen::Certificate) {
    eventually("the certificate", async || {
        let mut connection = client.connect(port, name).await.ok()?;
        let answer = connection.client.get(name, "/").await?;
        (answer.status == 200 && connection.certificate == *expected.der()).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_serves_https_and_takes_rotated_certificates() {
    let backend = Backend::start("a").await;
    let directory = tempfile::tempdir().unwrap();
    let (authority, port) = (Authority::new(), free_port());
    let first = authority.issue(&["a.example"]);
    first.write(directory.path(), "a");
    let plane = Plane::with(&site(port, directory.path(), &["a"], "", &backend)).await;
    let client = authority.client();
    shown(&client, port, "a.example", &first.certificate).await;
    let second = authority.issue(&["a.example"]);
    second.write(directory.path(), "a");
    shown(&client, port, "a.example", &second.certificate).await;
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_each_name_gets_its_certificate_and_others_the_first() {
    let backend = Backend::start("a").await;
    let directory = tempfile::tempdir().unwrap();
    let (authority, port) = (Authority::new(), free_port());
    let names = [("a", "a.example"), ("b", "b.example"), ("c", "*.c.example")];
    let issued = names.map(|(file, name)| {
        let issued = authority.issue(&[name]);
        issued.write(directory.path(), file);
        issued.certificate
    });
    let mut plane =
        Plane::with(&site(port, directory.path(), &["a", "b", "c"], "", &backend)).await;
    let client = authority.client();
    for (name, certificate) in ["a.example", "b.example", "x.c.example"].iter().zip(&issued) {
        shown(&client, port, name, certificate).await;
    }
    let error = client.connect(port, "other.example").await.err().expect("another's certificate");
    assert!(error.contains("a.example"), "{error}");
    // One fewer: a name that has none gets the first.
    plane.apply(&site(port, directory.path(), &["b", "c"], "", &backend)).await;
    eventually("the first of those that are left", async || {
        let error = client.connect(port, "a.example").await.err()?;
        error.contains("b.example").then_some(())
    })
    .await;
    shown(&client, port, "x.c.example", &issued[2]).await;
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_speaks_the_versions_of_tls_that_are_allowed() {
    let backend = Backend::start("a").await;
    let directory = tempfile::tempdir().unwrap();
    let (authority, port) = (Authority::new(), free_port());
    authority.issue(&["a.example"]).write(directory.path(), "a");
    let mut plane = Plane::start().await;
    for (allowed, old, new) in [
        ("", true, true),
        (", minVersion: \"1.3\"", false, true),
        (", maxVersion: \"1.2\"", true, false),
    ] {
        plane.apply(&site(port, directory.path(), &["a"], allowed, &backend)).await;
        for (offered, version, taken) in [
            (&version::TLS12, ProtocolVersion::TLSv1_2, old),
            (&version::TLS13, ProtocolVersion::TLSv1_3, new),
        ] {
            let client = authority.client().only(offered);
            // The listener before may take a connection while it drains.
            eventually("the answer of the changed listener", async || {
                match client.connect(port, "a.example").await {
                    Ok(connection) => (taken && connection.version == version).then_some(()),
                    Err(error) => (!taken && error.contains("ProtocolVersion")).then_some(()),
                }
            })
            .await;
        }
    }
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_changed_certificates_cut_no_connection() {
    let backend = Backend::start("a").await;
    let directory = tempfile::tempdir().unwrap();
    let (authority, port) = (Authority::new(), free_port());
    authority.issue(&["a.example"]).write(directory.path(), "a");
    authority.issue(&["b.example"]).write(directory.path(), "0");
    let mut plane = Plane::with(&site(port, directory.path(), &["a", "0"], "", &backend)).await;
    let client = Arc::new(authority.client());
    let stop = Arc::new(AtomicBool::new(false));
    let kept: Vec<_> = (0..KEPT)
        .map(|_| {
            let (client, stop) = (client.clone(), stop.clone());
            tokio::spawn(async move {
                let mut connection = client.connect(port, "a.example").await.unwrap();
                let mut answers = 0;
                while !stop.load(Ordering::Relaxed) {
                    let answer = connection.client.get("a.example", "/").await;
                    let answer = answer.unwrap_or_else(|| panic!("cut after {answers} answers"));
                    assert_eq!(answer.status, 200);
                    assert_eq!(answer.header("connection"), "");
                    answers += 1;
                }
                answers
            })
        })
        .collect();
    for change in 1..=CHANGES {
        let issued = authority.issue(&["b.example"]);
        let name = change.to_string();
        issued.write(directory.path(), &name);
        plane.apply(&site(port, directory.path(), &["a", &name], "", &backend)).await;
        shown(&client, port, "b.example", &issued.certificate).await;
    }
    stop.store(true, Ordering::Relaxed);
    for task in kept {
        let answers: u64 = task.await.unwrap();
        assert!(answers > CHANGES as u64, "{answers} answers on a connection that stayed");
    }
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_takes_a_certificate_that_comes_late() {
    let backend = Backend::start("a").await;
    let directory = tempfile::tempdir().unwrap();
    let (authority, port) = (Authority::new(), free_port());
    let mut plane = Plane::start().await;
    let revision = plane.publish(&site(port, directory.path(), &["a"], "", &backend));
    assert_eq!(plane.refused(revision).await.len(), 1);
    let mut report = plane.report();
    let mut applied = async |within| {
        let applied = report.wait_for(|report| {
            report.as_ref().is_some_and(|report| report.ack == model::AckState::Applied)
        });
        tokio::time::timeout(within, applied).await.is_ok()
    };
    assert!(!applied(RETRIED).await, "it is tried again, and there are no files");
    authority.issue(&["a.example"]).write(directory.path(), "a");
    assert!(applied(DEADLINE).await, "a retry");
    let answer = authority.client().get(port, "a.example").await;
    assert!(answer.as_ref().is_some_and(|answer| answer.status == 200), "{answer:?}");
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_a_missing_certificate_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    authority.issue(&["a.example"]).write(directory.path(), "a");
    let mut plane = Plane::start().await;
    let tls = certificates(directory.path(), &["a", "missing"]);
    let revision = plane.publish(&https_listener(free_port(), &tls));
    let refusals = plane.refused(revision).await;
    let [refusal] = refusals.as_slice() else { panic!("{refusals:?}") };
    assert_eq!(refusal.object, Some("Listener/default/web".parse().unwrap()));
    assert!(refusal.field.starts_with("spec.tls.moreCertificates[0]."), "{refusal:?}");
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_shows_certificates_that_are_objects_and_takes_those_that_are_issued_anew() {
    let backend = Backend::start("a").await;
    let directory = tempfile::tempdir().unwrap();
    let (authority, port) = (Authority::new(), free_port());
    let mut plane = Plane::start().await;
    let kept = Certificates::new(&plane.directory.path().join("certificates"));
    let issue = |name: &str| {
        let issued = authority.issue(&["a.example"]);
        let key = Zeroizing::new(issued.key.serialize_pem()).into();
        let certificate = name.parse().unwrap();
        kept.hand_in(Material { certificate, chain: issued.certificate.pem(), key });
        kept.keep_next().unwrap().1.unwrap();
        issued.certificate
    };
    let object =
        |spec: &str| format!("---\nkind: Certificate\nmetadata: {{ name: shop }}\nspec: {spec}\n");
    let issued = object("{ issuer: { name: own }, hosts: [a.example] }");
    let config = https_listener(port, "certificates: [{ name: shop }]")
        + &service("a", &[backend.port])
        + &route("r", "*", &to("a"));
    // Before it is issued, one stands in that nobody trusts.
    let mut first = model::Snapshot::default();
    for object in model::parse::parse_documents(&issued).unwrap() {
        first.put(Arc::new(object));
    }
    kept.stand_in(&first).unwrap();
    plane.apply(&(config + &issued)).await;
    let client = authority.client();
    let error = client.connect(port, "a.example").await.err().expect("a stranger's");
    assert!(error.contains("UnknownIssuer"), "{error}");

    let certificate = issue("Certificate/default/shop");
    shown(&client, port, "a.example", &certificate).await;
    let mut connection = client.connect(port, "a.example").await.unwrap();
    for _ in 0..CHANGES {
        let certificate = issue("Certificate/default/shop");
        shown(&client, port, "a.example", &certificate).await;
    }
    // From files: another source, and still no matter of the listener's.
    let from_file = authority.issue(&["a.example"]);
    from_file.write(directory.path(), "a");
    let files = certificates(directory.path(), &["a"]).replace(", moreCertificates: []", "");
    plane.apply(&object(&format!("{{ {files} }}"))).await;
    shown(&client, port, "a.example", &from_file.certificate).await;
    let answer = connection.client.get("a.example", "/").await.expect("a connection that stayed");
    assert_eq!(answer.status, 200);

    let missing =
        object("{ certificateFile: /nonexistent/a.pem, privateKeyFile: /nonexistent/a.key }");
    let revision = plane.publish(&missing);
    let refusals = plane.refused(revision).await;
    let [refusal] = refusals.as_slice() else { panic!("{refusals:?}") };
    assert_eq!(refusal.object, Some("Certificate/default/shop".parse().unwrap()));
    assert!(refusal.field.starts_with("spec."), "{refusal:?}");
    shown(&client, port, "a.example", &from_file.certificate).await;
    plane.stop().await;
}
