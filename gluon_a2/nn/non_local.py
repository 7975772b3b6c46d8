"""The non-local block (Wang et al. 2018, ref. [25]), which the paper compares with.

    z_i = Σ_j softmax_j(θ(x_i)ᵀ φ(x_j)) g(x_j)         (embedded Gaussian)
"""
from __future__ import annotations

from ..backend import mx
from .preact import inner_width, pointwise
from .workarounds import Softmax, flatten


class NonLocal(mx.gluon.nn.HybridBlock):
    """x + expand(Z), with the same four BN-ReLU-Conv pieces as the A² block (Tables 2 and 3).

    There is no subsampling. The map between positions has N×dhw×dhw values, which is what makes it
    costly (Section 2.4).

    Parameters
    ----------
    channels : int
        c, channels of the input and the output.
    width : int
        Channels of the three embeddings; by default c/`ratio`, or c/4.
    dims : 2 or 3
        Space axes of the input.
    identity : bool
        Start as an exact identity.

    Examples
    --------
    >>> block = NonLocal(channels=16, dims=3)
    >>> block.initialize()
    >>> block(mx.nd.zeros((1, 16, 2, 7, 7))).shape
    (1, 16, 2, 7, 7)
    """

    def __init__(self, channels: int, width: int | None = None, dims: int = 2,
                 identity: bool = False, ratio: int | None = None, prefix=None, params=None):
        super().__init__(prefix=prefix, params=params)
        width = inner_width(channels, width, ratio)
        with self.name_scope():
            self.theta = pointwise(channels, width, dims, 'theta_')
            self.phi = pointwise(channels, width, dims, 'phi_')
            self.g = pointwise(channels, width, dims, 'g_')
            self.softmax = Softmax(prefix='relate_')
            self.expand = pointwise(width, channels, dims, 'expand_', zero=identity)

    def hybrid_forward(self, F, x):
        g = self.g(x)                                                         # N×k×h×w
        key = flatten(F, self.phi(x))                                         # N×k×dhw
        query = flatten(F, self.theta(x))                                     # N×k×dhw
        r = F.batch_dot(query, key, transpose_a=True, name='relate')          # N×dhw×dhw
        r = self.softmax(r)                              # row i sums to 1 over the positions j
        z = F.batch_dot(flatten(F, g), r, transpose_b=True, name='read')      # N×k×dhw
        return x + self.expand(F.reshape_like(z, g, name='unflatten'))        # N×c×h×w
