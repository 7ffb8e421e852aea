#!/bin/sh
# From nothing to tested weights: makes .venv, installs caffepy, then trains on handwritten digits.
# Needs Python 3.10 or newer with venv and pip. Results: runs/digits.
set -eu
cd "$(dirname "$0")/../.."
. tools/set_up.sh
exec .venv/bin/python -m caffepy.models.digits.run runs/digits
