//! A disk that gets full under a running node.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use chaos_tests::{Fixture, LIMIT, scenario};
use lab::waiting::wait_until;
use lab::{Place, documents, tool};

/// Above the 64 MiB of the first log segment, which is filled in advance.
const DISK: &str = "size=96m,mode=700";
/// Writes until the full disk has to show: the log's last page takes less than one of them.
const WRITES_MAX: usize = 5;
/// What a punched hole is a multiple of.
const PAGE: usize = 4096;
/// Endpoints of a service that is written: some 50 KiB.
const ENDPOINTS: u16 = 1000;
/// What the operating system says of a full disk.
const FULL: &str = "No space left on device";

/// Needs root for the small file system, not for namespaces.
#[test]
fn root_a_full_disk_is_told_and_loses_no_acknowledged_write() {
    assert!(nix::unistd::geteuid().is_root(), "mounting a small file system needs root");
    scenario(Fixture::new(1), |fixture| {
        let data = fixture.cluster.members[0].data();
        fs::create_dir_all(&data)?;
        let place = data.display().to_string();
        tool::run(&Place::Here, "mount", &["-t", "tmpfs", "-o", DISK, "small", &place])?;
        fixture.cluster.members[0].up(&[])?;
        // Printed when the context file is written.
        fixture.cluster.members[0].join_line()?;
        fixture.cluster.apply(0, &fixture.base())?;
        let mut api = fixture.cluster.api(0)?;
        api.apply(&documents::service("before", &[fixture.backend.address()]))?;

        let ballast = data.join("dataplane").join("ballast");
        take_reserve(&data.join("wal"))?;
        fill(&ballast)?;
        let endpoints: Vec<_> = (1..=ENDPOINTS).map(|port| fixture.net.at(102, port)).collect();
        let mut acknowledged = vec!["before".to_owned()];
        let mut refused = None;
        for number in 0..WRITES_MAX {
            let name = format!("full-{number}");
            match api.apply(&documents::service(&name, &endpoints)) {
                Ok(_) => acknowledged.push(name),
                Err(error) => {
                    refused = Some(format!("{error:#}"));
                    break;
                }
            }
        }
        let refused = refused.with_context(|| {
            format!("{WRITES_MAX} writes were acknowledged on a disk that is full")
        })?;
        // The one whose disk is full says so, to the caller or by its end.
        let member = &mut fixture.cluster.members[0];
        wait_until("the full disk to be named", LIMIT, || {
            let said = format!("{refused}\n{}", member.log());
            ensure!(said.contains(FULL), "refused, but not with {FULL:?}:\n{said}");
            if !refused.contains(FULL) {
                let status = member.control()?.ended().context("it neither said so nor ended")?;
                ensure!(status.code().is_some_and(|code| code != 0), "{status}:\n{said}");
            }
            ensure!(!said.contains("panicked"), "{said}");
            Ok(())
        })?;
        eprintln!("{} acknowledged, then: {refused}\n{}", acknowledged.len(), member.log());

        fixture.cluster.members[0].kill_all();
        fs::remove_file(&ballast)?;
        fixture.cluster.members[0].restart()?;
        for name in &acknowledged {
            wait_until(format!("the acknowledged {name}"), LIMIT, || {
                fixture
                    .cluster
                    .api(0)?
                    .get(&format!("/v1/objects/Service/default/{name}"))
                    .map(drop)
            })?;
        }
        let after = documents::service("after", &[fixture.backend.address()]);
        fixture.cluster.apply(0, &after).map(drop)
    });
}

/// Takes from the log the room that it filled in advance, as a disk does that promises more than it
/// has; else it takes a segment's worth of writes until the full disk shows.
fn take_reserve(wal: &Path) -> Result<()> {
    for entry in fs::read_dir(wal)? {
        let segment = entry?.path();
        let bytes = fs::read(&segment)?;
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let from = used.next_multiple_of(PAGE);
        if from < bytes.len() {
            let (offset, length) = (from.to_string(), (bytes.len() - from).to_string());
            let file = segment.display().to_string();
            let arguments = ["--punch-hole", "--offset", &offset, "--length", &length, &file];
            tool::run(&Place::Here, "fallocate", &arguments)?;
        }
    }
    Ok(())
}

/// Fills the disk to its last page.
fn fill(ballast: &Path) -> Result<()> {
    let mut file = fs::File::create(ballast)?;
    for size in [1024 * 1024, 4096, 1] {
        let error = loop {
            if let Err(error) = file.write_all(&vec![1; size]) {
                break error;
            }
        };
        ensure!(error.raw_os_error() == Some(nix::libc::ENOSPC), "{error}");
    }
    Ok(())
}
