#!/usr/bin/env python3
"""weir-echo as a program: what it prints, how it is ended, how it refuses."""

import os
import random
import re
import signal
import socket
import stat
import threading
import time
import unittest

from harness import (BIN, MIB, SystemTest, connect, echoes, receive_exactly,
                     receive_until_end, stuff, wait_until)

CONFIGURATIONS = [(), ("--edge-triggered",), ("--threads", "3"),
                  ("--threads", "3", "--accept", "exclusive", "--edge-triggered"),
                  ("--threads", "3", "--accept", "reuse_port")]


class Listening(SystemTest):
    def test_a_line_for_each_address_in_order(self):
        name = f"unix:@weir-test-{os.getpid()}-{random.getrandbits(64):x}"
        path = f"unix:{self.path('sock')}"
        server = self.echo(["127.0.0.1:0", "[::1]:0", path, name])
        self.assertRegex(server.addresses[0], r"^127\.0\.0\.1:[1-9]\d*$")
        self.assertRegex(server.addresses[1], r"^\[::1\]:[1-9]\d*$")
        self.assertEqual(server.addresses[2:], [path, name])
        for address in server.addresses:
            self.assertTrue(echoes(self.client(address)), address)
        self.end(server)
        self.assertEqual(server.rest_of_output(), "")
        self.assertEqual(server.errors(), "")

    def test_the_option_may_be_repeated(self):
        process = self.program(
            [BIN / "weir-echo", "--listen", "127.0.0.1:0", "--listen", "[::1]:0"])
        self.assertTrue(process.read_line().startswith("listening on 127.0.0.1:"))
        self.assertTrue(process.read_line().startswith("listening on [::1]:"))

    def test_a_unix_path_is_private_and_goes_with_the_server(self):
        server = self.echo([f"unix:{self.path('sock')}"])
        self.assertEqual(stat.S_IMODE(os.stat(self.path("sock")).st_mode), 0o600)
        self.end(server)
        self.assertFalse(os.path.exists(self.path("sock")))

    def test_a_path_left_by_a_killed_server_is_taken_over(self):
        address = f"unix:{self.path('sock')}"
        first = self.program([BIN / "weir-echo", "--listen", address])
        self.assertEqual(first.read_line(), f"listening on {address}")
        first.signal(signal.SIGKILL)
        first.wait()
        self.assertTrue(os.path.exists(self.path("sock")))
        self.assertTrue(echoes(self.client(self.echo([address]).address)))

    def test_a_port_is_free_again_at_once(self):
        first = self.echo()
        clients = [self.client(first.address) for _ in range(5)]
        self.assertTrue(all(echoes(client) for client in clients))
        self.end(first)  # it closes first, so its side holds the port in TIME_WAIT
        self.assertTrue(echoes(self.client(self.echo([first.address]).address)))


