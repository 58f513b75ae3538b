"""Networks: LeNet-5 in the two forms of the paper's authors, any torchvision classifier, and one's own.

Every network takes images in [0, 1] and normalises them itself, so that an embedding never depends
on remembering to do it.

One's own is a function that returns a network; those of timm and of Hugging Face are made so (in ``nets.py``,
for instance, as ``nets.py:resnet`` and ``nets.py:HuggingFace``)::

    import timm
    from torch import nn
    from torchvision.transforms import Normalize
    from transformers import AutoModelForImageClassification

    def resnet():
        network = timm.create_model("resnet18", pretrained=True)
        data = timm.data.resolve_model_data_config(network)
        return nn.Sequential(Normalize(data["mean"], data["std"]), network)

    class HuggingFace(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = AutoModelForImageClassification.from_pretrained("microsoft/resnet-50")
            self.normalise = Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])

        def forward(self, images):
            return self.model(self.normalise(images)).logits

A function of a package that needs no arguments is named directly, such as ``timm.models.resnet:resnet18``:
untrained, and images are not normalised.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import importlib
import importlib.util
import inspect
import itertools
import math
import os
import re
import sys
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.error import URLError

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rarefire import store
from rarefire._engine import checkpoints
from rarefire._engine.arguments import checked
from rarefire.errors import DataError, InputError, RarefireWarning, UnknownNameError, unknown

__all__ = [
    "about_relus",
    "build",
    "capped",
    "check_name",
    "digest",
    "lenet5",
    "lenet300",
    "load_weights",
    "local_weights",
    "names",
    "normalisation",
    "normalised",
    "own_file",
    "plain",
    "short_name",
    "untrained",
    "unwrapped",
]

# Forms of LeNet-5, and what makes them (:func:`lenet5`).
_LENETS: dict[str, dict[str, Any]] = {
    "lenet5": {},
    "lenet5-wide": {"wide": True},
    "lenet5-half": {"width": 0.5},
    "lenet5-double": {"width": 2},
    "lenet5-batchnorm": {"batch_norm": True},
}

_MLP = "lenet300-100"

_WRAPPERS = ("module.", "_orig_mod.")  # of DataParallel and torch.compile

_CLASSES, _MEAN, _STD = 1000, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's


def names() -> list[str]:
    """Names that :func:`build` knows: the LeNets, then torchvision's classifiers."""
    import torchvision

    return [*_LENETS, _MLP, *torchvision.models.list_models(module=torchvision.models)]


@checked
def check_name(name: str, *, own: bool = True) -> None:
    """Raise an error unless :func:`build` accepts the name.

    Parameters
    ----------
    name
        As for :func:`build`. The file of a network of one's own is run, its function is not.
    own
        Whether that may be a network of one's own.

    Raises
    ------
    UnknownNameError
        The message lists the networks, or the functions of that file, that there are.
    DataError
        If the file is missing.
    InputError
        If the file cannot be run, what it calls so is no function, or one that needs arguments.
    """
    if name in _LENETS or name == _MLP:
        return
    if ":" in name:
        if not own:
            raise InputError(
                f"{name} is a network of one's own, measured as it is; what is trained here is one of "
                "networks.names()."
            )
        with torch.random.fork_rng(devices=[]), _found(name):
            return
    if name not in names():  # torchvision, which takes seconds to import, is last
        hint = f"Of a file, name the function too: {name}:function." if name.endswith(".py") else ""
        raise unknown("network", name, names(), hint=hint)


