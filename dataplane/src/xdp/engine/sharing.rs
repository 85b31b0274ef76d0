//! What the engine has of the limits that nodes share.

use std::time::Instant;

use model::{qos_policy::LimitScope, shares::Uses};

use super::{Engine, EngineError};
use crate::{
    shares::Loan,
    xdp::{plan::Frontend, qos::shares},
};

impl Engine {
    /// Takes over what this node was lent; tells whether a [`Self::reconcile`] is called for, which puts
    /// it in force.
    pub fn follow_loan(&mut self, loan: Option<&Loan>, now: Instant) -> bool {
        let plan = self.planner.plan();
        let shares = shares::in_force(plan, loan, now);
        let is_kept = self.loan_kept == self.loan_heard;
        self.loan_heard = loan.map(Loan::id);
        if shares == *self.image.treatments().shares() {
            if is_kept {
                self.loan_kept = self.loan_heard;
            }
            return !is_kept;
        }
        let is_shared = |carried: &crate::xdp::plan::Carried| {
            carried.policy.as_ref().is_some_and(|policy| policy.spec.scope == LimitScope::Cluster)
        };
        let behind: Vec<Frontend> = plan
            .carried
            .iter()
            .filter(|(_, carried)| is_shared(carried))
            .map(|(frontend, _)| *frontend)
            .collect();
        self.behind.extend(behind);
        self.image.treatments().set_shares(shares);
        true
    }

    /// Returns what is to be said of the limits that nodes share, since the last time.
    ///
    /// # Errors
    /// Returns what the kernel refused.
    pub fn uses(&mut self, now: Instant) -> Result<Uses, EngineError> {
        let treatments = self.image.treatments();
        if treatments.shares().is_empty() {
            return Ok(Uses::default());
        }
        let shares = treatments.shares().clone();
        let counters = self.limiters.counters(&mut self.program, treatments.limiters())?;
        Ok(self.share_meter.uses(&shares, &counters, self.loan_kept, now))
    }
}
