"""Building blocks; `blocks` is their registry. No network or data set is named here."""
from .attention import DoubleAttention, cheaper_association, double_attention, product_memory
from .blocks import BLOCKS, block_of, make_block
from .non_local import NonLocal
from .preact import BNReLU, BNReLUConv
from .squeeze_excite import SqueezeExcite
from .workarounds import FoldedBatchNorm

__all__ = ['BLOCKS', 'BNReLU', 'BNReLUConv', 'DoubleAttention', 'FoldedBatchNorm', 'NonLocal',
           'SqueezeExcite', 'block_of', 'cheaper_association', 'double_attention', 'make_block',
           'product_memory']
