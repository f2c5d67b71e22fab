#!/usr/bin/env python3
"""weir-restart: three restarts under load without a loss, and sockets from a service manager."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import unittest

from harness import (BIN, DEADLINE, SANITIZER, SystemTest, connect, pour, receive_until_end,
                     wait_until)

RESTARTS = 3
THREADS = 4
RATE = 400 if not SANITIZER else 100  # connections a second

# What a service manager does: opens the sockets, which become 3, 4, ... of the program it starts,
# and says so with the process id that only the child knows.
LAUNCHER = """
import os, sys
fds = [int(word) for word in sys.argv[1].split(",")]
for number, fd in enumerate(fds, 100):
    os.dup2(fd, number, inheritable=False)
    os.close(fd)
for index in range(len(fds)):
    os.dup2(100 + index, 3 + index, inheritable=True)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(fds))}
os.execv(sys.argv[2], sys.argv[2:])
"""


class Restart(SystemTest):
    def restart(self, *options):
        return self.serve([BIN / "weir-restart", *options])

    def ask(self, address, text="hello"):
        """Who serves a new connection: its name and its process."""
        with connect(address) as client:
            client.sendall(text.encode() + b"\n")
            client.shutdown(socket.SHUT_WR)
            answer = receive_until_end(client).decode()
        name, process, back = re.fullmatch(r"(.*), process (\d+): (.*)\n", answer).groups()
        self.assertEqual(back, text)
        return name, int(process)


class UnderLoad(Restart):
    def load(self, address, index, over, told):
        """Connect, ask, close, at a steady rate. Nothing may go wrong."""
        due = time.monotonic()
        while not over.is_set():
            due += THREADS / RATE
            pause = due - time.monotonic()
            if pause > 0:
                over.wait(pause)
            try:
                told.append(self.ask(address, f"{index}/{len(told)}"))
            except (OSError, AttributeError, AssertionError) as error:
                told.append(error)

    def check(self, listen, *options):
        point = self.path("point")
        servers = [self.restart("--listen", listen, "--point", point, "--name", "0", *options)]
        address, over, told = servers[0].address, threading.Event(), [[] for _ in range(THREADS)]
        threads = [threading.Thread(target=self.load, args=(address, i, over, told[i]))
                   for i in range(THREADS)]
        for thread in threads:
            thread.start()
        try:
            for number in range(1, RESTARTS + 1):
                before = [len(part) for part in told]
                self.assertTrue(wait_until(lambda: all(
                    len(part) > n + 20 for part, n in zip(told, before))))
                servers.append(self.restart("--point", point, "--name", str(number), *options))
                self.assertEqual(servers[-1].address, address)
                self.assertEqual(servers[-2].wait(), 0, servers[-2].errors())
        finally:
            over.set()
            for thread in threads:
                thread.join()
        answers = [answer for part in told for answer in part]
        self.assertEqual([answer for answer in answers if isinstance(answer, Exception)], [])
        self.assertEqual({name for name, _ in answers}, {str(i) for i in range(RESTARTS + 1)})
        for name, process in answers:
            self.assertEqual(process, servers[int(name)].pid)
        for server in servers:
            self.assertEqual(server.errors(), "")
        self.end(servers[-1])
        self.assertFalse(os.path.exists(point))

    def test_nobody_is_lost(self):
        self.check("127.0.0.1:0")

    def test_nobody_is_lost_on_a_unix_path(self):
        path = self.path("socket")
        self.check(f"unix:{path}", "--threads", "2")
        self.assertFalse(os.path.exists(path))

    def test_who_is_there_stays_until_the_grace_is_over(self):
        point = self.path("point")
        old = self.restart("--listen", "127.0.0.1:0", "--point", point, "--name", "old",
                           "--grace", "1")
        clients = [self.client(old.address) for _ in range(2)]
        new = self.restart("--point", point, "--name", "new")
        self.assertEqual(self.ask(old.address), ("new", new.pid))
        clients[0].sendall(b"you\n")
        self.assertEqual(clients[0].recv(1000), b"old, process %d: you\n" % old.pid)
        self.assertEqual(receive_until_end(clients[1]), b"")  # nobody was reset
        self.assertEqual(receive_until_end(clients[0]), b"")
        for client in clients:
            client.close()
        self.assertEqual(old.wait(), 0)
        self.end(new)

    def test_one_killed_is_followed_by_a_fresh_start(self):
        point = self.path("point")
        listen = f"unix:{self.path('socket')}"
        old = self.restart("--listen", listen, "--point", point)
        old.signal(signal.SIGKILL)
        old.wait()
        old.stop()
        new = self.restart("--listen", listen, "--point", point)
        self.assertEqual(self.ask(listen)[1], new.pid)

    def test_a_point_that_is_something_else(self):
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(self.path("point"))
            other.listen()
            threading.Thread(target=lambda: other.accept()[0].close()).start()
            program = self.program([BIN / "weir-restart", "--listen", "127.0.0.1:0",
                                    "--point", self.path("point")])
            self.assertEqual(program.wait(), 1)
            self.assertRegex(program.errors(), r"\Aerror: hand-over at .*\n\Z")


class Inherited(Restart):
    def launch(self, sockets, *options):
        """A weir-restart that is given the sockets."""
        fds = [one.fileno() for one in sockets]
        return self.serve(
            ["/usr/bin/env", sys.executable, "-c", LAUNCHER, ",".join(map(str, fds)),
             BIN.resolve() / "weir-restart", *options], pass_fds=fds)

    def test_from_a_service_manager(self):
        with socket.create_server(("127.0.0.1", 0)) as ip, socket.socket(socket.AF_UNIX) as unix:
            address = "127.0.0.1:%d" % ip.getsockname()[1]
            unix.bind(self.path("socket"))
            unix.listen()
            # Nobody accepts yet; who connects now is served as soon as somebody is there.
            early = self.client(address)
            early.sendall(b"early\n")
            for round in range(2):
                server = self.launch([ip, unix], "--name", f"round {round}")
                self.assertEqual(server.address, address)
                self.assertEqual(server.read_line(), f"listening on unix:{self.path('socket')}")
                if round == 0:
                    self.assertEqual(early.recv(1000),
                                     b"round 0, process %d: early\n" % server.pid)
                    early.close()
                for where in (address, f"unix:{self.path('socket')}"):
                    self.assertEqual(self.ask(where), (f"round {round}", server.pid))
                self.end(server)
            self.assertTrue(os.path.exists(self.path("socket")))  # the service manager's

    def test_then_handed_over(self):
        with socket.create_server(("127.0.0.1", 0)) as ip:
            point = self.path("point")
            old = self.launch([ip], "--point", point, "--name", "inherited")
            self.assertEqual(self.ask(old.address), ("inherited", old.pid))
            new = self.launch([ip], "--point", point, "--name", "next")
            self.assertEqual(old.wait(), 0)
            self.assertEqual(self.ask(old.address), ("next", new.pid))
            self.end(new)

    def test_what_is_none(self):
        with socket.socket() as unbound:
            done = subprocess.run(
                [sys.executable, "-c", LAUNCHER, str(unbound.fileno()),
                 BIN.resolve() / "weir-restart"], pass_fds=[unbound.fileno()],
                capture_output=True, timeout=DEADLINE)
            self.assertEqual(done.returncode, 1)
            self.assertRegex(done.stderr.decode(), r"\Aerror: inherited socket .*\n\Z")


class Hostile(Restart):
    def test_lines_of_all_kinds(self):
        server = self.restart("--listen", "127.0.0.1:0", "--name", "a\x1b[2Jb")
        with connect(server.address) as client:
            client.sendall(b"\x1b[2J\xff\n")
            answer = client.recv(1000).decode()
            self.assertTrue(answer.rstrip("\n").isprintable(), answer)
            self.assertIn("\\x1b[2J", answer)
        for data in (b"x" * 1_000_000, os.urandom(100_000)):
            with connect(server.address) as client:
                pour(client, data)
        self.assertEqual(self.ask(server.address)[1], server.pid)
        self.end(server)


if __name__ == "__main__":
    unittest.main()
