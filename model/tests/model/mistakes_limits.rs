//! Mistakes in limits of requests.

use model::{Snapshot, plan_apply, plan_delete};

use crate::checking::{check_errors, check_spec, objects, snapshot};

const WEB: &str = r"
kind: Listener
metadata: { name: web }
spec: { protocol: HTTP, port: 80 }
---
kind: Listener
metadata: { name: raw }
spec: { protocol: TCP, port: 81 }
---
kind: HTTPRoute
metadata: { name: shop }
spec: { listeners: [{ name: web }], hosts: ['*'], rules: [{ directResponse: { status: 200 } }] }
---
";

fn limit(name: &str, kind: &str, target: &str) -> String {
    format!(
        "kind: RateLimit\nmetadata: {{ name: {name} }}\nspec: {{ targetRefs: [{{ kind: {kind}, name: \
         {target} }}], requests: 1, interval: 1s }}\n---\n"
    )
}

#[test]
fn rate_limits() {
    let check = |spec: &str, expected: &[&str]| check_spec("RateLimit", spec, expected);
    let with = |more: &str| {
        format!(
            "{{ targetRefs: [{{ kind: Listener, name: a }}], requests: 5, interval: 1m, {more} }}"
        )
    };
    check(&with(""), &[]);
    check(&with("burst: 10000000, per: Client, scope: Node"), &[]);
    check(&with("burst: 1, per: { header: X-User }"), &[]);
    check(
        "{}",
        &["spec.interval: is missing", "spec.requests: is missing", "spec.targetRefs: is missing"],
    );
    check(
        "{ targetRefs: [], requests: 0, interval: 999ms, burst: 10000001, unit: Second }",
        &[
            "spec.burst = 10000001: is out of range",
            "spec.interval = \"999ms\": is too short",
            "spec.requests = 0: is out of range",
            "spec.targetRefs = []: is empty",
            "spec.unit = \"Second\": is not a known field",
        ],
    );
    check(
        "{ targetRefs: [{ kind: Service, name: a }, { kind: Listener, name: A }, { name: a }, { kind: \
         HTTPRoute, name: a }, { kind: HTTPRoute, name: a, namespace: default }], requests: 1.5, \
         interval: 25h }",
        &[
            "spec.interval = \"25h\": is too long",
            "spec.requests = 1.5: is not a whole number",
            "spec.targetRefs[0].kind = \"Service\": is not known",
            "spec.targetRefs[1].name = \"A\": is not a valid name",
            "spec.targetRefs[2].kind: is missing",
            "spec.targetRefs[4] = {\"kind\":\"HTTPRoute\",\"name\":\"a\",\"namespace\":\"default\"}: \
             stands in the list twice",
        ],
    );
    check(&with("per: Source"), &["spec.per = \"Source\": is not known"]);
    check(&with("per: {}"), &["spec.per.header: is missing"]);
    check(
        &with("per: { header: ':path', cookie: a }"),
        &[
            "spec.per.cookie = \"a\": is not a known field",
            "spec.per.header = \":path\": is a pseudo-header",
        ],
    );
    check(&with("scope: All"), &["spec.scope = \"All\": is not known"]);
}

#[test]
fn targets_exist_speak_http_and_stay() {
    let apply = |input: &str, expected: &[&str]| {
        check_errors(plan_apply(&snapshot(WEB), objects(input)).map(|_| ()), expected);
    };
    apply(&limit("it", "Listener", "web"), &[]);
    apply(&limit("it", "HTTPRoute", "shop"), &[]);
    apply(
        &limit("it", "GRPCRoute", "shop"),
        &[
            "spec.targetRefs[0].name = \"shop\": refers to GRPCRoute/default/shop, which does not exist",
        ],
    );
    apply(
        &limit("it", "Listener", "raw"),
        &["spec.targetRefs[0].name = \"raw\": refers to Listener/default/raw, which speaks TCP"],
    );
    let limited = limit("it", "HTTPRoute", "shop") + &limit("all", "Listener", "web");
    let base = plan_apply(&snapshot(WEB), objects(&limited));
    let base = base.unwrap_or_else(|errors| panic!("{errors}")).next;
    let delete = |keys: &[&str], expected: &[&str]| {
        let keys: Vec<_> = keys.iter().map(|key| key.parse().expect("a key")).collect();
        check_errors(plan_delete(&base, &keys).map(|_| ()), expected);
    };
    delete(
        &["HTTPRoute/default/shop"],
        &[": is removed, and still referred to by RateLimit/default/it (spec.targetRefs[0])"],
    );
    delete(
        &["HTTPRoute/default/shop", "RateLimit/default/it", "Listener/default/web"],
        &[": is removed, and still referred to by RateLimit/default/all (spec.targetRefs[0])"],
    );
    delete(&["RateLimit/default/it", "HTTPRoute/default/shop"], &[]);
}

#[test]
fn an_object_has_eight_limits_at_most() {
    let many: String = (0..9).map(|n| limit(&format!("l{n}"), "Listener", "web")).collect();
    let result = plan_apply(&Snapshot::default(), objects(&(WEB.to_owned() + &many)));
    check_errors(
        result.map(|_| ()),
        &["spec.targetRefs[0].name = \"web\": makes 9 policies for Listener/default/web"],
    );
}
