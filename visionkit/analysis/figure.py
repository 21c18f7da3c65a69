"""Drawing without a screen and without pyplot's global state."""

from pathlib import Path
from typing import Any

import numpy as np

DPI = 100
INK, PALE, ACCENT, WARM = "#222222", "#d9dde3", "#1f6fb4", "#d1495b"


def new_figure(width: float, height: float) -> Any:
    """A matplotlib figure of this size in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI)
    FigureCanvasAgg(figure)
    return figure


def save(figure: Any, path: Path, colors: int | None = None) -> Path:
    """Writes a PNG and returns its path; with a palette of so many colours, which keeps photographs small."""
    from PIL import Image

    figure.canvas.draw()
    drawn = Image.fromarray(np.asarray(figure.canvas.buffer_rgba())[:, :, :3])
    path.parent.mkdir(parents=True, exist_ok=True)
    (drawn.quantize(colors) if colors else drawn).save(path, optimize=True)
    return path
