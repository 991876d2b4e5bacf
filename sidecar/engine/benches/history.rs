//! What a long history of orders costs: the start, the memory, a preview, the gates.
//!
//! `cargo bench -p ibkr-agent-engine --bench history [-- --quick] [-- --write FILE]`; the page is
//! `docs/BENCHMARKS-HISTORY.md`.
//!
//! One order that works and one that filled go their whole way through an engine; their rows
//! (order, approval, idempotency key) are then copied under other ids into stores on disk. Starts
//! are measured in processes of their own. Steps are measured in turns between a small and a large
//! store in one process, so that a noisy machine slows both alike.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a bench ends where it can't go on, measures time, and tells what it found"
)]

#[expect(dead_code, reason = "shared with the tests, which use more of it")]
#[path = "../tests/it/attacks/bench.rs"]
mod bench;
#[path = "../tests/it/signing.rs"]
mod signing;

use bench::{Bench, LOCAL, account, order_of};
use ibkr_agent_audit::{Ledger, LedgerConfig};
use ibkr_agent_domain::{
    ApprovalId, AssetClass, BrokerOrder, BrokerOrderId, BrokerOrderStatus, BrokerOrderType, CallId,
    CanonicalOrder, ClientOrderId, Conid, Contract, Currency, Execution, IdempotencyKey, Listed,
    OrderTarget, Position, Side, Timestamp, Untrusted,
};
use ibkr_agent_engine::{
    ApprovalEntry, CommitError, Effect, Engine, Input, KeyEntry, Now, OrderEntry, PlaceReport,
    PreviewDraft, Row, Ticket, store,
};
use ibkr_agent_gates::{AccountFacts, BrokerFacts, check_plan, position_in, working_in};
use rust_decimal::Decimal;
use std::fmt::Write as _;
use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

/// Orders that have ended, per case.
const ENDED: [usize; 3] = [0, 5_000, 50_000];
/// Orders that work, in every case.
const OPEN: usize = 500;
/// Contracts that they are spread over.
const CONTRACTS: usize = 250;
/// Positions of the account.
const POSITIONS: usize = 2_000;
/// Rows of so many orders are written in one transaction.
const CHUNK: usize = 500;
/// Age of the orders that work.
const HOUR: Duration = Duration::from_secs(3600);
/// Age of the oldest order that has ended: younger than what is forgotten for its age.
const OLDEST: Duration = Duration::from_secs(13 * 24 * 3600);
/// Steps that are timed together.
const BATCH: u32 = 100;
/// Steps that fill the memory of previews up to its bound.
const WARM: usize = 12;

/// Least and median of some times.
#[derive(Clone, Copy)]
struct Times {
    least: Duration,
    median: Duration,
}

impl Times {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let at = |place: usize| times.get(place).copied().unwrap_or_default();
        Self { least: at(0), median: at(times.len() / 2) }
    }

    /// The median over another's.
    fn ratio(self, base: Self) -> f64 {
        self.median.as_secs_f64() / base.median.as_secs_f64().max(f64::MIN_POSITIVE)
    }
}

type Rows = (OrderEntry, ApprovalEntry);

/// Rows to copy: of an order that works, and of one that filled.
struct Templates {
    open: Rows,
    ended: Rows,
    now: Now,
}

impl Templates {
    fn make() -> Self {
        let mut bench = Bench::new();
        let mut rows = Vec::new();
        for (id, status) in
            [("501", BrokerOrderStatus::Submitted), ("502", BrokerOrderStatus::Filled)]
        {
            let broker_id = BrokerOrderId::parse(id).unwrap();
            let order = bench.placed(Side::Buy, 1);
            let report = PlaceReport::Placed {
                order_id: broker_id.clone(),
                status: BrokerOrderStatus::Submitted,
                message: String::new(),
            };
            bench.feed(Input::PlaceDone { order: order.clone(), report });
            bench.commit();
            let shown = shown(&order, broker_id, status);
            let filled = status == BrokerOrderStatus::Filled;
            let fills = filled.then(|| fill(&shown)).into_iter().collect();
            bench.feed(Input::Evidence {
                account: account("DU1"),
                orders: Listed::of(vec![shown]),
                executions: Listed::of(fills),
            });
            bench.commit();
            let entry = bench.entry(&order);
            assert_eq!(entry.state.is_final(), filled, "{entry:?}");
            rows.push((entry.clone(), bench::approval_of(&bench, &entry.approval)));
        }
        let (ended, open) = (rows.pop().unwrap(), rows.pop().unwrap());
        Self { open, ended, now: bench.now() }
    }

