"""Runs the client library's REST and WebSocket halves against a simulated gateway each.

The server under test is the stand-alone simulator, posing as the gateway: TLS 1.2 with an expired
self-signed certificate, chunked answers, binary WebSocket frames. Each client is a process of its
own that gets the base URL in SUITE_TARGET.

Usage: suite.py BINARY [CLIENT...]; prints the clients' output with their counts.
"""

import re
import sys
from pathlib import Path

from suites import NotReady, Server, Suite

HERE = Path(__file__).resolve().parent
CLIENTS = ("rest", "stream")
BASE = re.compile(r"https://127\.0\.0\.1:\d+/v1/api")


def base_url(server):
    """The base URL that the simulator says when it serves."""
    server.wait_for("/v1/api")
    found = BASE.search(server.said())
    if not found:
        raise NotReady(f"no base URL in: {server.said()}")
    return found[0]


def main():
    binary, *chosen = sys.argv[1:]
    clients = [name for name in CLIENTS if not chosen or name in chosen]
    if not clients:
        sys.exit(f"no such client: {chosen}")
    suite = Suite()
    for name in clients:
        with Server([binary, "--bind", "127.0.0.1:0", "--tls"]) as server:
            try:
                url = base_url(server)
                failure = None
            except NotReady as why:
                failure = str(why)
            if suite.verdict(f"the simulator for {name} says where it serves", failure):
                target = {"label": name, "url": f"{url}/"}
                suite.run_client([sys.executable, str(HERE / f"{name}.py")], target)
    if suite.failures:
        sys.exit(f"failed: {', '.join(suite.failures)}")


if __name__ == "__main__":
    main()
