"""weir-parts-compare: every library that was found is in every table, with figures of all that was
asked for. Nothing is said about how fast it is; the program itself fails when a timer or a post is
lost."""

import os
import re
import subprocess
import unittest
from pathlib import Path

PROGRAM = Path(os.environ.get("WEIR_BIN", "build/dev/bin"), "weir-parts-compare")
# The ways of each library to have timers. All have one way to post.
TIMERS = {"weir": ["weir", "weir, by the clock"], "libev": ["libev"], "libuv": ["libuv"],
          "asio": ["Asio"], "libevent": ["libevent", "libevent, common timeout"]}
POSTS = {name: ways[0] for name, ways in TIMERS.items()}
FOUND = os.environ.get("WEIR_PARTS", ",".join(TIMERS)).split(",")

FIGURES = r"(\d+\.\d)  +(\d+\.\d) - (\d+\.\d)  +(\d+\.\d\d)x"


def run(*options, code=0):
    done = subprocess.run([PROGRAM, *options], capture_output=True, text=True, timeout=100,
                          check=False)
    if done.returncode != code:
        raise AssertionError(f"{options} ended with {done.returncode}: {done.stderr}")
    return done


def rows(text, before, figures):
    """{what a row begins with: its groups of median, least, most, ratio}"""
    pattern = re.compile(f"^{before}" + f"  +{FIGURES}" * figures + "$", re.MULTILINE)
    return {match.group(1): [float(one) for one in match.groups()[1:]]
            for match in pattern.finditer(text)}


class Compare(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.text = run("--quick", "--rounds", "2").stdout

    def check_figures(self, name, figures):
        for at in range(0, len(figures), 4):
            median, least, most, ratio = figures[at:at + 4]
            with self.subTest(name, column=at):
                self.assertGreater(median, 0)
                self.assertLessEqual(least, median)
                self.assertLessEqual(median, most)
                if name.split("  ")[-1] == "weir":
                    self.assertEqual(ratio, 1)

    def test_timers_of_each_library(self):
        found = rows(self.text, r" *([\d,]+  .*?)", 2)
        expected = [f"{live}  {way}" for live in ("1,000", "100,000")
                    for name in FOUND for way in TIMERS[name]]
        self.assertEqual(sorted(found), sorted(expected))
        for name, figures in found.items():
            self.check_figures(name, figures)

    def test_posts_of_each_library(self):
        for figures in (2, 1):  # one and two threads; the round trip
            found = rows(self.text, r"([A-Za-z]\w+)", figures)
            self.assertEqual(sorted(found), sorted(POSTS[name] for name in FOUND))
            for name, numbers in found.items():
                self.check_figures(name, numbers)

    def test_a_library_that_is_not_there_is_said_to_be_missing(self):
        self.assertEqual(self.text.count("missing: "), len(TIMERS) - len(FOUND))

    def test_it_says_what_is_called(self):
        self.assertRegex(self.text, r"post +weir +EventLoop::post\(\)")

    def test_columns_are_aligned(self):
        lines = self.text.splitlines()
        for head in (i for i, line in enumerate(lines) if " min - max " in line):
            for line in lines[head + 1:]:
                if line.startswith("One ") or line.startswith("Posts ") or "What is" in line:
                    break
                if line:
                    self.assertEqual(len(line), len(lines[head]), line)


class CommandLine(unittest.TestCase):
    def test_help(self):
        text = run("--help").stdout
        for option in ("--quick", "--rounds", "--only"):
            self.assertIn(option, text)

    def test_one_part_alone(self):
        text = run("--quick", "--rounds", "1", "--only", "post").stdout
        self.assertNotIn("Timers", text)
        self.assertIn("round trip", text)

    def test_what_makes_no_sense_is_refused_in_a_sentence(self):
        for options in (["--what"], ["--rounds", "0"], ["--rounds", "many"], ["--only", "echo"],
                        ["more"]):
            with self.subTest(options):
                done = run(*options, code=2)
                self.assertEqual(done.stdout, "")
                self.assertRegex(done.stderr, r"\Aerror: [^\n]+\n\Z")


if __name__ == "__main__":
    unittest.main()
