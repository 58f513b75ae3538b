"""What a public function is given, checked before it works: numbers, seeds, choices, arrays, paths.

:func:`checked` reads what a function's annotations say of its arguments, so that each kind is checked in one
place and in one sentence. What numbers mean follows from their names: a ``seed`` may be 0, a ``batch_size``
may not. What else an argument must be (shapes, ranges of its own) the function checks itself.
"""

from __future__ import annotations

import errno
import inspect
import math
import operator
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from functools import partial, wraps
from pathlib import Path
from types import UnionType
from typing import Any, Literal, ParamSpec, SupportsFloat, SupportsIndex, TypeVar, cast, get_args, get_origin

import numpy as np
from numpy.typing import NDArray

from rarefire.errors import DataError, InputError

__all__ = [
    "check_array",
    "check_fields",
    "check_finite",
    "check_number",
    "check_path",
    "check_rng",
    "check_whole",
    "check_writable",
    "checked",
]

_P = ParamSpec("_P")
_R = TypeVar("_R")
_Check = Callable[[str, Any], None]

#: The least that whole numbers of these names may be; others are checked by who takes them.
_LEAST = {
    "seed": 0,
    **dict.fromkeys(("batch_size", "jobs", "max_epochs", "n_classes", "repeats", "resize", "size"), 1),
    **dict.fromkeys(("check_every", "most", "order", "patience"), 0),
}
#: Numbers of these names are shares; other ranges are checked by who takes the number.
_SHARES = {"rare"}
#: Arrays of these may hold text.
_NAMES = {"category", "given", "labels", "responses", "stimulus"}
_MOST = 2**63 - 1
_LONGEST = 200  # bytes of a file's name; temporary files and those beside it have longer ones


