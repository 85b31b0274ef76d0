//! No port answers an anonymous caller, but for `/healthz`.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};

use anyhow::{Result, ensure};
use chaos_tests::{Fixture, WEB_PORT, scenario};
use lab::member::{API_PORT, PUSH_PORT, RAFT_PORT, curl};
use lab::{Place, instance, tool};

const PATHS: [&str; 9] = [
    "/",
    "/metrics",
    "/v1/status",
    "/v1/nodes",
    "/v1/objects/Service",
    "/v1/history",
    "/v1/events",
    "/v1/openapi.json",
    "/config_dump",
];

#[test]
fn cluster_no_open_port_answers_a_caller_without_token_or_certificate() {
    scenario(Fixture::serving(3), |fixture| {
        let open = open_sockets(fixture)?;
        for port in [API_PORT, RAFT_PORT, PUSH_PORT, WEB_PORT] {
            ensure!(
                open.iter().any(|(_, at)| at.port() == port),
                "port {port} is not open: {open:?}"
            );
        }
        for (protocol, at) in &open {
            // The data plane's own end of the push is a UDP socket that takes no connections.
            if protocol == "udp" && at.port() != PUSH_PORT {
                continue;
            }
            ensure!(
                [API_PORT, RAFT_PORT, PUSH_PORT, WEB_PORT].contains(&at.port()),
                "{protocol} {at} is open, and no one said so"
            );
            ensure!(at.ip().is_loopback(), "{protocol} {at} is open to other hosts");
            if protocol == "tcp" && at.port() != WEB_PORT {
                refuses(*at)?;
            }
        }
        for index in 0..3 {
            let health = curl(
                &Place::Here,
                &format!("https://{}/healthz", fixture.cluster.members[index].api()),
            )?;
            ensure!(health == 200, "/healthz answered {health}");
            private_sockets(fixture, index)?;
        }
        Ok(())
    });
}

/// Nothing but a refusal for any path, by TLS and in clear.
fn refuses(at: SocketAddr) -> Result<()> {
    for scheme in ["https", "http"] {
        for path in PATHS {
            // No HTTP answer at all is a refusal too.
            let Ok(status) = curl(&Place::Here, &format!("{scheme}://{at}{path}")) else {
                continue;
            };
            ensure!(
                matches!(status, 400 | 401 | 403 | 426),
                "{scheme}://{at}{path} answered {status} to an anonymous caller"
            );
        }
    }
    Ok(())
}

/// Sockets that processes of this instance listen on, from `ss`.
fn open_sockets(fixture: &Fixture) -> Result<BTreeSet<(String, SocketAddr)>> {
    let pids: Vec<String> = instance::processes(fixture.instance.name())
        .iter()
        .map(|pid| format!("pid={pid},"))
        .collect();
    let table = tool::run(&Place::Here, "ss", &["-H", "-ltunp"])?;
    let mut open = BTreeSet::new();
    for line in table.lines().filter(|line| pids.iter().any(|pid| line.contains(pid))) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        if let (Some(protocol), Some(at)) = (fields.first(), fields.get(4)) {
            let at = at.replace('*', "0.0.0.0");
            open.insert(((*protocol).to_owned(), at.parse()?));
        }
    }
    Ok(open)
}

/// Unix sockets are their owner's only.
fn private_sockets(fixture: &Fixture, index: usize) -> Result<()> {
    let run = fixture.cluster.members[index].run_directory();
    let folder = std::fs::metadata(&run)?.permissions().mode() & 0o777;
    let mut sockets = 0;
    for entry in std::fs::read_dir(&run)? {
        let entry = entry?;
        if entry.file_type()?.is_socket() {
            let mode = entry.metadata()?.permissions().mode() & 0o777;
            sockets += 1;
            ensure!(
                mode & 0o077 == 0 || folder & 0o077 == 0,
                "{} has mode {mode:o} in a folder of mode {folder:o}",
                entry.path().display()
            );
        }
    }
    ensure!(sockets > 0, "no sockets in {}", run.display());
    Ok(())
}
