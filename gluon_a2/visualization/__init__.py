"""The attention of a trained network, visualized: Figure 1 of the paper, for any image or video.

    maps → sheet      arrays → a PNG, or an animated GIF
         → page       arrays → one HTML file, to point at positions in

    plots → report    a run's curve, clips; a scoring as tables and pictures

Needs an exported network and knows no model: it finds the blocks in the graph, by the names of
their softmaxes, which stand in the registry of blocks.
"""
from .maps import Attention, BlockAttention, attend, attention_maps, watch
from .page import write_page
from .sheet import draw_animation, draw_sheet

__all__ = ['Attention', 'BlockAttention', 'attend', 'attention_maps', 'draw_animation',
           'draw_sheet', 'watch', 'write_page']
