#!/usr/bin/env python3
"""The printer and its client, and nc as a client."""

import re
import signal
import subprocess
import threading
import unittest

from harness import BIN, SystemTest, receive_until_end


class Printer(SystemTest):
    def printer(self, *options, listen="127.0.0.1:0"):
        return self.serve([BIN / "weir-printer-server", "--listen", listen, *options])

    def send(self, server, *words, data=None):
        """By weir's own client, or by its standard input."""
        done = subprocess.run([BIN / "weir-printer-client", "--connect", server.address, *words],
                              input=data, capture_output=True, timeout=30)
        self.assertEqual(done.returncode, 0, done.stderr)

    def printed(self, server):
        """What one client sent, without its name, once it has left."""
        lines, name = [], re.match(r"\* (.+) connected$", server.read_line()).group(1)
        while (line := server.read_line()) is not None and not line.startswith(f"* {name} left"):
            self.assertTrue(line.startswith(name + ": "), line)
            lines.append(line.removeprefix(name + ": "))
        self.assertIsNotNone(line)
        return lines

    def test_a_line_of_nc(self):
        server = self.printer()
        host, port = server.address.split(":")
        subprocess.run(["nc", "-N", host, port], input=b"hello, printer\nand again\n", check=True,
                       timeout=30)
        self.assertEqual(self.printed(server), ["hello, printer", "and again"])

    def test_a_line_of_its_client(self):
        for listen in ("127.0.0.1:0", "[::1]:0", f"unix:{self.path('sock')}"):
            server = self.printer(listen=listen)
            self.send(server, "hello,", "printer")
            self.assertEqual(self.printed(server), ["hello, printer"])

    def test_words_in_brackets_are_words(self):
        server = self.printer()
        self.send(server, "[hello,world]", "[]", "--timeout")
        self.assertEqual(self.printed(server), ["[hello,world] [] --timeout"])
        self.send(server, "--", "-x")
        self.assertEqual(self.printed(server), ["-x"])

    def test_no_timeout(self):
        server = self.printer()
        self.send(server, "--timeout", "0", "hello")
        self.assertEqual(self.printed(server), ["hello"])

    def test_the_standard_input_of_its_client(self):
        server = self.printer()
        self.send(server, data=b"one\ntwo\r\n\nlast without an end")
        self.assertEqual(self.printed(server), ["one", "two", "", "last without an end"])

    def test_a_line_in_pieces(self):
        server = self.printer()
        client = self.client(server.address)
        for byte in b"slow\nly":
            client.sendall(bytes([byte]))
        client.close()
        self.assertEqual(self.printed(server), ["slow", "ly"])

    def test_nothing_forged(self):
        server = self.printer()
        self.send(server, data=b"\x1b[2Jred\r* someone connected\x07\n")
        line, = self.printed(server)
        self.assertTrue(line.isprintable(), line)
        self.assertIn("\\x1b[2Jred", line)

    def test_a_line_without_end(self):
        server = self.printer()
        text = {"data": b"x" * 1_000_000}
        sender = threading.Thread(target=self.send, args=(server,), kwargs=text)
        sender.start()  # aside, because a printer that nobody reads from comes to a stop
        pieces = self.printed(server)
        sender.join()
        self.assertEqual("".join(pieces), "x" * 1_000_000)
        self.assertLessEqual(max(map(len, pieces)), 4096)

    def test_many_clients_do_not_mix(self):
        server = self.printer()
        senders = [threading.Thread(target=self.send, args=(server, f"line of {i}"))
                   for i in range(20)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        lines = [server.read_line() for _ in range(60)]
        said = sorted(line.split(": ", 1)[1] for line in lines if not line.startswith("* "))
        self.assertEqual(said, sorted(f"line of {i}" for i in range(20)))

    def test_a_silent_client_is_let_go(self):
        server = self.printer("--idle-timeout", "1")
        self.assertEqual(receive_until_end(self.client(server.address)), b"")

    def test_it_ends_on_a_signal(self):
        server = self.printer()
        client = self.client(server.address)
        client.sendall(b"before the end\n")
        self.assertRegex(server.read_line(), "connected$")
        self.assertRegex(server.read_line(), "before the end$")
        server.signal(signal.SIGTERM)
        self.assertEqual(receive_until_end(client), b"")
        client.close()
        self.assertEqual(server.wait(5), 0)

    def test_refusals(self):
        address = self.printer().address
        for status, words in ((1, ["server", "--listen", address]),
                              (2, ["server", "--listen", "x"]),
                              (2, ["server", "--bogus"]),
                              (2, ["client", "--connect", "x", "hello"]),
                              (1, ["client", "--connect", f"unix:{self.path('none')}", "hello"])):
            with self.subTest(words=words):
                program = self.program([BIN / f"weir-printer-{words[0]}", *words[1:]])
                self.assertEqual(program.wait(), status)
                self.assertRegex(program.errors(), "^error: .*\n$")


if __name__ == "__main__":
    unittest.main()
