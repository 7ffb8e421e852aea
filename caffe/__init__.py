"""pycaffe's interface under its own name; see caffepy/pycaffe/."""

from caffe import (  # noqa: F401 - modules, there without an import
    _caffe,
    classifier,
    detector,
    io,
    net_spec,
    proto,
    pycaffe,
)
from caffepy.pycaffe import *  # noqa: F403
from caffepy.pycaffe import __all__ as __all__
