#!/usr/bin/env python3
"""The samples that speak in datagrams, and weir-load's mode for them: nc, socat, plain sockets."""

import json
import os
import re
import select
import signal
import socket
import struct
import subprocess
import threading
import time
import unittest
from pathlib import Path

from harness import BIN, SANITIZER, SystemTest, Usage, wait_until

EPOCH_1900 = 2_208_988_800  # RFC 868


def target_of(address):
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


class Datagrams(SystemTest):
    def start(self, name, *options, listen="127.0.0.1:0"):
        return self.serve([BIN / name, "--listen", listen, *options])

    def peer(self, family=socket.AF_INET, connect=None):
        peer = socket.socket(family, socket.SOCK_DGRAM)
        self.addCleanup(peer.close)
        peer.settimeout(10)
        if connect:
            peer.connect(target_of(connect))
        return peer

    def ask(self, peer, data):
        """What comes back; datagrams may be lost, though hardly here."""
        for _ in range(3):
            peer.send(data)
            if select.select([peer], [], [], 5)[0]:
                return peer.recv(65536)
        return None

    def silent(self, server, peer, data):
        """Whether there is no answer to it, while there is one to what another asks after it."""
        peer.send(data)
        self.assertIsNotNone(self.ask(self.peer(connect=server.address), b"a question"))
        return not select.select([peer], [], [], 0)[0]


class Echo(Datagrams):
    def test_nc_and_socat(self):
        server = self.start("weir-udp-echo")
        host, port = target_of(server.address)
        done = subprocess.run(["nc", "-u", "-W", "1", host, str(port)], input=b"hello\n",
                              capture_output=True, timeout=10)
        self.assertEqual(done.stdout, b"hello\n")
        done = subprocess.run(["socat", "-T", "0.3", "-", f"UDP:{host}:{port}"], input=b"again\n",
                              capture_output=True, timeout=10)
        self.assertEqual(done.stdout, b"again\n")

    def test_every_size(self):
        for options in ((), ("--plain",), ("--threads", "2")):
            server = self.start("weir-udp-echo", *options)
            peer = self.peer(connect=server.address)
            for size in (0, 1, 63, 64, 1472, 1473, 9000, 65507):
                data = os.urandom(size)
                self.assertEqual(self.ask(peer, data), data)
            self.end(server)

    def test_ipv6_and_unix(self):
        server = self.start("weir-udp-echo", listen="[::1]:0")
        self.assertEqual(self.ask(self.peer(socket.AF_INET6, server.address), b"six"), b"six")
        path = self.path("sock")
        server = self.start("weir-udp-echo", listen=f"unix:{path}")
        peer = self.peer(socket.AF_UNIX)
        peer.bind(self.path("peer"))
        peer.connect(path)
        self.assertEqual(self.ask(peer, b"local"), b"local")
        self.end(server)
        self.assertFalse(os.path.exists(path))

    def test_the_answer_comes_from_the_address_that_was_asked(self):
        server = self.start("weir-udp-echo", listen="0.0.0.0:0")
        peer = self.peer(connect="127.9.8.7:%d" % target_of(server.address)[1])
        self.assertEqual(self.ask(peer, b"who are you?"), b"who are you?")

    def test_many_peers_and_threads(self):
        server = self.start("weir-udp-echo", "--threads", "2")
        peers = [self.peer(connect=server.address) for _ in range(30)]
        for number, peer in enumerate(peers):
            self.assertEqual(self.ask(peer, b"%d" % number), b"%d" % number)

    def test_a_service_is_not_answered(self):
        server = self.start("weir-udp-echo")
        peer = self.peer()
        for port in range(1023, 900, -1):
            try:
                peer.bind(("127.0.0.1", port))
                break
            except PermissionError:
                self.skipTest("ports below 1024 are not ours to use")
            except OSError:
                continue  # it is taken
        peer.connect(target_of(server.address))
        self.assertTrue(self.silent(server, peer, b"loop?"))

    def test_what_comes_from_nowhere_stops_nothing(self):
        """Peers that are gone by the time of the answer: ICMP says so, and nobody cares."""
        server = self.start("weir-udp-echo")
        for _ in range(50):
            peer = self.peer(connect=server.address)
            peer.send(b"bye")
            peer.close()
        self.assertEqual(self.ask(self.peer(connect=server.address), b"x"), b"x")
        self.assertTrue(wait_until(server.is_asleep))
        self.assertEqual(Usage(server).measure(0.3).wakeups(), 0)
        self.end(server)
        self.assertEqual(server.errors(), "")

    def test_statistics(self):
        server = self.start("weir-udp-echo", "--stats", "0.1")
        peer = self.peer(connect=server.address)
        for _ in range(20):
            self.ask(peer, b"x")
        self.assertTrue(wait_until(lambda: re.search(r"^[1-9]\d* datagrams/s, [\d.]+ calls",
                                                     server.errors(), re.M)))

    def test_ends_under_fire(self):
        server = self.start("weir-udp-echo", "--threads", "2")
        peer, stop = self.peer(connect=server.address), threading.Event()

        def fire():
            while not stop.is_set():
                try:
                    peer.send(b"x" * 64)
                except OSError:
                    pass  # it is gone
        thread = threading.Thread(target=fire)
        thread.start()
        try:
            self.end(server)
        finally:
            stop.set()
            thread.join()