@checked
def build(
    name: str,
    *,
    input_shape: tuple[int, int, int] = (3, 224, 224),
    n_classes: int = _CLASSES,
    mean: tuple[float, ...] = _MEAN,
    std: tuple[float, ...] = _STD,
    weights: str | Path | None = None,
    seed: int = 0,
) -> nn.Module:
    """Build a network.

    Parameters
    ----------
    name
        ``"lenet5"``; its other forms ``"lenet5-wide"``, ``"lenet5-half"``, ``"lenet5-double"``,
        ``"lenet5-batchnorm"``; ``"lenet300-100"`` (:func:`lenet300`); a torchvision classifier
        (``"vgg19"``, ``"squeezenet1_0"``, …); or a network of one's own, ``"path/to/nets.py:function"`` or
        ``"package.module:function"``: what the function returns when it is called without arguments.
        **That file is run**, because you name it, as Python runs a script: it finds the modules and files
        beside it.
    input_shape
        Channels, height, width of one image. The LeNets are sized by it.
    n_classes
        Number of outputs.
    mean, std
        Per channel; subtracted from and divided into images in [0, 1] before the first layer. A network
        of one's own does that itself: it takes RGB in [0, 1], ``(n, 3, h, w)``.
    weights
        None for random weights drawn from `seed`; ``"DEFAULT"`` or another of torchvision's names
        (``"IMAGENET1K_V1"``) for its own, downloaded with their checksum; or the path of a local file, read
        by :func:`load_weights`. A network of one's own brings its weights; a file replaces them. Where
        `n_classes` is not said, it is that of the file.
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
    DataError, InputError
        For a network of one's own, as :func:`check_name`; if its function fails or returns no
        ``torch.nn.Module``; and for `n_classes`, `mean`, `std` or ``"DEFAULT"``, which do not apply.

    Notes
    -----
    A module of a package stays imported, as always in Python: after an edit, start Python again.
    """
    if ":" in name:
        asked = {"n_classes": n_classes == _CLASSES, "mean": tuple(mean) == _MEAN, "std": tuple(std) == _STD}
        surplus = [what for what, usual in asked.items() if not usual]
        return _own(name, [*surplus, *(["weights='DEFAULT'"] if weights == "DEFAULT" else [])], weights, seed)
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
        elif name == _MLP:
            network = lenet300(input_shape, n_classes)
        else:
            named = _named_weights(name, weights)
            network = _torchvision(name, n_classes, pretrained=named)
            weights = None if named else weights
    if weights is not None:
        load_weights(network, weights, resize=n_classes == _CLASSES)
        if hasattr(network, "transform_input"):
            _turn_input(network, name, weights)
    _normalise_input(network, mean, std)
    return network.eval()


@checked
def local_weights(name: str) -> Path | None:
    """Trained weights of a network on this machine: ``weights/<name>.pth`` in the mirror or the cache.

    None where there are none, and for a network of one's own, which brings its own.
    """
    return None if ":" in name else store.at_hand(f"weights/{name}.pth")


def short_name(name: str) -> str:
    """A network's name for readers: ``googlenet`` for ``path/to/nets.py:googlenet``."""
    return name.rpartition(":")[2]


def own_file(name: str) -> Path | None:
    """The file that a network of one's own is named by; None for every other name, modules too."""
    place = name.rpartition(":")[0]
    is_file = place.endswith(".py") or "/" in place or os.sep in place
    return Path(place).expanduser() if is_file else None


def digest(network: nn.Module) -> str:
    """SHA-256 of all weights and buffers; not of what is done to the images (:func:`normalisation`).

    Of a network of one's own also of its source, the modules that it imported from beside its file
    included, and of buffers that are not saved: equal weights do not make equal networks. Settings that
    it reads from other files are not covered.
    """
    network = unwrapped(network)
    state = [_numbers(tensor) for tensor in network.state_dict().values()]
    source: str | None = getattr(network, "rarefire_source", None)
    if source is None:
        return store.array_digest(*state)
    buffers = map(_numbers, network.buffers())
    code = np.frombuffer(bytes.fromhex(source), dtype=np.uint8)
    return store.array_digest(*state, *buffers, code)


def _numbers(tensor: Tensor) -> NDArray[Any]:
    """A tensor as an array; of a type that numpy lacks (bfloat16), its bytes."""
    tensor = tensor.detach().cpu()
    try:
        return tensor.numpy()
    except TypeError:
        return tensor.contiguous().flatten().view(torch.uint8).numpy()


def unwrapped(network: nn.Module) -> nn.Module:
    """The network inside ``torch.compile`` or ``DataParallel``; itself where nothing is around it.

    What has hooks of its own stays, for they may change what the network sees.
    """
    while not (network._forward_pre_hooks or network._forward_hooks):
        inner = network._modules.get("_orig_mod")
        if isinstance(network, nn.DataParallel | nn.parallel.DistributedDataParallel):
            inner = network.module
        if inner is None:
            break
        network = inner
    return network


