//! The commands that read configuration: get, diff and history.

use model::{
    ObjectKey,
    api::{DiffResponse, HistoryResponse, ObjectList, RevisionDetail},
};
use serde_json::Value;

use super::{
    apply::object_path,
    arguments::{DiffArgs, Format, GetArgs, HistoryArgs},
    exit::Failure,
    input, modules, print,
    view::{changes, objects},
};
use crate::client::{Client, Request};

pub(super) async fn get(client: &Client, arguments: GetArgs) -> Result<(), Failure> {
    let GetArgs { kind, name, namespace, all_namespaces, stale, output } = arguments;
    let consistency = if stale { "stale" } else { "linearizable" };
    let Some(name) = name else {
        let mut request =
            Request::get(&format!("/v1/objects/{kind}")).query("consistency", consistency);
        if !all_namespaces {
            request = request.query("namespace", namespace);
        }
        let list: ObjectList = client.call(request).await?;
        return match output.format {
            Format::Yaml => print::out(&documents(&list.objects)),
            format => print::answer(format, &list, |list| {
                objects::table(kind, &list.objects, all_namespaces)
            }),
        };
    };
    let path = object_path(&ObjectKey::new(kind, namespace, name));
    let object: Value = client.call(Request::get(&path).query("consistency", consistency)).await?;
    match output.format {
        Format::Yaml => print::out(&documents(std::slice::from_ref(&object))),
        format => print::answer(format, &object, |object| {
            objects::table(kind, std::slice::from_ref(object), false)
        }),
    }
}

pub(super) async fn diff(client: &Client, arguments: DiffArgs) -> Result<(), Failure> {
    let inputs = input::read(&arguments.files.files)?;
    let text = modules::resolved(client, inputs, false).await?;
    let request = Request::post("/v1/diff").yaml(text).read_only();
    let answer: DiffResponse = client.call(request).await?;
    print::answer(arguments.output.format, &answer, changes::diff)
}

pub(super) async fn history(client: &Client, arguments: HistoryArgs) -> Result<(), Failure> {
    let HistoryArgs { revision, limit, output } = arguments;
    match revision {
        Some(revision) => {
            let request = Request::get(&format!("/v1/history/{revision}"));
            let detail: RevisionDetail = client.call(request).await?;
            print::answer(output.format, &detail, changes::revision)
        }
        None => {
            let request = Request::get("/v1/history").query("limit", limit);
            let history: HistoryResponse = client.call(request).await?;
            print::answer(output.format, &history, changes::history)
        }
    }
}

/// Objects as documents that can be applied again: without what the server adds.
fn documents(objects: &[Value]) -> String {
    let one = |object: &Value| {
        let mut object = object.clone();
        if let Some(fields) = object.as_object_mut() {
            fields.remove("status");
        }
        print::yaml(&object)
    };
    objects.iter().map(one).collect::<Vec<_>>().join("---\n")
}
