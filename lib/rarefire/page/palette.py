"""Colours, type and names: what every figure of the book has in common."""

from __future__ import annotations

from contextlib import AbstractContextManager

import matplotlib as mpl
import numpy as np

from rarefire.errors import unknown

__all__ = ["COLOURS", "COLOUR_MAP", "INK", "LABELS", "page_colour", "shades", "style", "themed"]

#: One colour per meaning, everywhere; those in one figure differ in lightness too.
COLOURS = {
    "low": "#0072b2",
    "high": "#d55e00",
    "random": "#7f7f7f",
    "cosine": "#7a4fb5",
    "ours": "#332288",
    "naive": "#a11d5f",
    "peak": "#c1121f",
    "mean": "#117733",
    "sd": "#8a5a00",
    "entropy": "#aa4499",
    "ridge": "#4b3fae",
    "ghosts": "#9b2226",
    "bound": "#5b5f97",
    "random mean": "#6b7000",
    "again": "#6b7000",
    "digits": "#009e73",
    "mnist": "#b8860b",
    "cifar10": "#cc79a7",
    "cifar10-jpg": "#cc79a7",
}
#: Short names of image sets, judgments and views, for axes and tables.
LABELS = {
    "digits": "digits",
    "mnist": "MNIST",
    "mnist, wide": "MNIST, wide",
    "cifar10": "CIFAR-10",
    "cifar10-jpg": "CIFAR-10 (JPEG)",
    "imagenet-sample": "photographs",
    "simulated": "simulated networks",
    "squeezenet1_0": "SqueezeNet 1.0",
    "squeezenet1_1": "SqueezeNet 1.1",
    "googlenet": "GoogLeNet",
    "mobilenet_v2": "MobileNetV2",
    "efficientnet_lite0": "EfficientNet-Lite0",
    "mur, pooled": "Mur et al., pooled",
    "mur, channels": "Mur et al., channels",
    "mur, positions": "Mur et al., positions",
    "peterson": "Peterson et al., six sets",
    "peterson-furniture": "Peterson et al., furniture",
    "peterson-vegetables": "Peterson et al., vegetables",
}
#: Of RDMs: perceptually uniform, readable in grey and by the colour-blind.
COLOUR_MAP = "cividis"
INK = "#010203"  # stands for the page's text colour in the SVG
_STYLE = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.facecolor": "none",
    "axes.linewidth": 0.8,
    "figure.facecolor": "none",
    "figure.constrained_layout.use": True,
    "savefig.facecolor": "none",
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.8,
    "svg.fonttype": "none",
    "svg.hashsalt": "rarefire",
}
_FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


def style() -> AbstractContextManager[None]:
    """Matplotlib's settings while something is drawn."""
    return mpl.rc_context(dict(_STYLE))  # type: ignore[arg-type]


def page_colour(name: str) -> str:
    """The page's own shade, light or dark, of a colour in :data:`COLOURS`: a CSS value."""
    if name not in COLOURS:
        raise unknown("colour", name, list(COLOURS))
    return _variable(COLOURS[name])


def shades() -> bytes:
    """The 256 colours of :data:`COLOUR_MAP` as RGB, one byte each: what widgets paint RDMs with."""
    return np.round(255 * mpl.colormaps[COLOUR_MAP](np.arange(256))[:, :3]).astype(np.uint8).tobytes()


def themed(svg: str) -> str:
    """A drawing in the page's own shades, light or dark, and its font."""
    svg = svg.replace(INK, "currentColor").replace("'DejaVu Sans', sans-serif", _FONTS)
    for colour in sorted(set(COLOURS.values())):
        svg = svg.replace(colour, _variable(colour))
    return svg


def _variable(colour: str) -> str:
    return f"var(--rf-{colour[1:]}, {colour})"
