"""What the system tests stand on: programs with deadlines, sockets by weir's address texts, what
the kernel says about a process. Tests talk to the loopback and to Unix sockets only."""

import os
import re
import resource
import select
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time
import unittest
from pathlib import Path

BIN = Path(os.environ.get("WEIR_BIN", "build/dev/bin"))
# "address,undefined", "thread" or empty: what the programs under test were built with.
SANITIZER = os.environ.get("WEIR_SANITIZE", "")
DEADLINE = 30  # seconds, for whatever must happen at all

MIB = 1024 * 1024


def wait_until(condition, deadline=DEADLINE, every=0.01):
    """Asks again and again; the last answer, which is false after the deadline."""
    end = time.monotonic() + deadline
    while True:
        answer = condition()
        if answer or time.monotonic() > end:
            return answer
        time.sleep(every)


def poll_one(file, events, seconds):
    poll = select.poll()  # select(2) ends at descriptor 1023
    poll.register(file, events)
    return poll.poll(seconds * 1000)


def raise_descriptor_limit():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


LATE = " held the loop for "  # what weir says also when it waited long for a processor


def without_late(text):
    return "".join(line for line in text.splitlines(keepends=True) if LATE not in line)


def task_sleeps(task):
    """Whether it waits for something other than a processor; a process or thread by its folder of
    /proc."""
    return "\nState:\tS" in (task / "status").read_text()


class Program:
    """A program with its output captured; ended by stop() at the latest."""

    def __init__(self, command, descriptor_limit=None, inherited=0, pass_fds=(), stderr=None):
        """`inherited`: of the descriptors below the limit so many are taken already. `pass_fds`:
        those of ours that it gets as well. `stderr`: instead of being captured."""
        self.command = [str(word) for word in command]
        words = self.command
        if descriptor_limit is not None:
            # Numbers are what the limit is about, so it takes a shell to open certain ones.
            script = (f"ulimit -n {descriptor_limit}; "
                      f"for ((i = {descriptor_limit - inherited}; i < {descriptor_limit}; ++i)); "
                      'do eval "exec $i< /dev/null"; done; exec "$@"')
            words = ["bash", "-c", script, "bash", *words]
        self.errors_file = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=self.errors_file if stderr is None else stderr, pass_fds=pass_fds)
        self.pid = self.process.pid
        self.unread = b""

    def read_line(self, deadline=DEADLINE):
        """The next line of standard output; None at its end or after the deadline."""
        end = time.monotonic() + deadline
        while b"\n" not in self.unread:
            left = end - time.monotonic()
            if left <= 0 or not poll_one(self.process.stdout, select.POLLIN, left):
                return None
            got = os.read(self.process.stdout.fileno(), 65536)
            if not got:
                return None
            self.unread += got
        line, self.unread = self.unread.split(b"\n", 1)
        return line.decode()

    def rest_of_output(self):
        return (self.unread + self.process.stdout.read()).decode()

    def errors(self):
        """What it wrote to stderr, without what a busy machine alone can bring about."""
        return without_late(self.all_errors())

    def was_late(self):
        """It waited for a processor for so long that it said so."""
        return LATE in self.all_errors()

    def all_errors(self):
        return os.pread(self.errors_file.fileno(), 1 << 20, 0).decode(errors="replace")

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self, deadline=DEADLINE):
        """The exit status, -n for signal n; None when it runs on."""
        try:
            return self.process.wait(deadline)
        except subprocess.TimeoutExpired:
            return None

    def running(self):
        return self.process.poll() is None

    def stop(self):
        if self.running():
            self.process.kill()
            self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()
        self.errors_file.close()

    # What the kernel says about it.
    def tasks(self):
        """Its threads, without the one by which TSan looks around ten times a second."""
        tasks = list(Path(f"/proc/{self.pid}/task").iterdir())
        if SANITIZER != "thread":
            return tasks
        return [task for task in tasks if task.name == str(self.pid) or
                (task / "comm").read_text().startswith("weir-loop")]

    def cpu_seconds(self):
        """Of all threads, to the nanosecond."""
        return sum(int((task / "schedstat").read_text().split()[0]) for task in self.tasks()) / 1e9

    def is_asleep(self):
        """All of its threads wait for something; none just for a processor."""
        return all(map(task_sleeps, self.tasks()))

    def sleeps(self):
        """How often its threads went to sleep of their own, which is how often they woke up."""
        line = re.compile(r"^voluntary_ctxt_switches:\s+(\d+)", re.M)
        return sum(int(line.search((task / "status").read_text()).group(1))
                   for task in self.tasks())

    def resident_bytes(self):
        text = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"^VmRSS:\s+(\d+)", text, re.M).group(1)) * 1024

    def descriptors(self):
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))


