//! Mistakes in documents as such and in metadata.

use model::parse;

use crate::checking::check;

const SERVICE: &str = "kind: Service\nmetadata: { name: a }\nspec: { endpoints: [] }\n";

#[test]
fn documents_come_in_every_form() {
    let count = |input: &str| parse::parse_documents(input).map(|objects| objects.len());
    let json = r#"{"kind":"Service","metadata":{"name":"b"},"spec":{"endpoints":[]}}"#;
    assert_eq!(count(SERVICE), Ok(1));
    assert_eq!(count(&format!("---\n{SERVICE}---\n# nothing\n---\n{json}\n")), Ok(2));
    assert_eq!(count(&format!("apiVersion: marchproxy.io/v1\n{SERVICE}")), Ok(1));
    assert_eq!(count(json), Ok(1));
    assert_eq!(count(&format!("[{json}]")), Ok(1));
    assert_eq!(count(&format!("{{\"kind\":\"List\",\"items\":[{json}]}}")), Ok(1));
    assert_eq!(count(&format!("{json}\n{}", json.replace("\"b\"", "\"c\""))), Ok(2));
    assert_eq!(count(&format!("\u{feff}{SERVICE}")), Ok(1));
    assert_eq!(count(&SERVICE.replace('\n', "\r\n")), Ok(1));
}

#[test]
fn a_document_that_is_no_object_is_refused() {
    check("", &[": there is no object in the input"]);
    check("---\n---\n", &[": there is no object in the input"]);
    check("[]", &[": there is no object in the input"]);
    check("hello", &[" = \"hello\": is text"]);
    check("- 7\n", &[" = 7: is a number"]);
    check("{}", &["kind: is missing", "metadata: is missing", "spec: is missing"]);
    check(
        "kind: Servcie\nmetadata: { name: a }\nspec: {}\n",
        &["kind = \"Servcie\": is not known"],
    );
    check(
        "apiVersion: v2\nkind: Service\nmetadata: { name: a }\nspec: 7\nstatus: {}\n",
        &[
            "apiVersion = \"v2\": is not known",
            "spec = 7: is a number",
            "status = {}: is not a known field",
        ],
    );
}

#[test]
fn an_unreadable_input_says_where() {
    for (input, part) in [
        ("kind: [", "line 1"),
        ("kind: Service\nkind: Service\n", "duplicate"),
        ("{\"kind\": 1, \"kind\": 2}", "duplicate"),
        ("kind: Service\nmetadata:\n\tname: a\n", "line 3"),
        ("a: &a [1]\nb: *c\n", "line 2"),
    ] {
        let errors = parse::parse_documents(input).expect_err(input).0;
        assert_eq!(errors.len(), 1);
        assert!(errors[0].message.contains(part), "{input:?}: {}", errors[0].message);
    }
}

#[test]
fn bombs_are_refused_before_they_grow() {
    let mut aliases = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..12 {
        let one = format!("*a{}", n - 1);
        aliases += &format!("a{n}: &a{n} [{}]\n", [one.as_str(); 10].join(", "));
    }
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let deep_map = "{a: ".repeat(100_000);
    let deep_json = "{\"a\":".repeat(100_000);
    let deep_block: String = (0..2_000).map(|n| format!("{}a:\n", " ".repeat(n))).collect();
    let large = " ".repeat(model::limits::MAX_INPUT_BYTES + 1);
    for input in [aliases, deep, deep_map, deep_json, deep_block, large] {
        let errors = parse::parse_documents(&input).expect_err("a bomb").0;
        assert_eq!((errors.len(), errors[0].path.as_str()), (1, ""));
        assert!(errors[0].message.len() < 1_000);
    }
}

#[test]
fn names_and_labels_are_checked() {
    let metadata = |metadata: &str, expected: &[&str]| {
        check(
            &format!("kind: Service\nmetadata: {metadata}\nspec: {{ endpoints: [] }}\n"),
            expected,
        );
    };
    metadata("{ name: a.b-c0, namespace: x-1, labels: { a.b/c_d: 'any text' } }", &[]);
    metadata("{}", &["metadata.name: is missing"]);
    metadata("{ name: '' }", &["metadata.name = \"\": is empty"]);
    metadata("{ name: Shop }", &["metadata.name = \"Shop\": is not a valid name"]);
    metadata("{ name: -a }", &["metadata.name = \"-a\": is not a valid name"]);
    metadata("{ name: a/b }", &["metadata.name = \"a/b\": is not a valid name"]);
    metadata("{ name: 7 }", &["metadata.name = 7: is a number"]);
    metadata("{ name: a, namespace: b.c }", &["metadata.namespace = \"b.c\": is not a valid name"]);
    metadata("{ name: a, namspace: b }", &["metadata.namspace = \"b\": is not a known field"]);
    metadata(
        "{ name: a, labels: { team: 7, -x: y } }",
        &[
            "metadata.labels.-x = \"y\": has an invalid label key",
            "metadata.labels.team = 7: is a number",
        ],
    );
    let long = format!("{{ name: {} }}", "a".repeat(254));
    let shown = "a".repeat(79);
    metadata(&long, &[&format!("metadata.name = \"{shown}…: has 254 characters")]);
}

#[test]
fn the_same_object_twice_is_refused() {
    let other = SERVICE.replace("{ name: a }", "{ name: a, namespace: other }");
    check(&format!("{SERVICE}---\n{other}"), &[]);
    check(
        &format!("{SERVICE}---\n{other}---\n{SERVICE}"),
        &["metadata.name = \"a\": the same object stands in document 1"],
    );
}

#[test]
fn all_errors_of_all_documents_come_at_once() {
    let input = "kind: Service\nmetadata: { nam: a }\nspec: { endpoints: 7 }\n---\n\
                 kind: Listener\nmetadata: { name: b }\nspec: { port: 0 }\n";
    let errors = parse::parse_documents(input).expect_err("errors").0;
    let found: Vec<_> = errors.iter().map(|error| (error.document, error.path.as_str())).collect();
    let expected = [
        (0, "metadata.name"),
        (0, "metadata.nam"),
        (0, "spec.endpoints"),
        (1, "spec.protocol"),
        (1, "spec.port"),
    ];
    assert_eq!(found, expected);
    assert_eq!(errors[0].object, None);
    let named = errors[3].object.as_ref().map(ToString::to_string);
    assert_eq!(named.as_deref(), Some("Listener/default/b"));
    let remedy = errors.iter().find(|error| error.path == "metadata.nam").map(|e| &e.remedy);
    assert_eq!(remedy.map(String::as_str), Some("did you mean name?"));
}

#[test]
fn a_flood_of_errors_is_cut() {
    let items = vec!["7"; 3_000].join(", ");
    let errors = parse::parse_documents(&format!("[{items}]")).expect_err("errors").0;
    assert_eq!(errors.len(), model::limits::MAX_ERRORS + 1);
    assert_eq!(errors[model::limits::MAX_ERRORS].message, "there are 2000 more errors");
}
