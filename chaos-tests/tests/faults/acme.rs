//! Certificates of an authority that is asked by ACME: Pebble, Let's Encrypt's server for tests, sees any
//! node answer for the host.

use std::time::Duration;

use anyhow::{Result, ensure};
use chaos_tests::{Fixture, HOST, LIMIT, WEB_PORT, scenario};
use lab::documents;
use lab::pebble::Pebble;
use lab::presented::Asker;
use lab::waiting::{wait_for, wait_until};
use serde_json::Value;

const SECURE_PORT: u16 = 8443;
const HANDSHAKE: Duration = Duration::from_secs(2);

#[test]
fn cluster_an_authority_that_is_asked_by_acme_issues_for_hosts_that_any_node_answers_for() {
    scenario(Fixture::serving(3), |fixture| {
        let leader = fixture.cluster.leader()?;
        // It asks a node that does not lead.
        let asked = fixture.cluster.members[(leader + 1) % 3].listener(WEB_PORT);
        let pebble =
            Pebble::start(&fixture.instance, fixture.net, asked.ip(), (WEB_PORT, SECURE_PORT))?;
        let load = fixture.traffic()?;
        unreachable_at_first(fixture, &pebble)?;
        // Two orders begin together, at an issuer without an account.
        let also = certificate("also", &format!("also.{HOST}"));
        fixture.cluster.apply(0, &(issuer(&pebble.directory, &pebble) + &also))?;
        for name in ["shop", "also"] {
            let certificate = issued(fixture, name)?;
            ensure!(certificate["failure"].is_null(), "{certificate}");
        }
        let root = pebble.root()?;
        let asker = Asker::trusting(&root)?;
        for member in &fixture.cluster.members {
            wait_until("the certificate on every node", LIMIT, || {
                Ok(asker.ask(member.listener(SECURE_PORT), HOST, HANDSHAKE)?)
            })?;
        }
        another_leader_takes_up_the_account(fixture, &asker)?;
        by_handshakes(fixture, &pebble, &asker)?;
        let report = load.stop();
        ensure!(report.faults() == 0 && report.broken == 0, "{report}");
        Ok(())
    });
}

fn issuer(directory: &str, pebble: &Pebble) -> String {
    format!(
        "kind: Issuer\nmetadata: {{ name: public }}\nspec: {{ acme: {{ server: '{directory}', contact: \
         [ops@shop.example], caFile: {}, termsOfServiceAgreed: true }} }}\n---\n",
        pebble.authority.display()
    )
}

fn certificate(name: &str, host: &str) -> String {
    format!(
        "kind: Certificate\nmetadata: {{ name: {name} }}\nspec: {{ issuer: {{ name: public }}, hosts: \
         [{host}] }}\n---\n"
    )
}

fn listener(names: &str) -> String {
    documents::listener("secure", "HTTPS", SECURE_PORT).replace(
        &format!("port: {SECURE_PORT}"),
        &format!("port: {SECURE_PORT}, tls: {{ certificates: [{names}] }}"),
    )
}

fn listed(fixture: &Fixture, name: &str) -> Result<Value> {
    let listed = fixture.cluster.api(0)?.get("/v1/certificates")?;
    let all = listed["certificates"].as_array().cloned().unwrap_or_default();
    let key = format!("Certificate/default/{name}");
    Ok(all.into_iter().find(|one| one["certificate"] == key.as_str()).unwrap_or_default())
}

/// A failure is told, and something else is tried at once.
fn unreachable_at_first(fixture: &Fixture, pebble: &Pebble) -> Result<()> {
    let nobody = format!("https://{}/dir", fixture.net.at(200, 1));
    let all = issuer(&nobody, pebble)
        + &certificate("shop", HOST)
        + &listener("{ name: shop }")
        + &documents::http_route("secure", "secure", HOST, "shop");
    fixture.cluster.apply(2, &all)?;
    let failure = wait_until("the failure to be told", LIMIT, || {
        let failure = listed(fixture, "shop")?["failure"].clone();
        ensure!(failure["attempts"] == 1, "{failure}");
        Ok(failure)
    })?;
    let reason = failure["reason"].as_str().unwrap_or_default();
    ensure!(reason.contains("making an account"), "{failure}");
    Ok(())
}

fn issued(fixture: &Fixture, name: &str) -> Result<Value> {
    wait_until("the certificate", LIMIT, || {
        let certificate = listed(fixture, name)?;
        ensure!(certificate["state"] == "issued", "{certificate}");
        Ok(certificate)
    })
}

fn another_leader_takes_up_the_account(fixture: &mut Fixture, asker: &Asker) -> Result<()> {
    let leader = fixture.cluster.leader()?;
    fixture.cluster.members[leader].kill_control();
    let other = (leader + 1) % 3;
    let documents =
        certificate("more", &format!("more.{HOST}")) + &listener("{ name: shop }, { name: more }");
    let mut api = fixture.cluster.api(other)?;
    wait_until("another leader", LIMIT, || api.apply(&documents))?;
    let target = fixture.cluster.members[other].listener(SECURE_PORT);
    wait_for("the other certificate", LIMIT, || {
        asker.ask(target, &format!("more.{HOST}"), HANDSHAKE).is_ok()
    })?;
    fixture.cluster.members[leader].restart()?;
    fixture.cluster.wait_voters(3, LIMIT)
}

/// The same authority convinces itself by handshakes; of several hosts one after the other.
fn by_handshakes(fixture: &Fixture, pebble: &Pebble, asker: &Asker) -> Result<()> {
    let hosts = [format!("one.{HOST}"), format!("two.{HOST}")];
    let issuer = issuer(&pebble.directory, pebble)
        .replace("name: public", "name: shaking")
        .replace("acme: {", "acme: { challenge: TLS-ALPN-01,");
    let documents = issuer
        + &certificate("shaken", &hosts.join(", ")).replace("name: public", "name: shaking")
        + &listener("{ name: shop }, { name: more }, { name: shaken }");
    fixture.cluster.apply(1, &documents)?;
    issued(fixture, "shaken")?;
    for (member, host) in fixture.cluster.members.iter().zip(&hosts) {
        wait_until("a handshake", LIMIT, || {
            Ok(asker.ask(member.listener(SECURE_PORT), host, HANDSHAKE)?)
        })?;
    }
    Ok(())
}
