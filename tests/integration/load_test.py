#!/usr/bin/env python3
"""weir-load: what it measures, what it notices, how it ends."""

import json
import re
import signal
import socket
import threading
import unittest

from harness import BIN, SystemTest, raise_descriptor_limit, wait_until


class Liar(threading.Thread):
    """A server of one client that answers what `reply` makes of what it is sent."""

    def __init__(self, reply):
        super().__init__()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        self.reply = reply
        self.start()

    def run(self):
        with self.listener:
            client, _ = self.listener.accept()
            with client:
                try:
                    while data := client.recv(65536):
                        answer = self.reply(data)
                        if answer is None:
                            return
                        client.sendall(answer)
                except OSError:
                    pass


class Load(SystemTest):
    def load(self, *arguments, status=0):
        """(output, errors, report)"""
        report = self.path("report.json")
        load = self.program([BIN / "weir-load", "echo", *arguments, "--json", report])
        self.assertEqual(load.wait(60), status, load.errors())
        output, errors = load.rest_of_output(), load.errors()
        with open(report) as file:
            return output, errors, json.load(file)

    def test_report(self):
        server = self.echo(["127.0.0.1:0"], "--threads", "2")
        output, errors, report = self.load(server.address, "--connections", "20", "--size", "100",
                                           "--depth", "4", "--duration", "1.5", "--threads", "2")
        self.assertEqual([report[key] for key in ("connections", "size", "depth", "errors")],
                         [20, 100, 4, 0])
        self.assertGreater(report["messages"], 80)
        self.assertAlmostEqual(report["duration_s"], 1.5, delta=0.5)
        self.assertAlmostEqual(report["rate"], report["messages"] / report["duration_s"],
                               delta=0.01 * report["rate"])
        self.assertAlmostEqual(report["mb_per_s"], report["rate"] * 100 / 1e6, delta=0.01)
        latency = [report["latency_us"][key] for key in ("p50", "p90", "p99", "p999", "max")]
        self.assertGreater(latency[0], 0)
        self.assertEqual(latency, sorted(latency))
        self.assertRegex(output, r"(?m)^  errors    0$")
        # One plain line a second, as standard error is not a terminal.
        self.assertRegex(errors, r"(?m)^ +1 s  [\d,]+/s  .* MB/s  p50 .*  p99 .*  errors 0$")
        self.end(server)

    def test_all_kinds_of_addresses_and_sizes(self):
        server = self.echo(["127.0.0.1:0", "[::1]:0", f"unix:{self.path('sock')}"])
        for address in server.addresses:
            for size, depth in ((1, 1), (64, 1000), (1_000_000, 3)):
                _, _, report = self.load(address, "--connections", "5", "--size", str(size),
                                         "--depth", str(depth), "--duration", "0.2")
                self.assertGreater(report["messages"], 0)

    def test_many_clients(self):
        raise_descriptor_limit()
        server = self.echo(["127.0.0.1:0", f"unix:{self.path('sock')}"])
        for address in server.addresses:
            _, _, report = self.load(address, "--connections", "3000", "--duration", "0.5")
            self.assertGreaterEqual(report["messages"], 3000)
        self.end(server)

    def test_nobody_there(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            address = "127.0.0.1:%d" % listener.getsockname()[1]
        output, _, report = self.load(address, "--connections", "3", status=1)
        self.assertEqual((report["messages"], report["errors"]), (0, 3))
        self.assertRegex(output, r"(?m)^ +3  connect: Connection refused \(ECONNREFUSED\)$")

    def test_too_many_for_the_server(self):
        server = self.echo(["127.0.0.1:0"], "--max-connections", "4")
        output, _, report = self.load(server.address, "--connections", "6", "--duration", "0.5",
                                      status=1)
        self.assertEqual(report["errors"], 2)
        self.assertGreater(report["messages"], 0)

    def check_liar(self, reply, kind):
        liar = Liar(reply)
        output, _, report = self.load(liar.address, "--connections", "1", "--duration", "0.5",
                                      status=1)
        liar.join()
        self.assertEqual(report["errors"], 1)
        self.assertIn(kind, output)

    def test_a_server_that_changes_a_byte(self):
        self.check_liar(lambda data: data[:-1] + bytes([data[-1] ^ 1]), "other bytes came back")

    def test_a_server_that_says_too_much(self):
        self.check_liar(lambda data: data + b"!", "more bytes came back than were sent")

    def test_a_server_that_hangs_up(self):
        self.check_liar(lambda data: None, "closed by the server")

    def test_a_server_that_keeps_a_byte(self):
        self.check_liar(lambda data: data[:-1], "no answer in time")

    def test_ctrl_c_ends_it_early_with_the_report(self):
        server = self.echo()
        load = self.program([BIN / "weir-load", "echo", server.address, "--duration", "600"])
        self.assertTrue(wait_until(lambda: re.search("2 s ", load.errors())))
        load.signal(signal.SIGINT)
        self.assertEqual(load.wait(10), 0, load.errors())
        self.assertRegex(load.rest_of_output(), r"(?m)^  latency   p50 .* max .*\n  errors    0$")

    def test_bad_words(self):
        for arguments in ([], ["echo"], ["echo", "nonsense"],
                          ["echo", "127.0.0.1:80", "--size", "0"],
                          ["knock", "127.0.0.1:80"]):
            with self.subTest(arguments=arguments):
                load = self.program([BIN / "weir-load", *arguments])
                self.assertEqual(load.wait(), 2)
                self.assertRegex(load.errors(), "^error: .*\n$")


if __name__ == "__main__":
    unittest.main()
