#!/usr/bin/env python3
"""What may happen to a process from outside: it is stopped and let go on, started without standard
descriptors, and its standard error is full, or nobody reads it."""

import os
import signal
import time
import unittest

from harness import (BIN, SystemTest, echoes, listens_at, raise_descriptor_limit, receive_exactly,
                     receive_until_end, wait_until)

CONFIGURATIONS = [(), ("--edge-triggered",), ("--threads", "3")]
MORE_THAN_A_BATCH = 700  # a loop takes 512 events from the kernel at once
IDLE = 1.0


def is_stopped(program):
    with open(f"/proc/{program.pid}/stat", encoding="ascii") as file:
        return file.read().rsplit(")", 1)[1].split()[0] == "T"


class Stopped(SystemTest):
    def setUp(self):
        super().setUp()
        raise_descriptor_limit()

    def test_nobody_who_has_sent_is_let_go_as_idle(self):
        for options in CONFIGURATIONS:
            with self.subTest(options=options):
                server = self.echo(["127.0.0.1:0"], "--idle-timeout", str(IDLE), *options)
                clients = [self.client(server.address) for _ in range(MORE_THAN_A_BATCH)]
                for client in clients:
                    client.sendall(b"before")
                for client in clients:
                    self.assertEqual(receive_exactly(client, 6), b"before")
                server.signal(signal.SIGSTOP)
                self.assertTrue(wait_until(lambda: is_stopped(server)))
                for client in clients:
                    client.sendall(b"meanwhile")
                time.sleep(2 * IDLE)  # all of them are overdue
                server.signal(signal.SIGCONT)
                answers = [receive_exactly(client, 9) for client in clients]
                self.assertEqual(answers.count(b"meanwhile"), MORE_THAN_A_BATCH)
                for client in clients:
                    client.close()
                self.end(server)

    def test_the_silent_are_let_go_all_the_same(self):
        server = self.echo(["127.0.0.1:0"], "--idle-timeout", str(IDLE))
        client = self.client(server.address)
        self.assertTrue(echoes(client))
        server.signal(signal.SIGSTOP)
        self.assertTrue(wait_until(lambda: is_stopped(server)))
        server.signal(signal.SIGCONT)
        self.assertEqual(client.recv(1), b"")


class StandardError(SystemTest):
    def setUp(self):
        super().setUp()
        self.reading, self.writing = os.pipe()
        self.addCleanup(lambda: self.reading is None or os.close(self.reading))
        self.addCleanup(os.close, self.writing)

    def fill(self):
        os.set_blocking(self.writing, False)
        try:
            while True:
                os.write(self.writing, b"x" * 4096)
        except BlockingIOError:
            pass
        os.set_blocking(self.writing, True)

    def provoke_warnings(self, server):
        """Whoever comes above --max-connections is refused, and the log says so."""
        first = self.client(server.address)
        self.assertTrue(echoes(first))
        for _ in range(3):
            self.assertEqual(receive_until_end(self.client(server.address)), b"")
            self.assertTrue(echoes(first))
        first.close()

    def test_full_nobody_waits_for_it(self):
        self.fill()
        for options in CONFIGURATIONS:
            server = self.echo(["127.0.0.1:0"], "--max-connections", "1", *options,
                               stderr=self.writing)
            self.provoke_warnings(server)
            self.end(server)
        self.assertTrue(os.get_blocking(self.writing))

    def test_its_reader_has_gone_nobody_dies_of_it(self):
        os.close(self.reading)
        self.reading = None
        for options in CONFIGURATIONS:
            server = self.echo(["127.0.0.1:0"], "--max-connections", "1", *options,
                               stderr=self.writing)
            self.provoke_warnings(server)
            self.end(server)

    def test_what_was_lost_is_told_when_there_is_room(self):
        self.fill()
        server = self.echo(["127.0.0.1:0"], "--max-connections", "1", stderr=self.writing)
        self.provoke_warnings(server)
        os.set_blocking(self.reading, False)
        text = b""

        def told():
            nonlocal text
            self.client(server.address)  # a line a second
            try:
                text += os.read(self.reading, 1 << 20)
            except BlockingIOError:
                pass
            return b"1 log lines could not be written to standard error" in text

        # As soon as the server has seen the first one off.
        self.assertTrue(wait_until(lambda: echoes(self.client(server.address))))
        self.assertTrue(wait_until(told, every=0.1), text[-2000:])


class NoStandardDescriptors(SystemTest):
    def test_clients_get_nothing_but_their_own(self):
        for options in CONFIGURATIONS:
            path = self.path(f"sock{len(options)}")
            server = self.program(
                ["bash", "-c", 'exec "$@" <&- >&- 2>&-', "bash", BIN / "weir-echo",
                 "--listen", f"unix:{path}", "--max-connections", "3", "--stats", "0.1", *options])
            self.assertTrue(wait_until(lambda path=path: listens_at(path)))
            clients = [self.client(f"unix:{path}") for _ in range(3)]
            for _ in range(10):
                self.assertTrue(all(echoes(client) for client in clients))
                time.sleep(0.05)  # so that lines of numbers come in between
                self.assertEqual(receive_until_end(self.client(f"unix:{path}")), b"")
            for client in clients:
                client.close()
            server.signal(signal.SIGTERM)
            self.assertEqual(server.wait(5), 1)  # "listening on ..." could not be said


if __name__ == "__main__":
    unittest.main()
