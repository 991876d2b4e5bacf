"""What the suites under .ci/e2e/ share: servers under test, clients that count, and verdicts.

A server is a process that prints one JSON value on standard output when it is ready. A client is a
process that gets its target in the environment variable SUITE_TARGET and prints a line per check
and `N passed, N failed` at its end. Everything has a time limit; nothing is retried.
"""

import collections
import json
import os
import queue
import signal
import subprocess
import threading
import time

READY_SECONDS = 120
CLIENT_SECONDS = 300
STOP_SECONDS = 20
KEPT_LINES = 400


class Suite:
    """Prints and remembers what failed."""

    def __init__(self):
        self.failures = []

    def verdict(self, name, failure):
        """One check of the suite itself; a failure is a text, none is a pass."""
        if failure:
            self.failures.append(name)
        print(f"FAIL  {name}: {failure}" if failure else f"ok    {name}")
        print("0 passed, 1 failed" if failure else "1 passed, 0 failed", flush=True)
        return not failure

    def run_client(self, command, target):
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
            self.failures.append(target["label"])
        if not counted or (code != 0 and last.endswith(", 0 failed")):
            print(f"FAIL  {target['label']}: ended with {code}, after: {last[:200]}")
            print("0 passed, 1 failed", flush=True)


class NotReady(Exception):
    """A server that didn't start, or didn't say what was waited for; holds its own words."""


class Server:
    """A process under test; leaving its block kills it if it wasn't stopped before."""

    def __init__(self, command, env=None):
        self.process = subprocess.Popen(
            command,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        self.lines = queue.Queue()
        self.talk = collections.deque(maxlen=KEPT_LINES)
        self.told = threading.Condition()
        self.silent = False
        reads = (self._read_stdout, self._read_stderr)
        self.readers = [threading.Thread(target=read, daemon=True) for read in reads]
        for reader in self.readers:
            reader.start()

    def _read_stdout(self):
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put(None)

    def _read_stderr(self):
        for line in self.process.stderr:
            with self.told:
                self.talk.append(line)
                self.told.notify_all()
        with self.told:
            self.silent = True
            self.told.notify_all()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for reader in self.readers:
            reader.join(STOP_SECONDS)
        if not any(reader.is_alive() for reader in self.readers):
            self.process.stdout.close()
            self.process.stderr.close()

    def said(self):
        with self.told:
            return "".join(self.talk)[-2000:]

    def ready(self):
        """The JSON value that the server prints when it is ready, on one line or several."""
        until = time.monotonic() + READY_SECONDS
        text = ""
        while True:
            try:
                line = self.lines.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                raise NotReady(f"not ready in {READY_SECONDS} s; it said: {self.said()}") from None
            if line is None:
                code = self.process.wait()
                self.readers[1].join(STOP_SECONDS)
                raise NotReady(f"ended with {code}, after {text!r}; it said: {self.said()}")
            text += line
            try:
                return json.loads(text)
            except json.JSONDecodeError:
                continue

    def wait_for(self, words):
        """Waits until a line of the log holds these words."""

        def told():
            return any(words in line for line in self.talk)

        with self.told:
            self.told.wait_for(lambda: told() or self.silent, timeout=READY_SECONDS)
            if told():
                return
        raise NotReady(f"never said {words!r}; it said: {self.said()}")

    def stop(self):
        """Ends it with SIGTERM; gives what went wrong, or none."""
        if self.process.poll() is not None:
            return f"it ended by itself with {self.process.returncode}; it said: {self.said()}"
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return f"still running {STOP_SECONDS} s after SIGTERM"
        return None if code == 0 else f"exit code {code}; it said: {self.said()}"
