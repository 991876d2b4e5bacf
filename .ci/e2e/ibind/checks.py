"""What both clients share: the target, the library's client, and checks that count.

Every check asserts values. An error that the library raises fails the check it comes from, and an
error that it logs fails the check during which it was logged: it logs instead of raising where it
can't make sense of a message.
"""

import contextlib
import json
import logging
import os
import time
import warnings

from ibind import IbkrClient

TARGET = json.loads(os.environ["SUITE_TARGET"])
ACCOUNT = "DU1234567"
SECOND = "DU7654321"
AAPL = "265598"
PATIENCE = 15.0

# The gateway's certificate is expired and names nobody; the connection is to loopback.
warnings.filterwarnings("ignore", message="Unverified HTTPS request")


class Failed(Exception):
    """A check that didn't hold."""


class Errors(logging.Handler):
    """Keeps what the library logs as an error."""

    def __init__(self):
        super().__init__(logging.ERROR)
        self.seen = []

    def emit(self, record):
        self.seen.append(record.getMessage())


class Checks:
    """Counts and prints every check."""

    def __init__(self):
        self.passed = 0
        self.failed = 0
        self.errors = Errors()
        logging.getLogger().addHandler(self.errors)

    @contextlib.contextmanager
    def check(self, name, expected=None):
        """One check. What the library may log as an error meanwhile holds the expected words."""
        self.errors.seen.clear()
        try:
            yield
            odd = [line for line in self.errors.seen if expected is None or expected not in line]
            require(not odd, f"the library logged {odd}")
        except Exception as error:  # every failure of a check is counted, whatever it is
            self.failed += 1
            text = f"{type(error).__name__}: {error}"
            print(f"FAIL  {TARGET['label']}: {name}: {text[:2000]}", flush=True)
        else:
            self.passed += 1
            print(f"ok    {TARGET['label']}: {name}", flush=True)

    def end(self):
        print(f"{self.passed} passed, {self.failed} failed", flush=True)
        return 1 if self.failed or not self.passed else 0


def client():
    """The library's REST client as its users make it for the gateway."""
    return IbkrClient(
        account_id=ACCOUNT,
        url=TARGET["url"],
        cacert=False,
        timeout=10,
        max_retries=0,
        use_oauth=False,
    )


def require(condition, message):
    if not condition:
        raise Failed(message)


def equal(found, expected):
    require(found == expected, f"{found!r} instead of {expected!r}")


def keys(found, *names):
    """The value, which has all of these keys."""
    missing = [name for name in names if name not in found]
    require(not missing, f"{missing} missing in {found!r}")
    return found


def text_number(found):
    """The number in a text, which may carry a `C` or `H` and thousands separators."""
    require(isinstance(found, str), f"{found!r} is no text")
    return float(found.lstrip("CH").replace(",", ""))


def until(what, probe):
    """Asks until the answer holds; gives it."""
    deadline = time.monotonic() + PATIENCE
    while True:
        found = probe()
        if found:
            return found
        require(time.monotonic() < deadline, f"not within {PATIENCE} s: {what}")
        time.sleep(0.2)
