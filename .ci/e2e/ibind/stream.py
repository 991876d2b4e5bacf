"""The library's WebSocket half: the connection, every subscription it has, and their ends.

The library confirms a subscription by its first frame, so a topic that is never served shows as a
subscription that never becomes active. Output: a line per check, then the counts.
"""

import sys
import time

from checks import (
    AAPL,
    ACCOUNT,
    PATIENCE,
    TARGET,
    Checks,
    client,
    equal,
    keys,
    require,
    text_number,
    until,
)
from ibind import IbkrWsClient, OrderRequest, QueueSink, events, subscriptions

MSFT = "272093"
# The library says so of itself when it closes while it has subscriptions.
CLOSING = "State must be AUTHENTICATED before sending payloads"


class Feed:
    """The events of a connection, by type."""

    def __init__(self):
        self.sink = QueueSink()

    def next(self, kind, holds=lambda event: True):
        """The next event of a type that holds; those before it are dropped."""
        deadline = time.monotonic() + PATIENCE
        while True:
            left = max(0.01, deadline - time.monotonic())
            event = self.sink.get(kind, block=True, timeout=left)
            require(event is not None, f"no such {kind.__name__} within {PATIENCE} s")
            if holds(event):
                return event


def active(socket, subscription):
    """A subscription that the library holds to be active."""
    handle = socket.subscribe(subscription)
    require(handle.wait(PATIENCE), f"{subscription} is {handle.status}")
    return handle


def connection(checks, socket, feed):
    with checks.check("the connection opens and is authenticated"):
        equal(socket.start(), True)
        until("ready", socket.is_ready)
        equal(socket.is_authenticated(), True)
    with checks.check("the first frames tell user, account and status"):
        hello = feed.next(events.System, lambda event: "success" in event.data)
        equal((hello.data["success"], hello.data["isPaper"]), ("simpaper01", True))
        told = feed.next(events.AccountUpdate).data
        require(ACCOUNT in told["accounts"], told)
        equal(feed.next(events.AuthenticationStatus).authenticated, True)
    with checks.check("heart beats carry the wall clock"):
        beat = feed.next(events.System, lambda event: "hb" in event.data).data["hb"]
        require(abs(time.time() - beat / 1000) < 15, beat)


def market(checks, socket, feed):
    with checks.check("market data is whole first and then changes only"):
        handle = active(socket, subscriptions.MarketDataSubscription(
            conid=AAPL, fields=["31", "84", "86"]))
        first = feed.next(events.MarketData)
        equal(first.conid, AAPL)
        keys(first.data, "last_price", "bid_price", "ask_price")
        require(text_number(first.data["bid_price"]) > 200, first.data)
        later = feed.next(events.MarketData)
        require({"last_price", "bid_price", "ask_price"} & set(later.data), later.data)
        require(handle.unsubscribe().wait(PATIENCE), handle.status)
    with checks.check("history comes once and is ended by its server id"):
        wanted = subscriptions.MarketHistorySubscription(
            conid=MSFT, period="1d", bar="1h", outside_rth=False, source="trades",
            format="%o/%c/%h/%l/%v")
        handle = active(socket, wanted)
        bars = feed.next(events.MarketHistory)
        equal((bars.conid, bars.data["symbol"]), (MSFT, "MSFT"))
        require(all(bar["l"] <= bar["c"] <= bar["h"] for bar in bars.data["data"]), bars.data)
        require(handle.unsubscribe().wait(PATIENCE), handle.status)
    with checks.check("the price ladder has rows with prices"):
        handle = active(socket, subscriptions.PriceLadderSubscription(
            account_id=ACCOUNT, conid=AAPL))
        ladder = feed.next(events.PriceLadder)
        equal((ladder.account_id, ladder.conid), (ACCOUNT, AAPL))
        require(len(ladder.data) > 3, ladder.data)
        keys(ladder.data[0], "row", "focus", "price")
        require(handle.unsubscribe().wait(PATIENCE), handle.status)


