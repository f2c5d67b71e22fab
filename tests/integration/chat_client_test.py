#!/usr/bin/env python3
"""weir-chat in a terminal, which is tmux, whose screen is compared, and between pipes."""

import os
import re
import shlex
import signal
import socket
import subprocess
import threading
import unittest
from pathlib import Path

from harness import BIN, MIB, SANITIZER, SystemTest, wait_until, without_late

CLIENT = BIN / "weir-chat"


class Terminal:
    """A command in a window of a tmux of its own; after it, how it ended and left the terminal."""

    def __init__(self, test, command, columns=60, rows=12):
        self.name = test.path(f"tmux{len(test.terminals)}")
        test.terminals.append(self)
        # Kept out of the command, so that nothing but the program's own lines is on the screen.
        words = " ".join(shlex.quote(str(word)) for word in command)
        script = Path(self.name + ".sh")
        script.write_text(f"stty -g > {self.name}.before\n{words} 2> {self.name}.errors\n"
                          f"echo $? > {self.name}.code\nstty -g > {self.name}.after\n"
                          f"mv {self.name}.code {self.name}.status\nexec cat\n")
        self.tmux("new-session", "-d", "-x", columns, "-y", rows, f"exec bash {script}")

    def tmux(self, *words):
        environment = os.environ | {"LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "TERM": "xterm"}
        done = subprocess.run(["tmux", "-S", self.name, "-f", "/dev/null", *map(str, words)],
                              env=environment, capture_output=True, timeout=30)
        return done.stdout.decode()

    def type(self, text, *keys):
        """Characters, then keys by tmux's names."""
        if text:
            self.tmux("send-keys", "-l", text)
        if keys:
            self.tmux("send-keys", *keys)

    def screen(self):
        return [line.rstrip() for line in self.tmux("capture-pane", "-p").rstrip().split("\n")]

    def cursor(self):
        return tuple(map(int, self.tmux("display", "-p", "#{cursor_x} #{cursor_y}").split()))

    def pid(self):
        """Of the program."""
        shell = int(self.tmux("display", "-p", "#{pane_pid}"))
        children = Path(f"/proc/{shell}/task/{shell}/children")
        return int(wait_until(lambda: children.read_text().split())[0])

    def status(self):
        """The exit status as a shell has it."""
        path = Path(self.name + ".status")
        return int(path.read_text()) if wait_until(path.exists) else None

    def errors(self):
        return Path(self.name + ".errors").read_text()

    def as_before(self):
        return Path(self.name + ".before").read_text() == Path(self.name + ".after").read_text()

    def stop(self):
        self.tmux("kill-server")


class StandIn:
    """A server that says what it is told to: one list of lines a connection, after the nickname.
    Connections stay open until stop(), unless the list ends with None."""

    def __init__(self, *scripts):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        self.scripts = scripts
        self.connections = []
        self.nicknames = []
        self.received = []
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self):
        try:
            for script in self.scripts:
                connection = self.listener.accept()[0]
                self.connections.append(connection)
                file = connection.makefile("rb")
                self.nicknames.append(file.readline().decode().strip())
                for line in script:
                    if line is None:
                        connection.shutdown(socket.SHUT_RDWR)
                    else:
                        connection.sendall(line)
                if script and script[-1] is not None:
                    for line in file:
                        self.received.append(line.decode().strip())
        except OSError:
            pass

    def stop(self):
        for each in [self.listener, *self.connections]:
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            each.close()
        self.thread.join()


WELCOME = b"* welcome, alice; 1 here; /help lists the commands\n"


class ChatTest(SystemTest):
    def setUp(self):
        super().setUp()
        self.terminals = []

    def tearDown(self):
        for terminal in self.terminals:
            terminal.stop()

    def server(self, listen="127.0.0.1:0"):
        return self.serve([BIN / "weir-chat-server", "--listen", listen])

    def stand_in(self, *scripts):
        server = StandIn(*scripts)
        self.addCleanup(server.stop)
        return server

    def chat(self, address, nickname, ready=True, **keywords):
        """Unless told otherwise, once it shows its prompt."""
        terminal = Terminal(self, [CLIENT, address, nickname], **keywords)
        if ready:
            prompt = nickname + ">"
            self.assertTrue(wait_until(lambda: terminal.screen()[-1] == prompt), terminal.screen())
        return terminal

    def nc(self, server, nickname):
        """Somebody with nc who is in the room; `lines` is what they see."""
        person = self.program(["nc", *server.address.split(":")])
        self.say(person, nickname)
        while not (line := person.read_line() or "").startswith("* welcome, "):
            self.assertTrue(line)
        return person

    def say(self, person, line):
        person.process.stdin.write(line.encode() + b"\n")
        person.process.stdin.flush()

    def heard(self, person, *lines):
        self.assertEqual([person.read_line() for _ in lines], list(lines))

    def sees(self, terminal, *lines):
        """All that is on the screen, in time."""
        wait_until(lambda: terminal.screen() == list(lines), 10, every=0.02)
        self.assertEqual(terminal.screen(), list(lines))

    def ended(self, terminal, status):
        self.assertEqual(terminal.status(), status, terminal.screen())
        self.assertTrue(terminal.as_before())
        self.assertNotIn("Sanitizer", terminal.errors())


