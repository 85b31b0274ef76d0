//! API keys that an `AuthPolicy` accepts.

use serde::Serialize;

use super::TokenPlace;

/// Clients with keys of the form `CLIENT.SECRET`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiKeys {
    /// The absolute path, on each node, of a file of lines `client:{SHA}…` (htpasswd -s), the hashes of
    /// the secrets.
    pub keys_file: String,
    /// Where the key may stand, the first of them first; the header `x-api-key` by default.
    pub from: Vec<TokenPlace>,
    /// Whether the service gets the key too.
    pub forward: bool,
    /// The header that tells the service the client's name; not told when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_header: Option<String>,
}
