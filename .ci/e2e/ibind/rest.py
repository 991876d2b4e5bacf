"""The library's REST half: session, accounts, portfolio, contracts, market data, orders,
watchlists, scanner and performance. The log-out comes last. Output: a line per check, then the
counts.
"""

import sys

from checks import AAPL, ACCOUNT, SECOND, Checks, client, equal, keys, require, text_number, until
from ibind import OrderRequest, QuestionType, StockQuery

BMW = "29612193"
ES_INDEX = "11004968"
EURUSD = "12087792"
LAST, BID, ASK = "31", "84", "86"
FAR = {QuestionType.PRICE_PERCENTAGE_CONSTRAINT: True}
MARKET = {"<h4>Market Order Confirmation</h4>": True}


def session(checks, ibkr):
    with checks.check("tickle tells the session and its state"):
        answer = keys(ibkr.tickle().data, "session", "ssoExpires", "iserver", "hmds")
        require(len(answer["session"]) >= 16, answer)
        equal(answer["iserver"]["authStatus"]["authenticated"], True)
    with checks.check("auth status is authenticated, connected and not competing"):
        status = ibkr.authentication_status().data
        told = [status[name] for name in ("authenticated", "connected", "competing")]
        equal(told, [True, True, False])
        equal((ibkr.check_health(), ibkr.check_auth_status()), (True, True))
    with checks.check("the brokerage session is initialised and validated"):
        equal(ibkr.initialize_brokerage_session(compete=True).data["authenticated"], True)
        equal(ibkr.reauthenticate().data, {"message": "triggered"})
        valid = ibkr.validate().data
        equal((valid["RESULT"], valid["LOGIN_TYPE"], valid["USER_NAME"]), (True, 2, "simpaper01"))


def accounts(checks, ibkr):
    with checks.check("accounts are told with their properties"):
        told = ibkr.receive_brokerage_accounts().data
        require({ACCOUNT, SECOND} <= set(told["accounts"]), told["accounts"])
        equal((told["selectedAccount"], told["isPaper"]), (ACCOUNT, True))
        equal(told["acctProps"][ACCOUNT]["supportsFractions"], True)
    with checks.check("the summary has numbers and cash per currency"):
        told = ibkr.account_summary().data
        require(told["netLiquidationValue"] > 100_000, told)
        currencies = {row["currency"]: row["balance"] for row in told["cashBalances"]}
        require(currencies["USD"] > 0 and currencies["EUR"] > 0, currencies)
    with checks.check("profit and loss is empty at first, then told per account"):
        equal(ibkr.account_profit_and_loss().data, {"upnl": {}})
        told = ibkr.account_profit_and_loss().data["upnl"][f"{ACCOUNT}.Core"]
        keys(told, "dpl", "nl", "upl", "el", "mv")
        require(told["nl"] > 100_000, told)
    with checks.check("the selected account is switched and switched back"):
        equal(ibkr.switch_account(SECOND).data["acctId"], SECOND)
        equal(ibkr.receive_brokerage_accounts().data["selectedAccount"], SECOND)
        equal(ibkr.switch_account(ACCOUNT).data, {"set": True, "acctId": ACCOUNT})
        ibkr.account_id = ACCOUNT
    with checks.check("the owners of the account are told"):
        told = ibkr.signatures_and_owners().data
        equal(told["accountId"], ACCOUNT)
        keys(told["users"][0]["entity"], "firstName", "lastName", "entityType")


