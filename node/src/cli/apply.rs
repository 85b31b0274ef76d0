//! The commands that write: apply, delete and rollback, and waiting for the engines.

use std::time::Duration;

use model::{
    ObjectKey, Revision,
    api::{AckOutcome, AcksResponse, ApplyResponse, RollbackRequest},
};
use serde::Serialize;

use super::{
    arguments::{ApplyArgs, DeleteArgs, Format, RollbackArgs},
    exit::Failure,
    input, modules, print,
    view::{acks, changes},
};
use crate::{
    cli::arguments::{Output, Waiting, Writing},
    client::{Client, Request},
};

/// The longest wait that is asked for in one request; the API takes no longer one.
const WAIT_STEP: Duration = Duration::from_secs(20);

#[derive(Serialize)]
struct Written<'a> {
    #[serde(flatten)]
    response: &'a ApplyResponse,
    #[serde(skip_serializing_if = "Option::is_none")]
    acks: Option<&'a AcksResponse>,
}

pub(super) async fn apply(client: &Client, arguments: ApplyArgs) -> Result<(), Failure> {
    let inputs = input::read(&arguments.files.files)?;
    let text = modules::resolved(client, inputs, !arguments.dry_run).await?;
    let request = Request::post("/v1/apply").yaml(text);
    let ApplyArgs { dry_run, waiting, writing, output, .. } = arguments;
    write(client, request, dry_run, waiting, &writing, output).await
}

pub(super) async fn delete(client: &Client, arguments: DeleteArgs) -> Result<(), Failure> {
    let DeleteArgs { kind, name, namespace, dry_run, waiting, writing, output } = arguments;
    let path = object_path(&ObjectKey::new(kind, namespace, name));
    write(client, Request::delete(&path), dry_run, waiting, &writing, output).await
}

pub(super) async fn rollback(client: &Client, arguments: RollbackArgs) -> Result<(), Failure> {
    let RollbackArgs { revision, dry_run, waiting, writing, output } = arguments;
    let body = RollbackRequest { revision: Revision(revision) };
    let request = Request::post("/v1/rollback").json(&body);
    write(client, request, dry_run, waiting, &writing, output).await
}

/// Returns the path of an object; every part is encoded.
pub(super) fn object_path(key: &ObjectKey) -> String {
    let mut path = format!("/v1/objects/{}/", key.kind);
    crate::client::request::encode(&key.namespace, &mut path);
    path.push('/');
    crate::client::request::encode(&key.name, &mut path);
    path
}

async fn write(
    client: &Client,
    mut request: Request,
    dry_run: bool,
    waiting: Waiting,
    writing: &Writing,
    output: Output,
) -> Result<(), Failure> {
    if dry_run {
        request = request.query("dryRun", true);
    }
    if !writing.message.is_empty() {
        request = request.query("message", &writing.message);
    }
    if writing.force {
        request = request.query("force", true);
    }
    if writing.all_at_once {
        request = request.query("allAtOnce", true);
    }
    if let Some(revision) = writing.expect_revision {
        request = request.query("expectRevision", revision);
    }
    let response: ApplyResponse = client.call(request).await?;
    if output.format == Format::Table {
        print::out(&changes::applied(&response))?;
    }
    let acks = match waiting.wait {
        true => Some(wait(client, response.revision, waiting.timeout).await?),
        false => None,
    };
    match (output.format, &acks) {
        (Format::Table, Some(acks)) => print::out(&format!("\n{}", acks::table(&acks.reports)))?,
        (Format::Table, None) => {}
        (format, acks) => {
            let written = Written { response: &response, acks: acks.as_ref() };
            print::answer(format, &written, |_| String::new())?;
        }
    }
    acks.as_ref().map_or(Ok(()), judge)
}

/// Waits until every engine has answered or the time is up.
async fn wait(
    client: &Client,
    revision: Revision,
    timeout: Duration,
) -> Result<AcksResponse, Failure> {
    let deadline = tokio::time::Instant::now() + timeout;
    loop {
        let left = deadline.saturating_duration_since(tokio::time::Instant::now());
        let step = left.min(WAIT_STEP);
        let request = Request::get("/v1/acks")
            .query("revision", revision)
            .query("wait", format!("{}ms", step.as_millis()))
            .waiting(step);
        let acks: AcksResponse = client.call(request).await?;
        if acks.outcome != AckOutcome::Pending || left <= WAIT_STEP {
            return Ok(acks);
        }
    }
}

fn judge(acks: &AcksResponse) -> Result<(), Failure> {
    match acks.outcome {
        AckOutcome::Applied => Ok(()),
        AckOutcome::Refused => {
            Err(Failure::Refused { revision: acks.revision, report: acks::refusals(acks) })
        }
        AckOutcome::Pending => {
            Err(Failure::Unanswered { revision: acks.revision, missing: acks::missing(acks) })
        }
    }
}
