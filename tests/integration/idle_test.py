#!/usr/bin/env python3
"""Five thousand connections on which nothing happens cost nothing."""

import unittest

from harness import (DEADLINE, SANITIZER, SystemTest, Usage, echoes, raise_descriptor_limit,
                     receive_exactly, wait_until)

CONNECTIONS = 5000
SECONDS = 5 if not SANITIZER else 2


class Idle(SystemTest):
    def setUp(self):
        super().setUp()
        raise_descriptor_limit()

    def test_level(self):
        self.check()

    def test_edge(self):
        self.check("--edge-triggered")

    def test_level_3_threads(self):
        self.check("--threads", "3", "--accept", "exclusive")

    def test_edge_3_threads(self):
        self.check("--threads", "3", "--accept", "reuse_port", "--edge-triggered")

    def check(self, *options):
        server = self.echo(["127.0.0.1:0"], "--idle-timeout", "60", *options)
        self.assertTrue(echoes(self.client(server.address)))
        resident = server.resident_bytes()
        clients = [self.client(server.address) for _ in range(CONNECTIONS)]
        # Half of them have spoken once.
        for client in clients[::2]:
            client.sendall(b"hello")
        for client in clients[::2]:
            self.assertEqual(receive_exactly(client, 5), b"hello")
        self.assertTrue(wait_until(lambda: server.descriptors() > CONNECTIONS))

        usage = Usage(server).measure(SECONDS)
        wakeups, share = usage.wakeups(), usage.cpu_share()
        self.assertLessEqual(wakeups, 2 * usage.elapsed())
        self.assertLess(share, 0.005)
        each = (server.resident_bytes() - resident) / CONNECTIONS
        if not SANITIZER:
            self.assertLess(each, 1024)
        self.assertTrue(all(echoes(client) for client in clients[::100]))
        print(f"{options}: {CONNECTIONS} idle: {wakeups} wake-ups in {SECONDS} s, "
              f"cpu {100 * share:.3f} %, {each:.0f} bytes resident each")
        for client in clients:
            client.close()  # or the server's end would wait for theirs
        self.end(server)

    def test_all_are_let_go_when_their_time_is_over(self):
        server = self.echo(["127.0.0.1:0"], "--idle-timeout", "2")
        before = server.descriptors()
        clients = [self.client(server.address) for _ in range(1000)]
        self.assertTrue(wait_until(lambda: server.descriptors() > 1000))
        for client in clients:
            self.assertEqual(client.recv(1), b"")
            client.close()
        self.assertTrue(wait_until(lambda: server.descriptors() <= before, DEADLINE))


if __name__ == "__main__":
    unittest.main()
