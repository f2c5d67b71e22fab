"""Restarts under load: clients connect, echo and close all the time while one weir-echo takes over
from the other, and none of them may notice. WEIR_HAND_OVER_SECONDS makes a longer run."""

import os
import signal
import socket
import stat
import tempfile
import threading
import time
import unittest
from pathlib import Path

from harness import (DEADLINE, SANITIZER, connect, echo_server, raise_descriptor_limit,
                     receive_exactly)

SECONDS = float(os.environ.get("WEIR_HAND_OVER_SECONDS", "4" if not SANITIZER else "3"))
RESTART_EVERY = float(os.environ.get("WEIR_HAND_OVER_EVERY", "1"))
RESTARTS = max(3, round(SECONDS / RESTART_EVERY))
RATE = 1000 if not SANITIZER else 200  # connections a second
THREADS = 8
MODES = (["--threads", "0"], ["--threads", "2", "--accept", "single"],
         ["--threads", "2", "--accept", "reuse_port"], ["--threads", "2", "--accept", "exclusive"],
         ["--threads", "2", "--accept", "exclusive", "--edge-triggered"])


class Load:
    """Connect-echo-close at a steady rate, by threads that share nothing. What goes wrong is kept
    with the moment at which it did."""

    def __init__(self, address, rate):
        self.address, self.interval = address, THREADS / rate
        self.stopping = threading.Event()
        self.done, self.lost, self.slowest = [0] * THREADS, [], 0.0
        self.start = time.monotonic()
        self.threads = [threading.Thread(target=self.run, args=(i,)) for i in range(THREADS)]
        for thread in self.threads:
            thread.start()

    def run(self, index):
        # An address of its own for each thread: more ports than one has, and less TIME_WAIT.
        source = None if self.address.startswith("unix:") else f"127.0.1.{index + 1}"
        due = self.start + self.interval * index / THREADS
        while not self.stopping.is_set():
            pause = due - time.monotonic()
            if pause > 0:
                time.sleep(pause)
            due += self.interval
            begin = time.monotonic()
            try:
                self.once(source, b"%d/%d" % (index, self.done[index]))
                self.done[index] += 1
            except OSError as error:
                self.lost.append(f"after {begin - self.start:.3f} s: {error!r}")
            self.slowest = max(self.slowest, time.monotonic() - begin)

    def once(self, source, text):
        client = self.open(source)
        try:
            client.sendall(text)
            got = receive_exactly(client, len(text))
            if got != text:
                raise OSError(f"sent {text!r}, got {got!r}")
        finally:
            client.close()

    def open(self, source):
        if source is None:
            return connect(self.address)
        client = socket.socket()
        try:
            client.settimeout(DEADLINE)
            client.setsockopt(socket.IPPROTO_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT
            client.bind((source, 0))
            host, _, port = self.address.rpartition(":")
            client.connect((host, int(port)))
        except BaseException:
            client.close()
            raise
        return client

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join()
        self.seconds = time.monotonic() - self.start


class HandOver(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        raise_descriptor_limit()

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.point = self.folder / "point"

    def echo(self, listen, *options):
        server = echo_server(listen, "--hand-over", self.point, *options)
        self.addCleanup(server.stop)
        return server

    def end(self, server):
        server.signal(signal.SIGTERM)
        self.assertEqual(server.wait(), 0, server.errors())

    def restart_under_load(self, listen, options, next_options=None):
        """`next_options`: of every second server."""
        choices = (options, next_options or options)
        old = self.echo([listen], *options)
        load = Load(old.address, RATE)
        left = []
        try:
            for restart in range(1, RESTARTS + 1):
                time.sleep(RESTART_EVERY)
                new = self.echo([listen], *choices[restart % 2])
                self.assertEqual(new.address, old.address)
                left.append(old)
                old = new
        finally:
            load.stop()
        for server in left:
            self.assertEqual(server.wait(), 0, server.errors())
            self.assertEqual(server.errors(), "")
        self.end(old)
        done = sum(load.done)
        print(f"{' '.join(options)} {listen}: {done} connections in {load.seconds:.1f} s "
              f"({done / load.seconds:.0f}/s), {RESTARTS} restarts, {len(load.lost)} lost, "
              f"slowest {load.slowest * 1000:.0f} ms")
        self.assertEqual(load.lost, [])
        self.assertGreater(done, 0.5 * RATE * load.seconds, "the load was not what it should be")

    def test_no_connection_is_lost(self):
        for options in MODES:
            with self.subTest(options=options):
                self.restart_under_load("127.0.0.1:0", options)

    def test_other_threads_and_modes_than_before(self):
        self.restart_under_load("127.0.0.1:0", ["--threads", "3", "--accept", "reuse_port"],
                                ["--threads", "1", "--accept", "reuse_port"])
        self.restart_under_load("127.0.0.1:0", ["--threads", "2", "--accept", "exclusive"],
                                ["--threads", "2", "--accept", "single"])

    def test_a_unix_path_goes_with_the_last(self):
        path = self.folder / "echo"
        self.restart_under_load(f"unix:{path}", ["--threads", "2", "--accept", "exclusive"])
        self.assertFalse(path.exists())
        self.assertFalse(self.point.exists())

    def test_who_is_connected_stays_with_the_old_one(self):
        old = self.echo(["127.0.0.1:0"])
        client = connect(old.address)
        self.addCleanup(client.close)
        client.sendall(b"before")
        self.assertEqual(receive_exactly(client, 6), b"before")
        new = self.echo(["127.0.0.1:0"])
        client.sendall(b"after")
        self.assertEqual(receive_exactly(client, 5), b"after")
        self.assertTrue(old.running())
        client.close()
        self.assertEqual(old.wait(), 0)
        self.end(new)

    def test_the_point_is_for_the_same_user_only(self):
        server = self.echo(["127.0.0.1:0"])
        self.assertEqual(stat.S_IMODE(self.point.stat().st_mode), 0o600)
        self.end(server)
        self.assertFalse(self.point.exists())

    def test_a_successor_that_dies_changes_nothing(self):
        old = self.echo(["127.0.0.1:0"])
        for _ in range(3):
            dying = socket.socket(socket.AF_UNIX)
            dying.connect(str(self.point))
            message, descriptors, _, _ = socket.recv_fds(dying, 8192, 300)
            self.assertTrue(message.startswith(b"weir hand-over 1"))
            self.assertEqual(len(descriptors), 2)
            for fd in descriptors:
                os.close(fd)
            dying.close()
            client = connect(old.address)
            client.sendall(b"x")
            self.assertEqual(receive_exactly(client, 1), b"x")
            client.close()
        new = self.echo(["127.0.0.1:0"])
        self.assertEqual(old.wait(), 0)
        self.assertIn("the successor did not take over: it closed the connection", old.errors())
        self.end(new)

    def test_one_killed_is_followed_by_a_fresh_start(self):
        old = self.echo([f"unix:{self.folder / 'echo'}"])
        old.signal(signal.SIGKILL)
        old.wait()
        self.assertTrue(self.point.exists())
        new = self.echo([f"unix:{self.folder / 'echo'}"])
        client = connect(new.address)
        client.sendall(b"x")
        self.assertEqual(receive_exactly(client, 1), b"x")
        client.close()
        self.end(new)


if __name__ == "__main__":
    unittest.main()
