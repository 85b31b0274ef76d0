//! The code of a filter (a WebAssembly module for proxy-wasm): what is taken, and how its memory is
//! limited. Pure.
//!
//! **Invariants.** What is taken is valid, has one memory of its own, exports what Envoy calls, and imports
//! from Envoy alone. With a limit, nothing but the maximum of its memory is another one.

use std::ops::Range;

use model::limits::{MAX_MODULE_BYTES, MAX_MODULE_MEMORY_MIB};
use sha2::{Digest, Sha256};
use wasmparser::{
    Encoding, ExternalKind, FuncValidatorAllocations, MemoryType, Parser, Payload, TypeRef,
    ValidPayload, Validator,
};

use model::ModuleId;

/// Pages of memory in a MiB.
const PAGES_PER_MIB: u64 = 16;
/// Versions of the ABI that Envoy speaks; a module exports a function of one's name.
const ABIS: [&str; 3] =
    ["proxy_abi_version_0_2_1", "proxy_abi_version_0_2_0", "proxy_abi_version_0_1_0"];
/// One of them gives Envoy memory for what it tells.
const ALLOCATORS: [&str; 2] = ["proxy_on_memory_allocate", "malloc"];
/// What Envoy offers functions under.
const HOSTS: [&str; 3] = ["env", "wasi_snapshot_preview1", "wasi_unstable"];
/// The number of the section of memories, and of the sections that go before it (WebAssembly, 5.5.2).
const MEMORIES: u8 = 5;
const HEADER_BYTES: usize = 8;

/// Why code is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCode {
    /// It has too many bytes.
    #[error("it has {bytes} bytes, and at most {MAX_MODULE_BYTES} are taken: build it for size")]
    TooLarge {
        /// How many.
        bytes: usize,
    },
    /// It is none.
    #[error("it is no valid WebAssembly module: {reason}")]
    Invalid {
        /// Why.
        reason: String,
    },
    /// It is a component.
    #[error(
        "it is a component: build a core module, as for wasm32-wasip1 or wasm32-unknown-unknown"
    )]
    Component,
    /// Its memory cannot be limited.
    #[error(
        "it has {memories} memories of its own and {imported} of others: it must have one of its own"
    )]
    Memories {
        /// Its own.
        memories: usize,
        /// Imported ones.
        imported: usize,
    },
    /// Its memory is of a kind that Envoy does not run.
    #[error("its memory is {kind}, which Envoy does not run: build it for wasm32, without threads")]
    Memory {
        /// Of which.
        kind: &'static str,
    },
    /// It begins with more memory than it may have.
    #[error("it begins with {least_mib} MiB of memory, and may have {limit_mib}")]
    TooMuchMemory {
        /// With how much, rounded up.
        least_mib: u64,
        /// How much it may have.
        limit_mib: u64,
    },
    /// It does not export what Envoy needs.
    #[error("it exports no {wanted}, as filters for proxy-wasm do")]
    Export {
        /// What is missing.
        wanted: String,
    },
    /// It imports what Envoy does not offer.
    #[error(
        "it imports {name:?} of {module:?}, which Envoy does not offer: build it for proxy-wasm"
    )]
    Import {
        /// Of which module.
        module: String,
        /// What.
        name: String,
    },
}

/// What is known of code that is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    /// Its SHA-256.
    pub sha256: ModuleId,
    /// The memory that an instance begins with, in MiB, rounded up.
    pub least_memory_mib: u64,
}

/// Returns the SHA-256 of bytes.
#[must_use]
pub fn sha256(bytes: &[u8]) -> ModuleId {
    ModuleId(Sha256::digest(bytes).into())
}

/// Tells whether code is taken. Takes some hundred milliseconds for 16 MiB.
///
/// # Errors
/// The first that is wrong with it.
pub fn inspect(bytes: &[u8]) -> Result<Code, InvalidCode> {
    if bytes.len() > MAX_MODULE_BYTES {
        return Err(InvalidCode::TooLarge { bytes: bytes.len() });
    }
    let memory = memory(bytes)?;
    let least_memory_mib = memory.initial.div_ceil(PAGES_PER_MIB);
    let limit_mib = u64::from(MAX_MODULE_MEMORY_MIB);
    if least_memory_mib > limit_mib {
        return Err(InvalidCode::TooMuchMemory { least_mib: least_memory_mib, limit_mib });
    }
    Ok(Code { sha256: sha256(bytes), least_memory_mib })
}

