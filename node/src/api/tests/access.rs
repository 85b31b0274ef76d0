//! Who may call what, for every operation of the table.

use http::Method;

use super::harness::Node;
use crate::api::{
    access::Access,
    routes::{Operation, operations},
};

/// A path that the operation matches.
fn path(operation: &Operation) -> String {
    operation
        .path
        .replace("{kind}", "Service")
        .replace("{namespace}", "default")
        .replace("{name}", "nothing")
        .replace("{revision}", "1")
        .replace("{id}", "99")
}

/// A body that is of the right form, so that only the access decides.
fn body(operation: &Operation) -> String {
    match operation.id {
        "join" => join(),
        "createToken" => r#"{"name":"made","role":"read"}"#.to_owned(),
        "rollback" => r#"{"revision":99999}"#.to_owned(),
        _ => String::new(),
    }
}

/// A join that only lacks the secret.
pub(super) fn join() -> String {
    let csr = runtime::identity::KeyPair::generate().unwrap().csr().unwrap().0;
    let at = |port: u16| format!("127.0.0.1:{port}");
    serde_json::json!({"csr": csr, "dataplane_csr": csr, "time_ms": crate::tokens::now_ms(),
        "addresses": {"name": "x", "api": at(1), "raft": at(2), "push": at(3), "zone": ""}})
    .to_string()
}

#[tokio::test]
async fn every_operation_asks_for_the_token_that_its_table_row_names() {
    let node = Node::start().await;
    for operation in operations() {
        let call = async |token: Option<&str>| {
            let raw = node
                .call(operation.method.clone(), &path(&operation), token, &[], body(&operation))
                .await;
            if raw.status == 401 {
                assert_eq!(raw.headers["www-authenticate"], "Bearer", "{}", operation.id);
                assert_eq!(raw.code(), "unauthorized", "{}", operation.id);
            }
            raw.status.as_u16()
        };
        let (anonymous, wrong) = (call(None).await, call(Some("mpt_wrong")).await);
        let read = call(Some(&node.read)).await;
        let admin = call(Some(&node.admin)).await;
        let passed = |status: u16| status != 401 && status != 403;
        let expected = match operation.access {
            Access::Anonymous => anonymous == 200 && wrong == 200 && read == 200,
            Access::Read => anonymous == 401 && wrong == 401 && passed(read) && passed(admin),
            Access::Admin => anonymous == 401 && wrong == 401 && read == 403 && passed(admin),
            // Neither token is a join secret.
            Access::JoinSecret => [anonymous, wrong, read, admin] == [401; 4],
        };
        assert!(
            expected,
            "{} ({:?}): anonymous {anonymous}, wrong {wrong}, read {read}, admin {admin}",
            operation.id, operation.access
        );
    }
    node.stop().await;
}

#[tokio::test]
async fn what_does_not_exist_is_told_to_known_callers_only() {
    let node = Node::start().await;
    for path in ["/", "/v1", "/v1/nothing", "/v1/objects", "/metrics/x", "/healthz/", "//healthz"] {
        let anonymous = node.call(Method::GET, path, None, &[], "").await;
        assert_eq!(anonymous.status, 401, "{path}");
        assert_eq!(node.get(path).await.status, 404, "{path}");
    }
    for (method, path) in
        [(Method::PUT, "/v1/apply"), (Method::POST, "/healthz"), (Method::DELETE, "/v1/status")]
    {
        let anonymous = node.call(method.clone(), path, None, &[], "").await;
        assert_eq!(anonymous.status, 401, "{method} {path}");
        let admin = node.call(method.clone(), path, Some(&node.admin), &[], "").await;
        assert_eq!((admin.status.as_u16(), admin.code().as_str()), (405, "method_not_allowed"));
    }
    let twice = [("authorization", "Bearer x")];
    let two = node.call(Method::GET, "/v1/status", Some(&node.admin), &twice, "").await;
    assert_eq!(two.status, 401, "two tokens are none");
    node.stop().await;
}

#[tokio::test]
async fn a_deleted_token_is_worth_nothing() {
    let node = Node::start().await;
    let token = &node.read.clone();
    assert_eq!(node.call(Method::GET, "/v1/status", Some(token), &[], "").await.status, 200);
    let gone = node.call(Method::DELETE, "/v1/tokens/reader", Some(&node.admin), &[], "").await;
    assert_eq!(gone.status, 204);
    assert_eq!(node.call(Method::GET, "/v1/status", Some(token), &[], "").await.status, 401);
    node.stop().await;
}

#[tokio::test]
async fn the_last_admin_token_cannot_be_deleted() {
    let node = Node::start().await;
    let admin = &node.admin.clone();
    let delete = async |name: &str| {
        let path = format!("/v1/tokens/{name}");
        node.call(Method::DELETE, &path, Some(admin), &[], "").await
    };
    let refused = delete("admin").await;
    assert_eq!((refused.status.as_u16(), refused.code().as_str()), (409, "unsafe"));
    let body = r#"{"name":"ops","role":"admin"}"#;
    let made = node.call(Method::POST, "/v1/tokens", Some(admin), &[], body).await;
    assert_eq!(made.status, 201);
    assert_eq!(delete("admin").await.status, 204);
    node.stop().await;
}
