//! 10,000 mutated inputs: never a panic; valid objects, or errors that say where.

use std::{cell::Cell, sync::Arc};

use model::{Snapshot, parse, plan_apply};
use proptest::{
    collection::vec,
    prelude::*,
    sample::{Index, select},
    test_runner::{Config, TestRunner},
};
use serde_json::{Value, json};

use crate::{example::SHOP, generate::document};

const INPUTS: u32 = 10_000;

/// What is put in the place of something: at the borders of types, ranges and syntax.
const PIECES: [&str; 40] = [
    "",
    " ",
    "\n",
    "\t",
    "\0",
    "\u{feff}",
    "\u{2028}",
    "---\n",
    "...\n",
    "- ",
    ": ",
    "? ",
    "{",
    "}",
    "[",
    "]",
    "\"",
    "'",
    "#",
    "&a ",
    "*a",
    "<<: *a",
    "!!binary ",
    "!x ",
    "|\n",
    ">-\n",
    "%YAML 1.2\n",
    "0",
    "-1",
    "65536",
    "99999999999999999999",
    "1e400",
    ".nan",
    "0x7fffffff",
    "null",
    "~",
    "true",
    "0s",
    "é",
    "\r\n",
];

/// A change of bytes.
#[derive(Clone, Debug)]
enum Edit {
    Insert(Index, &'static str),
    Remove(Index, u8),
    Repeat(Index, u8),
    Flip(Index, u8),
    Truncate(Index),
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        (any::<Index>(), select(PIECES.to_vec())).prop_map(|(at, piece)| Edit::Insert(at, piece)),
        (any::<Index>(), 1..40u8).prop_map(|(at, count)| Edit::Remove(at, count)),
        (any::<Index>(), 1..80u8).prop_map(|(at, count)| Edit::Repeat(at, count)),
        (any::<Index>(), any::<u8>()).prop_map(|(at, bits)| Edit::Flip(at, bits)),
        any::<Index>().prop_map(Edit::Truncate),
    ]
}

