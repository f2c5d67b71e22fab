#!/usr/bin/env python3
"""Real clients talk to weir-echo: socat, nc, curl, and sockets of Python's."""

import itertools
import os
import random
import socket
import subprocess
import threading
import unittest

from harness import (MIB, SystemTest, connect, echoes, exchange, receive_exactly,
                     receive_until_end, wait_until)

TRIGGERS = {"level": [], "edge": ["--edge-triggered"]}
# All of 64 MiB in the whole matrix takes minutes under a sanitizer; WEIR_FULL=1 asks for it.
FULL = os.environ.get("WEIR_FULL") == "1"


def files_equal(a, b):
    return subprocess.run(["cmp", "--", a, b], stdout=subprocess.DEVNULL).returncode == 0


class ToolTest(SystemTest):
    def server_everywhere(self, *options):
        """On IPv4, IPv6, a Unix path and an abstract name, in this order."""
        listen = ["127.0.0.1:0", "[::1]:0", f"unix:{self.path('sock')}",
                  f"unix:@weir-test-{os.getpid()}-{random.getrandbits(64):x}"]
        return self.echo(listen, *options)

    def random_file(self, size):
        path = self.path(f"in-{size}")
        if not os.path.exists(path):
            with open(path, "wb") as file:
                for _ in range(size // MIB):
                    file.write(os.urandom(MIB))
                file.write(os.urandom(size % MIB))
        return path

    def run_client(self, command, source):
        """Feeds the file to the client; returns the file of what came out."""
        result = self.path("out")
        with open(source, "rb") as stdin, open(result, "wb") as stdout:
            done = subprocess.run(command, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE,
                                  timeout=120)
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        return result

    @staticmethod
    def socat_address(address):
        if address.startswith("unix:@"):
            return "ABSTRACT-CONNECT:" + address.removeprefix("unix:@")
        if address.startswith("unix:"):
            return "UNIX-CONNECT:" + address.removeprefix("unix:")
        return ("TCP6:" if address.startswith("[") else "TCP4:") + address


class Socat(ToolTest):
    def check(self, trigger, threads, sizes):
        """`sizes`: of the streams over IPv4, IPv6 and the Unix path."""
        server = self.server_everywhere("--threads", str(threads), *TRIGGERS[trigger])
        for address, size in zip(server.addresses, sizes):
            with self.subTest(address=address, size=size):
                source = self.random_file(64 * MIB if FULL else size)
                result = self.run_client(
                    ["socat", "-t", "60", "-", self.socat_address(address)], source)
                self.assertTrue(files_equal(source, result), "other bytes came back")
        self.end(server)

    def test_level_1_thread(self):
        self.check("level", 1, (64 * MIB, 8 * MIB, 8 * MIB))

    def test_level_3_threads(self):
        self.check("level", 3, (8 * MIB, 64 * MIB, 8 * MIB))

    def test_edge_1_thread(self):
        self.check("edge", 1, (8 * MIB, 8 * MIB, 64 * MIB))

    def test_edge_3_threads(self):
        self.check("edge", 3, (64 * MIB, 8 * MIB, 8 * MIB))

    def test_abstract_name(self):
        server = self.server_everywhere()
        source = self.random_file(MIB)
        result = self.run_client(
            ["socat", "-t", "60", "-", self.socat_address(server.addresses[3])], source)
        self.assertTrue(files_equal(source, result))


class OtherTools(ToolTest):
    def test_nc_half_closes_and_gets_all_back(self):
        server = self.server_everywhere()
        for address in server.addresses[:2]:
            host, port = address.rsplit(":", 1)
            source = self.random_file(4 * MIB + 1)
            result = self.run_client(["nc", "-N", host.strip("[]"), port], source)
            self.assertTrue(files_equal(source, result), address)
        result = self.run_client(["nc", "-N", "-U", self.path("sock")], source)
        self.assertTrue(files_equal(source, result), "Unix socket")

    def test_curl_telnet(self):
        server = self.echo()
        curl = self.program(["curl", "--silent", "--show-error", "--no-buffer",
                             f"telnet://{server.address}"])
        for line in ("hello", "a second line", "x" * 1000):
            curl.process.stdin.write(line.encode() + b"\n")
            curl.process.stdin.flush()
            self.assertEqual(curl.read_line(), line)
        self.end(server)
        curl.process.stdin.close()  # it looks at the connection when its input has news
        self.assertEqual(curl.wait(), 0, curl.errors())


class PythonClients(ToolTest):
    def test_messages_of_all_sizes(self):
        for trigger, threads in itertools.product(TRIGGERS, (0, 1, 3)):
            server = self.server_everywhere("--threads", str(threads), *TRIGGERS[trigger])
            for address in server.addresses:
                with self.subTest(trigger=trigger, threads=threads, address=address):
                    client = self.client(address)
                    for size in (1, 2, 63, 1000, 16384, 70000, 300_000):
                        self.assertTrue(echoes(client, os.urandom(size)), f"{size} bytes")
                    client.close()
            self.end(server)

    def test_fifty_clients_at_once(self):
        for trigger in TRIGGERS:
            server = self.echo(["127.0.0.1:0"], "--threads", "3", *TRIGGERS[trigger])
            failures = []

            def talk(seed):
                numbers = random.Random(seed)
                with connect(server.address) as client:
                    for _ in range(40):
                        message = numbers.randbytes(numbers.randrange(1, 20000))
                        if not echoes(client, message):
                            failures.append(seed)

            talkers = [threading.Thread(target=talk, args=(seed,)) for seed in range(50)]
            for talker in talkers:
                talker.start()
            for talker in talkers:
                talker.join()
            self.assertEqual(failures, [])
            self.end(server)


class HalfClose(ToolTest):
    """A client that half-closes right after sending gets every byte back, then the end."""

    def check(self, *options):
        server = self.server_everywhere(*options)
        for address, size in itertools.product(server.addresses, (0, 1, 17, 65536, MIB, 5 * MIB)):
            with self.subTest(options=options, address=address, size=size):
                data = os.urandom(size)
                back = exchange(self.client(address), data)
                self.assertEqual(len(back), size)
                self.assertTrue(back == data)
        self.end(server)

    def test_level(self):
        for threads in (0, 1, 3):
            self.check("--threads", str(threads))

    def test_edge(self):
        for threads in (0, 1, 3):
            self.check("--threads", str(threads), "--edge-triggered")

    def test_reads_only_after_the_half_close(self):
        """The server is blocked on us when our FIN comes behind more than it will take."""
        for trigger in TRIGGERS:
            server = self.echo(["127.0.0.1:0"], *TRIGGERS[trigger])
            client = self.client(server.address, receive_buffer=4096)
            data = os.urandom(512 * 1024)
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            self.assertTrue(receive_until_end(client) == data)


class AcceptModes(ToolTest):
    def check(self, mode, trigger, threads):
        server = self.server_everywhere("--threads", str(threads), "--accept", mode,
                                        *TRIGGERS[trigger])
        clients = [self.client(address) for address in server.addresses for _ in range(25)]
        for client in clients:
            client.sendall(b"ping")
        for client in clients:
            self.assertEqual(receive_exactly(client, 4), b"ping")
        for client in clients:
            client.close()
        # The server noticed: what is left are its own descriptors.
        many = len(clients)
        self.assertTrue(wait_until(lambda: server.descriptors() < many), server.descriptors())
        self.end(server)

    def test_single(self):
        for trigger, threads in itertools.product(TRIGGERS, (0, 3)):
            self.check("single", trigger, threads)

    def test_reuse_port(self):
        for trigger, threads in itertools.product(TRIGGERS, (0, 3)):
            self.check("reuse_port", trigger, threads)

    def test_exclusive(self):
        for trigger, threads in itertools.product(TRIGGERS, (0, 3)):
            self.check("exclusive", trigger, threads)


if __name__ == "__main__":
    unittest.main()