class Server(Program):
    """A program that is ready. `addresses` are those it says it listens on."""

    def __init__(self, command, addresses=1, **keywords):
        super().__init__(command, **keywords)
        self.addresses = []
        for _ in range(addresses):
            line = self.read_line()
            if line is None or not line.startswith("listening on "):
                text = self.errors()
                self.stop()
                raise AssertionError(f"{self.command} said {line!r}; {text}")
            self.addresses.append(line.removeprefix("listening on "))
        self.address = self.addresses[0]


def echo_server(listen, *options, **keywords):
    """A weir-echo that listens on each of the addresses."""
    return Server([BIN / "weir-echo", "--listen", ",".join(listen), *options],
                  addresses=len(listen), **keywords)


class Usage:
    """What a program uses from here on."""

    def __init__(self, program):
        self.program = program
        self.start = time.monotonic()
        self.cpu, self.sleeps = program.cpu_seconds(), program.sleeps()

    def measure(self, seconds):
        """Over a stretch of so many seconds."""
        time.sleep(seconds)
        return self

    def elapsed(self):
        return time.monotonic() - self.start

    def cpu_share(self):
        return (self.program.cpu_seconds() - self.cpu) / self.elapsed()

    def wakeups(self):
        return self.program.sleeps() - self.sleeps


def count_epoll_returns(program, seconds):
    """How often epoll_wait returns within the time, by strace."""
    with tempfile.NamedTemporaryFile("r") as table:
        strace = Program(["strace", "-c", "-f", "-e", "trace=epoll_wait,epoll_pwait,epoll_pwait2",
                          "-p", program.pid, "-o", table.name])
        try:
            attached = wait_until(lambda: strace.errors().count("attached") or not strace.running())
            if not strace.running():
                raise AssertionError(f"strace: {strace.errors()}")
            assert attached, "strace did not attach"
            time.sleep(seconds)
            strace.signal(signal.SIGINT)
            strace.wait()
        finally:
            strace.stop()
        text = table.read()
    # Columns: % time, seconds, usecs/call, calls, [errors], name.
    return sum(int(row.split()[3]) for row in text.splitlines() if "epoll_" in row)


def listens_at(path):
    """Whether a socket listens at the path: its file exists a moment earlier."""
    with open("/proc/net/unix", encoding="utf-8") as sockets:
        listening = "00010000"  # __SO_ACCEPTCON, in the fourth column
        return any(line.split()[3] == listening and line.rstrip().endswith(str(path))
                   for line in sockets if line.count(" ") >= 7)


def connect(address, receive_buffer=None, source=None, timeout=DEADLINE):
    """A blocking socket connected to an address as weir writes it."""
    if address.startswith("unix:"):
        family, target = socket.AF_UNIX, address.removeprefix("unix:")
        if target.startswith("@"):
            target = "\0" + target[1:]
    else:
        host, _, port = address.rpartition(":")
        family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
        target = (host.strip("[]"), int(port))
    client = socket.socket(family, socket.SOCK_STREAM)
    try:
        client.settimeout(timeout)
        if receive_buffer:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if source:
            client.bind((source, 0))
        client.connect(target)
    except BaseException:
        client.close()
        raise
    return client


def reset(client):
    """Closes with RST, whatever was sent or read."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def receive_exactly(client, size):
    """Fewer bytes only if the stream ends."""
    parts, missing = [], size
    while missing > 0:
        part = client.recv(min(missing, 1 << 20))
        if not part:
            break
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


def receive_until_end(client):
    """All bytes until the peer's end of file; a reset raises ConnectionResetError."""
    parts = []
    while part := client.recv(1 << 20):
        parts.append(part)
    return b"".join(parts)


def pour(client, data):
    """Sends all, half-closes and reads to the end, as far as the other side lets it."""
    try:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        receive_until_end(client)
    except OSError:
        pass


