"""Figures without a display. Matplotlib is slow to import, so only drawing brings it."""
from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def new_figure(width: float, height: float, constrained: bool = True) -> Figure:
    """A figure of so many inches; where `constrained`, its parts make room for each other."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    figure = Figure(figsize=(width, height), layout='constrained' if constrained else None)
    FigureCanvasAgg(figure)
    return figure


def as_png(figure: Figure, dpi: float = 100) -> bytes:
    """The figure as a PNG file's content; a script that the font lacks is drawn as boxes."""
    image = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', 'Glyph', UserWarning)
        figure.savefig(image, format='png', dpi=dpi)
    return image.getvalue()
