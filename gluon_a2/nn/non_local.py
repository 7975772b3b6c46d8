"""The non-local block (Wang et al. 2018, ref. [25]), which the paper compares with.

    z_i = Σ_j softmax_j(θ(x_i)ᵀ φ(x_j)) g(x_j)         (embedded Gaussian)

| paper [25] | here | shape     |
|------------|------|-----------|
| θ(X)       | q    | N×k×dhw   |
| φ(X)       | key  | N×k×dhw   |
| g(X)       | value| N×k×dhw   |
"""
from .gather import GatherDistribute, flatten_space, inner_width
from .preact import pointwise


class NonLocal(GatherDistribute):
    """x + expand(Z), no subsampling, the same four BN-ReLU-Conv pieces as the A² block (Tables 2
    and 3).

    The map between positions has N×dhw×dhw values, which is what makes it costly (Section 2.4).

    Parameters: `channels` c of the input; `width` k of the three embeddings (c/4 where not given);
    `dims` 2 or 3 space axes; `identity` starts as an exact identity.
    """

    def __init__(self, channels, width=None, dims=2, identity=False, prefix=None, params=None):
        super().__init__(prefix=prefix, params=params)
        width = inner_width(channels, width)
        with self.name_scope():
            self.theta = pointwise(channels, width, dims, 'theta_')
            self.phi = pointwise(channels, width, dims, 'phi_')
            self.g = pointwise(channels, width, dims, 'g_')
            self.expand = pointwise(width, channels, dims, 'expand_', zero=identity)

    def gather(self, F, x):
        """Everything: one key and one value for each position."""
        value = self.g(x)  # N×k×h×w
        return value, flatten_space(F, self.phi(x))  # N×k×dhw

    def distribute(self, F, bag, x):
        """Each position's mean of all values, weighted by its likeness to their keys."""
        value, key = bag
        q = flatten_space(F, self.theta(x))  # N×k×dhw
        # N×dhw×k · N×k×dhw → N×dhw×dhw
        relation = F.batch_dot(q, key, transpose_a=True, name='relate')
        weight = self._softmax(F, relation, 'relate_attention')  # rows i sum to 1 over j
        z = F.batch_dot(flatten_space(F, value), weight, transpose_b=True, name='read')  # N×k×dhw
        return x + self.expand(F.reshape_like(z, value, name='unflatten'))  # N×c×h×w
