"""Exported networks: writing, verifying, loading and using them. Knows files, not models."""
from .bundle import Bundle, BundleError, read_bundle, write_bundle
from .classify import Classifier

__all__ = ['Bundle', 'BundleError', 'Classifier', 'read_bundle', 'write_bundle']
