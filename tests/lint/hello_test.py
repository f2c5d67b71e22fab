#!/usr/bin/env python3
"""The first program that a page shows is examples/hello, as it is built."""

import re
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class Hello(unittest.TestCase):
    def test_pages_show_the_file(self):
        program = (ROOT / "examples/hello/main.cc").read_text()
        for page in ("README.md", "docs/guide.md", "examples/hello/README.md"):
            with self.subTest(page=page):
                text = (ROOT / page).read_text()
                blocks = re.findall(r"^```cpp[^\n]*\n(.*?)^```$", text, re.M | re.S)
                self.assertEqual(blocks[:1], [program])


if __name__ == "__main__":
    unittest.main()
