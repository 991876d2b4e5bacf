"""Sabotage of the suites: a client or server that dies, hangs or says nothing must be a failure."""

import contextlib
import io
import sys
import unittest

import counts
import suites


def python(code):
    return [sys.executable, "-c", code]


class Clients(unittest.TestCase):
    def outcome(self, code):
        """What is remembered and what would be counted of a client that runs this code."""
        suite = suites.Suite()
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            suite.run_client(python(code), {"label": "client"})
        return suite.failures, counts.plain(printed.getvalue())

    def test_a_client_that_passes_is_counted(self):
        self.assertEqual(self.outcome("print('3 passed, 0 failed')"), ([], (3, 0)))

    def test_a_client_that_fails_is_counted_once(self):
        code = "print('2 passed, 1 failed'); raise SystemExit(1)"
        self.assertEqual(self.outcome(code), (["client"], (2, 1)))

    def test_a_client_that_dies_without_counts_is_a_failure(self):
        self.assertEqual(self.outcome("raise SystemExit(3)"), (["client"], (0, 1)))

    def test_a_client_that_ends_well_without_counts_is_a_failure(self):
        self.assertEqual(self.outcome("print('hello')"), (["client"], (0, 1)))

    def test_a_client_that_dies_after_its_counts_is_a_failure(self):
        code = "print('3 passed, 0 failed'); raise SystemExit(1)"
        self.assertEqual(self.outcome(code), (["client"], (3, 1)))


class Servers(unittest.TestCase):
    def test_a_ready_server_gives_its_json_over_several_lines(self):
        code = "import sys; print('{\\n\"url\":\\n1}', flush=True); sys.stdin.read()"
        with suites.Server(python(code)) as server:
            self.assertEqual(server.ready(), {"url": 1})

    def test_a_server_that_ends_before_it_is_ready_is_told_with_its_words(self):
        code = "import sys; sys.stderr.write('no port'); sys.exit(7)"
        with suites.Server(python(code)) as server:
            with self.assertRaisesRegex(suites.NotReady, "ended with 7.*no port"):
                server.ready()

    def test_a_server_that_ends_by_itself_did_not_stop_cleanly(self):
        with suites.Server(python("pass")) as server:
            server.process.wait()
            self.assertIn("ended by itself with 0", server.stop())

    def test_a_server_that_ends_cleanly_when_told_is_fine(self):
        code = (
            "import signal, sys\n"
            "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\n"
            "print('{}', flush=True)\n"
            "signal.pause()\n"
        )
        with suites.Server(python(code)) as server:
            server.ready()
            self.assertIsNone(server.stop())

    def test_a_server_that_dies_of_the_signal_did_not_stop_cleanly(self):
        code = "import signal; print('{}', flush=True); signal.pause()"
        with suites.Server(python(code)) as server:
            server.ready()
            self.assertIn("exit code -15", server.stop())

    def test_words_that_never_come_are_a_failure(self):
        with suites.Server(python("import sys; sys.stderr.write('up\\n')")) as server:
            server.wait_for("up")
            server.process.wait()
            with self.assertRaisesRegex(suites.NotReady, "never said 'connected'"):
                server.wait_for("connected")


if __name__ == "__main__":
    unittest.main()
