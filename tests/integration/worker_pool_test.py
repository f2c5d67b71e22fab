#!/usr/bin/env python3
"""Questions that take a while: the loop serves on, answers keep their order, and nothing is held up
by who leaves, asks too much, or ends the server."""

import os
import select
import signal
import socket
import subprocess
import unittest
from pathlib import Path

from harness import (BIN, DEADLINE, SANITIZER, SystemTest, connect, poll_one, pour,
                     receive_until_end, reset, wait_until)

ENDLESS = b"primes 1000000000000000\n"  # takes as long as the time limit allows
WORKERS = 2


class Client:
    """Has asked, and reads lines."""

    def __init__(self, address, data, source=None):
        self.socket, self.unread = connect(address, source=source), b""
        self.socket.sendall(data)

    def read_line(self):
        while b"\n" not in self.unread:
            got = self.socket.recv(65536)
            if not got:
                return self.unread.decode()
            self.unread += got
        line, self.unread = self.unread.split(b"\n", 1)
        return line.decode()

    def answered(self, seconds=0):
        return bool(poll_one(self.socket, select.POLLIN, seconds))

    def close(self):
        self.socket.close()


class WorkerPool(SystemTest):
    sources = 0

    def pool(self, *options, listen="127.0.0.1:0"):
        return self.serve([BIN / "weir-worker-pool", "--listen", listen,
                           "--workers", str(WORKERS), *options])

    def asks(self, server, data, source=None):
        """From an address of its own, unless one is given: those of one address share a bound."""
        self.sources = (self.sources + 1) % 200
        client = Client(server.address, data, source or f"127.0.1.{1 + self.sources}")
        self.addCleanup(client.close)
        return client

    def busy(self, server, threads=1):
        """Waits until as many threads compute; they are not weir's."""
        def cpu():
            tasks = Path(f"/proc/{server.pid}/task").iterdir()
            return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9

        before = cpu()
        self.assertTrue(wait_until(lambda: cpu() > before + 0.03 * threads))

    def answers(self, server, data):
        """To all that is asked before a half-close."""
        with connect(server.address) as client:
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            return receive_until_end(client).decode().splitlines()


class Answers(WorkerPool):
    def test_with_nc(self):
        host, port = self.pool().address.split(":")
        done = subprocess.run(["nc", "-N", host, port], input=b"primes 100000\r\nfactor 5040\n",
                              capture_output=True, timeout=DEADLINE, check=True)
        self.assertEqual(done.stdout, b"9592\n5040 = 2 2 2 2 3 3 5 7\n")

    def test_are_right(self):
        server = self.pool(listen=f"unix:{self.path('socket')}")
        asked = {"primes 0": "0", "primes 2": "1", "primes 3": "2", "primes 100": "25",
                 "factor 0": "0 =", "factor 1": "1 =", "factor 2": "2 = 2", "factor 49": "49 = 7 7",
                 "factor 18446744073709551615":
                     "18446744073709551615 = 3 5 17 257 641 65537 6700417"}
        got = self.answers(server, "".join(line + "\n" for line in asked).encode())
        self.assertEqual(got, list(asked.values()))

    def test_come_in_the_order_of_the_questions(self):
        server = self.pool("--threads", "2")
        asked = b"primes 200000\nping\nfactor 10\nprimes 10\nping\n" * 8
        expected = ["17984", "pong", "10 = 2 5", "4", "pong"] * 8
        self.assertEqual(self.answers(server, asked), expected)

    def test_many_clients(self):
        server = self.pool("--threads", "2")
        clients = [self.asks(server, b"factor %d\n" % (1000 + i)) for i in range(50)]
        for i, client in enumerate(clients):
            self.assertRegex(client.read_line(), f"^{1000 + i} = ")


