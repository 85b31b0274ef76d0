//! Reads the spec of a `Listener`.

use super::{
    reader::{Fields, Node, Read},
    scalar::{file, port, text, unicast, word},
};
use crate::listener::{EngineChoice, ListenAddress, Listener, ListenerTls, Protocol};

const PROTOCOLS: [(&str, Protocol); 4] = [
    ("HTTP", Protocol::Http),
    ("HTTPS", Protocol::Https),
    ("TCP", Protocol::Tcp),
    ("UDP", Protocol::Udp),
];

const ENGINES: [(&str, EngineChoice); 3] =
    [("auto", EngineChoice::Auto), ("envoy", EngineChoice::Envoy), ("xdp", EngineChoice::Xdp)];

pub(super) fn listener(node: &Node<'_>) -> Read<Listener> {
    let fields = node.fields()?;
    let protocol =
        fields.required("protocol", "HTTP, HTTPS, TCP or UDP", |node| word(node, &PROTOCOLS));
    let address = fields.or("address", ListenAddress::Any, address);
    let port = fields.required("port", "a number from 1 to 65535", port);
    let engine = fields.or("engine", EngineChoice::Auto, |node| word(node, &ENGINES));
    let tls = fields.optional("tls", tls);
    let tls_fits = protocol.and_then(|protocol| tls_fits(&fields, protocol));
    let engine_fits = match (protocol, engine) {
        (Ok(protocol), Ok(EngineChoice::Xdp)) if protocol.is_http() => {
            let remedy = "write auto or envoy, or make it a TCP listener";
            Err(fields.error("engine", "XDP carries TCP and UDP only", remedy))
        }
        _ => Ok(()),
    };
    let known = fields.finish();
    let listener = Listener {
        protocol: protocol?,
        address: address?,
        port: port?,
        engine: engine?,
        tls: tls?,
    };
    tls_fits.and(engine_fits).and(known).map(|()| listener)
}

fn tls_fits(fields: &Fields<'_>, protocol: Protocol) -> Read<()> {
    match (protocol, fields.has("tls")) {
        (Protocol::Https, false) => {
            Err(fields.missing("tls", "certificateFile and privateKeyFile, which HTTPS needs"))
        }
        (Protocol::Https, true) | (_, false) => Ok(()),
        (_, true) => {
            let remedy = "remove it, or write protocol: HTTPS";
            Err(fields.error("tls", "only HTTPS listeners have a certificate", remedy))
        }
    }
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

fn tls(node: &Node<'_>) -> Read<ListenerTls> {
    let fields = node.fields()?;
    let certificate_file =
        fields.required("certificateFile", "the path of the PEM certificate chain", file);
    let private_key_file =
        fields.required("privateKeyFile", "the path of the PEM private key", file);
    let known = fields.finish();
    let tls =
        ListenerTls { certificate_file: certificate_file?, private_key_file: private_key_file? };
    known.map(|()| tls)
}
