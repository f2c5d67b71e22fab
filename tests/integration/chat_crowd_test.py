#!/usr/bin/env python3
"""The chat server among guests that mean harm, and with two thousand people of whom some have
stopped reading.

With WEIR_FULL=1 the latter is 1,000 lines in all four configurations, half a minute, and figures
are printed; without it 200 lines in two of them.
"""

import hashlib
import multiprocessing
import os
import random
import re
import select
import socket
import time
import unicodedata
import unittest
from pathlib import Path

from chat_test import GREETING, ChatTest
from harness import (DEADLINE, MIB, SANITIZER, connect, raise_descriptor_limit, receive_until_end,
                     reset, wait_until)

FULL = bool(os.environ.get("WEIR_FULL"))


class Harm:
    """A process that does the same again and again until it is told to stop, and counts it."""

    def __init__(self, address, network, what, most_a_second):
        self.network = network
        self.address, self.what, self.most_a_second = address, what, most_a_second
        self.random = random.Random(what.__name__)
        self.shared_count = multiprocessing.Value("L", 0)
        self.stopping = multiprocessing.Event()
        self.process = multiprocessing.Process(target=self.run)
        self.process.start()

    @property
    def count(self):
        return self.shared_count.value

    def run(self):
        begin = time.monotonic()
        while not self.stopping.is_set():
            try:
                # From many addresses: --rate is for one of them.
                source = f"127.{self.network}.{self.count // 200 % 200}.{1 + self.count % 200}"
                with connect(self.address, timeout=1, source=source) as client:
                    self.what(client, self)
            except OSError:
                pass  # let go, as it should be
            self.shared_count.value += 1
            due = begin + self.count / self.most_a_second
            self.stopping.wait(max(0, due - time.monotonic()))

    def stop(self):
        self.stopping.set()
        self.process.join()
        self.process.close()


def random_bytes(client, harm):
    if harm.count % 2:
        client.sendall(b"noise\n")
    for _ in range(5):
        client.sendall(harm.random.randbytes(4096))


def almost_text(client, harm):
    """Lines of few different characters, so that many are valid, and many commands."""
    client.sendall(b"almost\n")
    pieces = ["a", " ", ": ", "*", "\n", "\r", "\x1b[2J", "\x9b", "\u202e", "\u2028", "\t", "\0",
              "\nalice: ", "\n* alice left\n", "\n/me ", "\n/nick ", "\n/msg alice ", "\n/who ",
              "\n//", "\U0001f44b"]
    client.sendall("".join(harm.random.choices(pieces, k=400)).encode())


def endless_line(client, harm):
    if harm.count % 2:
        client.sendall(b"endless\n")
    for _ in range(50):
        client.sendall(b"x" * 65536)


def fragments(client, _):
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in "slow\nlittle by little \U0001f44b\n".encode():
        client.sendall(bytes([byte]))


def half_close(client, _):
    client.sendall(b"half\n")
    client.shutdown(socket.SHUT_WR)
    receive_until_end(client)


def reset_inside_a_line(client, _):
    client.sendall(b"reset\nthis line has no")
    reset(client)


def join_and_leave(client, harm):
    client.sendall(b"guest%d\n/quit\n" % harm.count)


