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
        match work {
            Work::Read | Work::Preview => {}
            Work::Ask | Work::Submit | Work::Cancel => {
                self.check_write_standing(caller, work, now)?;
            }
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

    /// A write by token needs a caller that an operator admitted; a submit also a young token. The
    /// remote refuses an old one as clients understand it; this is the check that counts.
    fn check_write_standing(&self, caller: &Caller, work: Work, now: Now) -> Result<(), Refusal> {
        let Standing::Token { issued_at } = caller.standing else {
            return Ok(());
        };
        let limit = self.config.max_submit_token_age;
        if work == Work::Submit && now.wall.since(issued_at) > limit {
            let message =
                format!("this token is older than {} s, too old to submit", limit.as_secs());
            return Err(Refusal::new(ErrorCode::AuthTokenTooOld, message));
        }
        self.check_admitted(caller.standing, &caller.requester)
    }
}