class Screens(ChatTest):
    def test_two_with_nc_and_two_with_the_client(self):
        server = self.server()
        carol = self.nc(server, "carol")
        alice = self.chat(server.address, "alice")
        self.sees(alice, "* welcome, alice; 2 here; /help lists the commands", "alice>")
        bob = self.chat(server.address, "bob")
        self.sees(bob, "* welcome, bob; 3 here; /help lists the commands", "bob>")
        dave = self.nc(server, "dave")
        self.heard(carol, "* alice joined", "* bob joined", "* dave joined")
        wait_until(lambda: alice.screen()[-2:] == ["* dave joined", "alice>"])
        alice.type("good morning", "Enter")
        self.heard(dave, "alice: good morning")
        self.say(dave, "Grüße, 你好")
        self.sees(bob, "* welcome, bob; 3 here; /help lists the commands", "* dave joined",
                  "alice: good morning", "dave: Grüße, 你好", "bob>")
        bob.type("/nick rob", "Enter")
        self.heard(carol, "alice: good morning", "dave: Grüße, 你好", "* bob is now rob")
        wait_until(lambda: bob.screen()[-1] == "rob>")
        bob.type("/msg alice just for you", "Enter")
        self.sees(bob, "* welcome, bob; 3 here; /help lists the commands", "* dave joined",
                  "alice: good morning", "dave: Grüße, 你好", "bob> /nick rob",
                  "* you are now rob", "rob> /msg alice just for you",
                  "-> alice: just for you", "rob>")
        self.say(carol, "/me waves")
        self.heard(dave, "* bob is now rob", "** carol waves")
        dave.process.stdin.close()  # nc has nothing to say any more, and goes
        dave.signal(signal.SIGTERM)
        self.heard(carol, "* dave left")
        bob.type("", "C-d")
        self.ended(bob, 0)
        self.heard(carol, "* rob left")
        self.sees(alice, "* welcome, alice; 2 here; /help lists the commands",
                  "* bob joined", "* dave joined", "alice> good morning", "dave: Grüße, 你好",
                  "* bob is now rob", "rob (to you): just for you", "** carol waves",
                  "* dave left", "* rob left", "alice>")
        alice.type("/quit", "Enter")
        self.ended(alice, 0)
        self.heard(carol, "* alice left")

    def test_a_line_half_typed(self):
        server = self.server()
        carol = self.nc(server, "carol")
        alice = self.chat(server.address, "alice", columns=40)
        head = ["* welcome, alice; 2 here; /help lists th", "e commands"]
        alice.type("one two three four füñf 六 seven eight ni", "Left", "Left", "Left")
        typed = ["alice> one two three four füñf 六 seven", "eight ni"]
        self.sees(alice, *head, *typed)
        self.assertTrue(wait_until(lambda: alice.cursor() == (5, 3)), alice.cursor())
        self.heard(carol, "* alice joined")
        for count in range(1, 4):
            self.say(carol, f"line {count}")
            head.append(f"carol: line {count}")
            self.sees(alice, *head, *typed)
            row = 3 + count
            self.assertTrue(wait_until(lambda: alice.cursor() == (5, row)), alice.cursor())
        alice.type("T", "Enter")
        self.heard(carol, "alice: one two three four füñf 六 seven eightT ni")
        alice.type("", "C-d")
        self.ended(alice, 0)

    def test_keys(self):
        server = self.server()
        carol = self.nc(server, "carol")
        alice = self.chat(server.address, "alice")
        self.heard(carol, "* alice joined")
        alice.type("first", "Enter")
        alice.type("second", "Enter")
        self.heard(carol, "alice: first", "alice: second")
        alice.type("", "Up", "Up", "Enter")
        self.heard(carol, "alice: first")
        alice.type("", "Up", "Up", "Up", "Down")
        alice.type("!", "Home")
        alice.type("my ", "End", "BSpace", "Enter")
        self.heard(carol, "alice: my second")
        alice.type("some words too many", "C-w", "C-w", "M-b", "C-k", "C-y", "Enter")
        self.heard(carol, "alice: some words ")
        # What libedit would wait for a key in, and what nobody knows.
        alice.type("still ", "C-r", "C-v", "F5", "C-x", "M-x", "Tab", "PageUp", "C-Right")
        alice.type("here", "Enter")
        self.heard(carol, "alice: still here")
        alice.type("x" * 400)
        self.say(carol, "/quit")
        alice.type("", "C-u")
        wait_until(lambda: alice.screen()[-2:] == ["* carol left", "alice>"], 10)
        self.assertEqual(alice.screen()[-2:], ["* carol left", "alice>"])

    def test_the_window_gets_another_size(self):
        server = self.server()
        alice = self.chat(server.address, "alice")
        alice.type("half a line")
        welcome = "* welcome, alice; 1 here; /help lists the commands"
        self.sees(alice, welcome, "alice> half a line")
        alice.tmux("resize-window", "-x", 70, "-y", 10)
        alice.type(" and more")
        self.sees(alice, welcome, "alice> half a line and more")

    def test_a_server_that_is_started_again(self):
        server = self.server()
        alice = self.chat(server.address, "alice", columns=80)
        welcome = "* welcome, alice; 1 here; /help lists the commands"
        self.sees(alice, welcome, "alice>")
        alice.type("half ")
        self.end(server)
        lost = [welcome, "* the server is going down; goodbye",
                "- the server closed the connection; connecting again",
                f"- connect to {server.address}: Connection refused; trying again"]
        self.sees(alice, *lost, "alice> half")
        alice.type("a line", "Enter")
        lost += ["alice> half a line",
                 "- not connected; this line is sent after the connection is made"]
        alice.type("and the next")
        self.sees(alice, *lost, "alice> and the next")
        self.server(server.address)
        self.sees(alice, *lost, welcome, "alice> and the next")
        alice.type("", "C-u")
        alice.type("/who", "Enter")
        self.sees(alice, *lost, welcome, "alice> /who", "* 1 here: alice", "alice>")
        alice.type("", "C-d")
        self.ended(alice, 0)

    def test_a_nickname_that_is_taken(self):
        server = self.server()
        self.nc(server, "alice")
        alice = self.chat(server.address, "Alice", ready=False)
        asked = ['- the nickname "Alice" is taken', "- enter another nickname"]
        self.sees(alice, *asked, "nickname:")
        alice.type("not good", "Enter")
        wait_until(lambda: alice.screen()[-1] == "nickname:" and len(alice.screen()) > 4)
        self.assertEqual(alice.screen()[-2:], ["- enter another nickname", "nickname:"])
        alice.type("al", "Enter")
        welcome = "* welcome, al; 2 here; /help lists the commands"
        self.assertTrue(wait_until(lambda: alice.screen()[-2:] == [welcome, "al>"]), alice.screen())
        alice.type("", "C-d")
        self.ended(alice, 0)

    def test_a_nickname_that_its_old_connection_holds(self):
        server = self.stand_in([WELCOME, None], [b'! the nickname "alice" is taken\n'], [WELCOME])
        alice = self.chat(server.address, "alice", columns=80)
        welcome = WELCOME.decode().strip()
        self.sees(alice, welcome, "- the server closed the connection; connecting again",
                  '- the nickname "alice" is taken; our old connection may hold it, trying again',
                  welcome, "alice>")
        self.assertEqual(server.nicknames, ["alice"] * 3)

    def test_a_hostile_server(self):
        server = self.stand_in(
            [WELCOME, b"\x1b[2J\x1b]0;title\x07\rbob\x00: \x9b2Jh\xffi\xe2\x80\xae\n"])
        alice = self.chat(server.address, "alice")
        welcome = WELCOME.decode().strip()
        text = "\ufffd[2J\ufffd]0;title\ufffd\ufffdbob\ufffd: \ufffd2Jh\ufffdi\ufffd"
        self.sees(alice, welcome, text, "alice>")
        server.connections[0].sendall(b"x" * 70_000)
        self.ended(alice, 1)
        self.assertRegex(alice.errors(), "^error: .*a line is longer than .*\n$")


