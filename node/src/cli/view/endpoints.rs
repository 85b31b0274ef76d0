//! Endpoints of L4: a line an endpoint and node.

use model::{ObjectKey, traffic::EndpointList};

use crate::cli::table;

const HEADINGS: [&str; 10] = [
    "ENDPOINT",
    "NODE",
    "STATE",
    "SERVICE",
    "LISTENER",
    "CONNECTIONS",
    "PACKETS IN",
    "BYTES IN",
    "PACKETS OUT",
    "BYTES OUT",
];

/// Lays out the endpoints of some nodes, those of an address beside each other.
#[must_use]
pub fn table(lists: &[EndpointList]) -> String {
    let mut rows: Vec<_> = lists
        .iter()
        .flat_map(|list| list.endpoints.iter().map(|endpoint| (list.node, endpoint)))
        .collect();
    rows.sort_by_key(|(node, it)| (&it.services, it.endpoint, *node));
    if rows.is_empty() {
        return "XDP forwards to no endpoint\n".to_owned();
    }
    let rows: Vec<Vec<String>> = rows
        .into_iter()
        .map(|(node, it)| {
            let mut row = vec![
                it.endpoint.to_string(),
                node.to_string(),
                it.state.to_string(),
                names(&it.services),
                names(&it.listeners),
            ];
            row.extend(match &it.counters {
                Some(of) => {
                    [of.connections, of.packets_in, of.bytes_in, of.packets_out, of.bytes_out]
                        .map(|count| count.to_string())
                }
                None => Default::default(),
            });
            row
        })
        .collect();
    table::render(&HEADINGS, &rows)
}

fn names(keys: &[ObjectKey]) -> String {
    let names: Vec<_> = keys.iter().map(|key| format!("{}/{}", key.namespace, key.name)).collect();
    names.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_stands_once_for_each_node() {
        let lists: Vec<EndpointList> = [1, 2]
            .map(|node| {
                let counters = match node {
                    1 => {
                        r#","counters":{"connections":1,"packetsIn":2,"bytesIn":80,"packetsOut":3,"bytesOut":90}"#
                    }
                    _ => "",
                };
                let text = format!(
                    r#"{{"node":{node},"revision":9,"endpoints":[{{"endpoint":"10.0.0.9:80","state":"draining",
                    "listeners":["Listener/default/web"],"services":["Service/shop/web"]{counters}}}]}}"#
                );
                serde_json::from_str(&text).unwrap()
            })
            .into();
        let expected = "\
ENDPOINT     NODE  STATE     SERVICE   LISTENER     CONNECTIONS  PACKETS IN  BYTES IN  PACKETS OUT  BYTES OUT
10.0.0.9:80  1     draining  shop/web  default/web  1            2           80        3            90
10.0.0.9:80  2     draining  shop/web  default/web  -            -           -         -            -
";
        assert_eq!(table(&lists), expected);
        assert_eq!(table(&[]), "XDP forwards to no endpoint\n");
    }
}
