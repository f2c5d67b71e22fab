"""A report whose figures are made up, to try what is done with reports. It says so itself."""

import random

from bench_suite.workloads import RIVALS, WORKLOADS, servers_of

# What a server costs in units of the baseline, and the baseline in ns per message.
COSTS = {"raw_epoll": 1.0, "raw_epoll_coalesce": 0.9, "raw_epoll_512k": 0.97, "weir": 0.94,
         "libev": 1.1, "libuv_try_write": 1.15, "libuv_write": 1.9, "asio": 1.3,
         "libevent_events": 1.2, "libevent_bufferevent": 6.3}
BASES = {"echo_1": 9000, "echo_100": 6400, "echo_1000": 7000, "echo_10000": 9900,
         "pipelined": 1500, "bulk": 21000, "churn": 31000, "broadcast": 2100}


def distribution(base_us, rng):
    shares = [i / 100 for i in range(100)] + [0.99 + i / 1000 for i in range(10)]
    shares += [0.999 + i / 10000 for i in range(10)]
    value, points = base_us, []
    for share in shares:
        value *= 1 + rng.random() * (0.004 + (0.1 if share > 0.98 else 0))
        points.append([share, value])
    return points


def one_run(workload, server, number, rng):
    cost = COSTS.get(server.name, 1.0 + 0.05 * servers_of(workload).index(server))
    speed = rng.choice((1, 1.3)) * rng.uniform(0.98, 1.02)
    cpu = BASES.get(workload.name, 6500) * cost * speed
    points = distribution(cpu / 1000 * workload.connections, rng)

    def at(share):
        return next(value for part, value in points if part >= share)
    run = {"workload": workload.name, "server": server.name, "round": number, "at_s": 0.0,
           "cpu_over": "measured part", "messages": 1000, "report": {"hdr": points},
           "metrics": {"cpu_ns": cpu, "rate": 0.9e9 / cpu, "p50_us": at(0.5), "p99_us": at(0.99),
                       "p999_us": at(0.999), "memory": None}}
    if workload.metric == "memory":
        run["metrics"] = {"memory": 180 * cost * rng.uniform(0.98, 1.02)}
        run["report"] = {}
    return run


def made_up_report(seed=1, rounds=5, slower=None):
    """`slower`: (workload, server, factor) that differs from the others' reports."""
    rng, runs, missing = random.Random(seed), [], {}
    for workload in WORKLOADS:
        for server in servers_of(workload):
            if server.name == "libevent_events":
                missing[f"{workload.name}/{server.name}"] = "bench-libevent_events was not built"
                continue
            for number in range(1, rounds + 1):
                run = one_run(workload, server, number, rng)
                if workload.name == "bulk" and server.name == "libuv_write":
                    run |= {"failure": "12 errors (reset by peer: 12)", "metrics": {}}
                if slower and slower[:2] == (workload.name, server.name):
                    run["metrics"]["cpu_ns"] *= slower[2]
                runs.append(run)
    micro = [{"name": f"{name}/manual_time", "run_name": f"{name}/manual_time",
              "run_type": "iteration", "per_item": ns * 1e-9 * rng.uniform(0.95, 1.05),
              "allocs": 0.0, "real_time": 1, "time_unit": "ns"}
             for name, ns in (("buffer_append_64", 4.1), ("timer_add/1000000", 16),
                              ("post/threads:4", 34)) for _ in range(3)]
    return {
        "format": 1, "made_up": True, "mode": "full", "ended": "complete",
        "started": "2001-01-01 00:00 UTC", "command": "tools/bench", "seconds": 1234.5,
        "machine": {"processor": "A processor that is made up", "cores": 2, "virtual": True,
                    "memory_bytes": 8 << 30, "kernel": "0.0.0", "system": "no system",
                    "governor": None, "busy_before": 0.01, "compiler": "no compiler 0.0",
                    "flags": "Release: -O2 -g -DNDEBUG", "libraries": {"libev": "0.0"},
                    "commit": "000000000000", "uncommitted_changes": False,
                    "server_cores": [1], "load_cores": [0]},
        "workloads": [workload.name for workload in WORKLOADS],
        "rivals": [server.name for server in RIVALS],
        "missing_workloads": {}, "missing_servers": missing, "runs": runs,
        "micro": {"report": {"benchmarks": micro}},
        "counts": made_up_counts(rng),
        "texts": [{"name": "weir-sizes", "title": "Sizes", "missing": "weir-sizes was not built"},
                  {"name": "weir-poll-compare", "title": "select, poll, epoll",
                   "text": "descriptors  select\n         10    0.00\n"}],
    }


def made_up_counts(rng):
    def one():
        return {load: {"total": rng.uniform(0, 5), "messages": 100, "by_name": {}}
                for load in ("ping-pong", "pipelined")}
    return {"report": {server.name: {"system_calls": one(), "allocations": one()}
                       for server in RIVALS if server.name != "libevent_events"},
            "failed": {"libevent_events": "missing: bench-libevent_events was not built"}}