class Ends(ChatTest):
    def test_it_can_not_begin(self):
        with socket.create_server(("127.0.0.1", 0)) as nobody:
            address = "127.0.0.1:%d" % nobody.getsockname()[1]
        alice = self.chat(address, "alice", ready=False)
        self.ended(alice, 1)
        self.assertEqual(alice.errors(), f"error: connect to {address}: Connection refused\n")

    def test_ctrl_c(self):
        server = self.server()
        alice = self.chat(server.address, "alice")
        welcome = "* welcome, alice; 1 here; /help lists the commands"
        alice.type("half a line")
        self.sees(alice, welcome, "alice> half a line")
        alice.type("", "C-c")
        self.sees(alice, welcome, "alice>")
        alice.type("", "C-c")
        self.ended(alice, 130)

    def test_signals(self):
        server = self.server()
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            with self.subTest(signal=number):
                alice = self.chat(server.address, "alice")
                alice.type("half a line")
                self.sees(alice, WELCOME.decode().strip(), "alice> half a line")
                os.kill(alice.pid(), number)
                self.ended(alice, 128 + number)

    def test_the_terminal_goes(self):
        server = self.server()
        carol = self.nc(server, "carol")
        alice = self.chat(server.address, "alice")
        self.heard(carol, "* alice joined")
        stat = Path(f"/proc/{alice.pid()}/stat")
        alice.stop()
        self.heard(carol, "* alice left")
        # Its parent is gone, too; whoever has to may take a while to bury it.
        self.assertTrue(wait_until(lambda: not stat.exists() or ") Z " in stat.read_text()))

    def test_stopped_and_continued(self):
        server = self.server()
        shell = Terminal(self, ["env", "PS1=$ ", "bash", "--norc", "-i"])
        shell.type(f"exec 2>&1; clear; {CLIENT.resolve()} {server.address} alice", "Enter")
        wait_until(lambda: shell.screen()[-1] == "alice>")
        shell.type("half a")
        wait_until(lambda: shell.screen()[-1] == "alice> half a")
        shell.type("", "C-z")
        self.assertTrue(wait_until(lambda: shell.screen()[-1] == "$"), shell.screen())
        self.assertNotIn("alice> half a", shell.screen())
        shell.type("fg", "Enter")
        self.assertTrue(wait_until(lambda: shell.screen()[-1] == "alice> half a"), shell.screen())
        shell.type("", "C-c")
        self.assertTrue(wait_until(lambda: shell.screen()[-1] == "alice>"), shell.screen())
        shell.type("", "C-c")
        self.assertTrue(wait_until(lambda: shell.screen()[-1] == "$"), shell.screen())
        shell.type("echo $?; exit", "Enter")
        self.assertTrue(wait_until(lambda: "130" in shell.screen()), shell.screen())


