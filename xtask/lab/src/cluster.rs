//! Clusters under test: forming them by `up` and `join`, asking for their state, and waiting until
//! something holds on every node.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::api::{Api, Context};
use crate::instance::Instance;
use crate::member::{Member, Settings, join_line_in};
use crate::network::{INTERFACE, Network};
use crate::place::Place;
use crate::waiting::wait_until;

/// A learner catches up, autopilot promotes it, on two busy cores.
const VOTERS_MAX: Duration = Duration::from_secs(30);

/// The programs that a cluster is made of.
#[derive(Debug, Clone)]
pub struct Programs {
    /// `marchproxy`.
    pub marchproxy: PathBuf,
    /// Envoy.
    pub envoy: PathBuf,
}

impl Programs {
    /// Those named by `MARCHPROXY_BIN` and `MARCHPROXY_ENVOY`, as `cargo xtask test` sets them; by
    /// default the dev build, and the Envoy that setup fetched.
    ///
    /// # Errors
    /// When one of them is not there.
    pub fn find() -> Result<Self> {
        let workspace =
            Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new("."));
        let named = |variable: &str| std::env::var_os(variable).map(PathBuf::from);
        let marchproxy =
            named("MARCHPROXY_BIN").unwrap_or_else(|| workspace.join("target/debug/marchproxy"));
        let cache = named("XDG_CACHE_HOME")
            .or_else(|| std::env::home_dir().map(|home| home.join(".cache")))
            .unwrap_or_default();
        let envoy = named("MARCHPROXY_ENVOY")
            .unwrap_or_else(|| cache.join("marchproxy/envoy-1.39.3/envoy"));
        ensure!(
            marchproxy.is_file(),
            "{} is not there: run `cargo xtask test`, or `cargo build -p node`",
            marchproxy.display()
        );
        ensure!(envoy.is_file(), "{} is not there: run `cargo xtask setup`", envoy.display());
        Ok(Self { marchproxy, envoy })
    }
}

/// A /24 of the loopback network. That of a process is its own, so that clusters of several
/// processes do not meet.
#[derive(Debug, Clone, Copy)]
pub struct Loopback(u8, u8);

impl Loopback {
    /// 127.A.B.0/24.
    #[must_use]
    pub fn net(a: u8, b: u8) -> Self {
        Self(a, b)
    }

    /// The net of this process.
    #[must_use]
    pub fn own() -> Self {
        let [_, _, high, low] = std::process::id().to_be_bytes();
        Self((high % 127) + 128, low)
    }

    /// An address in it.
    #[must_use]
    pub fn address(self, host: u8) -> IpAddr {
        Ipv4Addr::new(127, self.0, self.1, host).into()
    }

    /// A socket address in it.
    #[must_use]
    pub fn at(self, host: u8, port: u16) -> SocketAddr {
        SocketAddr::new(self.address(host), port)
    }
}

/// Some nodes that are to be one cluster.
#[derive(Debug)]
pub struct Cluster {
    /// The nodes.
    pub members: Vec<Member>,
}

impl Cluster {
    /// Nodes `.11`, `.12`, … of a loopback net, not started.
    #[must_use]
    pub fn on_loopback(instance: &Instance, programs: &Programs, net: Loopback, count: u8) -> Self {
        let member = |index: u8| {
            let address = net.address(11 + index);
            let settings = Settings {
                name: format!("node-{}", index + 1),
                place: Place::Here,
                address,
                listen_address: Some(address),
                interfaces: Vec::new(),
                zone: format!("zone-{}", index + 1),
                binary: programs.marchproxy.clone(),
                envoy: programs.envoy.clone(),
                dataplane: true,
            };
            Member::new(instance, settings)
        };
        Self { members: (0..count).map(member).collect() }
    }

    /// The hosts named `node-…` of a network, with XDP on their interface, not started.
    ///
    /// # Errors
    /// When the network has none.
    pub fn in_network(instance: &Instance, programs: &Programs, network: &Network) -> Result<Self> {
        let plan = network.plan();
        let mut members = Vec::new();
        for host in plan.hosts().iter().filter(|host| host.name.starts_with("node-")) {
            let settings = Settings {
                name: host.name.clone(),
                place: network.place(&host.name)?,
                address: host.v4.into(),
                listen_address: None,
                interfaces: vec![INTERFACE.to_owned()],
                zone: plan.subnets()[host.subnet].name.clone(),
                binary: programs.marchproxy.clone(),
                envoy: programs.envoy.clone(),
                dataplane: true,
            };
            members.push(Member::new(instance, settings));
        }
        ensure!(!members.is_empty(), "the plan has no host named node-…");
        Ok(Self { members })
    }

