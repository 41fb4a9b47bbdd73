#!/bin/sh
# Sets up .venv: the pinned packages, Claude Code, this project. `make venv` does the same.
#
#   tools/setup.sh [--newest] [FOLDER]         FOLDER is .venv, where none is named
#   PYTHON=/path/to/python tools/setup.sh      another Python than the first that fits on PATH
#
# It finds a Python that is new enough; the rest is in set_up.py.
set -eu
cd "$(dirname "$0")/.."

fail() { # MESSAGE: one line, and what to do
    printf 'setup: %s\n' "$*" >&2
    exit 1
}

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }
can_make_venv() { "$1" -c 'import ensurepip, venv' >/dev/null 2>&1; }

if [ -n "${PYTHON:-}" ]; then
    new_enough "$PYTHON" || fail "PYTHON names $PYTHON, which is not a Python 3.11 or newer that runs; name another, or leave it out"
    exec "$PYTHON" tools/set_up.py "$@"
fi
found=
for python in python3.13 python3.12 python3.11 python3; do
    new_enough "$python" || continue
    [ -n "$found" ] || found=$python
    if can_make_venv "$python"; then
        found=$python
        break
    fi
done
[ -n "$found" ] || fail "no Python 3.11 or newer on PATH ($(python3 --version 2>/dev/null || echo 'no python3')); install one, or name it: PYTHON=/path/to/python"
exec "$found" tools/set_up.py "$@"
