#!/usr/bin/env python3
"""weir-load: what it measures, what it notices, how it ends."""

import json
import os
import re
import signal
import socket
import unittest

from harness import BIN, SANITIZER, Program, raise_descriptor_limit, receive_exactly, wait_until
from load_servers import Broadcasting, Echoing, FallingSilent, LoadTest, Reversing, Script


class Echo(LoadTest):
    def test_report(self):
        server = self.echo(["127.0.0.1:0"], "--threads", "2")
        output, errors, report = self.load("echo", server.address, "--connections", "20",
                                           "--size", "100", "--depth", "4",
                                           "--duration", "1.5", "--threads", "2")
        self.assertEqual([report[key] for key in ("connections", "size", "depth", "errors")],
                         [20, 100, 4, 0])
        self.assertGreater(report["messages"], 80)
        self.assert_about(report["duration_s"], 1.5)
        self.assertAlmostEqual(report["rate"], report["messages"] / report["duration_s"],
                               delta=0.01 * report["rate"])
        self.assertAlmostEqual(report["mb_per_s"], report["rate"] * 100 / 1e6, delta=0.01)
        latency = [report["latency_us"][key] for key in ("p50", "p90", "p99", "p999", "max")]
        self.assertGreater(latency[0], 0)
        self.assertEqual(latency, sorted(latency))
        self.assertRegex(output, r"(?m)^  errors     0$")
        # One plain line a second, as standard error is not a terminal.
        self.assertRegex(errors, r"(?m)^ +1 s  [\d,]+/s  .* MB/s  p50 .*  p99 .*  errors 0$")
        self.end(server)

    def test_all_kinds_of_addresses_and_sizes(self):
        server = self.echo(["127.0.0.1:0", "[::1]:0", f"unix:{self.path('sock')}"])
        for address in server.addresses:
            for size, depth in ((1, 1), (64, 1000), (1_000_000, 3)):
                _, _, report = self.load("echo", address, "--connections", "5", "--size", str(size),
                                         "--depth", str(depth), "--duration", "0.2")
                self.assertGreater(report["messages"], 0)

    def test_many_clients(self):
        raise_descriptor_limit()
        server = self.echo(["127.0.0.1:0", f"unix:{self.path('sock')}"])
        for address in server.addresses:
            _, _, report = self.load("echo", address, "--connections", "3000", "--duration", "0.5")
            self.assertGreaterEqual(report["messages"], 3000)
        self.end(server)

    def test_nobody_there(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            address = "127.0.0.1:%d" % listener.getsockname()[1]
        output, _, report = self.load("echo", address, "--connections", "3", status=1)
        self.assertEqual((report["messages"], report["errors"]), (0, 3))
        self.assertRegex(output, r"(?m)^ +3  connect: Connection refused \(ECONNREFUSED\)$")

    def test_too_many_for_the_server(self):
        server = self.echo(["127.0.0.1:0"], "--max-connections", "4")
        output, _, report = self.load("echo", server.address, "--connections", "6",
                                      "--duration", "0.5", status=1)
        self.assertEqual(report["errors"], 2)
        self.assertGreater(report["messages"], 0)

    def check_script(self, server, *arguments, errors):
        with server:
            _, _, report = self.load("echo", server.address, "--connections", "1", "--duration",
                                     "0.5", *arguments, status=1)
        self.assertEqual(report["errors_by_kind"], errors)

    def test_a_server_that_says_too_much(self):
        self.check_script(Script(lambda data: data + b"!"),
                          errors={"more bytes came back than were sent": 1})

    def test_a_server_that_hangs_up(self):
        self.check_script(Script(lambda data: None), errors={"closed by the server": 1})

    def test_a_server_that_resets(self):
        self.check_script(Script(lambda data: None, reset=True),
                          errors={"receive: Connection reset by peer (ECONNRESET)": 1})

    def test_a_server_that_keeps_a_byte(self):
        self.check_script(Script(lambda data: data[:-1]), errors={"no answer in time": 1})

    def test_a_server_that_answers_in_another_order(self):
        with Reversing(size=100) as server:
            _, _, report = self.load("echo", server.address, "--connections", "1", "--depth", "2",
                                     "--size", "100", "--messages", "20", "--verify", status=1)
        self.assertEqual(report["errors_by_kind"], {"other bytes came back than were sent": 20})
        self.assertEqual(report["messages"], 0)

    def test_ctrl_c_ends_it_early_with_the_report(self):
        server = self.echo()
        load = self.program([BIN / "weir-load", "echo", server.address, "--duration", "600"])
        self.assertTrue(wait_until(lambda: re.search("2 s ", load.errors())))
        load.signal(signal.SIGINT)
        self.assertEqual(load.wait(10), 0, load.errors())
        self.assertRegex(load.rest_of_output(),
                         r"(?m)^  latency    p50 .* max .*\n(.*\n)*  errors     0$")

    def test_warm_up_is_not_measured(self):
        with Echoing() as server:
            _, errors, report = self.load("echo", server.address, "--connections", "4", "--size",
                                          "10", "--warmup", "1.2", "--messages", "1000")
        self.assertEqual((report["messages"], report["sent"]), (1000, 1000))
        self.assertGreater(report["warmup_messages"], 0)
        self.assertEqual(server.bytes, 10 * (1000 + report["warmup_messages"]))
        self.assertRegex(errors, "MB/s  warm-up  errors 0")

    def test_files_and_bars(self):
        server = self.echo()
        hdr = self.path("latency.hdr")
        output, _, report = self.load("bulk", server.address, "--messages", "500", "--connections",
                                      "3", "--hdr", hdr, "--histogram", "--threads", "2",
                                      "--verify", "--pid", str(server.pid))
        self.assertEqual((report["size"], report["depth"], report["messages"]), (65536, 4, 500))
        with open(hdr) as file:
            lines = file.read().splitlines()
        self.assertRegex(lines[0], r"^ +Value +Percentile TotalCount 1/\(1-Percentile\)$")
        rows = [line.split() for line in lines[2:] if not line.startswith("#")]
        for column in range(3):
            values = [float(row[column]) for row in rows]
            self.assertEqual(values, sorted(values))
        self.assertEqual(rows[-1][1:3], ["1.000000000000", "500"])
        self.assertAlmostEqual(float(rows[-1][0]) * 1000, report["latency_us"]["max"], delta=0.1)
        self.assertRegex(lines[-2], r"Total count +=  +500\]")
        bars = re.findall(r"(?m)^ +[\d.]+ [um]?s +([\d,]+) +[\d.]+  #*$", output)
        self.assertEqual(sum(int(count.replace(",", "")) for count in bars), 500)
        self.assertGreater(report["server"]["cpu_s"], 0)
        self.assertGreater(report["server"]["rss_peak"], 1 << 20)

    def test_open_loop_keeps_its_rate(self):
        with Echoing() as server:
            _, _, report = self.load("echo", server.address, "--connections", "3", "--rate", "200",
                                     "--messages", "100", "--threads", "2")
        self.assertEqual(server.bytes, 6400)
        self.assertEqual((report["loop"], report["messages"]), ("open", 100))
        self.assertGreater(report["duration_s"], 0.49)

    def test_help(self):
        for arguments in (["--help"], ["echo", "--help"], ["chat", "--help"]):
            load = self.program([BIN / "weir-load", *arguments])
            self.assertEqual(load.wait(), 0)
            self.assertIn("Usage: weir-load", load.rest_of_output())

    def test_each_mode_explains_itself(self):
        for mode in ("echo", "bulk", "churn", "idle", "broadcast", "chat", "udp"):
            load = self.program([BIN / "weir-load", mode, "--help"])
            self.assertEqual(load.wait(), 0)
            first, *rest = load.rest_of_output().splitlines()
            self.assertRegex(first, "server")
            self.assertNotIn("the same", first)
            self.assertNotIn("weir-load echo --help", rest)

    def test_bad_words(self):
        for arguments in ([], ["echo"], ["echo", "nonsense"],
                          ["echo", "127.0.0.1:80", "--size", "0"],
                          ["echo", "127.0.0.1:80", "--rate", "5", "--depth", "2"],
                          ["echo", "127.0.0.1:80", "--messages", "5", "--duration", "2"],
                          ["echo", "127.0.0.1:80", "--duration", "nan"],
                          ["echo", "127.0.0.1:80", "--source", "127.0.0.0/33"],
                          ["echo", "unix:/tmp/x", "--source", "127.0.0.1"],
                          ["echo", "127.0.0.1:80", "--pid", "999999999"],
                          ["churn", "127.0.0.1:80", "--closes", "nobody"],
                          ["broadcast", "127.0.0.1:80", "--size", "20"],
                          ["echo", "127.0.0.1:80", "--json", ""],
                          ["echo", "127.0.0.1:80", "--hdr", ""],
                          ["echo", "127.0.0.1:80", "--source", ""],
                          ["echo", "127.0.0.1:80", "--connections", ""],
                          ["echo", "127.0.0.1:80", "--conections", "5"],
                          ["knock", "127.0.0.1:80"]):
            with self.subTest(arguments=arguments):
                load = self.program([BIN / "weir-load", *arguments])
                self.assertEqual(load.wait(), 2)
                self.assertRegex(load.errors(), "^error: .*\n$")


class Connecting(LoadTest):
    def unix_listener(self, backlog):
        listener = socket.socket(socket.AF_UNIX)
        self.addCleanup(listener.close)
        listener.bind(self.path("sock"))
        listener.listen(backlog)
        return listener, f"unix:{self.path('sock')}"

    def test_connections_that_were_never_made_are_errors(self):
        # Two wait in its queue, and are connected; the others get EAGAIN until the time is over.
        _, address = self.unix_listener(backlog=1)
        output, _, report = self.load("echo", address, "--connections", "10", "--duration", "0.2",
                                      status=1)
        self.assertEqual((report["connected"], report["messages"]), (2, 0))
        self.assertEqual(report["errors_by_kind"],
                         {"connect: the server's queue stayed full (EAGAIN)": 8})
        self.assertIn("  latency    no message came back\n", output)

    def test_connections_that_wait_for_others_are_errors(self):
        # TCP: no more than 256 are under way at a time, and this listener's queue takes two.
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(1)
            _, _, report = self.load("echo", "127.0.0.1:%d" % listener.getsockname()[1],
                                     "--connections", "600", "--duration", "0.2", status=1)
        self.assertEqual(report["errors"], 600 - report["connected"])

    def test_connect_latency_has_the_time_in_a_full_queue(self):
        listener, address = self.unix_listener(backlog=0)
        report = self.path("report.json")
        load = self.program([BIN / "weir-load", "echo", address, "--connections", "4",
                             "--messages", "4", "--json", report])
        self.assertTrue(wait_until(lambda: "connecting: 1 of 4" in load.errors()))
        accepted = [listener.accept()[0] for _ in range(4)]
        for client in accepted:
            self.addCleanup(client.close)
            client.sendall(receive_exactly(client, 64))
        self.assertEqual(load.wait(), 0, load.errors())
        with open(report) as file:
            connect = json.load(file)["connect_us"]
        # The line was there after a second.
        self.assertGreater(connect["max"], 0.9e6)
        self.assertLess(connect["min"], connect["max"] / 2)

    def test_nobody_there_is_a_sentence(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            address = "127.0.0.1:%d" % listener.getsockname()[1]
        for mode in ("echo", "churn", "idle", "broadcast"):
            output, _, report = self.load(mode, address, "--connections", "1", "--duration", "0.1",
                                          status=1)
            lines = output.splitlines()
            self.assertEqual(lines[0], f"{mode} {address}: no connection was made")
            self.assertRegex(lines[1], r"^  errors     [\d,]+$")
            self.assertRegex(lines[2], r"^ +[\d,]+  connect: Connection refused \(ECONNREFUSED\)$")
            self.assertEqual(len(lines), 3)


class Ends(LoadTest):
    def test_a_server_that_falls_silent_is_an_error(self):
        """With --messages; in a closed loop, and by a slow schedule, which is silent by itself."""
        with FallingSilent() as server:
            loads = {}
            for name, rate in (("closed", []), ("open", ["--rate", "0.9"])):
                report = self.path(f"{name}.json")
                loads[report] = self.program([BIN / "weir-load", "echo", server.address,
                                              "--connections", "1", "--messages", "50",
                                              "--json", report, *rate])
            for report, load in loads.items():
                self.assertEqual(load.wait(60), 1, load.errors())
                with open(report) as file:
                    kinds = json.load(file)["errors_by_kind"]
                self.assertGreater(kinds.pop("no answer in time"), 0)
                self.assertRegex(list(kinds)[0], r"^ended early: nothing came back for 1\d s$")

    def test_a_standard_error_that_cannot_be_written_costs_no_report(self):
        server = self.echo()
        for redirection in ("2>&-", "2> /dev/full", "2> >(exec 0<&-)"):
            with self.subTest(redirection=redirection):
                report = self.path("report.json")
                load = self.program(["bash", "-c", f'exec "$@" {redirection}', "bash",
                                     BIN / "weir-load", "echo", server.address, "--duration", "1.3",
                                     "--json", report])
                self.assertEqual(load.wait(), 0)
                self.assertRegex(load.rest_of_output(), r"(?m)^  errors     0$")
                with open(report) as file:
                    self.assertGreater(json.load(file)["messages"], 0)
                os.unlink(report)

    def test_a_standard_output_that_cannot_be_written_is_told(self):
        server = self.echo()
        for redirection in ("> /dev/full", ">&-"):
            with self.subTest(redirection=redirection):
                report = self.path("report.json")
                load = self.program(["bash", "-c", f'exec "$@" {redirection}', "bash",
                                     BIN / "weir-load", "echo", server.address, "--duration", "0.1",
                                     "--histogram", "--json", report])
                self.assertEqual(load.wait(), 1)
                self.assertRegex(load.errors(), r"(?m)^error: standard output: .*$")
                with open(report) as file:
                    self.assertEqual(json.load(file)["errors"], 0)
                os.unlink(report)


class HiddenProc(LoadTest):
    def setUp(self):
        super().setUp()
        # AddressSanitizer reads its options from /proc, too, so none can turn leak detection off.
        if "address" in SANITIZER:
            self.skipTest("LeakSanitizer ends every program with an error without /proc")
        # A /proc of nothing, as hidepid=2 makes it for the processes of others.
        self.hide = ["unshare", "--map-root-user", "--mount", "sh", "-c",
                     'mount -t tmpfs none /proc && exec "$@"', "sh"]
        if self.program([*self.hide, "true"]).wait() != 0:
            self.skipTest("no mount namespaces here")

    def test_a_server_that_proc_does_not_show(self):
        server, report = self.echo(), self.path("report.json")
        load = self.program([*self.hide, BIN / "weir-load", "echo", server.address, "--duration",
                             "0.3", "--pid", server.pid, "--json", report])
        self.assertEqual(load.wait(), 0, load.errors())
        output = load.rest_of_output()
        self.assertRegex(output, rf"(?m)^  server     CPU [\d.]+ %; memory unknown: /proc "
                                 rf"does not show process {server.pid}$")
        self.assertIn("waited for a core for an unknown time", output)
        with open(report) as file:
            seen = json.load(file)
        self.assertGreater(seen["server"]["cpu_s"], 0)
        self.assertNotIn("rss_peak", seen["server"])
        self.assertIsNone(seen["generator"]["most_queued_thread"])


class Churn(LoadTest):
    def test_every_way_to_close(self):
        for closes in ("client", "half", "server", "reset"):
            with self.subTest(closes=closes), Echoing(hang_up_after=64 * (closes == "server")) \
                    as server:
                _, _, report = self.load("churn", server.address, "--connections", "5",
                                         "--messages", "200", "--closes", closes, "--verify")
                self.assertEqual((report["messages"], report["connected"]), (200, 200))
                self.assertEqual(report["connect_us"]["count"], 200)
                self.assertEqual((server.bytes, server.connections), (200 * 64, 200))

    def test_by_schedule_from_many_addresses(self):
        with Echoing() as server:
            _, _, report = self.load("churn", server.address, "--rate", "200", "--messages", "50",
                                     "--source", "127.0.0.0/8", "--threads", "2")
        self.assertEqual((report["messages"], server.connections), (50, 50))
        self.assertEqual(len(server.peers), 50)
        self.assertTrue(all(peer.startswith("127.") for peer in server.peers))

    def test_unix(self):
        server = self.echo([f"unix:{self.path('sock')}"])
        _, _, report = self.load("churn", server.address, "--messages", "300")
        self.assertEqual(report["messages"], 300)

    def test_nobody_there(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            address = "127.0.0.1:%d" % listener.getsockname()[1]
        _, _, report = self.load("churn", address, "--connections", "2", "--duration", "0.3",
                                 status=1)
        self.assertEqual(list(report["errors_by_kind"]),
                         ["connect: Connection refused (ECONNREFUSED)"])
        self.assertEqual(report["messages"], 0)

    def test_a_server_that_does_not_close(self):
        with Echoing() as server:
            _, _, report = self.load("churn", server.address, "--connections", "2", "--duration",
                                     "0.2", "--closes", "server", status=1)
        self.assertEqual(report["errors_by_kind"], {"not closed by the server in time": 2})


class Idle(LoadTest):
    def test_holds_them_and_tells_the_memory(self):
        server = self.echo()
        output, _, report = self.load("idle", server.address, "--connections", "500", "--duration",
                                      "0.5", "--pid", str(server.pid))
        self.assertEqual((report["messages"], report["connected"]), (500, 500))
        self.assert_about(report["held_s"], 0.5)
        self.assertGreaterEqual(report["server"]["rss_end"], report["server"]["rss_before"])
        self.assertRegex(output, r"bytes of RSS per connection")

    def test_a_server_that_dies(self):
        server = Program(["python3", "-c", ECHO_ONCE_AND_DIE])
        self.addCleanup(server.stop)
        address = "127.0.0.1:" + server.read_line()
        _, _, report = self.load("idle", address, "--connections", "1", "--duration", "1",
                                 "--pid", str(server.pid), status=1)
        self.assertEqual(report["errors_by_kind"],
                         {"closed by the server": 1, "the server's process ended": 1})


ECHO_ONCE_AND_DIE = """
import socket, time
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
client, _ = listener.accept()
client.sendall(client.recv(64))
time.sleep(0.2)
"""


class OneToMany(LoadTest):
    def test_broadcast(self):
        for arguments in (["--messages", "100", "--depth", "4", "--threads", "3"],
                          ["--messages", "20", "--rate", "100"],
                          ["--duration", "0.3", "--warmup", "0.2", "--threads", "2"]):
            with self.subTest(arguments=arguments), Broadcasting() as server:
                _, _, report = self.load("broadcast", server.address, "--connections", "7",
                                         "--verify", "--size", "200", *arguments)
                self.assertGreater(report["sent"], 0)
                self.assertEqual(report["messages"], 7 * report["sent"])

    def test_a_schedule_with_a_warm_up_is_the_same_on_many_threads(self):
        with Broadcasting() as server:
            _, _, report = self.load("broadcast", server.address, "--connections", "4",
                                     "--threads", "2", "--rate", "50", "--warmup", "2",
                                     "--messages", "50")
        self.assertEqual((report["sent"], report["messages"]), (50, 200))
        # 49 gaps of 20 ms, not the warm-up too.
        self.assertGreater(report["duration_s"], 0.95)
        self.assertLess(report["duration_s"], 2.5)

    def test_a_server_that_leaves_one_out(self):
        with Broadcasting(spoil=lambda number, text: b"" if number == 30 else text) as server:
            _, _, report = self.load("broadcast", server.address, "--connections", "2",
                                     "--messages", "50", "--depth", "2", status=1)
        self.assertEqual(report["errors_by_kind"], {"a message is missing": 2})
        self.assertEqual(report["messages"], 98)

    def test_a_server_that_flips_a_bit(self):
        def flip(number, text):
            return text[:60] + bytes([text[60] ^ 1]) + text[61:] if number == 30 else text

        with Broadcasting(spoil=flip) as server:
            _, _, report = self.load("broadcast", server.address, "--connections", "2",
                                     "--messages", "50", "--verify", status=1)
        self.assertEqual(report["errors_by_kind"], {"other bytes came back than were sent": 2})

    @unittest.skipUnless((BIN / "weir-chat-server").exists(), "no weir-chat-server")
    def test_chat(self):
        server = self.serve([BIN / "weir-chat-server", "--listen", "127.0.0.1:0", "--rate", "0"])
        for arguments in ([], ["--rate", "400"]):
            _, _, report = self.load("chat", server.address, "--connections", "30", "--messages",
                                     "100", "--verify", *arguments)
            self.assertEqual((report["messages"], report["sent"]), (3000, 100))
        self.end(server)


if __name__ == "__main__":
    unittest.main()
