#!/usr/bin/env python3
"""weir-file-server: files, parts of files, listings; and what it must not let out."""

import hashlib
import os
import re
import signal
import socket
import subprocess
import threading
import unittest
from urllib.parse import quote, unquote_to_bytes

from harness import (BIN, DEADLINE, MIB, SANITIZER, SystemTest, connect, receive_exactly,
                     receive_until_end, reset, stuffing, wait_until)

LARGE = 64 * MIB
SMALL = 64 * 1024  # a receive buffer


class Refused(Exception):
    pass


class Client:
    """Speaks the protocol."""

    def __init__(self, address, **keywords):
        self.socket = connect(address, **keywords)

    def ask(self, request):
        self.socket.sendall(request.encode() + b"\n")

    def line(self):
        line = b""
        while not line.endswith(b"\n"):
            byte = self.socket.recv(1)
            if not byte:
                raise EOFError(line)
            line += byte
        return line[:-1].decode("ascii")

    def number(self):
        word, _, rest = self.line().partition(" ")
        if word != "OK":
            raise Refused(rest)
        return int(rest)

    def content(self):
        size = self.number()
        data = receive_exactly(self.socket, size)
        if len(data) != size:
            raise EOFError(f"{len(data)} of {size} bytes")
        return data

    def get(self, path, part=""):
        self.ask(f"GET {quote(path)} {part}")
        return self.content()

    def list(self, path=""):
        self.ask(f"LIST {quote(path)}")
        entries = {}
        for _ in range(self.number()):
            size, name = self.line().split(" ")
            entries[unquote_to_bytes(name).decode()] = None if size == "-" else int(size)
        return entries


class FileServerTest(SystemTest):
    def setUp(self):
        super().setUp()
        self.root = self.path("root")
        os.mkdir(self.root)

    def write(self, name, data):
        path = os.path.join(self.root, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)
        return path

    def server(self, *options, listen="127.0.0.1:0"):
        return self.serve([BIN / "weir-file-server", "--listen", listen, "--root", self.root,
                           *options])

    def connect(self, server, **keywords):
        client = Client(server.address, **keywords)
        self.addCleanup(client.socket.close)
        return client


