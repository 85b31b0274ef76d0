//! A configuration is tried on an Envoy of its own before it is committed.

use std::{net::Ipv4Addr, sync::Arc, time::Instant};

use dataplane::{
    Certificates, Changed, Desired, Modules,
    envoy::{Admin, admin_socket},
    l7::Settings,
    preflight::{Candidate, Preflight, PreflightArguments, PreflightError, Verdict},
    xdp::{L4Placement, Placement},
};
use model::{Object, ObjectKey, Revision, Snapshot};
use tokio::{net::TcpStream, sync::watch};

use crate::plane::{eventually, free_port, http_listener, route, service, to};

/// A program of more than the 100 instructions that Envoy takes, which validation is not told.
const POISON: &str = "/a{500}";
/// Routes of the configuration that is changed.
const HOSTS: usize = 200;

struct Place {
    directory: tempfile::TempDir,
    desired: watch::Sender<Arc<Desired>>,
    xdp: watch::Sender<Arc<L4Placement>>,
    preflight: Preflight,
}

impl Place {
    fn new(yaml: &str, binary: Option<&str>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (desired, receiver) = watch::channel(Arc::default());
        let (xdp, placement) = watch::channel(Arc::default());
        let preflight = Preflight::new(PreflightArguments {
            desired: receiver,
            placement,
            run_dir: directory.path().join("preflight"),
            binary: binary.map(Into::into),
            node: "node-1".into(),
            cluster: "test".into(),
            certificates: Certificates::new(&directory.path().join("certificates")),
            modules: Modules::new(&directory.path().join("modules")),
            settings: Settings {
                modules: directory.path().join("modules"),
                ..Settings::of_host(Ipv4Addr::LOCALHOST.into())
            },
        });
        let place = Self { directory, desired, xdp, preflight };
        place.force(1, yaml);
        place
    }

    /// Puts a configuration in force.
    fn force(&self, revision: u64, yaml: &str) {
        let mut config = Snapshot::default();
        for object in objects(yaml) {
            config.put(Arc::new(object));
        }
        config.set_revision(Revision(revision));
        self.desired.send_replace(Arc::new(Desired::of(config, Changed::Snapshot)));
    }

    async fn check(&self, base: u64, yaml: &str) -> Result<Verdict, PreflightError> {
        let candidate =
            Candidate { base: Revision(base), puts: objects(yaml), deletes: Vec::new() };
        self.preflight.check(candidate).await
    }

    async fn passes(&self, base: u64, yaml: &str) {
        assert_eq!(self.check(base, yaml).await.unwrap(), Verdict::default());
    }
}

fn objects(yaml: &str) -> Vec<Object> {
    model::parse::parse_documents(yaml).unwrap()
}

