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


def configuration(args, source, build, *definitions):
    """The command that configures an empty build folder."""
    shutil.rmtree(build, ignore_errors=True)
    return [
        args.cmake, "-S", source, "-B", build, "-G", "Ninja",
        f"-DCMAKE_CXX_COMPILER={args.compiler}", f"-DCMAKE_CXX_COMPILER_LAUNCHER={args.launcher}",
        *definitions,
    ]


def configure(args, source, build, *definitions):
    run(configuration(args, source, build, *definitions))


# What weir is built with, and the header by which a program would notice that it is there.
PRIVATE_LIBRARIES = {"fmt": "fmt/format.h", "spdlog": "spdlog/spdlog.h"}


def without_private_headers(args):
    """The flag that hides the headers of fmt and spdlog: these come first, and are none."""
    folder = args.work / "no_headers"
    for name in PRIVATE_LIBRARIES:
        (folder / name).mkdir(parents=True, exist_ok=True)
    for header in ("fmt/core.h", "spdlog/logger.h", *PRIVATE_LIBRARIES.values()):
        (folder / header).write_text(f"#error {header} is not installed here\n")
    return f"-I{folder}"


def readme_server(args):
    """The folder of tests/consumer/program with the server of README.md as its main.cc."""
    source = args.work / "readme_server"
    source.mkdir(parents=True, exist_ok=True)
    text = (args.weir / "README.md").read_text()
    code = re.search(r"^```cpp\n(.*?)^```", text, re.M | re.S).group(1)
    assert "int main()" in code, code
    (source / "main.cc").write_text(code)
    for name in ("CMakeLists.txt", "symbols.cc", "test.cc"):
        shutil.copy(HERE / "program" / name, source)
    return source


def package_flags(args, prefix, *options):
    """What pkg-config says of the weir that is installed at `prefix`."""
    files = sorted(prefix.rglob("weir.pc"))
    assert len(files) == 1, files
    # For the shared library nothing else is to be found.
    where = "PKG_CONFIG_LIBDIR" if prefix == args.shared_prefix else "PKG_CONFIG_PATH"
    flags = subprocess.run(
        ["pkg-config", "--cflags", "--libs", *options, "weir"], check=True, capture_output=True,
        text=True, env={where: str(files[0].parent), "PATH": "/usr/local/bin:/usr/bin:/bin"},
    ).stdout.split()
    return [*flags, f"-Wl,-rpath,{files[0].parent.parent}"]


def compile_by_hand(args, source, program, *flags):
    run([args.compiler, without_private_headers(args), source, "-o", program, *flags])


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
    configure(args, HERE / "program", build, f"-DCMAKE_PREFIX_PATH={args.prefix}",
              f"-DCMAKE_CXX_FLAGS={without_private_headers(args)}")
    run([args.cmake, "--build", build])
    run([build / "stranger"], timeout=30)
    run([build / "stranger_test"], timeout=30)


def components(args):
    """The floors are components; a wrong one is named, with those that there are."""
    def configured(*names):
        command = configuration(args, HERE / "program", args.work / "components",
                                f"-DCMAKE_PREFIX_PATH={args.prefix}",
                                f"-DCOMPONENTS={';'.join(names)}")
        return subprocess.run(command, capture_output=True, text=True, check=False)

    good = configured("tcp", "udp", "sim", "testing")
    assert good.returncode == 0, good.stderr
    wrong = configured("tcp", "pigeon")
    words = " ".join(wrong.stderr.split())
    assert wrong.returncode != 0, "a component that does not exist was found"
    assert 'weir has no component "pigeon". Its components are: base buffer ' in words, wrong.stderr


def pkg_config(args):
    """The same program by hand, with the flags that pkg-config gives."""
    program = args.work / "pkg_config_stranger"
    compile_by_hand(args, HERE / "program/main.cc", program,
                    *package_flags(args, args.prefix, "--static"))
    run([program], timeout=30)


