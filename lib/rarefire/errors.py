"""What this package raises. Each message names what came, what was expected and what to do."""

from __future__ import annotations

__all__ = [
    "CheckpointError",
    "DataError",
    "InputError",
    "RarefireError",
    "RarefireWarning",
    "UnknownNameError",
    "unknown",
]


class RarefireError(Exception):
    """Base of every error that the package raises on purpose."""


class InputError(RarefireError, ValueError):
    """An argument has the wrong shape, range or content."""


class UnknownNameError(RarefireError, LookupError):
    """A stimulus set, network or layer of that name does not exist; the message lists those that do."""


class DataError(RarefireError, RuntimeError):
    """A file that is needed is missing, damaged, or cannot be downloaded or written."""


class CheckpointError(RarefireError, RuntimeError):
    """Weights that do not belong to the network they are loaded into."""


class RarefireWarning(UserWarning):
    """Something a reader of the result should know: images dropped, an entry recomputed."""


def unknown(what: str, name: str, known: list[str], *, hint: str = "") -> UnknownNameError:
    """The error for a name that does not exist, listing those that do (nearest spellings first)."""
    import difflib

    near = difflib.get_close_matches(name, known, n=5, cutoff=0.5)
    rest = [k for k in known if k not in near]
    shown = near + rest[: max(0, 40 - len(near))]
    more = f", … ({len(known)} in all)" if len(known) > len(shown) else ""
    text = f"there is no {what} {name!r}. There are: {', '.join(shown)}{more}."
    return UnknownNameError(f"{text} {hint}".strip())