    /// The rows of one more order that works, or that has ended so long ago.
    fn rows(&self, number: usize, age: Option<Duration>) -> [Row; 3] {
        let (order, approval) = if age.is_none() { &self.open } else { &self.ended };
        let (mut order, mut approval) = (order.clone(), approval.clone());
        let before = i64::try_from(age.unwrap_or(HOUR).as_millis()).unwrap();
        let at = Timestamp::from_millis(self.now.wall.as_millis() - before);
        // Ids as they are made: all over the table, in no order.
        let digest = ibkr_agent_domain::Digest::of(&number.to_be_bytes()).to_string();
        let name = digest.get(..32).unwrap();
        order.id = ClientOrderId::parse(&format!("ia{name}")).unwrap();
        order.call = CallId::parse(&format!("0199-{name}")).unwrap();
        order.approval = ApprovalId::parse(&format!("ap-{name}")).unwrap();
        order.key = IdempotencyKey::parse(&format!("key-{name}")).unwrap();
        let broker_id = BrokerOrderId::parse(&(1_000_000_000 + number).to_string()).unwrap();
        for one in &mut order.incarnations {
            one.order.order_id = broker_id.clone();
        }
        order.broker_order_id = Some(broker_id);
        (order.created_at, order.updated_at, order.seen_at) = (at, at, Some(at));
        if age.is_none() {
            order.order = moved(&order.order, number % CONTRACTS);
        } else {
            order.counts_until = Some(at);
        }
        approval.id = order.approval.clone();
        approval.plan = order.order.clone().into();
        (approval.created_at, approval.expires_at) = (at, at);
        let key = KeyEntry {
            owner: order.owner.clone(),
            key: order.key.clone(),
            request: order.order.digest(),
            order: order.id.clone(),
            created_at: at,
        };
        [Row::Order(Box::new(order)), Row::Approval(Box::new(approval)), Row::Key(key)]
    }
}

/// The broker's row of an order that was templated.
fn shown(order: &ClientOrderId, id: BrokerOrderId, status: BrokerOrderStatus) -> BrokerOrder {
    let filled = if status == BrokerOrderStatus::Filled { Decimal::ONE } else { Decimal::ZERO };
    BrokerOrder {
        reference: Some(order.clone()),
        side: Some(Side::Buy),
        quantity: Some(Decimal::ONE),
        filled: Some(filled),
        order_type: BrokerOrderType::Limit,
        kind: Untrusted::new("LMT"),
        limit_price: Some(Decimal::ONE_HUNDRED),
        status,
        ..BrokerOrder::of(id, account("DU1"), conid(0))
    }
}

fn fill(row: &BrokerOrder) -> Execution {
    Execution {
        id: Untrusted::new("0000e0d5.6576fd38.01.01"),
        order_id: Some(row.order_id.clone()),
        reference: row.reference.clone(),
        account: row.account.clone(),
        conid: row.conid,
        symbol: Untrusted::new("AAPL"),
        side: row.side,
        quantity: Decimal::ONE,
        price: Decimal::ONE_HUNDRED,
        commission: None,
        exchange: Untrusted::new("SMART"),
        time: Timestamp::from_millis(0),
    }
}

/// The templates' contract, or another.
fn conid(contract: usize) -> Conid {
    let other = u64::try_from(contract).unwrap();
    Conid::new(if other == 0 { 265_598 } else { 900_000_000 + other }).unwrap()
}

/// The same order of another contract.
fn moved(order: &CanonicalOrder, contract: usize) -> CanonicalOrder {
    let target = OrderTarget {
        broker: order.broker().clone(),
        mode: order.mode(),
        account: order.account().clone(),
    };
    let contract = Contract {
        conid: conid(contract + 1),
        symbol: Untrusted::new(order.symbol()),
        name: Untrusted::default(),
        class: AssetClass::Stock,
        exchange: order.exchange().to_owned(),
        listing_exchange: Untrusted::default(),
        currency: Currency::USD,
        multiplier: Decimal::ONE,
        price_increment: None,
    };
    CanonicalOrder::new(target, &contract, order.terms().clone()).unwrap()
}

fn ledger(path: &Path, now: Timestamp) -> Ledger {
    let config = LedgerConfig {
        path: Some(path.to_owned()),
        origin: "ibkr-agent/bench".to_owned(),
        signing_seed: zeroize::Zeroizing::new([7; 32]),
        account_key: zeroize::Zeroizing::new(vec![9; 32]),
        now,
    };
    Ledger::open(config).unwrap()
}

