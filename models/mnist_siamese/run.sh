#!/bin/sh
# From nothing to a tested siamese net: makes .venv, installs caffepy, then trains on pairs of
# handwritten digits. Needs Python 3.10 or newer with venv and pip. Results: runs/mnist_siamese.
set -eu
cd "$(dirname "$0")/../.."
. tools/set_up.sh
exec .venv/bin/python -m caffepy.models.mnist_siamese.run runs/mnist_siamese
