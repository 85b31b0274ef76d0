//! Which listener a request comes to.

use std::net::IpAddr;

use super::{
    Outcome, decision, made_by, passing,
    question::{Asked, Door},
};
use crate::{
    explain::Decision,
    key::ObjectKey,
    listener::{ClientProxyProtocol, ListenAddress, Listener, Protocol},
    snapshot::Snapshot,
};

/// The listener that takes the connection.
pub(super) struct Entry<'a> {
    pub(super) key: &'a ObjectKey,
    pub(super) listener: &'a Listener,
}

/// Finds the listener; otherwise how the request ends without one.
pub(super) fn find<'a>(
    config: &'a Snapshot,
    asked: &Asked,
    decisions: &mut Vec<Decision>,
) -> Result<Entry<'a>, Outcome> {
    let candidates: Vec<Entry<'a>> = config
        .listeners()
        .filter(|(key, listener)| match &asked.door {
            Door::Named(name) => key.is_named(name),
            // An HTTP request comes by TCP.
            Door::Port(address, port) => {
                listener.port == *port
                    && !listener.protocol.is_udp()
                    && takes(listener.address, *address)
            }
        })
        .map(|(key, listener)| Entry { key, listener })
        .collect();
    let door = match &asked.door {
        Door::Named(name) => format!("named {name}"),
        Door::Port(Some(address), port) => format!("for {address}, TCP port {port}"),
        Door::Port(None, port) => format!("for TCP port {port}"),
    };
    let mut candidates = candidates.into_iter();
    let Some(entry) = candidates.next() else {
        decisions.push(decision("listener", format!("there is none {door}")));
        return Err(Outcome::NoListener);
    };
    let others: Vec<String> = candidates.map(|other| other.key.to_string()).collect();
    if !others.is_empty() {
        let said = format!("{} and {} are {door}", entry.key, others.join(", "));
        decisions.push(decision("listener", said));
        return Err(Outcome::Ambiguous);
    }
    let Listener { protocol, address, port, .. } = entry.listener;
    let address = match address {
        ListenAddress::Any => "every address".to_owned(),
        ListenAddress::Ip(ip) => ip.to_string(),
    };
    let speaks = match protocol {
        Protocol::Http => "HTTP",
        Protocol::Https => "HTTPS",
        Protocol::Tls => "TLS",
        Protocol::Tcp => "TCP",
        Protocol::Udp => "UDP",
    };
    let say = |said, field| made_by("listener", said, entry.key, field);
    decisions.push(say(format!("{speaks} on {address}, port {port}"), "spec.port"));
    let asks = if asked.is_https { "HTTPS" } else { "HTTP" };
    if *protocol == Protocol::Tls && asked.is_https {
        return Err(passing::decide(config, entry.key, asked, decisions));
    }
    if !protocol.is_http() {
        let kind = match protocol {
            Protocol::Udp => "UDPRoute",
            Protocol::Tls => "TLSRoute",
            _ => "TCPRoute",
        };
        let said = format!(
            "it carries {speaks} without looking into it: a {kind} chooses the service, and no \
             HTTPRoute is asked"
        );
        decisions.push(say(said, "spec.protocol"));
        return Err(Outcome::WrongProtocol);
    }
    if asks != speaks {
        let said = format!("the request is {asks}, the listener speaks {speaks}");
        decisions.push(say(said, "spec.protocol"));
        return Err(Outcome::WrongProtocol);
    }
    if entry.listener.proxy_protocol == Some(ClientProxyProtocol::Required) {
        let said = "the connection must begin with a PROXY header, which names the client";
        decisions.push(say(said.to_owned(), "spec.proxyProtocol"));
    }
    Ok(entry)
}

/// Tells whether a listener takes connections to an address, any when none is named.
fn takes(listens: ListenAddress, address: Option<IpAddr>) -> bool {
    match (listens, address) {
        (ListenAddress::Any, _) | (_, None) => true,
        (ListenAddress::Ip(own), Some(address)) => own == address,
    }
}
