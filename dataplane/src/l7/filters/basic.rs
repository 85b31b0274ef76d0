//! User names and passwords, from a file on the node.

use model::auth_policy::Basic;

use super::extension;
use crate::l7::pb::{basic_auth, core};

/// Makes the filter that demands a user's password.
pub(super) fn filter(wanted: &Basic) -> core::TypedExtensionConfig {
    let users = core::DataSource {
        specifier: Some(core::data_source::Specifier::Filename(wanted.users_file.clone())),
        ..Default::default()
    };
    let filter = basic_auth::BasicAuth {
        users: Some(users),
        forward_username_header: wanted.user_header.clone().unwrap_or_default(),
        ..Default::default()
    };
    extension("marchproxy.basic", &filter)
}
