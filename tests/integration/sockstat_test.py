#!/usr/bin/env python3
"""weir-sockstat: what it says of sockets in every state that loopback can make, beside ss(8)."""

import collections
import ctypes
import fcntl
import json
import os
import pty
import re
import shutil
import signal
import socket
import struct
import subprocess
import termios
import time
import unittest
from pathlib import Path

from harness import BIN, SystemTest, echoes, poll_one, reset, select, wait_until

SOCKSTAT = BIN / "weir-sockstat"
SO_ATTACH_FILTER = 26

# Those of weir-sockstat that ss calls by another name than with "-" for "_".
NAMES_OF_SS = {"ESTAB": "ESTABLISHED", "UNCONN": "CLOSED"}


def deafen(sock):
    """From now on the kernel drops whatever comes for this socket: a filter that takes nothing."""
    # struct sock_fprog of one instruction, BPF_RET | BPF_K with 0.
    code = ctypes.create_string_buffer(struct.pack("=HBBI", 0x06, 0, 0, 0))
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER,
                    struct.pack("HxxxxxxP", 1, ctypes.addressof(code)))


def ss(port):
    """What ss shows of both ends: {(state, local, peer, Recv-Q, Send-Q): how often}."""
    rows = subprocess.run(["ss", "-tanH", f"sport = :{port} or dport = :{port}"], check=True,
                          capture_output=True, text=True).stdout.splitlines()
    found = collections.Counter()
    for row in rows:
        state, receive_queue, send_queue, local, peer = row.split()
        state = NAMES_OF_SS.get(state, state.replace("-", "_"))
        if state == "CLOSED":  # what is bound only: older ones do not show it
            continue
        found[state, local, "" if state == "LISTEN" else peer, int(receive_queue),
              int(send_queue)] += 1
    return found


class SockstatTest(SystemTest):
    def sockstat(self, *options, status=0, **keywords):
        """Its output; of a run that fails, its one sentence."""
        run = subprocess.run([SOCKSTAT, *map(str, options)], capture_output=True, text=True,
                             timeout=60, check=False, **keywords)
        self.assertEqual(run.returncode, status, run.stderr)
        if status == 0:
            self.assertEqual(run.stderr, "")
            return run.stdout
        self.assertEqual(run.stdout, "")
        self.assertRegex(run.stderr, r"\Aerror: [^\n]+\n\Z")
        return run.stderr

    def look(self, *options):
        return json.loads(self.sockstat("--json", "-", *options))

    def both_ends(self, port):
        """The same as ss(), by weir-sockstat."""
        seen = self.look("--port", port, "--both-ends", "--connections")
        found = collections.Counter()
        for one in seen["listeners"]:
            found["LISTEN", one["address"], "", one["queue"], one["limit"]] += 1
        for one in seen["connections"]:
            found[one["state"], one["local"], one["peer"], one["recv_q"], one["send_q"]] += 1
        counts = collections.Counter()
        for (state, *_), count in found.items():
            counts[state] += count
        self.assertEqual(counts, {state: n for state, n in seen["states"].items() if n > 0})
        return collections.Counter({one: n for one, n in found.items() if one[0] != "CLOSED"})

    def listener(self, host="127.0.0.1", backlog=64):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, 0), family=family, backlog=backlog)
        self.addCleanup(listener.close)
        listener.settimeout(30)
        return listener

    def dial(self, listener, deaf=False):
        """A client that is on its way; its end is a RST, so that nothing stays in the kernel."""
        client = socket.socket(listener.family)
        self.addCleanup(self.drop, client)
        if deaf:
            deafen(client)
        client.setblocking(False)
        client.connect_ex(listener.getsockname()[:2])
        return client

    def pair(self, listener):
        client = self.dial(listener)
        self.assertTrue(poll_one(client, select.POLLOUT, 30))
        served, _ = listener.accept()
        self.addCleanup(self.drop, served)
        return served, client

    def drop(self, sock):
        if sock.fileno() >= 0:
            reset(sock)

    def state_of(self, port, sock):
        """Of the side of a connection that `sock` is."""
        def text(name):
            return ("[%s]:%d" if sock.family == socket.AF_INET6 else "%s:%d") % name[:2]

        ends = text(sock.getsockname()), text(sock.getpeername())
        for one in self.look("--port", port, "--both-ends", "--connections")["connections"]:
            if (one["local"], one["peer"]) == ends:
                return one["state"]
        return None

    def wait_for_state(self, listener, sock, state):
        port = listener.getsockname()[1]
        self.assertTrue(wait_until(lambda: self.state_of(port, sock) == state),
                        f"{self.state_of(port, sock)} instead of {state}")


