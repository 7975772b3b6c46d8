"""Exported networks: writing, verifying, loading and using them. Knows files, not models.

    bundle → engines → classify      files, what runs them, names of what is in an image or video
    features → engines               what enters the classifier, as another output
    gluon, graph → fold, onnx, precision   a network as a bundle, and the same one in other forms
    parity, side_by_side                   whether it still is, and what the forms are worth

MXNet is imported only where it is what runs or rewrites a network.
"""
from .bundle import Bundle, BundleError, read_bundle, write_bundle
from .classify import Classifier, Prediction
from .engines import ENGINES

__all__ = ['ENGINES', 'Bundle', 'BundleError', 'Classifier', 'Prediction', 'read_bundle',
           'write_bundle']
