"""Servers that weir-load is tried against: they count for themselves, and do wrong as told."""

import json
import re
import selectors
import socket
import struct
import threading
import time

from harness import BIN, SystemTest


class LoadTest(SystemTest):
    def load(self, mode, *arguments, status=0):
        """(output, errors, report)"""
        report = self.path("report.json")
        load = self.program([BIN / "weir-load", mode, *arguments, "--json", report])
        ended = load.wait(60)
        output, errors = load.rest_of_output() if ended is not None else "", load.errors()
        self.assertEqual(ended, status, output + errors)
        with open(report) as file:
            return output, errors, json.load(file)

    def assert_about(self, seconds, wanted):
        """Not less; more only as a busy machine makes it."""
        self.assertGreater(seconds, 0.95 * wanted)
        self.assertLess(seconds, wanted + 5)


class Server:
    """A thread that serves any number of clients, as a context."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        self.bytes = 0
        self.connections = 0
        self.peers = set()
        self.selector = selectors.DefaultSelector()
        self.over, self.over_too = socket.socketpair()
        self.thread = threading.Thread(target=self.run)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *exception):
        self.over.close()
        self.thread.join()

    def run(self):
        with self.selector, self.listener, self.over_too:
            self.selector.register(self.listener, selectors.EVENT_READ)
            self.selector.register(self.over_too, selectors.EVENT_READ)
            try:
                while True:
                    for key, _ in self.selector.select(self.timeout()):
                        if key.fileobj is self.over_too:
                            return
                        if key.fileobj is self.listener:
                            self.accept()
                        else:
                            self.serve(key.fileobj)
                    self.tick()
            finally:
                for key in list(self.selector.get_map().values()):
                    key.fileobj.close()

    def timeout(self):
        return None

    def tick(self):
        pass

    def accept(self):
        client, peer = self.listener.accept()
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.settimeout(10)
        self.connections += 1
        self.peers.add(peer[0])
        self.selector.register(client, selectors.EVENT_READ)

    def serve(self, client):
        try:
            data = client.recv(1 << 18)
            if data:
                self.bytes += len(data)
                self.received(client, data)
            else:
                self.drop(client)
        except OSError:
            self.drop(client)

    def drop(self, client):
        self.selector.unregister(client)
        client.close()


class Echoing(Server):
    """Sends back; `hang_up_after` so many bytes of a connection it closes."""

    def __init__(self, hang_up_after=0):
        super().__init__()
        self.hang_up_after = hang_up_after
        self.served = {}

    def received(self, client, data):
        client.sendall(data)
        if self.hang_up_after:
            self.served[client] = self.served.get(client, 0) + len(data)
            if self.served[client] >= self.hang_up_after:
                del self.served[client]
                self.drop(client)


class Script(Server):
    """Answers what `reply` makes of what came; None: it hangs up."""

    def __init__(self, reply, reset=False):
        super().__init__()
        self.reply, self.reset = reply, reset

    def received(self, client, data):
        answer = self.reply(data)
        if answer is not None:
            client.sendall(answer)
            return
        if self.reset:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.drop(client)


class FallingSilent(Server):
    """Answers the first message of each connection, and no other."""

    def __init__(self):
        super().__init__()
        self.answered = set()

    def received(self, client, data):
        if client not in self.answered:
            self.answered.add(client)
            client.sendall(data)


class Reversing(Server):
    """Of two messages it sends back the second one first."""

    def __init__(self, size):
        super().__init__()
        self.size, self.kept = size, b""

    def received(self, client, data):
        self.kept += data
        while len(self.kept) >= 2 * self.size:
            pair, self.kept = self.kept[:2 * self.size], self.kept[2 * self.size:]
            client.sendall(pair[self.size:] + pair[:self.size])


class Flipping(Server):
    """Echoes, but for one bit of the byte at `where` in the stream."""

    def __init__(self, where):
        super().__init__()
        self.where = where

    def received(self, client, data):
        at = self.where - (self.bytes - len(data))
        if 0 <= at < len(data):
            data = data[:at] + bytes([data[at] ^ 4]) + data[at + 1:]
        client.sendall(data)


class Stalling(Server):
    """Echoes, but sleeps once, when so many bytes have come."""

    def __init__(self, after, seconds):
        super().__init__()
        self.after, self.seconds = after, seconds
        self.stalled = 0

    def received(self, client, data):
        if self.bytes >= self.after and not self.stalled:
            begin = time.monotonic()
            time.sleep(self.seconds)
            self.stalled = time.monotonic() - begin
        client.sendall(data)


class Broadcasting(Server):
    """Sends each line to all; `spoil` may change what message so-and-so has become."""

    def __init__(self, spoil=lambda number, text: text):
        super().__init__()
        self.spoil, self.kept = spoil, b""
        self.first = None
        self.clients = []

    def accept(self):
        before = set(self.selector.get_map())
        super().accept()
        self.clients += [self.selector.get_map()[fd].fileobj
                         for fd in set(self.selector.get_map()) - before]

    def drop(self, client):
        self.clients.remove(client)
        super().drop(client)

    def received(self, client, data):
        *lines, self.kept = (self.kept + data).split(b"\n")
        for line in lines:
            number = int(re.match(rb"[0-9a-f]{16}", line).group(), 16)
            text = self.spoil(number, line + b"\n")
            for receiver in list(self.clients):
                try:
                    receiver.sendall(text)
                except OSError:
                    pass


class Slow(Server):
    """Answers each message after one of `delays`, in turn, and notes how long it really took."""

    def __init__(self, size, delays):
        super().__init__()
        self.size, self.delays = size, delays
        self.took = []
        self.waiting = []  # (when to answer, when it came, client, answer)

    def received(self, client, data):
        now = time.monotonic()
        assert len(data) == self.size
        delay = self.delays[(self.bytes // self.size) % len(self.delays)]
        self.waiting.append((now + delay, now, client, data))
        self.waiting.sort(key=lambda entry: entry[0])

    def timeout(self):
        return max(0, self.waiting[0][0] - time.monotonic()) if self.waiting else None

    def tick(self):
        while self.waiting and self.waiting[0][0] <= time.monotonic():
            _, came, client, data = self.waiting.pop(0)
            self.took.append(time.monotonic() - came)
            client.sendall(data)
