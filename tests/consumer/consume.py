#!/usr/bin/env python3
"""Plays the stranger who uses weir. Each step is one test; `--help` names them."""

import argparse
import concurrent.futures
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def run(command, **options):
    """Runs a command, showing it first so that a failure can be repeated by hand."""
    print("$", " ".join(str(word) for word in command), flush=True)
    subprocess.run([str(word) for word in command], check=True, **options)


def configure(args, source, build, *definitions):
    shutil.rmtree(build, ignore_errors=True)
    run([
        args.cmake, "-S", source, "-B", build, "-G", "Ninja",
        f"-DCMAKE_CXX_COMPILER={args.compiler}", f"-DCMAKE_CXX_COMPILER_LAUNCHER={args.launcher}",
        *definitions,
    ])


def install(args):
    """cmake --install into an empty folder, which must then hold headers and no links."""
    shutil.rmtree(args.prefix, ignore_errors=True)
    run([args.cmake, "--install", args.weir_build, "--prefix", args.prefix])
    headers = sorted((args.prefix / "include/weir").rglob("*.h"))
    assert args.prefix / "include/weir/net/tcp/tcp_server.h" in headers, headers
    hidden = [header for header in headers if header.name == "sys.h"]
    assert not hidden, f"internal headers were installed: {hidden}"
    links = [path for path in (args.prefix / "include").rglob("*") if path.is_symlink()]
    assert not links, f"links were installed: {links}"
    tools = args.tools.split(",") if args.tools else []
    for tool in tools:
        run([args.prefix / "bin" / tool, "--version"], timeout=30)
    programs = {path.name for path in (args.prefix / "bin").glob("*")}
    assert programs == set(tools), programs


def find_package(args):
    """find_package(weir) against the prefix, with nothing of the build tree in reach."""
    build = args.work / "find_package"
    configure(args, HERE / "program", build, f"-DCMAKE_PREFIX_PATH={args.prefix}")
    run([args.cmake, "--build", build])
    run([build / "stranger"], timeout=30)
    run([build / "stranger_test"], timeout=30)


def pkg_config(args):
    """The same program by hand, with the flags that pkg-config gives."""
    files = sorted(args.prefix.rglob("weir.pc"))
    assert len(files) == 1, files
    flags = subprocess.run(
        ["pkg-config", "--cflags", "--libs", "weir"], check=True, capture_output=True, text=True,
        env={"PKG_CONFIG_PATH": str(files[0].parent), "PATH": "/usr/local/bin:/usr/bin:/bin"},
    ).stdout.split()
    program = args.work / "pkg_config_stranger"
    libraries = files[0].parent.parent
    run([
        args.compiler, HERE / "program/main.cc", "-o", program, *flags,
        f"-Wl,-rpath,{libraries}",
    ])
    run([program], timeout=30)


def add_subdirectory(args):
    """weir inside somebody else's project."""
    build = args.work / "add_subdirectory"
    configure(args, HERE / "add_subdirectory", build, f"-DWEIR={args.weir}")
    run([args.cmake, "--build", build, "--target", "stranger", "stranger_server"])
    run([build / "stranger"], timeout=30)


def headers_alone(args):
    """Each public header is compiled as if it were a program's only include."""
    run([args.cmake, "--build", args.weir_build, "--target", "all_verify_interface_header_sets"])


def public_headers(args):
    """Those of the build tree as they are spelled in an #include: weir/net/tcp/tcp_server.h."""
    for listing in [args.weir / "base/CMakeLists.txt", *args.weir.glob("net/*/CMakeLists.txt")]:
        folder = listing.parent.relative_to(args.weir)
        match = re.search(r"PUBLIC_HEADERS\s+(.*?)\bSOURCES\b", listing.read_text(), re.S)
        for name in match.group(1).split() if match else ():
            yield f"weir/{folder}/{name}", (listing.parent / name).read_text()


# What other libraries define (Qt, X11, Windows, Apple, curses), or programs with an old habit.
FOREIGN_MACROS = """signals slots emit foreach forever Q_EMIT None Status Bool Always Success True
    False Unsorted Complex check verify require nil YES NO interface near far small IN OUT CONST
    VOID ERROR DELETE DEBUG OPTIONAL unix linux""".split()