fn edited(text: &str, edits: &[Edit]) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for edit in edits {
        if bytes.is_empty() {
            break;
        }
        let len = bytes.len();
        let span = |at: usize, count: u8| at..(at + usize::from(count)).min(len);
        match edit {
            Edit::Insert(at, piece) => {
                let at = at.index(len);
                bytes.splice(at..at, piece.bytes());
            }
            Edit::Remove(at, count) => {
                bytes.drain(span(at.index(len), *count));
            }
            Edit::Repeat(at, count) => {
                let span = span(at.index(len), *count);
                let piece = bytes[span.clone()].to_vec();
                bytes.splice(span.end..span.end, piece);
            }
            Edit::Flip(at, bits) => bytes[at.index(len)] ^= bits,
            Edit::Truncate(at) => bytes.truncate(at.index(len)),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A change of structure at one of the values of a document.
#[derive(Clone, Debug)]
enum Graft {
    Replace(Value),
    Drop,
    Rename(String),
    Duplicate,
    Wrap,
}

fn graft() -> impl Strategy<Value = Graft> {
    let values = vec![
        json!(null),
        json!(true),
        json!(0),
        json!(-1),
        json!(1.5),
        json!(u64::MAX),
        json!(""),
        json!("*"),
        json!("0s"),
        json!("("),
        json!("a\nb"),
        json!([]),
        json!([[]]),
        json!({}),
        json!({ "": {} }),
        json!("x".repeat(5_000)),
        json!({ "name": "a" }),
        json!("\u{0}"),
    ];
    prop_oneof![
        3 => select(values).prop_map(Graft::Replace),
        1 => Just(Graft::Drop),
        1 => "\\PC{0,6}".prop_map(Graft::Rename),
        1 => Just(Graft::Duplicate),
        1 => Just(Graft::Wrap),
    ]
}

fn count(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(count).sum::<usize>(),
        Value::Object(map) => 1 + map.values().map(count).sum::<usize>(),
        _ => 1,
    }
}

/// Changes the value number `at`, counted in depth-first order.
fn grafted(value: &mut Value, at: &mut usize, graft: &Graft) -> bool {
    let own = *at == 0;
    if !own {
        *at -= 1;
    }
    match value {
        _ if own => match graft {
            Graft::Replace(new) => *value = new.clone(),
            Graft::Wrap => *value = json!([value.take()]),
            _ => {}
        },
        Value::Array(items) => {
            let found = (0..items.len()).find(|i| grafted(&mut items[*i], at, graft));
            match (found, graft) {
                (Some(i), Graft::Drop) => drop(items.remove(i)),
                (Some(i), Graft::Duplicate) => items.insert(i, items[i].clone()),
                _ => {}
            }
        }
        Value::Object(map) => {
            let keys: Vec<String> = map.keys().cloned().collect();
            let found = keys.into_iter().find(|key| grafted(&mut map[key.as_str()], at, graft));
            match (found, graft) {
                (Some(key), Graft::Drop) => drop(map.remove(&key)),
                (Some(key), Graft::Rename(new)) => {
                    let moved = map.remove(&key).unwrap_or_default();
                    map.insert(new.clone(), moved);
                }
                _ => {}
            }
        }
        _ => {}
    }
    own
}

fn mutated() -> impl Strategy<Value = String> {
    let shop = || Just(SHOP.to_owned());
    let generated = |form: fn(&Value) -> String| {
        (document(), vec((any::<Index>(), graft()), 0..4)).prop_map(move |(mut raw, grafts)| {
            for (at, graft) in grafts {
                let mut place = at.index(count(&raw));
                grafted(&mut raw, &mut place, &graft);
            }
            form(&raw)
        })
    };
    let yaml = |value: &Value| serde_saphyr::to_string(value).unwrap_or_else(|_| value.to_string());
    let structure = prop_oneof![generated(yaml), generated(|value| value.to_string())].boxed();
    let bytes = (prop_oneof![shop(), structure.clone()], vec(edit(), 1..5))
        .prop_map(|(text, edits)| edited(&text, &edits));
    prop_oneof![structure, bytes]
}

#[test]
fn a_mutated_input_is_valid_or_has_errors_that_say_where() {
    let base = {
        let mut base = Snapshot::default();
        let objects = parse::parse_documents(SHOP).unwrap_or_else(|errors| panic!("{errors}"));
        objects.into_iter().for_each(|object| base.put(Arc::new(object)));
        base
    };
    let (valid, placed, whole) = (Cell::new(0), Cell::new(0), Cell::new(0));
    let add = |cell: &Cell<u32>| cell.set(cell.get() + 1);
    let mut runner = TestRunner::new(Config { cases: INPUTS, ..Config::default() });
    let outcome = runner.run(&mutated(), |text| {
        match parse::parse_documents(&text) {
            Ok(objects) => {
                add(&valid);
                for object in &objects {
                    let bytes = object.to_canonical();
                    let again = parse::object_from_slice(&bytes);
                    prop_assert_eq!(again.as_ref(), Ok(object));
                }
                if let Err(errors) = plan_apply(&base, objects) {
                    prop_assert!(errors.0.iter().all(|error| error.object.is_some()));
                }
            }
            Err(errors) => {
                prop_assert!(!errors.0.is_empty());
                prop_assert!(!errors.to_string().is_empty());
                for error in &errors.0 {
                    prop_assert!(!error.message.is_empty() && !error.remedy.is_empty());
                    let about_whole = ["the input is not readable", "there is no object", "is "];
                    prop_assert!(
                        !error.path.is_empty()
                            || about_whole.iter().any(|start| error.message.starts_with(start)),
                        "{error}"
                    );
                    add(if error.path.is_empty() { &whole } else { &placed });
                }
            }
        }
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
    // The mutations reach every outcome often; otherwise this test would prove nothing.
    for (what, cell) in [("valid", &valid), ("placed", &placed), ("whole", &whole)] {
        println!("{what}: {}", cell.get());
        assert!(cell.get() >= INPUTS / 50, "{what}: {}", cell.get());
    }
}
