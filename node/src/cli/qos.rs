//! `qos`: what QoS policies do on all nodes or on some.

use model::qos_report::QosReport;
use tokio::task::JoinSet;

use super::{arguments::QosArgs, exit::Failure, flows::nodes, print, view::qos};
use crate::client::{Client, Request};

pub(super) async fn qos(client: &Client, arguments: QosArgs) -> Result<(), Failure> {
    let QosArgs { node, output } = arguments;
    let mut asked = JoinSet::new();
    for (id, server) in nodes(client, &node).await? {
        let client = client.of_server(server);
        asked.spawn(async move { (id, client.call::<QosReport>(Request::get("/v1/qos")).await) });
    }
    let (mut reports, mut failures) = (Vec::new(), Vec::new());
    for (id, answered) in asked.join_all().await {
        match answered {
            Ok(report) => reports.push(report),
            Err(error) => failures.push((id, Failure::from(error))),
        }
    }
    // One node that answered is an answer; the others are told of.
    if reports.is_empty()
        && let Some((_, failure)) = failures.pop()
    {
        return Err(failure);
    }
    reports.sort_by_key(|report| report.node);
    print::answer(output.format, &reports, |reports| qos::tables(reports))?;
    for (node, failure) in failures {
        print::note(&format!("node {node}: {failure}"));
    }
    Ok(())
}
