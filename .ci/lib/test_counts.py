"""Sabotage of the counting: what failed, died or wasn't built must never look like a pass."""

import unittest

import counts

OK = "running 2 tests\ntest result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n"
RED = "running 3 tests\ntest result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured\n"


class Counts(unittest.TestCase):
    def test_results_are_summed(self):
        self.assertEqual(counts.cargo(OK + RED + OK), (6, 1))

    def test_a_target_that_died_is_a_failure(self):
        self.assertEqual(counts.cargo(OK + "running 5 tests\nSIGABRT\n"), (2, 1))

    def test_a_target_that_does_not_compile_is_a_failure(self):
        broken = "error: could not compile `x` (lib test) due to 2 previous errors\n"
        self.assertEqual(counts.cargo(OK + broken), (2, 1))

    def test_an_ignored_test_is_a_failure(self):
        text = "running 2 tests\ntest result: ok. 1 passed; 0 failed; 1 ignored; 0 measured\n"
        self.assertEqual(counts.cargo(text), (1, 1))

    def test_nothing_is_nothing(self):
        self.assertEqual(counts.cargo(""), (0, 0))
        self.assertEqual(counts.plain("5 passed, no failures\n"), (0, 0))

    def test_plain_lines_are_summed_and_prose_is_not(self):
        text = "3 passed, 0 failed\nsaid: 9 passed, 9 failed\n2 passed, 1 failed\n"
        self.assertEqual(counts.plain(text), (5, 1))


if __name__ == "__main__":
    unittest.main()
