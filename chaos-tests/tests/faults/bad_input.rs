//! Bad input at the edges: a clear error, and nothing left half done.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use chaos_tests::{Fixture, LIMIT, scenario};
use lab::member::API_PORT;
use lab::waiting::wait_until;

#[test]
fn cluster_a_port_in_use_is_named_and_the_next_start_works() {
    scenario(Fixture::new(1), |fixture| {
        let taken = TcpListener::bind(fixture.net.at(11, API_PORT))?;
        let said = ends(fixture)?;
        let at = fixture.net.at(11, API_PORT);
        ensure!(
            said.contains(&at.ip().to_string()) && said.contains(&at.port().to_string()),
            "{at} is not named:\n{said}"
        );
        drop(taken);
        fixture.cluster.members[0].up(&[])?;
        // Printed when the context file is written.
        fixture.cluster.members[0].join_line()?;
        fixture.cluster.apply(0, &fixture.base()).map(drop)
    });
}

#[test]
fn cluster_a_damaged_identity_is_refused_and_named() {
    scenario(Fixture::serving(1), |fixture| {
        fixture.cluster.members[0].kill_all();
        let identity = fixture.cluster.members[0].data().join("identity");
        let victim = identity.join("node.pem");
        let whole = fs::read(&victim).with_context(|| format!("reading {}", victim.display()))?;
        fs::write(&victim, &whole[..whole.len() / 2])?;
        let said = ends_again(fixture)?;
        ensure!(said.contains("identity"), "no word of the identity:\n{said}");
        fs::write(&victim, &whole)?;
        fixture.cluster.members[0].restart()?;
        has(fixture, "Service/default/shop")
    });
}

#[test]
fn cluster_a_lost_store_is_rebuilt_from_the_log() {
    scenario(Fixture::serving(1), |fixture| {
        for damage in [Damage::Removed, Damage::Truncated] {
            fixture.cluster.members[0].kill_all();
            let store = fixture.cluster.members[0].data().join("store");
            match damage {
                Damage::Removed => fs::remove_dir_all(&store)?,
                Damage::Truncated => {
                    for file in files(&store)? {
                        let whole = fs::read(&file)?;
                        fs::write(&file, &whole[..whole.len() / 2])?;
                    }
                }
            }
            fixture.cluster.members[0].restart()?;
            has(fixture, "Service/default/shop").with_context(|| format!("{damage:?}"))?;
        }
        Ok(())
    });
}

#[test]
fn cluster_a_damaged_log_is_refused_or_whole_but_never_shorter() {
    scenario(Fixture::serving(1), |fixture| {
        fixture.cluster.members[0].kill_all();
        let wal = fixture.cluster.members[0].data().join("wal");
        let segment = files(&wal)?
            .into_iter()
            .max_by_key(|file| fs::metadata(file).map(|m| m.len()).unwrap_or(0));
        let segment = segment.context("no segments")?;
        let whole = fs::read(&segment)?;
        let mut spoilt = whole.clone();
        // In the middle of what was written, so that it is no torn tail.
        let used = whole.iter().rposition(|byte| *byte != 0).unwrap_or(0);
        spoilt[used / 2] ^= 0xff;
        fs::write(&segment, &spoilt)?;
        let said = ends_again(fixture)?;
        ensure!(said.contains("wal"), "the log is not named:\n{said}");
        fs::write(&segment, &whole)?;
        fixture.cluster.members[0].restart()?;
        has(fixture, "Service/default/shop")
    });
}

#[test]
fn cluster_an_envoy_of_another_version_is_named_and_not_used() {
    scenario(Fixture::new(1), |fixture| {
        let fake = fixture.instance.directory().join("old-envoy");
        fs::write(
            &fake,
            "#!/bin/sh\necho \"$0  version: 0123/1.20.0/Clean/RELEASE/BoringSSL\"\nexit 0\n",
        )?;
        fs::set_permissions(&fake, fs::Permissions::from_mode(0o755))?;
        let fake = fake.display().to_string();
        let member = &mut fixture.cluster.members[0];
        let mut settings = member.settings().clone();
        settings.envoy = fake.into();
        *member = lab::Member::new(&fixture.instance, settings);
        member.spawn(&["up"], &[])?;
        wait_until("the version to be named", LIMIT, || {
            if fixture.cluster.members[0].control()?.ended().is_some() {
                let said = fixture.cluster.members[0].log();
                ensure!(said.contains("1.20"), "it ended without a word of the version:\n{said}");
                return Ok(());
            }
            let status = fixture.cluster.status(0)?;
            let report = status.engines().find(|(_, engine, _)| *engine == "envoy");
            let (_, _, report) = report.context("no report of Envoy")?;
            let text = report.to_string();
            ensure!(report["state"] == "unavailable" && text.contains("1.20"), "{text}");
            Ok(())
        })
    });
}

#[derive(Debug)]
enum Damage {
    Removed,
    Truncated,
}

/// The first start ends by itself and says why.
fn ends(fixture: &mut Fixture) -> Result<String> {
    fixture.cluster.members[0].spawn(&["up"], &[])?;
    wait_end(fixture)
}

/// A restart ends by itself and says why.
fn ends_again(fixture: &mut Fixture) -> Result<String> {
    fixture.cluster.members[0].spawn_again()?;
    wait_end(fixture)
}

fn wait_end(fixture: &mut Fixture) -> Result<String> {
    let member = &mut fixture.cluster.members[0];
    let status = wait_until("an end with a reason", LIMIT, || {
        let log = member.log();
        member.control()?.ended().with_context(|| format!("it runs:\n{log}"))
    })?;
    let said = member.log();
    ensure!(status.code().is_some_and(|code| code != 0), "it ended with {status}:\n{said}");
    ensure!(!said.contains("panicked"), "{said}");
    Ok(said)
}

/// The node has an object.
fn has(fixture: &Fixture, object: &str) -> Result<()> {
    wait_until(object, LIMIT, || {
        fixture.cluster.api(0)?.get(&format!("/v1/objects/{object}")).map(drop)
    })
}

/// All files under a folder, sorted.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
