"""pycaffe's interface under its own name; see caffepy/pycaffe/detector.py."""

from caffepy.pycaffe.detector import Detector

__all__ = ["Detector"]
