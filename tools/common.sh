# Sourced by the scripts beside it: where we are, and how they speak.
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
program=tools/$(basename "$0")
started=$SECONDS
jobs=$(nproc)
test_jobs=$((jobs + 1))  # tests wait more than they compute

# step "what happens now": a line that stands out, with the time since the start.
step() { printf '\n== [%4d s] %s\n' "$((SECONDS - started))" "$*"; }

# A failing script says at which of its commands, once.
trap 'code=$?; echo "$program: failed (exit $code) at: $BASH_COMMAND" >&2; exit $code' ERR

# Two of these scripts at a time would build into the same folders. What runs longer than a build is
# started with 9>&-: the lock goes when the script does.
lock_tree() {
  mkdir -p build
  exec 9>> build/.lock
  if ! flock --nonblock 9; then
    local holder
    holder=$(< build/.lock)
    echo "error: ${holder:-another of these scripts} is at work in $root; wait until it has" \
      "ended, or use a second clone" >&2
    exit 1
  fi
  echo "$program (process $$)" > build/.lock
}

# Compiling again what was compiled before costs nothing, where ccache is there.
use_ccache() {
  if command -v ccache > /dev/null; then
    export CMAKE_CXX_COMPILER_LAUNCHER=${CMAKE_CXX_COMPILER_LAUNCHER-ccache}
    export CCACHE_BASEDIR=${CCACHE_BASEDIR-$root} CCACHE_NOHASHDIR=${CCACHE_NOHASHDIR-1}
  fi
}
