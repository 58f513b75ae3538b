"""Weights as people have them: read without running anything, and brought to a network's own names."""

from __future__ import annotations

import argparse
import json
import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rarefire.errors import CheckpointError, DataError

__all__ = ["Fitted", "fit", "head", "read", "tensors_of"]

#: Where tools put the state dict of the network itself, the usual first.
_INSIDE = ("state_dict", "model_state_dict", "model", "net", "network", "weights", "module")
_BESIDE = re.compile(r"optim|sched|scaler|loops|callbacks|hyper_parameters|args|config", re.IGNORECASE)
#: What tools put around a network, anywhere in a name.
_AROUND = {"module", "_orig_mod"}
# Names of 2017, as in torchvision's own files.
_DENSENET = re.compile(r"^(.*denselayer\d+\.(?:norm|conv))\.([12]\.\w+)$")
_AUXILIARY = re.compile(r"(?:^|\.)(?:aux\d*|AuxLogits|aux_classifier)\.")
_HEADS = {
    "fc",
    "head",
    "heads",
    "classifier",
    "linear",
    "last_linear",
    "logits",
    "output",
    "out",
    "projector",
}
_COUNTER = "num_batches_tracked"

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


# --- files ---------------------------------------------------------------------------------------


def read(path: str | Path) -> Any:
    """What a file of weights holds; nothing in it is executed."""
    path = Path(path)
    with path.open("rb") as file:
        start = file.read(9)
    if path.suffix == ".safetensors" or (len(start) == 9 and start[7:] == b"\0{"):
        return _safetensors(path)
    # What training scripts keep beside the weights: their arguments, and numbers of numpy's.
    kinds = {type(np.dtype(kind)) for kind in ("f8", "f4", "i8", "i4", "?")}
    scalar = np._core.multiarray.scalar  # type: ignore[attr-defined]
    try:
        with torch.serialization.safe_globals([argparse.Namespace, np.dtype, scalar, *kinds]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged file
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(
            f"{path} cannot be read as a state dict of tensors ({reason}). Save one with "
            "torch.save(network.state_dict(), path)."
        ) from error


def _safetensors(path: Path) -> dict[str, Tensor]:
    """The format of huggingface/safetensors: the header's length, the header (JSON), raw numbers."""
    content = bytearray(path.read_bytes())
    length = int.from_bytes(content[:8], "little")
    found = {}
    try:
        header = json.loads(content[8 : 8 + length].decode())
        numbers = memoryview(content)[8 + length :]
        for name, facts in header.items():
            if name == "__metadata__":
                continue
            kind, shape, (start, stop) = _DTYPES[facts["dtype"]], facts["shape"], facts["data_offsets"]
            if not 0 <= start <= stop <= len(numbers) or stop - start != math.prod(shape) * kind.itemsize:
                raise ValueError(f"{name} is not where the header says")
            if start == stop:
                found[name] = torch.empty(shape, dtype=kind)
                continue
            found[name] = torch.frombuffer(numbers[start:stop], dtype=torch.uint8).view(kind).reshape(shape)
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        reason = f"unknown {error}" if isinstance(error, KeyError) else error
        raise DataError(
            f"{path} cannot be read as safetensors ({reason}). Replace it by a whole copy."
        ) from error
    return found


def tensors_of(held: Any, origin: str) -> tuple[dict[str, Tensor], list[str]]:
    """The state dict in what a file holds, and what is to be said of it."""
    notes = list[str]()
    for _ in range(3):
        if not isinstance(held, Mapping):
            raise DataError(
                f"{origin} holds {_kind(held)}, not a state dict. Save one with "
                "torch.save(network.state_dict(), path)."
            )
        tensors = {str(name): value for name, value in held.items() if isinstance(value, Tensor)}
        inside = [str(k) for k, v in held.items() if isinstance(v, Mapping) and _holds_tensors(v)]
        inside = [name for name in inside if not _BESIDE.search(name)]
        usual = [name for name in _INSIDE if name in inside]
        if not usual and tensors:
            lost = next((name for name, value in tensors.items() if value.is_complex()), None)
            if lost is not None:
                raise DataError(f"{origin} holds complex numbers in {lost!r}; a network's weights are real.")
            return tensors, notes
        if not usual and len(inside) != 1:
            found = (
                f"several: {', '.join(inside[:5])}" if inside else f"none: {', '.join(map(str, held))[:80]}"
            )
            raise DataError(
                f"{origin} should hold one state dict of tensors; it holds {found}. Save the one that is "
                "meant with torch.save(…, path)."
            )
        chosen = (usual or inside)[0]
        aside = [name for name in inside if name != chosen]
        notes.append(f"taken from {chosen!r}" + (f", not from {', '.join(aside)}" if aside else ""))
        held = held[chosen]
    raise DataError(f"{origin} is nested too deeply to be a state dict of tensors.")


def _holds_tensors(value: Mapping[Any, Any], depth: int = 8) -> bool:
    return depth > 0 and any(
        isinstance(v, Tensor) or (isinstance(v, Mapping) and _holds_tensors(v, depth - 1))
        for v in value.values()
    )


def _kind(value: object) -> str:
    return f"one {type(value).__name__}"


# --- names ---------------------------------------------------------------------------------------


@dataclass
class Fitted:
    """A state dict under a network's own names.

    Attributes
    ----------
    state
        Every name of the network.
    notes
        What was done, to be said.
    classes
        Rows of its last layer, where they are not those of the network.
    """

    state: dict[str, Tensor]
    notes: list[str] = field(default_factory=list)
    classes: int | None = None


def head(network: nn.Module) -> str | None:
    """Name of the linear or convolutional layer that is defined last, but for auxiliary ones."""
    named = [
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d) and not _AUXILIARY.search(f"{name}.")
    ]
    return named[-1] if named else None


