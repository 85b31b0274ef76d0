//! HTTPS with certificates from files.

use std::{
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    sync::Arc,
};

use model::cluster::NodeId;
use runtime::identity::{Authority, ClusterId, KeyPair, PeerIdentity, Role, Validity};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, pki_types::ServerName};

use crate::{
    backend::Backend,
    plane::{DEADLINE, Plane, eventually, free_port, route, service, to},
};

struct Certificates {
    authority: Authority,
    node: u64,
}

impl Certificates {
    /// Writes a new certificate and key; renames them into place, as rotation tools do.
    fn write(&mut self, directory: &Path) -> String {
        self.node += 1;
        let identity = PeerIdentity {
            cluster: self.authority.cluster().clone(),
            node: NodeId(self.node),
            role: Role::DataPlane,
        };
        let key = KeyPair::generate().unwrap();
        let csr = key.csr().unwrap();
        let chain = self.authority.issue(&csr.0, &identity, Validity::node()).unwrap();
        for (name, text) in [("key.pem", key.to_pem().to_string()), ("cert.pem", chain)] {
            let new = directory.join(format!("{name}.new"));
            std::fs::write(&new, text).unwrap();
            std::fs::rename(&new, directory.join(name)).unwrap();
        }
        let [_, own] = identity.dns_names();
        own
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.certificate().clone()).unwrap();
        roots
    }
}

/// Asks over TLS with the protocols offered; returns the answer and the protocol chosen.
fn ask(port: u16, name: &str, roots: RootCertStore) -> Result<String, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let stream = TcpStream::connect(("127.0.0.1", port)).map_err(|error| error.to_string())?;
    let mut tls = StreamOwned::new(connection, stream);
    let request = "GET / HTTP/1.1\r\nHost: secure.example\r\nConnection: close\r\n\r\n";
    tls.write_all(request.as_bytes()).map_err(|error| error.to_string())?;
    let mut text = Vec::new();
    // A peer that closes without notice is as good here.
    let _ = tls.read_to_end(&mut text);
    assert_eq!(tls.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
    Ok(String::from_utf8_lossy(&text).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_serves_https_and_takes_rotated_certificates() {
    let backend = Backend::start("a").await;
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::create(ClusterId::random()).unwrap();
    let mut certificates = Certificates { authority, node: 0 };
    let first = certificates.write(directory.path());
    let port = free_port();
    let config = format!(
        "kind: Listener\nmetadata: {{ name: web }}\nspec:\n  protocol: HTTPS\n  port: {port}\n  tls: \
         {{ certificateFile: {0}/cert.pem, privateKeyFile: {0}/key.pem }}\n",
        directory.path().display()
    ) + &service("a", &[backend.port])
        + &route("r", "secure.example", &to("a"));
    let plane = Plane::with(&config).await;
    let served = async |name: &str| {
        eventually("an answer", async || {
            let (name, roots) = (name.to_owned(), certificates.roots());
            tokio::task::spawn_blocking(move || ask(port, &name, roots)).await.unwrap().ok()
        })
        .await
    };
    let text = served(&first).await;
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    // The name differs in the second certificate, so only a handshake with it succeeds.
    let second = certificates.write(directory.path());
    assert_ne!(first, second);
    let text = eventually("the rotated certificate", async || {
        let (name, roots) = (second.clone(), certificates.roots());
        tokio::task::spawn_blocking(move || ask(port, &name, roots)).await.unwrap().ok()
    })
    .await;
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_takes_a_certificate_that_comes_late() {
    let backend = Backend::start("a").await;
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::create(ClusterId::random()).unwrap();
    let mut certificates = Certificates { authority, node: 0 };
    let port = free_port();
    let config = format!(
        "kind: Listener\nmetadata: {{ name: web }}\nspec:\n  protocol: HTTPS\n  port: {port}\n  tls: \
         {{ certificateFile: {0}/cert.pem, privateKeyFile: {0}/key.pem }}\n",
        directory.path().display()
    ) + &service("a", &[backend.port])
        + &route("r", "secure.example", &to("a"));
    let mut plane = Plane::start().await;
    let revision = plane.publish(&config);
    assert_eq!(plane.refused(revision).await.len(), 1);
    let name = certificates.write(directory.path());
    let mut report = plane.report();
    let applied = report.wait_for(|report| {
        report.as_ref().is_some_and(|report| report.ack == model::AckState::Applied)
    });
    tokio::time::timeout(DEADLINE, applied).await.expect("a retry").unwrap();
    let roots = certificates.roots();
    let text = tokio::task::spawn_blocking(move || ask(port, &name, roots)).await.unwrap();
    assert!(text.as_ref().is_ok_and(|text| text.starts_with("HTTP/1.1 200")), "{text:?}");
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_a_missing_certificate_is_named() {
    let port = free_port();
    let mut plane = Plane::start().await;
    let revision = plane.publish(&format!(
        "kind: Listener\nmetadata: {{ name: web }}\nspec:\n  protocol: HTTPS\n  port: {port}\n  tls: \
         {{ certificateFile: /nonexistent/cert.pem, privateKeyFile: /nonexistent/key.pem }}\n",
    ));
    let refusals = plane.refused(revision).await;
    let [refusal] = refusals.as_slice() else { panic!("{refusals:?}") };
    assert_eq!(refusal.object, Some("Listener/default/web".parse().unwrap()));
    assert!(refusal.field.starts_with("spec.tls."), "{refusal:?}");
    plane.stop().await;
}
