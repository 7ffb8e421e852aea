#!/bin/sh
# Sets up .venv and runs the tests; arguments go to pytest (`sh tests/run.sh -m slow`).
set -eu
cd "$(dirname "$0")/.."
. tools/set_up.sh
if [ $# -eq 0 ]; then set -- -m "not slow"; fi
exec .venv/bin/python -m pytest "$@"
