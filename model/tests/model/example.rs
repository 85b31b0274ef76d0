//! The committed examples are valid, and mean what they say.

use model::{Kind, Object, parse};

/// The text of the example that the demonstration applies.
pub(crate) const SHOP: &str = include_str!("../../../examples/shop.yaml");

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
