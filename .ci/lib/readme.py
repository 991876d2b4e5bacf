"""Prints the commands of README's first fenced block of shell, one a line, without their comments.

Usage: readme.py FILE. A file without such a block, or with an empty one, is an error: what a
newcomer is told to type must be what is checked.
"""

import re
import sys

BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.M | re.S)
COMMENT = re.compile(r"(^|\s+)#\s.*$")


def commands(text: str) -> list[str]:
    block = BLOCK.search(text)
    lines = block.group(1).splitlines() if block else []
    stripped = (COMMENT.sub("", line).strip() for line in lines)
    return [line for line in stripped if line]


def main() -> int:
    with open(sys.argv[1], encoding="utf-8") as page:
        found = commands(page.read())
    print(*found, sep="\n", end="\n" if found else "")
    return 0 if found else 1


if __name__ == "__main__":
    sys.exit(main())