class Hostile(ChatTest):
    LINE = re.compile(r"\* [\w-]{1,24} (joined|left)|\* [\w-]{1,24} is now [\w-]{1,24}"
                      r"|[\w-]{1,24}( \(to you\))?: .+|\*\* [\w-]{1,24} .+", re.ASCII)
    TURNS = 40  # of each

    def check_line(self, line):
        self.assertRegex(line, self.LINE)
        self.assertIsNotNone(self.LINE.fullmatch(line), ascii(line))
        for c in line:
            self.assertNotIn(unicodedata.category(c), ("Cc", "Zl", "Zp", "Cs"), ascii(line))
            self.assertFalse("\u200b" <= c <= "\u200f" or "\u202a" <= c <= "\u202e", ascii(line))

    def talk(self, alice, bob):
        """In turn; the longest that a line took, and all that both were told."""
        longest, told = 0, []
        for number in range(self.TURNS):
            for speaker, listener in ((alice, bob), (bob, alice)):
                begin = time.monotonic()
                speaker.say(f"line {number}, unharmed")
                told += listener.until(f"{speaker.nickname}: line {number}, unharmed")
                longest = max(longest, time.monotonic() - begin)
            time.sleep(0.02)  # so that the talk is as long as a talk
        return longest, told

    def check(self, *options):
        server = self.server("--rate", "50", *options)
        alice, bob = self.people(server, "alice", "bob")
        harms = [Harm(server.address, 1 + i, *how) for i, how in enumerate((
            (random_bytes, 50), (almost_text, 50), (endless_line, 20), (fragments, 100),
            (half_close, 100), (reset_inside_a_line, 500), (join_and_leave, 500)))]
        try:
            self.assertTrue(wait_until(lambda: all(harm.count > 1 for harm in harms)))
            begin = time.monotonic()
            longest, told = self.talk(alice, bob)
            seconds = time.monotonic() - begin
        finally:
            for harm in harms:
                harm.stop()
        for line in told:
            self.check_line(line)
        for speaker in ("alice", "bob"):
            said = [line for line in told if line.startswith(f"{speaker}: ")]
            self.assertEqual(said, [f"{speaker}: line {n}, unharmed" for n in range(self.TURNS)])
        self.assertLess(longest, 5 if SANITIZER else 1)
        joins = sum(line.endswith(" joined") for line in told) / 2
        self.assertGreater(joins, self.TURNS)  # they were there meanwhile
        if FULL:
            print(f"{options}: a line took {longest * 1000:.0f} ms at most; "
                  f"{joins / seconds:.0f} joins a second;",
                  ", ".join(f"{harm.what.__name__} {harm.count}" for harm in harms))

        def only_two():
            alice.say("/who")
            return alice.until(lambda line: " here: " in line)[-1] == "* 2 here: alice, bob"
        self.assertTrue(wait_until(only_two, every=0.2))
        if not SANITIZER:
            self.assertLess(server.resident_bytes(), 32 * MIB)

    def test_two_people_talk_on(self):
        self.check()

    def test_two_people_talk_on_on_two_loops(self):
        self.check("--threads", "2")


class Crowd:
    """Very many guests, served by epoll. Of what each is told between `start` and `end` there is a
    digest, so that two streams can be compared."""

    START, END = b"host: start\n", b"host: end\n"

    class One:
        def __init__(self, client):
            self.socket = client
            self.tail = b""     # the last bytes
            self.digest = None  # of what came since the start
            self.ended = False
            self.kept = None    # all of it, of those who are looked at closely

    def __init__(self, address, names, kept):
        self.guests = {}
        self.poll = select.epoll()
        for name in names:
            one = self.One(connect(address))
            one.socket.sendall(name.encode() + b"\n")
            one.socket.setblocking(False)
            if name in kept:
                one.kept = []
            self.guests[one.socket.fileno()] = one
            self.poll.register(one.socket, select.EPOLLIN)
        self.by_name = dict(zip(names, self.guests.values()))
        self.ended = 0

    def close(self):
        self.poll.close()
        for one in self.guests.values():
            one.socket.close()

    def run(self, done, deadline):
        end = time.monotonic() + deadline
        while not done():
            left = end - time.monotonic()
            if left < 0:
                return False
            for number, _ in self.poll.poll(min(left, 0.1)):
                self.receive(self.guests[number])
        return True

    def receive(self, one):
        part = one.socket.recv(1 << 18)
        assert part, "a guest who reads was let go"
        if one.digest is None:
            one.tail += part
            at = one.tail.find(self.START)
            if at < 0:
                one.tail = one.tail[-len(self.START):]
                return
            part, one.tail = one.tail[at + len(self.START):], b""
            one.digest = hashlib.sha1()
        if one.ended:
            return
        at = (one.tail + part).find(self.END)
        if at >= 0:
            one.ended = True
            self.ended += 1
            part = part[:at + len(self.END) - len(one.tail)]
        one.digest.update(part)
        one.tail = (one.tail + part)[-len(self.END):]
        if one.kept is not None:
            one.kept.append(part)


