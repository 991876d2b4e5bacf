"""Runs every official client, in each protocol era, over stdio and over HTTP.

Servers under test are the real binaries: `ibkr-agent mcp serve --transport stdio` with a fresh home
for each client, and one `ibkr-agent demo --serve --json`, which prints a line of JSON when it is
ready. Each client is a process of its own that gets its target in SUITE_TARGET:

    label          a name for the output
    variables      run: a prefix that makes idempotency keys unique; submitted: what an order far
                   from the market becomes at once (the simulator behind stdio asks a question)
    mode, version  the protocol era to ask for, and the version that must be negotiated
    command, env   stdio: the server's command line and environment
    url, token, read_only_token   HTTP: the endpoint and two bearer tokens
    operator       the command that the operator's verbs are given to

Usage: suite.py BINARY NODE_FOLDER [CLIENT...]; prints the clients' output with their counts.
"""

import sys
import tempfile
from pathlib import Path

from suites import NotReady, Server, Suite

HERE = Path(__file__).resolve().parent
MODERN = "2026-07-28"
LEGACY = "2025-11-25"
# client, protocol era, version that must be negotiated
CLIENTS = [
    ("python", "auto", MODERN),
    ("python", "legacy", LEGACY),
    ("ts-v2", "auto", MODERN),
    ("ts-v2", "legacy", LEGACY),
    ("ts-v1", "legacy", LEGACY),
]


def program(client, node_folder):
    if client == "python":
        return [sys.executable, str(HERE / "client.py")]
    script = {"ts-v2": "client_v2.mjs", "ts-v1": "client_v1.mjs"}[client]
    return ["node", str(node_folder / script)]


def over_stdio(suite, binary, node_folder, clients):
    for client, mode, version in clients:
        with tempfile.TemporaryDirectory(prefix="ibkr-agent-", ignore_cleanup_errors=True) as home:
            target = {
                "label": f"{client} {mode} stdio",
                "variables": {"run": f"{client}-{mode}-stdio", "submitted": "question"},
                "mode": mode,
                "version": version,
                "command": [binary, "mcp", "serve", "--transport", "stdio", "--toolsets", "all"],
                "env": {"IBKR_AGENT_HOME": home},
                "operator": [binary],
            }
            suite.run_client(program(client, node_folder), target)


def over_http(suite, binary, node_folder, clients):
    with (
        tempfile.TemporaryDirectory(prefix="ibkr-agent-", ignore_cleanup_errors=True) as home,
        Server([binary, "demo", "--serve", "--json"], {"IBKR_AGENT_HOME": home}) as demo,
    ):
        try:
            ready = demo.ready()
            failure = None
        except NotReady as why:
            failure = str(why)
        if not suite.verdict("the demo says where it serves", failure):
            return
        for client, mode, version in clients:
            target = {
                "label": f"{client} {mode} http",
                "variables": {"run": f"{client}-{mode}-http", "submitted": "working"},
                "mode": mode,
                "version": version,
                "url": ready["url"] + "?toolsets=all",
                "token": ready["token"],
                "read_only_token": ready["read_only_token"],
                "env": {"IBKR_AGENT_HOME": home},
                "operator": [binary, "--state-dir", ready["state_dir"]],
            }
            suite.run_client(program(client, node_folder), target)
        suite.verdict("the demo serves until it is told to stop, then ends cleanly", demo.stop())


def main():
    binary, node_folder, *chosen = sys.argv[1:]
    clients = [row for row in CLIENTS if not chosen or row[0] in chosen]
    if not clients:
        sys.exit(f"no such client: {chosen}")
    suite = Suite()
    over_stdio(suite, binary, Path(node_folder), clients)
    over_http(suite, binary, Path(node_folder), clients)
    if suite.failures:
        sys.exit(f"failed: {', '.join(suite.failures)}")


if __name__ == "__main__":
    main()
