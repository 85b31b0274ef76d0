//! The bytes that leave the process: every persisted record and every message between members.
//!
//! Hand-written protobuf. A field number is never reused; a change of meaning takes a new version
//! number in the message that carries one, and a reader that meets an unknown version halts.

pub(crate) mod rpc;
pub(crate) mod storage;
