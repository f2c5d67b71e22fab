"""The servers, the workloads, and their rounds and times in each of the modes."""

from dataclasses import dataclass

BASELINE = "raw_epoll"
US = "weir"


@dataclass(frozen=True)
class Server:
    """A server and its command line, to which `--listen 127.0.0.1:0` is added."""
    name: str
    title: str
    what: str
    words: tuple
    threads: int = 1


@dataclass(frozen=True)
class Timing:
    seconds: float  # measured time of a run
    warmup: float
    rounds: int  # at most


@dataclass(frozen=True)
class Workload:
    name: str
    title: str
    what: str
    mode: str  # of weir-load
    options: tuple  # of weir-load, without the time
    quick: Timing
    full: Timing
    metric: str = "cpu_ns"  # a key of METRICS: the figure of the bars
    message: str = "message"  # the name of a counted item
    work: str = "echo"  # --work of the rivals
    connections: int = 1
    servers: tuple = ()  # () : all rivals
    baseline: str = BASELINE
    # The aim of weir: at most `aim[1]` times the figure of `aim[0]` in the same round.
    aim: tuple = ()

    def timing(self, quick):
        return self.quick if quick else self.full


@dataclass(frozen=True)
class Metric:
    title: str
    unit: str
    less_is_better: bool = True


METRICS = {
    "cpu_ns": Metric("server CPU", "ns"),
    "rate": Metric("throughput", "/s", less_is_better=False),
    "p50_us": Metric("latency p50", "us"),
    "p99_us": Metric("latency p99", "us"),
    "p999_us": Metric("latency p99.9", "us"),
    "memory": Metric("memory per connection", "B"),
}


def rival(name, title, what):
    return Server(name, title, what, (f"bench-{name}", "--work", "{work}"))


RIVALS = (
    rival("raw_epoll", "raw epoll", "a hand-written loop, one send a reply, 64 KiB buffer"),
    rival("raw_epoll_coalesce", "raw epoll, coalescing",
          "one send for all replies to what one read brought"),
    rival("raw_epoll_512k", "raw epoll, 512 KiB", "raw epoll with a 512 KiB buffer"),
    rival("weir", "weir", "TcpServer as it is by default: all limits and counters on"),
    rival("libev", "libev", "ev_io watchers, buffers of its own"),
    rival("libuv_try_write", "libuv, try_write", "uv_try_write, uv_write for the rest"),
    rival("libuv_write", "libuv, uv_write", "a uv_write request a reply"),
    rival("asio", "Asio", "async_read_some and async_write"),
    rival("libevent_events", "libevent, events", "plain events, buffers of its own"),
    rival("libevent_bufferevent", "libevent, bufferevent", "bufferevents"),
)

OWN = ("bench-weir", "--work", "{work}")

TRIGGERS = (
    Server("level", "level-triggered", "the default", OWN),
    Server("edge", "edge-triggered", "--trigger edge", (*OWN, "--trigger", "edge")),
)
ACCEPT_MODES = tuple(
    Server(mode, mode, f"--accept {mode} --threads 2",
           (*OWN, "--accept", mode, "--threads", "2"), threads=2)
    for mode in ("single", "reuse_port", "exclusive"))
THREADS = (
    Server("no_threads", "on the main loop", "no threads of its own", OWN),
    Server("1_thread", "1 thread", "--threads 1", (*OWN, "--threads", "1")),
    Server("2_threads", "2 threads", "--threads 2", (*OWN, "--threads", "2"), threads=2),
)


def udp(name, title, what, *options):
    return Server(name, title, what, (f"bench_udp-{name.removesuffix('_plain')}", *options))


UDP = (
    udp("raw_epoll", "raw epoll", "recvfrom and sendto, by hand"),
    udp("raw_epoll_mmsg", "raw epoll, mmsg", "recvmmsg and sendmmsg, 64 at a time, by hand"),
    udp("weir", "weir", "UdpServer with UDP_SEGMENT and UDP_GRO"),
    udp("weir_plain", "weir, plain", "UdpServer without these two", "--plain"),
    udp("libuv", "libuv", "UV_UDP_RECVMMSG, uv_udp_try_send"),
    udp("asio", "Asio", "async_receive_from and async_send_to"),
)


