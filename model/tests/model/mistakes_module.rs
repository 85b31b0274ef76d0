//! Mistakes in what says where and how modules run.

use model::{Kind, Object, Snapshot, Spec, plan_apply, plan_delete};

use crate::checking::{check_errors, check_spec, objects};

const SHA: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

const WEB: &str = r"
kind: Listener
metadata: { name: web }
spec: { protocol: HTTP, port: 80 }
---
kind: Listener
metadata: { name: raw }
spec: { protocol: TCP, port: 81 }
---
";

fn module(name: &str, target: &str) -> String {
    format!(
        "kind: FilterModule\nmetadata: {{ name: {name} }}\nspec: {{ targetRefs: [{{ kind: Listener, \
         name: {target} }}], sha256: {SHA} }}\n---\n"
    )
}

fn with(more: &str) -> String {
    format!("{{ targetRefs: [{{ kind: Listener, name: a }}], sha256: {SHA}, {more} }}")
}

#[track_caller]
fn check(spec: &str, expected: &[&str]) {
    check_spec("FilterModule", spec, expected);
}

#[test]
fn modules() {
    check(&with(""), &[]);
    check(&with("onFailure: Open, allowUnchecked: true, memoryLimitMib: 512, order: 1000"), &[]);
    check("{}", &["spec.sha256: is missing", "spec.targetRefs: is missing"]);
    check(
        &with("memoryLimitMib: 0, order: 1001, rootId: \"a\\n\", configuraton: {}"),
        &[
            "spec.configuraton = {}: is not a known field",
            "spec.memoryLimitMib = 0: is out of range",
            "spec.order = 1001: is out of range",
            "spec.rootId = \"a\\n\": holds a control character",
        ],
    );
    check(&with("memoryLimitMib: 513"), &["spec.memoryLimitMib = 513: is out of range"]);
    check(&with("memoryLimitMib: 8Mi"), &["spec.memoryLimitMib = \"8Mi\": is text"]);
}

#[test]
fn which_module_it_is() {
    let check = |sha256: &str, expected: &[&str]| {
        let spec = format!("{{ targetRefs: [{{ kind: Listener, name: a }}], {sha256} }}");
        check_spec("FilterModule", &spec, expected);
    };
    check("sha256: abc", &["spec.sha256 = \"abc\": is no SHA-256"]);
    let upper = SHA.to_uppercase();
    let no_hash = format!("spec.sha256 = \"{upper}\": is no SHA-256");
    check(&format!("sha256: {upper}"), &[&no_hash]);
    let by_caller =
        "spec.file = \"./x.wasm\": is a file of the caller's, which `marchproxy apply -f` uploads";
    check("file: ./x.wasm", &[by_caller]);
    check(&format!("file: ./x.wasm, sha256: {SHA}"), &[by_caller]);
}

#[test]
fn failing_open_is_said_twice() {
    check(
        &with("onFailure: Open"),
        &["spec.onFailure = \"Open\": lets requests pass unchecked while the module fails"],
    );
    check(
        &with("allowUnchecked: true"),
        &["spec.allowUnchecked = true: confirms what is not asked for"],
    );
    check(&with("onFailure: Allow"), &["spec.onFailure = \"Allow\": is not known"]);
}

#[test]
fn what_it_is_configured_with_is_handed_over() {
    let handed = |configuration: &str| {
        let spec = with(&format!("configuration: {configuration}"));
        let text = format!("kind: FilterModule\nmetadata: {{ name: a }}\nspec: {spec}\n");
        let object: Object = objects(&text).remove(0);
        let Spec::FilterModule(module) = object.spec else { panic!("{object:?}") };
        module.configuration_text()
    };
    assert_eq!(handed("null"), "");
    assert_eq!(handed("plain text"), "plain text");
    assert_eq!(handed("{ b: [1, true], a: x }"), r#"{"a":"x","b":[1,true]}"#);
    let long = "x".repeat(64 * 1024 + 1);
    let shown = format!("spec.configuration = \"{}…: has 65537 bytes", "x".repeat(79));
    check(&with(&format!("configuration: {long}")), &[&shown]);
}

#[test]
fn targets_exist_speak_http_and_stay() {
    let apply = |input: &str, expected: &[&str]| {
        let result = plan_apply(&Snapshot::default(), objects(&(WEB.to_owned() + input)));
        check_errors(result.map(|_| ()), expected);
    };
    apply(&module("it", "web"), &[]);
    apply(
        &module("it", "raw"),
        &["spec.targetRefs[0].name = \"raw\": refers to Listener/default/raw, which speaks TCP"],
    );
    apply(
        &module("it", "gone"),
        &[
            "spec.targetRefs[0].name = \"gone\": refers to Listener/default/gone, which does not exist",
        ],
    );
    let two = module("m0", "web") + &module("m1", "web");
    apply(&two, &["spec.targetRefs[0].name = \"web\": makes 2 policies for Listener/default/web"]);
    let base = plan_apply(&Snapshot::default(), objects(&(WEB.to_owned() + &module("it", "web"))));
    let base = base.unwrap_or_else(|errors| panic!("{errors}")).next;
    let web = ["Listener/default/web".parse().expect("a key")];
    check_errors(
        plan_delete(&base, &web).map(|_| ()),
        &[": is removed, and still referred to by FilterModule/default/it (spec.targetRefs[0])"],
    );
    assert_eq!(base.of_kind(Kind::FilterModule).count(), 1);
}
