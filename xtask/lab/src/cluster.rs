//! Clusters under test: forming them by `up` and `join`, asking for their state, and waiting until
//! something holds on every node.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::api::{Api, Context};
use crate::instance::Instance;
use crate::member::{Member, Settings, join_line_in};
use crate::network::{INTERFACE, Network};
use crate::place::Place;
use crate::programs::{Loopback, Programs};
use crate::status::{Applied, Status, revision_in};
use crate::waiting::wait_until;

/// A learner catches up, autopilot promotes it, on two busy cores.
const VOTERS_MAX: Duration = Duration::from_secs(30);

/// Loading the XDP program and starting Envoy, on three nodes with two busy cores.
const SETTLE_MAX: Duration = Duration::from_secs(30);

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
        // Printed once the context file is written, which the commands that follow need.
        let first = self.members[0].join_line()?;
        for index in 1..self.members.len() {
            let line = if index == 1 { first.clone() } else { self.new_join_line()? };
            self.members[index].join(&line)?;
        }
        self.wait_voters(self.members.len(), VOTERS_MAX)
    }

    /// Waits until the engines of every data plane are there: a data plane connects, loads its XDP
    /// program and starts its Envoy after its node has joined.
    ///
    /// # Errors
    /// When an engine is not there in time, with what it says.
    pub fn settle(&self) -> Result<()> {
        let asked = self.leader()?;
        let xdp = self.members.iter().filter(|member| !member.settings().interfaces.is_empty());
        let wanted = self.members.len() + xdp.count();
        wait_until(format!("{wanted} engines"), SETTLE_MAX, || {
            let status = self.status(asked)?;
            let ready = status.engines().filter(|(_, _, report)| report["state"] == "applied");
            let ready = ready.count();
            ensure!(ready >= wanted, "{ready} are ready: {}", status.0["reports"]);
            Ok(())
        })
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