class Load(ChatTest):
    """README.md has the bound on memory that is asked for here."""

    GUESTS = 200 if SANITIZER else 2000
    LINES = 1000 if FULL else 200
    TALKERS = 20
    MAX_OUTPUT = 128 * 1024
    SAID = 256 * 1024  # bytes: more than wait for a slow guest here and in the kernel
    BOUND = 16 * MIB + (GUESTS + TALKERS) * 16 * 1024 + GUESTS // 100 * MAX_OUTPUT

    def sleeper(self, server, number):
        """A guest who says a name and reads nothing. Small buffers, or the kernel takes it all."""
        host, port = server.address.split(":")
        client = socket.socket()
        self.addCleanup(client.close)
        client.settimeout(DEADLINE)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
        client.connect((host, int(port)))
        client.sendall(f"sleeper{number}\n".encode())
        return client

    def lines_of(self, talker):
        each = self.LINES // self.TALKERS
        size = self.SAID // self.LINES
        return [f"{number} of {talker} ".ljust(size, "x") for number in range(each)]

    def check(self, slow, threads):
        server = self.server("--slow", slow, "--threads", threads, "--rate", "0",
                             "--max-output", self.MAX_OUTPUT)
        sleepers = [self.sleeper(server, number) for number in range(self.GUESTS // 100)]
        host = self.guest(server, "host")
        names = [f"u{number}" for number in range(self.GUESTS - len(sleepers) - 1)]
        talkers, observer = names[:self.TALKERS], names[self.TALKERS]
        begin = time.monotonic()
        crowd = Crowd(server.address, names, kept=[*talkers, observer])
        self.addCleanup(crowd.close)
        missing = set(names)  # of whom the host has not heard yet
        while missing:
            missing.discard(host.line().removeprefix("* ").removesuffix(" joined"))
        joined = time.monotonic()

        host.say("start")
        self.assertTrue(crowd.run(lambda: all(one.digest for one in crowd.guests.values()),
                                  DEADLINE))
        for talker in talkers:
            one = crowd.by_name[talker]
            one.socket.setblocking(True)
            one.socket.sendall("".join(f"{line}\n" for line in self.lines_of(talker)).encode())
            one.socket.setblocking(False)
        kept = crowd.by_name[observer].kept
        self.assertTrue(crowd.run(lambda: b"".join(kept).count(b"x\n") == self.LINES,
                                  2 * DEADLINE), "not all was said")
        host.say("end")
        self.assertTrue(crowd.run(lambda: crowd.ended == len(names), 2 * DEADLINE),
                        f"{crowd.ended} of {len(names)} have heard it all")
        ended = time.monotonic()
        self.check_streams(crowd, talkers, observer)
        peak = int(re.search(r"^VmHWM:\s+(\d+)", Path(f"/proc/{server.pid}/status").read_text(),
                             re.M).group(1)) * 1024
        if not SANITIZER:
            self.assertLess(peak, self.BOUND)
        if FULL:
            print(f"{slow}, {threads} threads: {len(names)} joined in {joined - begin:.2f} s; "
                  f"{self.LINES * (len(names))} deliveries in {ended - joined:.2f} s; "
                  f"at most {peak / MIB:.1f} MiB resident, bound {self.BOUND / MIB:.1f}")
        if slow == "skip":
            self.check_awake(host, sleepers)
        else:
            self.check_ended(host, sleepers)

    def check_streams(self, crowd, talkers, observer):
        seen = b"".join(crowd.by_name[observer].kept).decode().splitlines()
        said = [line for line in seen if not line.startswith("* ")]
        for talker in talkers:
            own = f"{talker}: "
            self.assertEqual([line for line in said if line.startswith(own)],
                             [own + line for line in self.lines_of(talker)])
            kept = b"".join(crowd.by_name[talker].kept).decode().splitlines()
            self.assertEqual(kept, [line for line in seen if not line.startswith(own)])
        self.assertEqual(len(said), self.LINES + 1)
        digest = crowd.by_name[observer].digest.digest()
        for name, one in crowd.by_name.items():
            if name not in talkers:
                self.assertEqual(one.digest.digest(), digest, name)

    def check_awake(self, host, sleepers):
        """Who begins to read again finds whole lines, with some left out, and is told new ones."""
        for sleeper in sleepers:
            got = b""
            while not got.endswith(b"host: awake?\n"):
                sleeper.settimeout(0.05)
                try:
                    got += sleeper.recv(1 << 16)
                except TimeoutError:
                    host.say("awake?")
            lines = got.decode().splitlines()
            self.assertEqual(lines[0], GREETING)
            seen = [line for line in lines if " of u" in line]
            self.assertLess(len(seen), self.LINES)
            size = self.SAID // self.LINES
            for line in seen:
                self.assertRegex(line, r"^u\d+: \d+ of u\d+ x*$")
                self.assertEqual(len(line.partition(": ")[2]), size)

    def check_ended(self, host, sleepers):
        host.say("/who sleeper")
        host.until("* 0 here")
        for sleeper in sleepers:
            with self.assertRaises(ConnectionResetError):
                receive_until_end(sleeper)

    @unittest.skipUnless(FULL or SANITIZER, "WEIR_FULL is not set")
    def test_skip(self):
        self.check("skip", 0)

    def test_skip_on_two_loops(self):
        self.check("skip", 2)

    def test_close(self):
        self.check("close", 0)

    @unittest.skipUnless(FULL or SANITIZER, "WEIR_FULL is not set")
    def test_close_on_two_loops(self):
        self.check("close", 2)


if __name__ == "__main__":
    raise_descriptor_limit()
    unittest.main()
