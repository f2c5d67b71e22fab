#!/usr/bin/env python3
"""Checks the layers: which floor may include which, the spelling of includes, the files that may
make system calls, and the length of files and lines.

Prints one line per violation, `path:line: rule: why`, and exits 1 if there was any.
"""

import argparse
import re
import sys
from pathlib import Path

# The floors below a connection and a datagram socket.
STREAM = ["base", "net/buffer", "net/sys", "net/socket", "net/reactor"]

# Each floor and the floors it may include. A floor may always include itself.
FLOORS = {
    "base": [],
    "net/buffer": ["base"],
    "net/sys": ["base"],
    "net/socket": ["base", "net/sys"],
    "net/reactor": ["base", "net/sys"],
    "net/stream": STREAM,
    "net/udp": STREAM,
    "net/codec": ["base", "net/buffer", "net/stream"],
    "net/tcp": STREAM + ["net/stream"],
    "net/route": STREAM + ["net/stream"],
    "net/service": STREAM + ["net/stream", "net/tcp", "net/udp"],
    "net/sim": ["base", "net/sys", "net/reactor"],
    "net/testing": STREAM + ["net/stream", "net/tcp"],
}

# Folders with files that are checked for spelling, length and marks; only floors have layers.
CODE_FOLDERS = ["base", "net", "tests", "benchmarks", "examples", "tools"]
CODE_SUFFIXES = {".h", ".cc"}
SCRIPT_SUFFIXES = {".py", ".cmake", ".sh", ""}

# Generated or foreign folders, and programs that are wrong on purpose.
SKIPPED_PARTS = {"build", "__pycache__", "corpus"}

# Folders with sources that a test compiles itself.
COMPILED_BY_HAND = {"must_not_compile"}

MAX_HEADER_LINES = 300
MAX_SOURCE_LINES = 500
MAX_TEST_LINES = 700  # a test file is a list of independent cases
MAX_COLUMNS = 100

# The only files that may make system calls. net/sys has the table. base, which may not include it,
# closes descriptors, writes a log (also around fork), raises a limit, and gets a random key for its
# hashes. fake_clock.cc and the simulated kernel name the calls that they replace.
SYSTEM_CALL_FILES = {
    "net/sys/process.cc",
    "net/sys/sys.cc",
    "net/sys/sys.h",
    "net/sys/sys_table.cc",
    "net/sys/sys_table.h",
    "net/sys/thread.cc",
    "net/testing/fake_clock.cc",
    "net/sim/internal/kernel.cc",
    "net/sim/internal/kernel.h",
    "net/sim/internal/kernel_sockets.cc",
    "base/fd.cc",
    "base/keyed_hash.cc",
    "base/log.cc",
    "base/sigpipe_blocked.h",
    "base/write_now.cc",
}

# Names that mean the C function if they follow a plain `::`.
GLOBAL_CALLS = """
    accept bind chmod close connect creat dup dup2 dup3 fchmod fstat kill listen lstat mkdir open
    openat pipe pipe2 poll ppoll pread pwrite raise read readv recv select send shutdown sigaction
    signal sleep socket splice stat unlink usleep write writev
""".split()

# Names that are used for nothing else: a violation even without `::`.
UNMISTAKABLE_CALLS = """
    accept4 clock_gettime epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 epoll_wait
    eventfd fcntl fopen getaddrinfo getpeername getrandom getrlimit getrusage getsockname getsockopt
    gettimeofday if_indextoname if_nametoindex ioctl nanosleep pthread_atfork pthread_create
    pthread_kill pthread_setname_np pthread_sigmask recvfrom recvmmsg recvmsg sendfile sendmmsg
    sendmsg sendto setrlimit setsockopt signalfd sigprocmask socketpair sysconf timerfd_create
    timerfd_settime
""".split()

EVERY_CALL = "|".join(GLOBAL_CALLS + UNMISTAKABLE_CALLS)
GLOBAL_CALL = re.compile(r"(?<![\w:>])::\s*(" + EVERY_CALL + r")\s*\(")
BARE_CALL = re.compile(r"(?<![\w:.>~])(" + "|".join(UNMISTAKABLE_CALLS) + r")\s*\(")
# Parts of the standard library that make system calls without the table.
LIBRARY_CALL = re.compile(
    r"\bstd::(async|filesystem|(?:i|o)?fstream|jthread|random_device|thread)\b(?!::id\b)"
)
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
# In two pieces so that this file does not accuse itself.
MARK = re.compile(r"\b(" + "TO" + "DO|FIX" + r"ME)\b")
# A floor's list of installed headers in its CMakeLists.txt.
PUBLIC_HEADERS = re.compile(r"PUBLIC_HEADERS\s+(.*?)(?:\bSOURCES\b|\bDEPENDS\b|\))", re.S)

