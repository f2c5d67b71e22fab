# Sourced by the other scripts in this folder: paths, messages, the lock and ccache.
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
program=tools/$(basename "$0")
started=$SECONDS
jobs=$(nproc)
test_jobs=$((jobs + 1))  # tests often wait

# step "description": prints a heading with the time since the start.
step() { printf '\n== [%4d s] %s\n' "$((SECONDS - started))" "$*"; }

# If a script fails, it prints the command that failed, once.
trap 'code=$?; echo "$program: failed (exit $code) at: $BASH_COMMAND" >&2; exit $code' ERR

# Prevents two of these scripts from building into the same folders. Programs that may outlive the
# script are started with 9>&-, so that the lock ends with the script.
lock_tree() {
  mkdir -p build
  exec 9>> build/.lock
  if ! flock --nonblock 9; then
    local holder
    holder=$(< build/.lock)
    echo "error: ${holder:-another of these scripts} is running in $root; wait until it ends," \
      "or use a second clone" >&2
    exit 1
  fi
  echo "$program (process $$)" > build/.lock
}

# Uses ccache, if it is installed.
use_ccache() {
  if command -v ccache > /dev/null; then
    export CMAKE_CXX_COMPILER_LAUNCHER=${CMAKE_CXX_COMPILER_LAUNCHER-ccache}
    export CCACHE_BASEDIR=${CCACHE_BASEDIR-$root} CCACHE_NOHASHDIR=${CCACHE_NOHASHDIR-1}
  fi
}
