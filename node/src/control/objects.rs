//! Between stored bytes and validated objects.

use consensus::Op;
use model::{Object, Plan};

use super::{
    errors::SnapshotError,
    store::{delete_object, put_object},
};

/// Reads a stored object.
pub(super) fn read(key: &str, stored: &[u8]) -> Result<Object, SnapshotError> {
    model::parse::object_from_slice(stored).map_err(|errors| SnapshotError::Unreadable {
        key: key.to_owned(),
        reason: errors.to_string(),
    })
}

/// The writes of a plan.
pub(super) fn operations(plan: &Plan) -> Vec<Op> {
    let puts = plan.puts.iter().map(|object| put_object(object));
    puts.chain(plan.deletes.iter().map(delete_object)).collect()
}
