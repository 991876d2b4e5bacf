//! The halt's file, as any terminal writes it and the driver finds it.

use super::setting::{self, Who};
use super::world::World;
use ibkr_agent_domain::Timestamp;
use ibkr_agent_engine::{FoundHalt, Input};

impl World {
    /// The moment that counts most: after an order's record, before its request.
    pub(super) fn perhaps_write_file(&mut self) {
        if self.random.percent(3) {
            self.write_file();
        }
    }

    /// Somebody at any terminal writes the halt's file; the driver sees it a little later.
    pub(super) fn write_file(&mut self) {
        self.count("halted by the file");
        let since = Some(Timestamp::from_millis(self.wall));
        let found = FoundHalt { since, reason: format!("file {}", self.next) };
        self.next += 1;
        self.file = Some(found);
        self.look_for_file();
    }

    /// The driver's look at the file, which may be overtaken by anything.
    pub(super) fn look_for_file(&mut self) {
        if let Some(input) = self.found() {
            self.deliver(input);
        }
    }

    pub(super) fn found(&self) -> Option<Input> {
        let requester = Box::new(setting::requester(Who::Operator, "file"));
        let found = vec![self.file.clone()?];
        Some(Input::HaltsFound { requester, by: "operator (file)".to_owned(), found })
    }

    /// As the driver does: only a file that holds nothing new goes away.
    pub(super) fn take_file_away(&mut self) -> bool {
        let halt = self.engine.halt_entry();
        let is_known = |found: &FoundHalt| halt.halted && halt.knows(found.since, &found.reason);
        if self.file.as_ref().is_none_or(is_known) {
            self.file = None;
            return true;
        }
        false
    }
}