def echoes(client, message=b"are you there?"):
    """Whether a message comes back."""
    try:
        client.sendall(message)
        return receive_exactly(client, len(message)) == message
    except OSError:
        return False


def exchange(client, data):
    """Sends all, half-closes, and returns all that came back before the end."""
    def send():
        try:
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # what came back tells

    sender = threading.Thread(target=send)
    sender.start()
    try:
        return receive_until_end(client)
    finally:
        sender.join()


def stuff(client, quiet=0.5, sent=0):
    """Sends without reading until nothing more is taken for a while; returns how many bytes went,
    with those that were `sent` before.

    The bytes are those of stuffing(), from its beginning."""
    block, last = stuffing(0, MIB), time.monotonic()
    client.setblocking(False)
    while time.monotonic() - last < quiet:
        if not poll_one(client, select.POLLOUT, 0.05):
            continue
        at = sent % len(block)
        try:
            n = client.send(memoryview(block)[at:at + 65536])
        except BlockingIOError:
            continue
        sent, last = sent + n, time.monotonic()
    client.settimeout(DEADLINE)
    return sent


_STUFFING_PART = bytes((i * 2654435761 >> 13) & 0xff for i in range(65521))
_STUFFING = (_STUFFING_PART * (MIB // len(_STUFFING_PART) + 1))[:MIB]


def stuffing(offset, size):
    """A part of an endless stream with a period of MIB."""
    at = offset % MIB
    return (_STUFFING * ((at + size - 1) // MIB + 1))[at:at + size]


def stuff_to_rest(client):
    """As stuff(), until nothing moves between the queues any more either: TCP may stop for longer
    than a while and go on, when it has to send something again. The bytes sent, and those of them
    that wait in the kernel."""
    state = stuff(client), kernel_queues(client)
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        before, sent = state, stuff(client, sent=state[0])
        state = sent, kernel_queues(client)
        if state == before:
            return state
    raise AssertionError(f"the queues do not come to rest: {before}, {state}")


def kernel_queues(client):
    """Bytes that wait in the kernel on both sides of a TCP connection over IPv4."""
    def hex_of(name):
        host, port = name
        return f"{struct.unpack('=I', socket.inet_aton(host))[0]:08X}:{port:04X}"

    ends = {hex_of(client.getsockname()), hex_of(client.getpeername())}
    total = 0
    for row in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = row.split()
        if {fields[1], fields[2]} == ends:
            waiting_out, waiting_in = fields[4].split(":")
            total += int(waiting_out, 16) + int(waiting_in, 16)
    return total


class SystemTest(unittest.TestCase):
    """Programs and sockets made through it are gone when the test ends."""

    def setUp(self):
        self.directory = tempfile.TemporaryDirectory(prefix="weir-test-")
        self.addCleanup(self.directory.cleanup)

    def path(self, name):
        return os.path.join(self.directory.name, name)

    def echo(self, listen=("127.0.0.1:0",), *options, **keywords):
        server = echo_server(listen, *options, **keywords)
        self.addCleanup(self.stop_server, server)
        return server

    def serve(self, command, **keywords):
        """A Server that has to end well."""
        server = Server(command, **keywords)
        self.addCleanup(self.stop_server, server)
        return server

    def stop_server(self, server):
        """It did not crash, and its sanitizer has nothing to say."""
        if server.process.stdout.closed:
            return  # it was stopped before
        if not server.running():
            self.assertIn(server.wait(), (0, 128 + signal.SIGTERM, 128 + signal.SIGINT))
        text = server.errors()
        server.stop()
        self.assertNotIn("Sanitizer", text)
        self.assertNotIn("runtime error", text)

    def program(self, command, **keywords):
        program = Program(command, **keywords)
        self.addCleanup(program.stop)
        return program

    def client(self, address, **keywords):
        client = connect(address, **keywords)
        self.addCleanup(client.close)
        return client

    def end(self, server, number=signal.SIGTERM, within=5):
        """Asks the server to end and expects 0 within the time."""
        begin = time.monotonic()
        server.signal(number)
        self.assertEqual(server.wait(within + 10), 0, server.errors())
        self.assertLess(time.monotonic() - begin, within)