class Pipes(ChatTest):
    def run_client(self, address, *options, nickname="alice", **keywords):
        return self.run_words(address, nickname, *options, **keywords)

    def run_words(self, *words, **keywords):
        done = subprocess.run([CLIENT, *words], capture_output=True, timeout=60, **keywords)
        done.stderr = without_late(done.stderr.decode())
        return done

    def refused(self, done, status, pattern):
        self.assertEqual(done.returncode, status, done.stderr)
        self.assertRegex(done.stderr, f"^error: .*{pattern}.*\n$")

    def test_lines(self):
        server = self.server()
        carol = self.nc(server, "carol")
        done = self.run_client(server.address, input=b"one\r\n\ntwo\n/who\nlast")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.heard(carol, "* alice joined", "alice: one", "alice: two", "alice: last",
                   "* alice left")
        self.assertEqual(done.stdout.decode().splitlines(),
                         ["* welcome, alice; 2 here; /help lists the commands",
                          "* 2 here: alice, carol"])

    def test_what_comes_meanwhile(self):
        server = self.server()
        carol = self.nc(server, "carol")
        alice = self.program([CLIENT, server.address, "alice"])
        self.heard(carol, "* alice joined")
        self.heard(alice, "* welcome, alice; 2 here; /help lists the commands")
        self.say(carol, "hello")
        self.heard(alice, "carol: hello")
        self.say(alice, "hello too")
        self.heard(carol, "alice: hello too")
        self.say(alice, "/quit")
        self.heard(alice, "* goodbye")
        self.assertEqual(alice.wait(), 0)

    def test_files(self):
        server = self.server()
        carol = self.nc(server, "carol")
        with open(self.path("in"), "wb+") as lines, open(self.path("out"), "wb+") as out:
            lines.write(b"from a file\n" * 20)
            lines.seek(0)
            done = subprocess.run([CLIENT, server.address, "alice"], stdin=lines, stdout=out,
                                  timeout=60)
            self.assertEqual(done.returncode, 0)
            out.seek(0)
            self.assertRegex(out.read(), b"welcome, alice")
        self.heard(carol, "* alice joined", *["alice: from a file"] * 20, "* alice left")
        self.assertEqual(self.run_client(server.address, stdin=subprocess.DEVNULL).returncode, 0)

    def test_lines_too_long(self):
        server = self.server()
        carol = self.nc(server, "carol")
        text = b"x" * 4096 + b"\n" + b"y" * 4097 + b"\n" + b"z" * 100_000 + b"\nshort"
        done = self.run_client(server.address, input=text)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.heard(carol, "* alice joined", "alice: " + "x" * 4096, "alice: short", "* alice left")
        self.assertEqual(len(re.findall(b"^! line dropped: ", done.stdout, re.M)), 2)

    def test_a_hostile_server(self):
        server = self.stand_in([b"\x1b[2Jold\n", WELCOME, b"c\xc3\xa9 \x07\xff\n", None])
        done = self.run_client(server.address, stdin=subprocess.DEVNULL)
        self.assertEqual(done.stdout.decode().splitlines(),
                         ["\ufffd[2Jold", WELCOME.decode().strip(), "cé \ufffd\ufffd"])
        server = self.stand_in([WELCOME, b"x" * 70_000])
        self.refused(self.run_client(server.address, stdin=subprocess.PIPE), 1,
                     "a line is longer than ")

    def test_a_server_that_fails(self):
        with socket.create_server(("127.0.0.1", 0)) as nobody:
            address = "127.0.0.1:%d" % nobody.getsockname()[1]
        self.refused(self.run_client(address), 1, "Connection refused")
        for script, pattern in (([b'! the nickname "alice" is taken\n'], "is taken"),
                                ([None], "the server closed the connection"),
                                ([WELCOME, None], "the server closed the connection"),
                                ([b""], "no welcome in time"),
                                ([WELCOME], "did not close the connection in time")):
            with self.subTest(pattern=pattern):
                server = self.stand_in(script)
                silent = pattern.endswith("in time")
                keywords = {"stdin": subprocess.DEVNULL} if silent else {}
                if not silent:  # an input that does not end
                    keywords["stdin"] = os.pipe()
                    self.addCleanup(os.close, keywords["stdin"][1])
                    self.addCleanup(os.close, keywords["stdin"][0])
                    keywords["stdin"] = keywords["stdin"][0]
                done = self.run_client(server.address, "--timeout", "0.5" if silent else "10",
                                       **keywords)
                self.refused(done, 1, pattern)

    def test_nobody_reads_what_comes(self):
        server = self.stand_in([WELCOME])
        alice = self.program([CLIENT, server.address, "alice"])
        self.assertTrue(wait_until(lambda: server.nicknames))
        before = alice.resident_bytes()
        flood = b"bob: a line that nobody reads\n" * 1000
        sent = 0
        server.connections[0].settimeout(0.5)
        try:
            while sent < 64 * MIB:
                sent += server.connections[0].send(flood)
        except TimeoutError:
            pass
        self.assertLess(sent, 64 * MIB)
        if not SANITIZER:
            self.assertLess(alice.resident_bytes() - before, 8 * MIB)
        # The first asks the server to close, which it does not; the second does not wait for it.
        for _ in range(2):
            alice.signal(signal.SIGTERM)
            wait_until(lambda: "/quit" in server.received, 0.2)
        self.assertEqual(alice.wait(), 128 + signal.SIGTERM)

    def test_signals(self):
        server = self.server()
        carol = self.nc(server, "carol")
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            alice = self.program([CLIENT, server.address, "alice"])
            self.heard(carol, "* alice joined")
            alice.signal(number)
            self.assertEqual(alice.wait(), 128 + number)
            self.heard(carol, "* alice left")

    def test_command_lines(self):
        done = self.run_words("--help")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.refused(self.run_client("nowhere"), 2, "nowhere")
        self.refused(self.run_client("127.0.0.1:1", "--bogus"), 2, "bogus")
        self.refused(self.run_client("127.0.0.1:1", nickname="two\nlines"), 2, "printable")
        self.refused(self.run_words(), 2, "required")


if __name__ == "__main__":
    unittest.main()
