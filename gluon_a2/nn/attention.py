"""The double attention block (Section 2, Figure 2).

    Z = [φ(X) softmax(θ(X))ᵀ] softmax(ρ(X))        (Eq. 6, left association)
    Z = φ(X) [softmax(θ(X))ᵀ softmax(ρ(X))]        (Eq. 7, right association)

| paper          | here                                | shape         |
|----------------|-------------------------------------|---------------|
| X              | x                                   | N×c×(d×)h×w   |
| A = φ(X)       | a                                   | N×m×dhw       |
| B = softmax(θ) | b, each row sums to 1 (Eq. 4)       | N×n×dhw       |
| V = softmax(ρ) | v = Vᵀ, each row sums to 1 (Eq. 5)  | N×dhw×n       |
| G = A Bᵀ       | g, the n descriptors                | N×m×n         |
| Z = G V        | z                                   | N×m×(d×)h×w   |

Without its softmax, B is θ(X)/(dhw), or V is ρ(X)/n, for ablations. G is then Eq. 2's bilinear
pooling as a mean over the positions, and Z a mean over the descriptors. Both are finite at any
size, and a map of ones gives what a flat softmax gives.
"""
from __future__ import annotations

import math

from ..backend import mx
from ..errors import UserError
from .preact import inner_width, pointwise
from .workarounds import Mean, Softmax, Tensor, flatten, positions_first, positions_last

ASSOCIATIONS = ('left', 'right', 'auto')
SOFTMAXES = {'both': (Softmax, Softmax), 'gather': (Softmax, Mean), 'distribute': (Mean, Softmax),
             'none': (Mean, Mean)}  # on B, and on V


def double_attention(F, a: Tensor, b: Tensor, v: Tensor, association: str = 'left') -> Tensor:
    """Z of Eq. 6 ('left') or Eq. 7 ('right'), which are equal; a, b, v as in the table above.

    Examples
    --------
    Two positions, one channel, one descriptor that is their mean; both positions receive it.

    >>> a, b = mx.nd.array([[[2, 4]]]), mx.nd.array([[[0.5, 0.5]]])
    >>> v = mx.nd.ones((1, 2, 1))
    >>> double_attention(mx.nd, a, b, v).asnumpy().tolist()
    [[[3.0, 3.0]]]
    """
    if association == 'left':
        # Eq. 4, gather: descriptor j is the mean of A's columns under the weights b_j.
        g = F.batch_dot(a, b, transpose_b=True, name='gather')         # N×m×n
        # Eq. 5, distribute: position i receives the mean of the descriptors under the weights v_i.
        return F.batch_dot(g, v, transpose_b=True, name='distribute')  # N×m×dhw
    # How much position i reads from position j.
    r = F.batch_dot(b, v, transpose_a=True, transpose_b=True, name='relate')  # N×dhw×dhw
    return F.batch_dot(a, r, name='read')                                     # N×m×dhw


