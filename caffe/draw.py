"""pycaffe's interface under its own name; see caffepy/pycaffe/draw.py."""

from caffepy.pycaffe.draw import *  # noqa: F403