def fit(network: nn.Module, given: Mapping[str, Tensor], origin: str, *, resize: bool) -> Fitted:
    """Weights for a network, or why they are not.

    Parameters
    ----------
    network
        It is not changed.
    given
        Tensors by name.
    origin
        For messages.
    resize
        Whether the last layer may have another number of classes.

    Raises
    ------
    CheckpointError
        Where they are those of another network.
    """
    own = network.state_dict()
    state, notes = _renamed(given, own, origin)
    last = head(network)
    is_head = {name for name in own if last is not None and name.startswith(f"{last}.")}

    counters = [name for name in own if name not in state and name.endswith(_COUNTER)]
    state.update({name: torch.zeros_like(own[name]) for name in counters})
    auxiliary = [name for name in {**own, **state} if _AUXILIARY.search(name)]
    if (set(auxiliary) & set(own)) != (set(auxiliary) & set(state)):
        notes.append("auxiliary heads left out")
        state = {name: value for name, value in state.items() if name not in auxiliary}
        state.update({name: own[name] for name in auxiliary if name in own})
    if counters:
        notes.append(f"{len(counters)} batch counters set to 0")

    classes = None
    other = [n for n in own if n in state and _shape(state[n]) != _shape(own[n])]
    rows = {_shape(state[n])[:1] for n in other}
    rest = all(_shape(state[n])[1:] == _shape(own[n])[1:] for n in other)
    if (
        resize
        and other
        and set(other) <= is_head <= set(state)
        and rest
        and len(rows) == 1
        and () not in rows
    ):
        ((classes,), other) = (*rows, [])
        notes.append(f"its last layer ({last}) has {classes} outputs, and so has the network now")
    missing = [name for name in own if name not in state]
    surplus = [name for name in state if name not in own]
    core = {name.partition(".")[0] for name in own if name not in is_head}
    heads = [n for n in surplus if n.startswith(f"{last}.") or n.partition(".")[0] in _HEADS - core]
    lacking = sorted(is_head & {*missing, *other})
    if (
        resize
        and lacking
        and {*missing, *other} <= is_head
        and len(heads) == len(surplus)
        and len(own) > len(is_head)
    ):
        left = ", ".join([*heads, *(n for n in other)][:3]) or "none there"
        notes.append(f"its head ({left}) left out: outputs are random, the features before {last} are right")
        state = {**{n: v for n, v in state.items() if n in own}, **{n: own[n] for n in is_head}}
        missing = surplus = other = []
    if missing or surplus or other:
        raise CheckpointError(_why(network, origin, own, state, missing, surplus, other))
    return Fitted({name: state[name] for name in own}, notes, classes)