class Files(FileServerTest):
    def test_a_whole_file_and_an_empty_one(self):
        self.write("docs/a.txt", b"hello, file\n")
        self.write("empty", b"")
        for listen in ("127.0.0.1:0", f"unix:{self.path('sock')}"):
            client = self.connect(self.server(listen=listen))
            self.assertEqual(client.get("docs/a.txt"), b"hello, file\n")
            self.assertEqual(client.get("empty"), b"")
            self.assertEqual(client.get("./docs//a.txt"), b"hello, file\n")

    def test_parts_of_a_file(self):
        self.write("digits", b"0123456789")
        client = self.connect(self.server())
        for part, expected in (("0", b"0123456789"), ("7", b"789"), ("10", b""), ("0-0", b"0"),
                               ("3-5", b"345"), ("9-9", b"9"), ("5-99999", b"56789"),
                               ("0-18446744073709551615", b"0123456789"),
                               ("-3", b"789"), ("-10", b"0123456789"), ("-99", b"0123456789"),
                               ("-0", b"")):
            self.assertEqual(client.get("digits", part), expected, part)
        for part in ("11", "10-12", "18446744073709551615"):
            self.assertRaisesRegex(Refused, "the file has 10 bytes", client.get, "digits", part)
        self.assertRaisesRegex(Refused, "ends before it begins", client.get, "digits", "5-4")
        for part in ("x", "-", "--1", "1-x", "+1", "1-2-3", "18446744073709551616", "1.5"):
            self.assertRaisesRegex(Refused, "a range is", client.get, "digits", part)
        self.assertEqual(client.get("digits"), b"0123456789")

    def test_a_large_file_and_its_last_part(self):
        data = os.urandom(MIB) * (LARGE // MIB)
        self.write("large", data)
        server = self.server()
        client = self.connect(server)
        before = server.resident_bytes()
        self.assertEqual(hashlib.sha256(client.get("large")).digest(),
                         hashlib.sha256(data).digest())
        self.assertTrue(client.get("large", f"-{MIB + 7}") == data[-MIB - 7:])
        if not SANITIZER:
            self.assertLess(server.resident_bytes() - before, 4 * MIB)

    def test_a_listing(self):
        self.write("plain.txt", b"12345")
        self.write("two words", b"")
        self.write("100%", b"1")
        self.write("ümläut", b"22")
        self.write("line\nbreak\x1b[2J", b"")
        self.write("sub/deeper/x", b"333")
        os.symlink("plain.txt", os.path.join(self.root, "to-a-file"))
        os.symlink("../plain.txt", os.path.join(self.root, "sub", "up-but-inside"))
        os.symlink("sub", os.path.join(self.root, "to-a-folder"))
        os.symlink("nowhere", os.path.join(self.root, "dangling"))
        os.symlink("/etc/passwd", os.path.join(self.root, "passwd"))
        os.mkfifo(os.path.join(self.root, "fifo"))
        client = self.connect(self.server())
        self.assertEqual(client.list(), {
            "100%": 1, "line\nbreak\x1b[2J": 0, "plain.txt": 5, "sub/": None, "to-a-file": 5,
            "to-a-folder/": None, "two words": 0, "ümläut": 2})
        self.assertEqual(client.list("sub"), {"deeper/": None, "up-but-inside": 5})
        self.assertEqual(client.list("sub/deeper/"), {"x": 3})
        self.assertEqual(client.get("to-a-folder/up-but-inside"), b"12345")
        for name in ("100%", "ümläut", "line\nbreak\x1b[2J", "two words"):
            client.get(name)
        self.assertRaisesRegex(Refused, "Not a directory", client.list, "plain.txt")
        self.assertRaisesRegex(Refused, "it is a folder", client.get, "sub")
        self.assertRaisesRegex(Refused, "No such file", client.get, "none")

    def test_a_folder_with_too_many_entries(self):
        first = self.write("0", b"")
        for i in range(1, 4097):
            os.link(first, os.path.join(self.root, str(i)))  # faster than as many files
        client = self.connect(self.server())
        self.assertRaisesRegex(Refused, "more than 4096", client.list)
        os.unlink(first)
        self.assertEqual(len(client.list()), 4096)

    @unittest.skipIf(SANITIZER, "its leak check does not run under strace")
    def test_entries_are_counted_before_they_are_looked_at(self):
        self.write("0", b"")
        for i in range(1, 5000):
            os.link(os.path.join(self.root, "0"), os.path.join(self.root, str(i)))
        server = self.server()
        client = self.connect(server)
        strace = self.program(["strace", "-f", "-c", "-U", "name,calls", "-p", server.pid,
                               "-o", self.path("table")])
        self.assertTrue(wait_until(lambda: "attached" in strace.errors()), strace.errors())
        self.assertRaisesRegex(Refused, "more than 4096", client.list)
        strace.signal(signal.SIGINT)
        strace.wait()
        with open(self.path("table")) as table:
            calls = dict(re.findall(r"^(\w+) +(\d+)$", table.read(), re.M))
        self.assertIn("getdents64", calls)
        self.assertLessEqual(int(calls.get("newfstatat", 0)), 1, calls)  # of the folder itself

    def test_nc(self):
        self.write("notes.txt", b"one\ntwo\n")
        host, port = self.server().address.split(":")
        for end in (b"", b"QUIT\nnever read"):
            done = subprocess.run(
                ["nc", "-N", host, port], capture_output=True, timeout=DEADLINE, check=True,
                input=b"LIST\nGET notes.txt\r\nGET none\nGET notes.txt 4\n" + end)
            self.assertEqual(done.stdout.decode(),
                             "OK 1\n8 notes.txt\nOK 8\none\ntwo\n"
                             "ERROR open: No such file or directory\nOK 4\ntwo\n")


class Escapes(FileServerTest):
    def test_no_path_leads_out(self):
        secret = self.path("secret")
        with open(secret, "wb") as file:
            file.write(b"not yours")
        os.mkdir(os.path.join(self.root, "sub"))
        os.symlink(secret, os.path.join(self.root, "absolute"))
        os.symlink("../secret", os.path.join(self.root, "relative"))
        os.symlink("..", os.path.join(self.root, "parent"))
        os.symlink("loop", os.path.join(self.root, "loop"))
        client = self.connect(self.server())
        for path in ("../secret", "sub/../../secret", "..", "sub/..", secret, "/", "/etc/passwd",
                     "absolute", "relative", "parent/secret", "parent", "sub//../../secret", "loop",
                     "absolute/x", "secret\0", "\0", "x" * 5000, "sub/" * 1500):
            for ask in (client.get, client.list):
                self.assertRaises(Refused, ask, path)
        for request in ("GET %2e%2e/secret", "GET ..%2Fsecret", "GET %2Fetc%2Fpasswd",
                        "GET parent%2fsecret", "GET %00", "GET sub%00/../../secret"):
            client.ask(request)
            self.assertRaises(Refused, client.content)
        self.assertEqual(client.list(), {"sub/": None})

    def test_what_is_no_regular_file(self):
        os.mkfifo(os.path.join(self.root, "fifo"))
        unix = socket.socket(socket.AF_UNIX)
        self.addCleanup(unix.close)
        unix.bind(os.path.join(self.root, "socket"))
        client = self.connect(self.server())
        self.assertRaisesRegex(Refused, "not a regular file", client.get, "fifo")
        self.assertRaises(Refused, client.get, "socket")
        self.assertEqual(client.list(), {})

    def test_a_device_and_proc(self):
        self.root = "/"
        client = self.connect(self.server())
        self.assertRaisesRegex(Refused, "not a regular file", client.get, "dev/null")
        self.assertRaises(Refused, client.get, "proc/self/fd/0")  # a magic link

    def test_no_such_root(self):
        for root in (self.path("none"), self.write("file", b"")):
            program = self.program([BIN / "weir-file-server", "--listen", "127.0.0.1:0", "--root",
                                    root])
            self.assertEqual(program.wait(), 1)
            self.assertRegex(program.errors(), r"\Aerror: open .+\n\Z")

    @unittest.skipIf(SANITIZER, "its leak check does not run under strace")
    def test_a_kernel_without_openat2(self):
        program = self.program(
            ["strace", "-o", "/dev/null", "-e", "trace=openat2",
             "-e", "inject=openat2:error=ENOSYS", BIN / "weir-file-server",
             "--listen", "127.0.0.1:0", "--root", self.root])
        self.assertEqual(program.wait(), 1)
        self.assertRegex(program.errors(), r"\Aerror: this kernel has no openat2.*\n\Z")


class Readers(FileServerTest):
    def test_a_slow_reader_keeps_nobody_waiting(self):
        data = stuffing(0, 8 * MIB)
        self.write("large", data)
        self.write("small", b"quick")
        server = self.server()
        slow = self.connect(server, receive_buffer=SMALL)
        slow.ask("GET large")
        quick = self.connect(server)
        for _ in range(20):
            self.assertEqual(quick.get("small"), b"quick")
        self.assertTrue(slow.content() == data)
        self.assertTrue(quick.get("large") == data)

    def test_many_requests_at_once_hold_few_files(self):
        """Answered in order; a client that does not read them has few files open."""
        self.write("large", bytes(8 * MIB))
        for i in range(10):
            self.write(f"small{i}", b"%d" % i * i)
        server = self.server()
        before, count = server.descriptors(), 2000 if SANITIZER else 10000
        client = self.connect(server, receive_buffer=SMALL)
        requests = "GET large\n" + "".join(f"GET small{i % 10}\n" for i in range(count))
        sender = threading.Thread(target=client.socket.sendall, args=(requests.encode(),))
        sender.start()
        most, got = 0, client.content()
        self.assertEqual(len(got), 8 * MIB)
        file = client.socket.makefile("rb")
        self.addCleanup(file.close)
        for i in range(count):
            if i % 100 == 0:
                most = max(most, server.descriptors() - before)
            self.assertEqual(file.readline(), b"OK %d\n" % (i % 10))
            self.assertEqual(file.read(i % 10), b"%d" % (i % 10) * (i % 10))
        sender.join()
        self.assertLessEqual(most, 1 + 16)
        file.close()
        client.socket.close()
        self.assertTrue(wait_until(lambda: server.descriptors() == before))

    def test_requests_nobody_reads_the_answers_of(self):
        """The high mark stops their reading, in descriptors as in bytes."""
        self.write("small", b"x" * 1000)
        server = self.server()
        before, memory = server.descriptors(), server.resident_bytes()
        client = self.connect(server, receive_buffer=SMALL)
        client.socket.settimeout(0.5)
        with self.assertRaises(TimeoutError):
            while True:
                client.socket.sendall(b"GET small\nLIST\nGET none\n" * 1000)
        self.assertLessEqual(server.descriptors() - before, 1 + 16)
        if not SANITIZER:
            self.assertLess(server.resident_bytes() - memory, 4 * MIB)
        self.assertEqual(self.connect(server).get("small"), b"x" * 1000)

    def test_a_file_that_becomes_shorter(self):
        path = self.write("shrinks", bytes(32 * MIB))
        server = self.server()
        client = self.connect(server, receive_buffer=SMALL)
        client.ask("GET shrinks")
        self.assertEqual(client.number(), 32 * MIB)
        os.truncate(path, 1)
        try:
            self.assertLess(len(receive_until_end(client.socket)), 32 * MIB)
        except ConnectionResetError:
            pass
        self.assertTrue(wait_until(lambda: "it became shorter or" in server.errors()))
        self.assertEqual(self.connect(server).get("shrinks"), b"\0")

    def test_a_reader_that_resets(self):
        self.write("large", bytes(8 * MIB))
        server = self.server()
        before = server.descriptors()
        for _ in range(20):
            client = self.connect(server, receive_buffer=SMALL)
            client.ask("GET large")
            self.assertEqual(client.number(), 8 * MIB)
            reset(client.socket)
        self.assertTrue(wait_until(lambda: server.descriptors() == before))

    def test_threads(self):
        data = stuffing(0, MIB)
        self.write("file", data)
        server = self.server("--threads", "3")
        clients = [self.connect(server) for _ in range(12)]
        for client in clients:
            client.ask("GET file\nLIST")
        for client in clients:
            self.assertTrue(client.content() == data)
            self.assertEqual(client.number(), 1)


class Fairness(FileServerTest):
    def test_a_client_that_lists_a_large_folder_keeps_nobody_waiting(self):
        """The answer is short, so no high mark stops it; each costs the loop milliseconds."""
        self.write("small/file", b"x")
        os.mkdir(os.path.join(self.root, "many"))
        os.mkdir(os.path.join(self.root, "links"))
        first = self.write("many/0", b"")
        for i in range(1, 5000):
            os.link(first, os.path.join(self.root, "many", str(i)))
        for i in range(4000):  # none of them is listed
            os.symlink("/etc/passwd", os.path.join(self.root, "links", str(i)))
        for folder, answer in (("many", b"ERROR"), ("links", b"OK 0")):
            with self.subTest(folder=folder):
                server = self.server("--threads", "1")
                greedy, other = self.connect(server), self.connect(server)
                requests = 2000
                greedy.socket.sendall(b"LIST %s\n" % folder.encode() * requests)
                self.assertTrue(greedy.line().startswith(answer.decode()))
                self.assertEqual(other.list("small"), {"file": 1})
                self.assertLess(greedy.socket.recv(MIB).count(b"\n"), requests // 2)
                reset(greedy.socket)
                self.assertEqual(other.list("small"), {"file": 1})
                other.socket.close()
                self.end(server)

    def test_connections_of_one_client_are_bounded(self):
        server = self.server("--max-per-client", "2")
        clients = [self.connect(server) for _ in range(2)]
        for client in clients:
            self.assertEqual(client.list(), {})
        with self.assertRaises((EOFError, ConnectionError)):
            self.connect(server).list()


class Hostile(FileServerTest):
    def test_what_is_no_request(self):
        client = self.connect(self.server())
        for request in ("", " ", "get x", "GET", "GET a b c", "LIST a b", "QUIT now", "\x1b[2J",
                        "GET %", "GET %4", "GET %zz", "GET %+1", "ÄÖÜ"):
            client.ask(request)
            self.assertRegex(client.line(), "^ERROR [a-zA-Z]")
        self.assertEqual(client.list(), {})

    def test_a_line_without_end_and_bytes_of_chance(self):
        server = self.server()
        for data in (b"GET " + b"x" * 200_000, b"\0" * 100_000, os.urandom(100_000) + b"\n"):
            client = self.connect(server)
            try:
                client.socket.sendall(data)
                client.socket.shutdown(socket.SHUT_WR)
                answer = receive_until_end(client.socket)
                self.assertRegex(answer, rb"\A(ERROR .*\n)+\Z")
            except (ConnectionResetError, BrokenPipeError):
                pass  # it went on sending after the answer
        self.assertEqual(self.connect(server).list(), {})

    def test_half_a_request(self):
        client = self.connect(self.server())
        client.socket.sendall(b"LIST\nGET fil")
        client.socket.shutdown(socket.SHUT_WR)
        self.assertRegex(receive_until_end(client.socket), rb"\AOK 0\nERROR the stream ended.*\n\Z")

    def test_bounds(self):
        server = self.server("--max-connections", "2", "--idle-timeout", "0.5")
        kept = [self.connect(server) for _ in range(2)]
        self.assertEqual([client.list() for client in kept], [{}, {}])
        self.assertEqual(receive_until_end(self.client(server.address)), b"")
        self.assertEqual(receive_until_end(kept[0].socket), b"")

    def test_it_ends_in_the_middle_of_a_file(self):
        """Who reads gets it to the end."""
        data = stuffing(0, 8 * MIB)
        self.write("large", data)
        server = self.server()
        client = self.connect(server, receive_buffer=SMALL)
        client.ask("GET large")
        self.assertEqual(client.number(), 8 * MIB)
        server.signal(signal.SIGTERM)
        self.assertTrue(receive_exactly(client.socket, 8 * MIB) == data)
        self.assertEqual(receive_until_end(client.socket), b"")
        client.socket.close()
        self.assertEqual(server.wait(5), 0)


if __name__ == "__main__":
    unittest.main()