def plain(layer: str, known: Mapping[str, nn.Module]) -> str:
    """A layer's name in the network itself, where it is named as in what is around it."""
    while layer not in known and layer.startswith(_WRAPPERS):
        layer = layer.partition(".")[2]
    return layer


def about_relus(network: nn.Module) -> str:
    """What to do where activations are negative: whether the network has ReLUs, and which, in a sentence."""
    kinds = dict[str, list[str]]()
    for name, module in unwrapped(network).named_modules():
        if type(module).__module__ == "torch.nn.modules.activation":
            kinds.setdefault(type(module).__name__, []).append(name)
    relus = [name for kind in ("ReLU", "ReLU6") for name in kinds.pop(kind, [])]
    for kind in ("MultiheadAttention", "Softmax", "LogSoftmax"):
        kinds.pop(kind, None)
    others = " and ".join(f"{k} ({which[0]!r}{', …' * (len(which) > 1)})" for k, which in kinds.items())
    if relus:
        shown = ", ".join(map(repr, relus[:3])) + ", …" * (len(relus) > 3)
        there = f"Name the ReLU's layer, not the one before it; this network has {len(relus)}: {shown}."
        return f"{there} Elsewhere it has {others}." if others else there
    if others:
        return (
            f"This network has no ReLU but {others}: its features are hardly ever exactly 0, and have no PoZ."
        )
    return (
        "None of this network's modules is a ReLU or another activation function: if it calls one as a "
        "function, make that a module (nn.ReLU) and name it."
    )


@checked
def untrained(network: nn.Module, *, seed: int, images: NDArray[np.floating] | None = None) -> nn.Module:
    """A twin with the same layers, and weights from a random draw.

    Weights of convolutions and linear layers are normal with variance 2/inputs (He et al. 2015), so that
    activations keep their size through any depth of layers with a ReLU each; biases are 0, and norms do
    nothing. What it does to images before its first layer stays.

    Where some layers have no ReLU, or branches are added up, activations grow all the same. That is a matter
    of scale for a ReLU, but a capped one (ReLU6) then clips nearly all, and neighbours are torn apart. Batch
    norms prevent it; where they are folded into weights, or not trained, `images` do what they would.

    Parameters
    ----------
    network
        It is left as it is.
    seed
        Of the draw.
    images
        ``(n, c, h, w)``: each layer's weights are divided by the SD of its outputs for these, in the order in
        which layers are called (Mishkin & Matas 2016). By default they are not.

    References
    ----------
    He, K., Zhang, X., Ren, S., & Sun, J. (2015). Delving deep into rectifiers. *ICCV*.
    Mishkin, D., & Matas, J. (2016). All you need is a good init. *ICLR*.
    """
    twin = copy.deepcopy(network)
    generator = torch.Generator().manual_seed(int(seed))
    with torch.no_grad():
        for module in twin.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                inputs = module.weight[0].numel()
                drawn = torch.randn(module.weight.shape, generator=generator) * (2 / inputs) ** 0.5
                module.weight.copy_(drawn)
                if module.bias is not None:
                    module.bias.zero_()
            elif isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.reset_running_stats()
                module.reset_parameters()
    if images is not None:
        _calibrate(twin, images)
    return twin


