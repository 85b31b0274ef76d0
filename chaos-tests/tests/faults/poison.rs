//! A file that our validation lets pass and Envoy refuses: before the commit, and after one that was
//! forced.

use anyhow::{Context, Result, ensure};
use chaos_tests::{Fixture, HOST, LIMIT, scenario};
use lab::documents;

/// Path patterns that Rust's regular expressions take and RE2, as Envoy sets it up, may not.
const CANDIDATES: [&str; 6] = [
    "/a{1001}",
    "/(?x)a b",
    "/\\\\u{61}",
    "/[a-z0-9]{900}",
    "/([a-z]{30}){30}",
    "/[a-z&&[^b]]\\\\b{start}",
];

/// The candidate that is used: should validation come to refuse it, another has to be found, and
/// this test is to say so.
const POISON: &str = "/[a-z0-9]{900}";

/// What Envoy says to it.
const ENVOY_SAYS: &str = "RE2 program size";

#[test]
fn cluster_a_poisoned_file_is_named_and_harms_nothing() {
    scenario(Fixture::serving(3), |fixture| {
        let load = fixture.traffic()?;
        let (pattern, poison) = first_that_passes(fixture)?;
        eprintln!("the poison is {pattern}");
        ensure!(pattern == POISON, "validation refuses {POISON}; the poison was {pattern}");
        let member = &fixture.cluster.members[1];
        let before = fixture.cluster.status(1)?.0["revision"].clone();
        for further in [&[][..], &["--dry-run"], &["--dry-run", "--force"]] {
            let words = [&["apply", "-f", "-"], further].concat();
            let said = member.run_with(&words, &poison)?.refused()?;
            for part in ["HTTPRoute/default/poison", "spec.rules[0].matches[0].path", ENVOY_SAYS] {
                ensure!(said.contains(part), "no {part:?} before the commit in:\n{said}");
            }
        }
        let after = fixture.cluster.status(1)?.0["revision"].clone();
        ensure!(before == after, "{before} became {after}");
        let words = ["apply", "-f", "-", "--wait", "--force"];
        let said = member.run_with(&words, &poison)?.refused()?;
        for part in ["HTTPRoute/default/poison", "spec.rules[0]", "node"] {
            ensure!(said.contains(part), "no {part:?} in:\n{said}");
        }
        ensure!(said.contains(ENVOY_SAYS), "no words of Envoy ({ENVOY_SAYS:?}) in:\n{said}");
        load.wait_answered(100, LIMIT)?;
        let status = fixture.cluster.status(0)?;
        let refused =
            status.engines().filter(|(_, _, report)| report["state"] == "refused").count();
        ensure!(refused == 3, "{refused} engines say that they refused: {}", status.0["reports"]);

        let cure = documents::http_route("poison", "web", "poison.example", "shop");
        fixture.cluster.apply(2, &cure).context("the next good apply")?;
        let report = load.stop();
        ensure!(report.faults() == 0 && report.broken == 0, "{report}");
        let plan = lab::load::Plan::new(&lab::Place::Here, &fixture.web());
        for host in ["poison.example", HOST] {
            let load = plan.http(host, "/")?;
            load.wait_answered(30, LIMIT)?;
            let report = load.stop();
            ensure!(report.with_status(&[200]) == report.sent, "{host}: {report}");
        }
        Ok(())
    });
}

/// The first candidate that validation accepts: Envoy, which is asked after it, may refuse it.
fn first_that_passes(fixture: &Fixture) -> Result<(&'static str, String)> {
    let mut answers = String::new();
    for pattern in CANDIDATES {
        let document = format!(
            "kind: HTTPRoute\nmetadata: {{ name: poison }}\nspec:\n  listeners: [{{ name: web }}]\n  \
             hosts: [poison.example]\n  rules:\n  - matches: [{{ path: {{ regex: \"{pattern}\" }} }}]\n    \
             backends: [{{ service: {{ name: shop }} }}]\n"
        );
        let output =
            fixture.cluster.members[1].run_with(&["apply", "-f", "-", "--dry-run"], &document)?;
        if output.success() || output.stderr.contains("Envoy refuses it") {
            return Ok((pattern, document));
        }
        answers += &output.stderr;
    }
    anyhow::bail!("validation refuses every candidate:\n{answers}")
}
