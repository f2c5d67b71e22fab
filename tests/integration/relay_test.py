#!/usr/bin/env python3
"""weir-relay between real clients and targets."""

import os
import re
import signal
import socket
import subprocess
import threading
import unittest

from harness import (BIN, DEADLINE, MIB, SANITIZER, SystemTest, echoes, exchange, receive_exactly,
                     receive_until_end, reset, stuff, stuffing, wait_until)

BULK = 2 * MIB if SANITIZER else 16 * MIB


class RelayTest(SystemTest):
    def relay(self, target, *options, listen="127.0.0.1:0"):
        return self.serve([BIN / "weir-relay", "--listen", listen, "--connect", target, *options])

    def target(self, receive_buffer=None):
        """A listening socket and its address."""
        listener = socket.socket()
        self.addCleanup(listener.close)
        if receive_buffer:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.settimeout(DEADLINE)
        return listener, "127.0.0.1:%d" % listener.getsockname()[1]

    def accept(self, listener):
        connection, _ = listener.accept()
        self.addCleanup(connection.close)
        connection.settimeout(DEADLINE)
        return connection

    def pair(self, *options, receive_buffer=None):
        """A relay, a client of it, and the other end."""
        listener, address = self.target(receive_buffer)
        relay = self.relay(address, *options)
        client = self.client(relay.address)
        return relay, client, self.accept(listener)

    def full_target(self):
        """A Unix listener with a full queue, so that a connect has to wait; its address; and a
        function that lets those go that fill it."""
        listener = socket.socket(socket.AF_UNIX)
        self.addCleanup(listener.close)
        listener.bind(self.path("full"))
        listener.listen(0)
        listener.settimeout(DEADLINE)
        waiting = []
        while True:
            client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            self.addCleanup(client.close)
            try:
                client.connect(self.path("full"))
            except BlockingIOError:
                break
            waiting.append(client)

        def make_room():
            for _ in waiting:
                self.accept(listener).close()

        return listener, "unix:" + self.path("full"), make_room


class Passing(RelayTest):
    def test_tcp_and_unix_either_way(self):
        echo = self.echo(["127.0.0.1:0", f"unix:{self.path('echo')}"])
        for number, target in enumerate(echo.addresses):
            for listen in ("127.0.0.1:0", "[::1]:0", f"unix:{self.path(f'relay{number}')}"):
                with self.subTest(listen=listen, target=target):
                    self.assertTrue(echoes(self.client(self.relay(target, listen=listen).address)))

    def test_much_both_ways(self):
        """The end of the client's stream comes through, too: exchange() waits for the echo's."""
        echo, data = self.echo(), os.urandom(BULK)
        for options in (("--path", "copy"), ("--path", "splice"),
                        ("--path", "automatic", "--threads", "2")):
            with self.subTest(options=options):
                relay = self.relay(echo.address, *options)
                self.assertTrue(exchange(self.client(relay.address), data) == data)

    def test_nc_and_socat(self):
        host, port = self.relay(self.echo().address).address.split(":")
        for command in (["nc", "-N", host, port], ["socat", "-t10", "-", f"TCP:{host}:{port}"]):
            done = subprocess.run(command, input=b"there and back\n", capture_output=True,
                                  timeout=DEADLINE, check=True)
            self.assertEqual(done.stdout, b"there and back\n", command)

    def test_many_clients_on_threads(self):
        relay = self.relay(self.echo().address, "--threads", "3")
        clients = [self.client(relay.address) for _ in range(60)]
        for number, client in enumerate(clients):
            client.sendall(b"%4d" % number)
        for number, client in enumerate(clients):
            self.assertEqual(receive_exactly(client, 4), b"%4d" % number)
        before = relay.descriptors()
        for client in clients:
            client.close()
        self.assertTrue(wait_until(lambda: relay.descriptors() <= before - 2 * len(clients)))

    def test_a_half_close_ends_one_direction_only(self):
        _, client, target = self.pair()
        client.sendall(b"question")
        client.shutdown(socket.SHUT_WR)
        self.assertEqual(receive_until_end(target), b"question")
        target.sendall(b"answer")
        self.assertEqual(receive_exactly(client, 6), b"answer")
        target.close()
        self.assertEqual(receive_until_end(client), b"")

    def test_a_reset_is_passed_on(self):
        _, client, target = self.pair()
        client.sendall(b"x")
        self.assertEqual(target.recv(1), b"x")
        reset(client)
        self.assertRaises(ConnectionResetError, target.recv, 1)

        _, client, target = self.pair()
        target.sendall(b"x")
        self.assertEqual(client.recv(1), b"x")
        reset(target)
        self.assertRaises(ConnectionResetError, client.recv, 1)

    def test_a_slow_target_holds_its_client_back_and_nobody_else(self):
        listener, address = self.target(receive_buffer=16 * 1024)
        relay = self.relay(address)
        client, other = self.client(relay.address), self.client(relay.address)
        slow, quick = self.accept(listener), self.accept(listener)
        before = relay.resident_bytes()
        sent = stuff(client, quiet=0.3)
        if not SANITIZER:
            self.assertLess(relay.resident_bytes() - before, 8 * MIB)
        other.sendall(b"meanwhile")
        self.assertEqual(receive_exactly(quick, 9), b"meanwhile")
        self.assertTrue(receive_exactly(slow, sent) == stuffing(0, sent))


