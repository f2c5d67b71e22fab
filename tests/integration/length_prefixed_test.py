#!/usr/bin/env python3
"""Calls and answers: weir-rpc against weir-rpc-server, each against a peer in Python that keeps the
protocol or breaks it, and what is too large, too deep or too late."""

import json
import os
import socket
import struct
import subprocess
import threading
import time
import unittest

from harness import (BIN, DEADLINE, MIB, SANITIZER, SystemTest, connect, receive_exactly, reset,
                     wait_until, without_late)

MAX_MESSAGE = 64 * 1024


def frame(text):
    data = text if isinstance(text, bytes) else text.encode()
    return struct.pack(">I", len(data)) + data


def call(number, method, *params):
    return frame(json.dumps({"id": number, "method": method, "params": params}))


def read_message(peer):
    """None at the end of the stream."""
    header = receive_exactly(peer, 4)
    if len(header) < 4:
        return None
    return json.loads(receive_exactly(peer, struct.unpack(">I", header)[0]))


class Rpc(SystemTest):
    def server(self, *options, listen="127.0.0.1:0"):
        return self.serve([BIN / "weir-rpc-server", "--listen", listen, *options])

    def rpc(self, address, *words, code=0):
        """The lines that weir-rpc prints, and what it says of errors."""
        done = subprocess.run([BIN / "weir-rpc", address, *words], capture_output=True,
                              timeout=DEADLINE)
        self.assertEqual(done.returncode, code, done.stderr)
        return done.stdout.decode().splitlines(), without_late(done.stderr.decode())

    def ask(self, peer, data):
        peer.sendall(data)
        return read_message(peer)


class BothEnds(Rpc):
    def test_one_call(self):
        for listen in ("127.0.0.1:0", "[::1]:0", f"unix:{self.path('sock')}"):
            address = self.server(listen=listen).address
            self.assertEqual(self.rpc(address, "add", "1", "2"), (["3"], ""))
            self.assertEqual(self.rpc(address, "echo", "hi", " [1, {}]", "\u00e9"),
                             (['["hi",[1,{}],"\\u00e9"]'], ""))
            self.assertEqual(self.rpc(address, "echo", "[1,2]", "[]", "[x]", "--", "-x"),
                             (['[[1,2],[],"[x]","--","-x"]'], ""))
            self.assertEqual(self.rpc(address, "methods"),
                             (['["add","echo","methods","sleep"]'], ""))

    def test_several_at_once_and_the_quick_ones_first(self):
        address = self.server("--threads", "2").address
        out, errors = self.rpc(address, "sleep", "300", ",", "add", "1", "2", ",", "no", ",",
                               "sleep", "20", code=1)
        self.assertEqual(out, ["add 1 2: 3", "sleep 20: 20", "sleep 300: 300"])
        self.assertRegex(errors, r"\Aerror: no: refused: .*\n\Z")

    def test_a_call_has_a_deadline_and_costs_no_other_its_answer(self):
        address = self.server().address
        out, errors = self.rpc("--timeout", "0.5", address, "sleep", "30000", ",", "add", "1",
                               code=1)
        self.assertEqual(out, ["add 1: 1"])
        self.assertEqual(errors, "error: sleep 30000: no answer in time\n")

    def test_a_call_that_is_too_large_is_told_at_once(self):
        address = self.server().address
        begin = time.monotonic()
        out, errors = self.rpc("--timeout", "25", address, "echo", "x" * 70_000, ",", "add", "1",
                               code=1)
        self.assertEqual(out, ["add 1: 1"])
        self.assertRegex(errors, r"\Aerror: echo x+.*: the call has 700\d\d bytes, "
                                 r"more than 65536\n\Z")
        self.assertLess(time.monotonic() - begin, 20)

    def test_a_timeout_of_0_is_none(self):
        out, _ = self.rpc("--timeout", "0", self.server().address, "sleep", "300")
        self.assertEqual(out, ["300"])

    def test_a_sum_that_is_no_number_is_refused(self):
        out, errors = self.rpc(self.server().address, "add", "1e308", "1e308", code=1)
        self.assertEqual(out, [])
        self.assertEqual(errors,
                         'error: refused: "the sum is too large for a number"\n')

    def test_nothing_drives_the_terminal(self):
        out, _ = self.rpc(self.server().address, "echo", "\x1b[2J\u202e", ",", "echo")
        self.assertTrue(all(line.isascii() and line.isprintable() for line in out), out)

    def test_a_server_that_ends_answers_first(self):
        server = self.server()
        peers = [self.client(server.address) for _ in range(5)]
        for peer in peers:
            peer.sendall(call(1, "sleep", 400) + call(2, "echo"))
            self.assertEqual(read_message(peer), {"id": 2, "result": []})
        server.signal(15)
        for peer in peers:
            self.assertEqual(read_message(peer), {"id": 1, "result": 400})
            self.assertIsNone(read_message(peer))
            peer.close()
        self.assertEqual(server.wait(5), 0)

    def test_refusals_of_the_client(self):
        for code, words in ((2, [",", ","]), (2, []), (1, ["add", "1"])):
            out, errors = self.rpc("127.0.0.1:1", *words, code=code)
            self.assertEqual(out, [])
            self.assertRegex(errors, r"\Aerror: .*\n\Z")


