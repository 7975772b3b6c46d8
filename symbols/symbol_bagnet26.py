"""bagnet26, in the layout of Dual Path Networks. Written by generate.py."""
from gluon_a2.models.trace import trace

get_before_pool, get_linear, get_symbol = trace('bagnet26')
