//! Reads the spec of a `Listener`.

mod access_log;
mod clients;
mod compression;
mod http_options;
mod tls;

use super::{
    reader::{Fields, Node, Read},
    scalar::{port, text, unicast, whole, word},
};
use crate::{
    limits::{MAX_ACCESS_LOGS, MAX_LISTENER_CONNECTIONS},
    listener::{
        AccessLog, Announce, ClientProxyProtocol, EngineChoice, Forwarding, ListenAddress,
        Listener, Protocol, SynCookies,
    },
};

const PROTOCOLS: [(&str, Protocol); 5] = [
    ("HTTP", Protocol::Http),
    ("HTTPS", Protocol::Https),
    ("TLS", Protocol::Tls),
    ("TCP", Protocol::Tcp),
    ("UDP", Protocol::Udp),
];

const ENGINES: [(&str, EngineChoice); 3] =
    [("auto", EngineChoice::Auto), ("envoy", EngineChoice::Envoy), ("xdp", EngineChoice::Xdp)];

const FORWARDINGS: [(&str, Forwarding); 4] = [
    ("NAT", Forwarding::Nat),
    ("L2", Forwarding::L2),
    ("IPIP", Forwarding::Ipip),
    ("GUE", Forwarding::Gue),
];

const SYN_COOKIES: [(&str, SynCookies); 3] =
    [("Auto", SynCookies::Auto), ("Never", SynCookies::Never), ("Always", SynCookies::Always)];

const PROXY_PROTOCOLS: [(&str, ClientProxyProtocol); 2] =
    [("Required", ClientProxyProtocol::Required), ("Optional", ClientProxyProtocol::Optional)];

/// What Envoy does and XDP, which leaves TCP streams as they are, does not.
const ENVOY_ONLY: [&str; 3] = ["proxyProtocol", "maxConnections", "accessLogs"];

pub(super) fn listener(node: &Node<'_>, namespace: &str) -> Read<Listener> {
    let fields = node.fields()?;
    let protocol =
        fields.required("protocol", "HTTP, HTTPS, TLS, TCP or UDP", |node| word(node, &PROTOCOLS));
    let address = fields.or("address", ListenAddress::Any, address);
    let port = fields.required("port", "a number from 1 to 65535", port);
    let engine = fields.or("engine", EngineChoice::Auto, |node| word(node, &ENGINES));
    let forwarding = fields.optional("forwarding", |node| word(node, &FORWARDINGS));
    let syn_cookies = fields.optional("synCookies", |node| word(node, &SYN_COOKIES));
    let announce = fields.optional("announce", |node| word(node, &[("L2", Announce::L2)]));
    let tls = fields.optional("tls", |node| tls::tls(node, namespace));
    let proxy_protocol = fields.optional("proxyProtocol", |node| word(node, &PROXY_PROTOCOLS));
    let max_connections =
        fields.optional("maxConnections", |node| whole(node, 1..=MAX_LISTENER_CONNECTIONS));
    let http = fields.optional("http", http_options::http_options);
    let access_logs = fields.or("accessLogs", Vec::new(), |node| access_logs(node, namespace));
    let envoy_fits = match (protocol, engine) {
        (Ok(protocol), Ok(engine)) => envoy_fits(&fields, protocol, engine),
        _ => Ok(()),
    };
    let tls_fits = protocol.and_then(|protocol| tls::fits(&fields, protocol));
    let http3_fits = match (protocol, &tls, proxy_protocol, &http) {
        (Ok(protocol), Ok(tls), Ok(proxy_protocol), Ok(Some(http))) if http.http3.is_some() => {
            http_options::http3_fits(&fields, protocol, tls.as_ref(), proxy_protocol)
        }
        _ => Ok(()),
    };
    let engine_fits = match (protocol, engine) {
        (Ok(protocol), Ok(EngineChoice::Xdp)) if !protocol.is_l4() => {
            let remedy = "write auto or envoy, or make it a TCP listener";
            Err(fields.error("engine", "XDP carries TCP and UDP only", remedy))
        }
        _ => Ok(()),
    };
    let forwarding_fits = match (protocol, address, engine, forwarding) {
        (Ok(protocol), Ok(address), Ok(engine), Ok(Some(forwarding))) => {
            forwarding_fits(&fields, protocol, address, engine, forwarding)
        }
        _ => Ok(()),
    };
    let cookies_fit = match (protocol, engine, forwarding, syn_cookies) {
        (Ok(protocol), Ok(engine), Ok(forwarding), Ok(Some(_))) => {
            cookies_fit(&fields, protocol, engine, forwarding.unwrap_or_default())
        }
        _ => Ok(()),
    };
    let announce_fits = match (address, announce) {
        (Ok(address), Ok(Some(_))) => announce_fits(&fields, address),
        _ => Ok(()),
    };
    let known = fields.finish();
    let protocol = protocol?;
    let listener = Listener {
        protocol,
        address: address?,
        port: port?,
        engine: engine?,
        forwarding: protocol.is_l4().then_some(forwarding?.unwrap_or_default()),
        syn_cookies: syn_cookies?,
        announce: announce?,
        tls: tls?,
        proxy_protocol: proxy_protocol?,
        max_connections: max_connections?,
        http: http?,
        access_logs: access_logs?,
    };
    let fits = [
        envoy_fits,
        tls_fits,
        http3_fits,
        engine_fits,
        forwarding_fits,
        cookies_fit,
        announce_fits,
        known,
    ];
    fits.into_iter().collect::<Read<Vec<()>>>().map(|_| listener)
}