class States(SockstatTest):
    def make_all(self, host):
        """A listener, and connections of which its side is in every state but CLOSED, which is no
        connection."""
        listener = self.listener(host)
        established, client = self.pair(listener)
        client.sendall(b"x" * 100)  # Recv-Q
        established, client = self.pair(listener)
        deafen(client)
        established.sendall(b"y" * 1000)  # Send-Q

        self.dial(listener, deaf=True)  # SYN_SENT there, SYN_RECV here

        fin_wait_1, client = self.pair(listener)
        deafen(client)
        fin_wait_1.shutdown(socket.SHUT_WR)

        fin_wait_2, _ = self.pair(listener)
        fin_wait_2.shutdown(socket.SHUT_WR)

        close_wait, client = self.pair(listener)
        client.shutdown(socket.SHUT_WR)

        last_ack, client = self.pair(listener)
        client.shutdown(socket.SHUT_WR)
        self.wait_for_state(listener, last_ack, "CLOSE_WAIT")
        deafen(client)
        last_ack.shutdown(socket.SHUT_WR)

        closing, client = self.pair(listener)
        deafen(client)
        closing.shutdown(socket.SHUT_WR)
        client.shutdown(socket.SHUT_WR)
        self.wait_for_state(listener, closing, "CLOSING")

        time_wait, client = self.pair(listener)
        time_wait.close()
        client.close()

        self.dial(listener)  # ESTABLISHED, and nobody's before it is accepted
        return listener

    def test_agrees_with_ss_in_every_state(self):
        self.check_all("127.0.0.1")

    def test_agrees_with_ss_in_every_state_of_ipv6(self):
        self.check_all("::1")

    def check_all(self, host):
        listener = self.make_all(host)
        port = listener.getsockname()[1]
        here = {"LISTEN": 1, "SYN_SENT": 0, "SYN_RECV": 1, "ESTABLISHED": 3, "FIN_WAIT_1": 1,
                "FIN_WAIT_2": 1, "CLOSE_WAIT": 1, "LAST_ACK": 1, "CLOSING": 1, "TIME_WAIT": 1,
                "CLOSED": 0}
        self.assertTrue(wait_until(lambda: self.look("--port", port)["states"] == here),
                        f"{self.look('--port', port)['states']}")
        there = {"SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT_1", "FIN_WAIT_2",
                 "CLOSE_WAIT", "LAST_ACK", "CLOSING", "TIME_WAIT", "LISTEN"}
        self.assertEqual({state for state, *_ in self.both_ends(port)}, there)
        self.assertTrue(wait_until(lambda: self.both_ends(port) == ss(port)),
                        f"\n{self.both_ends(port) - ss(port)}\n{ss(port) - self.both_ends(port)}")
        seen = self.look("--port", port)["listeners"]
        self.assertEqual([(one["queue"], one["half_open"]) for one in seen], [(1, 1)])
        # What waits shows in the queues.
        queues = {(one["recv_q"], one["send_q"])
                  for one in self.look("--port", port, "--connections")["connections"]
                  if one["state"] == "ESTABLISHED"}
        self.assertEqual(queues, {(100, 0), (0, 1000), (0, 0)})

        # Of this process: its own ends, and what the kernel does in its listener's name.
        states = self.look("--pid", os.getpid())["states"]
        for state in ("SYN_RECV", "CLOSING", "LAST_ACK", "TIME_WAIT"):
            self.assertEqual(states[state], 1, state)
        self.assertEqual(states["LISTEN"], 1)
        self.assertEqual(states["SYN_SENT"], 1)

    def test_text(self):
        listener = self.make_all("127.0.0.1")
        port = listener.getsockname()[1]
        text = self.sockstat("--port", port, "--connections")
        # The peer without an answer sends its SYN again after a second: that one counts as dropped.
        self.assertRegex(text, r"\Alistener +accept queue  limit  half-open  dropped\n"
                               rf"127\.0\.0\.1:{port} +1 +64 +1 +\d+\n"
                               r"whole machine, not this server alone: \d+ accept queue "
                               r"overflows, ")
        self.assertRegex(text, rf"(?m)^127\.0\.0\.1:{port}  127\.0\.0\.1:\d+ +TIME_WAIT +0 +0 .* "
                               r"gone in \d\d\.\d s$")
        self.assertRegex(text, rf"(?m)^127\.0\.0\.1:{port} .* FIN_WAIT_1 .* retransmits in ")
        for state in ("SYN_RECV", "LAST_ACK", "CLOSING"):
            self.assertRegex(text, rf"(?m)^127\.0\.0\.1:{port}  127\.0\.0\.1:\d+ +{state} ")
            self.assertRegex(text, rf"(?m)\b{state} +1( |$)")

    def test_wildcards(self):
        listener = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
        self.addCleanup(listener.close)
        port = listener.getsockname()[1]
        for host, family in (("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)):
            client = socket.socket(family)
            self.addCleanup(self.drop, client)
            deafen(client)
            client.setblocking(False)
            client.connect_ex((host, port))
        self.assertTrue(wait_until(lambda: self.look("--port", port)["states"]["SYN_RECV"] == 2))
        [seen] = self.look("--port", port)["listeners"]
        self.assertEqual((seen["address"], seen["half_open"]), (f"[::]:{port}", 2))
        self.assertEqual(self.look("--pid", os.getpid())["states"]["SYN_RECV"], 2)


    def test_wildcards_side_by_side(self):
        for _ in range(20):  # the port of the one may be taken for the other
            over_v4 = socket.create_server(("0.0.0.0", 0))
            self.addCleanup(over_v4.close)
            port = over_v4.getsockname()[1]
            try:
                over_v6 = socket.create_server(("::", port), family=socket.AF_INET6)
                break
            except OSError:
                continue
        self.addCleanup(over_v6.close)
        client = socket.socket()
        self.addCleanup(self.drop, client)
        deafen(client)
        client.setblocking(False)
        client.connect_ex(("127.0.0.1", port))
        self.assertTrue(wait_until(lambda: self.look("--port", port)["states"]["SYN_RECV"] == 1))
        self.assertEqual({one["address"]: one["half_open"]
                          for one in self.look("--port", port)["listeners"]},
                         {f"0.0.0.0:{port}": 1, f"[::]:{port}": 0})


class AcceptQueue(SockstatTest):
    def test_a_full_one_is_shown_as_such(self):
        listener = self.listener(backlog=2)
        port = listener.getsockname()[1]
        for _ in range(3):
            self.assertTrue(poll_one(self.dial(listener), select.POLLOUT, 30))

        def seen():
            return self.look("--port", port)["listeners"][0]

        # Who is connected may be on the way into the queue.
        self.assertTrue(wait_until(lambda: seen()["queue"] == 3), seen())
        self.assertEqual((seen()["limit"], seen()["full"]), (2, True))
        late = [self.dial(listener) for _ in range(2)]
        self.assertTrue(wait_until(lambda: seen()["drops"] >= 2), seen())
        self.assertEqual(self.both_ends(port), ss(port))
        text = self.sockstat("--port", port)
        self.assertRegex(text, rf"(?m)^127\.0\.0\.1:{port} +3 +2 +0 +\d+  FULL$")
        self.assertRegex(text, rf"(?m)^127\.0\.0\.1:{port} FULL: the program does not accept ")
        for client in late:
            self.drop(client)
        for _ in range(3):
            self.drop(listener.accept()[0])
        self.assertEqual((seen()["queue"], seen()["full"]), (0, False))
        self.assertNotIn("FULL", self.sockstat("--port", port))

    def test_a_unix_one(self):
        path = self.path("sock")
        listener = socket.socket(socket.AF_UNIX)
        self.addCleanup(listener.close)
        listener.bind(path)
        listener.listen(1)
        for _ in range(2):
            client = socket.socket(socket.AF_UNIX)
            self.addCleanup(client.close)
            client.connect(path)
        [seen] = self.look("--pid", os.getpid())["listeners"]
        self.assertEqual((seen["address"], seen["queue"], seen["limit"], seen["full"]),
                         (f"unix:{path}", 2, 1, True))
        self.assertRegex(self.sockstat("--pid", os.getpid()),
                         rf"(?m)^unix:{path} +2 +1 +- +-  FULL$")

    def test_a_unix_path_without_room_for_its_nul(self):
        # 108 bytes, all that sun_path has; Python would not bind it.
        path = (self.path("") + "x" * 108)[:108]
        listener = socket.socket(socket.AF_UNIX)
        self.addCleanup(listener.close)
        name = struct.pack("=H108s", socket.AF_UNIX, path.encode())
        self.assertEqual(ctypes.CDLL(None).bind(listener.fileno(), name, len(name)), 0)
        listener.listen(1)
        [seen] = self.look("--pid", os.getpid())["listeners"]
        self.assertEqual(seen["address"], f"unix:{path}")

    def test_a_limit_that_is_somaxconn(self):
        most = int(Path("/proc/sys/net/core/somaxconn").read_text())
        for backlog, cut in ((most - 1, False), (most + 1, True)):
            listener = self.listener(backlog=backlog)
            port = listener.getsockname()[1]
            [seen] = self.look("--port", port)["listeners"]
            self.assertEqual((seen["limit"], seen["limit_is_somaxconn"]),
                             (min(backlog, most), cut))
            self.assertEqual("it caps the backlog" in self.sockstat("--port", port), cut)


class Servers(SockstatTest):
    def test_an_echo_server_by_its_pid(self):
        server = self.echo(("127.0.0.1:0", f"unix:{self.path('sock')}"))
        client = self.client(server.addresses[0])
        local = self.client(server.addresses[1])
        self.assertTrue(echoes(client, b"z" * 500) and echoes(local))
        seen = self.look("--pid", server.pid, "--connections")
        self.assertEqual([one["address"] for one in seen["listeners"]], server.addresses)
        self.assertEqual(seen["states"]["ESTABLISHED"], 1)
        self.assertEqual(seen["unix_connected"], len(seen["unix_connections"]))
        self.assertIn(server.addresses[1], [one["address"] for one in seen["unix_connections"]])
        [one] = seen["connections"]
        self.assertEqual(one["peer"], "127.0.0.1:%d" % client.getsockname()[1])
        self.assertEqual((one["bytes_received"], one["bytes_sent"], one["retransmits"]),
                         (500, 500, 0))
        self.assertLess(one["idle_ms"], 20_000)
        self.assertGreater(one["rtt_us"], 0)
        # The client closes first: the server has nothing left, not even for its kernel.
        client.close()
        self.assertTrue(wait_until(
            lambda: self.look("--pid", server.pid)["states"]["ESTABLISHED"] == 0))
        self.assertEqual(self.look("--pid", server.pid)["states"]["TIME_WAIT"], 0)
        self.end(server)
        self.assertEqual(self.look("--port", server.addresses[0].rpartition(":")[2])["listeners"],
                         [])

    def test_counts_many(self):
        server = self.echo()
        clients = [self.client(server.address) for _ in range(300)]
        port = server.address.rpartition(":")[2]
        self.assertTrue(all(echoes(client) for client in clients))
        self.assertEqual(self.look("--port", port)["states"]["ESTABLISHED"], 300)
        self.assertEqual(self.look("--port", port, "--both-ends")["states"]["ESTABLISHED"], 600)
        self.assertEqual(len(self.look("--port", port, "--connections")["connections"]), 300)
        text = self.sockstat("--port", port, "--connections")
        self.assertEqual(len(re.findall(r"(?m) ESTABLISHED +0 +0 ", text)), 300)

    def test_as_a_user_without_rights(self):
        if os.getuid() != 0:
            self.skipTest("all other tests do so already")
        listener = self.listener()
        port = listener.getsockname()[1]
        nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        if subprocess.run([*nobody, SOCKSTAT, "--help"], capture_output=True,
                          check=False).returncode != 0:
            self.skipTest("nobody may not run programs here")
        run = subprocess.run([*nobody, SOCKSTAT, "--port", str(port), "--json", "-"], check=True,
                             capture_output=True, text=True)
        [seen] = json.loads(run.stdout)["listeners"]
        self.assertEqual((seen["limit"], seen["drops"], seen["uid"]), (64, 0, 0))
        run = subprocess.run([*nobody, SOCKSTAT, "--pid", str(os.getpid())], check=False,
                             capture_output=True, text=True)
        self.assertEqual((run.returncode, run.stdout), (1, ""))
        self.assertEqual(run.stderr, f"error: no permission to see the sockets of process "
                         f"{os.getpid()}: it is another user's, or protected\n")
        # Its own sockets it sees.
        script = ("import os, socket, subprocess, sys\n"
                  "listener = socket.create_server(('127.0.0.1', 0))\n"
                  "sys.exit(subprocess.run([sys.argv[1], '--pid', str(os.getpid())]).returncode)")
        run = subprocess.run([*nobody, "python3", "-c", script, SOCKSTAT], check=False,
                             capture_output=True, text=True)
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertRegex(run.stdout, r"(?m)^127\.0\.0\.1:\d+ ")

    def test_as_root_that_may_not_trace(self):
        """As in many a container: the descriptors of others can be listed, but not followed."""
        if os.getuid() != 0:
            self.skipTest("not root")
        bounded = ["setpriv", "--bounding-set=-sys_ptrace", "--inh-caps=-sys_ptrace"]
        script = ("import socket, sys\n"
                  "listener = socket.create_server(('127.0.0.1', 0))\n"
                  "print('listens', flush=True)\n"
                  "sys.stdin.read()")
        theirs = self.program(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
                               "python3", "-c", script])
        if (theirs.read_line() != "listens" or
                subprocess.run([*bounded, "true"], capture_output=True,
                               check=False).returncode != 0):
            self.skipTest("setpriv cannot do it here")
        run = subprocess.run([*bounded, SOCKSTAT, "--pid", str(theirs.pid)], check=False,
                             capture_output=True, text=True)
        self.assertEqual((run.returncode, run.stdout), (1, ""))
        self.assertEqual(run.stderr, f"error: no permission to see the sockets of process "
                         f"{theirs.pid}: it is another user's, or protected\n")

    def test_another_network_namespace(self):
        away = self.program(["unshare", "--map-root-user", "--net", "sh", "-c", "echo in; read x"])
        if away.read_line() != "in":
            self.skipTest("no network namespaces here")
        error = self.sockstat("--pid", away.pid, status=1)
        self.assertIn(f"process {away.pid} is in another network namespace", error)


class Watching(SockstatTest):
    def watch(self, *options):
        return self.program([SOCKSTAT, "--watch", "0.05", *map(str, options)])

    def wait_for(self, watcher, condition):
        """The first look that meets it."""
        end = time.monotonic() + 30
        while time.monotonic() < end:
            seen = json.loads(watcher.read_line())
            if condition(seen):
                return seen
        raise self.failureException("it was not seen")

    def test_what_grows_is_marked(self):
        listener = self.listener(backlog=2)
        port = listener.getsockname()[1]
        watcher = self.watch("--port", port, "--json", "-")
        first = json.loads(watcher.read_line())
        self.assertEqual(first["remarks"], [])
        self.assertNotIn("grown", first)

        def remark(seen, what):
            return [one for one in seen["remarks"] if one["what"] == what and one["meaning"]]

        served, client = self.pair(listener)
        client.shutdown(socket.SHUT_WR)
        self.wait_for(watcher, lambda seen: remark(seen, "CLOSE_WAIT +1"))
        self.dial(listener, deaf=True)
        self.wait_for(watcher, lambda seen: remark(seen, "SYN_RECV +1"))
        gone, client = self.pair(listener)
        gone.close()
        client.close()
        self.wait_for(watcher, lambda seen: remark(seen, "TIME_WAIT +1"))
        self.wait_for(watcher, lambda seen: not seen["remarks"])
        for _ in range(5):
            self.dial(listener)
        seen = self.wait_for(watcher, lambda seen: remark(seen, f"127.0.0.1:{port} FULL"))
        [one] = seen["listeners"]
        if one["drops_since_last_look"] == 0:  # those who are late try again
            seen = self.wait_for(watcher,
                                 lambda seen: seen["listeners"][0]["drops_since_last_look"] > 0)
        self.assertGreaterEqual(seen["host"]["listen_overflows"], 2)
        self.assertIn("overflows_since_last_look", seen["host"])
        served.close()
        watcher.signal(signal.SIGTERM)
        self.assertEqual(watcher.wait(), 0)
        self.assertEqual(watcher.errors(), "")

    def test_text_for_a_pipe(self):
        listener = self.listener()
        watcher = self.watch("--port", listener.getsockname()[1], "--looks", 3)
        self.assertEqual(watcher.wait(), 0)
        text = watcher.rest_of_output()
        self.assertEqual(len(re.findall(r"(?m)^listener ", text)), 3)
        self.assertNotIn("\x1b", text)

    def test_a_terminal_is_rewritten_in_place(self):
        listener = self.listener()
        master, slave = pty.openpty()
        self.addCleanup(os.close, master)
        seen = self.frames(master, slave, "--port", listener.getsockname()[1])
        self.assertTrue(seen.startswith(b"\x1b[2J\x1b[H"), seen)
        self.assertEqual(seen.count(b"\x1b[2J"), 1)
        self.assertIn(b"\x1b[K\r\n", seen)
        self.assertNotIn(b"more lines", seen)

    def frames(self, master, slave, *options):
        """What the terminal is sent until the fourth look begins."""
        watcher = subprocess.Popen([SOCKSTAT, "--watch", "0.05", *map(str, options)],
                                   stdout=slave, stderr=slave)
        try:
            os.close(slave)
            seen = b""
            while seen.count(b"\x1b[H") < 4 and poll_one(master, select.POLLIN, 30):
                seen += os.read(master, 65536)
            watcher.send_signal(signal.SIGINT)
            self.assertEqual(watcher.wait(30), 0)
        finally:
            watcher.kill()
            watcher.wait()
        return seen

    def test_a_small_terminal_is_not_overrun(self):
        listener = self.listener(backlog=2)
        port = listener.getsockname()[1]
        for _ in range(3):
            self.dial(listener)
        self.assertTrue(wait_until(
            lambda: self.look("--port", port)["listeners"][0]["queue"] == 3))
        for rows, columns in ((10, 60), (24, 40), (12, 200), (24, 200)):
            with self.subTest(rows=rows, columns=columns):
                master, slave = pty.openpty()
                self.addCleanup(os.close, master)
                fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
                seen = self.frames(master, slave, "--port", port, "--both-ends", "--connections")
                frames = re.split(rb"(?:\x1b\[2J)?\x1b\[H", seen)[1:4]
                self.assertEqual(len(frames), 3)
                for frame in frames:
                    lines = re.sub(rb"\x1b\[[0-9]*[mKJ]", b"", frame).split(b"\r\n")
                    used = sum(max(1, -(-len(line) // columns)) for line in lines)
                    self.assertLessEqual(used, rows, frame)
                    left = re.search(rb"\.\.\. (\d+) more lines\Z", lines[-1])
                    whole = self.sockstat("--port", port, "--both-ends", "--connections")
                    self.assertEqual(len(lines) - 1 + (int(left[1]) if left else 0),
                                     whole.count("\n"))
                    # Too wide or too long for all but the last.
                    self.assertEqual(left is None, (rows, columns) == (24, 200), frame)

    def test_a_process_that_ends(self):
        server = self.echo()
        watcher = self.watch("--pid", server.pid)
        self.assertTrue(watcher.read_line())
        self.end(server)
        self.assertEqual(watcher.wait(), 1)
        self.assertEqual(watcher.errors(), f"error: there is no process {server.pid}\n")


class Options(SockstatTest):
    def test_help_and_mistakes(self):
        self.assertIn("--watch SECONDS", self.sockstat("--help"))
        for wrong in (["--port", "0"], ["--port", "65536"], ["--port", "x"], ["--pid", "0"],
                      ["--port", "1", "--pid", "1"], ["--both-ends"], ["--looks", "2"],
                      ["--watch", "0"], ["--watch", "x"], ["--watch", "nan"],
                      ["--nonsense"], ["7000"]):
            error = self.sockstat(*wrong, status=2)
            self.assertIn("; see weir-sockstat --help", error)
        self.assertIn("there is no process 999999999", self.sockstat("--pid", 999999999, status=1))

    def test_everybody(self):
        listener = self.listener()
        address = "127.0.0.1:%d" % listener.getsockname()[1]
        seen = self.look()
        self.assertIn(address, [one["address"] for one in seen["listeners"]])
        self.assertGreaterEqual(seen["states"]["LISTEN"], 1)
        self.assertIn(address, self.sockstat())

    def test_json_in_a_file(self):
        listener = self.listener()
        port = listener.getsockname()[1]
        path = self.path("looks.json")
        text = self.sockstat("--port", port, "--json", path, "--watch", 0.02, "--looks", 3)
        self.assertEqual(len(re.findall(r"(?m)^listener ", text)), 3)
        looks = [json.loads(line) for line in Path(path).read_text().splitlines()]
        self.assertEqual([look["port"] for look in looks], [port] * 3)
        self.assertEqual(["grown" in look for look in looks], [False, True, True])
        error = self.sockstat("--json", self.path("no/such"), status=1)
        self.assertIn("No such file or directory", error)
        if os.path.exists("/dev/full"):
            with open("/dev/full", "wb") as full:
                run = subprocess.run([SOCKSTAT], stdout=full, stderr=subprocess.PIPE, check=False)
            self.assertEqual((run.returncode, run.stderr),
                             (1, b"error: standard output: No space left on device\n"))


if __name__ == "__main__":
    if not shutil.which("ss"):
        raise SystemExit("ss is missing: see tools/setup")
    unittest.main()
