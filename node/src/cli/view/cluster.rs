//! The state of the cluster, its nodes and its tokens.

use std::{collections::BTreeMap, fmt::Write as _, net::IpAddr};

use model::{
    ack::NodeReport,
    announce::{AddressReport, AddressState},
    api::{NodeInfo, StatusResponse, TokenInfo, TokenRole},
    cluster::NodeId,
    endpoint::EndpointHealth,
};

use super::{acks, time, yes};
use crate::cli::table;

/// Lays out the whole status.
#[must_use]
pub fn status(status: &StatusResponse) -> String {
    let mut out = String::new();
    let leader = status.leader.map_or("none known".to_owned(), |node| format!("node {node}"));
    writeln!(
        out,
        "cluster {}, revision {}, leader {leader}, term {}\nanswered by node {}, version {}\n",
        status.cluster, status.revision, status.term, status.node, status.version
    )
    .expect("a String takes everything");
    out.push_str(&nodes(&status.nodes));
    if !status.reports.is_empty() {
        out.push('\n');
        out.push_str(&acks::table(&status.reports));
    }
    let announced = addresses(&status.reports);
    if !announced.is_empty() {
        out.push('\n');
        out.push_str(&announced);
    }
    if !status.endpoints.is_empty() {
        out.push('\n');
        out.push_str(&endpoints(&status.endpoints));
    }
    for service in &status.panicking {
        writeln!(out, "\n{service}: every endpoint fails, so all of them are kept in use")
            .expect("a String takes everything");
    }
    if !status.actors.is_empty() {
        let rows: Vec<Vec<String>> = status
            .actors
            .iter()
            .map(|actor| {
                vec![
                    actor.name.clone(),
                    yes(actor.running),
                    actor.restarts.to_string(),
                    actor.last_error.clone(),
                ]
            })
            .collect();
        out.push('\n');
        out.push_str(&table::render(&["ACTOR", "RUNNING", "RESTARTS", "LAST ERROR"], &rows));
    }
    out
}

/// Lays out nodes.
#[must_use]
pub fn nodes(nodes: &[NodeInfo]) -> String {
    let rows: Vec<Vec<String>> = nodes
        .iter()
        .map(|node| {
            let role = match (node.leader, node.voter) {
                (true, _) => "leader",
                (false, true) => "voter",
                (false, false) => "learner",
            };
            vec![
                node.id.to_string(),
                node.addresses.name.clone(),
                role.to_owned(),
                yes(node.reachable),
                node.addresses.api.to_string(),
                node.addresses.zone.clone(),
            ]
        })
        .collect();
    table::render(&["NODE", "NAME", "ROLE", "REACHABLE", "API", "ZONE"], &rows)
}

/// Lays out which node announces which address; of one that nobody announces, why. Empty when no
/// listener wants one announced.
#[must_use]
pub fn addresses(reports: &[NodeReport]) -> String {
    let mut all: BTreeMap<IpAddr, Vec<(NodeId, &AddressState)>> = BTreeMap::new();
    for report in reports.iter().filter(|report| report.connected) {
        for AddressReport { address, state } in &report.addresses {
            all.entry(*address).or_default().push((report.node, state));
        }
    }
    let mut rows = Vec::new();
    for (address, nodes) in all {
        let before = rows.len();
        for (node, state) in &nodes {
            if let AddressState::Announced { interface, since_ms } = state {
                let row =
                    [&address.to_string(), &node.to_string(), interface, &time(*since_ms), ""];
                rows.push(row.map(str::to_owned).to_vec());
            }
        }
        if rows.len() == before {
            let why = |(node, state): &(NodeId, &AddressState)| match state {
                AddressState::Unfit { reason } => Some(format!("node {node}: {reason}")),
                _ => None,
            };
            let why: Vec<String> = nodes.iter().filter_map(why).collect();
            let row = [&address.to_string(), "nobody", "", "", &why.join("; ")];
            rows.push(row.map(str::to_owned).to_vec());
        }
    }
    if rows.is_empty() {
        return String::new();
    }
    table::render(&["ADDRESS", "ANNOUNCED BY", "INTERFACE", "SINCE", "NOTES"], &rows)
}

/// Lays out endpoints.
#[must_use]
pub fn endpoints(endpoints: &[EndpointHealth]) -> String {
    let rows: Vec<Vec<String>> = endpoints
        .iter()
        .map(|health| {
            vec![
                health.endpoint.service.to_string(),
                health.endpoint.address.to_string(),
                yes(health.healthy),
                health.rtt_us.map_or_else(String::new, rtt),
                health.reason.clone(),
            ]
        })
        .collect();
    table::render(&["SERVICE", "ENDPOINT", "HEALTHY", "RTT", "REASON"], &rows)
}

