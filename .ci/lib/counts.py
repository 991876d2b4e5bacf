"""Reads how many tests passed and failed from a runner's own output.

Usage: counts.py cargo|plain LOG; prints two numbers, "PASSED FAILED".

cargo: every "test result:" line of cargo test, and every test target or doctest that couldn't be
built or died without such a line counts as one failure.
plain: every line that is exactly "N passed, N failed".
"""

import re
import sys

RESULT = re.compile(r"^test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored;", re.M)
STARTED = re.compile(r"^running \d+ tests?$", re.M)
BROKEN = re.compile(r"^error: could not compile .*$", re.M)
PLAIN = re.compile(r"^(\d+) passed, (\d+) failed$", re.M)


def cargo(text: str) -> tuple[int, int]:
    """An ignored test is a failure: the house rules allow none."""
    results = RESULT.findall(text)
    passed = sum(int(result[0]) for result in results)
    failed = sum(int(result[1]) + int(result[2]) for result in results)
    died = max(0, len(STARTED.findall(text)) - len(results))
    return passed, failed + died + len(BROKEN.findall(text))


def plain(text: str) -> tuple[int, int]:
    lines = PLAIN.findall(text)
    return sum(int(line[0]) for line in lines), sum(int(line[1]) for line in lines)


READERS = {"cargo": cargo, "plain": plain}


def main() -> int:
    reader, path = sys.argv[1:]
    with open(path, encoding="utf-8", errors="replace") as log:
        passed, failed = READERS[reader](log.read())
    print(passed, failed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
