"""The paper's networks, and ways to put its block into others."""
from .inflate import inflate
from .plug import plug
from .table import BACKBONES, ZOO, UnknownModel, list_models, list_rivals
from .zoo import get_model

__all__ = ['BACKBONES', 'ZOO', 'UnknownModel', 'get_model', 'inflate', 'list_models', 'list_rivals',
           'plug']
