"""Importing MXNet the way it must be imported."""
import mxnet as mx

__all__ = ['mx']