    /// Forms the cluster: `up` on the first, `join` on the others; waits until all vote.
    ///
    /// # Errors
    /// When a node does not start, join or become a voter.
    pub fn form(&mut self) -> Result<()> {
        self.members[0].up(&[])?;
        for index in 1..self.members.len() {
            let line =
                if index == 1 { self.members[0].join_line()? } else { self.new_join_line()? };
            self.members[index].join(&line)?;
        }
        self.wait_voters(self.members.len(), VOTERS_MAX)
    }

    /// A further join line, from `token join` on the first node.
    ///
    /// # Errors
    /// When the command fails.
    pub fn new_join_line(&self) -> Result<String> {
        let text = self.members[0].run(&["token", "join", "--ttl", "10m"])?.ok()?;
        join_line_in(&text).with_context(|| format!("no join line in {text:?}"))
    }

    /// The administrator's context.
    ///
    /// # Errors
    /// When the first node wrote none.
    pub fn context(&self) -> Result<Context> {
        Context::read(&self.members[0].context_file())
    }

    /// A new API connection to a node, from where the node is.
    ///
    /// # Errors
    /// When there is no context.
    pub fn api(&self, index: usize) -> Result<Api> {
        let member = &self.members[index];
        Api::new(&member.settings().place, member.api(), &self.context()?)
    }