def _calibrate(network: nn.Module, images: NDArray[np.floating]) -> None:
    """Divide the weights of each layer by the SD of its outputs, in the order of the calls."""

    def divide(layer: nn.Module, _: Any, output: Tensor) -> Tensor:
        spread = output.std()
        if spread > 0:
            assert isinstance(layer.weight, Tensor)
            layer.weight.div_(spread)
            output = output / spread
        return output

    layers = [module for module in network.modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    hooks = [layer.register_forward_hook(divide) for layer in layers]
    was_training = network.training
    with torch.no_grad():
        network.eval()(torch.as_tensor(np.asarray(images, dtype=np.float32)))
    network.train(was_training)
    for hook in hooks:
        hook.remove()


def capped(network: nn.Module) -> bool:
    """Whether any of its ReLUs has a largest output, as a ReLU6 has."""
    return any(isinstance(module, nn.ReLU6) for module in network.modules())


def normalisation(network: nn.Module) -> list[list[float]] | None:
    """Mean and standard deviation per channel that :func:`build` gave a network; None for another's."""
    given: list[list[float]] | None = getattr(unwrapped(network), "rarefire_normalisation", None)
    return given


@checked
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


@checked
def lenet300(input_shape: tuple[int, int, int], n_classes: int = 10) -> nn.Sequential:
    """LeNet-300-100: two fully connected layers of 300 and 100 ReLUs, as Frankle & Carbin (2019) start it.

    Parameters
    ----------
    input_shape
        Channels, height, width; every pixel is an input.

    Returns
    -------
    nn.Sequential
        With layers ``flatten fc1 relu1 fc2 relu2 fc3``; weights Glorot-normal, biases 0.
    """
    sizes = (math.prod(input_shape), 300, 100, n_classes)
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    for i, (into, out) in enumerate(itertools.pairwise(sizes), start=1):
        layers[f"fc{i}"] = linear = nn.Linear(into, out)
        nn.init.xavier_normal_(linear.weight)
        nn.init.zeros_(linear.bias)
        if i < len(sizes) - 1:
            layers[f"relu{i}"] = nn.ReLU()
    return nn.Sequential(layers).train()


def _named_weights(name: str, weights: str | Path | None) -> str | None:
    """What torchvision calls these weights of a network; None where they are a file, or none."""
    import torchvision

    if not isinstance(weights, str):
        return None
    known = torchvision.models.get_model_weights(name)
    short = weights.removeprefix(f"{known.__name__}.")
    if short in known.__members__:
        return short
    if not Path(weights).exists() and not Path(weights).suffix and os.sep not in weights:
        raise unknown(
            "set of weights", weights, list(known.__members__), hint=f"Nor is there a file {weights}."
        )
    return None


def _torchvision(name: str, n_classes: int, *, pretrained: str | None) -> nn.Module:
    import torchvision

    options: dict[str, Any] = {"weights": pretrained}
    if not pretrained:
        options["num_classes"] = n_classes
        if name in ("googlenet", "inception_v3"):
            options["init_weights"] = True  # they warn without it
    try:
        network: nn.Module = torchvision.models.get_model(name, **options)
    except (URLError, OSError, RuntimeError) as error:
        raise DataError(
            f"torchvision's weights for {name!r} could not be downloaded ({error}). Connect to the "
            "network, or pass weights= the path of a local state dict."
        ) from error
    return network


@checked
def load_weights(
    network: nn.Module, weights: str | Path | Mapping[str, Any], *, resize: bool = True
) -> nn.Module:
    """Load a state dict, or a file that holds one, into `network`; nothing in the file is executed.

    Files may be torch's or safetensors, and hold the state dict inside (``"state_dict"``, ``"model"``, …);
    names may have what tools put around a network (``module.``, ``_orig_mod.``, ``model.``), or be those of
    DenseNets of 2017; counters of batch norms may be missing. What was taken off or left out is said in a
    warning.

    Parameters
    ----------
    network
        Changed in place. What wraps it (``torch.compile``, ``DataParallel``) is looked through.
    weights
        Tensors by name, or a file.
    resize
        Whether the last layer may be of another number of classes, which is then that of the file; or of
        another make, and is then left out.

    Raises
    ------
    DataError
        If the file is missing, damaged, or holds more than tensors.
    CheckpointError
        If its tensors are those of another architecture. The network is then unchanged.
    """
    inner = unwrapped(network)
    if isinstance(weights, Mapping):
        held, origin = weights, "the state dict"
    else:
        origin = str(weights)
        if not Path(origin).exists():
            raise DataError(f"there is no weights file {origin}.")
        held = checkpoints.read(store.check_file(origin))
    state, notes = checkpoints.tensors_of(held, origin)
    fitted = checkpoints.fit(inner, state, origin, resize=resize)
    if fitted.classes is not None:
        _resize(inner, fitted.classes)
    inner.load_state_dict(fitted.state)
    notes += fitted.notes
    if notes:
        warnings.warn(f"{origin}: {'; '.join(notes)}.", RarefireWarning, stacklevel=2)
    return network


def _turn_input(network: Any, name: str, weights: str | Path) -> None:
    """Have a network that came from another library see images as torchvision's weights for it expect them.

    A state dict does not say it; torchvision turns them wherever its weights are the first ones.
    """
    network.transform_input = True
    if not re.fullmatch(rf"{name}\w*-[0-9a-f]{{8}}", Path(weights).stem):  # as torchvision calls its files
        warnings.warn(
            f"{weights}: {name} was trained on images in [−1, 1], and what begins with torchvision's weights "
            "sees them so: taken as such. If it was trained from scratch: network.transform_input = False.",
            RarefireWarning,
            stacklevel=3,
        )


def _resize(network: nn.Module, classes: int) -> None:
    """Give a network a last layer for so many classes, with random weights."""
    name = checkpoints.head(network)
    assert name is not None
    old = network.get_submodule(name)
    new = copy.deepcopy(old)
    with torch.no_grad():
        for parameter, values in list(new.named_parameters()):
            setattr(new, parameter, nn.Parameter(values.new_zeros(classes, *values.shape[1:])))
    setattr(new, "out_features" if isinstance(new, nn.Linear) else "out_channels", classes)
    parent, _, last = name.rpartition(".")
    setattr(network.get_submodule(parent), last, new)


def normalised(network: nn.Module, images: Tensor) -> Tensor:
    """Images as the first layer gets them, ``(n, c, h, w)``: what :func:`build` has the network do itself."""
    given = normalisation(network)
    if given is None:
        return images
    mean, std = (torch.tensor(values, device=images.device).view(-1, 1, 1) for values in given)
    return ((images - mean) / std).to(images.dtype)


def _normalise_input(network: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    """Have `network` normalise the images it is called with; its layers keep their names."""

    def normalise(of: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        images, *rest = inputs
        return normalised(of, images), *rest

    network.register_forward_pre_hook(normalise)
    network.rarefire_normalisation = [list(mean), list(std)]  # type: ignore[assignment]


# --- networks of one's own -----------------------------------------------------------------------

_SHARED = {"rarefire", "numpy", "torch", "torchvision"}  # one's own file gets the ones that are loaded


def _own(name: str, surplus: list[str], weights: str | Path | None, seed: int) -> nn.Module:
    """What the function that `name` names returns."""
    if surplus:
        raise InputError(
            f"{name} is a network of one's own, with its own outputs, normalisation and weights: leave out "
            f"{', '.join(surplus)}."
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        with _found(name) as (function, sources):
            with _told(name):
                network = function()
            if not isinstance(network, nn.Module):
                raise InputError(f"{name} must return a torch.nn.Module; it returned {_a(network)}.")
            files = "".join(f"{file.name} {store.file_digest(file)}\n" for file in sources())
    if weights is not None:
        load_weights(network, weights)
    inner = [
        getattr(module, "rarefire_source", "") for module in network.modules()
    ]  # it may be made of others
    source = hashlib.sha256(f"{short_name(name)}\n{files}{' '.join(inner)}".encode()).hexdigest()
    network.rarefire_source = source  # type: ignore[assignment]
    return network.eval()


@contextlib.contextmanager
def _found(name: str) -> Iterator[tuple[Callable[[], Any], Callable[[], list[Path]]]]:
    """The function that `name` names, for the block; and what tells the files that it is made of."""
    place, _, called = name.rpartition(":")
    file = own_file(name)
    if file is not None:
        file = store.check_file(file).resolve()
        if file.suffix != ".py":
            raise InputError(f"a network of one's own is a function in a Python file (.py); got {file.name}.")
    with _alone_in(file.parent) if file else _reachable(Path.cwd()):
        with _told(place):
            module = _run(file) if file else _imported(place)
        function = _function(module, place, called)
        defining = sys.modules.get(getattr(function, "__module__", None) or "", module)
        folder = Path(module.__file__ or "").parent

        def sources() -> list[Path]:
            """Of the module, its package, and what lies beside the file; of a library only the first."""
            made_of = [module, defining]
            if file or not {"site-packages", "dist-packages"} & set(folder.parts):
                beside = folder if file or folder == Path.cwd() else None
                tops = {m for m in sys.modules if "." not in m and beside and _lies_in(m, beside)}
                tops.add(module.__name__.partition(".")[0])
                made_of += [sys.modules[m] for m in sys.modules if m.partition(".")[0] in tops]
            files = {getattr(m, "__file__", None) for m in made_of}
            return sorted(path for f in files if f is not None and (path := Path(f)).is_file())

        yield function, sources


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """What lies in `folder` can be imported in the block, as a script there could, and is then forgotten.

    Other libraries that are imported meanwhile stay: many cannot be imported twice.
    """
    loaded, writes = dict(sys.modules), sys.dont_write_bytecode
    tops = {m for m in loaded if "." not in m} - sys.stdlib_module_names - _SHARED
    aside = {t for t in tops if (folder / f"{t}.py").is_file() or (folder / t / "__init__.py").is_file()}
    for m in [m for m in loaded if m.partition(".")[0] in aside]:
        del sys.modules[m]
    sys.dont_write_bytecode = True  # it knows edits by the second
    try:
        with _reachable(folder):
            yield
    finally:
        sys.dont_write_bytecode = writes
        fresh = {m for m in sys.modules if "." not in m and sys.modules[m] is not loaded.get(m)}
        own = {m for m in fresh if m in aside or _lies_in(m, folder)}
        for m in [m for m in sys.modules if m.partition(".")[0] in own]:
            del sys.modules[m]
        for m in set(loaded) - set(sys.modules):
            sys.modules[m] = loaded[m]


@contextlib.contextmanager
def _reachable(folder: Path) -> Iterator[None]:
    """`folder` is the first place to import from, in the block."""
    path = list(sys.path)
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:] = path


def _lies_in(module: str, folder: Path) -> bool:
    """Whether a module that is imported, or the package, is found in `folder`."""
    spec = getattr(sys.modules[module], "__spec__", None)
    places = [*(getattr(spec, "submodule_search_locations", None) or []), getattr(spec, "origin", None) or ""]
    return str(folder) in map(os.path.dirname, places)


def _run(file: Path) -> ModuleType:
    """A file as a module, under a name that nobody else has."""
    spec = importlib.util.spec_from_file_location("rarefire_own_network", file)
    assert spec is not None  # of a .py
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look themselves up
    exec(compile(file.read_bytes(), str(file), "exec", dont_inherit=True), module.__dict__)
    return module


def _imported(place: str) -> ModuleType:
    """A module by its dotted name."""
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{place}.".startswith(f"{error.name}."):
            raise  # another one, that this one imports
        raise UnknownNameError(
            f"there is no module {error.name!r}. A network of one's own is package.module:function, or "
            "path/to/file.py:function."
        ) from error


def _function(module: ModuleType, place: str, called: str) -> Callable[[], Any]:
    """What `module` calls so, if it can be called without arguments."""
    if not hasattr(module, called):
        public = {n: v for n, v in vars(module).items() if not n.startswith("_") and callable(v)}
        known = [n for n, v in public.items() if getattr(v, "__module__", None) == module.__name__]
        if not public:
            raise UnknownNameError(f"{place} defines no function that could make a network.")
        raise unknown("function", called, known or list(public), hint=f"That is what {place} defines.")
    function = getattr(module, called)
    if not callable(function):
        raise InputError(f"{place}:{called} must be a function that returns a network; it is {_a(function)}.")
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except ValueError:  # not every callable tells
        parameters = []
    needed = [
        p.name for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    if needed:
        raise InputError(
            f"{place}:{called} is called without arguments, but needs {', '.join(needed)}. Name a function "
            "that gives them."
        )
    return function  # type: ignore[no-any-return]


@contextlib.contextmanager
def _told(name: str) -> Iterator[None]:
    """What goes wrong in somebody's own code is named in one line, and is the cause of the error."""
    try:
        yield
    except UnknownNameError:
        raise
    except (Exception, SystemExit) as error:
        text = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(f"{name} failed with {text}") from error


def _a(value: object) -> str:
    """What kind of thing it is, for messages."""
    return "None" if value is None else f"of type {type(value).__name__}"
