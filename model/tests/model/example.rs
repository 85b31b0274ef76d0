//! The committed examples are valid, and mean what they say.

use model::{Kind, Object, parse};

/// The text of the example that the demonstration applies.
pub(crate) const SHOP: &str = include_str!("../../../examples/shop.yaml");

/// The reference of all fields.
const REFERENCE: &str = include_str!("../../../docs/configuration.md");

#[test]
fn the_examples_of_the_reference_are_valid() {
    let blocks = REFERENCE.split("```yaml\n").skip(1);
    let examples: Vec<&str> = blocks.filter_map(|block| block.split("```").next()).collect();
    assert_eq!(examples.len(), 21);
    for example in examples {
        if let Err(errors) = parse::parse_documents(example) {
            panic!("{errors}\n{example}");
        }
    }
}

#[test]
fn the_errors_of_the_reference_are_those_given() {
    let input = "kind: Listener\nmetadata: { name: web }\nspec: { protocol: TCP, port: 0 }\n---\n\
                 kind: HTTPRoute\nmetadata: { name: shop }\nspec: { listeners: [{ name: web }], \
                 hosts: ['*'], rules: [{ backends: [{ service: { name: a } }], timout: 5s }] }\n";
    let errors = parse::parse_documents(input).expect_err("two mistakes").to_string();
    assert!(REFERENCE.contains(&errors), "{errors}");
}

#[test]
fn the_other_examples_are_valid_each_as_a_whole() {
    for (example, count) in [
        (include_str!("../../../examples/certificates.yaml"), 9),
        (include_str!("../../../examples/grpc.yaml"), 5),
        (include_str!("../../../examples/limits.yaml"), 5),
        (include_str!("../../../examples/login.yaml"), 5),
        (include_str!("../../../examples/partners.yaml"), 3),
        (include_str!("../../../examples/tokens.yaml"), 6),
        (include_str!("../../../examples/keys.yaml"), 4),
        (include_str!("../../../examples/vault.yaml"), 4),
    ] {
        let objects = parse::parse_documents(example);
        let objects = objects.unwrap_or_else(|errors| panic!("{errors}"));
        let plan = model::plan_apply(&model::Snapshot::default(), objects);
        assert_eq!(plan.unwrap_or_else(|errors| panic!("{errors}")).puts.len(), count);
    }
}

#[test]
fn the_example_with_a_module_is_valid_once_its_file_is_uploaded() {
    let example = include_str!("../../../examples/modules.yaml");
    let errors = parse::parse_documents(example).expect_err("a file of the caller's");
    let [error] = &errors.0[..] else { panic!("{errors}") };
    assert_eq!(error.path, "spec.file");
    let mut documents = parse::raw_documents(example).unwrap_or_else(|errors| panic!("{errors}"));
    for spec in documents.iter_mut().filter_map(|document| document["spec"].as_object_mut()) {
        if spec.remove("file").is_some() {
            spec.insert("sha256".to_owned(), "ab".repeat(32).into());
        }
    }
    let objects = documents.iter().map(|document| {
        parse::object_from_value(document).unwrap_or_else(|errors| panic!("{errors}"))
    });
    let plan = model::plan_apply(&model::Snapshot::default(), objects.collect());
    assert_eq!(plan.unwrap_or_else(|errors| panic!("{errors}")).puts.len(), 4);
}

#[test]
fn the_shop_is_valid_and_round_trips() {
    let objects = parse::parse_documents(SHOP).unwrap_or_else(|errors| panic!("{errors}"));
    let kinds: Vec<Kind> = objects.iter().map(|object| object.spec.kind()).collect();
    assert_eq!(kinds.len(), 10);
    for object in &objects {
        let again = parse::object_from_value(&object.to_value())
            .unwrap_or_else(|errors| panic!("{errors}\n{:#}", object.to_value()));
        assert_eq!(*object, again);
        let bytes = object.to_canonical();
        let again: Object = parse::object_from_slice(&bytes).expect("canonical bytes are valid");
        assert_eq!(bytes, again.to_canonical());
    }
}