class Refusals(SystemTest):
    def refused(self, status, sentence, *arguments):
        with self.subTest(arguments=arguments):
            process = self.program([BIN / "weir-echo", *arguments])
            self.assertEqual(process.wait(), status, process.errors())
            lines = process.errors().splitlines()
            self.assertEqual(len(lines), 1, lines)
            self.assertRegex(lines[0], "^error: ")
            self.assertRegex(lines[0], sentence)
            self.assertEqual(process.rest_of_output(), "")

    def test_a_bad_option_exits_2(self):
        ok = ("--listen", "127.0.0.1:0")
        self.refused(2, "--listen is required")
        self.refused(2, "--bogus", *ok, "--bogus")
        self.refused(2, "--threads", *ok, "--threads", "many")
        self.refused(2, "--threads", *ok, "--threads", "-1")
        self.refused(2, "--accept", *ok, "--accept", "sometimes")
        self.refused(2, "--idle-timeout", *ok, "--idle-timeout", "-5")
        self.refused(2, "--idle-timeout", *ok, "--idle-timeout", "nan")
        self.refused(2, "--max-connections", *ok, "--max-connections", "x")
        self.refused(2, "--max-output", *ok, "--max-output", "0")
        self.refused(2, "--stats", *ok, "--stats", "0")

    def test_a_bad_address_exits_2(self):
        for address in ("nonsense", "127.0.0.1", "127.0.0.1:65536", "127.0.0.1:-1", "1.2.3:80",
                        "[::1]", "::1:80"):
            self.refused(2, re.escape(address), "--listen", address)
        self.refused(2, "bad Unix path.* empty", "--listen", "unix:")
        self.refused(2, "bad abstract Unix name.* empty", "--listen", "unix:@")
        self.refused(2, "longer than 107 bytes", "--listen", "unix:/" + "x" * 108)
        self.refused(2, "nonsense", "--listen", "127.0.0.1:0,nonsense")

    def test_an_address_in_use_exits_1(self):
        listen = ["127.0.0.1:0", "[::1]:0", f"unix:{self.path('sock')}"]
        for address in self.echo(listen).addresses:
            self.refused(1, f"{re.escape(address)}.*in use", "--listen", address)
            self.refused(1, f"{re.escape(address)}.*in use", "--listen", f"127.0.0.1:0,{address}",
                         "--threads", "2")

    def test_what_the_kernel_refuses_exits_1(self):
        self.refused(1, "192.0.2.1:0.*Cannot assign", "--listen", "192.0.2.1:0")
        self.refused(1, "No such file", "--listen", f"unix:{self.path('no/such/folder')}")

    def test_help(self):
        process = self.program([BIN / "weir-echo", "--help"])
        self.assertEqual(process.wait(), 0)
        text = process.rest_of_output()
        for option in ("listen", "threads", "accept", "edge-triggered", "idle-timeout",
                       "max-connections", "max-output", "stats"):
            self.assertIn(f"--{option}", text)


class Limits(SystemTest):
    def test_max_connections(self):
        server = self.echo(["127.0.0.1:0"], "--max-connections", "3")
        kept = [self.client(server.address) for _ in range(3)]
        self.assertTrue(all(echoes(client) for client in kept))
        self.assertFalse(echoes(self.client(server.address)))
        self.assertTrue(all(echoes(client) for client in kept))
        kept.pop().close()
        self.assertTrue(wait_until(lambda: echoes(self.client(server.address))))

    def test_idle_timeout(self):
        server = self.echo(["127.0.0.1:0"], "--idle-timeout", "1")
        client, busy = self.client(server.address), self.client(server.address)
        begin = time.monotonic()
        ended = threading.Event()

        def stay_busy():
            while not ended.wait(0.2) and echoes(busy):
                pass

        talker = threading.Thread(target=stay_busy)
        talker.start()
        self.assertEqual(receive_until_end(client), b"")
        self.assertGreaterEqual(time.monotonic() - begin, 0.99)
        self.assertLess(time.monotonic() - begin, 3)
        ended.set()
        talker.join()
        self.assertTrue(echoes(busy))

    def test_stats(self):
        server = self.echo(["127.0.0.1:0"], "--stats", "0.1", "--threads", "2")
        client = self.client(server.address)
        self.assertTrue(echoes(client))
        line = r"^1 connections, .* accepted/s, 0 rejected, in .* MiB/s, .* wake-ups/s"
        self.assertTrue(wait_until(lambda: re.search(line, server.errors(), re.M)), server.errors())


