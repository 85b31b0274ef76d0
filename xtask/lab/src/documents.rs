//! Configuration documents for tests and measurements, as an operator would write them.

use std::net::SocketAddr;

use crate::certificate::Certificate;

/// An HTTP listener on all addresses.
#[must_use]
pub fn http_listener(name: &str, port: u16) -> String {
    listener(name, "HTTP", port)
}

/// A listener of any protocol on all addresses.
#[must_use]
pub fn listener(name: &str, protocol: &str, port: u16) -> String {
    format!(
        "---\nkind: Listener\nmetadata: {{ name: {name} }}\nspec: {{ protocol: {protocol}, port: {port} }}\n"
    )
}

/// An HTTPS listener on all addresses.
#[must_use]
pub fn https_listener(name: &str, port: u16, certificate: &Certificate) -> String {
    format!(
        "---\nkind: Listener\nmetadata: {{ name: {name} }}\nspec:\n  protocol: HTTPS\n  port: {port}\n  \
         tls: {{ certificateFile: {}, privateKeyFile: {} }}\n",
        certificate.certificate.display(),
        certificate.key.display()
    )
}

/// A service without health checks.
#[must_use]
pub fn service(name: &str, endpoints: &[SocketAddr]) -> String {
    let endpoints: Vec<String> = endpoints
        .iter()
        .map(|endpoint| format!("{{ address: \"{}\", port: {} }}", endpoint.ip(), endpoint.port()))
        .collect();
    format!(
        "---\nkind: Service\nmetadata: {{ name: {name} }}\nspec: {{ endpoints: [{}] }}\n",
        endpoints.join(", ")
    )
}

/// A route that sends every request of a host to a service.
#[must_use]
pub fn http_route(name: &str, listener: &str, host: &str, service: &str) -> String {
    format!(
        "---\nkind: HTTPRoute\nmetadata: {{ name: {name} }}\n\
         spec: {{ listeners: [{{ name: {listener} }}], hosts: [{host}], \
         rules: [{{ backends: [{{ service: {{ name: {service} }} }}] }}] }}\n"
    )
}

/// A route that sends the connections of a listener to a service; `protocol` is `TCP` or `UDP`.
#[must_use]
pub fn l4_route(protocol: &str, name: &str, listener: &str, service: &str) -> String {
    format!(
        "---\nkind: {protocol}Route\nmetadata: {{ name: {name} }}\n\
         spec: {{ listeners: [{{ name: {listener} }}], backends: [{{ service: {{ name: {service} }} }}] }}\n"
    )
}
