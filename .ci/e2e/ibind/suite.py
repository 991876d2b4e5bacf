"""Runs the client library's REST and WebSocket halves against a simulated gateway each.

The server under test is the stand-alone simulator, posing as the gateway: TLS 1.2 with an expired
self-signed certificate, chunked answers, binary WebSocket frames. Each client is a process of its
own that gets both URLs in SUITE_TARGET.

Usage: suite.py BINARY [CLIENT...]; prints the clients' output with their counts.
"""

import sys
from pathlib import Path

from suites import NotReady, Server, Suite

HERE = Path(__file__).resolve().parent
CLIENTS = ("rest", "stream")


def run(suite, binary, name):
    with Server([binary, "--bind", "127.0.0.1:0", "--tls", "--json"]) as server:
        try:
            ready = server.ready()
            failure = None
        except NotReady as why:
            failure = str(why)
        if not suite.verdict(f"the simulator for {name} says where it serves", failure):
            return
        target = {
            "label": name,
            "url": f"{ready['base_url']}/",
            "socket_url": ready["socket_url"],
        }
        suite.run_client([sys.executable, str(HERE / f"{name}.py")], target)
        suite.verdict(f"the simulator for {name} ends cleanly when it is told to", server.stop())


def main():
    binary, *chosen = sys.argv[1:]
    clients = [name for name in CLIENTS if not chosen or name in chosen]
    if not clients:
        sys.exit(f"no such client: {chosen}")
    suite = Suite()
    for name in clients:
        run(suite, binary, name)
    if suite.failures:
        sys.exit(f"failed: {', '.join(suite.failures)}")


if __name__ == "__main__":
    main()
