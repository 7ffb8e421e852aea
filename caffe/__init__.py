"""pycaffe's interface under its own name; see caffepy/pycaffe.py."""

from caffepy.pycaffe import TEST, TRAIN, Blob, BlobVec, Layer

__all__ = ["TEST", "TRAIN", "Blob", "BlobVec", "Layer"]
