"""A real identity provider and the official TypeScript client, hosted and local.

Every part is a process of its own, as a user would start it. Hosted: npm oidc-provider;
`ibkr-agent-remote serve`; `ibkr-agent sidecar pair` with a token of `ibkr-agent-remote pairing
create`; `ibkr-agent sidecar run` on the embedded simulator. Local: the same provider and one
`ibkr-agent mcp serve --transport http`. The client logs in at the provider and calls through all of
it. It gets its target in SUITE_TARGET:

    label      a name for the output
    url        the MCP endpoint, which is also the resource that tokens name
    pairing    whether only users of a pairing are served
    issuer, machines, stranger, scopes   what the provider printed, see provider.mjs

Usage: suite.py AGENT REMOTE NODE_FOLDER; prints the client's output with its counts.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from suites import NotReady, Server, Suite

COMMAND_SECONDS = 60
SIDECAR = "home-office"
PERSON = "alice"


class Failed(Exception):
    """A command that didn't do what it should."""


def free_port():
    """A port that nobody listens on; the endpoint must know its own before it starts."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def run(command, env=None):
    """Runs one command and gives the JSON value that it printed."""
    ended = subprocess.run(
        command,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
    )
    if ended.returncode != 0:
        raise Failed(f"{' '.join(command[1:])}: exit code {ended.returncode}: {ended.stderr}")
    return json.loads(ended.stdout)


def write(path, value):
    """A configuration file: JSON is YAML."""
    path.write_text(json.dumps(value, indent=2), encoding="utf-8")
    path.chmod(0o600)
    return str(path)


def endpoint_configuration(port, url, provider):
    return {
        "safety": {"remote_mcp_enabled": True},
        "remote_mcp": {
            "enabled": True,
            "bind_address": f"127.0.0.1:{port}",
            "resource": url,
            "issuer": provider["issuer"],
            "allowed_scopes": provider["scopes"],
        },
    }


def sidecar_configuration(url, provider):
    return {
        "safety": {"sidecar_enabled": True},
        "sidecar": {"enabled": True},
        "remote_mcp": {
            "issuer": provider["issuer"],
            "audiences": [url],
            "allowed_scopes": provider["scopes"],
        },
        "broker": {"backend": "fake"},
    }


def pair(agent, remote, folder, configurations, relay_address, subjects):
    """Makes a join token at the running remote and spends it on the sidecar's host."""
    remote_file, sidecar_file = configurations
    words = [word for subject in subjects for word in ("--subject", subject)]
    create = ["pairing", "create", "--sidecar-id", SIDECAR, *words]
    created = run([remote, "--config", remote_file, "--json", *create])
    token_file = folder / "join-token"
    token_file.write_text(created["join_token"], encoding="utf-8")
    relay_url = f"wss://localhost:{relay_address.rpartition(':')[2]}"
    arguments = ["sidecar", "pair", "--token-file", str(token_file), "--relay-url", relay_url]
    paired = run([*agent, "--config", sidecar_file, "--json", *arguments])
    if paired.get("sidecar") != SIDECAR:
        raise Failed(f"paired as {paired}")


def hosted(suite, stack, provider, programs):
    agent, remote, client = programs
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ibkr-agent-")))
    port = free_port()
    url = f"http://127.0.0.1:{port}/mcp"
    relay = {"bind_address": "127.0.0.1:0", "state_dir": str(folder / "remote")}
    configuration = {**endpoint_configuration(port, url, provider), "relay": relay}
    remote_file = write(folder / "remote.yaml", configuration)
    sidecar_file = write(folder / "sidecar.yaml", sidecar_configuration(url, provider))
    endpoint = stack.enter_context(Server([remote, "--config", remote_file, "--json", "serve"]))
    started = endpoint.ready()
    wrong = differs("resource", started, url)
    suite.verdict("the remote serves what its configuration says", wrong)

    with_home = [agent, "--state-dir", str(folder / "sidecar")]
    subjects = [PERSON, *(machine["client_id"] for machine in provider["machines"])]
    files = (remote_file, sidecar_file)
    pair(with_home, remote, folder, files, started["relay_address"], subjects)
    suite.verdict("a join token of the running remote pairs the sidecar", None)

    command = [*with_home, "--config", sidecar_file, "--json", "--log", "info", "sidecar", "run"]
    sidecar = stack.enter_context(Server(command))
    sidecar.ready()
    sidecar.wait_for("relay.connected")
    suite.verdict("the sidecar dials out and is connected", None)

    suite.run_client(client, {**provider, "label": "oidc hosted", "url": url, "pairing": True})
    verify(suite, [*with_home, "--config", sidecar_file], provider)
    suite.verdict("the sidecar stops cleanly when told", sidecar.stop())
    suite.verdict("the remote stops cleanly when told", endpoint.stop())


def local(suite, stack, provider, programs):
    agent, _, client = programs
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ibkr-agent-")))
    port = free_port()
    url = f"http://127.0.0.1:{port}/mcp"
    file = write(folder / "local.yaml", endpoint_configuration(port, url, provider))
    command = [agent, "--state-dir", str(folder / "state"), "--config", file, "--json"]
    server = stack.enter_context(Server([*command, "mcp", "serve", "--transport", "http"]))
    started = server.ready()
    suite.verdict("one process serves the same over HTTP", differs("url", started, url))
    suite.run_client(client, {**provider, "label": "oidc local", "url": url, "pairing": False})
    verify(suite, command[:-1], provider)
    suite.verdict("the one process stops cleanly when told", server.stop())


def verify(suite, command, provider):
    audit = run([*command, "--json", "audit", "verify"])
    holds = audit.get("verified") is True and audit.get("size", 0) > expected_reads(provider)
    suite.verdict("the audit log verifies after all calls", None if holds else f"{audit}")


def expected_reads(provider):
    """Every machine and the person make two reads: at least that many records must be there."""
    return 2 * (len(provider["machines"]) + 1)


def differs(key, started, url):
    return None if started.get(key) == url else f"it says {started}"


def main():
    agent, remote, node_folder = sys.argv[1:]
    programs = (agent, remote, ["node", str(Path(node_folder) / "client.mjs")])
    suite = Suite()
    for scene in (hosted, local):
        with ExitStack() as stack:
            try:
                identity = Server(["node", str(Path(node_folder) / "provider.mjs")])
                provider = stack.enter_context(identity).ready()
                scene(suite, stack, provider, programs)
            except (Failed, NotReady, json.JSONDecodeError, subprocess.TimeoutExpired) as why:
                suite.verdict(f"every part starts and answers, {scene.__name__}", str(why))
    if suite.failures:
        sys.exit(f"failed: {', '.join(suite.failures)}")


if __name__ == "__main__":
    main()
