//! `rollout`: how the newest one stands, and stopping it, letting it go on or taking it back.

use model::api::{ApplyResponse, RolloutResponse};

use super::{
    arguments::{Output, RolloutCommand},
    exit::Failure,
    print,
    view::{changes, rollout},
};
use crate::client::{Client, Request};

pub(super) async fn rollout(
    client: &Client,
    command: Option<RolloutCommand>,
    output: Output,
) -> Result<(), Failure> {
    let (request, output) = match command {
        None => (Request::get("/v1/rollout"), output),
        Some(RolloutCommand::Status { output }) => (Request::get("/v1/rollout"), output),
        Some(RolloutCommand::Pause { output }) => (Request::post("/v1/rollout/pause"), output),
        Some(RolloutCommand::Resume { output }) => (Request::post("/v1/rollout/resume"), output),
        Some(RolloutCommand::Abort { message, output }) => {
            let mut request = Request::post("/v1/rollout/abort");
            if !message.is_empty() {
                request = request.query("message", &message);
            }
            let response: ApplyResponse = client.call(request).await?;
            return print::answer(output.format, &response, changes::applied);
        }
    };
    let response: RolloutResponse = client.call(request).await?;
    print::answer(output.format, &response, |response| rollout::table(response.rollout.as_ref()))
}