/// A store on disk.
struct Case {
    ended: usize,
    folder: tempfile::TempDir,
}

impl Case {
    /// Fills a new one, as an older program did that forgot nothing.
    fn fill(templates: &Templates, ended: usize) -> Self {
        let case = Self { ended, folder: tempfile::tempdir().unwrap() };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let ledger = ledger(&case.path(), templates.now.wall);
        signing::with_key(&runtime, &ledger, &[]);
        let step = OLDEST / u32::try_from(ended.max(1)).unwrap();
        let age = |number: usize| HOUR + step * u32::try_from(ended - number).unwrap();
        let open = (0..OPEN).map(|number| templates.rows(number, None));
        let over = (0..ended).map(|n| templates.rows(OPEN + n, Some(age(n))));
        let mut all = open.chain(over).peekable();
        while all.peek().is_some() {
            let rows = all.by_ref().take(CHUNK).flatten().collect();
            signing::edit(&runtime, &ledger, rows);
        }
        case
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("store.redb")
    }

    fn bytes(&self) -> u64 {
        std::fs::metadata(self.path()).unwrap().len()
    }

    /// A start in a process of its own: how long it took and what it holds then.
    fn start(&self) -> Started {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        child.arg("--child").arg(self.path());
        let output = child.stderr(std::process::Stdio::inherit()).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let numbers: Vec<u64> = said.split_whitespace().map(|one| one.parse().unwrap()).collect();
        let [open, read, restore, forget, took, memory, kept] = numbers.as_slice() else {
            panic!("{said:?}")
        };
        let micros = Duration::from_micros;
        Started {
            parts: [micros(*open), micros(*read), micros(*restore)],
            took: micros(*took),
            forget: micros(*forget),
            memory: *memory,
            kept: *kept,
        }
    }
}

/// What a process found.
#[derive(Clone, Copy)]
struct Started {
    /// Opening the database, reading its rows, rebuilding the engine: of a processor's time.
    parts: [Duration; 3],
    /// All of it, by the clock.
    took: Duration,
    /// What is forgotten after that.
    forget: Duration,
    /// In KiB, before anything is forgotten.
    memory: u64,
    /// Orders in memory at the end.
    kept: u64,
}

/// Processor time of this thread so far: what the machine's other work doesn't lengthen.
fn cpu() -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(told.split_whitespace().next().unwrap().parse().unwrap())
}

/// The process that is measured.
fn child(path: &Path) {
    let now = Bench::new().now();
    let (begun, used) = (Instant::now(), cpu());
    let ledger = ledger(path, now.wall);
    let open = cpu();
    let restored = store::restore(&ledger.snapshot().unwrap()).unwrap();
    let read = cpu();
    let (mut engine, mut effects) = Engine::restore(bench::config(Some("paper")), restored, now);
    let (took, restore) = (begun.elapsed(), cpu());
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let memory = memory.split_whitespace().next().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    while let Some(effect) = effects.pop() {
        let Effect::Commit(job) = effect else { continue };
        let id = job.id;
        let done = ledger.transact(move |batch| store::apply(batch, *job));
        let (pending, commit) = runtime.block_on(done).unwrap();
        let result = Ok(pending.redeem(&commit).unwrap());
        effects.extend(engine.handle(Input::Committed { job: id, result }, now));
    }
    let parts = [open - used, read - open, restore - read, begun.elapsed() - took, took];
    let parts: Vec<String> = parts.iter().map(|part| part.as_micros().to_string()).collect();
    println!("{} {memory} {}", parts.join(" "), engine.orders().count());
}

/// An engine over a store.
struct Core {
    bench: Bench,
    engine: Engine,
    order: CanonicalOrder,
    now: Now,
    next: u64,
    _ledger: Ledger,
}

impl Core {
    fn over(case: &Case, templates: &Templates) -> Self {
        let ledger = ledger(&case.path(), templates.now.wall);
        let restored = store::restore(&ledger.snapshot().unwrap()).unwrap();
        let config = bench::config(Some("paper"));
        let (engine, _) = Engine::restore(config, restored, templates.now);
        let order = order_of("DU1", Side::Buy, 1);
        Self { bench: Bench::new(), engine, order, now: templates.now, next: 1, _ledger: ledger }
    }