def checked(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Have a function check its arguments before it does anything, as its annotations say.

    Raises
    ------
    InputError
        By the function: an argument is not what it says. Numbers are finite, whole ones have no fraction,
        choices are among those named, arrays hold real numbers.
    DataError
        Likewise: a path that leads in a circle, or is longer than paths can be.
    """
    parameters = inspect.signature(function).parameters
    positional = [p.name for p in parameters.values() if p.kind is not p.KEYWORD_ONLY]
    defaults = {name: p.default for name, p in parameters.items()}
    annotations = {name: p.annotation for name, p in parameters.items()}
    checks: dict[str, _Check] | None = None

    @wraps(function)
    def wrapper(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        nonlocal checks
        if checks is None:  # now that all names of the module are there
            checks = _checks(annotations, vars(sys.modules[function.__module__]))
        for name, value in (*zip(positional, args, strict=False), *kwargs.items()):
            if name in checks and value is not defaults[name]:
                checks[name](name, value)
        return function(*args, **kwargs)

    return wrapper


def check_fields(instance: Any) -> None:
    """The fields of a dataclass, as :func:`checked` does it for arguments."""
    module = vars(sys.modules[type(instance).__module__])
    for name, check in _checks({f.name: f.type for f in fields(instance)}, module).items():
        check(name, getattr(instance, name))


def check_rng(rng: object, name: str = "rng") -> None:
    """Random numbers come from a generator, not from a seed or the global state."""
    if not isinstance(rng, np.random.Generator):
        raise InputError(f"{name} is a numpy.random.Generator; got {type(rng).__name__}.")


def check_finite(finite: NDArray[np.bool_], *, first: int = 0, total: int | None = None) -> None:
    """Every row of an embedding is finite, or an error that says which is not.

    Parameters
    ----------
    finite
        ``(n,)``, of some of its rows.
    first
        Number of the first of them.
    total
        Rows of the whole, by default all.
    """
    if finite.all():
        return
    bad = np.flatnonzero(~finite)
    where = "" if total in (None, len(finite)) else f" (rows {first} to {first + len(finite) - 1})"
    rows = ", ".join(str(first + row) for row in bad[:5]) + ", …" * (len(bad) > 5)
    raise InputError(
        f"{len(bad)} of {len(finite)} images{where} have NaN or infinite features: row{'s' * (len(bad) > 1)} "
        f"{rows}, counted from 0."
    )


def check_whole(name: str, value: object) -> None:
    """A whole number, not below what its name allows, and below 2⁶³: torch takes no larger ones."""
    least = _LEAST.get(name.lstrip("-"))
    try:
        number = operator.index(cast("SupportsIndex", value))
    except TypeError:
        number = None
    if number is not None and number > _MOST:
        raise InputError(f"{name} is a whole number below 2**63; got {_shown(value)}.")
    if number is None or isinstance(value, bool) or (least is not None and number < least):
        bound = "" if least is None else f", at least {least}"
        raise InputError(f"{name} is a whole number{bound}; got {_shown(value)}.")


def check_number(name: str, value: object) -> None:
    """A number that is neither NaN nor infinite."""
    try:
        fits = not isinstance(value, bool | str | bytes) and math.isfinite(cast("SupportsFloat", value))
    except (TypeError, ValueError, OverflowError):
        fits = False
    if not fits:
        raise InputError(f"{name} is a finite number; got {_shown(value)}.")
    if name in _SHARES and not 0 <= cast("float", value) <= 1:
        raise InputError(f"{name} is a share in [0, 1]; got {_shown(value)}.")


def check_array(name: str, value: Any) -> None:
    """An array of real numbers, or of names where it may be; its shape is checked where it is used."""
    if value is None:
        raise InputError(f"{name} is an array; got None.")
    if type(value).__module__.partition(".")[0] == "torch":
        if value.is_complex():
            raise InputError(_COMPLEX.format(name=name, dtype=str(value.dtype)))
        return
    try:
        dtype = value.dtype if hasattr(value, "dtype") else np.asarray(value).dtype
    except ValueError as error:
        raise InputError(f"{name} is an array; its rows differ in length.") from error
    kind = getattr(dtype, "kind", "O")
    if kind == "O" and name not in _NAMES:
        try:
            kind = np.asarray(value, dtype=np.float64).dtype.kind
        except (TypeError, ValueError) as error:
            raise InputError(f"{name} holds real numbers; got objects ({error}).") from error
    if kind == "c":
        raise InputError(_COMPLEX.format(name=name, dtype=dtype))
    if kind in "VmM" or (kind in "US" and name not in _NAMES):
        text = "text" if kind in "US" else "records" if kind == "V" else "dates"
        raise InputError(f"{name} holds real numbers; got {text} ({dtype}).")


_COMPLEX = (
    "{name} holds real numbers; got complex ones ({dtype}), whose imaginary parts would be lost. Take their "
    "size, np.abs(…), or their real parts, .real."
)


def check_path(name: str, path: str | Path) -> None:
    """A path that can lead somewhere; whether anything is there is not asked."""
    if not isinstance(path, str | os.PathLike):
        raise InputError(f"{name} is a path; got {_shown(path)}.")
    try:
        os.stat(path)
    except ValueError as error:  # a byte of value 0
        raise InputError(f"{name} is no path: {error}.") from error
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
            raise DataError(f"{name} names {_cut(str(path))}: {error.strerror}.") from error


def check_writable(name: str, path: str | Path) -> None:
    """A path at which a file can be written, so that what takes long does not end in vain."""
    from rarefire import store

    check_path(name, path)
    path = Path(path)
    if store.descriptor(path) is not None or path.is_fifo() or path.is_char_device():
        return
    place = store.target(path)
    if len(os.fsencode(place.name)) > _LONGEST:
        raise DataError(
            f"could not write {_cut(str(path))}: its name has {len(os.fsencode(place.name))} bytes; at most "
            f"{_LONGEST} are written."
        )
    folder = next((one for one in place.parents if one.exists()), place.parent)
    if not folder.is_dir():
        raise DataError(f"could not write {path}: {folder} is not a folder.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise DataError(f"could not write {path}: nothing may be written in {folder}.")


# --- by annotation -------------------------------------------------------------------------------


def _checks(annotations: Mapping[str, Any], module: dict[str, Any]) -> dict[str, _Check]:
    """By argument, its check; arguments of other kinds have none."""
    found = dict[str, _Check]()
    for name, annotation in annotations.items():
        if name == "k":  # one number or several; what it is checked against is known later
            continue
        plain, optional = re.subn(r" \| None$", "", str(annotation))
        if re.fullmatch(r"ArrayLike|NDArray\[[^|]*\]", plain):
            check: _Check | None = check_array
        else:
            try:
                check = _check_of(eval(plain, module))
            except (NameError, AttributeError, SyntaxError):  # imported for annotations only
                continue
        if check is not None:
            found[name] = _or_none(check) if optional else check
    return found


def _check_of(kind: Any) -> _Check | None:
    """The check of what is annotated so."""
    origin, args = get_origin(kind), get_args(kind)
    if origin is Literal:
        return partial(_choice, args)
    if origin is UnionType:
        return _path_or_other if {str, Path} < set(args) else check_path if set(args) == {str, Path} else None
    if origin is Mapping:
        return _by_name
    if origin in (Sequence, tuple) and args[0] in (int, float, str):
        one = {int: check_whole, float: check_number, str: _text}[args[0]]
        return partial(_each, one, len(args) if origin is tuple and args[-1] is not ... else None)
    if getattr(kind, "__module__", "") == "torch.nn.modules.module":
        return partial(_network, kind)
    known: dict[Any, _Check] = {int: check_whole, float: check_number, str: _text, Path: check_path}
    return {**known, np.random.Generator: lambda name, value: check_rng(value, name)}.get(kind)


def _or_none(check: _Check) -> _Check:
    return lambda name, value: None if value is None else check(name, value)


def _each(check: _Check, count: int | None, name: str, value: Any) -> None:
    """Several of a kind, of which a name such as ``seeds`` is the plural."""
    if isinstance(value, str) or not hasattr(value, "__len__") or count not in (None, len(value)):
        kind = "names" if check is _text else "numbers" if check is check_number else "whole numbers"
        raise InputError(f"{name} are {count or 'several'} {kind}; got {_shown(value)}.")
    for one in value:
        check(name.removesuffix("s"), one)


def _by_name(name: str, value: Any) -> None:
    if not isinstance(value, Mapping):
        raise InputError(f"{name} are given by name, as a dict is; got {_shown(value)}.")


def _path_or_other(name: str, value: Any) -> None:
    if isinstance(value, str | Path):
        check_path(name, value)


def _network(kind: type, name: str, value: Any) -> None:
    if not isinstance(value, kind):
        how = "networks.build makes one of a name" if isinstance(value, str) else "call what makes one"
        raise InputError(f"{name} is a torch.nn.Module ({how}); got {_shown(value)}.")


def _text(name: str, value: Any) -> None:
    if not isinstance(value, str):
        raise InputError(f"{name} is a text; got {_shown(value)}.")


def _choice(known: Sequence[Any], name: str, value: Any) -> None:
    if not isinstance(value, str):  # a name that does not exist is said by who knows what it is of
        raise InputError(f"{name} is one of {', '.join(map(str, known))}; got {_shown(value)}.")


def _shown(value: object) -> str:
    """A value, in few letters."""
    return _cut(" ".join(repr(value).split()))


def _cut(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:40]}…{text[-15:]}"
