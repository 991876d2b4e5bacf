//! Who may call what, and how often. Scopes were intersected with every ceiling before this.

use crate::{Answer, Caller, Effect, Engine, Now, Refusal, Standing, Ticket, Work};
use ibkr_agent_domain::ErrorCode;

impl Engine {
    pub(super) fn admit(
        &mut self,
        ticket: Ticket,
        caller: &Caller,
        work: Work,
        now: Now,
    ) -> Effect {
        let answer = match self.check_admission(caller, work, now) {
            Ok(()) => Answer::Admitted,
            Err(refusal) => Answer::Refused(refusal),
        };
        Effect::Reply { ticket, answer, event: None }
    }

    fn check_admission(&mut self, caller: &Caller, work: Work, now: Now) -> Result<(), Refusal> {
        if matches!(work, Work::Write | Work::Cancel) {
            self.check_write_standing(caller, now)?;
        }
        if caller.standing == Standing::Operator {
            return Ok(());
        }
        let label = caller.requester.actor.label();
        let taken = self.budgets.take(self.config.budget, &label, work, now.monotonic);
        taken.map_err(|wait| {
            let message = format!("this caller's budget is spent for {} s", wait.as_secs().max(1));
            Refusal::new(ErrorCode::AuthRateLimited, message)
        })
    }

    /// A write by token needs a young token and a caller that an operator admitted.
    fn check_write_standing(&self, caller: &Caller, now: Now) -> Result<(), Refusal> {
        let Standing::Token { issued_at } = caller.standing else {
            return Ok(());
        };
        let limit = self.config.max_write_token_age;
        if now.wall.since(issued_at) > limit {
            let message = format!("this token is older than {} minutes", limit.as_secs() / 60);
            return Err(Refusal::new(ErrorCode::AuthTokenTooOld, message));
        }
        let label = caller.requester.actor.label();
        if !self.is_admitted(&label) {
            let message = "this client may only read until an operator admits it";
            return Err(Refusal::new(ErrorCode::AuthNotAdmitted, message));
        }
        Ok(())
    }
}
