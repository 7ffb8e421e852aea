"""pycaffe's interface under its own name; see caffepy/pycaffe/classifier.py."""

from caffepy.pycaffe.classifier import Classifier

__all__ = ["Classifier"]
