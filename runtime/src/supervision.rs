//! Supervision: how often a child may be restarted, and the one actor that restarts children.
//!
//! ractor stops a parent when any child ends and restarts nothing; [`Supervisor`] is the one place
//! of the program that does. A [`RestartBudget`] bounds it: a child that fails more often stops its
//! supervisor, whose failure (with the reason) goes up to the next one, and at the root ends the
//! process.

mod budget;
mod child;
mod current;
mod supervisor;

pub use budget::{Backoff, BudgetExhausted, RestartBudget, RestartHistory};
pub use child::{ChildSpec, ChildState, ChildStatus, Policy};
pub use current::Current;
pub use supervisor::{
    AddError, Supervisor, SupervisorArguments, SupervisorFailed, SupervisorHandle,
    SupervisorMessage,
};
