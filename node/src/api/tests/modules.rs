//! Modules: uploaded whole or not at all, named by objects, removed when nothing runs them.

use bytes::Bytes;
use consensus::{Consistency, Op, Transaction};
use http::Method;
use model::{ModuleId, api::ModuleInfo};
use serde_json::Value;

use super::harness::{Node, Raw};
use crate::{
    client::Request,
    control::store::{MODULE_PARTS, MODULES},
};

/// Code that is taken, of about so many bytes.
pub(super) fn code(padding: usize) -> Vec<u8> {
    let padding = "x".repeat(padding);
    wat::parse_str(format!(
        "(module (memory (export \"memory\") 40) (func (export \"proxy_abi_version_0_2_1\"))
           (func (export \"malloc\") (param i32) (result i32) (i32.const 0))
           (@custom \"padding\" \"{padding}\"))"
    ))
    .unwrap()
}

const WEB: &str =
    "kind: Listener\nmetadata: { name: web }\nspec: { protocol: HTTP, port: 8080 }\n---\n";

fn module(id: ModuleId, fields: &str) -> String {
    format!(
        "{WEB}kind: FilterModule\nmetadata: {{ name: it }}\nspec: {{ targetRefs: [{{ kind: Listener, \
         name: web }}], sha256: {id}, {fields} }}\n"
    )
}

async fn put(node: &Node, id: ModuleId, body: impl Into<Bytes>) -> Raw {
    node.call(Method::PUT, &format!("/v1/modules/{id}"), Some(&node.admin), &[], body).await
}

async fn delete(node: &Node, id: ModuleId) -> Raw {
    node.call(Method::DELETE, &format!("/v1/modules/{id}"), Some(&node.admin), &[], "").await
}

async fn listed(node: &Node) -> usize {
    node.get("/v1/modules").await.json()["modules"].as_array().unwrap().len()
}

/// What of modules is in the store.
async fn keys(node: &Node, start: &str) -> Vec<String> {
    let view = node.running.control.consensus().read(Consistency::Linearizable).await.unwrap();
    view.scan(start).map(|(key, _)| key.to_owned()).collect()
}

#[tokio::test]
async fn a_module_is_kept_in_parts_named_by_objects_and_removed_after_them() {
    let node = Node::start().await;
    let code = code(3_000_000);
    let id = runtime::filter_code::sha256(&code);
    let missing = node.post("/v1/apply", module(id, "")).await;
    assert_eq!((missing.status.as_u16(), missing.code().as_str()), (422, "invalid"));
    let error = missing.json()["errors"][0].clone();
    assert_eq!(
        (&error["path"], &error["object"]),
        (&"spec.sha256".into(), &"FilterModule/default/it".into())
    );
    assert!(error["remedy"].as_str().unwrap().contains("modules push"), "{error}");
    let dry = node.post("/v1/apply?dryRun=true", module(id, "")).await;
    assert!(dry.json()["warnings"][0].as_str().unwrap().contains("does not have"), "{dry:?}");

    let info: ModuleInfo = node
        .client()
        .call(Request::put(&format!("/v1/modules/{id}")).module(code.clone()))
        .await
        .unwrap();
    assert_eq!((info.bytes, info.least_memory_mib), (code.len() as u64, 3));
    assert_eq!((info.created_by.as_str(), info.used_by.len()), ("admin", 0));
    assert_eq!(keys(&node, MODULE_PARTS).await.len(), code.len().div_ceil(256 * 1024));
    let small = node.post("/v1/apply", module(id, "memoryLimitMib: 2")).await;
    assert_eq!(small.json()["errors"][0]["path"], "spec.memoryLimitMib", "{small:?}");
    assert_eq!(node.post("/v1/apply", module(id, "memoryLimitMib: 3")).await.status, 200);

    let again = put(&node, id, code.clone()).await;
    assert_eq!(again.status, 200, "what is there already stays");
    assert_eq!(again.json()["usedBy"], Value::from(vec!["FilterModule/default/it"]));
    assert_eq!(again.json()["createdMs"], info.created_ms);
    let refused = delete(&node, id).await;
    assert_eq!((refused.status.as_u16(), refused.code().as_str()), (409, "in_use"));
    assert!(refused.json()["message"].as_str().unwrap().contains("FilterModule/default/it"));
    let path = "/v1/objects/filtermodule/default/it";
    node.client().send(&Request::delete(path)).await.unwrap();
    assert_eq!(delete(&node, id).await.status, 204);
    assert_eq!(delete(&node, id).await.status, 404);
    assert_eq!(keys(&node, MODULES).await, Vec::<String>::new());
    assert_eq!(keys(&node, MODULE_PARTS).await, Vec::<String>::new());
    node.stop().await;
}

#[tokio::test]
async fn what_is_no_filter_or_another_one_is_refused_and_readers_upload_nothing() {
    let node = Node::start().await;
    let code = code(0);
    let id = runtime::filter_code::sha256(&code);
    let other = put(&node, id, code[1..].to_vec()).await.json();
    assert!(other["message"].as_str().unwrap().contains("the body has the SHA-256"), "{other}");
    let text = b"no module";
    let no_module = put(&node, runtime::filter_code::sha256(text), &text[..]).await;
    assert_eq!((no_module.status.as_u16(), no_module.code().as_str()), (422, "invalid"));
    assert!(no_module.json()["message"].as_str().unwrap().contains("no valid WebAssembly"));
    let large = vec![0; model::limits::MAX_MODULE_BYTES + 1];
    assert_eq!(put(&node, id, large).await.status, 413);
    let path = format!("/v1/modules/{id}");
    let reader = node.call(Method::PUT, &path, Some(&node.read), &[], code.clone()).await;
    assert_eq!(reader.status, 403);
    let reader = node.call(Method::DELETE, &path, Some(&node.read), &[], "").await;
    assert_eq!(reader.status, 403);
    assert_eq!(node.get("/v1/modules/abc").await.status, 400);
    assert_eq!(listed(&node).await, 0);
    assert_eq!(put(&node, id, code).await.status, 200);
    let reader = node.call(Method::GET, &path, Some(&node.read), &[], "").await;
    assert_eq!(reader.status, 200);
    node.stop().await;
}

#[tokio::test]
async fn an_upload_that_broke_off_is_nobodys_until_it_is_taken_up_again_or_removed() {
    let node = Node::start().await;
    let code = code(600_000);
    let id = runtime::filter_code::sha256(&code);
    let consensus = node.running.control.consensus();
    let part = |id: ModuleId, number: usize, bytes: &[u8]| Op::Put {
        key: format!("{MODULE_PARTS}{id}/{number:04}"),
        value: Bytes::copy_from_slice(bytes),
    };
    let other = ModuleId([7; 32]);
    let ops = vec![
        part(id, 0, &code[..256 * 1024]),
        // Damaged, as nobody writes it.
        part(id, 1, b"damaged"),
        part(other, 0, b"of another"),
    ];
    consensus.propose(Transaction::new("admin", "half", ops)).await.unwrap();
    assert_eq!(listed(&node).await, 0);
    assert_eq!(node.get(&format!("/v1/modules/{id}")).await.status, 404);
    assert_eq!(node.post("/v1/apply", module(id, "")).await.status, 422);
    let before = consensus.read(Consistency::Linearizable).await.unwrap();
    let first = before.get(&format!("{MODULE_PARTS}{id}/0000")).unwrap().mod_revision;

    assert_eq!(put(&node, id, code.clone()).await.status, 200);
    let view = consensus.read(Consistency::Linearizable).await.unwrap();
    let parts = format!("{MODULE_PARTS}{id}/");
    let whole: Vec<u8> = view.scan(&parts).flat_map(|(_, stored)| stored.value.to_vec()).collect();
    assert_eq!(whole, code);
    let kept = view.get(&format!("{parts}0000")).unwrap().mod_revision;
    assert_eq!(kept, first, "what had come is not sent through the log again");
    assert_eq!(node.post("/v1/apply", module(id, "")).await.status, 200);

    // That of another is left for an hour, and is removed by name.
    assert!(keys(&node, MODULE_PARTS).await.iter().any(|key| key.contains(&other.to_string())));
    assert_eq!(delete(&node, other).await.status, 204);
    assert!(!keys(&node, MODULE_PARTS).await.iter().any(|key| key.contains(&other.to_string())));
    node.stop().await;
}

#[tokio::test]
async fn what_an_upload_left_long_ago_is_swept_away() {
    let node = Node::start().await;
    let modules = node.running.control.modules();
    let (old, spared, kept) = (ModuleId([1; 32]), ModuleId([2; 32]), code(0));
    let kept_id = runtime::filter_code::sha256(&kept);
    assert_eq!(put(&node, kept_id, kept).await.status, 200);
    let part = |id: ModuleId| Op::Put {
        key: format!("{MODULE_PARTS}{id}/0000"),
        value: Bytes::from_static(b"part"),
    };
    let consensus = node.running.control.consensus();
    consensus
        .propose(Transaction::new("admin", "half", vec![part(old), part(spared)]))
        .await
        .unwrap();
    let later = Op::Put { key: "x".to_owned(), value: Bytes::new() };
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    consensus.propose(Transaction::new("admin", "later", vec![later])).await.unwrap();
    let view = consensus.read(Consistency::Linearizable).await.unwrap();
    modules.sweep(&view, spared, std::time::Duration::from_secs(1)).await;
    assert_eq!(keys(&node, MODULE_PARTS).await.len(), 3, "it may be taken up again");
    modules.sweep(&view, spared, std::time::Duration::from_millis(10)).await;
    let left = keys(&node, MODULE_PARTS).await;
    let expected = [spared, kept_id].map(|id| format!("{MODULE_PARTS}{id}/0000"));
    assert_eq!(left.iter().collect::<std::collections::BTreeSet<_>>(), expected.iter().collect());
    node.stop().await;
}

#[tokio::test]
async fn a_full_store_takes_no_more() {
    let node = Node::start().await;
    // Records are enough: no part is looked at.
    let record = |n: u8| Op::Put {
        key: format!("{MODULES}{}", ModuleId([n; 32])),
        value: Bytes::from_static(
            br#"{"bytes":2097152,"parts":8,"leastMemoryMib":1,"createdBy":"admin"}"#,
        ),
    };
    let ops = (0..64).map(record).collect();
    node.running.control.consensus().propose(Transaction::new("admin", "", ops)).await.unwrap();
    let code = code(0);
    let id = runtime::filter_code::sha256(&code);
    let full = put(&node, id, code.clone()).await;
    assert_eq!((full.status.as_u16(), full.code().as_str()), (409, "full"));
    assert_eq!(delete(&node, ModuleId([3; 32])).await.status, 204);
    assert_eq!(put(&node, id, code).await.status, 200);
    node.stop().await;
}