    /// What a node says of the cluster.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn status(&self, index: usize) -> Result<Status> {
        Ok(Status(self.api(index)?.get("/v1/status")?))
    }

    /// The index of the leader, as node `index` sees it.
    ///
    /// # Errors
    /// When none is known.
    pub fn leader_seen_by(&self, index: usize) -> Result<usize> {
        let status = self.status(index)?;
        let api = status.leader_api().context("no leader is known")?;
        self.members
            .iter()
            .position(|member| member.api().to_string() == api)
            .with_context(|| format!("the leader {api} is none of these nodes"))
    }

    /// The index of the leader.
    ///
    /// # Errors
    /// When no node knows one in time.
    pub fn leader(&self) -> Result<usize> {
        wait_until("a leader", VOTERS_MAX, || {
            let mut last = anyhow::anyhow!("no nodes");
            for index in 0..self.members.len() {
                match self.leader_seen_by(index) {
                    Ok(leader) => return Ok(leader),
                    Err(error) => last = error,
                }
            }
            Err(last)
        })
    }

    /// Waits until every node sees so many voters.
    ///
    /// # Errors
    /// When that takes longer than `limit`.
    pub fn wait_voters(&self, count: usize, limit: Duration) -> Result<()> {
        for index in 0..self.members.len() {
            wait_until(format!("node {} to see {count} voters", index + 1), limit, || {
                let status = self.status(index)?;
                let voters = status.voters();
                ensure!(voters == count, "it sees {voters}: {}", status.0["nodes"]);
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Waits until the engines of every data plane have answered for a revision that they run it.
    /// Returns how long that took from `since`.
    ///
    /// # Errors
    /// When one refuses, or `limit` passes.
    pub fn wait_applied(&self, revision: u64, since: Instant, limit: Duration) -> Result<Duration> {
        let asked = self.leader()?;
        let mut api = self.api(asked)?;
        wait_until(format!("revision {revision} on all data planes"), limit, || {
            let status = Status(api.get("/v1/status")?);
            match status.applied(self.members.len(), revision) {
                Applied::Yes => Ok(Ok(since.elapsed())),
                Applied::Refused(words) => Ok(Err(anyhow::anyhow!("refused: {words}"))),
                Applied::NotYet(words) => bail!("{words}"),
            }
        })?
    }

    /// Applies documents through a node and waits until every engine runs them. Returns the
    /// revision.
    ///
    /// # Errors
    /// When they are refused by the cluster or by an engine.
    pub fn apply(&self, index: usize, documents: &str) -> Result<u64> {
        let words = ["apply", "-f", "-", "--wait", "-o", "json"];
        let text = self.members[index].run_with(&words, documents)?.ok()?;
        revision_in(&text)
    }
}

/// The `revision` in an answer that begins with a JSON document.
///
/// # Errors
/// When there is none.
pub fn revision_in(text: &str) -> Result<u64> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    let value =
        values.next().and_then(Result::ok).with_context(|| format!("no JSON in {text:?}"))?;
    value["revision"].as_u64().with_context(|| format!("no revision in {text:?}"))
}

/// Whether all data planes run a revision.
#[derive(Debug, PartialEq, Eq)]
pub enum Applied {
    /// They do.
    Yes,
    /// Some have not answered.
    NotYet(String),
    /// One has refused.
    Refused(String),
}

/// The answer of `GET /v1/status`.
#[derive(Debug, Clone)]
pub struct Status(pub Value);

impl Status {
    /// How many nodes vote.
    #[must_use]
    pub fn voters(&self) -> usize {
        self.nodes().filter(|node| node["voter"] == true).count()
    }

    /// The API address of the leader.
    #[must_use]
    pub fn leader_api(&self) -> Option<String> {
        let leader = self.0["leader"].as_u64()?;
        let node = self.nodes().find(|node| node["id"].as_u64() == Some(leader))?;
        node["addresses"]["api"].as_str().map(str::to_owned)
    }

    /// The newest revision.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.0["revision"].as_u64().unwrap_or(0)
    }

    /// The reports of the data planes' engines: node, engine, report.
    pub fn engines(&self) -> impl Iterator<Item = (u64, &str, &Value)> {
        self.0["reports"].as_array().into_iter().flatten().flat_map(|report| {
            let node = report["node"].as_u64().unwrap_or(0);
            report["engines"]
                .as_array()
                .into_iter()
                .flatten()
                .map(move |engine| (node, engine["engine"].as_str().unwrap_or_default(), engine))
        })
    }

    /// Whether the Envoys of `planes` data planes, and all XDP engines that are there, run a
    /// revision.
    #[must_use]
    pub fn applied(&self, planes: usize, revision: u64) -> Applied {
        let mut envoys = 0;
        for (node, engine, report) in self.engines() {
            let at = report["revision"].as_u64().unwrap_or(0);
            let what = || format!("node {node}, {engine}: {report}");
            match report["state"].as_str() {
                Some("refused") if at >= revision => return Applied::Refused(what()),
                Some("applied") if at >= revision => envoys += usize::from(engine == "envoy"),
                Some("unavailable") if engine == "xdp" => {}
                _ => return Applied::NotYet(what()),
            }
        }
        if envoys >= planes {
            return Applied::Yes;
        }
        Applied::NotYet(format!("{envoys} of {planes} Envoys answered"))
    }

    fn nodes(&self) -> impl Iterator<Item = &Value> {
        self.0["nodes"].as_array().into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status(engines: Value) -> Status {
        Status(json!({ "reports": [{ "node": 1, "engines": engines }] }))
    }

    #[test]
    fn applied_means_every_engine_that_is_there() {
        let check = |engines: Value, want: fn(&Applied) -> bool| {
            let got = status(engines.clone()).applied(1, 7);
            assert!(want(&got), "{engines}: {got:?}");
        };
        let envoy = json!({ "engine": "envoy", "revision": 7, "state": "applied" });
        let absent = json!({ "engine": "xdp", "revision": 0, "state": "unavailable" });
        check(json!([envoy]), |got| *got == Applied::Yes);
        check(json!([envoy, absent]), |got| *got == Applied::Yes);
        check(json!([]), |got| matches!(got, Applied::NotYet(_)));
        check(json!([absent]), |got| matches!(got, Applied::NotYet(_)));
        let behind = json!({ "engine": "xdp", "revision": 6, "state": "applied" });
        check(json!([envoy, behind]), |got| matches!(got, Applied::NotYet(_)));
        let refused = json!({ "engine": "xdp", "revision": 7, "state": "refused" });
        check(json!([envoy, refused]), |got| matches!(got, Applied::Refused(_)));
        let old = json!({ "engine": "envoy", "revision": 6, "state": "refused" });
        check(json!([old]), |got| matches!(got, Applied::NotYet(_)));
    }

    #[test]
    fn the_leader_is_found_by_its_number() {
        let status = Status(json!({
            "leader": 5,
            "nodes": [
                { "id": 1, "voter": true, "addresses": { "api": "127.0.0.11:7800" } },
                { "id": 5, "voter": false, "addresses": { "api": "127.0.0.12:7800" } },
            ],
        }));
        assert_eq!(status.leader_api().as_deref(), Some("127.0.0.12:7800"));
        assert_eq!(status.voters(), 1);
    }

    #[test]
    fn a_revision_is_read_from_the_first_document() {
        assert_eq!(revision_in("{\"revision\": 12}\n{\"x\":1}").unwrap(), 12);
        assert!(revision_in("created").is_err());
    }
}