fn access_logs(node: &Node<'_>, namespace: &str) -> Read<Vec<AccessLog>> {
    let items = node.items(0, MAX_ACCESS_LOGS, |node| access_log::access_log(node, namespace))?;
    items.into_iter().collect()
}

/// Reports what only Envoy does on listeners that it does not surely carry.
fn envoy_fits(fields: &Fields<'_>, protocol: Protocol, engine: EngineChoice) -> Read<()> {
    if protocol.is_http() {
        return Ok(());
    }
    let mut outcome = Ok(());
    if fields.has("http") {
        let remedy = "remove it, or write protocol: HTTP or HTTPS";
        outcome = Err(fields.error("http", "is for HTTP and HTTPS listeners only", remedy));
    }
    outcome = outcome.and(no_statuses(fields));
    if protocol == Protocol::Tls {
        return outcome.and(no_limit(fields));
    }
    for name in ENVOY_ONLY.into_iter().filter(|name| fields.has(name)) {
        if protocol.is_udp() {
            outcome = Err(fields.error(name, "is for TCP connections and HTTP only", "remove it"));
        } else if engine != EngineChoice::Envoy {
            let problem = "is what Envoy does, and XDP may carry the listener";
            outcome = Err(fields.error(name, problem, "write engine: envoy, or remove it"));
        }
    }
    outcome
}

/// Envoy counts the connections of each TLSRoute apart.
fn no_limit(fields: &Fields<'_>) -> Read<()> {
    if !fields.has("maxConnections") {
        return Ok(());
    }
    let problem = "is not counted over the routes of a TLS listener";
    let remedy = "remove it, or write circuitBreakers.maxConnections in the services";
    Err(fields.error("maxConnections", problem, remedy))
}

/// A connection that nobody looks into has no status.
fn no_statuses(fields: &Fields<'_>) -> Read<()> {
    let logs = fields.node().value().get("accessLogs").and_then(|logs| logs.as_array());
    let mut outcome = Ok(());
    for (index, log) in logs.into_iter().flatten().enumerate() {
        for name in ["minStatus", "headers"].into_iter().filter(|name| log.get(name).is_some()) {
            outcome = Err(fields.node().at_field("accessLogs", |node| {
                node.at_item(index, |node| {
                    node.at_field(name, |node| {
                        node.error("is for HTTP, which this listener does not speak", "remove it")
                    })
                })
            }));
        }
    }
    outcome
}

fn forwarding_fits(
    fields: &Fields<'_>,
    protocol: Protocol,
    address: ListenAddress,
    engine: EngineChoice,
    forwarding: Forwarding,
) -> Read<()> {
    let (problem, remedy) = if !protocol.is_l4() {
        ("is for TCP and UDP listeners only", "remove it")
    } else if forwarding == Forwarding::Nat {
        return Ok(());
    } else if engine == EngineChoice::Envoy {
        ("is what XDP does, and the listener asks for Envoy", "write engine: auto or xdp")
    } else if address == ListenAddress::Any {
        let remedy = "write an address that the endpoints have on an interface of their own too";
        ("needs a listener with an address, since endpoints answer from it", remedy)
    } else {
        return Ok(());
    };
    Err(fields.error("forwarding", problem, remedy))
}

fn cookies_fit(
    fields: &Fields<'_>,
    protocol: Protocol,
    engine: EngineChoice,
    forwarding: Forwarding,
) -> Read<()> {
    let (problem, remedy) = if protocol != Protocol::Tcp {
        ("is for TCP listeners only", "remove it")
    } else if engine == EngineChoice::Envoy {
        ("is what XDP does, and the listener asks for Envoy", "write engine: auto or xdp")
    } else if forwarding != Forwarding::Nat {
        let remedy =
            "remove it (the endpoints' own kernels have SYN cookies), or write forwarding: NAT";
        ("needs full NAT: with direct server return the endpoints answer SYNs", remedy)
    } else {
        return Ok(());
    };
    Err(fields.error("synCookies", problem, remedy))
}

fn announce_fits(fields: &Fields<'_>, address: ListenAddress) -> Read<()> {
    let problem = match address {
        ListenAddress::Any => "needs a listener with an address of its own",
        ListenAddress::Ip(ip) if ip.is_loopback() => "is not for an address of the loopback",
        ListenAddress::Ip(_) => return Ok(()),
    };
    let remedy = "write an address on the nodes' link that no host has, or remove it";
    Err(fields.error("announce", problem, remedy))
}

fn address(node: &Node<'_>) -> Read<ListenAddress> {
    match text(node)? {
        "*" => Ok(ListenAddress::Any),
        "0.0.0.0" | "::" => {
            Err(node.error("is the unspecified address", "write \"*\" for every address"))
        }
        _ => unicast(node).map(ListenAddress::Ip),
    }
}
