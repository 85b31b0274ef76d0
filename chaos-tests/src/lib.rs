//! Faults on whole clusters of real processes with live traffic. The tests are in `tests/faults`;
//! here is what they share: a cluster with a backend behind it, and a failure that shows its logs.
//!
//! Tests named `cluster_…` run on loopback without privileges; those named `root_…` need root.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lab::load::{Load, Plan};
use lab::serve::{Protocol, Server};
use lab::{Cluster, Instance, Loopback, Place, Programs, documents};
use serde_json::Value;

/// Port of the HTTP listener.
pub const WEB_PORT: u16 = 8080;
/// The host that the base configuration serves.
pub const HOST: &str = "shop.example";
/// What the slowest step may take on two busy cores, in the dev profile.
pub const LIMIT: Duration = Duration::from_secs(30);
/// Lines of each log that a failure shows.
const LOG_LINES: usize = 60;

/// A cluster on loopback with one backend.
#[derive(Debug)]
pub struct Fixture {
    /// The nodes.
    pub cluster: Cluster,
    /// The backend, named `backend`.
    pub backend: Server,
    /// The addresses of this test.
    pub net: Loopback,
    /// The programs under test.
    pub programs: Programs,
    /// The laboratory; last, so that it goes last.
    pub instance: Instance,
}

impl Fixture {
    /// Nodes that are not started yet, and a running backend.
    ///
    /// # Errors
    /// When a program is missing.
    pub fn new(nodes: u8) -> Result<Self> {
        let programs = Programs::find()?;
        let instance = Instance::new()?;
        let net = Loopback::own();
        let backend = Server::start(&Place::Here, "backend", Protocol::Http, net.at(100, 9000))?;
        let cluster = Cluster::on_loopback(&instance, &programs, net, nodes);
        Ok(Self { cluster, backend, net, programs, instance })
    }

    /// A formed cluster that serves [`HOST`] on every node.
    ///
    /// # Errors
    /// When it does not form, or does not take its configuration.
    pub fn serving(nodes: u8) -> Result<Self> {
        let mut fixture = Self::new(nodes)?;
        fixture.cluster.form()?;
        fixture.cluster.settle()?;
        fixture.cluster.apply(usize::from(nodes) - 1, &fixture.base())?;
        Ok(fixture)
    }

    /// A listener, a route for [`HOST`], and the backend's service.
    #[must_use]
    pub fn base(&self) -> String {
        documents::http_listener("web", WEB_PORT)
            + &documents::service("shop", &[self.backend.address()])
            + &documents::http_route("shop", "web", HOST, "shop")
    }

    /// Where each node serves HTTP.
    #[must_use]
    pub fn web(&self) -> Vec<SocketAddr> {
        self.cluster.members.iter().map(|member| member.listener(WEB_PORT)).collect()
    }

    /// Steady HTTP requests to every node; returns when they are answered.
    ///
    /// # Errors
    /// When they are not.
    pub fn traffic(&self) -> Result<Load> {
        let plan = Plan {
            senders: 2,
            interval: Duration::from_millis(10),
            ..Plan::new(&Place::Here, &self.web())
        };
        let load = plan.http(HOST, "/")?;
        load.wait_answered(60, LIMIT)?;
        Ok(load)
    }
}

/// Runs a test; a failure shows the last lines of all logs.
///
/// # Panics
/// When the test fails.
pub fn scenario(fixture: Result<Fixture>, test: impl FnOnce(&mut Fixture) -> Result<()>) {
    let mut fixture = fixture.expect("a fixture");
    if let Err(error) = test(&mut fixture) {
        panic!("{error:#}\n{}", fixture.instance.log_tails(LOG_LINES));
    }
}

/// Runs a test that needs root and builds its own network; a failure shows the last lines of all logs.
///
/// # Panics
/// When the test fails, or the process is not root's.
pub fn in_namespaces(test: impl FnOnce(&Instance) -> Result<()>) {
    assert!(nix::unistd::geteuid().is_root(), "XDP and network namespaces need root");
    let instance = Instance::new().expect("an instance");
    if let Err(error) = test(&instance) {
        panic!("{error:#}\n{}", instance.log_tails(LOG_LINES));
    }
}

/// A join line with some of its fields changed.
///
/// # Errors
/// When it is no join line.
pub fn edit_line(line: &str, change: impl FnOnce(&mut Value)) -> Result<String> {
    let encoded = line.strip_prefix("mp1.").context("not a join line")?;
    let mut value: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(encoded)?)?;
    change(&mut value);
    Ok(format!("mp1.{}", URL_SAFE_NO_PAD.encode(serde_json::to_vec(&value)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_changed_in_one_field_only() {
        let line = format!("mp1.{}", URL_SAFE_NO_PAD.encode(r#"{"a":1,"pin":"x"}"#));
        let changed = edit_line(&line, |value| value["pin"] = "y".into()).unwrap();
        let text = URL_SAFE_NO_PAD.decode(changed.strip_prefix("mp1.").unwrap()).unwrap();
        assert_eq!(text, br#"{"a":1,"pin":"y"}"#);
    }
}
