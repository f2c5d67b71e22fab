# Sourced by the scripts beside it: where we are, and how they speak.
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
started=$SECONDS
jobs=$(nproc)
test_jobs=$((jobs + 1))  # tests wait more than they compute

# step "what happens now": a line that stands out, with the time since the start.
step() { printf '\n== [%4d s] %s\n' "$((SECONDS - started))" "$*"; }

# A failing script says at which of its commands, once.
trap 'code=$?; echo "$(basename "$0"): failed (exit $code) at: $BASH_COMMAND" >&2; exit $code' ERR

# Compiling again what was compiled before costs nothing, where ccache is there.
use_ccache() {
  if command -v ccache > /dev/null; then
    export CMAKE_CXX_COMPILER_LAUNCHER=${CMAKE_CXX_COMPILER_LAUNCHER-ccache}
    export CCACHE_BASEDIR=${CCACHE_BASEDIR-$root} CCACHE_NOHASHDIR=${CCACHE_NOHASHDIR-1}
  fi
}