/// Lays out tokens.
#[must_use]
pub fn tokens(tokens: &[TokenInfo]) -> String {
    let rows: Vec<Vec<String>> = tokens
        .iter()
        .map(|token| {
            let role = match token.role {
                TokenRole::Admin => "admin",
                TokenRole::Read => "read",
            };
            vec![
                token.name.clone(),
                role.to_owned(),
                time(token.created_ms),
                token.created_by.clone(),
            ]
        })
        .collect();
    table::render(&["NAME", "ROLE", "CREATED", "BY"], &rows)
}

/// Microseconds as milliseconds with two decimals.
fn rtt(us: u64) -> String {
    format!("{}.{:02} ms", us / 1000, us % 1000 / 10)
}

#[cfg(test)]
mod tests {
    use model::{
        Revision,
        api::ActorStatus,
        cluster::{NodeAddresses, NodeId},
        endpoint::EndpointId,
    };

    use super::*;

    #[test]
    fn an_address_is_listed_with_its_owner_or_with_why_it_has_none() {
        let told =
            |address: &str, state| AddressReport { address: address.parse().unwrap(), state };
        let report = |node, connected, addresses| NodeReport {
            node: NodeId(node),
            connected,
            engines: vec![],
            addresses,
        };
        let fit = || AddressState::Fit { interface: "eth0".into() };
        let unfit = || AddressState::Unfit { reason: "eth0 has no carrier or is down".into() };
        let has = || AddressState::Announced { interface: "eth0".into(), since_ms: 0 };
        let reports = [
            report(1, true, vec![told("192.0.2.1", fit()), told("192.0.2.2", unfit())]),
            report(2, true, vec![told("192.0.2.1", has()), told("192.0.2.2", unfit())]),
            // What is out of reach says nothing of now.
            report(3, false, vec![told("192.0.2.2", has())]),
        ];
        let text = addresses(&reports);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines[1].starts_with("192.0.2.1  2 ") && lines[1].contains("eth0"), "{text}");
        assert!(lines[2].starts_with("192.0.2.2  nobody"), "{text}");
        assert!(lines[2].contains("node 1: eth0 has no carrier or is down; node 2: "), "{text}");
        assert_eq!(addresses(&[report(1, true, vec![])]), "");
    }

    fn node(id: u64, leader: bool, voter: bool) -> NodeInfo {
        let at = |port| std::net::SocketAddr::from(([10, 0, 0, id as u8], port));
        NodeInfo {
            id: NodeId(id),
            addresses: NodeAddresses {
                name: format!("host-{id}"),
                api: at(7800),
                raft: at(7801),
                push: at(7802),
                zone: String::new(),
            },
            voter,
            leader,
            reachable: id != 3,
            matched: None,
        }
    }

    #[test]
    fn the_status_shows_cluster_nodes_endpoints_and_actors() {
        let endpoint = EndpointId {
            service: "Service/default/cart".parse().unwrap(),
            address: "10.77.1.12:9000".parse().unwrap(),
        };
        let response = StatusResponse {
            cluster: "0123456789abcdef".to_owned(),
            node: NodeId(1),
            version: "0.1.0".to_owned(),
            leader: Some(NodeId(1)),
            term: 2,
            revision: Revision(42),
            nodes: vec![node(1, true, true), node(3, false, false)],
            reports: vec![],
            endpoints: vec![EndpointHealth {
                endpoint,
                healthy: true,
                rtt_us: Some(1_234),
                reason: String::new(),
            }],
            panicking: vec!["Service/default/orders".parse().unwrap()],
            actors: vec![ActorStatus {
                name: "control/publisher".to_owned(),
                running: true,
                restarts: 1,
                last_error: "boom".to_owned(),
            }],
        };
        let expected = "\
cluster 0123456789abcdef, revision 42, leader node 1, term 2
answered by node 1, version 0.1.0

NODE  NAME    ROLE     REACHABLE  API            ZONE
1     host-1  leader   yes        10.0.0.1:7800  -
3     host-3  learner  no         10.0.0.3:7800  -

SERVICE               ENDPOINT         HEALTHY  RTT      REASON
Service/default/cart  10.77.1.12:9000  yes      1.23 ms  -

Service/default/orders: every endpoint fails, so all of them are kept in use

ACTOR              RUNNING  RESTARTS  LAST ERROR
control/publisher  yes      1         boom
";
        assert_eq!(status(&response), expected);
    }
}
