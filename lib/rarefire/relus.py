"""Where a network has ReLUs, and how silent each of them is: layers, functions, and layers that run twice.

A ReLU is found when it runs, whether it is a module, a function (``F.relu(x)``) or a method
(``x.clamp(min=0)``). Only counts stay in memory, whatever the layers' size.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from tqdm import tqdm

from rarefire import networks
from rarefire._engine import axes
from rarefire._engine.arguments import checked
from rarefire.errors import InputError
from rarefire.poz import RARE

__all__ = ["Relu", "Watched", "added", "count", "watched"]

_RELUS: dict[Any, str] = {
    **dict.fromkeys((F.relu, F.relu_, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_), "ReLU"),
    F.relu6: "ReLU6",
}
_CAPPED = (F.hardtanh, F.hardtanh_)  # as ReLU6 has it: from 0 on
_CLAMPED = (
    *(torch.clamp, torch.clamp_, torch.clamp_min, torch.clamp_min_, torch.clip),
    *(Tensor.clamp, Tensor.clamp_, Tensor.clamp_min, Tensor.clamp_min_, Tensor.clip),
)
#: Activations that are 0 nowhere, or at one point alone.
_SMOOTH: dict[Any, str] = {
    F.silu: "SiLU",
    F.gelu: "GELU",
    F.hardswish: "Hardswish",
    F.elu: "ELU",
    F.leaky_relu: "LeakyReLU",
    F.mish: "Mish",
}


@dataclass(frozen=True, eq=False)
class Relu:
    """One ReLU of a network, and how often its channels were 0.

    Attributes
    ----------
    name
        Of the module; of a function, that of the module in whose ``forward`` it is called. Where there are
        several calls, ``name (call 2)`` is the second.
    function
        ``"ReLU"``, ``"ReLU6"`` or ``"clamp"``.
    n_images
        How many images were counted.
    positions
        How many numbers each channel has for an image; 1 where there are no positions.
    zeros
        ``(n_channels,)``, how many of the ``n_images × positions`` numbers are 0.
    silent
        ``(n_channels,)``, for how many images the channel is 0 at every position.
    """

    name: str
    function: str
    n_images: int
    positions: int
    zeros: NDArray[np.int64]
    silent: NDArray[np.int64]

    @property
    def apoz(self) -> NDArray[np.float64]:
        """``(n_channels,)`` in [0, 1]: PoZ over images and positions, APoZ (Hu et al. 2016)."""
        return np.asarray(self.zeros / (self.n_images * self.positions))

    @property
    def pooled(self) -> NDArray[np.float64]:
        """``(n_channels,)`` in [0, 1]: PoZ of the channel pooled over positions, never above :attr:`apoz`.

        A mean or a maximum over positions is 0 only where all of them are.
        """
        return np.asarray(self.silent / self.n_images)

    def row(self, *, rare: float = RARE) -> dict[str, Any]:
        """A line of a table: sizes, means, and shares of channels that are dead, and rare (PoZ > `rare`)."""
        return {
            "layer": self.name,
            "function": self.function,
            "channels": len(self.zeros),
            "positions": self.positions,
            "apoz": float(self.apoz.mean()),
            "poz_pooled": float(self.pooled.mean()),
            "rare": float((self.apoz > rare).mean()),
            "rare_pooled": float((self.pooled > rare).mean()),
            "dead": float((self.pooled == 1).mean()),
        }


@dataclass
class Watched:
    """What was seen of a network while it ran: a list of ReLUs for every pass, and what is no ReLU.

    Attributes
    ----------
    passes
        By pass, the number of its images, and its ReLUs in the order of calls.
    others
        By name of an activation that is hardly ever exactly 0, how many calls there are in a pass.
    """

    passes: list[tuple[int, list[Relu]]] = field(default_factory=list)
    others: dict[str, int] = field(default_factory=dict)

    def of(self, n_images: int) -> list[Relu]:
        """The ReLUs of the first pass with so many images."""
        return next((relus for n, relus in self.passes if n == n_images), [])


@contextmanager
def watched(network: nn.Module) -> Iterator[Watched]:
    """In the block, every pass of a network is counted.

    Parameters
    ----------
    network
        As for :func:`rarefire.embeddings.extract`. Channels are axis 1; of ``(n, tokens, c)``, the last.
    """
    network = networks.unwrapped(network)
    found, inside = Watched(), list[str]()
    calls, relus, others = Counter[str](), list[Relu](), Counter[str]()

    def enter(name: str) -> None:
        if not inside:
            calls.clear()
            relus.clear()
            others.clear()
        inside.append(name)

    def leave(given: Any) -> None:
        inside.pop()
        if not inside:
            n = len(given[0]) if given and isinstance(given[0], Tensor) else 0
            found.passes.append((n, [*relus]))
            found.others = dict(others)

    def see(function: str, output: Any) -> None:
        if not inside or not isinstance(output, Tensor) or output.ndim < 2:
            return
        name = inside[-1] or "the network"
        calls[name] += 1
        which = name if calls[name] == 1 else f"{name} (call {calls[name]})"
        relus.append(_counted(which, function, output))

    with ExitStack() as stack:
        axes.eager(network, stack)
        for name, module in network.named_modules():
            handle = module.register_forward_pre_hook(lambda *_, name=name: enter(name))
            stack.callback(handle.remove)
            handle = module.register_forward_hook(lambda _, given, __: leave(given))
            stack.callback(handle.remove)
        stack.enter_context(_Mode(see, others))
        yield found


@checked
def count(
    network: nn.Module, images: NDArray[np.floating], *, batch_size: int = 64, progress: bool = False
) -> list[Relu]:
    """How silent every ReLU of a network is.

    Parameters
    ----------
    network
        As for :func:`watched`; it is called in evaluation mode and left as it was.
    images
        ``(n, c, h, w)``.
    batch_size
        Images at a time.
    progress
        Show a progress bar.

    Returns
    -------
    list of Relu
        In the order of calls; empty where there is none.

    Raises
    ------
    InputError
        For no images.
    """
    if np.ndim(images) != 4 or not len(images):
        raise InputError(f"images must be (n, c, h, w), at least one; got {np.shape(images)}.")
    modes, parts = [(module, module.training) for module in network.modules()], list[list[Relu]]()
    weight = next(network.parameters(), torch.empty(0))
    network.eval()
    try:
        for start in tqdm(range(0, len(images), batch_size), desc="ReLUs", disable=not progress):
            batch = torch.from_numpy(np.require(images[start : start + batch_size], requirements="W"))
            with watched(network) as seen, torch.inference_mode():
                network(batch.to(weight.device, weight.dtype))
            parts.append(seen.of(len(batch)))
    finally:
        for module, training in modes:
            module.training = training
    return added(parts)


def added(parts: Sequence[Sequence[Relu]]) -> list[Relu]:
    """The ReLUs of several parts of the images, taken together.

    Raises
    ------
    InputError
        If the parts are not of the same ReLUs: what runs depends on the images.
    """
    names = [[each.name for each in part] for part in parts]
    if any(one != names[0] for one in names):
        raise InputError("which ReLUs run depends on the images: they cannot be counted together.")
    return [
        Relu(
            each[0].name,
            each[0].function,
            sum(one.n_images for one in each),
            each[0].positions,
            np.sum([one.zeros for one in each], axis=0),
            np.sum([one.silent for one in each], axis=0),
        )
        for each in zip(*parts, strict=True)
    ]


def _counted(name: str, function: str, output: Tensor) -> Relu:
    values = output.detach()
    values = values.movedim(-1, 1) if values.ndim == 3 else values
    rows = values.flatten(2) if values.ndim > 2 else values[:, :, None]
    zeros = rows.shape[2] - torch.count_nonzero(rows, dim=2)  # (n, channels)
    silent = (zeros == rows.shape[2]).sum(0).cpu().numpy()
    positions = math.prod(rows.shape[2:])
    return Relu(name, function, len(rows), positions, zeros.sum(0).cpu().numpy(), silent)


class _Mode(TorchFunctionMode):
    """Sees functions of torch as they are called, by modules too."""

    def __init__(self, see: Callable[[str, Any], None], others: Counter[str]) -> None:
        super().__init__()
        self._see, self._others = see, others

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        output = func(*args, **kwargs)
        if func in _SMOOTH:
            self._others[_SMOOTH[func]] += 1
        elif (function := _kind(func, args, kwargs)) is not None:
            self._see(function, output)
        return output


def _kind(func: Any, args: Sequence[Any], kwargs: Any) -> str | None:
    """What a function that is 0 below 0 is called; None for others."""
    if func in _RELUS:
        return _RELUS[func]
    if func not in (*_CAPPED, *_CLAMPED):
        return None
    low, high = (
        kwargs.get(name, args[place] if len(args) > place else None)
        for name, place in ((("min_val", 1), ("max_val", 2)) if func in _CAPPED else (("min", 1), ("max", 2)))
    )
    if isinstance(low, Tensor) or isinstance(high, Tensor) or low != 0 or high not in (None, 6):
        return None
    return "clamp" if high is None else "ReLU6"
