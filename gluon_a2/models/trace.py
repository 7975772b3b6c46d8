"""The networks as symbols, in the layout of the Dual Path Networks code: traced, not defined again.

`symbols/symbol_<net>.py` holds one line on top of this, and `symbols/<net>-symbol.json` what that
gives.
"""
from __future__ import annotations

from typing import Callable

from ..backend import mx
from .zoo import get_model


def trace(name: str) -> tuple[Callable, Callable, Callable]:
    """get_before_pool(), get_linear(num_classes) and get_symbol(num_classes) of a network."""

    def get_before_pool():
        """The last feature map, N×C×h×w (or N×C×d×h×w)."""
        return get_model(name).features(mx.sym.var('data'))

    def get_linear(num_classes=None):
        """The logits, N×num_classes; by default as many as `get_model` gives."""
        return get_model(name, classes=num_classes)(mx.sym.var('data'))

    def get_symbol(num_classes=None):
        """The logits under a softmax and its loss, for Module."""
        return mx.sym.SoftmaxOutput(get_linear(num_classes), name='softmax')

    return get_before_pool, get_linear, get_symbol
