#!/usr/bin/env bash
# Makes the checkout's own virtual environment, .venv, with the locked requirements and the project itself (editable).
#
#     bash scripts/setup.sh
#
# Works from any directory. What is there and up to date is reused; after a change of requirements.txt or of the
# Python it is made afresh. PYTHON names the interpreter; otherwise it is the first of python3, python3.14, python3.13,
# python3.12 and python3.11 that is one of those that requirements.txt is locked for.
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
venv="$root/.venv"

fail() {
    echo "error: $*" >&2
    exit 1
}

# The bounds are those of requires-python in pyproject.toml.
is_usable() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' >/dev/null 2>&1; }

find_python() {
    local candidate
    if [[ -n "${PYTHON:-}" ]]; then
        is_usable "$PYTHON" ||
            fail "PYTHON=$PYTHON is no Python 3.11, 3.12, 3.13 or 3.14, which requirements.txt is locked for; name another one"
        echo "$PYTHON"
        return
    fi
    for candidate in python3 python3.14 python3.13 python3.12 python3.11; do
        if is_usable "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    fail "no Python 3.11, 3.12, 3.13 or 3.14 found, which requirements.txt is locked for;" \
        "install one or name it: PYTHON=/path/to/python3.13 bash scripts/setup.sh"
}

python="$(find_python)"
version="$("$python" -c 'import platform; print(platform.python_version())')"
mkdir -p "$root/.cache"
# Two commands started together must not build the same environment at once.
if command -v flock >/dev/null; then
    exec 9>"$root/.cache/setup.lock"
    flock 9
fi

stamp="$("$python" -c '
import hashlib, pathlib, sys
print(hashlib.sha256(sys.version.encode() + pathlib.Path(sys.argv[1]).read_bytes()).hexdigest())
' "$root/requirements.txt")"

if [[ -x "$venv/bin/python" && "$(cat "$venv/stamp" 2>/dev/null)" == "$stamp $root" ]] && is_usable "$venv/bin/python"; then
    echo "setup: reusing $venv (Python $version)"
    exit 0
fi

echo "setup: making $venv with Python $version"
"$python" -m venv --clear "$venv" || fail "$python cannot make a virtual environment; on Debian: apt-get install python3-venv"
echo "setup: installing requirements.txt (one to three minutes; 2.7 GB on disk)"
"$venv/bin/python" -m pip install --quiet --quiet --disable-pip-version-check --requirement "$root/requirements.txt" ||
    fail "the requirements could not be installed; pip's message is above"
echo "setup: installing the project"
"$venv/bin/python" -m pip install --quiet --quiet --disable-pip-version-check --no-deps --editable "$root" ||
    fail "the project could not be installed; pip's message is above"
# Written last, so that a set-up that was cut short is done again.
echo "$stamp $root" >"$venv/stamp"
echo "setup: done"
