#!/bin/sh
# From nothing to a tested detector: makes .venv, installs caffepy, draws shapes, trains a small SSD.
# Needs Python 3.10 or newer with venv and pip. Results: runs/ssd_shapes.
set -eu
cd "$(dirname "$0")/../.."
. tools/set_up.sh
exec .venv/bin/python -m caffepy.models.ssd_shapes.run runs/ssd_shapes
