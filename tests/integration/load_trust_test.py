#!/usr/bin/env python3
"""Whether weir-load may be believed: it is held against what servers know themselves."""

import math
import unittest

from harness import SANITIZER, raise_descriptor_limit
from load_servers import Echoing, Flipping, LoadTest, Slow, Stalling


def percentile(values, p):
    ordered = sorted(values)
    return ordered[max(0, math.ceil(p / 100 * len(ordered)) - 1)]


class Trust(LoadTest):
    def check_percentiles(self, *options):
        """A third of the answers comes late, so p50 and p90 are far apart. Never too little is
        shown; how much too much a machine adds that has other things to do is not weir-load's."""
        for _ in range(8):
            with Slow(size=64, delays=[0.7, 0.7, 1.4]) as server:
                _, _, report = self.load("echo", server.address, "--connections", "10", *options)
            self.assertEqual(report["messages"], len(server.took))
            excess = []
            for p, key, exact in ((50, "p50", 0.7), (90, "p90", 1.4)):
                shown, known = report["latency_us"][key] / 1e6, percentile(server.took, p)
                self.assertGreaterEqual(shown, exact, key)
                self.assertGreaterEqual(shown, 0.999 * known, key)
                # An open loop tells how late it was itself.
                late = report["generator"].get("late_us", {"max": 0})["max"] / 1e6
                excess.append((shown - late) / known - 1)
            if max(excess) < 0.02:
                return
        self.fail(f"p50 and p90 are off by {excess}")

    def test_percentiles_of_a_known_delay(self):
        self.check_percentiles("--messages", "20")

    def test_percentiles_of_a_known_delay_in_an_open_loop(self):
        # Each connection is asked once.
        self.check_percentiles("--messages", "10", "--rate", "10")

    def test_an_open_loop_shows_a_stall(self):
        with Stalling(after=64 * 300, seconds=0.5) as server:
            output, _, report = self.load("echo", server.address, "--connections", "10", "--rate",
                                          "500", "--messages", "1000")
        self.assertEqual(report["messages"], 1000)
        self.assertGreater(report["latency_us"]["p999"], 0.9 * 1e6 * server.stalled)
        self.assertGreater(report["latency_us"]["max"], 0.97 * 1e6 * server.stalled)
        # A quarter of all requests was due within the stall, and had to wait for half of it.
        self.assertGreater(report["latency_us"]["p90"], 0.4 * 1e6 * server.stalled)
        self.assertTrue(report["sees_stalls"])
        self.assertRegex(output, r"(?m)^  loop       open: latency counts from the scheduled time")

    def test_a_closed_loop_says_that_it_is_blind(self):
        with Stalling(after=64 * 300, seconds=0.5) as server:
            output, _, report = self.load("echo", server.address, "--connections", "1",
                                          "--messages", "2000")
        self.assertGreater(report["latency_us"]["max"], 0.97 * 1e6 * server.stalled)
        # One message in 2,000 saw it.
        self.assertLess(report["latency_us"]["p999"], 0.4 * 1e6 * server.stalled)
        self.assertFalse(report["sees_stalls"])
        self.assertRegex(output, r"(?m)^  loop       closed: does not show coordinated omission")

    def test_counts_are_those_of_the_server(self):
        raise_descriptor_limit()
        with Echoing() as server:
            _, _, report = self.load("echo", server.address, "--connections", "300", "--depth", "3",
                                     "--size", "100", "--warmup", "0.3", "--duration", "0.7",
                                     "--threads", "2")
        self.assertEqual(report["messages"], report["sent"])
        self.assertEqual(100 * (report["messages"] + report["warmup_messages"]), server.bytes)
        self.assertEqual(report["connected"], server.connections)

    def test_one_bit_in_a_million_messages(self):
        count = 100_000 if SANITIZER else 1_000_000
        message = count * 7 // 10
        with Flipping(where=64 * message + 33) as server:
            output, _, report = self.load("echo", server.address, "--connections", "1", "--depth",
                                          "1024", "--messages", str(count), "--verify", status=1)
        self.assertEqual(report["errors_by_kind"], {"other bytes came back than were sent": 1})
        self.assertEqual(report["messages"], count - 1)
        self.assertEqual(report["first_difference"],
                         f"connection 0, byte {64 * message + 33} (of message {message})")

    def test_it_says_when_it_is_the_bottleneck(self):
        # More than any machine can send, so it must fall behind its schedule.
        with Echoing() as server:
            output, _, report = self.load("echo", server.address, "--connections", "1", "--rate",
                                          "100000000", "--messages", "20000")
        self.assertTrue(report["generator"]["bottleneck"])
        self.assertIn("generator  was itself the bottleneck: ", output)


if __name__ == "__main__":
    unittest.main()