# Libraries that weir is built with and its users need not have, and the one installed header that
# includes them, for users who do; no other installed header may include it.
PRIVATE_LIBRARIES = re.compile(r"(fmt|spdlog)/")
HEADER_FOR_FMT = "base/fmt.h"

# The shared library exports `namespace WEIR_EXPORT weir {` of the installed headers. The patterns
# match a namespace without the macro, and an internal namespace inside an exported one.
NOT_EXPORTED = re.compile(r"^namespace weir \{\n(?!namespace WEIR_EXPORT )", re.M)
INTERNAL_INSIDE = re.compile(r"^namespace internal \{", re.M)


class Violation:
    def __init__(self, path, line, rule, why):
        self.path, self.line, self.rule, self.why = path, line, rule, why

    def __str__(self):
        return f"{self.path}:{self.line}: {self.rule}: {self.why}"


def floor_of(path):
    """The floor of a path such as net/tcp/tcp_server.h, or None."""
    for floor in FLOORS:
        if path.startswith(floor + "/"):
            return floor
    return None


def without_comments(text):
    """The text with blanks in place of comments and literals; the lines keep their numbers."""

    def blank(match):
        kept = match.group(0)
        quote = kept[0] if kept[0] in "\"'" else ""
        return quote + re.sub(r"[^\n]", " ", kept[len(quote) : len(kept) - len(quote)]) + quote

    strings = r'R"(\w*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"'
    characters = r"(?<!\w)'(?:\\.|[^'\\\n])*'"  # not the ' inside 10'000
    comments = r"//[^\n]*|/\*.*?\*/"
    return re.sub(f"{strings}|{characters}|{comments}", blank, text, flags=re.S)


def includes(text):
    """Yields (line number, '<' or '"', name) of each include."""
    for number, line in enumerate(text.splitlines(), 1):
        match = INCLUDE.match(line)
        if match:
            yield number, match.group(1), match.group(2)


def check_text(path, text):
    """The rules for every file: length, columns, white space, marks."""
    lines = text.splitlines()
    suffix = Path(path).suffix
    limit = {".h": MAX_HEADER_LINES, ".cc": MAX_SOURCE_LINES}.get(suffix)
    if path.endswith("_test.cc"):
        limit = MAX_TEST_LINES
    if limit and len(lines) > limit:
        yield Violation(path, len(lines), "file-length", f"{len(lines)} lines; limit {limit}")
    for number, line in enumerate(lines, 1):
        if len(line) > MAX_COLUMNS:
            yield Violation(path, number, "columns", f"{len(line)} columns; limit {MAX_COLUMNS}")
        if line != line.rstrip():
            yield Violation(path, number, "white-space", "trailing white space")
        if "\t" in line and suffix in CODE_SUFFIXES:
            yield Violation(path, number, "white-space", "a tab")
        if MARK.search(line):
            yield Violation(path, number, "mark", "unfinished work belongs in an issue")
    if suffix == ".h" and "#pragma once" not in text:
        yield Violation(path, 1, "header", "no #pragma once")
    if suffix == ".h" and not text.startswith("//"):
        yield Violation(path, 1, "header", "does not start with a comment about its purpose")


def check_include_spelling(path, text):
    """Headers of weir are "weir/...", others <...>; tests and programs may include neighbours."""
    on_floor = floor_of(path) is not None
    for number, quote, name in includes(text):
        if name.endswith(".cc"):
            yield Violation(path, number, "include", f"{name} is a source")
        if quote == "<":
            if name.startswith("weir/"):
                yield Violation(path, number, "include", f'write "{name}"')
        elif not name.startswith("weir/"):
            if on_floor or re.match(r"(base|net|\.\.|\.)/", name):
                yield Violation(path, number, "include", f'"{name}" is not spelled "weir/..."')


def check_layers(path, text, existing):
    """An include names a file of the same floor or of a floor that it may include."""
    floor = floor_of(path)
    if floor is None:
        return
    for number, quote, name in includes(text):
        if not name.startswith("weir/"):
            continue
        target = name.removeprefix("weir/")
        if target not in existing:
            yield Violation(path, number, "layers", f"{name} does not exist")
            continue
        target_floor = floor_of(target)
        if target_floor != floor and target_floor not in FLOORS[floor]:
            yield Violation(path, number, "layers", f"{floor} may not include {target_floor}")


def check_system_calls(path, text):
    """System calls are only in the files of SYSTEM_CALL_FILES."""
    if floor_of(path) is None or path in SYSTEM_CALL_FILES:
        return
    code = without_comments(text)
    for number, line in enumerate(code.splitlines(), 1):
        for pattern in (GLOBAL_CALL, BARE_CALL):
            for match in pattern.finditer(line):
                why = f"{match.group(1)}() is not called through weir/net/sys/sys.h"
                yield Violation(path, number, "system-call", why)
        for match in LIBRARY_CALL.finditer(line):
            why = f"std::{match.group(1)} makes system calls that do not go through weir/net/sys"
            yield Violation(path, number, "system-call", why)