/// Makes code with the same content whose memory does not outgrow a limit.
///
/// # Errors
/// It is not taken, or begins with more memory.
pub fn limited(bytes: &[u8], limit_mib: u32) -> Result<Vec<u8>, InvalidCode> {
    let memory = memory(bytes)?;
    let pages = u64::from(limit_mib) * PAGES_PER_MIB;
    if memory.initial > pages {
        let least_mib = memory.initial.div_ceil(PAGES_PER_MIB);
        return Err(InvalidCode::TooMuchMemory { least_mib, limit_mib: limit_mib.into() });
    }
    let most = memory.maximum.map_or(pages, |most| most.min(pages));
    let section =
        memory_section(bytes).ok_or(InvalidCode::Memories { memories: 0, imported: 0 })?;
    // One memory, which has a maximum.
    let mut body = vec![1, 1];
    write_number(&mut body, memory.initial);
    write_number(&mut body, most);
    let mut code = Vec::with_capacity(bytes.len() + body.len());
    code.extend_from_slice(&bytes[..section.start]);
    code.push(MEMORIES);
    write_number(&mut code, body.len() as u64);
    code.append(&mut body);
    code.extend_from_slice(&bytes[section.end..]);
    Ok(code)
}

/// Validates code; returns the memory that it has.
fn memory(bytes: &[u8]) -> Result<MemoryType, InvalidCode> {
    let invalid =
        |error: wasmparser::BinaryReaderError| InvalidCode::Invalid { reason: error.to_string() };
    let mut validator = Validator::new();
    let mut allocations = FuncValidatorAllocations::default();
    let (mut memories, mut imported, mut exported) = (Vec::new(), 0, Vec::new());
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload.map_err(invalid)?;
        if let Payload::Version { encoding: Encoding::Component, .. } = payload {
            return Err(InvalidCode::Component);
        }
        if let ValidPayload::Func(function, body) = validator.payload(&payload).map_err(invalid)? {
            let mut function = function.into_validator(allocations);
            function.validate(&body).map_err(invalid)?;
            allocations = function.into_allocations();
        }
        match payload {
            Payload::ImportSection(imports) => {
                for import in imports.into_imports() {
                    let import = import.map_err(invalid)?;
                    match import.ty {
                        TypeRef::Memory(_) => imported += 1,
                        TypeRef::Func(_) if HOSTS.contains(&import.module) => {}
                        _ => {
                            return Err(InvalidCode::Import {
                                module: import.module.to_owned(),
                                name: import.name.to_owned(),
                            });
                        }
                    }
                }
            }
            Payload::MemorySection(section) => {
                for memory in section {
                    memories.push(memory.map_err(invalid)?);
                }
            }
            Payload::ExportSection(section) => {
                for export in section {
                    let export = export.map_err(invalid)?;
                    exported.push((export.name, export.kind));
                }
            }
            _ => {}
        }
    }
    let [memory] = memories[..] else {
        return Err(InvalidCode::Memories { memories: memories.len(), imported });
    };
    if imported > 0 {
        return Err(InvalidCode::Memories { memories: 1, imported });
    }
    let unusual = [
        (memory.memory64, "of 64 bits"),
        (memory.shared, "shared"),
        (memory.page_size_log2.is_some(), "of pages of another size"),
    ];
    if let Some((_, kind)) = unusual.into_iter().find(|(is, _)| *is) {
        return Err(InvalidCode::Memory { kind });
    }
    let exports = |names: &[&str], kind: ExternalKind| {
        names.iter().any(|name| exported.contains(&(*name, kind)))
    };
    for (names, kind) in [
        (&["memory"][..], ExternalKind::Memory),
        (&ABIS[..], ExternalKind::Func),
        (&ALLOCATORS[..], ExternalKind::Func),
    ] {
        if !exports(names, kind) {
            return Err(InvalidCode::Export { wanted: names.join(" or ") });
        }
    }
    Ok(memory)
}

/// Finds the section of memories, its head included, of valid code.
fn memory_section(bytes: &[u8]) -> Option<Range<usize>> {
    let mut at = HEADER_BYTES;
    while at < bytes.len() {
        let (length, body) = read_number(bytes, at + 1)?;
        let end = body.checked_add(length)?;
        if bytes[at] == MEMORIES {
            return Some(at..end);
        }
        at = end;
    }
    None
}

/// Reads an unsigned number of at most 32 bits (LEB128); returns it and where it ends.
fn read_number(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    let mut number = 0;
    for (index, byte) in bytes.get(at..)?.iter().take(5).enumerate() {
        number |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((number, at + index + 1));
        }
    }
    None
}

/// Writes an unsigned number (LEB128).
fn write_number(out: &mut Vec<u8>, mut number: u64) {
    loop {
        let byte = (number & 0x7f) as u8;
        number >>= 7;
        if number == 0 {
            out.push(byte);
            return;
        }
        out.push(byte | 0x80);
    }
}

#[cfg(test)]
mod tests;
