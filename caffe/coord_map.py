"""pycaffe's interface under its own name; see caffepy/pycaffe/coord_map.py."""

from caffepy.pycaffe.coord_map import *  # noqa: F403
