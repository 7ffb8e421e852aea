"""pycaffe's interface under its own name; see caffepy/pycaffe/."""

from caffe import io, net_spec, proto  # noqa: F401 - modules, there without an import
from caffepy.pycaffe import *  # noqa: F403
from caffepy.pycaffe import __all__ as __all__
