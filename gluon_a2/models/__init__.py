"""The paper's networks, and ways to put its block into others."""
from .plug import plug
from .table import BACKBONES, ZOO, list_baselines, list_models
from .weights import inflate, load_weights
from .zoo import get_model

__all__ = ['BACKBONES', 'ZOO', 'get_model', 'inflate', 'list_baselines', 'list_models',
           'load_weights', 'plug']
