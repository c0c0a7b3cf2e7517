#!/usr/bin/env bash
# Sets up the checkout's environment, then runs the linter, the formatter's check, the type checker and all tests.
#
#     bash scripts/test.sh [pytest's arguments]        for example: bash scripts/test.sh tests/ops -k nms
#
# Works from any directory. Every check runs even if one before it failed; the exit status is 0 only if all passed.
set -uo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
# Paths among pytest's arguments are relative to the checkout.
cd "$root" || exit 1

bash scripts/setup.sh || exit 1
bin="$root/.venv/bin"
failed=()

check() {
    echo "test: $1"
    "${@:2}" || failed+=("$1")
}

check "ruff check" "$bin/ruff" check .
check "ruff format --check" "$bin/ruff" format --check .
check "mypy" "$bin/mypy"
# One file's tests stay in one process, which shares what they compile and their module's fixtures; the files begin in the
# order of tests/conftest.py, the longest first, and not by their numbers of tests.
check "pytest" "$bin/python" -m pytest --numprocesses logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder \
    --durations 15 "$@"

if ((${#failed[@]})); then
    printf 'test: failed: %s\n' "${failed[@]}" >&2
    exit 1
fi
