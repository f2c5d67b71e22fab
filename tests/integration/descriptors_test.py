#!/usr/bin/env python3
"""Descriptors run out: who was accepted does not notice, nobody spins or floods the log."""

import itertools
import select
import socket
import time
import unittest

from harness import (BIN, SANITIZER, SystemTest, Usage, echoes, raise_descriptor_limit,
                     wait_until)

LIMIT = 64
CLIENTS = 500
SECONDS = 3 if not SANITIZER else 1
# Descriptors that the server inherits open, so that its own bound on connections, which leaves a
# reserve, is more than there are.
INHERITED = 24


class Crowd:
    """Clients that have connected and asked for a first echo, whatever becomes of them."""

    def __init__(self, test, address, count):
        host, port = address.split(":")
        self.sockets = []
        for _ in range(count):
            client = socket.socket()
            test.addCleanup(client.close)
            client.setblocking(False)
            client.connect_ex((host, int(port)))
            self.sockets.append(client)
        self.served, self.closed = [], []
        self.poll = select.poll()
        self.waiting = {client.fileno(): client for client in self.sockets}
        for number in self.waiting:
            self.poll.register(number, select.POLLOUT)

    def step(self, timeout):
        """Takes note of what has happened."""
        for number, events in self.poll.poll(timeout * 1000):
            client = self.waiting[number]
            try:
                if events & select.POLLOUT:
                    client.send(b"ping")
                    self.poll.modify(number, select.POLLIN)
                    continue
                answer = client.recv(4)
            except OSError:
                answer = b""
            (self.served if answer == b"ping" else self.closed).append(client)
            client.settimeout(5)
            self.poll.unregister(number)
            del self.waiting[number]

    def settle(self, seconds):
        """Until all know, or the time is over."""
        end = time.monotonic() + seconds
        while self.waiting and time.monotonic() < end:
            self.step(0.05)


class Crowded(SystemTest):
    def setUp(self):
        super().setUp()
        raise_descriptor_limit()

    def check(self, *options, inherited=0):
        server = self.echo(["127.0.0.1:0"], *options, descriptor_limit=LIMIT, inherited=inherited)
        early = [self.client(server.address) for _ in range(5)]
        self.assertTrue(all(echoes(client) for client in early))

        crowd = Crowd(self, server.address, CLIENTS)
        crowd.settle(2)
        self.assertGreater(len(crowd.served), 0)
        self.assertGreater(len(crowd.closed) + len(crowd.waiting), CLIENTS - LIMIT)

        # The crowd goes on pressing: others come, five times a second ten of them.
        usage, comers, answered = Usage(server), 0, 0
        while usage.elapsed() < SECONDS:
            comer = Crowd(self, server.address, 10)
            crowd.settle(0.1)
            comer.settle(0.1)
            comers += 10
            # With several loops one may be served after all, by a descriptor that another loop has
            # just let go.
            crowd.served += comer.served
            for client in comer.sockets:
                if client not in comer.served:
                    client.close()
            # Nobody who was accepted notices.
            for client in itertools.chain(early, crowd.served):
                self.assertTrue(echoes(client, b"still there"))
                answered += 1
            wait_until(lambda: usage.elapsed() >= comers / 10 * 0.2)
        self.assertLess(len(crowd.served), LIMIT)
        share = usage.cpu_share()
        self.assertLess(share, 0.05)
        lines = len(server.errors().splitlines())
        self.assertLessEqual(lines, 2 + usage.elapsed() + 2)  # of the first rush, and since
        self.assertGreater(lines, 0)

        # Descriptors come free right after one more rush, when the listener is being left alone.
        for client in crowd.sockets:
            if client not in crowd.served:
                client.close()
        rush = Crowd(self, server.address, 10)
        rush.settle(0.5)  # who is not closed by now waits, and has its turn before the newcomer
        before = len(rush.served)
        for client in [crowd.served.pop() for _ in range(5)]:
            client.close()
        begin = time.monotonic()
        newcomer = Crowd(self, server.address, 1)
        while time.monotonic() < begin + 5:
            newcomer.step(0.01)
            rush.step(0)
            if newcomer.served or len(rush.served) > before:
                break
            if newcomer.closed:  # it came too early
                newcomer = Crowd(self, server.address, 1)
        waited = time.monotonic() - begin
        self.assertLess(waited, 0.2)
        for client in itertools.chain(early, crowd.served):
            self.assertTrue(echoes(client))
        print(f"{options} inherited {inherited}: {len(crowd.served) + 5} of {CLIENTS} served, "
              f"{len(crowd.closed)} closed, {comers} more came, {answered} echoes meanwhile, "
              f"cpu {100 * share:.2f} %, {lines} log lines, newcomer after {1000 * waited:.0f} ms")
        for client in itertools.chain(early, crowd.sockets, rush.sockets, newcomer.sockets):
            client.close()  # or the server's end would wait for theirs
        return server

    def test_F41_the_bound_on_connections(self):
        for options in ((), ("--edge-triggered",),
                        ("--threads", "3", "--accept", "exclusive")):
            with self.subTest(options=options):
                server = self.check(*options)
                self.assertIn("connections are open, the most allowed", server.errors())
                self.end(server)

    def test_F35_no_descriptor_left(self):
        for options in ((), ("--edge-triggered",), ("--threads", "1")):
            with self.subTest(options=options):
                server = self.check(*options, inherited=INHERITED)
                self.assertRegex(server.errors(), "accept on .*: Too many open files")
                self.end(server)

    def test_F35_no_descriptor_left_for_three_loops(self):
        for mode, trigger in itertools.product(("exclusive", "reuse_port"),
                                               ((), ("--edge-triggered",))):
            with self.subTest(mode=mode, trigger=trigger):
                server = self.check("--threads", "3", "--accept", mode, *trigger,
                                    inherited=INHERITED)
                self.assertRegex(server.errors(), "accept on .*: Too many open files")
                self.end(server)

    def test_none_for_the_server_itself(self):
        """Too few to begin with is a sentence and an exit code."""
        for limit in range(4, 12):
            with self.subTest(limit=limit):
                process = self.program(
                    [BIN / "weir-echo", "--listen", "127.0.0.1:0", "--threads", "3"],
                    descriptor_limit=limit)
                self.assertEqual(process.wait(5), 1, process.errors())
                self.assertRegex(process.errors(), "^error: .*Too many open files")


if __name__ == "__main__":
    unittest.main()
