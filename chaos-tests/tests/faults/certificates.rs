//! Certificates that the cluster issues: every node shows them, the leader renews them, and neither its
//! death nor a cold start without any control loses one.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use chaos_tests::{Fixture, HOST, LIMIT, scenario};
use lab::documents;
use lab::presented::Asker;
use lab::waiting::{pause, wait_until};
use nix::sys::signal::{Signal, kill};

const SECURE_PORT: u16 = 8443;
/// A handshake takes milliseconds.
const HANDSHAKE: Duration = Duration::from_secs(2);
/// How long it is watched that each handshake shows a good one while they are renewed.
const WATCHED: Duration = Duration::from_secs(55);
/// Each is due after 20 s, and looked for every 5 s.
const RENEWALS_MIN: usize = 2;

#[test]
fn cluster_certificates_are_issued_renewed_and_shown_by_every_node() {
    scenario(Fixture::serving(3), |fixture| {
        fixture.cluster.apply(2, &documents_of("1m", "40s"))?;
        let asker = trusting(fixture)?;
        let listeners = listeners(fixture);
        let first = everywhere(&asker, &listeners)?;
        renewed(&asker, &listeners)?;
        a_leader_dies(fixture, &asker, &listeners, &first)?;
        // From here on the same one stays.
        fixture.cluster.apply(1, &documents_of("24h", "1h"))?;
        nothing_is_told_of_keys(fixture)?;
        cold_and_alone(fixture, &asker)
    });
}

fn documents_of(lifetime: &str, renew_before: &str) -> String {
    let listener = documents::listener("secure", "HTTPS", SECURE_PORT).replace(
        &format!("port: {SECURE_PORT}"),
        &format!("port: {SECURE_PORT}, tls: {{ certificates: [{{ name: shop }}] }}"),
    );
    format!(
        "kind: Issuer\nmetadata: {{ name: own }}\nspec: {{ internal: {{}} }}\n---\nkind: Certificate\n\
         metadata: {{ name: shop }}\nspec: {{ issuer: {{ name: own }}, hosts: [{HOST}], lifetime: \
         {lifetime}, renewBefore: {renew_before} }}\n---\n"
    ) + &listener
        + &documents::http_route("secure", "secure", HOST, "shop")
}

/// Asks by the authority that the command line prints.
fn trusting(fixture: &Fixture) -> Result<Asker> {
    let words = ["certificates", "authority", "own"];
    let printed = wait_until("the authority", LIMIT, || {
        let output = fixture.cluster.members[0].run(&words)?;
        ensure!(output.status.success(), "{}", output.stderr);
        Ok(output.stdout)
    })?;
    Asker::trusting(&printed)
}

fn listeners(fixture: &Fixture) -> Vec<SocketAddr> {
    fixture.cluster.members.iter().map(|member| member.listener(SECURE_PORT)).collect()
}

/// Waits until every node shows the same good one.
fn everywhere(asker: &Asker, listeners: &[SocketAddr]) -> Result<Vec<u8>> {
    wait_until("the same certificate on every node", LIMIT, || {
        let shown = listeners.iter().map(|listener| asker.ask(*listener, HOST, HANDSHAKE));
        let mut shown = shown.collect::<Result<BTreeSet<_>, _>>()?;
        ensure!(shown.len() == 1, "{} certificates", shown.len());
        shown.pop_first().context("no node")
    })
}

/// Every handshake is good while certificates change.
fn renewed(asker: &Asker, listeners: &[SocketAddr]) -> Result<()> {
    let (begin, mut shown) = (Instant::now(), BTreeSet::new());
    while begin.elapsed() < WATCHED {
        for listener in listeners {
            shown.insert(asker.ask(*listener, HOST, HANDSHAKE)?);
        }
        pause(Duration::from_millis(20));
    }
    ensure!(shown.len() > RENEWALS_MIN, "{} certificates in {WATCHED:?}", shown.len());
    Ok(())
}

fn a_leader_dies(
    fixture: &mut Fixture,
    asker: &Asker,
    listeners: &[SocketAddr],
    first: &[u8],
) -> Result<()> {
    let leader = fixture.cluster.leader()?;
    fixture.cluster.members[leader].kill_control();
    let at_death = asker.ask(listeners[0], HOST, HANDSHAKE)?;
    ensure!(at_death != first, "nothing was renewed");
    let others: Vec<_> = listeners
        .iter()
        .enumerate()
        .filter(|(node, _)| *node != leader)
        .map(|(_, it)| *it)
        .collect();
    wait_until("a certificate of the next leader", LIMIT, || {
        let shown = everywhere(asker, &others)?;
        ensure!(shown != at_death, "still that of before");
        Ok(())
    })?;
    fixture.cluster.members[leader].restart()?;
    fixture.cluster.wait_voters(3, LIMIT)?;
    everywhere(asker, listeners).map(drop)
}

/// Neither the API nor the logs nor the log of the store shows a key.
fn nothing_is_told_of_keys(fixture: &Fixture) -> Result<()> {
    let mut api = fixture.cluster.api(0)?;
    let listed = wait_until("the certificate in the list", LIMIT, || {
        let listed = api.get("/v1/certificates")?;
        ensure!(listed["certificates"][0]["state"] == "issued", "{listed}");
        Ok(listed["certificates"][0].clone())
    })?;
    ensure!(listed["hosts"] == serde_json::json!([HOST]), "{listed}");
    ensure!(
        listed["chain"].as_str().is_some_and(|pem| pem.contains("BEGIN CERTIFICATE")),
        "{listed}"
    );
    ensure!(!listed.to_string().contains("PRIVATE"), "{listed}");
    let metrics = api.send("GET", "/metrics", "")?.text();
    ensure!(
        metrics.contains(
            "marchproxy_issued_certificate_expiry_timestamp_seconds{certificate=\"default/shop\"}"
        ),
        "{metrics}"
    );
    for member in &fixture.cluster.members {
        ensure!(!member.log().contains("PRIVATE KEY"), "a log shows a key");
        let store = member.data().join("wal");
        for entry in std::fs::read_dir(&store).context("the log of the store")? {
            let content = std::fs::read(entry?.path())?;
            let shows = content.windows(11).any(|bytes| bytes == b"PRIVATE KEY");
            ensure!(!shows, "{} shows a key", store.display());
        }
    }
    Ok(())
}

/// A data plane and its Envoy that start without any control show what was issued last.
fn cold_and_alone(fixture: &mut Fixture, asker: &Asker) -> Result<()> {
    let before = everywhere(asker, &listeners(fixture))?;
    for member in &mut fixture.cluster.members {
        member.kill_control();
    }
    let member = &fixture.cluster.members[0];
    let (plane, envoy) = (member.dataplane_pid()?, member.envoy_pid()?);
    kill(plane, Signal::SIGKILL)?;
    kill(envoy, Signal::SIGKILL)?;
    wait_until("Envoy to end", LIMIT, || {
        ensure!(!lab::process::alive(envoy), "Envoy {envoy} lives");
        Ok(())
    })?;
    let _plane = member.spawn_dataplane()?;
    let shown = wait_until("a handshake with the cold data plane", LIMIT, || {
        Ok(asker.ask(member.listener(SECURE_PORT), HOST, HANDSHAKE)?)
    })?;
    ensure!(shown == before, "another certificate than before");
    Ok(())
}
