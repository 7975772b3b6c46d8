"""The double attention block (Section 2, Figure 2).

    Z = [φ(X) softmax(θ(X))ᵀ] softmax(ρ(X))        (Eq. 6, left association)
    Z = φ(X) [softmax(θ(X))ᵀ softmax(ρ(X))]        (Eq. 7, right association)

| paper          | here                     | shape           |
|----------------|--------------------------|-----------------|
| X              | x                        | N×c×(d×)h×w     |
| A = φ(X)       | a                        | N×m×dhw         |
| B = softmax(θ) | b, over positions (Eq. 4)| N×n×dhw         |
| V = softmax(ρ) | v, over n (Eq. 5), kept transposed | N×dhw×n |
| G = A Bᵀ       | g                        | N×m×n           |
| Z = G V        | z                        | N×m×dhw         |
"""
import math

from .gather import GatherDistribute, flatten_space, inner_width, positions_first, positions_last
from .preact import pointwise

ASSOCIATIONS = ('left', 'right', 'auto')


def gather(F, a, b):
    """Second-order attention pooling, Eq. 4: each g_i is the mean of a's columns under the weights
    b_i."""
    return F.batch_dot(a, b, transpose_b=True, name='gather')  # N×m×dhw · N×dhw×n → N×m×n


def distribute(F, g, v):
    """Feature distribution, Eq. 5: each z_i is the mean of the g_j under the weights v_i."""
    return F.batch_dot(g, v, transpose_b=True, name='distribute')  # N×m×n · N×n×dhw → N×m×dhw


def relate(F, b, v):
    """The inner product of Eq. 7: how much position i reads from position j."""
    # N×dhw×n · N×n×dhw → N×dhw×dhw
    return F.batch_dot(b, v, transpose_a=True, transpose_b=True, name='relate')


def cheaper_association(m, n, positions):
    """The paper's rule (end of Section 2.3): 'left' where (dhw)² > mn, else 'right'.

    It compares the sizes of the two first products; the multiply-adds agree with it exactly where m
    = n.
    """
    return 'left' if positions ** 2 > m * n else 'right'


def resolve_association(association, m, n, positions):
    """'left' or 'right' from what the caller asked for; ValueError where that cannot be decided."""
    if association not in ASSOCIATIONS:
        raise ValueError(f'unknown association {association!r}: choose one of '
                         f'{", ".join(ASSOCIATIONS)}')
    if association != 'auto':
        return association
    if positions is None:
        raise ValueError("association='auto' needs input_size, the (d,) h, w the block will see: "
                         'a symbol has one association, whatever it is fed later')
    return cheaper_association(m, n, positions)


def product_memory(m, n, positions, association, batch=1):
    """Megabytes (2²⁰ bytes) of the first product in 32-bit floats: mn/2¹⁸ left, (dhw)²/2¹⁸ right
    (Section 2.3).

    `positions` is dhw; `association` is 'left', 'right' or 'auto'.
    """
    left = resolve_association(association, m, n, positions) == 'left'
    return batch * (m * n if left else positions ** 2) / 2 ** 18


class DoubleAttention(GatherDistribute):
    """A² block: x + expand(Z), every convolution a BN-ReLU-Conv of kernel 1 (Figure 2).

    Parameters
    ----------
    channels : int
        c, channels of the input and the output.
    m, n : int
        Channels of φ, and of θ and ρ; c/4 each where not given (Section 3.2).
    association : 'left', 'right' or 'auto'
        Eq. 6, Eq. 7, or the cheaper of the two at `input_size`. `association` holds the choice
        made.
    input_size : tuple of int
        (h, w) or (d, h, w) of the input; only 'auto' needs it, and only 'auto' is bound to it.
    dims : 2 or 3
        Space axes of the input.
    identity : bool
        Start as an exact identity (the expansion's weight is zero), to plug into a trained network.
    """

    def __init__(self, channels, m=None, n=None, association='left', input_size=None, dims=2,
                 identity=False, prefix=None, params=None):
        super().__init__(prefix=prefix, params=params)
        m, n = (inner_width(channels, width) for width in (m, n))
        positions = math.prod(input_size) if input_size else None
        self.n, self.dims = n, dims
        self.association = resolve_association(association, m, n, positions)
        with self.name_scope():
            self.phi = pointwise(channels, m, dims, 'phi_')
            self.theta = pointwise(channels, n, dims, 'theta_')
            self.rho = pointwise(channels, n, dims, 'rho_')
            self.expand = pointwise(m, channels, dims, 'expand_', zero=identity)

    def gather(self, F, x):
        """φ(X) and what is read of it: G (Eq. 4), or, right-associated, softmax(θ) still to be
        multiplied."""
        phi = self.phi(x)  # N×m×h×w
        a = flatten_space(F, phi)  # N×m×dhw
        theta = positions_last(F, self.theta(x), self.n, self.dims)  # N×n×dhw
        b = self._softmax(F, theta, 'gather_attention')  # N×n×dhw
        return phi, a, (gather(F, a, b) if self.association == 'left' else b)

    def distribute(self, F, bag, x):
        """softmax(ρ) spreads the bag over all positions (Eq. 5); the expansion carries it back to c
        channels."""
        phi, a, gathered = bag
        rho = positions_first(F, self.rho(x), self.n, self.dims)  # N×dhw×n
        v = self._softmax(F, rho, 'distribute_attention')  # N×dhw×n
        if self.association == 'left':
            z = distribute(F, gathered, v)  # N×m×dhw
        else:
            z = F.batch_dot(a, relate(F, gathered, v), name='read')  # N×m×dhw · N×dhw×dhw → N×m×dhw
        # φ(X) has the shape wanted. Shaping z like it, before the expansion, keeps oneDNN's own
        # layouts out of reshape_like, which would pass them on as if nothing had changed.
        z = F.reshape_like(z, phi, name='unflatten')  # N×m×h×w
        return x + self.expand(z)  # N×c×h×w
