"""Building blocks: BN-ReLU-Conv, and three ways to gather and distribute. No network or data set is
named here."""
from .attention import DoubleAttention, cheaper_association, product_memory
from .gather import GatherDistribute
from .non_local import NonLocal
from .preact import BNReLU, BNReLUConv, FoldedBatchNorm
from .squeeze import SqueezeExcite

__all__ = [
    'BNReLU', 'BNReLUConv', 'DoubleAttention', 'FoldedBatchNorm', 'GatherDistribute', 'NonLocal',
    'SqueezeExcite', 'cheaper_association', 'product_memory'
]
