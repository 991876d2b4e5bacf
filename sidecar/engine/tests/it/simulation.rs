//! The real engine, ledger and store under a hostile world: crashes between any two effects, racing
//! callers, lost, late and doubled answers, halts, a failing store, jumping clocks.
//!
//! A run follows from its seed; a failure prints it. The rules are in `checker.rs`; `sabotage`
//! tests break the world on purpose and demand that the checker sees it.
//!
//! Not here: the real driver, the network, and redb's behaviour on a failing disk.

mod actors;
mod adversary;
mod answers;
mod broker;
mod checker;
mod disk;
mod file;
mod random;
mod restart;
mod setting;
mod world;

use checker::Violation;
use std::panic::{AssertUnwindSafe, catch_unwind};
use world::{Tally, World};

/// Seeds of the whole simulation, over all its tests, unless `IBKR_AGENT_SEEDS` names a number.
const SEEDS: u64 = 2000;
/// What somebody does, per run.
const ACTS: usize = 70;

/// How the world is broken on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sabotage {
    /// It isn't.
    None,
    /// A restart reads an old store, and nobody checks preconditions.
    StaleStore,
    /// The latch isn't read before an order is sent.
    OpenLatch,
    /// A lost answer is told as a refusal.
    LossIsRefusal,
    /// A restart forgets the halt.
    ForgottenHalt,
    /// A restart forgets today's orders.
    ForgottenCounts,
    /// What changed at the broker is read as it was approved.
    BlindToTerms,
    /// The second order under a reference isn't read.
    BlindToTwins,
    /// What the broker took back is read as filled.
    BlindToBusts,
    /// What filled after its end isn't read.
    BlindToLateFills,
    /// What works is read as cancelled.
    EarlyEnds,
    /// No answer about a single order is understood.
    DeafToAnswers,
    /// Every signature counts.
    TrustedRows,
    /// The chain check finds nothing.
    BlindChain,
    /// An older store is taken as it is.
    AcceptedByItself,
    /// A restart reads an unknown order as a rejected one.
    ForgottenDoubt,
    /// The driver answers a question twice.
    TwoAnswers,
    /// The driver sends no cancel.
    DroppedCancels,
    /// What was let go before a halt leaves after it, once trading is resumed.
    ReopenedLatch,
    /// After a restart every signature from before counts as made anew.
    RepeatedSignatures,
}

impl Sabotage {
    /// Whether the broker's truth stands still: what is broken is something else.
    const fn is_quiet(self) -> bool {
        match self {
            Self::None
            | Self::BlindToTerms
            | Self::BlindToTwins
            | Self::BlindToBusts
            | Self::BlindToLateFills
            | Self::EarlyEnds
            | Self::DeafToAnswers
            | Self::TwoAnswers => false,
            Self::StaleStore
            | Self::OpenLatch
            | Self::LossIsRefusal
            | Self::ForgottenHalt
            | Self::ForgottenCounts
            | Self::TrustedRows
            | Self::BlindChain
            | Self::AcceptedByItself
            | Self::ForgottenDoubt
            | Self::DroppedCancels
            | Self::ReopenedLatch
            | Self::RepeatedSignatures => true,
        }
    }
}

fn run(seed: u64, sabotage: Sabotage) -> Result<Tally, Violation> {
    let mut world = World::new(seed, sabotage);
    for _ in 0..ACTS {
        world.pass_time();
        world.act()?;
        for _ in 0..world.random.below(9) {
            world.step()?;
        }
        if world.random.percent(15) {
            world.broker.tick(&mut world.random);
        }
        world.may_copy();
        world.may_crash()?;
    }
    world.come_to_rest()?;
    world.crash()?;
    world.come_to_rest()?;
    world.finish()?;
    Ok(world.tally)
}

/// A run whose panic is a violation too.
fn caught(seed: u64, sabotage: Sabotage) -> Result<Tally, Violation> {
    let run = catch_unwind(AssertUnwindSafe(|| run(seed, sabotage)));
    run.unwrap_or_else(|_| Err(Violation("the engine panicked".to_owned())))
}

/// Which seeds to run: the tests' own, or what a longer check asks for: `100000`, or `9313..9314`
/// to see one of them again.
fn seeds() -> core::ops::Range<u64> {
    let Ok(text) = std::env::var("IBKR_AGENT_SEEDS") else {
        return 0..SEEDS;
    };
    let (first, end) = text.split_once("..").unwrap_or(("0", &text));
    first.parse().unwrap()..end.parse().unwrap()
}