class Server(Rpc):
    def test_mistakes_are_answers_and_the_connection_goes_on(self):
        peer = self.client(self.server().address)
        for text in ("", "{", "nonsense", "[]", "7", "null", '{"id": 1}', '{"id": "x"}',
                     '{"id": 1, "method": 2, "params": []}', '{"id": 1, "method": "add"}',
                     '{"id": 1, "method": "add", "params": {}}', '{"id": 1.5, "method": "add"}',
                     '{"id": 1, "method": "add", "params": ["x"]}',
                     '{"id": 1, "method": "sleep", "params": [-1]}',
                     '{"id": 1, "method": "sleep", "params": [60001]}',
                     '{"id": 1, "method": "sleep", "params": [1e300]}',
                     '{"id": 1, "method": "nope", "params": []}', b'{"id": 1, "\xff": 1}',
                     "1e999999", '"\\ud800"', "[" * 60_000, '{"a":' * 10_000 + "1" + "}" * 10_000,
                     '{"id": 1, "method": "echo", "params": [' + "[" * 40 + "]" * 40 + "]}"):
            with self.subTest(text=text[:60]):
                answer = self.ask(peer, frame(text))
                self.assertEqual(set(answer), {"id", "error"})
        self.assertEqual(self.ask(peer, call(-5, "add", 1, 0.5)), {"id": -5, "result": 1.5})
        self.assertEqual(self.ask(peer, call(6, "add", 1e300, 1)), {"id": 6, "result": 1e300})

    def test_sizes(self):
        peer = self.client(self.server().address)
        large = "x" * (MAX_MESSAGE - 100)
        self.assertEqual(self.ask(peer, call(1, "echo", large)), {"id": 1, "result": [large]})
        # Two bytes of UTF-8 come back as six of ASCII.
        wide = json.dumps({"id": 2, "method": "echo", "params": ["\u00e9" * 30_000]},
                          ensure_ascii=False)
        self.assertEqual(self.ask(peer, frame(wide)),
                         {"id": 2, "error": "the result is too long for a message"})
        answer = self.ask(peer, struct.pack(">I", MAX_MESSAGE + 1))
        self.assertIn("at most 65536", answer["error"])
        self.assertIsNone(read_message(peer))  # what follows could not be understood

    def test_a_message_in_pieces(self):
        peer = self.client(self.server().address)
        for byte in call(1, "add", 2, 3):
            peer.sendall(bytes([byte]))
        self.assertEqual(read_message(peer), {"id": 1, "result": 5})

    def test_a_half_close_waits_for_the_answers(self):
        peer = self.client(self.server().address)
        peer.sendall(call(1, "sleep", 200) + call(2, "sleep", 50))
        peer.shutdown(socket.SHUT_WR)
        self.assertEqual(read_message(peer), {"id": 2, "result": 50})
        self.assertEqual(read_message(peer), {"id": 1, "result": 200})
        self.assertIsNone(read_message(peer))

    def test_calls_in_flight_are_bounded(self):
        peer = self.client(self.server().address)
        peer.sendall(b"".join(call(i, "sleep", 100) for i in range(200)) + call(200, "add"))
        order = [read_message(peer)["id"] for _ in range(201)]
        self.assertEqual(sorted(order), list(range(201)))
        self.assertGreater(order.index(200), 100)  # it was not even read before others had ended

    def test_hostile_peers_disturb_nobody(self):
        server = self.server("--threads", "2")
        good = self.client(server.address)
        for i in range(20 if not SANITIZER else 5):
            for data in (os.urandom(1000), b"\0\0\0\5{", frame("[" * 5000), b"\xff" * 8,
                         call(1, "sleep", 60_000) * 10):
                with connect(server.address) as bad:
                    bad.sendall(data)
                    if i % 2:
                        reset(bad)
            self.assertEqual(self.ask(good, call(i, "echo", i)), {"id": i, "result": [i]})
        if not SANITIZER:
            self.assertLess(server.resident_bytes(), 64 * MIB)
        good.close()

    @unittest.skipIf(SANITIZER, "it keeps freed memory for a while")
    def test_clients_that_reset_leave_nothing_behind(self):
        """Their calls would have been answered after a minute."""
        server = self.server("--max-per-client", "0")
        good = self.client(server.address)
        self.assertEqual(self.ask(good, call(1, "echo", 1)), {"id": 1, "result": [1]})
        descriptors = server.descriptors()
        calls = b"".join(call(i, "sleep", 60_000) for i in range(63)) + call(63, "echo")

        def come_and_go(clients):
            for _ in range(clients):
                bad = self.client(server.address)
                self.assertEqual(self.ask(bad, calls), {"id": 63, "result": []})
                reset(bad)

        come_and_go(100)
        memory = server.resident_bytes()
        come_and_go(1500)  # 94,500 timers, 20 MiB
        self.assertTrue(wait_until(lambda: server.descriptors() == descriptors))
        self.assertLess(server.resident_bytes() - memory, 4 * MIB)
        self.assertEqual(self.ask(good, call(2, "echo", 1)), {"id": 2, "result": [1]})
        good.close()

    def test_connections_of_one_client_are_bounded(self):
        server = self.server("--max-per-client", "2")
        for _ in range(2):
            self.assertEqual(self.ask(self.client(server.address), call(1, "add", 1)),
                             {"id": 1, "result": 1})
        try:
            self.assertIsNone(self.ask(self.client(server.address), call(1, "add", 1)))
        except ConnectionError:
            pass

    def test_a_silent_client_is_let_go(self):
        peer = self.client(self.server("--idle-timeout", "1").address)
        self.assertIsNone(read_message(peer))


