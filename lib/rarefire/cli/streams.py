"""Standard output and error as the commands need them: what is printed never stops what is computed."""

from __future__ import annotations

import codecs
import contextlib
import errno
import io
import os
import sys
import unicodedata
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["PIPE_CLOSED", "prepare", "status_after"]

#: Exit status where nobody reads any more: 128 + SIGPIPE, as shells show it.
PIPE_CLOSED = 141

_SIGNS = {
    **dict.fromkeys("‐‑‒–—―−", "-"),
    **{"×": "x", "·": ".", "±": "+/-", "→": "->", "←": "<-", "↔": "<->", "≤": "<=", "≥": ">=", "≈": "~"},
    **dict.fromkeys("“”„«»", '"'),
    **dict.fromkeys("‘’‚′", "'"),
}


class _Patient(io.FileIO):
    """A file that takes everything; why it could not be passed on is kept."""

    failure: OSError | None = None

    def write(self, data: Buffer, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            self.failure = self.failure or error
            return memoryview(data).nbytes


def _plain(error: UnicodeError) -> tuple[str, int]:
    """Signs that a terminal cannot show, in plain ones (R² as R2), and bytes of a name that are no text."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    parts = []
    for sign in error.object[error.start : error.end]:
        if 0xDC80 <= ord(sign) <= 0xDCFF:  # a byte of a file's name that is not UTF-8
            parts.append(f"\\x{ord(sign) - 0xDC00:02x}")
        else:
            near = _SIGNS.get(sign) or unicodedata.normalize("NFKD", sign).encode("ascii", "ignore").decode()
            parts.append(near or "?")
    return "".join(parts), error.end


def prepare() -> None:
    """Have standard output and error take whatever is printed, in any encoding, also where nobody reads."""
    codecs.register_error("rarefire-plain", _plain)
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # closed: else the next file that is opened would be taken for it
            os.open(os.devnull, os.O_RDONLY)
    for name in ("stdout", "stderr"):
        setattr(sys, name, _patient(getattr(sys, name)))


def _patient(stream: TextIO | None) -> TextIO:
    """The same stream, which takes everything."""
    if stream is None:  # closed
        return open(os.devnull, "w", encoding="utf-8")
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    if not isinstance(
        getattr(stream.buffer, "raw", stream.buffer), io.FileIO
    ):  # such as a console of Windows
        stream.reconfigure(errors="rarefire-plain")
        return stream
    stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(_Patient(stream.fileno(), "w", closefd=False)),
        encoding=stream.encoding,
        errors="rarefire-plain",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def status_after(status: int) -> int:
    """The exit status, given that of the command: what was printed may not have arrived."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    failure = raw.failure if isinstance(raw, _Patient) else None
    if failure is None:
        return status
    if failure.errno in (errno.EPIPE, errno.ESHUTDOWN):
        return status or PIPE_CLOSED
    done = "" if status else " The command itself is done."
    print(f"rarefire: could not write to standard output: {failure.strerror}.{done}", file=sys.stderr)
    return status or 1
