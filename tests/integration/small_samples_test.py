#!/usr/bin/env python3
"""The small samples, each for what it is there for. What all share is in samples_test.py."""

import calendar
import contextlib
import re
import signal
import socket
import struct
import subprocess
import threading
import time
import unittest

from harness import (BIN, MIB, SANITIZER, SystemTest, Usage, count_epoll_returns, echoes,
                     receive_exactly, receive_until_end, reset, wait_until)

# RFC 868.
EPOCH_1900 = 2_208_988_800
# RFC 864: 95 lines, each beginning one character later.
RING = bytes(range(32, 127)) * 2
PATTERN = b"".join(RING[line:line + 72] + b"\r\n" for line in range(95))


def host_and_port(server):
    host, _, port = server.address.rpartition(":")
    return host, port


class Sample(SystemTest):
    def start(self, name, *options, listen="127.0.0.1:0"):
        return self.serve([BIN / name, "--listen", listen, *options])

    def nc(self, server, *options, data=b"", within=10):
        return subprocess.run(["nc", *options, *host_and_port(server)], input=data, check=True,
                              capture_output=True, timeout=within).stdout

    def socat(self, server, data=b"", within=10):
        kind, path = server.address.split(":", 1)
        self.assertEqual(kind, "unix")
        return subprocess.run(["socat", "-t", str(within), "-", f"UNIX-CONNECT:{path}"],
                              input=data, check=True, capture_output=True, timeout=within).stdout

    def stuck(self, server, clients=1):
        """Clients that do not read, once the server has stopped sending to them."""
        before = server.descriptors()
        made = [self.client(server.address, receive_buffer=65536) for _ in range(clients)]
        self.assertTrue(wait_until(lambda: server.descriptors() >= before + clients))
        used = [-1]

        def rests():
            used.append(server.cpu_seconds())
            return server.is_asleep() and used[-4:] == used[-1:] * 4

        self.assertTrue(wait_until(rests, every=0.02))
        return made

    def assert_ends(self, client, within=5):
        """An end of file, not a reset, and no byte before it."""
        client.settimeout(within)
        self.assertEqual(client.recv(1), b"")


class Discard(Sample):
    def test_what_is_sent_is_read_and_forgotten(self):
        server = self.start("weir-discard")
        size = (4 if SANITIZER else 64) * MIB
        self.nc(server, "-N", data=b"x")
        before = server.resident_bytes()
        self.assertEqual(self.nc(server, "-N", data=b"x" * size), b"")
        if not SANITIZER:
            self.assertLess(server.resident_bytes(), before + MIB)

    def test_a_unix_client(self):
        server = self.start("weir-discard", listen=f"unix:{self.path('sock')}")
        self.assertEqual(self.socat(server, b"x" * 100_000), b"")

    def test_the_end_comes_after_a_half_close_only(self):
        server = self.start("weir-discard")
        client = self.client(server.address)
        client.sendall(b"\0\xff\r\n" * 10_000)
        client.settimeout(0.1)
        self.assertRaises(TimeoutError, client.recv, 1)
        client.shutdown(socket.SHUT_WR)
        self.assert_ends(client)

    def test_resets_harm_nobody(self):
        server = self.start("weir-discard")
        for _ in range(50):
            client = self.client(server.address)
            client.sendall(b"x" * 10_000)
            reset(client)
        self.nc(server, "-N", data=b"x")

    def test_a_silent_client_is_let_go(self):
        server = self.start("weir-discard", "--idle-timeout", "0.2")
        self.assert_ends(self.client(server.address))


