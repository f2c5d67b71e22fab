#!/usr/bin/env python3
"""The chat server: what each line does, and people with nc. (chat_crowd_test.py has the crowds.)"""

import signal
import socket
import subprocess
import time
import unittest

from harness import BIN, DEADLINE, SystemTest, connect, receive_until_end

GREETING = "* hello; your first line is your nickname"


class Guest:
    """A connection to the server, by lines."""

    def __init__(self, address, nickname=None, **keywords):
        self.socket = connect(address, **keywords)
        self.unread = b""
        self.nickname = nickname
        assert self.line() == GREETING
        if nickname:
            self.say(nickname)
            self.until(lambda line: line.startswith(f"* welcome, {nickname}; "))

    def say(self, *lines):
        self.socket.sendall("".join(line + "\n" for line in lines).encode())

    def line(self):
        """The next one; None at the end of the stream."""
        while b"\n" not in self.unread:
            part = self.socket.recv(65536)
            if not part:
                assert not self.unread, self.unread
                return None
            self.unread += part
        line, self.unread = self.unread.split(b"\n", 1)
        return line.decode()

    def lines(self, count):
        return [self.line() for _ in range(count)]

    def until(self, wanted):
        """The lines up to the wanted one, a text or a condition, which comes last."""
        lines = []
        while True:
            lines.append(self.line())
            assert lines[-1] is not None, f"the end came after {lines}"
            if wanted(lines[-1]) if callable(wanted) else lines[-1] == wanted:
                return lines

    def rest(self):
        return (self.unread + receive_until_end(self.socket)).decode().splitlines()

    def close(self):
        self.socket.close()


class ChatTest(SystemTest):
    def server(self, *options, listen="127.0.0.1:0"):
        return self.serve([BIN / "weir-chat-server", "--listen", listen, *options],
                          addresses=len(listen.split(",")))

    def guest(self, server, nickname=None, **keywords):
        guest = Guest(server.address, nickname, **keywords)
        self.addCleanup(guest.close)
        return guest

    def people(self, server, *nicknames):
        """Who has heard of all that came later."""
        there = []
        for nickname in nicknames:
            guest = self.guest(server, nickname)
            for other in there:
                other.until(f"* {nickname} joined")
            there.append(guest)
        return there