class Time(Datagrams):
    def test_tells_the_time(self):
        server = self.start("weir-udp-time")
        peer = self.peer(connect=server.address)
        for question in (b"", b"\n", b"what time is it?"):
            told, = struct.unpack(">I", self.ask(peer, question))
            self.assertLess(abs(told - (int(time.time()) + EPOCH_1900) % 2**32), 5)
        host, port = target_of(server.address)
        done = subprocess.run(["nc", "-u", "-W", "1", host, str(port)], input=b"\n",
                              capture_output=True, timeout=10)
        self.assertEqual(len(done.stdout), 4)

    def test_what_may_be_an_answer_is_not_answered(self):
        server = self.start("weir-udp-time")
        peer = self.peer(connect=server.address)
        self.assertTrue(self.silent(server, peer, b"1234"))
        self.assertEqual(len(self.ask(peer, b"12345")), 4)


class MulticastChat(SystemTest):
    GROUP = "239.255.77.1"

    def join(self, *words, port=0):
        chat = self.serve([BIN / "weir-multicast-chat", *words, "--group", f"{self.GROUP}:{port}",
                           "--interface", "lo"])
        self.port = target_of(chat.address)[1]
        return chat

    def say(self, chat, line):
        chat.process.stdin.write(line.encode() + b"\n")
        chat.process.stdin.flush()

    def test_all_hear_all(self):
        alice = self.join("alice")
        bob = self.join("bob", port=self.port)
        self.say(alice, "hello")
        for chat in (alice, bob):
            self.assertRegex(chat.read_line(), r"^\[[\d.]+:\d+\] alice: hello$")
        self.say(bob, "hi, alice")
        for chat in (alice, bob):
            self.assertRegex(chat.read_line(), r"\] bob: hi, alice$")
        alice.process.stdin.close()  # the end of her input is the end of her part
        self.assertEqual(alice.wait(), 0)
        alice.process.stdin = open(os.devnull, "wb")
        self.end(bob)

    def test_a_group_of_one_link(self):
        """It is bound and joined on the interface of --interface."""
        chat = self.serve([BIN / "weir-multicast-chat", "alice", "--group", "[ff02::77]:0",
                           "--interface", "lo"])
        self.assertRegex(chat.address, r"^\[ff02::77%\w+\]:\d+$")

    def test_socat_hears_and_is_heard(self):
        chat = self.join("alice")
        subprocess.run(["socat", "-u", "-", f"UDP4-DATAGRAM:{self.GROUP}:{self.port},"
                        "ip-multicast-if=127.0.0.1"], input=b"socat: hello\n", timeout=10,
                       check=True)
        self.assertRegex(chat.read_line(), r"\] socat: hello$")

    def test_what_others_send_does_not_drive_the_terminal(self):
        chat = self.join("alice")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as rude:
            rude.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF,
                            socket.inet_aton("127.0.0.1"))
            for data in (b"\x1b[2J\x07mallory: \xff\xfe", b"a: x\nalice: I owe you money", b"",
                         os.urandom(60_000)):
                rude.sendto(data, (self.GROUP, self.port))
        lines = [chat.read_line() for _ in range(4)]
        for line in lines:
            self.assertRegex(line, r"^\[127\.0\.0\.1:\d+\] [^\x00-\x1f\x7f-\x9f]*$")
            self.assertLess(len(line), 8000)
        self.assertNotIn("\nalice", "\n".join(lines))

    def test_a_line_that_is_too_long_is_cut(self):
        chat = self.join("alice")
        self.say(chat, "x" * 100_000)
        self.assertLess(len(chat.read_line()), 1300)
        self.say(chat, "next")
        self.assertRegex(chat.read_line(), r"\] alice: next$")

    def test_mistakes(self):
        for words in (("--interface", "no-such-one"), ("--ttl", "256"), ("x" * 33,), ("",)):
            program = self.program([BIN / "weir-multicast-chat", *words])
            self.assertEqual(program.wait(), 2)
            self.assertRegex(program.errors(), r"\Aerror: .+\n\Z")