def _renamed(
    given: Mapping[str, Tensor], own: Mapping[str, Tensor], origin: str
) -> tuple[dict[str, Tensor], list[str]]:
    """Under the network's names, as far as these are the same but for what tools put around them."""
    state, notes = dict(given), list[str]()
    if set(state) == set(own):
        return state, notes
    around = _AROUND - {part for name in own for part in name.split(".")}
    tidy = {name: ".".join(part for part in name.split(".") if part not in around) for name in state}
    if list(tidy) != list(tidy.values()) and len(set(tidy.values())) == len(tidy):
        taken = sorted({part for name in tidy for part in name.split(".")} & around)
        notes.append(f"{' and '.join(f'{part}.' for part in taken)} taken off the names")
        state = {tidy[name]: value for name, value in state.items()}
    older = {name: _DENSENET.sub(r"\1\2", name) for name in state}
    if list(older) != list(older.values()):
        notes.append("names of 2017 (norm.1) brought to today's (norm1)")
        state = {older[name]: value for name, value in state.items()}

    prefixes = _prefixes(state, own)
    most = max(prefixes.values(), default=0)
    best = [prefix for prefix, n in prefixes.items() if n == most]
    if most and "" not in best:
        if len(best) > 1:
            raise CheckpointError(
                f"{origin} holds {len(best)} networks that fit, {' and '.join(sorted(best)[:3])}. Save the "
                "state dict of the one that is meant."
            )
        (prefix,) = best
        inside = {n.removeprefix(prefix): v for n, v in state.items() if n.startswith(prefix)}
        aside = [n for n in state if not n.startswith(prefix)]
        left = f" ({', '.join(aside[:3])}{', …' * (len(aside) > 3)} left out)" if aside else ""
        notes.append(f"{prefix} taken off the names{left}")
        return inside, notes
    around_own = _prefixes(own, state)
    if not most and around_own:
        prefix, n = around_own.most_common(1)[0]
        if prefix and n == len(state):
            notes.append(f"{prefix} put before the names")
            state = {prefix + name: value for name, value in state.items()}
    return state, notes


def _prefixes(names: Mapping[str, Any], known: Mapping[str, Any]) -> Counter[str]:
    """What could be taken off the names, by how many are known without it."""
    found = Counter[str]()
    for name in names:
        parts = name.split(".")
        for i in range(len(parts)):
            if ".".join(parts[i:]) in known:
                found["".join(f"{part}." for part in parts[:i])] += 1
    return found


def _shape(value: Any) -> tuple[int, ...]:
    return tuple(getattr(value, "shape", ()))


def _why(
    network: nn.Module,
    origin: str,
    own: Mapping[str, Any],
    state: Mapping[str, Any],
    missing: list[str],
    surplus: list[str],
    other: list[str],
) -> str:
    """Why weights do not fit, by the first names that differ."""
    sizes = [f"{name} {_shape(state[name])} instead of {_shape(own[name])}" for name in other]
    said = [
        f"{what}: {', '.join(which[:3])}{', …' if len(which) > 3 else ''} ({len(which)})"
        for what, which in (("missing", missing), ("unknown", surplus), ("other shape", sizes))
        if which
    ]
    name = type(network).__name__
    if other or 2 * sum(n in state for n in own if not n.endswith(_COUNTER)) < len(own):
        sizes_of = [sorted(_shape(v) for v in held.values() if _shape(v)) for held in (own, state)]
        same = not other and sizes_of[0] == sizes_of[1]
        if same:
            return f"{origin} has the shapes of {name} under other names: rename them. " + "; ".join(said)
        return f"{origin} holds the weights of another architecture than {name}. " + "; ".join(said)
    return f"{origin} does not hold all and only the weights of {name}. " + "; ".join(said)
