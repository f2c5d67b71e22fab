#!/usr/bin/env python3
"""Topics over lines: who gets what in which order, slow subscribers, bounds, hostile clients."""

import os
import re
import socket
import subprocess
import threading
import time
import unittest

from harness import (BIN, DEADLINE, MIB, SANITIZER, SystemTest, connect, receive_until_end, reset,
                     wait_until)


class Client:
    """Speaks the protocol: answers and messages come on one connection and are told apart."""

    def __init__(self, address, **keywords):
        self.socket = connect(address, **keywords)
        self.lines = self.socket.makefile("rb")
        self.messages = []  # that came while an answer was awaited

    def read(self):
        line = self.lines.readline()
        if not line.endswith(b"\n"):
            raise EOFError(f"the stream ended with {line!r}")
        return line.decode().rstrip("\n")

    def ask(self, line):
        """The answer to a line."""
        self.socket.sendall(line.encode() + b"\n")
        return self.answer()

    def answer(self):
        while (line := self.read()).startswith("message "):
            self.messages.append(line.removeprefix("message "))
        return line

    def message(self):
        """The next one, as "TOPIC TEXT"."""
        if self.messages:
            return self.messages.pop(0)
        line = self.read()
        if not line.startswith("message "):
            raise AssertionError(f"no message: {line!r}")
        return line.removeprefix("message ")

    def close(self):
        self.lines.close()
        self.socket.close()


class PubSub(SystemTest):
    def pubsub(self, *options, listen="127.0.0.1:0"):
        return self.serve([BIN / "weir-pubsub", "--listen", listen, *options])

    def joins(self, server, *topics, **keywords):
        client = Client(server.address, **keywords)
        self.addCleanup(client.close)
        for topic in topics:
            self.assertEqual(client.ask(f"sub {topic}"), "ok")
        return client

    def publish(self, client, topic, *texts):
        for text in texts:
            self.assertEqual(client.ask(f"pub {topic} {text}"), "ok")