    /// One preview's step of the engine, its commit answered at once.
    fn preview(&mut self) {
        self.next += 1;
        let mut caller = self.bench.caller(LOCAL);
        caller.requester.call = CallId::parse(&format!("call-{}", self.next)).unwrap();
        let draft = PreviewDraft { plan: self.order.clone().into(), facts: self.bench.facts() };
        let ticket = Ticket(self.next);
        let input = Input::Preview { ticket, caller, draft: Box::new(draft) };
        for effect in self.engine.handle(input, self.now) {
            if let Effect::Commit(job) = effect {
                let result = Err(CommitError::Precondition);
                drop(self.engine.handle(Input::Committed { job: job.id, result }, self.now));
            }
        }
    }
}

/// Times of the engine's step, small and large in turns.
fn steps(small: &mut Core, large: &mut Core, rounds: usize) -> (Times, Times) {
    let (mut of_small, mut of_large) = (Vec::new(), Vec::new());
    for round in 0..rounds + WARM {
        for (core, times) in [(&mut *small, &mut of_small), (&mut *large, &mut of_large)] {
            let begun = Instant::now();
            for _ in 0..BATCH {
                core.preview();
            }
            if round >= WARM {
                times.push(begun.elapsed() / BATCH);
            }
        }
    }
    (Times::of(of_small), Times::of(of_large))
}

/// Positions and orders as the broker lists them, one of each on the order's contract.
fn listed() -> (Vec<Position>, Listed<BrokerOrder>) {
    let position = |contract: usize| Position {
        account: account("DU1"),
        conid: conid(contract),
        symbol: Untrusted::new("AAPL"),
        class: Some(AssetClass::Stock),
        quantity: Decimal::ONE,
        market_price: Some(Decimal::ONE_HUNDRED),
        market_value: Some(Decimal::ONE_HUNDRED),
        average_cost: Some(Decimal::ONE_HUNDRED),
        unrealized_pnl: Some(Decimal::ZERO),
        currency: Currency::USD,
    };
    let order = |number: usize| {
        let id = BrokerOrderId::parse(&(1_000_000_000 + number).to_string()).unwrap();
        let reference = ClientOrderId::parse(&format!("ia{number:032}")).unwrap();
        let row = shown(&reference, id, BrokerOrderStatus::Submitted);
        BrokerOrder { conid: conid(number % CONTRACTS), ..row }
    };
    ((0..POSITIONS).rev().map(position).collect(), Listed::of((0..OPEN).map(order).collect()))
}

/// Times of every gate of an order, with the facts that come from lists and counters.
fn gates(core: &Core, rounds: usize) -> Times {
    let (positions, orders) = listed();
    let plan = core.order.clone().into();
    let told = BrokerFacts {
        account: AccountFacts {
            positions: positions.clone(),
            orders: orders.rows.clone(),
            ..core.bench.facts().account
        },
        ..core.bench.facts()
    };
    let mut times = Vec::new();
    for _ in 0..rounds {
        let begun = Instant::now();
        for _ in 0..BATCH {
            let order = black_box(&core.order);
            let broker = BrokerFacts {
                position: position_in(black_box(&positions), order).unwrap(),
                working_same_side: working_in(black_box(&orders), order).unwrap(),
                ..told.clone()
            };
            let facts = core.engine.complete_facts(broker, &plan, &[], core.now.wall, core.now);
            let policy = core.engine.policies().of_plan(&plan);
            black_box(check_plan(policy, &facts, black_box(&plan), core.now.wall));
        }
        times.push(begun.elapsed() / BATCH);
    }
    Times::of(times)
}

/// What a preview costs with a history, against none.
struct Compared {
    ended: usize,
    step: (Times, Times),
    gates: Times,
}

/// What was found of one case's starts.
struct Found {
    ended: usize,
    bytes: [u64; 2],
    first: Started,
    later: Vec<Started>,
}