FOREIGN_FUNCTIONS = ["min", "max"]


def foreign_macros(args):
    """All public headers in one file, behind macros that no name of weir's may meet."""
    headers = dict(public_headers(args))
    theirs = set()
    for text in headers.values():
        theirs |= set(re.findall(r"^#include <([\w/.]+)>", text, re.M))
    lines = [f"#include <{name}>" for name in sorted(theirs)]
    for macro in FOREIGN_MACROS:
        lines += [f"#undef {macro}", f"#define {macro} ] a macro of {macro} ["]
    lines += [f"#define {name}(a, b) ] a macro of {name} [" for name in FOREIGN_FUNCTIONS]
    lines += [f'#include "{name}"' for name in headers]
    program = args.work / "foreign_macros.cc"
    program.write_text("\n".join(lines) + "\n")
    run([args.compiler, "-std=c++23", "-fsyntax-only", f"-I{args.weir_build}/include", program])


def old_language(args):
    """With C++20 every public header gives one sentence, and not an error for each of its lines."""
    def refusal(name):
        command = [args.compiler, "-std=c++20", "-fsyntax-only", "-x", "c++",
                   f"-I{args.weir_build}/include", "-include", name, "/dev/null"]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        errors = re.findall(r"error: (.*)", result.stderr)
        right = len(errors) == 2 and "weir is C++23: compile with -std=c++23" in errors[0]
        return "" if right else f"{name}: {result.stderr or 'compiles'}"

    names = [name for name, _ in public_headers(args)]
    assert len(names) > 40, names
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        wrong = [text for text in pool.map(refusal, names) if text]
    if wrong:
        raise SystemExit("\n".join(wrong))


def verdict(args, case):
    """What is wrong with a case that must not compile, as text; "" if nothing is."""
    reason = re.search(r"^// refused: (.*)$", case.read_text(), re.M)
    if not reason:
        return "does not say why it is refused"
    command = [
        args.compiler, "-std=c++23", "-fsyntax-only", "-Wall", "-Wextra", "-Werror",
        f"-I{args.weir_build}/include", str(case),
    ]
    right = subprocess.run(command, capture_output=True, text=True, check=False)
    if right.returncode != 0:
        return f"is refused even when it is right\n$ {' '.join(command)}\n{right.stderr}"
    command.append("-DWRONG")
    wrong = subprocess.run(command, capture_output=True, text=True, check=False)
    if wrong.returncode == 0:
        return f"compiles\n$ {' '.join(command)}"
    if not re.search(reason.group(1), wrong.stderr):
        return f"is refused for another reason\n$ {' '.join(command)}\n{wrong.stderr}"
    return ""


def must_not_compile(args):
    """Each case compiles as it stands, and is refused for the stated reason with -DWRONG."""
    cases = sorted((HERE / "must_not_compile").glob("*.cc"))
    assert cases
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        verdicts = list(pool.map(lambda case: verdict(args, case), cases))
    for case, words in zip(cases, verdicts):
        print(f"{case.name} {words or 'is refused, as it should be'}")
    if any(verdicts):
        raise SystemExit("some cases are not as they should be")


STEPS = [install, find_package, pkg_config, add_subdirectory, headers_alone, foreign_macros,
         old_language, must_not_compile]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--compiler", required=True)
    parser.add_argument("--launcher", default="")
    parser.add_argument("--cmake", default="cmake")
    parser.add_argument("--weir", type=Path, required=True, help="the source tree")
    parser.add_argument("--weir-build", type=Path, required=True, help="its build tree")
    parser.add_argument("--prefix", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="where programs are built")
    parser.add_argument("--tools", default="", help="programs that are installed, with commas")
    parser.add_argument("step", choices=[step.__name__ for step in STEPS])
    args = parser.parse_args()
    try:
        next(step for step in STEPS if step.__name__ == args.step)(args)
    except subprocess.CalledProcessError as error:
        return error.returncode or 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
