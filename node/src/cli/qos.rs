//! `qos`: what QoS policies do on all nodes or on some.

use model::qos_report::QosReport;

use super::{arguments::QosArgs, every, exit::Failure, print, view::qos};
use crate::client::{Client, Request};

pub(super) async fn qos(client: &Client, arguments: QosArgs) -> Result<(), Failure> {
    let QosArgs { node, output } = arguments;
    let (reports, failures) =
        every::ask::<QosReport>(client, &node, || Request::get("/v1/qos")).await?;
    print::answer(output.format, &reports, |reports| qos::tables(reports))?;
    every::tell(&failures);
    Ok(())
}
