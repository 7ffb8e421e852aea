"""pycaffe's interface under its own name; see caffepy/pycaffe/net_spec.py."""

from caffepy.pycaffe.net_spec import *  # noqa: F403
