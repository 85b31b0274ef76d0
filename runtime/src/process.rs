//! Child processes: started, adopted after a restart of the parent, watched, stopped.
//!
//! A process that dies with its parent (`PR_SET_PDEATHSIG`) is started from one thread that lives
//! as long as this program: the kernel sends the signal when the *thread* that forked ends, not the
//! process (prctl(2)). A process that outlives its parent holds a [`PidLock`], by which the parent's
//! next incarnation finds and adopts it. One that is neither, and must not be left behind, has a
//! [`Keeper`] of its own for a parent.

mod actor;
mod keeper;
mod lock;
mod output;
mod running;
mod spawn;

pub use actor::{ProcessActor, ProcessArguments, ProcessMessage};
pub use keeper::{Keep, KeepError, Keeper, after_dashes};
pub use lock::{LockError, PidLock};
pub use output::trace_pipe;
pub use running::{AdoptError, Exit, Process};
pub use spawn::{Output, ProcessSpec, SpawnError, Tie};
