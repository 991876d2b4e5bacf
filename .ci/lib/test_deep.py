"""`.ci/deep`: what it runs, and that a check which ran nothing doesn't pass."""

import os
import pathlib
import subprocess
import tempfile
import unittest

DEEP = pathlib.Path(__file__).resolve().parents[1] / "deep"
OK = "test result: ok. {} passed; 0 failed; 0 ignored; 0 measured; 0 filtered out"


def deep(*words, says="", code=0):
    """Runs the script with a stand-in for cargo, which prints what it was asked and then `says`."""
    with tempfile.TemporaryDirectory() as folder:
        cargo = pathlib.Path(folder) / "cargo"
        asked = 'echo "seeds=$IBKR_AGENT_SEEDS $*"'
        cargo.write_text(f'#!/bin/sh\n{asked}\necho "{says}"\nexit {code}\n')
        cargo.chmod(0o755)
        path = f"{folder}:{os.environ['PATH']}"
        env = {**os.environ, "PATH": path, "DEEP_OUT": f"{folder}/out"}
        command = [DEEP, *words]
        return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


class Deep(unittest.TestCase):
    def test_without_a_name_it_lists_its_checks(self):
        told = deep()
        names = [line.split()[0] for line in told.stdout.splitlines()]
        self.assertEqual(names, ["seeds", "fuzz", "kills", "endurance", "fresh"])
        self.assertEqual(told.returncode, 0)

    def test_a_name_or_a_size_that_it_does_not_know_is_refused(self):
        for words in [("nothing",), ("seeds", "many"), ("seeds", "0"), ("seeds", "1", "2")]:
            self.assertEqual(deep(*words).returncode, 2, words)

    def test_seeds_hands_on_how_many(self):
        command = "test --release --locked -p ibkr-agent-engine simulation"
        for words, seeds in [(("seeds",), 100000), (("seeds", "7"), 7)]:
            told = deep(*words, says=OK.format(3))
            self.assertIn(f"seeds={seeds} {command}\n", told.stdout)
            self.assertTrue(told.stdout.endswith("\n3 passed, 0 failed\n"), told.stdout)
            self.assertEqual(told.returncode, 0)

    def test_a_check_that_ran_nothing_or_died_fails(self):
        for says, code in [(OK.format(0), 0), ("", 0), (OK.format(3), 101)]:
            told = deep("seeds", says=says, code=code)
            self.assertRegex(told.stdout, r"\n\d passed, 1 failed\n$")
            self.assertEqual(told.returncode, 1)


if __name__ == "__main__":
    unittest.main()
