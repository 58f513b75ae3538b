"""Networks: LeNet-5 in the two forms of the paper's authors, and any torchvision classifier.

Every network takes images in [0, 1] and normalises them itself, so that an embedding never depends
on remembering to do it.
"""

from __future__ import annotations

import inspect
import math
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from torch import Tensor, nn

from rarefire import store
from rarefire.errors import CheckpointError, DataError, InputError, unknown

__all__ = [
    "build",
    "check_name",
    "digest",
    "lenet5",
    "load_weights",
    "local_weights",
    "names",
    "normalisation",
    "normalised",
]

# Forms of LeNet-5, and what makes them (:func:`lenet5`).
_LENETS: dict[str, dict[str, Any]] = {
    "lenet5": {},
    "lenet5-wide": {"wide": True},
    "lenet5-half": {"width": 0.5},
    "lenet5-double": {"width": 2},
    "lenet5-batchnorm": {"batch_norm": True},
}


def names() -> list[str]:
    """Names that :func:`build` accepts: the LeNets, then torchvision's classifiers."""
    import torchvision

    return [*_LENETS, *torchvision.models.list_models(module=torchvision.models)]


def check_name(name: str) -> None:
    """Raise UnknownNameError unless :func:`build` accepts the name; the message lists those that exist."""
    if name not in _LENETS and name not in names():  # torchvision, which takes seconds to import, is last
        raise unknown("network", name, names())