class Client(Rpc):
    """weir-rpc with a server that is not ours."""

    def serve(self, answer):
        """answer(peer, the first call), in a thread; the address."""
        listener = socket.create_server(("127.0.0.1", 0))

        def run():
            with listener, listener.accept()[0] as peer:
                peer.settimeout(DEADLINE)
                answer(peer, read_message(peer))

        thread = threading.Thread(target=run)
        thread.start()
        self.addCleanup(thread.join)
        return "127.0.0.1:%d" % listener.getsockname()[1]

    def test_a_server_that_leaves(self):
        _, errors = self.rpc(self.serve(lambda peer, _: None), "add", code=1)
        self.assertEqual(errors, "error: the connection ended: peer_eof\n")

    def test_a_server_that_says_nonsense_first(self):
        def answer(peer, first):
            for text in ("", "\x1b[2J", "[]", '{"id": -1}', '{"id": 12345, "result": 1}',
                         "[" * 60_000):
                peer.sendall(frame(text))
            peer.sendall(frame(json.dumps({"id": first["id"], "result": "good"})))
            peer.recv(1)

        out, errors = self.rpc(self.serve(answer), "add")
        self.assertEqual(out, ['"good"'])
        self.assertNotIn("\x1b", errors)

    def test_a_server_that_breaks_the_framing(self):
        _, errors = self.rpc(self.serve(lambda peer, _: peer.sendall(b"\xff" * 100)), "add", code=1)
        self.assertIn("error: the connection ended: ", errors)

    def test_a_server_that_is_silent(self):
        begin = time.monotonic()
        _, errors = self.rpc("--timeout", "0.3", self.serve(lambda peer, _: peer.recv(1)), "add",
                             code=1)
        self.assertEqual(errors, "error: no answer in time\n")
        self.assertLess(time.monotonic() - begin, 10)


if __name__ == "__main__":
    unittest.main()
