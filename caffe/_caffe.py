"""What scripts import from pycaffe's compiled part; see caffepy/pycaffe/."""

from caffepy.pycaffe import *  # noqa: F403
