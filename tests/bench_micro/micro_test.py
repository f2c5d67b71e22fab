"""Every micro benchmark runs for a moment, has measured something, and has the name that reports
and the documentation know it by. Nothing is said about how fast it is."""

import json
import math
import os
import subprocess
import unittest
from pathlib import Path

BIN = Path(os.environ.get("WEIR_BIN", "build/dev/bin"))


def each(name, key, values):
    return [f"{name}/{key}:{value}" for value in values]


def timers(name, suffix="/manual_time"):
    return [f"{name}/live:{live}{suffix}" for live in (1000, 100000, 1000000)]


CODECS = ("line", "delimiter", "length_prefixed", "varint")

EXPECTED = [
    *each("buffer_append_consume", "bytes", (64, 1024, 16384)),
    *each("buffer_grow", "bytes", (64, 1024)),
    "buffer_lend",
    "buffer_lend_and_keep",
    *each("buffer_find", "bytes", (64, 65536)),
    "buffer_integers",
    *each("output_queue_copy", "messages", (1, 32)),
    *each("output_queue_share", "messages", (1, 32)),
    "output_queue_take_over",
    "output_queue_iovecs",
    "output_queue_consume_partly",
    *timers("timer_change/schedule_rising"),
    *timers("timer_change/schedule_random"),
    *timers("timer_change/cancel_rising"),
    *timers("timer_change/cancel_random"),
    *timers("timer_expire/rising"),
    *timers("timer_expire/random"),
    *timers("timer_fill"),
    *timers("timer_empty"),
    *each("timer_move/run_at", "live", (1000, 1000000)),
    *each("timer_move/run_after", "live", (1000, 1000000)),
    *each("idle_touch", "connections", (100, 10000)),
    *each("idle_schedule", "connections", (100, 10000)),
    *each("idle_expire", "connections", (10000, 100000)),
    *(f"post_from_threads/{kind}/threads:{n}/manual_time"
      for kind in ("sustained", "burst") for n in (1, 2, 4)),
    "post_call/manual_time",
    "post_own_thread",
    "post_round_trip/real_time",
    *each("channel_dispatch", "channels", (1, 16, 512, 4096)),
    *each("bare_epoll", "channels", (1, 16, 512, 4096)),
    "loop_turn",
    *each("slot_map_find", "live", (1000, 100000, 1000000)),
    *each("slot_map_find_stale", "live", (1000, 100000)),
    *(f"slot_map_change/{what}/live:{live}/manual_time"
      for what in ("insert", "erase") for live in (1000, 100000)),
    *(f"{what}/{codec}" for what in ("decode_small", "decode_large", "decode_bytewise")
      for codec in CODECS),
    *(f"encode/{codec}/bytes:{size}" for codec in CODECS for size in (32, 16384)),
    *(f"address_parse/{kind}" for kind in ("ipv4", "ipv6", "unix_path")),
    "address_refuse",
    *(f"address_format/{kind}" for kind in ("ipv4", "ipv6", "unix_path")),
    "address_from_sockaddr/ipv4",
    *(f"address_{what}/{kind}" for what in ("equal", "hash") for kind in ("ipv4", "unix_path")),
]

# No allocation once they are warm, whatever the machine.
WITHOUT_ALLOCATION = ("buffer_append_consume", "buffer_lend", "buffer_find", "buffer_integers",
                      "output_queue_copy", "output_queue_share", "output_queue_iovecs",
                      "idle_", "channel_dispatch", "slot_map_find", "decode_", "address_parse/ip",
                      "address_equal", "address_hash")
WITH_ALLOCATION = ("buffer_lend_and_keep",)


def run(program, *options, code=0):
    done = subprocess.run([BIN / program, *options], capture_output=True, text=True, timeout=100,
                          check=False)
    if done.returncode != code:
        raise AssertionError(f"{program} {options} ended with {done.returncode}: {done.stderr}")
    return done


class Micro(unittest.TestCase):
    def test_the_names_are_those_that_are_known(self):
        listed = run("weir-micro", "--benchmark_list_tests").stdout.split()
        self.assertEqual(sorted(listed), sorted(EXPECTED))

    def test_every_benchmark_measures_something(self):
        output = run("weir-micro", "--benchmark_min_time=0.0001", "--benchmark_format=json").stdout
        results = {one["name"]: one for one in json.loads(output)["benchmarks"]}
        self.assertEqual(sorted(results), sorted(EXPECTED))
        for name, one in results.items():
            with self.subTest(name):
                self.assertNotIn("error_occurred", one, one.get("error_message"))
                self.assertGreater(one["iterations"], 0)
                for figure in ("items_per_second", "per_item", "real_time"):
                    self.assertTrue(math.isfinite(one[figure]) and one[figure] > 0,
                                    f"{figure}: {one[figure]}")
                if name.startswith(WITHOUT_ALLOCATION) and not name.startswith(WITH_ALLOCATION):
                    self.assertLess(one["allocs"], 0.01)

    def test_a_name_that_does_not_exist_is_an_error(self):
        done = run("weir-micro", "--benchmark_filter=no_such_thing", code=1)
        self.assertIn("error: no benchmark has this name", done.stderr)


class Sizes(unittest.TestCase):
    def test_table_and_json_say_the_same(self):
        data = json.loads(run("weir-sizes", "--json").stdout)
        table = run("weir-sizes").stdout
        for group in ("sizeof", "heap"):
            for what in data[group]:
                self.assertIn(f"\n{what} ", table)
        connection = data["heap"]["an idle connection, accepted"]["bytes"]
        self.assertGreaterEqual(connection, data["sizeof"]["Connection"])
        self.assertGreater(data["sizeof"]["Connection"], 100)  # the object, not its face

    def test_an_unknown_option_is_refused(self):
        self.assertIn("error: ", run("weir-sizes", "--what", code=2).stderr)


class PollCompare(unittest.TestCase):
    def test_every_way_finds_what_is_ready(self):
        lines = run("weir-poll-compare", "10", "4").stdout.splitlines()
        self.assertEqual([line.split()[0] for line in lines[3:]], ["10", "100", "1000", "10000"])

    def test_what_is_no_number_is_refused(self):
        self.assertIn("error: ", run("weir-poll-compare", "many", code=2).stderr)


if __name__ == "__main__":
    unittest.main()
