//! Code as text, made binary by the tools of WebAssembly, and what is said of it.

use proptest::prelude::*;

use super::*;

const USUAL: &str = r#"
(import "env" "proxy_log" (func (param i32 i32 i32) (result i32)))
(func (export "proxy_abi_version_0_2_1"))
(func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const 0))
"#;

fn code(text: &str) -> Vec<u8> {
    wat::parse_str(format!("(module {text})")).unwrap()
}

fn with_memory(memory: &str) -> Vec<u8> {
    code(&format!("{USUAL} (memory (export \"memory\") {memory})"))
}

#[test]
fn a_filter_is_taken_and_known_by_its_hash() {
    let bytes = with_memory("17");
    let found = inspect(&bytes).unwrap();
    assert_eq!(found.least_memory_mib, 2);
    assert_eq!(found.sha256, sha256(&bytes));
    let of_nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(sha256(&[]).to_string(), of_nothing);
}

#[test]
fn what_is_no_filter_is_refused_with_the_reason() {
    let check = |bytes: &[u8], expected: &str| {
        let error = inspect(bytes).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    let memory = "(memory (export \"memory\") 1)";
    check(b"#!/bin/sh\n", "no valid WebAssembly module");
    check(&with_memory("1")[..40], "no valid WebAssembly module");
    check(&vec![0; MAX_MODULE_BYTES + 1], "it has 16777217 bytes");
    check(&wat::parse_str("(component)").unwrap(), "it is a component");
    check(&code(USUAL), "0 memories of its own and 0 of others");
    check(&code(&format!("{USUAL} {memory} (memory 1)")), "2 memories of its own");
    let imported = "(import \"env\" \"memory\" (memory 1)) (export \"memory\" (memory 0))";
    check(&code(&format!("{imported} {USUAL}")), "0 memories of its own and 1 of others");
    check(&with_memory("i64 1"), "of 64 bits");
    check(&with_memory("1 2 shared"), "shared");
    check(&with_memory("8193"), "begins with 513 MiB of memory, and may have 512");
    check(&code(&format!("{USUAL} (memory 1)")), "it exports no memory");
    let without = |name: &str| USUAL.replace(name, "other");
    check(&code(&format!("{} {memory}", without("proxy_abi_version_0_2_1"))), "proxy_abi_version");
    check(&code(&format!("{} {memory}", without("proxy_on_memory_allocate"))), "or malloc");
    let foreign = format!("{} {memory}", USUAL.replace("\"env\"", "\"host\""));
    check(&code(&foreign), "it imports \"proxy_log\" of \"host\"");
    // A function that does not do what it says.
    let wrong = with_memory("1").iter().rev().skip(1).rev().copied().collect::<Vec<_>>();
    check(&wrong, "no valid WebAssembly module");
}

/// The sections of code by number, without that of memories.
fn others(bytes: &[u8]) -> Vec<&[u8]> {
    let memories = memory_section(bytes).unwrap();
    vec![&bytes[..memories.start], &bytes[memories.end..]]
}

proptest! {
    #[test]
    fn a_limit_changes_the_maximum_alone(
        least in 0..2_000u64,
        more in prop::option::of(0..60_000u64),
        limit in 1..=512u32,
        text in "[a-z]{0,300}",
    ) {
        let most = more.map(|more| (least + more).min(65_536));
        let memory = most.map_or(least.to_string(), |most| format!("{least} {most}"));
        let bytes = code(&format!(
            "{USUAL} (memory (export \"memory\") {memory}) (@custom \"first\" (before first) \"{text}\") \
             (@custom \"note\" \"{text}\")"
        ));
        let pages = u64::from(limit) * 16;
        let Ok(limited) = super::limited(&bytes, limit) else {
            prop_assert!(least > pages);
            return Ok(());
        };
        prop_assert!(least <= pages);
        let memory = super::memory(&limited).unwrap();
        prop_assert_eq!(memory.initial, least);
        prop_assert_eq!(memory.maximum, Some(most.map_or(pages, |most| most.min(pages))));
        prop_assert_eq!(others(&bytes), others(&limited));
        prop_assert_eq!(&super::limited(&limited, limit).unwrap(), &limited);
    }

    #[test]
    fn no_bytes_are_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), at in 0..200usize) {
        let _ = inspect(&bytes);
        let mut damaged = with_memory("1");
        let end = damaged.len();
        damaged.splice(at.min(end)..(at + 4).min(end), bytes);
        if inspect(&damaged).is_ok() {
            prop_assert!(inspect(&limited(&damaged, 512).unwrap()).is_ok());
        }
    }
}