/// Runs every fourth seed; four tests share the work, so that they use several cores.
fn quarter(first: u64) {
    let mut tally = Tally::new();
    for seed in seeds().filter(|seed| seed % 4 == first) {
        match caught(seed, Sabotage::None) {
            Ok(counts) => {
                for (what, count) in counts {
                    *tally.entry(what).or_default() += count;
                }
            }
            Err(Violation(sentence)) => panic!("seed {seed}: {sentence}"),
        }
    }
    println!("{tally:#?}");
    if seeds().count() < 2000 {
        return;
    }
    // What the seeds must reach, or they show nothing.
    let reached = [
        "orders sent",
        "answers lost",
        "questions",
        "questions answered",
        "stopped by the latch",
        "stopped by the file",
        "halted by the file",
        "crashes",
        "store failures",
        "emergency cancels",
        "emergency halts",
        "cancels sent",
        "statements",
        "clock jumps",
        "filled",
        "cancelled",
        "rejected",
        "not_sent",
        "unknown",
        "APPROVAL_CONSUMED",
        "APPROVAL_EXPIRED",
        "KILL_SWITCH_CLOSED",
        "ORDER_IN_DOUBT",
        "ORDER_POLICY_REFUSED",
        "PAPER_IDEMPOTENCY_CONFLICT",
        "SIGNATURE_INVALID",
        "APPROVAL_UNSIGNED",
        "stores put back",
        "states accepted",
        "rows edited",
        "taken back",
        "left the day's list",
        "filled after its end",
        "sent by a signature",
        "refused after the yes",
        "void after refusals",
    ];
    for what in reached {
        let count = tally.get(what).copied().unwrap_or_default();
        assert!(count >= 5, "{what} happened {count} times only");
    }
}

#[test]
fn one_approval_makes_at_most_one_order_whatever_happens_first_quarter() {
    quarter(0);
}

#[test]
fn one_approval_makes_at_most_one_order_whatever_happens_second_quarter() {
    quarter(1);
}

#[test]
fn one_approval_makes_at_most_one_order_whatever_happens_third_quarter() {
    quarter(2);
}

#[test]
fn one_approval_makes_at_most_one_order_whatever_happens_fourth_quarter() {
    quarter(3);
}

/// Some seed of a broken world breaks a rule in these words.
fn is_seen(sabotage: Sabotage, words: &str) {
    let seeds = 1..4000;
    let seen = seeds.filter_map(|seed| caught(seed, sabotage).err());
    let mut others = Vec::new();
    for Violation(sentence) in seen {
        if sentence.contains(words) {
            return;
        }
        others.push(sentence);
    }
    panic!("{sabotage:?} was not seen as {words:?}; seen were {others:#?}");
}

#[test]
fn sabotage_by_a_stale_store_is_seen() {
    is_seen(Sabotage::StaleStore, "a second order left");
}

#[test]
fn sabotage_by_ignoring_the_latch_is_seen() {
    is_seen(Sabotage::OpenLatch, "left although trading is halted");
}

#[test]
fn sabotage_by_calling_a_loss_a_refusal_is_seen() {
    is_seen(Sabotage::LossIsRefusal, "is called Rejected");
}

#[test]
fn sabotage_by_forgetting_the_halt_is_seen() {
    is_seen(Sabotage::ForgottenHalt, "forgotten by a restart");
}

#[test]
fn sabotage_by_forgetting_the_counts_is_seen() {
    is_seen(Sabotage::ForgottenCounts, "in a day than the policy permits");
}

#[test]
fn sabotage_by_reading_changed_terms_as_the_approved_ones_is_seen() {
    is_seen(Sabotage::BlindToTerms, "was changed at the broker and nobody was told");
}

#[test]
fn sabotage_by_reading_one_order_of_a_reference_only_is_seen() {
    is_seen(Sabotage::BlindToTwins, "is at the broker twice and nobody was told");
}

#[test]
fn sabotage_by_reading_what_was_taken_back_as_filled_is_seen() {
    is_seen(Sabotage::BlindToBusts, "and is told as");
}

#[test]
fn sabotage_by_not_reading_late_fills_is_seen() {
    is_seen(Sabotage::BlindToLateFills, "is called Rejected, and its late fill was shown");
}

#[test]
fn sabotage_by_reading_a_working_order_as_cancelled_is_seen() {
    is_seen(Sabotage::EarlyEnds, "is called Cancelled, and was shown Working");
}

#[test]
fn sabotage_by_hearing_nothing_of_orders_outside_the_list_is_seen() {
    is_seen(Sabotage::DeafToAnswers, "left the list and is Working at rest");
}

#[test]
fn sabotage_by_trusting_every_signature_is_seen() {
    is_seen(Sabotage::TrustedRows, "is not what an operator signed");
}

#[test]
fn sabotage_by_a_chain_check_that_finds_nothing_is_seen() {
    is_seen(Sabotage::BlindChain, "was edited in the store and not found");
}

#[test]
fn sabotage_by_taking_an_older_store_as_it_is_is_seen() {
    is_seen(Sabotage::AcceptedByItself, "left although the state folder is in doubt");
}

#[test]
fn sabotage_by_forgetting_a_doubt_is_seen() {
    is_seen(Sabotage::ForgottenDoubt, "is durable as unknown");
}

#[test]
fn sabotage_by_answering_a_question_twice_is_seen() {
    is_seen(Sabotage::TwoAnswers, "a question got two answers");
}

#[test]
fn sabotage_by_sending_no_cancel_is_seen() {
    is_seen(Sabotage::DroppedCancels, "nobody answered");
}

#[test]
fn sabotage_by_letting_go_after_a_resume_what_was_signed_before_the_halt_is_seen() {
    is_seen(Sabotage::ReopenedLatch, "by a signature from before a halt");
}

#[test]
fn sabotage_by_sending_after_a_restart_what_was_signed_before_is_seen() {
    is_seen(Sabotage::RepeatedSignatures, "by a signature from before a restart");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    assert_eq!(run(17, Sabotage::None), run(17, Sabotage::None));
}