class Topics(PubSub):
    def test_two_people_with_nc(self):
        server = self.pubsub()
        host, port = server.address.split(":")
        hears = subprocess.Popen(["nc", host, port], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.addCleanup(lambda: (hears.kill(), hears.wait(), hears.stdin.close(),
                                 hears.stdout.close()))
        hears.stdin.write(b"sub weather\n")
        hears.stdin.flush()
        self.assertEqual(hears.stdout.readline(), b"ok\n")
        said = subprocess.run(["nc", "-N", host, port], input=b"pub weather rain at four\r\nquit\n",
                              capture_output=True, timeout=DEADLINE, check=True)
        self.assertEqual(said.stdout, b"ok\nok\n")
        self.assertEqual(hears.stdout.readline(), b"message weather rain at four\n")

    def test_who_gets_what(self):
        for listen in ("127.0.0.1:0", "[::1]:0", f"unix:{self.path('sock')}"):
            with self.subTest(listen=listen):
                server = self.pubsub("--threads", "2", listen=listen)
                both, one, none = (self.joins(server, "a", "b"), self.joins(server, "a"),
                                   self.joins(server))
                self.publish(none, "a", "1", "two  words ")
                self.publish(one, "b", "3")
                self.publish(one, "a", "4")  # its own as well
                self.assertEqual(sorted(both.message() for _ in range(4)),
                                 ["a 1", "a 4", "a two  words ", "b 3"])
                self.assertEqual([one.message() for _ in range(3)], ["a 1", "a two  words ", "a 4"])
                self.assertEqual(none.ask("ping"), "ok")
                self.assertEqual(none.messages, [])
                self.assertEqual(one.ask("unsub a"), "ok")
                self.publish(none, "a", "5")
                self.assertEqual(both.message(), "a 5")
                self.assertEqual(one.ask("ping"), "ok")
                self.assertEqual(one.messages, [])

    def test_a_late_one_gets_the_last(self):
        server = self.pubsub("--threads", "2")
        speaker = self.joins(server)
        self.publish(speaker, "news", "old", "new")
        late = self.joins(server, "news")
        self.assertEqual(late.message(), "news new")
        self.assertEqual(late.ask("sub news"), "ok")  # once is enough
        self.publish(speaker, "news", "newer")
        self.assertEqual(late.message(), "news newer")
        late.close()
        self.assertEqual(self.joins(server, "news").message(), "news newer")

    def test_refusals_of_the_protocol(self):
        server = self.pubsub("--max-topics", "3", "--max-topics-per-client", "2")
        client = self.joins(server, "a", "b")
        for line in ("", "sub", "sub c d", "sub " + "n" * 65, "sub c", "unsub", "unsub z", "pub",
                     "pub a", "pub  text", "nonsense", "SUB a", "pub a \x1b[2J", "pub a \u202e",
                     "x" * 5000):
            with self.subTest(line=line):
                self.assertRegex(client.ask(line), "^error .")
        client.socket.sendall(b"pub a \xff\xfe\n")
        self.assertRegex(client.answer(), "^error .")
        self.publish(client, "a", "still here")
        self.assertEqual(client.message(), "a still here")

    def test_topics_are_bounded(self):
        server = self.pubsub("--max-topics", "3")
        speaker, watcher = self.joins(server), self.joins(server, "kept")
        self.publish(speaker, "one", "1")
        self.publish(speaker, "two", "2")
        self.publish(speaker, "one", "1 again")
        self.publish(speaker, "three", "3")  # "two" was silent for the longest time
        late = self.joins(server, "one")
        self.assertEqual(late.message(), "one 1 again")
        self.assertEqual(late.ask("sub two"), "ok")  # anew, in the place of "three"
        for line in ("pub four 4", "sub four"):
            self.assertEqual(speaker.ask(line), "error the server has reached its limit of topics")
        self.assertEqual(late.messages, [])
        late.close()  # and with it "two", of which nothing was ever heard
        self.assertTrue(wait_until(lambda: speaker.ask("pub four 4") == "ok"))
        self.publish(speaker, "kept", "is there")
        self.assertEqual(watcher.message(), "kept is there")


class Order(PubSub):
    def test_no_gap_and_nothing_twice_however_late_one_joins(self):
        server = self.pubsub("--threads", "3")
        over = threading.Event()
        speaker = self.joins(server)
        self.publish(speaker, "count", "0")
        resident = [self.joins(server, "count") for _ in range(6)]  # on all loops
        drains = [threading.Thread(target=self.read_until_over, args=(client,))
                  for client in resident]

        def publish():
            number = 0
            while not over.is_set():
                block = range(number + 1, number + 51)
                speaker.socket.sendall(b"".join(b"pub count %d\n" % i for i in block))
                for _ in block:
                    speaker.answer()
                number += 50

        drains.append(threading.Thread(target=publish))
        for thread in drains:
            thread.start()
        try:
            for _ in range(100 if not SANITIZER else 30):
                late = self.joins(server, "count")
                got = [int(late.message().removeprefix("count ")) for _ in range(100)]
                self.assertEqual(got, list(range(got[0], got[0] + 100)))
                self.assertEqual(late.ask("unsub count"), "ok")
                late.messages.clear()  # what had come before that
                self.assertEqual(late.ask("sub count"), "ok")
                self.assertEqual(late.messages, [])
                got = [int(late.message().removeprefix("count ")) for _ in range(50)]
                self.assertEqual(got, list(range(got[0], got[0] + 50)))
                late.close()
        finally:
            over.set()
            drains[-1].join()
            for client in resident:
                client.socket.shutdown(socket.SHUT_RDWR)
            for thread in drains[:-1]:
                thread.join()

    def read_until_over(self, client):
        try:
            while client.socket.recv(MIB):
                pass
        except OSError:
            pass


class SlowSubscribers(PubSub):
    TEXT = "x" * 4000
    MESSAGES = 2000  # 8 MB: more than the kernel's buffers and high_water together

    def with_one_that_does_not_read(self, policy):
        server = self.pubsub("--slow", policy, "--threads", "2")
        quick = self.joins(server, "t")
        slow = self.joins(server, "t", receive_buffer=4096)
        speaker = self.joins(server)
        for number in range(self.MESSAGES):
            self.publish(speaker, "t", f"{number} {self.TEXT}")
            self.assertEqual(quick.message().split()[:2], ["t", str(number)])
        return server, speaker, slow

    def test_skip(self):
        server, speaker, slow = self.with_one_that_does_not_read("skip")
        self.publish(speaker, "u", "nothing")
        numbers = self.numbers_of(slow)
        self.assertEqual(numbers, list(range(len(numbers))))  # the first ones, then none
        self.assertLess(len(numbers), self.MESSAGES)
        self.publish(speaker, "t", "after")
        self.assertEqual(slow.message(), "t after")
        if not SANITIZER:
            self.assertLess(server.resident_bytes(), 32 * MIB)

    def test_latest(self):
        _, _, slow = self.with_one_that_does_not_read("latest")
        numbers = self.numbers_of(slow)
        self.assertEqual(numbers[:-1], list(range(len(numbers) - 1)))
        self.assertLess(len(numbers), self.MESSAGES)
        self.assertEqual(numbers[-1], self.MESSAGES - 1)

    def test_close(self):
        _, _, slow = self.with_one_that_does_not_read("close")
        with self.assertRaises(ConnectionResetError):
            receive_until_end(slow.socket)

    def numbers_of(self, slow):
        """Of all messages that it gets now that it reads. What waits for it to drain comes before
        an answer to what it asks after that."""
        slow.socket.settimeout(0.3)
        numbers = []
        try:
            while True:
                numbers.append(int(slow.message().split()[1]))
        except TimeoutError:
            pass
        slow.lines = slow.socket.makefile("rb")  # one that timed out reads no more
        slow.socket.settimeout(DEADLINE)
        return numbers

    def test_a_publisher_that_does_not_wait_is_held_back(self):
        server = self.pubsub("--threads", "2")
        readers = [self.joins(server, "t") for _ in range(20)]
        counts = [0] * len(readers)

        def read(index):
            while (line := readers[index].read()) != "message t end":
                counts[index] += len(line)

        threads = [threading.Thread(target=read, args=(i,)) for i in range(len(readers))]
        for thread in threads:
            thread.start()
        speaker = self.joins(server)
        messages = 10_000 if not SANITIZER else 1000
        answers = threading.Thread(target=lambda: [speaker.answer() for _ in range(messages + 1)])
        answers.start()
        speaker.socket.sendall(b"pub t " + b"x" * 1000 + b"\n")
        block = (b"pub t " + b"x" * 1000 + b"\n") * 100
        for _ in range(messages // 100):
            speaker.socket.sendall(block)
        answers.join()
        peak = server.resident_bytes()
        # Who was too slow has gaps, but nobody waits for ever.
        while any(thread.is_alive() for thread in threads):
            self.publish(speaker, "t", "end")
            threads[0].join(0.05)
        for thread in threads:
            thread.join()
        if not SANITIZER:
            self.assertLess(peak, 64 * MIB)


class Hostile(PubSub):
    def test_two_people_are_not_disturbed(self):
        server = self.pubsub("--threads", "2")
        hears, says = self.joins(server, "t"), self.joins(server)
        over = threading.Event()
        troubles = [threading.Thread(target=trouble, args=(server.address, over))
                    for trouble in (self.random_bytes, self.endless_line, self.single_bytes,
                                    self.half_closes, self.resets)]
        for thread in troubles:
            thread.start()
        try:
            for number in range(150 if not SANITIZER else 50):
                self.publish(says, "t", str(number))
                self.assertEqual(hears.message(), f"t {number}")
        finally:
            over.set()
            for thread in troubles:
                thread.join()
        hears.close()
        says.close()
        self.end(server)
        self.assertEqual(server.errors(), "")

    # Each rests between two rounds, or this test's own threads would be what is slow.
    def random_bytes(self, address, over):
        while not over.wait(0.005):
            with connect(address) as client:
                try:
                    client.sendall(os.urandom(10_000))
                    client.recv(1000)
                except OSError:
                    pass

    def endless_line(self, address, over):
        with connect(address) as client:
            while not over.wait(0.005):
                client.sendall(b"pub t " + b"x" * 65536)

    def single_bytes(self, address, over):
        while not over.wait(0.005):
            with connect(address) as client:
                for byte in b"sub u\nunsub u\nquit\n":
                    client.sendall(bytes([byte]))
                receive_until_end(client)

    def half_closes(self, address, over):
        while not over.wait(0.005):
            with connect(address) as client:
                client.sendall(b"sub t\npub u 1\nsub u")
                client.shutdown(socket.SHUT_WR)
                receive_until_end(client)

    def resets(self, address, over):
        while not over.wait(0.005):
            with connect(address) as client:
                client.sendall(b"sub t\nsub u\npub u 2\npub t")
                reset(client)


class Program(PubSub):
    def test_a_silent_client_is_let_go(self):
        server = self.pubsub("--idle-timeout", "1")
        self.assertEqual(receive_until_end(self.joins(server, "t").socket), b"")

    def test_heartbeats_come_in_silence_and_keep_nobody(self):
        server = self.pubsub("--heartbeat", "0.2", "--idle-timeout", "2")
        alive = self.joins(server, "t")
        silent = self.joins(server, "t")
        begin = time.monotonic()
        while time.monotonic() - begin < 4:  # twice the time that a silent one has
            if alive.read() == "ping":
                alive.socket.sendall(b"ping\n")
        lines = silent.lines.read().decode().splitlines()  # to its end
        self.assertGreater(len(lines), 2)
        self.assertEqual(set(lines), {"ping"})

    def test_it_ends_on_a_signal_with_clients(self):
        server = self.pubsub("--threads", "2")
        clients = [self.joins(server, "t") for _ in range(10)]
        self.publish(clients[0], "t", "last")
        server.signal(15)
        for client in clients:
            self.assertEqual(client.message(), "t last")
            self.assertEqual(client.lines.read(), b"")
            client.close()
        self.assertEqual(server.wait(5), 0)

    def test_refusals(self):
        address = self.pubsub().address
        for status, words in ((0, ["--help"]), (2, ["--listen", "x"]), (2, ["--bogus"]),
                              (2, ["--slow", "never"]), (2, ["--max-topics", "0"]),
                              (1, ["--listen", address])):
            with self.subTest(words=words):
                program = self.program([BIN / "weir-pubsub", *words])
                self.assertEqual(program.wait(), status)
                if status:
                    self.assertTrue(re.fullmatch("error: .*\n", program.errors()), program.errors())


if __name__ == "__main__":
    unittest.main()