class Ending(SystemTest):
    def test_with_nobody_there(self):
        for options in CONFIGURATIONS:
            for number in (signal.SIGTERM, signal.SIGINT):
                self.end(self.echo(["127.0.0.1:0"], *options), number, within=2)

    def test_idle_clients_see_the_end(self):
        for options in CONFIGURATIONS:
            with self.subTest(options=options):
                server = self.echo(["127.0.0.1:0", f"unix:{self.path('sock')}"], *options)
                clients = [self.client(address) for address in server.addresses * 10]
                self.assertTrue(all(echoes(client) for client in clients))
                server.signal(signal.SIGTERM)
                for client in clients:
                    self.assertEqual(receive_until_end(client), b"")
                    client.close()
                self.assertEqual(server.wait(5), 0)

    def end_all(self, servers):
        """At the same time, because each takes some seconds."""
        for server in servers:
            server.signal(signal.SIGTERM)
        begin = time.monotonic()
        for server in servers:
            self.assertEqual(server.wait(10), 0, server.command)
        self.assertLess(time.monotonic() - begin, 5)

    def test_clients_that_keep_their_side_open(self):
        servers = [self.echo(["127.0.0.1:0"], *options) for options in CONFIGURATIONS]
        for server in servers:
            for _ in range(10):
                self.assertTrue(echoes(self.client(server.address)))
        self.end_all(servers)

    def test_what_has_arrived_is_served(self):
        """Bytes that were sent before the signal come back, then the end."""
        for options in CONFIGURATIONS:
            with self.subTest(options=options):
                server = self.echo(["127.0.0.1:0"], *options)
                clients = [self.client(server.address) for _ in range(20)]
                self.assertTrue(all(echoes(client) for client in clients))
                data = os.urandom(60_000)
                for client in clients:
                    client.sendall(data)
                server.signal(signal.SIGTERM)
                for client in clients:
                    self.assertTrue(receive_exactly(client, len(data)) == data)
                    self.assertEqual(receive_until_end(client), b"")
                    client.close()
                self.assertEqual(server.wait(5), 0)

    def test_clients_in_mid_stream(self):
        """They go on sending until they are told; what came back is the beginning of it."""
        servers = [self.echo(["127.0.0.1:0"], *options) for options in CONFIGURATIONS]
        block, wrong, flowing = os.urandom(MIB), [], []

        def send(client):
            try:
                while True:
                    client.sendall(block)
            except OSError:
                pass

        def receive(client):
            received = 0
            try:
                while part := client.recv(MIB):
                    at = received % MIB
                    if (block + block)[at:at + len(part)] != part:
                        wrong.append(client)
                    received += len(part)
                    if received > 4 * MIB and client not in flowing:
                        flowing.append(client)
            except ConnectionResetError:
                pass

        clients = [self.client(server.address) for server in servers]
        threads = [threading.Thread(target=work, args=(client,))
                   for client in clients for work in (send, receive)]
        for thread in threads:
            thread.start()
        try:
            self.assertTrue(wait_until(lambda: len(flowing) == len(clients)))
            self.end_all(servers)
        finally:
            for client in clients:
                try:
                    client.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass  # it was reset
            for thread in threads:
                thread.join()
        self.assertEqual(wrong, [])

    def test_clients_that_do_not_read(self):
        servers = [self.echo(["127.0.0.1:0"], *options) for options in CONFIGURATIONS]
        for server in servers:
            for _ in range(3):
                self.assertGreater(stuff(self.client(server.address), quiet=0.2), MIB)
        self.end_all(servers)

    def test_new_clients_are_not_taken_while_it_ends(self):
        server = self.echo()
        stuck = self.client(server.address)
        stuff(stuck, quiet=0.2)
        server.signal(signal.SIGTERM)

        def refused():
            try:
                connect(server.address).close()
                return False
            except ConnectionRefusedError:
                return True

        self.assertTrue(wait_until(refused, 2))
        self.assertTrue(server.running())

    def test_a_second_signal_ends_it_at_once(self):
        for options in CONFIGURATIONS:
            for first, second in ((signal.SIGINT, signal.SIGINT), (signal.SIGTERM, signal.SIGINT)):
                with self.subTest(options=options, first=first, second=second):
                    server = self.echo(["127.0.0.1:0"], *options)
                    client = self.client(server.address)
                    stuff(client, quiet=0.2)
                    server.signal(first)
                    # Heard, when nobody is listening any more.
                    self.assertTrue(wait_until(lambda: self.not_listening(server.address)))
                    heard = time.monotonic()
                    # Sooner it would be the same request, as from timeout(1).
                    self.assertTrue(wait_until(lambda: time.monotonic() - heard > 0.1))
                    begin = time.monotonic()
                    server.signal(second)
                    self.assertEqual(server.wait(), 128 + second)
                    self.assertLess(time.monotonic() - begin, 1)

    @staticmethod
    def not_listening(address):
        with socket.socket() as probe:
            host, port = address.split(":")
            return probe.connect_ex((host, int(port))) != 0


if __name__ == "__main__":
    unittest.main()