class Talking(ChatTest):
    def test_a_line_reaches_all_others_on_all_loops(self):
        for options in ((), ("--threads", "3")):
            server = self.server(*options)
            people = self.people(server, "alice", "bob", "carl", "dora")
            for number, speaker in enumerate(people):
                speaker.say(f"line {number}")
            lines = {f"{p.nickname}: line {n}" for n, p in enumerate(people)}
            for number, listener in enumerate(people):
                self.assertEqual(set(listener.lines(3)),
                                 lines - {f"{listener.nickname}: line {number}"})

    def test_nicknames(self):
        server = self.server()
        alice = self.guest(server, "Alice")
        guest = self.guest(server)
        wrong = "! a nickname has 1 to 24 characters: letters (a to z), digits, _ and -"
        for nickname in ("", "a b", "x" * 25, "/quit", "zo\u00eb", "a:b", "*", "a\x1bb"):
            guest.say(nickname)
            self.assertEqual(guest.line(), wrong, nickname)
        guest.say("aLICE")
        self.assertEqual(guest.line(), '! the nickname "aLICE" is taken')
        guest.say("  " + "x" * 20 + "_-09 ")
        self.assertRegex(guest.line(), r"^\* welcome, x{20}_-09; 2 here; /help lists the commands$")
        self.assertEqual(alice.line(), f"* {'x' * 20}_-09 joined")

    def test_names_are_free_again_when_somebody_leaves(self):
        server = self.server("--threads", "2")
        alice, = self.people(server, "alice")
        for leave in (lambda bob: bob.say("/quit"), lambda bob: bob.close(),
                      lambda bob: bob.socket.shutdown(socket.SHUT_WR),
                      lambda bob: bob.say("/nick rob")):
            bob = self.guest(server, "bob")
            self.assertEqual(alice.line(), "* bob joined")
            leave(bob)
            self.assertIn(alice.line(), ("* bob left", "* bob is now rob"))
            # Its connection may still linger; what comes of it later does the new one no harm.
            other = self.guest(server, "BOB")
            self.assertEqual(alice.line(), "* BOB joined")
            bob.close()
            other.say("/who")
            self.assertRegex(other.until(lambda line: " here: " in line)[-1], "alice, BOB")
            other.say("/quit")
            self.assertIn("* BOB left", alice.until("* BOB left"))

    def test_rename(self):
        server = self.server()
        alice, bob = self.people(server, "alice", "bob")
        bob.say("/nick alice", "/nick a b", "/nick", "/nick bob", "/nick Bob", "/nick rob", "hi")
        wrong = "! a nickname has 1 to 24 characters: letters (a to z), digits, _ and -"
        refusals = ['! the nickname "alice" is taken', wrong, wrong,
                    "! that is your nickname already"]
        lines = bob.lines(6)
        self.assertEqual([line for line in lines if line.startswith("!")], refusals)
        self.assertEqual([line for line in lines if line.startswith("*")],
                         ["* you are now Bob", "* you are now rob"])
        self.assertEqual(alice.lines(3), ["* bob is now Bob", "* Bob is now rob", "rob: hi"])

    def test_commands(self):
        server = self.server()
        alice, bob, carl = self.people(server, "alice", "bob", "carl")
        bob.say("/me waves", "//etc/passwd", "/msg ALICE psst", "/msg nobody x", "/msg alice",
                "/me", "/nonsense \x1b", "/who", "/who C", "/who x", "/help", "", "   ", "last")
        self.assertEqual(alice.lines(4), ["** bob waves", "bob: /etc/passwd",
                                          "bob (to you): psst", "bob: last"])
        self.assertEqual(carl.lines(3), ["** bob waves", "bob: /etc/passwd", "bob: last"])
        bob.say("/quit")
        lines = bob.rest()
        self.assertEqual([line for line in lines if line.startswith("!")],
                         ['! nobody here is called "nobody"', "! say what to whom? /msg NICK TEXT",
                          "! what do you do? /me TEXT",
                          '! there is no command "/nonsense"; /help lists them'])
        for line in ("-> alice: psst", "* 3 here: alice, bob, carl", "* 1 here: carl", "* 0 here",
                     "* /help: these lines", "* goodbye"):
            self.assertIn(line, lines)
        self.assertEqual(alice.line(), "* bob left")

    def test_the_last_lines_for_who_joins(self):
        server = self.server("--history", "3")
        alice, bob = self.people(server, "alice", "bob")
        alice.say(*(f"line {i}" for i in range(5)), "/me waves", "/msg bob psst")
        bob.until("alice (to you): psst")
        carl = self.guest(server)
        carl.say("carl")
        self.assertEqual(carl.lines(4), ["alice: line 3", "alice: line 4", "** alice waves",
                                         "* welcome, carl; 3 here; /help lists the commands"])
        none = self.server("--history", "0")
        self.guest(none, "alice").say("unheard", "/quit")
        self.assertEqual(self.guest(none, "bob").nickname, "bob")

    def test_what_is_remembered_has_a_bound_in_bytes(self):
        server = self.server("--history", "1000", "--rate", "0")
        alice, bob = self.people(server, "alice", "bob")
        alice.say(*("x" * 4096 for _ in range(50)), "end")
        bob.until("alice: end")
        carl = self.guest(server)
        carl.say("carl")
        lines = carl.until(lambda line: line.startswith("* welcome"))
        size = sum(len(line) + 1 for line in lines[:-1])
        self.assertTrue(60_000 < size <= 65_536, size)

    def test_utf8_passes_and_what_is_none_is_refused(self):
        server = self.server()
        alice, bob = self.people(server, "alice", "bob")
        bob.say("Gr\u00fc\u00dfe \u4e2d\u6587 \U0001f44b")
        self.assertEqual(alice.line(), "bob: Gr\u00fc\u00dfe \u4e2d\u6587 \U0001f44b")
        for bad in (b"\xff", b"ab\xc3", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"):
            bob.socket.sendall(bad + b"\n")
            self.assertEqual(bob.line(), "! that line is not valid UTF-8")
        bob.say("still here")
        self.assertEqual(alice.line(), "bob: still here")

    def test_no_control_reaches_another_terminal(self):
        server = self.server()
        alice, bob = self.people(server, "alice", "bob")
        every = "".join(map(chr, [*range(0x20), *range(0x7f, 0xa0), 0x61c, *range(0x200b, 0x2010),
                                  *range(0x2028, 0x202f), *range(0x2060, 0x2070), 0xfeff]))
        every = every.replace("\n", "").replace("\t", "")
        for line, seen in ((f"a{every}b\tc", "bob: ab c"), (f"/me {every}x", "** bob x"),
                           (f"/msg alice {every}x", "bob (to you): x"),
                           ("\r* alice left", "bob: * alice left"),
                           ("\x1b[2J\x1b]0;title\x07", "bob: [2J]0;title")):
            bob.say(line, every)  # of the second nothing is left
            self.assertEqual(alice.line(), seen)
        bob.say(f"/{every}")
        self.assertTrue(bob.until(lambda line: line.startswith("!"))[-1].isprintable())

    def test_long_lines(self):
        server = self.server("--rate", "0")
        alice, bob = self.people(server, "alice", "bob")
        refusal = "! line dropped: a line is longer than 4096 bytes, the most that is accepted"
        for size in (4096, 4097, 10_000, 3_000_000):
            bob.say("x" * size, "/who")
            if size > 4096:
                self.assertEqual(bob.line(), refusal)
            else:
                self.assertEqual(alice.line(), "bob: " + "x" * size)
            self.assertEqual(bob.line(), "* 2 here: alice, bob")
        bob.socket.sendall(b"dos\r\nlast without an end")
        bob.socket.shutdown(socket.SHUT_WR)
        self.assertEqual(bob.rest(), ["! line dropped: the stream ended inside a frame, after 19 "
                                      "of its bytes"])
        self.assertEqual(alice.lines(2), ["bob: dos", "* bob left"])

    def test_who_writes_too_fast_is_read_slowly_and_loses_nothing(self):
        server = self.server("--rate", "100")
        alice, bob, carol = self.people(server, "alice", "bob", "carol")
        begin = time.monotonic()
        bob.say(*(f"line {i}" for i in range(150)))  # of which 50 are free
        alice.say("between")
        heard = carol.until("bob: line 149")
        self.assertGreater(time.monotonic() - begin, 0.9)
        heard.remove("alice: between")
        self.assertEqual(heard, [f"bob: line {i}" for i in range(150)])

    def test_who_comes_anew_is_not_read_faster(self):
        """The rate is of an address, whatever the number of its connections."""
        server = self.server("--rate", "10")
        alice = self.guest(server, "alice", source="127.0.0.2")
        begin = time.monotonic()
        for i in range(10):
            with connect(server.address) as fast:
                fast.sendall(b"fast%d\n" % i + b"".join(b"line %d\n" % n for n in range(30)))
                fast.shutdown(socket.SHUT_WR)
                fast.settimeout(0.2)
                try:
                    receive_until_end(fast)
                except TimeoutError:
                    pass
        alice.say("/who alice")
        lines = sum(line.startswith("fast") for line in alice.until("* 1 here: alice"))
        self.assertGreater(lines, 30)
        # Those of two that came anew are what had been read when they were paused.
        self.assertLess(lines, 50 + 10 * (time.monotonic() - begin) + 20)

    def test_who_does_not_say_a_name_or_nothing_at_all_is_let_go(self):
        server = self.server("--nickname-timeout", "0.3", "--idle-timeout", "1")
        guest = self.guest(server)
        guest.say("a b")
        self.assertEqual(guest.rest()[1:], ["! no nickname has come; goodbye"])
        alice = self.guest(server, "alice")
        self.assertEqual(alice.rest(), ["* nothing was heard for too long; goodbye"])

    def test_who_of_many_is_bounded(self):
        server = self.server()
        for number in range(60):
            self.guest(server, f"u{number:02}")
        last = self.guest(server, "last")
        last.say("/who", "/who u0", "/who U")
        names = ", ".join(["last", *(f"u{number:02}" for number in range(49))])
        self.assertEqual(last.line(), f"* 61 here: {names} and 11 more")
        self.assertEqual(last.line(), "* 10 here: " + ", ".join(f"u{n:02}" for n in range(10)))
        names = ", ".join(f"u{n:02}" for n in range(50))
        self.assertEqual(last.line(), f"* more than 50 here: {names} and more")

    def test_a_goodbye_to_everyone(self):
        unix = f"unix:{self.path('sock')}"
        for options in ((), ("--threads", "3")):
            for listen in ("127.0.0.1:0", unix, f"127.0.0.1:0,{unix}"):
                with self.subTest(options=options, listen=listen):
                    server = self.server(*options, listen=listen)
                    people = [Guest(server.addresses[n % len(server.addresses)], f"u{n}")
                              for n in range(5)]
                    people.append(Guest(server.address))  # and one without a nickname
                    server.signal(signal.SIGTERM)
                    for person in people:
                        lines = person.rest()
                        person.close()
                        self.assertEqual(lines[-1], "* the server is going down; goodbye", lines)
                    self.assertEqual(server.wait(5), 0)

    def test_people_who_keep_their_side_open_do_not_keep_the_server(self):
        server = self.server()
        self.people(server, "alice", "bob")
        self.guest(server)
        self.end(server)


class Nc(ChatTest):
    def test_two_people_with_nc(self):
        server = self.server()
        host, port = server.address.split(":")
        alice = self.program(["nc", host, port])
        bob = self.program(["nc", "-C", host, port])  # CR LF

        def say(person, *lines):
            for line in lines:
                person.process.stdin.write(line.encode() + b"\n")
            person.process.stdin.flush()

        def heard(person, *lines):
            self.assertEqual([person.read_line() for _ in lines], list(lines))

        heard(alice, GREETING)
        say(alice, "alice")
        heard(alice, "* welcome, alice; 1 here; /help lists the commands")
        heard(bob, GREETING)
        say(bob, "bob")
        heard(bob, "* welcome, bob; 2 here; /help lists the commands")
        heard(alice, "* bob joined")
        say(alice, "hello, bob")
        heard(bob, "alice: hello, bob")
        say(bob, "/nick rob", "/me waves", "/msg alice psst")
        heard(bob, "* you are now rob", "-> alice: psst")
        heard(alice, "* bob is now rob", "** rob waves", "rob (to you): psst")
        say(alice, "/quit")
        heard(alice, "* goodbye")
        heard(bob, "* alice left")
        server.signal(signal.SIGTERM)
        heard(bob, "* the server is going down; goodbye")

    def test_a_line_and_gone(self):
        server = self.server()
        alice = self.guest(server, "alice")
        host, port = server.address.split(":")
        done = subprocess.run(["nc", "-N", host, port], input=b"bob\nhello\n", check=True,
                              timeout=DEADLINE, capture_output=True)
        self.assertEqual(alice.lines(3), ["* bob joined", "bob: hello", "* bob left"])
        self.assertIn(b"* welcome, bob; 2 here", done.stdout)


if __name__ == "__main__":
    unittest.main()