/// Starts of a case: the first finds a store that nothing was forgotten of.
fn starts(case: &Case, rounds: usize) -> Found {
    let (before, first) = (case.bytes(), case.start());
    let later = (0..rounds).map(|_| case.start()).collect();
    Found { ended: case.ended, bytes: [before, case.bytes()], first, later }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

fn mib(bytes: u64) -> f64 {
    Duration::from_micros(bytes).as_secs_f64() / 1.048_576
}

fn start_table(page: &mut String, found: &[Found]) {
    page.push_str(
        "| ended orders | start | store MiB | open ms | read ms | rebuild ms | all ms | by the \
         clock, least ms | by the clock, median ms | memory MiB | kept orders | forgotten after \
         it, ms |\n|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    for row in found {
        let first = std::slice::from_ref(&row.first);
        for (name, bytes, starts) in
            [("first", row.bytes[0], first), ("later", row.bytes[1], row.later.as_slice())]
        {
            let part = |part: usize| {
                let times = starts.iter().filter_map(|one| one.parts.get(part).copied());
                ms(Times::of(times.collect()).median)
            };
            let whole = Times::of(starts.iter().map(|one| one.took).collect());
            let forget = Times::of(starts.iter().map(|one| one.forget).collect());
            let last = starts.last().unwrap();
            // Writing to a String can't fail.
            let _ = writeln!(
                page,
                "| {} | {name} | {:.1} | {:.1} | {:.1} | {:.1} | {:.1} | {:.1} | {:.1} | {:.1} | \
                 {} | {:.1} |",
                row.ended,
                mib(bytes),
                part(0),
                part(1),
                part(2),
                part(0) + part(1) + part(2),
                ms(whole.least),
                ms(whole.median),
                mib(last.memory * 1024),
                last.kept,
                ms(forget.median),
            );
        }
    }
}

fn page(found: &[Found], compared: &[Compared], load: &str) -> String {
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let date = Timestamp::from_millis(i64::try_from(now.as_millis()).unwrap()).to_string();
    let date = date.get(..10).unwrap();
    let build = if cfg!(debug_assertions) { "without optimisation" } else { "optimised" };
    let mut page = format!(
        "# Benchmarks of a long history\n\n\
         Written by `cargo bench -p ibkr-agent-engine --bench history -- --write \
         docs/BENCHMARKS-HISTORY.md`; do not edit.\n\n\
         Date: {date}. Cores: {cores}. Load average at the start: {load}. Build: {build}. Each \
         store holds {OPEN} orders that work and so many that have ended in the last 13 days, \
         each with its approval and its idempotency key.\n\n\
         ## Start\n\n\
         Opening the store that a process left in a hurry, reading what the engine needs, \
         rebuilding the engine, in processor time, which other work on the machine doesn't \
         lengthen much; then all of it by the clock. Each start is a process of its own; medians \
         unless it says least. The first start finds a store that an older program forgot \
         nothing of; what is more than is kept is forgotten after it, in small transactions that \
         other records don't wait for.\n\n",
    );
    start_table(&mut page, found);
    let _ = write!(
        page,
        "\n## Preview and gates\n\n\
         The engine's part of a preview, over this store and over the first in turns, and all \
         gates of a preview with the facts that they need from {POSITIONS} positions, {OPEN} open \
         orders at the broker and the counters. Least / median; the ratio is of medians.\n\n\
         | ended orders | preview µs | with none | ratio | gates µs |\n\
         |---:|---:|---:|---:|---:|\n",
    );
    for row in compared {
        let micros = |time| 1_000.0 * ms(time);
        let pair = |of: Times| format!("{:.1} / {:.1}", micros(of.least), micros(of.median));
        let _ = writeln!(
            page,
            "| {} | {} | {} | {:.2} | {} |",
            row.ended,
            pair(row.step.1),
            pair(row.step.0),
            row.step.1.ratio(row.step.0),
            pair(row.gates),
        );
    }
    page
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, flag, path] = arguments.as_slice()
        && flag == "--child"
    {
        child(Path::new(path));
        return;
    }
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let file = arguments.iter().skip_while(|argument| *argument != "--write").nth(1);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap();
    let load = load.split_whitespace().next().unwrap_or_default().to_owned();
    let templates = Templates::make();
    let size = |ended: usize| if quick { ended / 10 } else { ended };
    let cases: Vec<Case> = ENDED.iter().map(|one| Case::fill(&templates, size(*one))).collect();
    let rounds = if quick { 3 } else { 20 };
    let found: Vec<Found> = cases.iter().map(|case| starts(case, rounds)).collect();
    let [none, larger @ ..] = cases.as_slice() else { return };
    let mut small = Core::over(none, &templates);
    let mut compared = Vec::new();
    for case in larger {
        let mut large = Core::over(case, &templates);
        let step = steps(&mut small, &mut large, rounds * 5);
        compared.push(Compared { ended: case.ended, step, gates: gates(&large, rounds * 5) });
    }
    let page = page(&found, &compared, &load);
    match file {
        // Cargo runs a bench in its package's folder; the path is meant from the workspace's.
        Some(path) => {
            let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
            std::fs::write(workspace.join(path), &page).unwrap();
        }
        None => println!("{page}"),
    }
}