class NoTarget(RelayTest):
    def refused_address(self):
        """Nobody listens there as long as the test lasts."""
        taken = socket.socket()
        self.addCleanup(taken.close)
        taken.bind(("127.0.0.1", 0))
        return "127.0.0.1:%d" % taken.getsockname()[1]

    def test_a_refused_client_sees_the_end_and_the_log_says_why(self):
        address = self.refused_address()
        relay = self.relay(address)
        for _ in range(50):
            self.assertEqual(exchange(self.client(relay.address), b"anybody?"), b"")
        lines = relay.errors().splitlines()
        self.assertRegex(lines[0], f"a client is disconnected: connect to {re.escape(address)}: "
                                   "Connection refused")
        self.assertLess(len(lines), 25)  # one a second

    def test_there_is_no_such_path(self):
        relay = self.relay(f"unix:{self.path('none')}")
        self.assertEqual(receive_until_end(self.client(relay.address)), b"")
        self.assertIn("No such file", relay.errors())

    def test_a_silent_target_is_given_up(self):
        _, address, _ = self.full_target()
        relay = self.relay(address, "--connect-timeout", "0.2")
        self.assertEqual(receive_until_end(self.client(relay.address)), b"")
        self.assertRegex(relay.errors(), "a client is disconnected: connect to .*full")

    def test_what_a_client_says_before_the_target_stands_waits(self):
        listener, address, make_room = self.full_target()
        relay = self.relay(address)
        client = self.client(relay.address)
        before = relay.resident_bytes()
        sent = stuff(client, quiet=0.3)
        if not SANITIZER:
            self.assertLess(relay.resident_bytes() - before, MIB)
        make_room()
        target = self.accept(listener)
        self.assertTrue(receive_exactly(target, sent) == stuffing(0, sent))

    def test_a_client_that_leaves_before_the_target_stands(self):
        listener, address, make_room = self.full_target()
        relay = self.relay(address)
        base = relay.descriptors()
        quick, patient = self.client(relay.address), self.client(relay.address)
        patient.sendall(b"short")
        patient.shutdown(socket.SHUT_WR)
        self.assertTrue(wait_until(lambda: relay.descriptors() >= base + 2))
        reset(quick)
        make_room()
        # The one that left is passed on as nothing, unless the relay knew of it in time.
        passed_on = []
        while b"short" not in passed_on:
            target = self.accept(listener)
            passed_on.append(receive_until_end(target))
            target.close()
        self.assertIn(passed_on, ([b"short"], [b"", b"short"]))
        self.assertEqual(receive_until_end(patient), b"")
        patient.close()
        self.assertTrue(wait_until(lambda: relay.descriptors() <= base + 1))


class Bounds(RelayTest):
    def test_so_many_clients_and_no_more(self):
        for options in (("--max-connections", "2"), ("--max-per-client", "2")):
            relay = self.relay(self.echo().address, *options)
            kept = [self.client(relay.address) for _ in range(2)]
            self.assertTrue(all(echoes(client) for client in kept))
            self.assertFalse(echoes(self.client(relay.address)), options)
            kept.pop().close()
            self.assertTrue(wait_until(lambda: echoes(self.client(relay.address))), options)

    def test_a_silent_pair_is_let_go(self):
        _, client, target = self.pair("--idle-timeout", "0.5")
        self.assertEqual(receive_until_end(client), b"")
        self.assertEqual(receive_until_end(target), b"")

    def test_a_line_of_numbers(self):
        relay, client, target = self.pair("--stats", "0.1")
        client.sendall(bytes(MIB))
        receive_exactly(target, MIB)
        line = (r"^1 connections, 1 accepted, 0 rejected, 0 not connected to the target, "
                r"1\.0 MiB to the target, 0\.0 MiB back$")
        self.assertTrue(wait_until(lambda: re.search(line, relay.errors(), re.M)), relay.errors())


class Ending(RelayTest):
    def test_both_sides_see_the_end(self):
        for options in ((), ("--threads", "2")):
            relay, client, target = self.pair(*options)
            client.sendall(b"last words")
            self.assertEqual(receive_exactly(target, 10), b"last words")
            relay.signal(signal.SIGTERM)
            self.assertEqual(receive_until_end(client), b"")
            self.assertEqual(receive_until_end(target), b"")
            client.close()
            target.close()
            self.assertEqual(relay.wait(5), 0)

    def test_what_was_under_way_gets_out(self):
        """To a target that begins to read only when the relay has been told to end."""
        relay, client, target = self.pair("--path", "copy", receive_buffer=16 * 1024)
        data, got = os.urandom(MIB // 2), []
        client.sendall(data)
        relay.signal(signal.SIGTERM)
        reader = threading.Thread(target=lambda: got.append(receive_until_end(target)))
        self.assertEqual(receive_until_end(client), b"")
        client.close()
        reader.start()
        reader.join()
        target.close()
        self.assertEqual(relay.wait(5), 0)
        self.assertTrue(got[0] == data)

    def test_nobody_can_hold_it_up(self):
        """With clients and targets that keep their side open, and a connect under way."""
        listener, address = self.target()
        relay = self.relay(address, "--threads", "2")
        sides = [self.client(relay.address) for _ in range(10)]
        sides += [self.accept(listener) for _ in range(10)]
        _, waiting, _ = self.full_target()
        other = self.relay(waiting)
        base = other.descriptors()
        self.client(other.address)
        self.assertTrue(wait_until(lambda: other.descriptors() > base))
        other.signal(signal.SIGTERM)
        self.end(relay)
        self.assertEqual(other.wait(5), 0)


if __name__ == "__main__":
    unittest.main()