def build(
    name: str,
    *,
    input_shape: tuple[int, int, int] = (3, 224, 224),
    n_classes: int = 1000,
    mean: tuple[float, ...] = (0.485, 0.456, 0.406),
    std: tuple[float, ...] = (0.229, 0.224, 0.225),
    weights: str | Path | None = None,
    seed: int = 0,
) -> nn.Module:
    """Build a network.

    Parameters
    ----------
    name
        ``"lenet5"``; its other forms ``"lenet5-wide"``, ``"lenet5-half"``, ``"lenet5-double"``,
        ``"lenet5-batchnorm"``; or a torchvision classifier (``"vgg19"``, ``"squeezenet1_0"``, …).
    input_shape
        Channels, height, width of one image. The LeNets are sized by it.
    n_classes
        Number of outputs.
    mean, std
        Per channel; subtracted from and divided into images in [0, 1] before the first layer.
    weights
        None for random weights drawn from `seed`; ``"DEFAULT"`` for torchvision's, downloaded with
        its checksum; or the path of a local state dict.
    seed
        Of the random weights. The global generator is left as it was.

    Returns
    -------
    nn.Module
        In evaluation mode, ``(n, c, h, w)`` in [0, 1] -> ``(n, n_classes)``.

    Raises
    ------
    UnknownNameError
        The message lists the names that exist.
    CheckpointError
        Where the weights are those of another architecture.
    """
    check_name(name)
    if len(mean) != input_shape[0] or len(std) != input_shape[0]:
        raise InputError(
            f"mean and std need one value for each of the {input_shape[0]} channels; got "
            f"{len(mean)} and {len(std)}."
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if name in _LENETS:
            network: nn.Module = lenet5(input_shape, n_classes, **_LENETS[name])
        else:
            network = _torchvision(name, n_classes, pretrained=weights == "DEFAULT")
    if weights is not None and (weights != "DEFAULT" or name in _LENETS):
        load_weights(network, weights)
    _normalise_input(network, mean, std)
    return network.eval()


def local_weights(name: str) -> Path | None:
    """Trained weights of a network on this machine: ``weights/<name>.pth`` in the mirror or the cache."""
    return store.at_hand(f"weights/{name}.pth")


def digest(network: nn.Module) -> str:
    """SHA-256 of all weights and buffers; not of what is done to the images (:func:`normalisation`)."""
    return store.array_digest(*(tensor.detach().cpu().numpy() for tensor in network.state_dict().values()))


def normalisation(network: nn.Module) -> list[list[float]] | None:
    """Mean and standard deviation per channel that :func:`build` gave a network; None for another's."""
    given: list[list[float]] | None = getattr(network, "rarefire_normalisation", None)
    return given


def lenet5(
    input_shape: tuple[int, int, int],
    n_classes: int = 10,
    *,
    wide: bool = False,
    width: float = 1,
    batch_norm: bool = False,
) -> nn.Sequential:
    """LeNet-5 with ReLUs and max-pooling, in the forms used by the paper's authors, and variations.

    Parameters
    ----------
    input_shape
        Channels, height, width. The classic form wants 32 × 32; images of 28 are padded by two
        pixels, as LeCun et al. (1998) do.
    wide
        False: two 5 × 5 convolutions of 6 and 16 channels, fully connected layers of 120 and 84
        (their CIFAR-10 network). True: two 3 × 3 convolutions of 64, one pooling, fully connected
        layers of 256 and 256 (their MNIST network).
    width
        Factor on the number of channels and of fully connected features, > 0.
    batch_norm
        Whether batch normalisation stands before every ReLU.

    Returns
    -------
    nn.Sequential
        With layers ``conv1 relu1 … fc2 relu4 fc3``, and ``norm1 … norm4`` before the ReLUs if
        asked for; ``relu4`` is the penultimate layer.

    Raises
    ------
    InputError
        If the images are too small for two convolutions, or the width leaves no feature.
    """
    channels, height, width_of_images = input_shape
    # Two convolutions: channels, size, padding, whether pooled; then two fully connected layers.
    if wide:
        convolutions, hidden = [(64, 3, 0, False), (64, 3, 0, True)], (256, 256)
    else:
        padding = 2 if min(height, width_of_images) < 32 else 0
        convolutions, hidden = [(6, 5, padding, True), (16, 5, 0, True)], (120, 84)
    if not (math.isfinite(width) and round(width * min(convolutions[0][0], *hidden)) >= 1):
        raise InputError(f"width multiplies the numbers of features; {width!r} leaves none.")
    layers: list[tuple[str, nn.Module]] = []

    def activate(i: int, norm: type[nn.Module], features: int) -> None:
        if batch_norm:
            layers.append((f"norm{i}", norm(features)))
        layers.append((f"relu{i}", nn.ReLU()))

    for i, (base, size, padding, pooled) in enumerate(convolutions, start=1):
        into, channels = channels, round(width * base)
        layers.append((f"conv{i}", nn.Conv2d(into, channels, size, padding=padding)))
        activate(i, nn.BatchNorm2d, channels)
        if pooled:
            layers.append(("pool" if wide else f"pool{i}", nn.MaxPool2d(2)))
    layers.append(("flatten", nn.Flatten()))
    try:
        with torch.no_grad():
            features = nn.Sequential(OrderedDict(layers)).eval()(torch.zeros(1, *input_shape)).numel()
    except RuntimeError as error:
        raise InputError(f"images of {height} × {width_of_images} are too small for LeNet-5.") from error
    for i, base in enumerate(hidden, start=1):
        into, features = features, round(width * base)
        layers.append((f"fc{i}", nn.Linear(into, features)))
        activate(i + 2, nn.BatchNorm1d, features)
    layers.append(("fc3", nn.Linear(features, n_classes)))
    return nn.Sequential(OrderedDict(layers)).train()


def _torchvision(name: str, n_classes: int, *, pretrained: bool) -> nn.Module:
    import torchvision

    options: dict[str, Any] = {"weights": "DEFAULT" if pretrained else None}
    if not pretrained:
        options["num_classes"] = n_classes
        builder = torchvision.models.get_model_builder(name)
        if "init_weights" in inspect.signature(builder).parameters:
            options["init_weights"] = True  # googlenet and inception warn without it
    try:
        network: nn.Module = torchvision.models.get_model(name, **options)
    except (URLError, OSError, RuntimeError) as error:
        raise DataError(
            f"torchvision's weights for {name!r} could not be downloaded ({error}). Connect to the "
            "network, or pass weights= the path of a local state dict."
        ) from error
    return network


def load_weights(network: nn.Module, weights: str | Path | Mapping[str, Tensor]) -> nn.Module:
    """Load a state dict, or a file that holds one, into `network`; nothing in the file is executed.

    Raises
    ------
    DataError
        If the file is missing, damaged, or holds more than tensors.
    CheckpointError
        If its tensors are those of another architecture. The network is then unchanged.
    """
    if isinstance(weights, Mapping):
        state, origin = dict(weights), "the state dict"
    else:
        origin = str(weights)
        if Path(origin).exists():
            store.check_file(origin)
        try:
            state = torch.load(weights, map_location="cpu", weights_only=True)
        except FileNotFoundError as error:
            raise DataError(f"there is no weights file {origin}.") from error
        except Exception as error:  # torch raises many kinds for a damaged file
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise DataError(
                f"{origin} cannot be read as a state dict of tensors ({reason}). Save one with "
                "torch.save(network.state_dict(), path)."
            ) from error
    own = network.state_dict()
    missing = [k for k in own if k not in state]
    surplus = [k for k in state if k not in own]
    shapes = [
        f"{k} {tuple(state[k].shape)} instead of {tuple(own[k].shape)}"
        for k in own
        if k in state and getattr(state[k], "shape", None) != own[k].shape
    ]
    if missing or surplus or shapes:
        said = [
            f"{what}: {', '.join(which[:3])}{', …' if len(which) > 3 else ''} ({len(which)})"
            for what, which in (("missing", missing), ("unknown", surplus), ("other shape", shapes))
            if which
        ]
        raise CheckpointError(
            f"{origin} holds the weights of another architecture than {type(network).__name__}. "
            + "; ".join(said)
        )
    network.load_state_dict(state)
    return network


def normalised(network: nn.Module, images: Tensor) -> Tensor:
    """Images as the first layer gets them, ``(n, c, h, w)``: what :func:`build` has the network do itself."""
    given = normalisation(network)
    if given is None:
        return images
    mean, std = (torch.tensor(values, device=images.device).view(-1, 1, 1) for values in given)
    return (images - mean) / std


def _normalise_input(network: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    """Have `network` normalise the images it is called with; its layers keep their names."""

    def normalise(of: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        images, *rest = inputs
        return normalised(of, images), *rest

    network.register_forward_pre_hook(normalise)
    network.rarefire_normalisation = [list(mean), list(std)]  # type: ignore[assignment]
