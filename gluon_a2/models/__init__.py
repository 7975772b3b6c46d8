"""The paper's networks, and ways to put its block into others."""
from .inflate import inflate
from .plug import plug
from .table import BACKBONES, ZOO, UnknownModel, list_baselines, list_models
from .zoo import get_model

__all__ = [
    'BACKBONES', 'ZOO', 'UnknownModel', 'get_model', 'inflate', 'list_models', 'list_baselines',
    'plug'
]
