"""Runs every official client, in each protocol era, over stdio and over HTTP.

Servers under test are the real binaries: `ibkr-agent mcp serve --transport stdio` with a fresh home
for each client, and one `ibkr-agent demo --serve --json`, which prints a line of JSON when it is
ready. Each client is a process of its own that gets its target in SUITE_TARGET:

    label, run     a name for the output, and a prefix that makes idempotency keys unique
    mode, version  the protocol era to ask for, and the version that must be negotiated
    command, env   stdio: the server's command line and environment
    url, token, read_only_token   HTTP: the endpoint and two bearer tokens
    approve        the command by which a human approves; {id} is the approval

Usage: suite.py BINARY NODE_FOLDER [CLIENT...]; prints the clients' output with their counts.
"""

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

HERE = Path(__file__).resolve().parent
READY_SECONDS = 120
CLIENT_SECONDS = 300
STOP_SECONDS = 20
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


FAILURES = []


def program(client, node_folder):
    if client == "python":
        return [sys.executable, str(HERE / "client.py")]
    script = {"ts-v2": "client_v2.mjs", "ts-v1": "client_v1.mjs"}[client]
    return ["node", str(node_folder / script)]


def run_client(command, target):
    """Runs one client; one that says no counts, or dies after them, is a failure."""
    env = {**os.environ, "SUITE_TARGET": json.dumps(target), "PYTHONUNBUFFERED": "1"}
    try:
        ended = subprocess.run(
            command,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=CLIENT_SECONDS,
            check=False,
        )
        output, code = ended.stdout.decode(errors="replace"), ended.returncode
    except subprocess.TimeoutExpired as late:
        output, code = (late.stdout or b"").decode(errors="replace"), "none in time"
    print(output, end="" if output.endswith("\n") else "\n", flush=True)
    last = output.strip().rpartition("\n")[2]
    counted = last.endswith(" failed") and " passed, " in last
    if not (counted and last.endswith(", 0 failed") and code == 0):
        FAILURES.append(target["label"])
    if not counted or (code != 0 and last.endswith(", 0 failed")):
        print(f"FAIL  {target['label']}: ended with {code}, after: {last[:200]}")
        print("0 passed, 1 failed", flush=True)


def verdict(name, failure):
    if failure:
        FAILURES.append(name)
    print(f"FAIL  {name}: {failure}" if failure else f"ok    {name}")
    print("0 passed, 1 failed" if failure else "1 passed, 0 failed", flush=True)


def over_stdio(binary, node_folder, clients):
    for client, mode, version in clients:
        with tempfile.TemporaryDirectory(prefix="ibkr-agent-", ignore_cleanup_errors=True) as home:
            target = {
                "label": f"{client} {mode} stdio",
                "run": f"{client}-{mode}-stdio",
                "mode": mode,
                "version": version,
                "command": [binary, "mcp", "serve", "--transport", "stdio"],
                "env": {"IBKR_AGENT_HOME": home},
                "approve": [binary, "approvals", "approve", "{id}", "--json"],
            }
            run_client(program(client, node_folder), target)


def first_line(stream):
    """The first line of a pipe, or nothing when it doesn't come in time."""
    lines = queue.Queue()

    def read():
        for line in stream:
            lines.put(line)
        lines.put("")

    threading.Thread(target=read, daemon=True).start()
    try:
        return lines.get(timeout=READY_SECONDS)
    except queue.Empty:
        return ""


def over_http(binary, node_folder, clients):
    with (
        tempfile.TemporaryDirectory(prefix="ibkr-agent-", ignore_cleanup_errors=True) as home,
        tempfile.TemporaryFile() as talk,
    ):
        demo = subprocess.Popen(
            [binary, "demo", "--serve", "--json"],
            env={**os.environ, "IBKR_AGENT_HOME": home},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=talk,
            text=True,
        )
        try:
            line = first_line(demo.stdout)
            try:
                ready = json.loads(line)
                verdict("the demo says where it serves", None)
            except json.JSONDecodeError:
                talk.seek(0)
                said = talk.read().decode(errors="replace")[-2000:]
                verdict("the demo says where it serves", f"{line!r}; it said: {said}")
                return
            for client, mode, version in clients:
                target = {
                    "label": f"{client} {mode} http",
                    "run": f"{client}-{mode}-http",
                    "mode": mode,
                    "version": version,
                    "url": ready["url"],
                    "token": ready["token"],
                    "read_only_token": ready["read_only_token"],
                    "env": {"IBKR_AGENT_HOME": home},
                    "approve": [
                        binary,
                        *("--state-dir", ready["state_dir"]),
                        *("approvals", "approve", "{id}", "--json"),
                    ],
                }
                run_client(program(client, node_folder), target)
        finally:
            stop(demo)


def stop(demo):
    if demo.poll() is not None:
        verdict("the demo serves until it is told to stop", f"it ended with {demo.returncode}")
        return
    demo.send_signal(signal.SIGTERM)
    try:
        code = demo.wait(timeout=STOP_SECONDS)
        failure = None if code == 0 else f"exit code {code}"
    except subprocess.TimeoutExpired:
        demo.kill()
        demo.wait()
        failure = f"still running {STOP_SECONDS} s after SIGTERM"
    verdict("the demo stops cleanly when told", failure)


def main():
    binary, node_folder, *chosen = sys.argv[1:]
    clients = [row for row in CLIENTS if not chosen or row[0] in chosen]
    if not clients:
        sys.exit(f"no such client: {chosen}")
    over_stdio(binary, Path(node_folder), clients)
    over_http(binary, Path(node_folder), clients)
    if FAILURES:
        sys.exit(f"failed: {', '.join(FAILURES)}")


if __name__ == "__main__":
    main()
