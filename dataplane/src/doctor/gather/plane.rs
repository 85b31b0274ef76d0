//! Reads how the data plane of this host stands: its lock, its status, its last configuration.

use std::{
    collections::BTreeMap,
    io::{self, Read as _, Write as _},
    net::IpAddr,
    os::unix::net::UnixStream,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use model::{
    Snapshot,
    listener::{EngineChoice, Forwarding},
};
use runtime::{
    identity::{IdentityError, NodeIdentity},
    process::{LockError, PidLock},
};

use super::Wishes;
use crate::{
    Config,
    doctor::facts::{Accepted, Envoy, Fact, Gap, Plane},
    envoy, lkg,
    xdp::{
        addresses::{self, Fixed},
        pins::{self, BPFFS},
        plan::NodeView,
        planner::Planner,
    },
};

/// How long a data plane may take for its status.
const STATUS_WITHIN: Duration = Duration::from_secs(2);
/// The most that is read of it.
const STATUS_BYTES_MAX: u64 = 16 * 1024 * 1024;

pub(super) fn read(wishes: &Wishes) -> Plane {
    let config = &wishes.config;
    let running = running(config);
    let told = match &running {
        Ok(None) => Ok(None),
        _ => summary(&config.admin_socket()).map(Some).map_err(|error| Gap::of(&error)),
    };
    Plane {
        node: wishes.node.clone(),
        running,
        interfaces: config.interfaces.clone(),
        told,
        pinned: pins::linked(Path::new(BPFFS)).map_err(|error| Gap::of(&error)),
        accepted: accepted(config),
        envoy: envoy::find(config.envoy.as_deref())
            .map(|found| Envoy { path: found.path.display().to_string(), version: found.version })
            .map_err(|error| error.to_string()),
    }
}

fn running(config: &Config) -> Fact<Option<i32>> {
    match PidLock::holder(&config.lock_file()) {
        Ok(holder) => Ok(holder.map(|pid| pid.as_raw())),
        Err(LockError::File { source, .. }) => Err(Gap::of(&source)),
        Err(error @ LockError::Held { .. }) => Err(Gap::Failed(error.to_string())),
    }
}

/// Asks a running data plane what it says of XDP.
fn summary(socket: &Path) -> io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(STATUS_WITHIN))?;
    stream.write_all(b"GET /status HTTP/1.1\r\nhost: dataplane\r\nconnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(STATUS_BYTES_MAX).read_to_end(&mut answer)?;
    parse_summary(&answer).ok_or_else(|| io::Error::other("its status is not understood"))
}

