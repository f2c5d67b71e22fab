"""The machine of the measurement: processor, kernel, compiler, libraries, commit; and the cores of
the server and of the generator."""

import os
import platform
import re
import subprocess
import time
from pathlib import Path

# Debian package -> name in the report.
LIBRARIES = {
    "libev-dev": "libev", "libuv1-dev": "libuv", "libasio-dev": "Asio", "libevent-dev": "libevent",
    "libbenchmark-dev": "Google Benchmark",
}


def read(path):
    try:
        return Path(path).read_text().strip()
    except OSError:
        return None


def output_of(*command):
    """The first line of the output of a command; None if it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip().split("\n")[0] or None


def processor():
    found = re.search(r"^model name\s*: (.*)$", read("/proc/cpuinfo") or "", re.M)
    return found.group(1) if found else platform.processor() or None


def is_virtual():
    return bool(re.search(r"^flags\s*:.*\bhypervisor\b", read("/proc/cpuinfo") or "", re.M))


def memory_bytes():
    found = re.search(r"^MemTotal:\s*(\d+) kB", read("/proc/meminfo") or "", re.M)
    return int(found.group(1)) * 1024 if found else None


def busy_cores(seconds=1.0):
    """The number of cores that other programs use now (the load average is of the last minutes)."""
    def busy():
        fields = (read("/proc/stat") or "cpu").split("\n")[0].split()[1:]
        ticks = [int(field) for field in fields[:8]]
        return sum(ticks) - sum(ticks[3:5])  # idle and iowait

    before = busy()
    time.sleep(seconds)
    return (busy() - before) / seconds / os.sysconf("SC_CLK_TCK")


def libraries():
    versions = {}
    for package, name in LIBRARIES.items():
        version = output_of("dpkg-query", "-W", "-f", "${Version}", package)
        if version:
            versions[name] = version
    return versions


def compiler(build):
    """The compiler, from the CMake cache of the build folder."""
    found = re.search(r"^CMAKE_CXX_COMPILER:\w+=(.*)$", read(build / "CMakeCache.txt") or "", re.M)
    return output_of(found.group(1), "--version") if found else None


def flags(build):
    text = read(build / "CMakeCache.txt") or ""
    kind = re.search(r"^CMAKE_BUILD_TYPE:\w+=(.*)$", text, re.M)
    if not kind:
        return None
    found = re.search(rf"^CMAKE_CXX_FLAGS_{kind.group(1).upper()}:\w+=(.*)$", text, re.M)
    return f"{kind.group(1)}: {found.group(1)}" if found else kind.group(1)


def describe(root, build, cores):
    dirty = output_of("git", "-C", root, "status", "--porcelain", "--untracked-files=no")
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "virtual": is_virtual(),
        "memory_bytes": memory_bytes(),
        "kernel": platform.release(),
        "system": (re.search(r'^PRETTY_NAME="?([^"\n]*)', read("/etc/os-release") or "", re.M)
                   or [None, None])[1],
        "governor": read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "busy_before": busy_cores(),
        "compiler": compiler(build),
        "flags": flags(build),
        "libraries": libraries(),
        "commit": output_of("git", "-C", root, "rev-parse", "--short=12", "HEAD"),
        "uncommitted_changes": bool(dirty),
        "server_cores": cores.server,
        "load_cores": cores.load,
    }


class Cores:
    """The server gets the last core, the generator the others. A server with several threads gets
    more cores from the end."""

    def __init__(self, available=None):
        self.all = sorted(available if available is not None else os.sched_getaffinity(0))
        self.server, self.load = self.split(1)

    def split(self, threads):
        """(cores of the server, cores of the generator). If there are too few, both get all; see
        shared()."""
        if self.shared(threads):
            return self.all, self.all
        return self.all[-threads:], self.all[:-threads]

    def shared(self, threads):
        return len(self.all) <= threads
