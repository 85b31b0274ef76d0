//! The replicated state and what is published of it after each apply.

use imbl::Vector;

use crate::history::Batch;
use crate::ids::Revision;
use crate::view::View;

/// What readers and watchers see: replaced as a whole, cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Published {
    pub(crate) view: View,
    pub(crate) history: Vector<Batch>,
    /// From this revision on every change is in `history`.
    pub(crate) floor: Revision,
}