fn parse_summary(answer: &[u8]) -> Option<String> {
    let answer = std::str::from_utf8(answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.strip_prefix("HTTP/1.1 200")?;
    let status: serde_json::Value = serde_json::from_str(body).ok()?;
    Some(status["l4"]["summary"].as_str()?.to_owned())
}

/// Reads the last accepted configuration and finds what XDP would make of it here.
fn accepted(config: &Config) -> Fact<Option<Accepted>> {
    let identity = match NodeIdentity::load(&config.identity_dir) {
        Ok(Some(identity)) => identity,
        Ok(None) => return Ok(None),
        Err(IdentityError::Read { source, .. }) => return Err(Gap::of(&source)),
        Err(error) => return Err(Gap::Failed(error.to_string())),
    };
    let snapshot = lkg::store::peek(&config.state_dir, identity.cluster());
    let Some(snapshot) = snapshot.map_err(|error| Gap::of(&error))? else { return Ok(None) };
    let fixed = Fixed {
        source_v4: config.source_v4.map(IpAddr::V4),
        source_v6: config.source_v6.map(IpAddr::V6),
        listen: config.listen_address,
    };
    let announced = model::announce::wanted(&snapshot);
    let node =
        addresses::read(&config.interfaces, fixed, &announced).map_err(|error| Gap::of(&error))?;
    Ok(Some(demand(&snapshot, &node, !config.interfaces.is_empty())))
}

/// What a configuration asks of a node (pure); without XDP, Envoy carries everything.
fn demand(snapshot: &Snapshot, node: &NodeView, xdp: bool) -> Accepted {
    let mut planner = Planner::default();
    planner.update(snapshot, &Arc::default(), node, Instant::now());
    let carried = &planner.plan().carried;
    let mut endpoints: BTreeMap<IpAddr, Vec<Forwarding>> = BTreeMap::new();
    for carried in carried.values().filter(|_| xdp) {
        for backend in carried.backends() {
            let ways = endpoints.entry(backend.address.ip()).or_default();
            if !ways.contains(&carried.forwarding) {
                ways.push(carried.forwarding);
            }
        }
    }
    Accepted { endpoints, for_envoy: for_envoy(snapshot) }
}

fn for_envoy(snapshot: &Snapshot) -> usize {
    let needs = |(_, listener): &(_, &model::Listener)| {
        !listener.protocol.is_l4() || listener.engine == EngineChoice::Envoy
    };
    snapshot.listeners().filter(needs).count()
}

#[cfg(test)]
mod tests {
    use std::{net::SocketAddr, os::unix::net::UnixListener};

    use super::*;

    #[test]
    fn the_summary_is_read_from_a_status_page_and_from_nothing_else() {
        let page = |head: &str, body: &str| format!("{head}\r\nx: y\r\n\r\n{body}").into_bytes();
        let good = r#"{"l4":{"summary":"eth0: native"}}"#;
        let check = |answer: Vec<u8>, wanted: Option<&str>| {
            assert_eq!(parse_summary(&answer).as_deref(), wanted);
        };
        check(page("HTTP/1.1 200 OK", good), Some("eth0: native"));
        check(page("HTTP/1.1 404 Not Found", good), None);
        check(page("HTTP/1.1 200 OK", "{}"), None);
        check(page("HTTP/1.1 200 OK", "not JSON"), None);
        check(b"HTTP/1.1 200 OK".to_vec(), None);
        check(vec![0xff, 0xfe], None);
    }

    #[test]
    fn a_data_plane_that_does_not_answer_is_not_waited_for_long() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("s");
        assert_eq!(summary(&socket).unwrap_err().kind(), io::ErrorKind::NotFound);
        let _silent = UnixListener::bind(&socket).unwrap();
        assert!(summary(&socket).is_err());
    }

    #[test]
    fn endpoints_are_those_that_xdp_would_send_to_here() {
        let yaml = "\
kind: Listener
metadata: { name: nat }
spec: { protocol: TCP, port: 80 }
---
kind: Listener
metadata: { name: tunnel }
spec: { protocol: UDP, port: 53, address: 192.0.2.10, forwarding: GUE }
---
kind: Listener
metadata: { name: web }
spec: { protocol: HTTP, port: 8080 }
---
kind: Listener
metadata: { name: idle }
spec: { protocol: TCP, port: 81, engine: envoy }
---
kind: TCPRoute
metadata: { name: nat }
spec: { listeners: [{ name: nat }], backends: [{ service: { name: both } }] }
---
kind: UDPRoute
metadata: { name: tunnel }
spec: { listeners: [{ name: tunnel }], backends: [{ service: { name: one } }] }
---
kind: Service
metadata: { name: both }
spec: { endpoints: [{ address: 10.0.0.2, port: 80 }, { address: 10.0.0.3, port: 80 }] }
---
kind: Service
metadata: { name: one }
spec: { endpoints: [{ address: 10.0.0.3, port: 53 }] }
";
        let mut snapshot = Snapshot::default();
        for object in model::parse::parse_documents(yaml).unwrap() {
            snapshot.put(Arc::new(object));
        }
        let source = Some("10.0.0.1".parse().unwrap());
        let node = NodeView { source_v4: source, ..NodeView::default() };
        let found = demand(&snapshot, &node, true);
        assert_eq!(found.for_envoy, 2);
        let [nat, both] = ["10.0.0.2", "10.0.0.3"].map(|text| text.parse::<IpAddr>().unwrap());
        assert_eq!(found.endpoints.keys().collect::<Vec<_>>(), [&nat, &both]);
        assert_eq!(found.endpoints[&nat], [Forwarding::Nat]);
        let mut ways = found.endpoints[&both].clone();
        ways.sort_by_key(|way| *way == Forwarding::Gue);
        assert_eq!(ways, [Forwarding::Nat, Forwarding::Gue]);
        assert!(demand(&snapshot, &node, false).endpoints.is_empty());
    }

    #[test]
    fn a_host_without_a_node_has_no_data_plane_and_no_configuration() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let mut config = Config::new(Vec::<SocketAddr>::new(), at("i"), at("s"), at("r"));
        config.envoy = Some(at("envoy"));
        let wishes = Wishes { interfaces: Vec::new(), to: Vec::new(), node: Ok(false), config };
        let plane = read(&wishes);
        assert_eq!((plane.running, plane.told, plane.accepted), (Ok(None), Ok(None), Ok(None)));
        assert!(plane.envoy.unwrap_err().contains("envoy"));
        assert!(!at("s").exists(), "nothing is made");
    }
}
