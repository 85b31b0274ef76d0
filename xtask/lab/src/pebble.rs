//! Pebble, Let's Encrypt's own ACME server for tests, with a DNS server that knows one address.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::process::{Launch, Process};
use crate::programs::Loopback;
use crate::waiting::wait_until;
use crate::{Certificate, Instance, Place};

const LIMIT: Duration = Duration::from_secs(10);

/// The servers, running.
#[derive(Debug)]
pub struct Pebble {
    /// The URL of the directory.
    pub directory: String,
    /// By what the server is to be trusted, in PEM.
    pub authority: PathBuf,
    management: SocketAddr,
    instance: String,
    _processes: [Process; 2],
}

impl Pebble {
    /// Starts both. Every name is the host `resolves_to`, which is asked for challenges on these ports.
    ///
    /// # Errors
    /// When they are not installed, or do not start.
    pub fn start(
        instance: &Instance,
        net: Loopback,
        resolves_to: IpAddr,
        (http_port, tls_port): (u16, u16),
    ) -> Result<Self> {
        let (api, management, dns) = (net.at(200, 14_000), net.at(200, 15_000), net.at(200, 8053));
        let certificate =
            Certificate::write(instance.directory(), "pebble", &api.ip().to_string())?;
        let config = instance.directory().join("pebble.json");
        let content = json!({ "pebble": {
            "listenAddress": api.to_string(),
            "managementListenAddress": management.to_string(),
            "certificate": certificate.certificate,
            "privateKey": certificate.key,
            "httpPort": http_port,
            "tlsPort": tls_port,
            "ocspResponderURL": "",
        } });
        fs::write(&config, content.to_string()).context("writing Pebble's configuration")?;
        let launch = |program: &str| Launch::new(instance.name(), &Place::Here, program);
        let names = launch("pebble-challtestsrv")
            .args(["-dns01", &dns.to_string(), "-defaultIPv4", &resolves_to.to_string()])
            .args(["-defaultIPv6", "", "-http01", "", "-https01", "", "-tlsalpn01", ""])
            .args(["-management", &net.at(200, 8055).to_string()])
            .start("pebble-dns", &instance.logs())?;
        let server = launch("pebble")
            .args(["-config".to_owned(), config.display().to_string()])
            .args(["-dnsserver".to_owned(), dns.to_string()])
            // Without it, it waits up to 15 s before it asks.
            .env("PEBBLE_VA_NOSLEEP", "1")
            .start("pebble", &instance.logs())?;
        let started = Self {
            directory: format!("https://{api}/dir"),
            authority: certificate.certificate,
            management,
            instance: instance.name().to_owned(),
            _processes: [names, server],
        };
        wait_until("Pebble", LIMIT, || started.root())?;
        Ok(started)
    }

    /// Returns the root of what it issues, in PEM.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn root(&self) -> Result<String> {
        let url = format!("https://{}/roots/0", self.management);
        let output = Launch::new(&self.instance, &Place::Here, "curl")
            .args(["-sSk".to_owned(), url])
            .output(LIMIT)?;
        let pem = output.ok()?;
        ensure!(pem.contains("BEGIN CERTIFICATE"), "{pem}");
        Ok(pem)
    }
}
