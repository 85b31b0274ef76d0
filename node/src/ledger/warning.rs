//! Warns whoever started this node when its data plane has no Envoy: the data plane's own log is
//! in a file, and whether HTTP is carried should not have to be asked for.

use model::{AckState, Engine, ack::NodeReport, cluster::NodeId};

use super::Ledger;

const REMEDY: &str = "install Envoy 1.39 or name it with --envoy, and start this node again; \
                      `marchproxy status` shows how it stands";

/// Warns each time that another reason comes up, until it is dropped.
pub async fn run(ledger: Ledger, node: NodeId) -> anyhow::Result<()> {
    let mut table = ledger.subscribe();
    let mut told: Option<String> = None;
    loop {
        let report = table.borrow_and_update().report(node);
        let reason = report.as_ref().and_then(missing_envoy).map(str::to_owned);
        if let Some(reason) = reason.filter(|reason| told.as_ref() != Some(reason)) {
            tracing::warn!(reason, remedy = REMEDY, "this node carries no HTTP");
            told = Some(reason);
        }
        table.changed().await?;
    }
}

/// Returns why there is no Envoy on a node. One that has run a revision was there, and comes back.
fn missing_envoy(report: &NodeReport) -> Option<&str> {
    let envoy = report.engines.iter().find(|engine| engine.engine == Engine::Envoy)?;
    match &envoy.ack {
        AckState::Unavailable { reason } if envoy.revision.0 == 0 => Some(reason),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use model::{EngineReport, Revision};

    use super::*;

    #[test]
    fn only_an_envoy_that_never_ran_is_missing() {
        let check = |engine, revision, ack, expected| {
            let revision = Revision(revision);
            let engines = vec![EngineReport::new(engine, revision, ack)];
            let report =
                NodeReport { node: NodeId(1), connected: true, engines, addresses: vec![] };
            assert_eq!(missing_envoy(&report), expected, "{report:?}");
        };
        let unavailable = || AckState::Unavailable { reason: "no Envoy".to_owned() };
        check(Engine::Envoy, 0, unavailable(), Some("no Envoy"));
        check(Engine::Envoy, 7, unavailable(), None);
        check(Engine::Xdp, 0, unavailable(), None);
        check(Engine::Envoy, 0, AckState::Pending, None);
        check(Engine::Envoy, 7, AckState::Applied, None);
    }
}
