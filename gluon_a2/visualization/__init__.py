"""Seeing the attention of a trained network: Figure 1 of the paper, for any image or video.

    maps → sheet      arrays → a PNG, or an animated GIF
         → page       arrays → one HTML file, to point at places in

Needs an exported network and knows no model: the blocks are found in the graph, by the names of
their softmaxes.
"""
from .maps import ORDERS, Attention, Seen, attention, see
from .page import write_page
from .sheet import draw_animation, draw_sheet

__all__ = [
    'ORDERS', 'Attention', 'Seen', 'attention', 'draw_animation', 'draw_sheet', 'see', 'write_page'
]
