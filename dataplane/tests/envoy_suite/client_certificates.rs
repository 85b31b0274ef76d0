//! HTTPS listeners that check certificates of clients.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use crate::{
    backend::Backend,
    certificates::{Authority, Issued, TlsClient, certificates, https_listener},
    plane::{Plane, eventually, free_port, route, service, to},
};

const HEADER: &str = "x-forwarded-client-cert";
/// Requests of each client between two steps of a rotation.
const REQUESTS: u64 = 50;

/// A directory with the server's certificate and the authority `ours`.
struct Site {
    backend: Backend,
    directory: tempfile::TempDir,
    server: Authority,
    ours: Authority,
    port: u16,
}

impl Site {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (server, ours) = (Authority::new(), Authority::named("ours"));
        server.issue(&["a.example"]).write(directory.path(), "a");
        ours.write(&[], &directory.path().join("ca.pem"));
        Self { backend: Backend::start("a").await, directory, server, ours, port: free_port() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A listener that checks clients by `ca.pem`, and what more is said.
    fn config(&self, more: &str) -> String {
        let own: &Path = self.directory.path();
        let ca = self.path("ca.pem");
        let clients = format!("{{ caFile: {}{more} }}", ca.display());
        let tls = format!("{}, clients: {clients}", certificates(own, &["a"]));
        https_listener(self.port, &tls)
            + &service("a", &[self.backend.port])
            + &route("r", "*", &to("a"))
    }

    fn client(&self, shown: Option<&Issued>) -> TlsClient {
        let client = self.server.client();
        match shown {
            Some(issued) => client.showing(issued),
            None => client,
        }
    }

    /// Asks over a connection of its own, saying itself whose certificate was seen; returns what the
    /// endpoint was told, or nothing where the handshake fails.
    async fn told(&self, shown: Option<&Issued>) -> Option<String> {
        let mut connection = self.client(shown).connect(self.port, "a.example").await.ok()?;
        let answer =
            connection.client.send("GET", "a.example", "/", &[(HEADER, "By=me;Hash=00")]).await?;
        assert_eq!(answer.status, 200);
        Some(answer.json()["headers"][HEADER].as_str().unwrap_or_default().to_owned())
    }

    async fn lets_in(&self, shown: Option<&Issued>) -> bool {
        self.told(shown).await.is_some()
    }

    /// Waits until such a client is let in, or refused, by the listener as it is.
    async fn will(&self, shown: Option<&Issued>, lets_in: bool) {
        let what = if lets_in { "let in" } else { "refused" };
        eventually(what, async || (self.lets_in(shown).await == lets_in).then_some(())).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_lets_in_clients_by_authority_and_name() {
    let site = Site::new().await;
    let names = ", subjectAltNames: [{ uri: { prefix: \"spiffe://shop.example/\" } }, \
                 { dns: { exact: cart.example } }, { dns: { suffix: .pay.example } }, \
                 { email: { suffix: \"@shop.example\" } }, { ip: 10.0.0.7 }]";
    let plane = Plane::with(&site.config(names)).await;
    let fits = |name: &str| site.ours.issue(&[name]);
    site.will(Some(&fits("cart.example")), true).await;
    for (name, expected) in [
        ("spiffe://shop.example/cart", true),
        ("b.PAY.example", true),
        ("*.pay.example", true),
        ("ops@shop.example", true),
        ("10.0.0.7", true),
        ("10.0.0.70", false),
        ("ops@shop.example.evil", false),
        ("spiffe://shop.example.evil/cart", false),
        ("other.example", false),
        ("cart.example.evil", false),
        ("pay.example", false),
    ] {
        assert_eq!(site.lets_in(Some(&fits(name))).await, expected, "{name}");
    }
    assert!(!site.lets_in(None).await, "no certificate");
    let others = Authority::named("ours").issue(&["cart.example"]);
    assert!(!site.lets_in(Some(&others)).await, "an authority that only has the same name");
    assert_eq!(site.backend.seen(), 6, "nobody else reached the endpoint");
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_tells_endpoints_what_was_asked_for_and_nothing_that_clients_say() {
    let site = Site::new().await;
    let issued = site.ours.issue(&["spiffe://shop.example/cart", "cart.example"]);
    let mut plane = Plane::with(&site.config("")).await;
    site.will(Some(&issued), true).await;
    assert_eq!(site.told(Some(&issued)).await.unwrap(), "");
    plane.apply(&site.config(", forward: [URI]")).await;
    let told = eventually("the header", async || {
        site.told(Some(&issued)).await.filter(|told| !told.is_empty())
    })
    .await;
    assert!(told.starts_with("Hash=") && told.contains("URI=spiffe://shop.example/cart"), "{told}");
    for more in ["By=me", "Hash=00;", "DNS=", "Cert=", "Chain="] {
        assert!(!told.contains(more), "{told}");
    }
    plane.apply(&site.config(", mode: Optional, forward: [DNS, Subject, Chain]")).await;
    eventually("the other details", async || {
        let told = site.told(Some(&issued)).await?;
        ["DNS=cart.example", "Subject=", "Chain="]
            .iter()
            .all(|one| told.contains(one))
            .then_some(())
    })
    .await;
    site.will(None, true).await;
    assert_eq!(site.told(None).await.unwrap(), "", "there is nothing to tell");
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_takes_a_certificate_where_none_is_required_but_no_bad_one() {
    let site = Site::new().await;
    let plane = Plane::with(&site.config(", mode: Optional")).await;
    site.will(None, true).await;
    assert!(site.lets_in(Some(&site.ours.issue(&["urn:a"]))).await);
    assert!(!site.lets_in(Some(&Authority::new().issue(&["urn:a"]))).await);
    plane.stop().await;
}

/// Requests that must all be answered, half over connections of their own.
struct Asking {
    stop: Arc<AtomicBool>,
    answers: Vec<Arc<AtomicU64>>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Asking {
    fn start(site: &Site, issued: &Issued) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let answers: Vec<_> = (0..4).map(|_| Arc::new(AtomicU64::new(0))).collect();
        let ask = |(nth, count): (usize, &Arc<AtomicU64>)| {
            let (client, port) = (site.client(Some(issued)), site.port);
            let (stop, count) = (stop.clone(), count.clone());
            tokio::spawn(async move {
                let connect = async || client.connect(port, "a.example").await.unwrap();
                let mut connection = connect().await;
                while !stop.load(Ordering::Relaxed) {
                    if nth % 2 == 1 {
                        connection = connect().await;
                    }
                    let answer = connection.client.get("a.example", "/").await;
                    assert_eq!(answer.expect("an answer").status, 200);
                    count.fetch_add(1, Ordering::Relaxed);
                }
            })
        };
        let tasks = answers.iter().enumerate().map(ask).collect();
        Self { stop, answers, tasks }
    }

    /// Waits until each has asked some times more.
    async fn goes_on(&self) {
        let wanted: Vec<u64> =
            self.answers.iter().map(|count| count.load(Ordering::Relaxed) + REQUESTS).collect();
        eventually("further answers", async || {
            let counts = self.answers.iter().map(|count| count.load(Ordering::Relaxed));
            counts.zip(&wanted).all(|(count, wanted)| count >= *wanted).then_some(())
        })
        .await;
    }

    async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.expect("every request is answered");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_takes_rotated_authorities_of_clients_without_a_failed_request() {
    let site = Site::new().await;
    let plane = Plane::with(&site.config("")).await;
    let theirs = Authority::named("theirs");
    let (old, new) = (site.ours.issue(&["a"]), theirs.issue(&["a"]));
    site.will(Some(&old), true).await;
    assert!(!site.lets_in(Some(&new)).await);
    let mut kept = site.client(Some(&old)).connect(site.port, "a.example").await.unwrap();
    assert!(kept.client.get("a.example", "/").await.is_some());
    let asking = Asking::start(&site, &old);
    asking.goes_on().await;
    site.ours.write(&[&theirs], &site.path("ca.pem"));
    site.will(Some(&new), true).await;
    asking.goes_on().await;
    let newer = Asking::start(&site, &new);
    newer.goes_on().await;
    asking.stop().await;
    theirs.write(&[], &site.path("ca.pem"));
    site.will(Some(&old), false).await;
    newer.goes_on().await;
    newer.stop().await;
    let answer = kept.client.get("a.example", "/").await.expect("it was let in before");
    assert_eq!((answer.status.as_u16(), answer.header("connection")), (200, ""));
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_refuses_clients_whose_certificate_is_revoked() {
    let site = Site::new().await;
    let (stays, goes) = (site.ours.issue(&["a"]), site.ours.issue(&["b"]));
    let list = site.path("ca.crl");
    site.ours.revoke(&[], &list);
    let plane = Plane::with(&site.config(&format!(", crlFile: {}", list.display()))).await;
    site.will(Some(&goes), true).await;
    site.ours.revoke(&[&goes], &list);
    site.will(Some(&goes), false).await;
    assert!(site.lets_in(Some(&stays)).await);
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_lets_nobody_in_without_the_authorities() {
    let site = Site::new().await;
    let issued = site.ours.issue(&["a"]);
    std::fs::remove_file(site.path("ca.pem")).unwrap();
    for mode in ["Required", "Optional"] {
        let mut plane = Plane::start().await;
        let revision = plane.publish(&site.config(&format!(", mode: {mode}")));
        let refusals = plane.refused(revision).await;
        let [refusal] = refusals.as_slice() else { panic!("{refusals:?}") };
        assert_eq!(refusal.field, "spec.tls.clients.caFile");
        assert!(!site.lets_in(Some(&issued)).await);
        assert!(!site.lets_in(None).await);
        plane.stop().await;
    }
}