def portfolio(checks, ibkr):
    with checks.check("portfolio accounts and sub-accounts"):
        told = [row["accountId"] for row in ibkr.portfolio_accounts().data]
        equal(told, [ACCOUNT, SECOND])
        equal([row["id"] for row in ibkr.portfolio_subaccounts().data], told)
        equal([row["id"] for row in ibkr.large_portfolio_subaccounts(0).data], told)
        equal(ibkr.portfolio_account_information().data["currency"], "USD")
        equal(ibkr.portfolio_account_information(SECOND).data["currency"], "EUR")
    with checks.check("positions are thin at first, then rich, and consistent"):
        thin = {row["conid"]: row for row in ibkr.positions().data}
        equal((thin[int(AAPL)]["position"], thin[int(AAPL)]["strike"]), (100.0, 0.0))
        rich = {row["conid"]: row for row in ibkr.positions(page=0).data}[int(AAPL)]
        equal((rich["ticker"], rich["strike"], rich["pageSize"]), ("AAPL", "0", 100))
        require(abs(rich["mktValue"] - rich["mktPrice"] * 100) < 1, rich)
        equal(ibkr.positions(page=9).data, [])
        live = {row["conid"]: row for row in ibkr.positions2().data}
        equal(live[AAPL]["position"], 100.0)
    with checks.check("one position, over all accounts, combinations and the cache"):
        equal(ibkr.positions_by_conid(ACCOUNT, AAPL).data[0]["conid"], int(AAPL))
        equal(ibkr.position_and_contract_info(AAPL).data[ACCOUNT][0]["position"], 100.0)
        for combo in ibkr.combination_positions().data:
            keys(combo, "name", "description", "legs", "positions")
        equal(ibkr.invalidate_backend_portfolio_cache().data, {"message": "success"})
    with checks.check("summary and ledger agree with the positions"):
        summary = ibkr.portfolio_summary().data
        require(len(summary) >= 45, f"{len(summary)} keys")
        keys(summary, "netliquidation", "availablefunds-s", "excessliquidity-c")
        ledger = ibkr.get_ledger().data
        keys(ledger, "USD", "EUR", "BASE")
        net = summary["netliquidation"]["amount"]
        require(abs(ledger["BASE"]["netliquidationvalue"] - net) < net / 50, (net, ledger["BASE"]))
    with checks.check("allocation by class, sector and group"):
        told = ibkr.portfolio_account_allocation().data
        require(told["assetClass"]["long"]["STK"] > 0, told)
        keys(told, "sector", "group")


