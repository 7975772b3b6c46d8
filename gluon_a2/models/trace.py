"""The networks as symbols, in the layout of the Dual Path Networks code: traced, not defined again.

`symbols/symbol_<net>.py` holds one line on top of this, and `symbols/<net>-symbol.json` what that
gives.
"""
from ..backend import mx
from .zoo import get_model


def trace(name):
    """The functions of a `symbol_<net>.py`: get_before_pool(), get_linear(num_classes),
    get_symbol(num_classes)."""

    def get_before_pool():
        """The last feature map, N×C×h×w (or N×C×d×h×w)."""
        return get_model(name).features(mx.sym.var('data'))

    def get_linear(num_classes=None):
        """The logits, N×num_classes; as many as `get_model` gives where not said."""
        return get_model(name, classes=num_classes)(mx.sym.var('data'))

    def get_symbol(num_classes=None):
        """The logits under a softmax and its loss, for Module."""
        return mx.sym.SoftmaxOutput(get_linear(num_classes), name='softmax')

    return get_before_pool, get_linear, get_symbol
