#!/usr/bin/env python3
"""Shows that tools/check_layers.py catches what it is there to catch, and nothing else."""

import sys
import tempfile
import unittest
from pathlib import Path

TOOLS = Path(__file__).resolve().parents[2] / "tools"
sys.path.insert(0, str(TOOLS))

import check_layers  # noqa: E402  (found through the line above)

HEADER = "// What it is for.\n#pragma once\n"
# Named, so that nothing but the file that a test is about is missing from the build.
NAMES = "a.cc a_test.cc server.cc fd.cc sys.cc\n"


class CheckLayersTest(unittest.TestCase):
    def violations(self, files):
        """The rules that a tree of {path: text} breaks, as (path, rule)."""
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            lists = {f"{top}/CMakeLists.txt": NAMES for top in ("base", "net", "tests")}
            for path, text in (lists | files).items():
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                (root / path).write_text(text)
            found, _ = check_layers.check_tree(root)
        return [(violation.path, violation.rule) for violation in found]

    def assert_caught(self, files, path, rule):
        self.assertIn((path, rule), self.violations(files))

    def test_a_tree_in_order_is_clean(self):
        files = {
            "base/fd.h": HEADER,
            "base/fd.cc": '#include "weir/base/fd.h"\n\nint f(int n) { return ::close(n); }\n',
            "base/CMakeLists.txt": "weir_floor(NAME base PUBLIC_HEADERS fd.h SOURCES fd.cc)\n",
            "net/sys/sys.h": HEADER + '#include "weir/base/fd.h"\n',
            "net/sys/sys.cc": "int g() { return ::accept4(1, nullptr, nullptr, 0); }\n",
            "net/tcp/server.cc": '#include "weir/net/sys/sys.h"\nint h = sys::read(1);\n',
        }
        self.assertEqual(self.violations(files), [])

    def test_an_upward_include(self):
        files = {"base/a.cc": '#include "weir/net/tcp/b.h"\n', "net/tcp/b.h": HEADER}
        self.assert_caught(files, "base/a.cc", "layers")

    def test_a_sideways_include(self):
        files = {"net/buffer/a.cc": '#include "weir/net/socket/b.h"\n', "net/socket/b.h": HEADER}
        self.assert_caught(files, "net/buffer/a.cc", "layers")

    def test_an_include_of_nothing(self):
        self.assert_caught({"base/a.cc": '#include "weir/base/b.h"\n'}, "base/a.cc", "layers")

    def test_a_file_on_no_floor(self):
        self.assert_caught({"net/cellar/a.cc": "int a;\n"}, "net/cellar/a.cc", "layers")

    def test_wrong_spellings(self):
        for line in (
            '#include "fd.h"',
            '#include "base/fd.h"',
            "#include <weir/base/fd.h>",
            '#include "../base/fd.h"',
            '#include "weir/base/fd.cc"',
        ):
            files = {"base/a.cc": line + "\n", "base/fd.h": HEADER, "base/fd.cc": ""}
            self.assert_caught(files, "base/a.cc", "include")

    def test_wrong_spelling_in_a_test(self):
        files = {"tests/unit/a_test.cc": '#include "net/tcp/a.h"\n', "net/tcp/a.h": HEADER}
        self.assert_caught(files, "tests/unit/a_test.cc", "include")

    def test_a_test_may_include_its_neighbour(self):
        files = {"tests/unit/a_test.cc": '#include "helper.h"\n', "tests/unit/helper.h": HEADER}
        self.assertEqual(self.violations(files), [])

    def test_a_cycle(self):
        files = {
            "base/a.h": HEADER + '#include "weir/base/b.h"\n',
            "base/b.h": HEADER + '#include "weir/base/c.h"\n',
            "base/c.h": HEADER + '#include "weir/base/a.h"\n',
        }
        self.assert_caught(files, "base/a.h", "cycle")

    def test_system_calls(self):
        for call in (
            "::read(fd, p, n)",
            "::write(fd, p, n)",
            ":: close (fd)",
            "::recv(fd, p, n, 0)",
            "::sendmsg(fd, &m, 0)",
            "::accept(fd, nullptr, nullptr)",
            "accept4(fd, nullptr, nullptr, 0)",
            "epoll_wait(fd, e, 1, 0)",
            "epoll_ctl(fd, 1, 2, e)",
            "eventfd(0, 0)",
            "clock_gettime(1, &t)",
            "setsockopt(fd, 0, 0, nullptr, 0)",
            "getrlimit(RLIMIT_NOFILE, &limit)",
            "::getrusage(RUSAGE_THREAD, &usage)",
            "sysconf(_SC_PAGESIZE)",
            "if_nametoindex(name)",
            "if_indextoname(1, name)",
            "getrandom(p, n, 0)",
            "pthread_create(&t, nullptr, body, p)",
            "pthread_sigmask(SIG_BLOCK, &set, nullptr)",
            "pthread_atfork(f, g, h)",
            "std::thread([] {})",
            "std::jthread(body)",
            "std::random_device{}()",
            "std::ifstream(path)",
            "std::filesystem::exists(path)",
        ):
            files = {"net/tcp/a.cc": "int f() {\n  return " + call + ";\n}\n"}
            self.assert_caught(files, "net/tcp/a.cc", "system-call")

    def test_what_only_looks_like_a_system_call(self):
        for line in (
            "sys::read(fd, p, n);",
            "internal::sys::epoll_wait(fd, e, t);",
            "table().accept4(fd);",
            "table->eventfd(0, 0);",
            "table().pthread_create(&t, run, p);",
            "std::thread::id id;",
            "std::this_thread::yield();",
            "// ::close(fd) would be wrong here",
            'log("::close(fd)");',
            "connection.close();",
            "void Socket::close() {}",
        ):
            self.assertEqual(self.violations({"net/tcp/a.cc": line + "\n"}), [], line)

    def test_a_long_file(self):
        files = {
            "net/tcp/a.cc": "\n" * 501,
            "net/tcp/a.h": HEADER + "\n" * 299,
            "tests/unit/a_test.cc": "\n" * 701,
        }
        self.assert_caught(files, "net/tcp/a.cc", "file-length")
        self.assert_caught(files, "net/tcp/a.h", "file-length")
        self.assert_caught(files, "tests/unit/a_test.cc", "file-length")

    def test_a_long_line(self):
        self.assert_caught({"base/a.cc": "//" + "a" * 99 + "\n"}, "base/a.cc", "columns")
        self.assertEqual(self.violations({"base/a.cc": "//" + "a" * 98 + "\n"}), [])

    def test_white_space(self):
        self.assert_caught({"base/a.cc": "int a; \n"}, "base/a.cc", "white-space")
        self.assert_caught({"base/a.cc": "\tint a;\n"}, "base/a.cc", "white-space")

    def test_a_mark(self):
        for mark in ("TO" + "DO", "FIX" + "ME"):
            self.assert_caught({"base/a.cc": f"// {mark}: later\n"}, "base/a.cc", "mark")

    def test_a_header_without_its_first_lines(self):
        self.assert_caught({"base/a.h": "// For what.\n"}, "base/a.h", "header")
        self.assert_caught({"base/a.h": "#pragma once\n"}, "base/a.h", "header")

    def test_a_source_that_is_not_built(self):
        self.assert_caught({"net/tcp/lost.cc": "int a;\n"}, "net/tcp/lost.cc", "dead-file")
        self.assert_caught({"tests/lost_test.cc": "\n"}, "tests/lost_test.cc", "dead-file")

    def test_an_installed_header_that_includes_a_hidden_one(self):
        files = {
            "base/a.h": HEADER + '#include "weir/base/hidden.h"\n',
            "base/hidden.h": HEADER,
            "base/CMakeLists.txt": "weir_floor(NAME base PUBLIC_HEADERS a.h SOURCES b.cc)\n",
        }
        self.assert_caught(files, "base/a.h", "public-header")

    def test_an_installed_header_that_needs_fmt_or_spdlog(self):
        listing = {"base/CMakeLists.txt": "weir_floor(NAME base PUBLIC_HEADERS a.h fmt.h)\n"}
        for_fmt = listing | {"base/fmt.h": HEADER + "#include <fmt/format.h>\n"}
        self.assertEqual(self.violations(for_fmt | {"base/a.h": HEADER}), [])
        for name in ("<fmt/format.h>", "<spdlog/logger.h>", '"weir/base/fmt.h"'):
            files = for_fmt | {"base/a.h": HEADER + f"#include {name}\n"}
            self.assert_caught(files, "base/a.h", "public-header")

    def test_what_an_installed_header_exports(self):
        listing = {"base/CMakeLists.txt": "weir_floor(NAME base PUBLIC_HEADERS a.h)\n"}
        public = "namespace WEIR_EXPORT weir {\n}\n"
        nested = "namespace weir {\nnamespace WEIR_EXPORT testing {\n}\n}\n"
        internal = "namespace weir::internal {\n}\n"
        for text in (public, nested, internal + public):
            self.assertEqual(self.violations(listing | {"base/a.h": HEADER + text}), [])
        inside = "namespace WEIR_EXPORT weir {\nnamespace internal {\n}\n}\n"
        for text in ("namespace weir {\n}\n", public + "namespace weir {\n}\n", inside):
            self.assert_caught(listing | {"base/a.h": HEADER + text}, "base/a.h", "export")

    def test_an_installed_header_that_is_not_there(self):
        files = {"base/CMakeLists.txt": "weir_floor(NAME base PUBLIC_HEADERS a.h SOURCES b.cc)\n"}
        self.assert_caught(files, "base/CMakeLists.txt", "public-header")


if __name__ == "__main__":
    unittest.main()