def contracts(checks, ibkr):
    with checks.check("contracts are searched by symbol and by name"):
        found = ibkr.search_contract_by_symbol("AAPL").data
        equal((found[0]["conid"], found[0]["symbol"]), (AAPL, "AAPL"))
        kinds = {section["secType"] for section in found[0]["sections"]}
        require({"STK", "OPT"} <= kinds, kinds)
        named = ibkr.search_contract_by_symbol("APPLE", name=True).data
        require(AAPL in [row["conid"] for row in named], named)
        pairs = ibkr.search_contract_by_symbol("EUR.USD").data
        require(pairs and pairs[0]["conid"] == EURUSD, pairs)
    with checks.check("an option is found by month, strike and right"):
        found = ibkr.search_contract_by_symbol("AAPL").data
        option = [part for part in found[0]["sections"] if part["secType"] == "OPT"][0]
        month = option["months"].split(";")[0]
        strikes = ibkr.search_strikes_by_conid(AAPL, "OPT", month).data
        require(len(strikes["call"]) >= 20 and strikes["call"] == strikes["put"], strikes)
        strike = strikes["call"][len(strikes["call"]) // 2]
        rows = ibkr.search_secdef_info_by_conid(
            AAPL, "OPT", month, strike=str(strike), right="C"
        ).data
        equal((rows[0]["strike"], rows[0]["right"], rows[0]["ticker"]), (strike, "C", "AAPL"))
        told = ibkr.contract_information_by_conid(str(rows[0]["conid"])).data
        equal((told["instrument_type"], told["multiplier"]), ("OPT", "100"))
    with checks.check("definitions, contract, rules and algorithms of a stock"):
        rows = ibkr.security_definition_by_conid([AAPL, EURUSD]).data["secdef"]
        classes = {row["conid"]: row["assetClass"] for row in rows}
        equal(classes, {int(AAPL): "STK", int(EURUSD): "CASH"})
        told = ibkr.contract_information_by_conid(AAPL).data
        equal((told["con_id"], told["currency"]), (int(AAPL), "USD"))
        told = ibkr.info_and_rules_by_conid(AAPL, is_buy=True).data
        require("limit" in told["rules"]["orderTypes"], told["rules"])
        rules = ibkr.search_contract_rules(int(AAPL), is_buy=True).data
        equal(rules["incrementRules"][-1]["increment"], 0.01)
        names = [row["id"] for row in ibkr.algo_params_by_conid(AAPL).data["algos"]]
        require("Vwap" in names, names)
    with checks.check("stocks, futures, exchanges, bonds and schedules"):
        conids = ibkr.stock_conid_by_symbol(["AAPL", StockQuery("MSFT")]).data
        equal(conids, {"AAPL": int(AAPL), "MSFT": 272093})
        futures = ibkr.security_future_by_symbol("ES").data["ES"]
        require(len(futures) >= 2 and futures[0]["underlyingConid"] == int(ES_INDEX), futures)
        rows = ibkr.all_conids_by_exchange("NASDAQ").data
        require({"ticker": "AAPL", "conid": int(AAPL), "exchange": "NASDAQ"} in rows, rows[:3])
        keys(ibkr.search_bond_filter_information("BOND", "e1234567").data, "bondFilters")
        schedule = ibkr.trading_schedule_by_symbol("STK", "AAPL").data
        keys(schedule[0], "id", "tradeVenueId", "schedules")
    with checks.check("currency pairs and rates"):
        rows = ibkr.currency_pairs("USD").data["USD"]
        require("USD.CHF" in [row["symbol"] for row in rows], rows)
        rate = ibkr.currency_exchange_rate("EUR", "USD").data["rate"]
        back = ibkr.currency_exchange_rate("USD", "EUR").data["rate"]
        require(1.0 < rate < 1.1 and abs(rate * back - 1) < 0.001, (rate, back))


def market(checks, ibkr):
    with checks.check("a snapshot is cold at first and then has prices as text"):
        fields = [LAST, BID, ASK, "6509"]
        cold = ibkr.live_marketdata_snapshot([AAPL, BMW], fields).data
        require(all(LAST not in row for row in cold), cold)
        warm = ibkr.live_marketdata_snapshot([AAPL, BMW], fields).data
        rows = {row["conid"]: row for row in warm}
        apple = rows[int(AAPL)]
        bid, ask = text_number(apple[BID]), text_number(apple[ASK])
        require(200 < bid < ask < 260 and apple["6509"].startswith("R"), apple)
        require(rows[int(BMW)]["6509"].startswith("D"), rows[int(BMW)])
        named = ibkr.live_marketdata_snapshot_by_symbol("MSFT", [LAST])
        require(text_number(named["MSFT"]["last_price"]) > 300, named)
    with checks.check("history has bars in order, by conid and by symbol"):
        told = ibkr.marketdata_history_by_conid(AAPL, bar="1h", period="2d").data
        times = [row["t"] for row in told["data"]]
        require(len(times) > 5 and times == sorted(times), times)
        equal((told["symbol"], told["points"]), ("AAPL", len(times) - 1))
        require(all(row["l"] <= row["o"] <= row["h"] for row in told["data"]), told["data"][:3])
        told = ibkr.marketdata_history_by_symbol("MSFT", bar="1d", period="1m").data
        equal(told["symbol"], "MSFT")
        both = ibkr.marketdata_history_by_conids([AAPL, BMW], period="1d", bar="1h",
                                                 raise_on_error=True)
        require(all(both[conid][0]["close"] > 0 for conid in (AAPL, BMW)), both)
    with checks.check("streams are ended one by one and all at once"):
        ended = ibkr.marketdata_unsubscribe([AAPL])
        equal(ended[AAPL].data, {"success": True})
        equal(ibkr.marketdata_unsubscribe_all().data, {"unsubscribed": True})


def limit(price, **more):
    """A limit order to buy five AAPL."""
    return OrderRequest(conid=int(AAPL), side="BUY", quantity=5, order_type="LMT", price=price,
                        acct_id=ACCOUNT, tif="DAY", **more)


def orders(checks, ibkr):
    placed = {}

    def row(order_id):
        rows = ibkr.live_orders(account_id=ACCOUNT).data["orders"]
        return next((row for row in rows if row["orderId"] == int(order_id)), None)

    with checks.check("the list of orders is blank at first"):
        equal(ibkr.live_orders().data, {"orders": [], "snapshot": False})
        equal(ibkr.live_orders().data, {"orders": [], "snapshot": True})
        equal(ibkr.live_orders(force=True).data, {"orders": [], "snapshot": False})
    with checks.check("a preview tells cost and margin and places nothing"):
        ibkr.live_marketdata_snapshot([AAPL], [LAST])
        told = ibkr.whatif_order(limit(200.0)).data
        equal(told["amount"]["amount"], "1,000.00 USD (5 Shares)")
        equal((told["position"]["current"], told["position"]["after"]), ("100", "105"))
        equal(told["error"], None)
        equal(ibkr.live_orders().data["orders"], [])
    with checks.check("an order far from the market asks a question and rests"):
        told = ibkr.place_order(limit(150.0, coid="ibind-1"), FAR).data
        equal((told["local_order_id"], told["order_status"]), ("ibind-1", "Submitted"))
        placed["far"] = told["order_id"]
        found = row(placed["far"])
        equal((found["status"], found["order_ref"], found["price"]),
              ("Submitted", "ibind-1", "150.00"))
        equal((found["timeInForce"], found["sizeAndFills"]), ("CLOSE", "0/5"))
    with checks.check("its status has the documented fields"):
        told = ibkr.order_status(placed["far"]).data
        equal((told["order_status"], told["side"], told["limit_price"]),
              ("Submitted", "B", "150.00"))
        equal((told["total_size"], told["cum_fill"], told["tif"]), ("5.0", "0.0", "DAY"))
    with checks.check("it is modified in price and quantity"):
        change = limit(151.0, coid="ibind-1")
        change.quantity = 7
        told = ibkr.modify_order(placed["far"], change, {}).data
        equal(told["order_id"], placed["far"])
        found = row(placed["far"])
        equal((found["price"], found["totalSize"]), ("151.00", 7.0))
    with checks.check("it is cancelled, acknowledged first and gone after"):
        told = ibkr.cancel_order(placed["far"]).data
        equal((told["msg"], told["order_id"]), ("Request was submitted", int(placed["far"])))
        until("cancelled", lambda: row(placed["far"])["status"] == "Cancelled")
        rows = ibkr.live_orders(filters=["cancelled"]).data["orders"]
        equal([row["orderId"] for row in rows], [int(placed["far"])])
        equal(ibkr.live_orders(filters=["filled", "submitted"]).data["orders"], [])
    with checks.check("a market order fills and moves the position"):
        request = OrderRequest(conid=int(AAPL), side="BUY", quantity=3, order_type="MKT",
                               acct_id=ACCOUNT, tif="DAY", coid="ibind-2")
        told = ibkr.place_order(request, MARKET).data
        placed["market"] = told["order_id"]
        found = until("filled", lambda: row(placed["market"])["status"] == "Filled"
                      and row(placed["market"]))
        require(text_number(found["avgPrice"]) > 200, found)
        held = {line["conid"]: line["position"] for line in ibkr.positions2().data}
        equal(held[AAPL], 103.0)
    with checks.check("its execution has price, size and commission"):
        until("trades", lambda: ibkr.trades().data)
        trade = ibkr.trades(days="1").data[0]
        equal((trade["order_ref"], trade["side"], trade["size"]), ("ibind-2", "B", 3.0))
        equal((trade["order_id"], trade["commission"]), (int(placed["market"]), "1"))
    with checks.check("suppressed questions aren't asked until the reset"):
        equal(ibkr.suppress_messages(["o163"]).data, {"status": "submitted"})
        told = ibkr.place_order(limit(120.0, coid="ibind-3"), {}).data
        equal(told["order_status"], "Submitted")
        equal(ibkr.cancel_order(told["order_id"]).data["conid"], int(AAPL))
        equal(ibkr.reset_suppressed_messages().data, {"status": "submitted"})
        try:
            ibkr.place_order(limit(120.0, coid="ibind-4"), {})
        except ValueError as asked:
            require("price exceeds" in str(asked), asked)
        else:
            require(False, "no question after the reset")
    with checks.check("a bracket is placed children first and cancelled as one"):
        ibkr.suppress_messages(["o163", "o10152"])
        parent = limit(150.0, coid="ibind-parent")
        children = [
            OrderRequest(conid=int(AAPL), side="SELL", quantity=5, order_type="LMT", price=260.0,
                         acct_id=ACCOUNT, tif="DAY", parent_id="ibind-parent"),
            OrderRequest(conid=int(AAPL), side="SELL", quantity=5, order_type="STP", price=140.0,
                         acct_id=ACCOUNT, tif="DAY", parent_id="ibind-parent"),
        ]
        rows = ibkr.place_order([parent, *children], {}).data
        equal([told["order_status"] for told in rows],
              ["PreSubmitted", "PreSubmitted", "Submitted"])
        ids = [told["order_id"] for told in rows]
        equal(rows[0]["parent_order_id"], ids[2])
        told = ibkr.order_status(ids[0]).data
        equal(told["parent_order_id"], int(ids[2]))
        ibkr.cancel_order(ids[2])
        until("all cancelled",
              lambda: all(row(order_id)["status"] == "Cancelled" for order_id in ids))
    with checks.check("a trailing stop and a sale of a fraction are taken"):
        ibkr.suppress_messages(["o10331", "o10151", "o383", "o451"])
        trail = OrderRequest(conid=int(AAPL), side="SELL", quantity=2, order_type="TRAIL",
                             acct_id=ACCOUNT, tif="GTC", trailing_amt=5, trailing_type="%")
        told = ibkr.place_order(trail, {}).data
        equal(row(told["order_id"])["status"], "PreSubmitted")
        require(text_number(row(told["order_id"])["auxPrice"]) < 230, row(told["order_id"]))
        part = OrderRequest(conid=int(AAPL), side="SELL", quantity=0.5, order_type="MKT",
                            acct_id=ACCOUNT, tif="DAY")
        told = ibkr.place_order(part, {}).data
        until("filled", lambda: row(told["order_id"])["filledQuantity"] == 0.5)
    with checks.check("a future and a pair are traded"):
        future = ibkr.security_future_by_symbol("ES").data["ES"][0]["conid"]
        request = OrderRequest(conid=future, side="BUY", quantity=1, order_type="MKT", tif="DAY",
                               acct_id=ACCOUNT, manual_indicator=True)
        bought = ibkr.place_order(request, {}).data
        request = OrderRequest(conid=int(EURUSD), side="SELL", quantity=20_000, order_type="MKT",
                               acct_id=ACCOUNT, tif="DAY")
        sold = ibkr.place_order(request, {}).data
        for told in (bought, sold):
            until("filled", lambda told=told: row(told["order_id"])["status"] == "Filled")
    with checks.check("all orders of the account are cancelled at once"):
        equal(ibkr.cancel_order("-1").data["order_id"], -1)
        open_states = {"Submitted", "PreSubmitted", "PendingCancel"}
        until("none open", lambda: not any(
            line["status"] in open_states for line in ibkr.live_orders().data["orders"]))


def lists(checks, ibkr):
    with checks.check("a watchlist is made, listed, read and deleted"):
        rows = [{"C": int(AAPL)}, {"H": ""}, {"C": 272093}]
        made = ibkr.create_watchlist("4242", "From a test", rows).data
        equal((made["id"], made["name"]), ("4242", "From a test"))
        listed = ibkr.get_all_watchlists().data["data"]["user_lists"]
        require("4242" in [entry["id"] for entry in listed], listed)
        ibkr.get_watchlist_information("4242")
        told = ibkr.get_watchlist_information("4242").data
        equal([line.get("ticker") for line in told["instruments"]], ["AAPL", None, "MSFT"])
    with checks.check("a scan is run as its parameters say"):
        parameters = keys(ibkr.scanner_parameters().data, "scan_type_list", "instrument_list",
                          "filter_list", "location_tree")
        codes = [kind["code"] for kind in parameters["scan_type_list"]]
        require("TOP_PERC_GAIN" in codes, codes)
        found = ibkr.market_scanner("STK", "TOP_PERC_GAIN", "STK.US.MAJOR",
                                    filter=[{"code": "priceAbove", "value": 100}]).data
        require(0 < len(found["contracts"]) <= 50, found)
        keys(found["contracts"][0], "symbol", "con_id", "server_id")
    with checks.check("performance, its periods and transactions"):
        told = ibkr.account_performance(ACCOUNT, "1M").data
        equal((told["id"], told["included"]), ("getPerformanceData", [ACCOUNT]))
        equal(len(told["nav"]["dates"]), len(told["nav"]["data"][0]["navs"]))
        told = ibkr.all_periods(ACCOUNT).data
        equal(told["id"], "getPerformanceAllPeriods")
        keys(told[ACCOUNT], "1D", "1Y", "periods")
        told = ibkr.transaction_history(ACCOUNT, AAPL, "USD", days=90).data
        equal((told["id"], told["currency"]), ("getTransactions", "USD"))
        require(all(str(line["conid"]) == AAPL for line in told["transactions"]), told)


def main():
    checks = Checks()
    ibkr = client()
    for part in (session, accounts, portfolio, contracts, market, orders, lists):
        part(checks, ibkr)
    with checks.check("the log-out ends the session"):
        equal(ibkr.logout().data, {"status": True})
        equal(ibkr.check_health(), False)
    return checks.end()


if __name__ == "__main__":
    sys.exit(main())
