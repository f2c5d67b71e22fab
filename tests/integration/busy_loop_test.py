#!/usr/bin/env python3
"""A client that sends without reading costs nothing while it is stuck, and loses nothing."""

import os
import signal
import socket
import threading
import time
import unittest

from harness import (MIB, SANITIZER, SystemTest, Usage, count_epoll_returns, echoes,
                     receive_exactly, receive_until_end, reset, stuff, stuff_to_rest, stuffing,
                     wait_until)

HIGH_WATER = MIB
SECONDS = 3 if not SANITIZER else 1
CONFIGURATIONS = [(), ("--edge-triggered",), ("--threads", "3"),
                  ("--threads", "3", "--edge-triggered")]


class Oracle(SystemTest):
    def test_returns_are_counted(self):
        server = self.echo()
        client, over = self.client(server.address), threading.Event()

        def talk():
            while not over.is_set() and echoes(client):
                time.sleep(0.01)

        talker = threading.Thread(target=talk)
        talker.start()
        usage = Usage(server)
        self.assertGreater(count_epoll_returns(server, 1), 10)
        self.assertGreater(usage.wakeups(), 10)
        self.assertGreater(usage.cpu_share(), 0)
        over.set()
        talker.join()


class NotReading(SystemTest):
    def test_level(self):
        self.check()

    def test_edge(self):
        self.check("--edge-triggered")

    def test_level_3_threads(self):
        self.check("--threads", "3")

    def test_edge_3_threads(self):
        self.check("--threads", "3", "--edge-triggered")

    def test_a_smaller_bound(self):
        self.check("--max-output", "65536", bound=65536)

    def check(self, *options, bound=HIGH_WATER):
        server = self.echo(["127.0.0.1:0"], *options)
        warm = self.client(server.address)
        self.assertTrue(echoes(warm, b"x" * 2 * MIB))  # what a loop needs once is there now
        resident = server.resident_bytes()

        client = self.client(server.address)
        sent, in_kernel = stuff_to_rest(client)
        self.assertGreater(sent, bound)

        # What neither kernel queue holds, the server does.
        held = sent - in_kernel
        self.assertGreater(held, 0)
        self.assertLessEqual(held, bound)
        if not SANITIZER:  # which keep what was freed
            self.assertLess(server.resident_bytes() - resident, bound + MIB)

        usage = Usage(server)
        returns = count_epoll_returns(server, SECONDS)
        self.assertLessEqual(returns, 10)
        self.assertLess(usage.cpu_share(), 0.01)
        usage = Usage(server).measure(SECONDS)  # once more with nobody looking
        share = usage.cpu_share()
        self.assertLess(share, 0.01)
        self.assertLessEqual(usage.wakeups(), 10)
        self.assertTrue(echoes(warm))

        # The client reads on: all of it comes, and the rest of the stream flows.
        rest = 4 * MIB
        sender = threading.Thread(target=client.sendall, args=(stuffing(sent, rest),))
        sender.start()
        back = receive_exactly(client, sent + rest)
        sender.join()
        self.assertEqual(len(back), sent + rest)
        self.assertTrue(back == stuffing(0, sent + rest))
        print(f"{options}: sent {sent}, held {held}, epoll returns {returns} in {SECONDS} s, "
              f"cpu {100 * share:.3f} %")


class Stuck(SystemTest):
    """Connections in states in which a reactor is tempted to spin."""

    def on_all(self, scenario):
        """Sets the scenario up on a server of each kind, sees whether they rest, and calls what the
        scenario returned."""
        servers = [self.echo(["127.0.0.1:0"], "--idle-timeout", "60", *options)
                   for options in CONFIGURATIONS]
        rest = [scenario(server) for server in servers]
        self.assertTrue(wait_until(lambda: all(map(self.is_quiet, servers))), "they never rest")
        usages = [Usage(server) for server in servers]
        time.sleep(SECONDS)
        for server, usage in zip(servers, usages):
            with self.subTest(options=server.command[3:]):
                self.assertLessEqual(usage.wakeups(), 2 * usage.elapsed())
                self.assertLess(usage.cpu_share(), 0.005)
        for server, finish in zip(servers, rest):
            with self.subTest(options=server.command[3:]):
                finish()
                self.assertTrue(echoes(self.client(server.address)))

    @staticmethod
    def is_quiet(server):
        """Nothing that was set up is still going on."""
        sleeps = server.sleeps()
        time.sleep(0.1)
        return server.is_asleep() and server.sleeps() - sleeps <= 1

    def gone(self, server, before):
        """What is checked when no connection may be left."""
        return lambda: self.assertTrue(wait_until(lambda: server.descriptors() <= before))

    def test_F07_half_closed_long_ago_and_not_reading(self):
        def scenario(server):
            clients = [self.client(server.address) for _ in range(3)]
            sent = [stuff(client, quiet=0.2) for client in clients]
            for client in clients:
                client.shutdown(socket.SHUT_WR)

            def read_on():
                for client, size in zip(clients, sent):
                    self.assertTrue(receive_until_end(client) == stuffing(0, size))

            return read_on

        self.on_all(scenario)

    def test_F07_reset_while_the_server_does_not_read(self):
        def scenario(server):
            gone = self.gone(server, server.descriptors())
            for _ in range(5):
                client = self.client(server.address)
                stuff(client, quiet=0.2)
                client.close()  # with bytes unread, so the kernel sends RST
            return gone

        self.on_all(scenario)

    def test_F08_reset_while_idle(self):
        def scenario(server):
            gone = self.gone(server, server.descriptors())
            for _ in range(100):
                client = self.client(server.address)
                reset(client)
            return gone

        self.on_all(scenario)

    def test_F31_stopped_clients(self):
        """Processes that were stopped in the middle of an exchange: their kernel goes on."""
        def scenario(server):
            host, port = server.address.split(":")
            program = (f"import socket; s = socket.create_connection(('{host}', {port})); "
                       "b = bytes(65536)\n"
                       "while True: s.sendall(b); s.recv(65536); print('on', flush=True)")
            peer = self.program(["python3", "-c", program])
            for _ in range(10):
                self.assertEqual(peer.read_line(), "on")
            peer.signal(signal.SIGSTOP)
            return lambda: None

        self.on_all(scenario)

    def test_F04_a_descriptor_that_lives_on_elsewhere(self):
        """Somebody else holds the connection's socket: when the server has closed it, epoll must
        not know it any more."""
        def scenario(server):
            gone = self.gone(server, server.descriptors())
            client = self.client(server.address)
            self.assertTrue(echoes(client))
            for copy in self.copy_sockets(server):
                self.addCleanup(os.close, copy)
            client.shutdown(socket.SHUT_WR)
            gone()  # for the server; the socket is still there, and about to be hung up
            client.close()
            return gone

        self.on_all(scenario)

    def copy_sockets(self, server):
        """Duplicates of all sockets of the server, made behind its back (pidfd_getfd(2))."""
        import ctypes
        libc = ctypes.CDLL(None, use_errno=True)
        pidfd = os.pidfd_open(server.pid)
        copies = []
        for entry in os.scandir(f"/proc/{server.pid}/fd"):
            if os.readlink(entry.path).startswith("socket:"):
                copy = libc.syscall(438, pidfd, int(entry.name), 0)
                self.assertGreaterEqual(copy, 0, os.strerror(ctypes.get_errno()))
                copies.append(copy)
        os.close(pidfd)
        self.assertGreaterEqual(len(copies), 2)
        return copies


if __name__ == "__main__":
    unittest.main()
