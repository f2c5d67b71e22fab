#!/usr/bin/env python3
"""The servers that weir is measured against: whoever compares speeds must know that all of them do
the same work, and that none gains by losing bytes. Each test goes through all that were built."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import unittest
from pathlib import Path

from harness import (BIN, MIB, SystemTest, Usage, connect, echoes, exchange, receive_exactly,
                     receive_until_end, stuff, stuffing, wait_until)

# CMake names those it has built.
RIVALS = [name for name in os.environ.get("WEIR_RIVALS", "").split(",") if name] or sorted(
    path.name.removeprefix("bench-") for path in BIN.glob("bench-*"))
COUNTS = Path(__file__).resolve().parents[2] / "benchmarks" / "counts.py"


class Rivals(SystemTest):
    def server(self, name, *options, **keywords):
        return self.serve([BIN / f"bench-{name}", "--listen", "127.0.0.1:0", *options],
                          **keywords)

    def each_server(self, *options, **keywords):
        """All of them in turn; who was asked to end ended well."""
        for name in RIVALS:
            server = self.server(name, *options, **keywords)
            try:
                yield server
            except GeneratorExit:
                print(f"with bench-{name}:", file=sys.stderr)  # the test that asked has failed
                raise
            self.end(server)
            # weir may log, as when it has as many connections as it may have.
            self.assertEqual([line for line in server.errors().splitlines()
                              if "[weir] [warning]" not in line], [], name)

    def audience(self, server, count):
        """Clients that all get what is broadcast from now on: they were accepted in their order."""
        clients = [self.client(server.address) for _ in range(count)]
        clients[-1].sendall(b"*" * 1024)
        for client in clients:
            self.assertEqual(receive_exactly(client, 1024), b"*" * 1024)
        return clients

    def test_there_are_some(self):
        self.assertIn("weir", RIVALS)
        self.assertIn("raw_epoll", RIVALS)

    def test_odd_pieces_to_a_slow_reader(self):
        data, pieces, at = stuffing(0, MIB), [], 0
        odd = random.Random(7)
        while at < len(data):
            size = odd.choice((1, 3, 63, 64, 65, 1000, 4097, 70001))
            pieces.append(data[at:at + size])
            at += size
        for work in ("echo", "each"):
            for server in self.each_server("--work", work):
                with connect(server.address, receive_buffer=65536) as client:
                    def send():
                        for piece in pieces:
                            client.sendall(piece)
                    sender = threading.Thread(target=send)
                    sender.start()
                    got = bytearray()
                    while len(got) < len(data):
                        got += client.recv(odd.choice((7, 1000, 50000)))
                    sender.join()
                    self.assertTrue(got == data)

    def test_back_pressure(self):
        """A client that only sends is stopped, and gets every byte once it reads."""
        for work in ("echo", "each"):
            for server in self.each_server("--work", work):
                before = server.resident_bytes()
                with connect(server.address, receive_buffer=65536) as client:
                    sent = stuff(client, quiet=0.1)
                    self.assertGreater(sent, 4096)
                    # Half a MiB waits at most; in libuv_write a read, however short, holds 64 KiB.
                    self.assertLess(server.resident_bytes() - before, 16 * MIB)
                    client.shutdown(socket.SHUT_WR)
                    got = receive_until_end(client)
                whole = sent if work == "echo" else sent // 64 * 64
                self.assertEqual(len(got), whole)
                self.assertTrue(got == stuffing(0, whole))

    def test_a_hundred_connections(self):
        for work in ("echo", "each"):
            for server in self.each_server("--work", work):
                clients = [connect(server.address) for _ in range(100)]
                for turn in range(3):
                    for number, client in enumerate(clients):
                        client.sendall(stuffing(number * 64 + turn, 64))
                    for number, client in enumerate(clients):
                        self.assertEqual(receive_exactly(client, 64),
                                         stuffing(number * 64 + turn, 64))
                for client in clients[::2]:
                    client.close()
                for client in clients[1::2]:
                    self.assertTrue(echoes(client, b"x" * 64))
                    client.close()

    def test_pipelined(self):
        """By the program that counts.py counts with."""
        for server in self.each_server("--work", "each"):
            done = subprocess.run(
                [BIN / "rival_drive", server.address, "--connections", "50", "--batch", "32",
                 "--rounds", "5"], capture_output=True, timeout=60)
            self.assertEqual((done.returncode, done.stdout), (0, b"8000 messages\n"), done.stderr)

    def test_messages_of_another_size(self):
        data = stuffing(0, 10_000)
        for server in self.each_server("--work", "each", "--size", "1000"):
            with connect(server.address) as client:
                client.sendall(data[:999])
                client.settimeout(0.01)
                with self.assertRaises(TimeoutError):
                    client.recv(1)
                client.settimeout(30)
                client.sendall(data[999:])
                self.assertTrue(receive_exactly(client, len(data)) == data)

    def test_broadcast(self):
        data = stuffing(0, 50 * 1024)
        for server in self.each_server("--work", "broadcast"):
            clients = self.audience(server, 20)
            for start in range(0, len(data), 777):
                clients[0].sendall(data[start:start + 777])
            for client in clients:
                self.assertTrue(receive_exactly(client, len(data)) == data)
            for client in clients[:10]:
                client.close()
            clients[10].sendall(data[:1024])
            for client in clients[10:]:
                self.assertEqual(receive_exactly(client, 1024), data[:1024])
                client.close()

    def test_a_receiver_that_does_not_read_is_cut_off(self):
        """The others get everything."""
        part, limit = stuffing(0, 128 * 1024), 32 * MIB
        for server in self.each_server("--work", "broadcast"):
            none = sockets(server)
            stuck, *others = self.audience(server, 3)
            stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sent = 0
            while sent < limit and sockets(server) - none == 3:
                others[0].sendall(part)
                sent += len(part)
                for client in others:
                    self.assertTrue(receive_exactly(client, len(part)) == part)
            self.assertLess(sent, limit)
            self.assertEqual(sockets(server) - none, 2)
            for client in (stuck, *others):
                client.close()

    def test_no_descriptors_left(self):
        """It does not spin, and accepts again."""
        for server in self.each_server(descriptor_limit=40):
            clients = [connect(server.address) for _ in range(60)]
            usage = Usage(server).measure(0.3)
            self.assertLess(usage.cpu_share(), 0.5)
            for client in clients:
                client.close()
            self.assertTrue(wait_until(lambda: answers(server)))  # once it knows that they left

    def test_it_ends_with_clients_there(self):
        for name in RIVALS:
            for number in (signal.SIGTERM, signal.SIGINT):
                with self.subTest(server=name, signal=number):
                    server = self.server(name)
                    with connect(server.address) as client:
                        self.assertTrue(echoes(client))
                        self.end(server, number)

    def test_the_command_line(self):
        for name in RIVALS:
            program = BIN / f"bench-{name}"
            with self.subTest(server=name):
                self.assertEqual(self.program([program, "--help"]).wait(), 0)
                taken = self.server(name).address
                for status, words in ((2, ["--bogus"]), (2, ["--listen", "x"]),
                                      (2, ["--listen", "0", "--work", "x"]),
                                      (1, ["--listen", taken])):
                    wrong = self.program([program, *words])
                    self.assertEqual(wrong.wait(), status)
                    self.assertRegex(wrong.errors(), "^error: .*\n$")

    def test_weir_in_its_other_ways(self):
        for options in (["--trigger", "edge"], ["--threads", "2"],
                        ["--threads", "2", "--accept", "reuse_port"],
                        ["--threads", "2", "--accept", "exclusive"]):
            with self.subTest(options=options):
                server = self.server("weir", *options)
                with connect(server.address) as client:
                    self.assertTrue(exchange(client, stuffing(0, MIB)) == stuffing(0, MIB))
                self.end(server)

    def test_allocations_are_counted(self):
        file = self.path("counts.json")
        done = subprocess.run(
            [sys.executable, COUNTS, "--bin", BIN, "--servers", "raw_epoll,weir", "--what",
             "allocations", "--json", file], capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)
        for counts in json.loads(Path(file).read_text()).values():
            for load in counts["allocations"].values():
                self.assertLess(load["total"], 0.01)


def answers(server):
    """Whether a new client is served."""
    with connect(server.address) as client:
        return echoes(client)


def sockets(server):
    """How many the server has open."""
    count = 0
    for entry in Path(f"/proc/{server.pid}/fd").iterdir():
        try:
            count += os.readlink(entry).startswith("socket:")
        except FileNotFoundError:
            pass  # closed meanwhile
    return count


if __name__ == "__main__":
    unittest.main()