def check_cycles(graph):
    """No file includes itself indirectly. `graph`: file -> list of the files that it includes."""
    done, trail, found = set(), [], []

    def visit(node):
        if node in trail:
            found.append(trail[trail.index(node) :] + [node])
            return
        if node in done:
            return
        trail.append(node)
        for target in graph.get(node, ()):
            visit(target)
        trail.pop()
        done.add(node)

    for node in sorted(graph):
        visit(node)
    for cycle in found:
        yield Violation(cycle[0], 1, "cycle", " -> ".join(cycle))


def check_public_headers(floor, listing, headers):
    """An installed header may not include one that is not installed, nor fmt or spdlog.

    `headers`: path -> text of every header of every floor; `listing`: floor -> installed names.
    """
    for name in listing[floor]:
        path = f"{floor}/{name}"
        if path not in headers:
            yield Violation(f"{floor}/CMakeLists.txt", 1, "public-header", f"{name} does not exist")
            continue
        for number, _, included in includes(headers[path]):
            target = included.removeprefix("weir/")
            private = PRIVATE_LIBRARIES.match(included) or target == HEADER_FOR_FMT
            if private and path != HEADER_FOR_FMT:
                why = f"is installed but includes {included}, which users may not have"
                yield Violation(path, number, "public-header", why)
            target_floor = floor_of(target)
            if target_floor is None or target == included or target not in headers:
                continue
            if target.removeprefix(target_floor + "/") not in listing.get(target_floor, ()):
                why = f"is installed but includes {included}, which is not"
                yield Violation(path, number, "public-header", why)


def check_exports(floor, listing, headers):
    """An installed header exports namespace weir, and nothing of weir::internal."""
    for path in (f"{floor}/{name}" for name in listing[floor]):
        text = headers.get(path, "")
        for pattern, why in (
            (NOT_EXPORTED, "write `namespace WEIR_EXPORT weir {`"),
            (INTERNAL_INSIDE, "end the exported namespace before `namespace weir::internal {`"),
        ):
            for match in pattern.finditer(text):
                line = text.count("\n", 0, match.start()) + 1
                yield Violation(path, line, "export", why)


def check_dead_files(files):
    """The CMakeLists.txt of its folder, or of one above it, names each source."""
    for path in files:
        parents = [parent.as_posix() for parent in Path(path).parents]
        if Path(path).suffix != ".cc" or COMPILED_BY_HAND.intersection(Path(path).parts):
            continue
        lists = [files.get(f"{parent}/CMakeLists.txt", "") for parent in parents]
        if not any(Path(path).name in text for text in lists):
            yield Violation(path, 1, "dead-file", "no CMakeLists.txt names it")


def code_files(root):
    """Every C++ file and script below `root`, as (relative path, text)."""
    for folder in CODE_FOLDERS:
        for file in sorted((root / folder).rglob("*")):
            relative = file.relative_to(root)
            if SKIPPED_PARTS.intersection(relative.parts) or not file.is_file():
                continue
            if file.suffix in CODE_SUFFIXES | SCRIPT_SUFFIXES or file.name == "CMakeLists.txt":
                try:
                    yield relative.as_posix(), file.read_text(encoding="utf-8")
                except UnicodeDecodeError:
                    yield relative.as_posix(), ""


def check_tree(root):
    """All violations below `root`, in the order of the files."""
    files = dict(code_files(root))
    code = {path: text for path, text in files.items() if Path(path).suffix in CODE_SUFFIXES}
    violations = []
    for path, text in files.items():
        violations += check_text(path, text)
    for path, text in code.items():
        violations += check_include_spelling(path, text)
        violations += check_layers(path, text, code)
        violations += check_system_calls(path, text)
        top = path.split("/")[0]
        if top in ("base", "net") and floor_of(path) is None:
            violations.append(Violation(path, 1, "layers", "belongs to no floor of the table"))

    violations += check_dead_files(files)

    graph = {}
    for path, text in code.items():
        graph[path] = [
            name.removeprefix("weir/") for _, _, name in includes(text) if name.startswith("weir/")
        ]
    violations += check_cycles(graph)

    listing = {}
    for floor in FLOORS:
        match = PUBLIC_HEADERS.search(files.get(f"{floor}/CMakeLists.txt", ""))
        listing[floor] = match.group(1).split() if match else []
    headers = {path: text for path, text in code.items() if path.endswith(".h")}
    for floor in FLOORS:
        violations += check_public_headers(floor, listing, headers)
        violations += check_exports(floor, listing, headers)
    return violations, len(files)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parent.parent)
    root = parser.parse_args().root
    violations, count = check_tree(root)
    for violation in violations:
        print(violation)
    if count == 0:
        print(f"check_layers: found no files below {root}")
        return 1
    print(f"check_layers: {count} files, {len(violations)} violations")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