class DoubleAttention(mx.gluon.nn.HybridBlock):
    """A² block: x + expand(Z), every convolution a BN-ReLU-Conv of kernel 1 (Figure 2).

    Parameters
    ----------
    channels : int
        c, channels of the input and the output.
    m, n : int
        Channels of φ, and of θ and ρ; by default c/`ratio` each, or c/4 (Section 3.2).
    association : 'left', 'right' or 'auto'
        Eq. 6, Eq. 7, or the cheaper of the two at `input_size`. The attribute `association` holds
        the choice made.
    input_size : tuple of int
        (h, w) or (d, h, w) of the input. Only 'auto' needs it, and only 'auto' is bound to it.
    dims : 2 or 3
        Space axes of the input.
    identity : bool
        Start as an exact identity (the expansion's weight is zero), to plug into a trained network.
    softmax : 'both', 'gather', 'distribute' or 'none'
        Where there is one: on B, by which descriptors are gathered, and on V, by which they are
        distributed.

    Examples
    --------
    >>> block = DoubleAttention(channels=64, m=32, n=16)
    >>> block.initialize()
    >>> block(mx.nd.zeros((1, 64, 14, 14))).shape
    (1, 64, 14, 14)
    """

    def __init__(self, channels: int, m: int | None = None, n: int | None = None,
                 association: str = 'left', input_size: tuple[int, ...] | None = None,
                 dims: int = 2, identity: bool = False, ratio: int | None = None,
                 softmax: str = 'both', prefix=None, params=None):
        super().__init__(prefix=prefix, params=params)
        m, n = (inner_width(channels, width, ratio) for width in (m, n))
        positions = math.prod(input_size) if input_size else None
        self.n, self.dims = n, dims
        self.association = resolve_association(association, m, n, positions)
        if softmax not in SOFTMAXES:
            raise UserError(f'`softmax` must be one of {", ".join(SOFTMAXES)}, not {softmax!r}')
        gather, distribute = SOFTMAXES[softmax]
        with self.name_scope():
            self.phi = pointwise(channels, m, dims, 'phi_')
            self.theta = pointwise(channels, n, dims, 'theta_')
            self.rho = pointwise(channels, n, dims, 'rho_')
            self.softmax_theta = gather(prefix='gather_')
            self.softmax_rho = distribute(prefix='distribute_')
            self.expand = pointwise(m, channels, dims, 'expand_', zero=identity)

    def hybrid_forward(self, F, x):
        phi = self.phi(x)                                                               # N×m×h×w
        a = flatten(F, phi)                                                             # N×m×dhw
        b = self.softmax_theta(positions_last(F, self.theta(x), self.n, self.dims))     # N×n×dhw
        v = self.softmax_rho(positions_first(F, self.rho(x), self.n, self.dims))        # N×dhw×n
        z = double_attention(F, a, b, v, self.association)                              # N×m×dhw
        # Z takes φ's shape before the expansion. After it, reshape_like would read a layout of
        # oneDNN's own and pass it on as if nothing had changed.
        z = F.reshape_like(z, phi, name='unflatten')                                    # N×m×h×w
        return x + self.expand(z)                                                       # N×c×h×w


def cheaper_association(m: int, n: int, positions: int) -> str:
    """The paper's rule (end of Section 2.3): 'left' where (dhw)² > mn, else 'right'.

    It compares the sizes of the two first products. The multiply-adds agree with it exactly where
    m = n.

    Examples
    --------
    >>> cheaper_association(m=128, n=128, positions=28 * 28)
    'left'
    >>> cheaper_association(m=512, n=512, positions=14 * 14)
    'right'
    """
    return 'left' if positions ** 2 > m * n else 'right'


def resolve_association(association: str, m: int, n: int, positions: int | None) -> str:
    """'left' or 'right' from what the caller asked for; UserError where that cannot be decided."""
    if association not in ASSOCIATIONS:
        raise UserError(f'`association` must be one of {", ".join(ASSOCIATIONS)}, not '
                        f'{association!r}')
    if association != 'auto':
        return association
    if positions is None:
        raise UserError("`association` 'auto' needs `input_size`, the (d,) h, w that the block "
                        'will see, because a symbol has one association, whatever it is fed later')
    return cheaper_association(m, n, positions)


def product_memory(m: int, n: int, positions: int, association: str, batch: int = 1) -> float:
    """Megabytes (2²⁰ bytes) of the first product in 32-bit floats (Section 2.3).

    That is mn/2¹⁸ left and (dhw)²/2¹⁸ right. `positions` is dhw; `association` is 'left', 'right'
    or 'auto'.

    Examples
    --------
    The example of Section 2.3, 32 frames of 28×28 with 512 channels:

    >>> product_memory(512, 512, 32 * 28 * 28, 'left')
    1.0
    >>> product_memory(512, 512, 32 * 28 * 28, 'right')
    2401.0
    """
    left = resolve_association(association, m, n, positions) == 'left'
    return batch * (m * n if left else positions ** 2) / 2 ** 18