class Busy(WorkerPool):
    def test_the_loop_serves_while_all_workers_compute(self):
        server = self.pool("--time-limit", "100")
        heavy = [self.asks(server, ENDLESS) for _ in range(WORKERS + 2)]
        self.busy(server, WORKERS)
        for _ in range(20):
            self.assertEqual(self.asks(server, b"ping\n").read_line(), "pong")
        self.assertFalse(any(client.answered() for client in heavy))
        server.signal(signal.SIGKILL)
        server.wait()
        server.stop()

    def test_a_question_has_a_time_limit_and_its_wait_counts(self):
        server = self.pool("--time-limit", "0.3")
        clients = [self.asks(server, ENDLESS + b"ping\n") for _ in range(3 * WORKERS)]
        for client in clients:
            self.assertEqual(client.read_line(), "error: the question took too long")
            self.assertEqual(client.read_line(), "pong")
        self.assertEqual(self.answers(server, b"primes 10\n"), ["4"])

    def test_the_queue_is_bounded(self):
        server = self.pool("--time-limit", "1", "--queue", "1")
        computing = []
        for _ in range(WORKERS):
            computing.append(self.asks(server, ENDLESS))
            self.busy(server)
        waiting = self.asks(server, b"primes 10\n")
        # The one before may not have been read yet: the loop takes clients as they come.
        self.assertTrue(wait_until(lambda: self.refused(server)))
        self.assertEqual(computing[0].read_line(), "error: the question took too long")
        self.assertEqual(waiting.read_line(), "4")
        self.assertEqual(self.answers(server, b"primes 10\n"), ["4"])

    def test_one_address_has_neither_all_workers_nor_the_whole_queue(self):
        server = self.pool("--time-limit", "100", "--queue", "8")
        greedy = [self.asks(server, ENDLESS, source="127.0.0.7")]
        self.busy(server)
        greedy += [self.asks(server, ENDLESS, source="127.0.0.7") for _ in range(11)]
        # One computes, four wait, and seven were refused.
        self.assertTrue(wait_until(lambda: sum(c.answered() for c in greedy) == 7))
        for client in greedy:
            if client.answered():
                self.assertEqual(client.read_line(),
                                 "error: too many questions are queued; ask again later")
        for i in range(5):
            self.assertEqual(self.asks(server, b"factor %d\n" % (7 + i)).read_line()[:2].strip(),
                             str(7 + i))
        server.signal(signal.SIGKILL)
        server.wait()
        server.stop()

    def test_questions_of_clients_that_have_reset_are_given_up(self):
        server = self.pool("--time-limit", "100", "--queue", "6")
        clients = [self.asks(server, ENDLESS) for _ in range(6 + WORKERS)]
        self.busy(server, WORKERS)
        self.assertEqual(self.asks(server, b"ping\n").read_line(), "pong")
        for client in clients:
            reset(client.socket)
        self.assertTrue(wait_until(lambda: self.answers(server, b"primes 10\n") == ["4"], 10))
        self.assertTrue(wait_until(server.is_asleep))

    def refused(self, server):
        client = self.asks(server, b"factor 10\nping\n")
        return (client.answered(0.1) and
                client.read_line() == "error: too many questions are queued; ask again later" and
                client.read_line() == "pong")

    def test_who_leaves_meanwhile_harms_nobody(self):
        server = self.pool("--time-limit", "0.2")
        for leave in (socket.socket.close, reset):
            for _ in range(2 * WORKERS):
                leave(self.asks(server, ENDLESS).socket)
        self.assertEqual(self.answers(server, b"ping\n"), ["pong"])
        self.assertTrue(wait_until(lambda: self.answers(server, b"primes 10\n") == ["4"]))
        self.end(server)
        self.assertEqual(server.errors(), "")


class Ending(WorkerPool):
    def test_an_answer_under_way_comes_before_the_end(self):
        server = self.pool()
        idle = self.client(server.address)
        clients = [self.asks(server, b"primes 1500000\nfactor 10\n") for _ in range(WORKERS)]
        self.busy(server, WORKERS)
        server.signal(signal.SIGTERM)
        self.assertEqual(receive_until_end(idle), b"")  # at once
        idle.close()
        for client in clients:
            self.assertEqual(client.read_line(), "114155")
            self.assertEqual(client.read_line(), "10 = 2 5")
            self.assertEqual(client.read_line(), "")
            client.close()
        self.assertEqual(server.wait(5), 0, server.errors())

    def test_what_takes_longer_than_the_deadline_is_given_up(self):
        server = self.pool("--time-limit", "100")
        client = self.asks(server, ENDLESS)
        self.busy(server)
        self.end(server, within=6 if not SANITIZER else 15)
        with self.assertRaises(ConnectionResetError):
            receive_until_end(client.socket)


class Hostile(WorkerPool):
    def test_nonsense(self):
        server = self.pool()
        for line in (b"", b"primes", b"primes ", b"primes x", b"primes -1", b"primes 1 ",
                     b"primes 18446744073709551616", b"factor 0x10", b"PRIMES 1", b"\x1b[2J\xff",
                     b"x" * 100_000):
            with self.subTest(line=line[:20]):
                got = self.answers(server, line + b"\nping\n")
                self.assertEqual(got[1:], ["pong"])
                self.assertRegex(got[0], "^error: ")
                self.assertTrue(got[0].isprintable())

    def test_garbage_and_floods(self):
        server = self.pool("--time-limit", "0.2")
        flood = self.asks(server, ENDLESS)
        flood.socket.setblocking(False)
        for data in (os.urandom(100_000), b"primes 10\n" * 2000):
            with connect(server.address) as client:
                pour(client, data)
        try:
            while flood.socket.send(ENDLESS * 1000):  # until nothing more is taken: it is not read
                pass
        except BlockingIOError:
            pass
        self.assertEqual(self.answers(server, b"ping\n"), ["pong"])
        reset(flood.socket)
        self.end(server)


if __name__ == "__main__":
    unittest.main()
