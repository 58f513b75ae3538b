"""Which axis of a layer's output holds the features, as far as the network says so itself.

One image is shown to the network, and every module is watched. A convolution works on axis 1, a layer norm
on the last one; what it says holds for the very tensor that it takes or gives, and through functions that
work on each number alone.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["FIRST", "LAST", "Watch", "eager", "first_tensor"]

#: Features on axis 1, ``(n, c, h, w)``; features on the last axis, ``(n, tokens, c)`` or ``(n, h, w, c)``.
FIRST, LAST = "channels_first", "channels_last"

_FIRST = (
    nn.modules.conv._ConvNd,
    nn.modules.batchnorm._BatchNorm,
    nn.modules.instancenorm._InstanceNorm,
    nn.GroupNorm,
    nn.LocalResponseNorm,
    nn.Upsample,
    nn.PixelShuffle,
    nn.Dropout2d,
)
_FIRST_NAMES = {"LayerNorm2d", "FrozenBatchNorm2d"}  # torchvision's and others'; of no common base
_LAST = (nn.TransformerEncoderLayer, nn.TransformerEncoder)
# torchvision's own: what they return is a sum, which no module gives or, at the end of a stage, takes.
_LAST_PLACES = {
    "torchvision.models.vision_transformer": {"Encoder", "EncoderBlock"},
    "torchvision.models.swin_transformer": {
        "PatchMerging",
        "PatchMergingV2",
        "ShiftedWindowAttention",
        "ShiftedWindowAttentionV2",
        "SwinTransformerBlock",
        "SwinTransformerBlockV2",
    },
}
_ELEMENTWISE = (nn.Identity, nn.Dropout, nn.AlphaDropout)
_NOT_ELEMENTWISE = (nn.MultiheadAttention, nn.Softmax, nn.LogSoftmax, nn.Softmin, nn.Softmax2d, nn.GLU)


def _says(module: nn.Module) -> str | None:
    """Where this module's kind has the features, in what it takes and in what it gives."""
    kind = type(module)
    if isinstance(module, _FIRST) or kind.__name__ in _FIRST_NAMES:
        return FIRST
    if kind.__module__ == "torch.nn.modules.pooling":
        return FIRST
    if isinstance(module, nn.LayerNorm):  # a subclass may turn axes first
        plain = kind.forward is nn.LayerNorm.forward and len(module.normalized_shape) == 1
        return LAST if plain else None
    if isinstance(module, _LAST) or kind.__name__ in _LAST_PLACES.get(kind.__module__, ()):
        return LAST
    return None


def _is_elementwise(module: nn.Module) -> bool:
    activation = type(module).__module__ == "torch.nn.modules.activation"
    return (activation and not isinstance(module, _NOT_ELEMENTWISE)) or (
        isinstance(module, _ELEMENTWISE) or type(module).__name__ in {"StochasticDepth", "DropPath"}
    )


class Watch:
    """What the modules of a network say of the tensors that pass, until `stack` closes."""

    def __init__(self, network: nn.Module, stack: ExitStack) -> None:
        self._said: dict[int, set[str]] = {}
        self._alive: list[Tensor] = []  # else another tensor might get the same id
        for module in network.modules():
            handle = module.register_forward_hook(self._hook(module), with_kwargs=True)
            stack.callback(handle.remove)
            # A sum in place comes after what is taken is known.
            stack.callback(module.register_forward_pre_hook(self._before(module), with_kwargs=True).remove)

    def _of(self, tensor: Tensor) -> set[str]:
        self._alive.append(tensor)
        return self._said.setdefault(id(tensor), set())

    def _before(self, module: nn.Module) -> Callable[..., None]:
        said = _says(module)

        def before(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            taken = first_tensor(args, kwargs)
            if said is not None and taken is not None and taken.ndim > 2:
                self._of(taken).add(said)

        return before

    def _hook(self, module: nn.Module) -> Callable[..., None]:
        said, elementwise = _says(module), _is_elementwise(module)

        def after(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            if not isinstance(output, Tensor) or output.ndim < 3:
                return
            taken = first_tensor(args, kwargs)
            if said is not None:
                self._of(output).add(said)
            elif taken is not None and taken.ndim == output.ndim:
                if elementwise:
                    self._alive.append(output)
                    self._said[id(output)] = self._of(taken)
                elif isinstance(module, nn.Linear) and LAST in self._of(taken):
                    self._of(output).add(LAST)  # alone it may also mix tokens (MLP-Mixer)

        return after

    def axis(self, tensor: Tensor) -> str | None:
        """Where the features of a tensor that passed are; None where that is not certain."""
        said = self._said.get(id(tensor), set())
        if len(said) == 1:
            return next(iter(said))
        # Images come with their channels first, and where no layer has them last, and nothing was turned,
        # they stay there.
        usual = (
            tensor.ndim == 4 and tensor.is_contiguous() and not any(LAST in s for s in self._said.values())
        )
        return FIRST if usual and not said else None


def first_tensor(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor | None:
    """What a module is called with, by place or by name."""
    return next((value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)), None)


def eager(network: nn.Module, stack: ExitStack) -> None:
    """Until `stack` closes, what is compiled runs as it was written: compiled, it calls no hooks."""
    if any(
        "_orig_mod" in module._modules or getattr(module, "_compiled_call_impl", None) is not None
        for module in network.modules()
    ):
        stack.enter_context(torch.compiler.set_stance("force_eager"))
