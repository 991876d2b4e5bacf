"""README's commands: taken as they are printed, and never none in silence."""

import pathlib
import unittest

import readme

ROOT = pathlib.Path(__file__).resolve().parents[2]


class Readme(unittest.TestCase):
    def test_comments_and_other_blocks_are_left_out(self):
        page = "a\n```json\nno\n```\n```sh\n# all\none --x # y\ntwo '#1'\n\n```\n```sh\nno\n```\n"
        self.assertEqual(readme.commands(page), ["one --x", "two '#1'"])

    def test_a_page_without_a_block_has_no_command(self):
        self.assertEqual(readme.commands("```rust\nlet x;\n```\n"), [])

    def test_our_readme_begins_with_the_demo_and_the_tests(self):
        demo, tests = readme.commands((ROOT / "README.md").read_text(encoding="utf-8"))
        self.assertRegex(demo, r"^cargo run .*-- demo$")
        self.assertRegex(tests, r"^cargo test --workspace$")


if __name__ == "__main__":
    unittest.main()