fn poisoned(name: &str, host: &str) -> String {
    let rule = format!(
        "    - {{ matches: [{{ path: {{ regex: '{POISON}' }} }}], backends: [{{ service: {{ name: a }} }}] }}"
    );
    route(name, host, &rule)
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_a_change_that_it_refuses_is_named_before_the_commit_and_nothing_listens() {
    let port = free_port();
    let mut config = http_listener(port) + &service("a", &[1]);
    for i in 0..HOSTS {
        config += &route(&format!("r{i}"), &format!("h{i}.example"), &to("a"));
    }
    let place = Place::new(&config, None);
    let start = Instant::now();
    place.preflight.warm().await.unwrap();
    println!("ready after {:?}", start.elapsed());
    let admin = Admin::new(&admin_socket(&place.directory.path().join("preflight")));
    let clusters = admin.get("/clusters").await.unwrap();
    assert!(String::from_utf8_lossy(&clusters).contains("default/a"), "it has what is in force");
    place.passes(1, &route("new", "new.example", &to("a"))).await;

    // It is one of many in a change that is good otherwise.
    let mut change = poisoned("bad", "bad.example");
    for i in 0..20 {
        change += &route(&format!("n{i}"), &format!("n{i}.example"), &to("a"));
    }
    let verdict = place.check(1, &change).await.unwrap();
    let [refusal] = verdict.refusals.as_slice() else { panic!("{verdict:?}") };
    assert_eq!(refusal.object, Some("HTTPRoute/default/bad".parse().unwrap()));
    assert_eq!(refusal.field, "spec.rules[0].matches[0].path.regex");
    assert!(refusal.message.contains("program size"), "{refusal:?}");
    // Asked again, it is refused again; without the culprit the same change passes.
    assert_eq!(place.check(1, &change).await.unwrap(), verdict);
    place.passes(1, &change.replace(POISON, "/a+")).await;

    let mut times: Vec<_> = Vec::new();
    for i in 0..20 {
        let start = Instant::now();
        place.passes(1, &route("new", &format!("t{i}.example"), &to("a"))).await;
        times.push(start.elapsed());
    }
    times.sort();
    println!("further answers: p50 {:?}, most {:?}", times[10], times[19]);
    assert!(TcpStream::connect(("127.0.0.1", port)).await.is_err(), "no port is open");
    place.preflight.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_refusing_something_already_does_not_keep_other_changes_out() {
    let config = http_listener(free_port()) + &service("a", &[1]) + &poisoned("old", "old.example");
    let place = Place::new(&config, None);
    place.passes(1, &route("new", "new.example", &to("a"))).await;
    let verdict = place.check(1, &poisoned("bad", "bad.example")).await.unwrap();
    let [refusal] = verdict.refusals.as_slice() else { panic!("{verdict:?}") };
    assert_eq!(refusal.object, Some("HTTPRoute/default/bad".parse().unwrap()));
    // What is in force changes, and with it what a change is tried on.
    place.force(2, &(config + &route("third", "third.example", &to("a"))));
    place.passes(2, &route("fourth", "fourth.example", &to("a"))).await;
    let error = place.check(1, &service("a", &[2])).await.unwrap_err();
    assert!(matches!(error, PreflightError::OtherBase { .. }), "{error}");
    place.preflight.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_takes_listeners_of_every_protocol_without_a_port_and_a_missing_certificate_is_told()
{
    let listener = |name: &str, protocol: &str, more: &str| {
        format!(
            "---\nkind: Listener\nmetadata: {{ name: {name} }}\nspec: {{ protocol: {protocol}, \
             port: {}{more} }}\n",
            free_port()
        )
    };
    let l4 = |kind: &str, listener: &str| {
        format!(
            "---\nkind: {kind}\nmetadata: {{ name: {listener} }}\nspec: {{ listeners: [{{ name: \
             {listener} }}], backends: [{{ service: {{ name: a }} }}] }}\n"
        )
    };
    let place = Place::new(&service("a", &[1]), None);
    let change = listener("tcp", "TCP", "")
        + &l4("TCPRoute", "tcp")
        + &listener("udp", "UDP", "")
        + &l4("UDPRoute", "udp")
        + &listener("passing", "TLS", "")
        + &l4("TLSRoute", "passing").replace("backends:", "hosts: ['*', a.example], backends:")
        + &listener("web", "HTTP", "");
    place.passes(1, &change).await;
    let tls = ", tls: { certificateFile: /nonexistent/a.pem, privateKeyFile: /nonexistent/a.key }";
    let verdict = place.check(1, &listener("https", "HTTPS", tls)).await.unwrap();
    assert!(verdict.refusals.is_empty(), "{verdict:?}");
    let [refusal] = verdict.of_this_node.as_slice() else { panic!("{verdict:?}") };
    assert_eq!(refusal.object, Some("Listener/default/https".parse().unwrap()));

    // What XDP carries is for no Envoy; what it has not decided on may be.
    place.force(2, &(service("a", &[1]) + &change));
    let udp: ObjectKey = "Listener/default/udp".parse().unwrap();
    let listeners = [(udp, Placement::Carried)].into_iter().collect();
    place.xdp.send_replace(Arc::new(L4Placement {
        listeners,
        deciding: true,
        ..L4Placement::default()
    }));
    place.passes(2, &listener("other", "HTTP", "")).await;
    let admin = Admin::new(&admin_socket(&place.directory.path().join("preflight")));
    eventually("the canary without it", async || {
        let text = admin.get("/listeners").await.ok()?;
        let text = String::from_utf8_lossy(&text).into_owned();
        (!text.contains("default/udp") && text.contains("default/tcp")).then_some(())
    })
    .await;
    place.preflight.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_that_is_not_there_is_told() {
    let place = Place::new(&service("a", &[1]), Some("/bin/true"));
    let error = place.check(1, &service("a", &[2])).await.unwrap_err();
    assert!(error.to_string().contains("/bin/true"), "{error}");
}
