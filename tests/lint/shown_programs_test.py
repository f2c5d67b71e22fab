#!/usr/bin/env python3
"""Programs that pages show are files that are built, so they work as they are shown."""

import re
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# The first program that a page shows, and the pages.
SHOWN = {
    "examples/hello/main.cc": ["README.md", "docs/guide.md", "examples/hello/README.md"],
    "tests/unit/sim/greeting_test.cc": ["docs/simulation.md"],
}


class ShownPrograms(unittest.TestCase):
    def test_pages_show_the_file(self):
        for file, pages in SHOWN.items():
            program = (ROOT / file).read_text()
            for page in pages:
                with self.subTest(page=page):
                    text = (ROOT / page).read_text()
                    blocks = re.findall(r"^```cpp[^\n]*\n(.*?)^```$", text, re.M | re.S)
                    self.assertEqual(blocks[:1], [program])


if __name__ == "__main__":
    unittest.main()