def shared_install(args):
    """Builds weir as one shared library, and installs it."""
    build = args.work / "shared_build"
    shutil.rmtree(args.shared_prefix, ignore_errors=True)
    configure(args, args.weir, build, "-DBUILD_SHARED_LIBS=ON", "-DWEIR_BUILD_EXAMPLES=OFF",
              "-DWEIR_BUILD_TOOLS=OFF", "-DCMAKE_BUILD_TYPE=Debug", "-DCMAKE_CXX_FLAGS_DEBUG=-O1",
              f"-DCMAKE_INSTALL_PREFIX={args.shared_prefix}", "-DCMAKE_INSTALL_LIBDIR=lib")
    run([args.cmake, "--build", build])
    run([args.cmake, "--install", build])
    libraries = {path.name for path in (args.shared_prefix / "lib").glob("lib*")}
    assert libraries == {"libweir.so", "libweir.so.0.1", "libweir.so.0.1.0"}, libraries


def symbols(*options):
    """The demangled names that `nm` prints, such as "T weir::EventLoop::run()"."""
    listing = subprocess.run(["nm", "--defined-only", "--demangle", *options], check=True,
                             capture_output=True, text=True).stdout
    return {match[1] for match in re.finditer(r"^[0-9a-f]+ (. .*)$", listing, re.M)}


# Namespace weir::internal, and the classes that hold what a public class hides (WEIR_HIDDEN).
NOT_EXPORTED = re.compile(r"\bweir::internal::|::Impl::|\(anonymous namespace\)")


def exported_symbols(args):
    """The shared library exports the public functions of the static libraries, and no others."""
    static = sorted(args.prefix.rglob("libweir_*.a"))
    assert len(static) > 10, static
    defined = {name for name in symbols("--extern-only", *static) if name.startswith("T weir::")}
    public = {name for name in defined if not NOT_EXPORTED.search(name)}
    assert "T weir::EventLoop::run()" in public, public

    exported = symbols("--dynamic", args.shared_prefix / "lib/libweir.so")
    assert "V typeinfo for weir::SystemError" in exported, exported
    missing = sorted(public - exported)
    assert not missing, "\n".join(["public, but not exported:", *missing])
    own = sorted(name for name in exported if "weir::internal::" in name)
    assert not own, "\n".join(["exported, but internal:", *own])


def shared_symbols(args):
    """The inline functions of the installed headers call nothing that the shared library hides."""
    include = args.shared_prefix / "include"
    headers = sorted(str(path.relative_to(include)) for path in include.rglob("*.h"))
    headers.remove("weir/base/fmt.h")  # for programs that have fmt
    every_header = [word for name in headers for word in ("-include", name)]
    program = args.work / "shared_symbols"
    compile_by_hand(args, HERE / "program/symbols.cc", program, "-fkeep-inline-functions",
                    *every_header, *package_flags(args, args.shared_prefix))
    run([program], stdout=subprocess.DEVNULL, timeout=30)


def shared_find_package(args):
    """Programs against the shared library, where fmt and spdlog cannot be developed with."""
    hidden = [f"-DCMAKE_DISABLE_FIND_PACKAGE_{name}=ON" for name in PRIVATE_LIBRARIES]
    for source in (HERE / "program", readme_server(args)):
        build = args.work / "shared_find_package" / source.name
        configure(args, source, build, f"-DCMAKE_PREFIX_PATH={args.shared_prefix}",
                  f"-DCMAKE_CXX_FLAGS={without_private_headers(args)}", *hidden)
        run([args.cmake, "--build", build])
        run([build / "stranger_test"], timeout=30)
    run([args.work / "shared_find_package/program/stranger"], timeout=30)


def shared_pkg_config(args):
    """The same by hand."""
    flags = package_flags(args, args.shared_prefix)
    strange = [flag for flag in flags if "fmt" in flag or "spdlog" in flag]
    assert not strange, strange
    program = args.work / "shared_pkg_config_stranger"
    compile_by_hand(args, HERE / "program/main.cc", program, *flags)
    run([program], timeout=30)
    compile_by_hand(args, readme_server(args) / "main.cc", args.work / "readme_server_by_hand",
                    *flags)


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


STEPS = [install, find_package, components, pkg_config, shared_install, exported_symbols,
         shared_symbols, shared_find_package, shared_pkg_config, add_subdirectory, headers_alone,
         foreign_macros, old_language, must_not_compile]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--compiler", required=True)
    parser.add_argument("--launcher", default="")
    parser.add_argument("--cmake", default="cmake")
    parser.add_argument("--weir", type=Path, required=True, help="the source tree")
    parser.add_argument("--weir-build", type=Path, required=True, help="its build tree")
    parser.add_argument("--prefix", type=Path, required=True)
    parser.add_argument("--shared-prefix", type=Path, required=True)
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
