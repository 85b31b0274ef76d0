//! Reads which API keys are accepted.

use super::jwt::places;
use crate::{
    auth_policy::{ApiKeys, TokenHeader, TokenPlace},
    parse::{
        header::edited_name,
        reader::{Node, Read},
        scalar::{boolean, file},
    },
};

pub(super) fn api_keys(node: &Node<'_>) -> Read<ApiKeys> {
    let fields = node.fields()?;
    let keys_file = fields.required("keysFile", "the path of a file of clients and hashes", file);
    let by_default =
        TokenPlace::Header(TokenHeader { name: "x-api-key".into(), prefix: String::new() });
    let from = fields.or("from", vec![by_default], places);
    let forward = fields.or("forward", false, boolean);
    let client_header = fields.optional("clientHeader", edited_name);
    let known = fields.finish();
    let keys = ApiKeys {
        keys_file: keys_file?,
        from: from?,
        forward: forward?,
        client_header: client_header?,
    };
    known.map(|()| keys)
}
