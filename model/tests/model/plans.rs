//! Plans say what happens to each object; diffs say it field by field.

use model::{
    Snapshot, api::Action, diff_snapshots, field_changes, plan_apply, plan_delete, plan_replace,
};
use serde_json::{Value, json};

use crate::{
    checking::{objects, snapshot},
    example::SHOP,
};

fn actions(outcomes: &[model::api::ObjectOutcome]) -> Vec<(String, Action)> {
    outcomes.iter().map(|outcome| (outcome.object.to_string(), outcome.action)).collect()
}

#[test]
fn an_apply_says_what_it_does() {
    let base = Snapshot::default();
    let first = plan_apply(&base, objects(SHOP)).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(first.puts.len(), 10);
    assert!(first.outcomes.iter().all(|outcome| outcome.action == Action::Created));
    let again = plan_apply(&first.next, objects(SHOP)).unwrap_or_else(|errors| panic!("{errors}"));
    assert!(again.is_empty());
    assert!(again.outcomes.iter().all(|outcome| outcome.action == Action::Unchanged));
    assert_eq!(again.next, first.next);

    let changed = SHOP.replace("port: 8080", "port: 8081");
    let plan =
        plan_apply(&first.next, objects(&changed)).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(plan.puts.len(), 1);
    assert_eq!(actions(&plan.outcomes)[0], ("Listener/default/web".to_owned(), Action::Updated));
    let text: Vec<String> =
        diff_snapshots(&first.next, &plan.next).iter().map(ToString::to_string).collect();
    assert_eq!(text, ["~ Listener/default/web\n    ~ spec.port: 8080 -> 8081"]);

    let back = plan_replace(&plan.next, &first.next).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(back.next, first.next);
    assert_eq!(actions(&back.outcomes), [("Listener/default/web".to_owned(), Action::Updated)]);
    let gone = plan_replace(&plan.next, &base).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!((gone.deletes.len(), gone.next.len()), (10, 0));
}

#[test]
fn a_delete_says_what_it_does() {
    let base = snapshot(SHOP);
    let keys = ["TCPRoute/default/orders", "Service/default/orders"].map(|k| k.parse().expect(k));
    let plan = plan_delete(&base, &keys).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(plan.deletes, keys);
    assert_eq!(plan.next.len(), 8);
    let diff = diff_snapshots(&base, &plan.next);
    assert!(diff.iter().all(|object| object.action == Action::Deleted));
    let lines = diff[0].to_string();
    assert!(lines.starts_with("- TCPRoute/default/orders\n    - spec.backends: "), "{lines}");
}

#[test]
fn an_object_above_the_size_limit_is_refused() {
    let rule = |n: usize| {
        let value = "x".repeat(4_000);
        json!({
            "matches": [{ "path": { "exact": format!("/{n}") } }],
            "directResponse": { "status": 200, "body": value },
            "responseHeaders": { "set": [{ "name": "a", "value": value }] },
        })
    };
    let route = json!({
        "kind": "HTTPRoute",
        "metadata": { "name": "large" },
        "spec": {
            "listeners": [{ "name": "web" }],
            "hosts": ["*"],
            "rules": (0..200).map(rule).collect::<Vec<Value>>(),
        },
    });
    let object =
        model::parse::object_from_value(&route).unwrap_or_else(|errors| panic!("{errors}"));
    let errors = plan_apply(&snapshot(SHOP), vec![object]).expect_err("too large").0;
    assert!(errors[0].message.contains("bytes in its canonical form"), "{}", errors[0]);
}

#[test]
fn field_changes_name_what_differs() {
    let check = |old: Value, new: Value, expected: &[&str]| {
        let found: Vec<String> =
            field_changes(&old, &new).iter().map(ToString::to_string).collect();
        assert_eq!(found, expected);
    };
    check(json!({ "a": 1 }), json!({ "a": 1 }), &[]);
    check(
        json!({ "a": 1, "b": 2 }),
        json!({ "b": 3, "c": [] }),
        &["- a: 1", "~ b: 2 -> 3", "+ c: []"],
    );
    check(json!({ "a": [1, 2, 3] }), json!({ "a": [1, 7, 2, 3] }), &["+ a[1]: 7"]);
    check(json!({ "a": [1, 2, 3] }), json!({ "a": [1, 3] }), &["- a[1]: 2"]);
    check(json!({ "a": [1, 1] }), json!({ "a": [1] }), &["- a[1]: 1"]);
    check(
        json!({ "a": [{ "b": 1, "c": 2 }] }),
        json!({ "a": [{ "b": 1, "c": 3 }] }),
        &["~ a[0].c: 2 -> 3"],
    );
}
