//! Modules made of text, as small as they can be. Envoy hands them text at address 2048.

use std::fmt::Write as _;

/// Makes a module of functions beside those that each has.
pub(crate) fn filter(text: &str) -> Vec<u8> {
    // Imports go first.
    let module = format!(
        "(module {text}
           (memory (export \"memory\") 1)
           (func (export \"proxy_abi_version_0_2_1\"))
           (func (export \"proxy_on_memory_allocate\") (param i32) (result i32) (i32.const 2048))
           (func (export \"proxy_on_context_create\") (param i32 i32))
           (func (export \"proxy_on_vm_start\") (param i32 i32) (result i32) (i32.const 1))
           (func (export \"proxy_on_configure\") (param i32 i32) (result i32) (i32.const 1)))"
    );
    wat::parse_str(&module).unwrap_or_else(|error| panic!("{error}\n{module}"))
}

/// A module that adds a value to a header of requests, and to `x-answered` of answers.
pub(crate) fn adds(header: &str, value: &str) -> Vec<u8> {
    let mut text = String::from(
        "(import \"env\" \"proxy_add_header_map_value\"
           (func $add (param i32 i32 i32 i32 i32) (result i32)))\n",
    );
    for (at, data) in [(100, header), (200, value), (300, "x-answered")] {
        let _ = writeln!(text, "(data (i32.const {at}) \"{data}\")");
    }
    for (event, map, name, length) in
        [("request", 0, 100, header.len()), ("response", 2, 300, "x-answered".len())]
    {
        let _ = writeln!(
            text,
            "(func (export \"proxy_on_{event}_headers\") (param i32 i32 i32) (result i32)
               (drop (call $add (i32.const {map}) (i32.const {name}) (i32.const {length})
                 (i32.const 200) (i32.const {})))
               (i32.const 0))",
            value.len()
        );
    }
    filter(&text)
}

/// A module that keeps the body of a request back until it is whole.
pub(crate) fn keeps_back() -> Vec<u8> {
    filter(
        "(func (export \"proxy_on_request_body\") (param i32 i32 i32) (result i32)
           (i32.eqz (local.get 2)))",
    )
}

/// A module that answers 418 to a request with so long a body, once it is whole.
pub(crate) fn refuses_bodies_of(length: u32) -> Vec<u8> {
    filter(&format!(
        "(import \"env\" \"proxy_send_local_response\"
           (func $answer (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
         (func (export \"proxy_on_request_body\") (param i32) (param $length i32) (param $end i32)
             (result i32)
           (if (i32.eqz (local.get $end)) (then (return (i32.const 1))))
           (if (i32.eq (local.get $length) (i32.const {length}))
             (then
               (drop (call $answer (i32.const 418) (i32.const 0) (i32.const 0) (i32.const 0)
                 (i32.const 0) (i32.const 0) (i32.const 0) (i32.const -1)))
               (return (i32.const 1))))
           (i32.const 0))"
    ))
}

/// A function `$asks` that tells whether a request has a header, whose name it puts at address 300.
pub(crate) fn asks(header: &str) -> String {
    format!(
        "(import \"env\" \"proxy_get_header_map_value\"
           (func $get (param i32 i32 i32 i32 i32) (result i32)))
         (data (i32.const 300) \"{header}\")
         (func $asks (param i32) (result i32)
           (i32.eqz (call $get (i32.const 0) (local.get 0) (i32.const {}) (i32.const 600)
             (i32.const 604))))",
        header.len()
    )
}