class Loading(Datagrams):
    def load(self, address, *options):
        report = self.path("report")
        done = subprocess.run([BIN / "weir-load", "udp", address, "--json", report,
                               *options], capture_output=True, text=True, timeout=60)
        with open(report) as file:
            return done, json.load(file)


class Load(Loading):
    def test_closed_and_open_loop(self):
        for options in (("--connections", "4", "--depth", "8"), ("--rate", "2000"),
                        ("--segments", "--threads", "2"), ("--size", "16"),
                        ("--size", "1400", "--depth", "2")):
            server = self.start("weir-udp-echo", "--receive-buffer", "4000000")
            done, report = self.load(server.address, *options, "--duration", "0.3", "--verify",
                                     "--timeout", "5")
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            self.assertIn("lost", done.stdout)
            self.assertGreater(report["messages"], 50)
            self.assertEqual(report["sent"], report["messages"] + report["lost"])
            self.assertEqual(report["lost"], 0)
            self.assertEqual(report["again"], 0)

    def test_source(self):
        seen = set()

        def note(number, data, sender):
            seen.add(sender[0])
            return [data]
        done, report = self.load(self.answer(note), "--messages", "20", "--connections", "5",
                                 "--source", "127.0.9.0/24", "--timeout", "5")
        self.assertEqual((done.returncode, report["messages"]), (0, 20), done.stderr)
        self.assertEqual(seen, {f"127.0.9.{n}" for n in range(1, 6)})

    def test_so_many_messages(self):
        server = self.start("weir-udp-echo")
        done, report = self.load(server.address, "--messages", "1000", "--timeout", "5")
        self.assertEqual((done.returncode, report["messages"]), (0, 1000))

    def answer(self, how):
        """A server of our own that calls how(number, datagram, sender) for a list of answers."""
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(server.close)
        server.bind(("127.0.0.1", 0))
        stop = threading.Event()

        def serve():
            number = 0
            while not stop.is_set():
                if not select.select([server], [], [], 0.05)[0]:
                    continue
                data, sender = server.recvfrom(65536)
                for one in how(number, data, sender):
                    server.sendto(one, sender)
                number += 1
        thread = threading.Thread(target=serve)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(stop.set)
        return "127.0.0.1:%d" % server.getsockname()[1]

    def test_losses_are_counted_and_hold_up_nothing(self):
        address = self.answer(lambda number, data, _: [] if number % 10 == 3 else [data])
        done, report = self.load(address, "--messages", "100", "--connections", "1", "--depth",
                                 "100", "--timeout", "1")
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertEqual((report["messages"], report["lost"], report["sent"]), (90, 10, 100))

    def test_what_comes_twice_or_in_another_order_is_counted(self):
        kept = []

        def swap(number, data, _):
            kept.append(data)
            if number % 2 == 0:
                return []
            both, kept[:] = kept[::-1], []
            return both
        done, report = self.load(self.answer(swap), "--messages", "100", "--connections", "1",
                                 "--depth", "2", "--timeout", "5")
        self.assertEqual((done.returncode, report["lost"], report["reordered"]), (0, 0, 50))
        done, report = self.load(self.answer(lambda n, data, _: [data] * 2), "--messages", "100",
                                 "--connections", "1")
        self.assertEqual(done.returncode, 0)
        self.assertGreater(report["again"], 90)

    def test_other_bytes_are_errors(self):
        def spoil(number, data, _):
            return [data[:-1] + bytes([data[-1] ^ 1])] if number == 5 else [data]
        done, report = self.load(self.answer(spoil), "--messages", "50", "--verify")
        self.assertEqual(done.returncode, 1)
        self.assertEqual(report["errors_by_kind"], {"other bytes came back than were sent": 1})
        done, report = self.load(self.answer(lambda *_: [b"never sent"]), "--messages", "10",
                                 "--timeout", "0.2")
        self.assertEqual(done.returncode, 1)
        self.assertEqual(report["lost"], 10)

    def test_nobody_there(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
            gone.bind(("127.0.0.1", 0))
            address = "127.0.0.1:%d" % gone.getsockname()[1]
        done, report = self.load(address, "--messages", "10", "--connections", "1",
                                 "--timeout", "0.2")
        self.assertEqual(done.returncode, 1)
        self.assertIn("ECONNREFUSED", str(report["errors_by_kind"]))


class Calls(Datagrams):
    PEERS, EACH, ROUNDS = 8, 30, 20  # so many wait at a time as fit into any receive buffer

    @unittest.skipIf(SANITIZER, "sanitizers have calls of their own")
    def test_a_tenth_of_a_call_a_datagram_under_load(self):
        for options in ((), ("--plain",)):
            server = self.start("weir-udp-echo", *options)
            peers = [self.peer(connect=server.address) for _ in range(self.PEERS)]
            strace = self.program(["strace", "-f", "-c", "-U", "name,calls", "-p", server.pid,
                                   "-o", self.path("table")])
            self.assertTrue(wait_until(lambda: "attached" in strace.errors()), strace.errors())
            for number in range(self.ROUNDS):
                self.pile_up(server, peers, number.to_bytes(64, "big"))
            strace.signal(signal.SIGINT)
            strace.wait()
            with open(self.path("table")) as table:
                calls = {name: int(n) for name, n in re.findall(r"^(\w+) +(\d+)$", table.read(),
                                                                re.M)}
            datagrams = self.PEERS * self.EACH * self.ROUNDS
            self.assertLessEqual(calls["total"] / datagrams, 0.1, calls)
            print(f"{options}: {calls['total'] / datagrams:.3f} calls per datagram")

    def pile_up(self, server, peers, data):
        """The load of a busy machine: when the server gets a processor, many wait for it."""
        server.signal(signal.SIGSTOP)
        status = Path(f"/proc/{server.pid}/status")
        self.assertTrue(wait_until(lambda: re.search(r"^State:\t[tT]", status.read_text(), re.M)))
        for peer in peers:
            for _ in range(self.EACH):
                peer.send(data)
        server.signal(signal.SIGCONT)
        for peer in peers:
            for _ in range(self.EACH):
                self.assertEqual(peer.recv(65536), data)


if __name__ == "__main__":
    unittest.main()
