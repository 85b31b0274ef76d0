//! API keys that a policy demands: from where, of whom, whichever way the route was found.

use serde_json::{Value, json};

use crate::auth::{HOSTS, Stage, merged, policy};

/// `htpasswd -s`: the SHA-1 of "s3cret" and of "other".
const KEYS: &str =
    "shop:{SHA}/vNB+F2HQ559kaLUZbmHHvZrXpg=\nbank:{SHA}0JQeaNqPOBUf+Gph/Fn3xc+fyqI=\n";

fn spec(file: &std::path::Path, more: &Value) -> Value {
    let keys = json!({ "keysFile": file, "clientHeader": "x-client" });
    json!({ "apiKeys": merged(&keys, more) })
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_a_key_is_demanded_and_the_service_gets_the_name_of_its_client() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("keys");
    std::fs::write(&file, KEYS).unwrap();
    let mut stage = Stage::with(&spec(&file, &json!({})), "").await;
    stage.guarded(&[("x-api-key", "shop.s3cret")], 200).await;
    let before = stage.backend.seen();
    for wrong in [
        "shop.other",
        "shop.",
        ".s3cret",
        "shop",
        "Shop.s3cret",
        "shop:s3cret",
        "nobody.s3cret",
        "",
    ] {
        stage.guarded(&[("x-api-key", wrong)], 401).await;
    }
    stage.guarded(&[], 401).await;
    // What the script makes of a key, made by the client: shop:s3cret.
    stage.guarded(&[("x-marchproxy-key", "Basic c2hvcDpzM2NyZXQ=")], 401).await;
    stage.guarded(&[("authorization", "Basic c2hvcDpzM2NyZXQ=")], 401).await;
    assert_eq!(stage.backend.seen(), before, "the service sees nothing that is refused");
    for host in HOSTS {
        let headers =
            [("x-api-key", "shop.s3cret"), ("x-client", "eve"), ("x-marchproxy-key", "x")];
        let told = stage.ask(host, "/private", &headers).await.json();
        assert_eq!(told["headers"]["x-client"], "shop", "{host}");
        assert!(!told.to_string().contains("s3cret"), "{host}: {told}");
        assert!(told["headers"]["x-marchproxy-key"].is_null(), "{host}: {told}");
    }
    stage.others_are_open().await;

    let revision = stage.plane.publish(&policy(&spec("/nonexistent/keys".as_ref(), &json!({}))));
    let refusals = stage.plane.refused(revision).await;
    let named = refusals.iter().all(|refusal| refusal.field == "spec.rules[0].auth");
    assert!(named && !refusals.is_empty(), "{refusals:?}");
    stage.guarded(&[], 401).await;
    stage.plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_keys_stand_where_the_policy_says_and_are_taken_out_unless_it_forwards_them() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("keys");
    std::fs::write(&file, KEYS).unwrap();
    let from = json!([{ "header": { "name": "authorization", "prefix": "Key \"%[" } },
        { "query": "key" }, { "cookie": "key" }]);
    let mut stage = Stage::with(&spec(&file, &json!({ "from": from })), "").await;
    stage.guarded(&[("authorization", "Key \"%[shop.s3cret")], 200).await;
    stage.guarded(&[("authorization", "Key shop.s3cret")], 401).await;
    stage.guarded(&[("x-api-key", "shop.s3cret")], 401).await;
    stage.guarded(&[("cookie", "keys=shop.s3cret")], 401).await;
    for host in HOSTS {
        let told = stage.ask(host, "/private?a=1&key=shop%2es3cret&b=2", &[]).await.json();
        assert_eq!(told["target"], "/private?a=1&b=2", "{host}");
        let told = stage.ask(host, "/private?key=shop.s3cret", &[]).await.json();
        assert_eq!(told["target"], "/private", "{host}");
        let cookies = [("cookie", "key=shop.s3cret; a=b")];
        let told = stage.ask(host, "/private", &cookies).await.json();
        assert_eq!(told["headers"]["cookie"], "a=b", "{host}");
    }
    let more = json!({ "from": from, "forward": true });
    stage.plane.apply(&policy(&spec(&file, &more))).await;
    for host in HOSTS {
        let told = stage.ask(host, "/private?key=shop.s3cret", &[("cookie", "key=x")]).await.json();
        assert_eq!(told["target"], "/private?key=shop.s3cret", "{host}");
        assert_eq!(told["headers"]["cookie"], "key=x", "{host}");
        assert!(told["headers"]["x-marchproxy-key"].is_null(), "{host}: {told}");
    }
    stage.plane.stop().await;
}
