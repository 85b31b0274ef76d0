//! Every valid object survives YAML and JSON, to the byte.

use model::{Object, parse};
use proptest::prelude::*;

use crate::generate::document;

fn one(text: &str) -> Object {
    let mut objects = parse::parse_documents(text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    assert_eq!(objects.len(), 1);
    objects.remove(0)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn an_object_is_the_same_after_yaml_and_json(raw in document()) {
        let object = parse::object_from_value(&raw).unwrap_or_else(|e| panic!("{e}\n{raw:#}"));
        let value = object.to_value();
        let canonical = object.to_canonical();
        let yaml = serde_saphyr::to_string(&value).expect("a value has a YAML form");
        let pretty = serde_json::to_string_pretty(&value).expect("a value has a JSON form");
        let forms = [
            parse::object_from_value(&value).unwrap_or_else(|e| panic!("{e}\n{value:#}")),
            parse::object_from_slice(&canonical).unwrap_or_else(|e| panic!("{e}")),
            one(&yaml),
            one(&pretty),
            one(&serde_saphyr::to_string(&raw).expect("a value has a YAML form")),
        ];
        for form in forms {
            prop_assert_eq!(&form, &object);
            prop_assert_eq!(form.to_canonical(), canonical.clone());
        }
    }
}
