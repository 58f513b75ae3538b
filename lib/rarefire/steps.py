"""A network's steps: the layers that come one after the other, from the outside in."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rarefire import removal
from rarefire._engine.arguments import checked

__all__ = ["WIDEST", "find"]

#: Features of a step; what has more is left out.
WIDEST = 1_000_000
_ENOUGH = 6  # steps of a network; if it has fewer, these are taken apart
_NORMS = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm)
_LINEAR = (nn.Linear, nn.modules.conv._ConvNd, *_NORMS)


@checked
def find(network: nn.Module, images: NDArray[np.floating]) -> tuple[list[str], list[str]]:
    """Modules of a network from the outside in, until there are enough of them; sequences are taken apart.

    Parameters
    ----------
    network
        As for :func:`rarefire.embeddings.extract`.
    images
        ``(n, c, h, w)``, a few.

    Returns
    -------
    steps, large
        Names, in the order in which the modules run, without what comes before the first weight (the pixels,
        normalised), what changes nothing, and a linear map whose normalisation or activation comes next; and
        the names of those that are left out because they have more than :data:`WIDEST` features.
    """
    parts = [("", network)]
    while True:
        parts = _inside(parts)
        steps = [
            each
            for one in parts
            for each in (_inside([one]) if isinstance(one[1], nn.Sequential | nn.ModuleList) else [one])
        ]
        if len(steps) >= _ENOUGH or _inside(parts) == parts:
            break
    modules = dict(steps)
    ran = _run(network, modules, images)
    taken, large, last, begun = list[str](), list[str](), torch.as_tensor(images), False
    for layer, follows in zip(ran, [*[*ran][1:], ""], strict=True):
        module, values = modules[layer], ran[layer]
        begun = begun or any(True for _ in module.parameters())
        then = isinstance(modules.get(follows), (*_NORMS, *removal.ACTIVATIONS))
        if not begun or (isinstance(module, _LINEAR) and then):
            continue
        if values.numel() == last.numel() and torch.equal(values.flatten(), last.flatten()):
            continue
        last = values
        (taken if values[0].numel() <= WIDEST else large).append(layer)
    return taken, large


def _inside(modules: Sequence[tuple[str, nn.Module]]) -> list[tuple[str, nn.Module]]:
    """The modules in each of these; those in which there is none, themselves."""
    found = list[tuple[str, Any]]()
    for name, module in modules:
        own = [(f"{name}.{child}".lstrip("."), inner) for child, inner in module.named_children()]
        found += own or [(name, module)]
    return found


def _run(
    network: nn.Module, modules: Mapping[str, nn.Module], images: NDArray[np.floating]
) -> dict[str, Tensor]:
    """What modules make of images, in the order in which they run.

    Only of those that run once and make one tensor with the images as its first axis.
    """
    ran = list[tuple[str, Any]]()

    def keep(name: str, output: Any) -> None:
        ran.append((name, output.clone() if isinstance(output, torch.Tensor) else output))

    with contextlib.ExitStack() as stack:
        for name, module in modules.items():
            hook = module.register_forward_hook(lambda _, __, output, name=name: keep(name, output))
            stack.callback(hook.remove)
        with torch.inference_mode():
            network(torch.from_numpy(images))
    calls = Counter(name for name, _ in ran)
    return {
        name: output
        for name, output in ran
        if calls[name] == 1 and isinstance(output, torch.Tensor) and output.shape[:1] == (len(images),)
    }