def trading(checks, socket, feed, ibkr):
    ibkr.receive_brokerage_accounts()
    ibkr.suppress_messages(["o163", "o10151"])
    resting = {}

    def of(name, order_id):
        def holds(event):
            rows = event.data["args"]
            return any(str(row.get(name)) == str(order_id) for row in rows)
        return holds

    with checks.check("orders are told as they are placed and cancelled"):
        active(socket, subscriptions.OrdersSubscription())
        # Nothing confirms the former, and only what changes after it is told. The next one is
        # confirmed, and the gateway takes one after the other.
        active(socket, subscriptions.TradesSubscription(days=1))
        request = OrderRequest(conid=int(AAPL), side="BUY", quantity=5, order_type="LMT",
                               price=150.0, acct_id=ACCOUNT, tif="DAY", coid="stream-1")
        resting["id"] = ibkr.place_order(request, {}).data["order_id"]
        told = feed.next(events.Orders, of("orderId", resting["id"])).data["args"]
        row = next(row for row in told if str(row["orderId"]) == resting["id"])
        equal((row["status"], row["order_ref"]), ("Submitted", "stream-1"))
        ibkr.cancel_order(resting["id"])
        feed.next(events.Orders, lambda event: any(
            str(row["orderId"]) == resting["id"] and row.get("status") == "Cancelled"
            for row in event.data["args"]))
    with checks.check("executions are told with their order"):
        request = OrderRequest(conid=int(AAPL), side="BUY", quantity=2, order_type="MKT",
                               acct_id=ACCOUNT, tif="DAY", coid="stream-2")
        order_id = ibkr.place_order(request, {}).data["order_id"]
        told = feed.next(events.Trades, of("order_id", order_id)).data["args"]
        row = next(row for row in told if str(row["order_id"]) == order_id)
        equal((row["order_ref"], row["side"], row["size"]), ("stream-2", "B", 2.0))
        known = feed.next(events.Trades, lambda event: any(
            row["execution_id"] == told[0]["execution_id"] and row.get("commission")
            for row in event.data["args"])) if "commission" not in row else None
        require(known is None or known.data["args"], known)


def accounts(checks, socket, feed):
    with checks.check("profit and loss is told per account"):
        handle = active(socket, subscriptions.PnlSubscription())
        told = feed.next(events.Pnl).data["args"][f"{ACCOUNT}.Core"]
        keys(told, "rowType", "dpl", "nl", "upl", "el", "mv")
        require(told["nl"] > 100_000, told)
        require(handle.unsubscribe().wait(PATIENCE), handle.status)
    with checks.check("the account summary is told and its end confirmed"):
        handle = active(socket, subscriptions.AccountSummarySubscription(account_id=ACCOUNT))
        told = feed.next(events.AccountSummary)
        equal((told.account_id, told.data["AccountCode"]["value"]), (ACCOUNT, ACCOUNT))
        keys(told.data, "NetLiquidation", "timestamp")
        require(float(told.data["NetLiquidation"]["monetaryValue"]) > 100_000, told.data)
        require(handle.unsubscribe().wait(PATIENCE), handle.status)
    with checks.check("the ledger is told per currency and its end confirmed"):
        wanted = subscriptions.AccountLedgerSubscription(
            account_id=ACCOUNT, keys=["LedgerListUSD", "LedgerListBASE"])
        handle = active(socket, wanted)
        seen = {feed.next(events.AccountLedger).data["key"] for _ in range(2)}
        equal(seen, {"LedgerListUSD", "LedgerListBASE"})
        require(handle.unsubscribe().wait(PATIENCE), handle.status)


def ends(checks, socket, feed):
    with checks.check("nothing came that the library doesn't know"):
        for kind in (events.IbkrError, events.GenericIbkrEvent, events.WsError):
            require(feed.sink.empty(kind), f"{kind.__name__}: {feed.sink.get(kind)}")
    with checks.check("the subscriptions come back after a reset", expected=CLOSING):
        active(socket, subscriptions.MarketDataSubscription(conid=MSFT, fields=["31"]))
        feed.next(events.MarketData, lambda event: event.conid == MSFT)
        while not feed.sink.empty(events.WsStopped):
            feed.sink.get(events.WsStopped)
        socket.hard_reset()
        feed.next(events.WsStopped)
        until("authenticated again", socket.is_authenticated)
        while not feed.sink.empty(events.MarketData):
            feed.sink.get(events.MarketData)
        feed.next(events.MarketData, lambda event: event.conid == MSFT)
    with checks.check("the connection is closed in order", expected=CLOSING):
        equal(socket.shutdown(), True)
        equal(socket.is_running(), False)


def main():
    checks = Checks()
    ibkr = client()
    feed = Feed()
    socket = IbkrWsClient(
        account_id=ACCOUNT,
        url=TARGET["socket_url"],
        ibkr_client=ibkr,
        cacert=False,
        use_oauth=False,
        sink=feed.sink,
    )
    connection(checks, socket, feed)
    market(checks, socket, feed)
    trading(checks, socket, feed, ibkr)
    accounts(checks, socket, feed)
    ends(checks, socket, feed)
    return checks.end()


if __name__ == "__main__":
    sys.exit(main())