class Chargen(Sample):
    def assert_pattern(self, text):
        self.assertTrue(text == (PATTERN * (len(text) // 7030 + 1))[:len(text)])

    def test_the_pattern_of_the_rfc(self):
        first = b" !\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefg"
        self.assertEqual((PATTERN[:72], len(PATTERN)), (first, 7030))
        server = self.start("weir-chargen")
        text = receive_exactly(self.client(server.address), 1_000_000)
        self.assertEqual(len(text), 1_000_000)
        self.assert_pattern(text)

    def test_nc_and_socat(self):
        for listen, words in (("127.0.0.1:0", "nc -d {}"), (f"unix:{self.path('sock')}",
                                                            "socat -u UNIX-CONNECT:{} -")):
            server = self.start("weir-chargen", listen=listen)
            address = server.address.replace("127.0.0.1:", "127.0.0.1 ").removeprefix("unix:")
            command = f"{words.format(address)} | head -n 3"
            done = subprocess.run(["sh", "-c", command], capture_output=True, timeout=10)
            self.assertEqual(done.stdout, PATTERN[:3 * 74])

    def test_who_does_not_read_costs_no_time_and_little_memory(self):
        server = self.start("weir-chargen")
        receive_exactly(self.client(server.address), 100_000)
        before = server.resident_bytes()
        clients = self.stuck(server, 3 if SANITIZER else 10)
        # In this order: when strace lets go, the server is woken once more.
        self.assertEqual(Usage(server).measure(0.5).wakeups(), 0)
        self.assertEqual(count_epoll_returns(server, 0.5), 0)
        if not SANITIZER:
            self.assertLess(server.resident_bytes(), before + MIB)
        for client in clients:  # they go on where they were
            self.assert_pattern(receive_exactly(client, 300_000))

    def test_input_is_thrown_away_while_it_sends(self):
        server = self.start("weir-chargen")
        client = self.client(server.address)
        sender = threading.Thread(target=client.sendall, args=(bytes(8 * MIB),))
        sender.start()
        self.assert_pattern(receive_exactly(client, 1_000_000))
        while sender.is_alive():
            client.recv(1 << 20)
        sender.join()

    def test_a_half_close_ends_it(self):
        server = self.start("weir-chargen")
        client = self.client(server.address)
        text = receive_exactly(client, 50_000)
        client.shutdown(socket.SHUT_WR)
        text += receive_until_end(client)
        self.assertEqual(len(text) % 7030, 0)
        self.assert_pattern(text)

    def test_who_has_not_read_for_long_is_dropped(self):
        server = self.start("weir-chargen", "--stall-timeout", "0.3")
        client = self.client(server.address)
        receive_exactly(client, 1)
        self.assertGreater(server.descriptors(), self.descriptors_when_empty)
        self.assertTrue(wait_until(lambda: server.descriptors() == self.descriptors_when_empty))
        with self.assertRaises(ConnectionResetError):
            receive_until_end(client)

    def start(self, *words, **keywords):
        server = super().start(*words, **keywords)
        self.descriptors_when_empty = server.descriptors()
        return server


class DaytimeAndTime(Sample):
    def seconds_of(self, line):
        # The RFC's form, to the byte: no leading or missing zeros.
        form = "%A, %B %d, %Y %H:%M:%S-UTC\r\n"
        told = time.strptime(line.decode(), form)
        self.assertEqual(time.strftime(form, told).encode(), line)
        return calendar.timegm(told)

    def test_daytime(self):
        tcp = self.start("weir-daytime")
        unix = self.start("weir-daytime", listen=f"unix:{self.path('sock')}")
        for line in (self.nc(tcp, "-d"), self.socat(unix)):
            self.assertLess(abs(self.seconds_of(line) - time.time()), 5)

    def test_time(self):
        tcp = self.start("weir-time")
        unix = self.start("weir-time", listen=f"unix:{self.path('sock')}")
        for number in (self.nc(tcp, "-d"), self.socat(unix)):
            self.assertEqual(len(number), 4)
            told, = struct.unpack(">I", number)
            self.assertLess(abs(told - (int(time.time()) + EPOCH_1900) % 2**32), 5)

    def test_who_says_much_has_the_answer_and_an_end(self):
        for name in ("weir-daytime", "weir-time"):
            server = self.start(name)
            client = self.client(server.address)
            client.sendall(b"what time is it? " * 10_000)
            self.assertEqual(len(receive_until_end(client)), len(self.nc(server, "-d")))

    def test_who_stays_is_not_waited_for(self):
        for name in ("weir-daytime", "weir-time"):
            server = self.start(name, "--linger", "0.2")
            empty = server.descriptors()
            silent, talking = self.client(server.address), self.client(server.address)
            for client in (silent, talking):
                receive_until_end(client)
            with self.assertRaises(OSError):  # its place is given up: a reset, and then EPIPE
                while True:
                    talking.sendall(bytes(65536))
            self.assertTrue(wait_until(lambda: server.descriptors() == empty))

    def test_many_ask_at_once(self):
        server = self.start("weir-time")
        clients = [self.client(server.address) for _ in range(200)]
        for client in clients[::2]:
            self.assertEqual(len(receive_until_end(client)), 4)
            client.close()
        for client in clients[1::2]:
            reset(client)
        self.assertEqual(len(self.nc(server, "-d")), 4)
        self.end(server)


class IdleKick(Sample):
    WARNING = b"* still there? you have 0.3 s to say something\n"

    def test_a_warning_and_then_goodbye(self):
        server = self.start("weir-idle-kick", "--idle-timeout", "0.3")
        client = self.client(server.address)
        begin = time.monotonic()
        self.assertTrue(echoes(client))
        self.assertEqual(receive_until_end(client), self.WARNING + b"* goodbye\n")
        self.assertGreaterEqual(time.monotonic() - begin, 0.6)

    def test_who_answers_the_warning_stays(self):
        server = self.start("weir-idle-kick", "--idle-timeout", "0.3")
        client = self.client(server.address)
        self.assertTrue(echoes(client))
        for _ in range(2):
            self.assertEqual(receive_exactly(client, len(self.WARNING)), self.WARNING)
            self.assertTrue(echoes(client))
        self.assertEqual(receive_until_end(client), self.WARNING + b"* goodbye\n")

    def test_who_never_says_a_word(self):
        server = self.start("weir-idle-kick", "--first-byte-timeout", "0.3")
        talking = self.client(server.address)
        self.assertTrue(echoes(talking))
        self.assertEqual(self.nc(server, "-d"), b"* you never said a word: goodbye\n")
        self.assertTrue(echoes(talking))

    def test_the_side_that_closes_first_keeps_the_addresses(self):
        """The states of docs/closing.md."""
        server = self.start("weir-idle-kick", "--first-byte-timeout", "0.2")
        client = self.client(server.address)
        name = client.getsockname()
        receive_until_end(client)
        # (FIN-WAIT-1 is over as soon as the client's kernel has said that the FIN has come.)
        self.assertTrue(wait_until(lambda: self.state(server, name) == "FIN-WAIT-2"))
        self.assertEqual(self.state(server, name, ours=False), "CLOSE-WAIT")
        client.close()
        self.assertTrue(wait_until(lambda: self.state(server, name) == "TIME-WAIT"))

    @staticmethod
    def state(server, client, ours=True):
        """Of the connection, on the server's side or the client's."""
        port, other = server.address.rpartition(":")[2], client[1]
        if not ours:
            port, other = other, port
        table = subprocess.run(["ss", "-Htan", f"sport = :{port} and dport = :{other}"], check=True,
                               capture_output=True, text=True).stdout
        return table.split()[0] if table else None

    def test_a_message_costs_no_timer(self):
        server = self.start("weir-idle-kick")
        client = self.client(server.address)
        idle = [self.client(server.address) for _ in range(50)]
        self.assertTrue(all(echoes(one) for one in [client, *idle]))
        strace = self.program(["strace", "-f", "-c", "-U", "name,calls", "-p", server.pid,
                               "-o", self.path("table")])
        self.assertTrue(wait_until(lambda: "attached" in strace.errors()), strace.errors())
        for _ in range(200):
            self.assertTrue(echoes(client))
        strace.signal(signal.SIGINT)
        strace.wait()
        with open(self.path("table")) as table:
            calls = dict(re.findall(r"^(\w+) +(\d+)$", table.read(), re.M))
        calls.pop("total")
        waits = sum(int(calls.pop(name, 0)) for name in ("epoll_wait", "epoll_pwait2"))
        if SANITIZER or server.was_late():  # a sanitizer has calls of its own, and so has a log
            calls = {name: n for name, n in calls.items() if name in ("recvfrom", "sendto")}
        self.assertEqual(set(calls), {"recvfrom", "sendto"})
        self.assertLessEqual(max(map(int, calls.values())), 200)
        self.assertLessEqual(waits, 202)

    def test_the_idle_cost_no_wake_up(self):
        server = self.start("weir-idle-kick")
        clients = [self.client(server.address) for _ in range(50)]
        self.assertTrue(all(echoes(client) for client in clients))
        self.assertEqual(count_epoll_returns(server, 0.5), 0)

    def test_rude_clients(self):
        server = self.start("weir-idle-kick", "--first-byte-timeout", "0.2",
                            "--idle-timeout", "0.2")
        empty = server.descriptors()
        for data in (b"", b"\0" * 100_000, b"no end"):
            client = self.client(server.address)
            client.sendall(data)
            reset(client)
        silent = [self.client(server.address) for _ in range(20)]
        stuck = self.client(server.address)  # sends and does not read
        stuck.settimeout(0.1)
        with contextlib.suppress(OSError):
            stuck.sendall(bytes(16 * MIB))
        for client in silent:
            self.assertIn(b"goodbye", receive_until_end(client))
            client.close()
        stuck.close()
        self.assertTrue(wait_until(lambda: server.descriptors() == empty))
        self.end(server)


class MaxConnections(Sample):
    def welcome(self, client, taken, places):
        line = b"* welcome, %d of %d places are taken\n" % (taken, places)
        self.assertEqual(receive_exactly(client, len(line)), line)

    def test_who_finds_no_place_is_told(self):
        server = self.start("weir-max-connections", "--places", "2", "--per-peer", "0",
                            "--accept-rate", "0")
        first, second = self.client(server.address), self.client(server.address)
        self.welcome(first, 1, 2)
        self.welcome(second, 2, 2)
        full = b"* all 2 places are taken, come back later\n"
        self.assertEqual(self.nc(server, "-d"), full)
        third = self.client(server.address)
        third.sendall(b"let me in! " * 1000)  # it is told all the same
        self.assertEqual(receive_until_end(third), full)
        self.assertTrue(echoes(first) and echoes(second))
        first.close()

        def let_in():
            client = self.client(server.address)
            return receive_exactly(client, 10) == b"* welcome,"

        self.assertTrue(wait_until(let_in))
        self.end(server)

    def test_who_is_told_is_bounded_too(self):
        server = self.start("weir-max-connections", "--places", "1", "--per-peer", "0",
                            "--accept-rate", "0")
        kept = self.client(server.address)
        self.welcome(kept, 1, 1)
        told = [self.client(server.address) for _ in range(16)]
        for client in told:
            self.assertIn(b"all 1 places", receive_until_end(client))
        # They keep their side open, so their places at the door are taken for a second.
        self.assertEqual(receive_until_end(self.client(server.address)), b"")
        for client in told:
            client.close()
        self.assertTrue(wait_until(lambda: b"all 1 places" in self.nc(server, "-d")))
        self.assertTrue(echoes(kept))

    def test_one_address_cannot_have_all(self):
        server = self.start("weir-max-connections", "--places", "10", "--per-peer", "2")
        mine = [self.client(server.address) for _ in range(2)]
        for taken, client in enumerate(mine, 1):
            self.welcome(client, taken, 10)
        self.assertEqual(self.nc(server, "-d"), b"")
        self.welcome(self.client(server.address, source="127.0.0.2"), 3, 10)
        self.assertTrue(all(echoes(client) for client in mine))
        self.assertRegex(server.errors(), "127.0.0.1 has 2 connections, the most allowed")

    def test_a_rush_waits(self):
        server = self.start("weir-max-connections", "--accept-rate", "20", "--per-peer", "0")
        begin = time.monotonic()
        clients = [self.client(server.address) for _ in range(12)]  # connected, by the kernel
        for taken, client in enumerate(clients, 1):
            self.welcome(client, taken, 100)
        self.assertGreater(time.monotonic() - begin, 0.4)  # two at once, then 20 a second
        self.assertTrue(all(echoes(client) for client in clients))

    def test_rude_clients_give_their_places_back(self):
        server = self.start("weir-max-connections", "--places", "1", "--per-peer", "0",
                            "--accept-rate", "0", "--idle-timeout", "0.3")
        for rude in (reset, socket.socket.close) * 5:
            client = self.client(server.address)
            client.sendall(b"\0garbage" * 100)
            receive_exactly(client, 10)  # a welcome, or that there is no place
            rude(client)
        idle = []

        def let_in():
            idle.append(self.client(server.address))
            return receive_exactly(idle[-1], 10) == b"* welcome,"

        self.assertTrue(wait_until(let_in))
        self.assertIn(b"1 of 1", receive_until_end(idle[-1]))  # and is let go for its silence
        idle[-1].close()
        self.assertTrue(wait_until(let_in))


class Resting(Sample):
    def test_nothing_to_do_is_no_wake_up(self):
        servers = [self.start(name) for name in ("weir-discard", "weir-chargen", "weir-daytime",
                                                 "weir-time", "weir-idle-kick",
                                                 "weir-max-connections")]
        for server in servers:
            self.stuck(server)
        usages = [Usage(server) for server in servers]
        time.sleep(0.5)
        self.assertEqual([usage.wakeups() for usage in usages], [0] * len(servers))


class Ending(Sample):
    """SIGTERM while clients are busy, or do nothing at all. All at once: each may take 4 s."""

    def test_within_five_seconds(self):
        options = {"weir-discard": ["--threads", "2"], "weir-chargen": ["--threads", "2"]}
        servers = {name: self.start(name, *options.get(name, ()))
                   for name in ("weir-discard", "weir-chargen", "weir-daytime", "weir-time",
                                "weir-idle-kick", "weir-max-connections")}
        silent = [self.client(server.address) for server in servers.values()]
        self.stuck(servers["weir-chargen"])
        reader = self.client(servers["weir-chargen"].address)
        sender = self.client(servers["weir-discard"].address)
        flowing = threading.Semaphore(0)

        def read():
            while reader.recv(MIB):
                flowing.release()

        def send():
            while True:
                sender.sendall(bytes(MIB))
                flowing.release()

        threads = [threading.Thread(target=self.until_it_breaks, args=(work,))
                   for work in (read, send)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(20):
                self.assertTrue(flowing.acquire(timeout=30))
            begin = time.monotonic()
            for server in servers.values():
                server.signal(signal.SIGTERM)
            for name, server in servers.items():
                self.assertEqual(server.wait(15), 0, name)
            self.assertLess(time.monotonic() - begin, 5)
        finally:
            for client in (reader, sender, *silent):
                self.until_it_breaks(lambda: client.shutdown(socket.SHUT_RDWR))
            for thread in threads:
                thread.join()

    @staticmethod
    def until_it_breaks(work):
        with contextlib.suppress(OSError):
            work()


class Tour(Sample):
    def test_it_ends_by_itself(self):
        done = subprocess.run([BIN / "weir-tour", "--seconds", "0.4"], capture_output=True,
                              text=True, timeout=20)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        lines = [re.sub(r"\A +\d+\.\d ms  ", "", line) for line in done.stdout.splitlines()]
        for line in ("timer: cancelled one in time: true", "timer: cancelled it again: false",
                     "timer: one step has passed", "timer: tick 1", "signal: SIGUSR1",
                     "thread: there are 9592 primes up to 100000"):
            self.assertEqual(lines.count(line), 1, (line, lines))
        self.assertLess(lines.index("task: dispatched, runs at once"),
                        lines.index("task: posted first, runs second"))
        self.assertNotIn("never said", done.stdout)
        self.assertRegex(lines[-2], r"^stats: \d+ turns, \d+ timers, 4 tasks, ")
        self.assertRegex(lines[-1], r"^stats: busy for ")

    def test_signals(self):
        tour = self.program([BIN / "weir-tour", "--seconds", "300"])
        self.addCleanup(self.stop_server, tour)
        self.until_said(tour, "the loop starts")
        tour.signal(signal.SIGUSR1)
        self.until_said(tour, "signal: SIGUSR1")
        tour.signal(signal.SIGINT)
        self.until_said(tour, "signal: that is enough")
        self.until_said(tour, "stats: busy")
        self.assertEqual(tour.wait(5), 0)

    def until_said(self, tour, text):
        while (line := tour.read_line()) is not None:
            if text in line:
                return
        self.fail(f"it never said {text!r}")


if __name__ == "__main__":
    unittest.main()
