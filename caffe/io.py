"""pycaffe's interface under its own name; see caffepy/pycaffe/io.py."""

from caffepy.pycaffe.io import *  # noqa: F403
