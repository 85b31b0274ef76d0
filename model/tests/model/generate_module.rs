//! Generates what says where and how modules run.

use proptest::{option, prelude::*};
use serde_json::{Value, json};

use crate::generate::{Raw, object, targets, with};

/// A valid document of the kind `FilterModule`.
pub(crate) fn filter_module() -> Raw {
    let configuration = prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::from),
        "\\PC{0,20}".prop_map(Value::from),
        ("[a-z]{1,4}", any::<bool>()).prop_map(|(name, value)| json!({ name: [value] })),
    ];
    let numbers = (option::of(1..=512u32), option::of(0..=1_000u32));
    let root = option::of("[a-z.]{0,9}");
    let spec = (targets(), "[0-9a-f]{64}", root, configuration, numbers, any::<bool>()).prop_map(
        |(targets, sha256, root, configuration, (memory, order), open)| {
            with(
                json!({ "targetRefs": targets, "sha256": sha256, "configuration": configuration }),
                [
                    ("rootId", root.map(Value::from)),
                    ("memoryLimitMib", memory.map(Value::from)),
                    ("order", order.map(Value::from)),
                    ("onFailure", open.then(|| json!("Open"))),
                    ("allowUnchecked", open.then_some(true.into())),
                ],
            )
        },
    );
    object("FilterModule", spec)
}