def echo(connections, quick, full, aim):
    count = f"{connections:,} connection{'s' if connections > 1 else ''}"
    return Workload(
        f"echo_{connections}", f"Echo, {count}",
        f"{count}, 64 bytes there and back, one message in flight each.", "echo",
        ("--connections", str(connections), "--size", "64", "--depth", "1"), quick, full,
        connections=connections, aim=aim)


DATAGRAMS = ("--connections", "8", "--size", "64", "--depth", "32")


def small(rounds=3, seconds=0.25):
    return Timing(seconds, 0.05, rounds)


WORKLOADS = (
    echo(1, small(), Timing(1, 0.2, 7), (BASELINE, 1.02)),
    echo(100, small(), Timing(1, 0.2, 7), (BASELINE, 1.02)),
    echo(1000, small(), Timing(1.5, 0.3, 7), (BASELINE, 1.02)),
    echo(10000, Timing(1, 0.3, 1), Timing(2.5, 0.6, 5), (BASELINE, 1.02)),
    Workload("pipelined", "Pipelined, 50 x 32 messages",
             "50 connections with 32 messages of 64 bytes in flight each; the server answers every "
             "64 bytes with a send of its own.", "echo",
             ("--connections", "50", "--size", "64", "--depth", "32"), small(),
             Timing(1, 0.2, 7), work="each", connections=50, aim=("raw_epoll_coalesce", 1.05)),
    Workload("bulk", "Bulk, 64 KiB x 4",
             "10 connections with 4 messages of 64 KiB in flight each.", "bulk",
             ("--connections", "10", "--size", "65536", "--depth", "4"), small(),
             Timing(1, 0.2, 7), connections=10, aim=("raw_epoll_512k", 0.95)),
    Workload("churn", "Churn", "Connect, send 64 bytes, get them back, close; 50 at a time.",
             "churn", ("--connections", "50", "--size", "64"), small(),
             Timing(1, 0.2, 7), message="connection", connections=50, aim=(BASELINE, 1.00)),
    Workload("broadcast", "Broadcast, 1 KiB to 2,000",
             "One sends 1 KiB at a time, 2,000 receive it; counted are the messages delivered.",
             "broadcast", ("--connections", "2000", "--size", "1024"), small(1, 0.4),
             Timing(1.5, 0.3, 5), message="delivery", work="broadcast", connections=2001,
             aim=(BASELINE, 1.02)),
    Workload("udp", "UDP echo, 8 sockets x 32",
             "8 sockets with 32 datagrams of 64 bytes in flight each; the clients use UDP_SEGMENT "
             "and UDP_GRO with all servers.", "udp",
             (*DATAGRAMS, "--segments"), small(), Timing(1, 0.2, 7), message="datagram",
             connections=8, servers=UDP, aim=("libuv", 0.5)),
    Workload("udp_single", "UDP echo, 8 sockets x 32, each by itself",
             "The same, but the clients send and receive each datagram by itself, so that there "
             "is nothing for UDP_GRO.", "udp",
             DATAGRAMS, small(), Timing(1, 0.2, 7), message="datagram",
             connections=8, servers=UDP, aim=("libuv", 0.5)),
    Workload("idle", "10,000 idle connections",
             "10,000 connections, one exchange of 1 KiB each, then nothing: what a connection "
             "costs the server in memory of its own (the kernel's is not in it).", "idle",
             ("--connections", "10000", "--size", "1024"), Timing(0.2, 0, 1), Timing(1, 0, 3),
             metric="memory", message="connection", connections=10000),
    Workload("triggers", "weir: level-triggered against edge-triggered",
             "100 connections, 64 bytes there and back.", "echo",
             ("--connections", "100", "--size", "64", "--depth", "1"), small(),
             Timing(1, 0.2, 7), connections=100, servers=TRIGGERS, baseline="level"),
    Workload("accept_modes", "weir: the three accept modes",
             "Connect, exchange 64 bytes, close; 50 at a time, against two threads.", "churn",
             ("--connections", "50", "--size", "64"), small(), Timing(1, 0.2, 7),
             message="connection", connections=50, servers=ACCEPT_MODES, baseline="single"),
    Workload("threads", "weir: without threads, with one, with two",
             "100 connections, 64 bytes there and back.", "echo",
             ("--connections", "100", "--size", "64", "--depth", "1"), small(),
             Timing(1, 0.2, 7), connections=100, servers=THREADS, baseline="no_threads"),
)


def servers_of(workload):
    return workload.servers or RIVALS
