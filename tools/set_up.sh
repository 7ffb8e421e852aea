# Makes a virtual environment in .venv and installs this checkout into it, with what tests and plots need.
# To be sourced by a POSIX shell in the root of the checkout; ends the script with a message where
# something is missing.

fail() { printf '%s\n' "set-up: $*" >&2; exit 1; }

PYTHON=${PYTHON:-python3}
command -v "$PYTHON" >/dev/null 2>&1 ||
    fail "no '$PYTHON' found. Install Python 3.10 or newer, or name it: PYTHON=/path/to/python3 sh $0"
"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
    fail "$("$PYTHON" --version) is too old: expected Python 3.10 or newer. Name a newer one: PYTHON=... sh $0"
"$PYTHON" -c 'import venv, ensurepip' 2>/dev/null ||
    fail "this Python lacks venv or pip. On Debian and Ubuntu: apt install python3-venv"
if ! [ -x .venv/bin/python ]; then
    rm -f .venv/installed
    "$PYTHON" -m venv .venv || fail "cannot make the virtual environment $(pwd)/.venv"
fi
# A finished installation is as good as new until setup.py changes: then no network is needed.
if ! [ .venv/installed -nt setup.py ]; then
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ".[test]" ||
        fail "pip could not install caffepy's dependencies (see above): is a package index reachable?"
    touch .venv/installed
fi
