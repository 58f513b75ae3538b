"""Files: where they live, how they are read, written whole or not at all, downloaded, and found again.

A file that a user names may be anything. What is read is a regular file; text may also come out of a
pipe. What is written replaces the file that the name leads to, or goes into a pipe, a character device
or an open file such as ``/dev/stdout``. Nothing waits for a writer that is not there.

The answer to an expensive question (one trained instance, measured) is found by :func:`recall`, by a key
made of everything that determines it: in the results shipped with the book (``data/results/``), else in the
user's cache, into which :func:`keep` puts what was computed. :mod:`rarefire.records` asks.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import importlib
import importlib.metadata
import io
import json
import math
import os
import queue
import re
import shutil
import stat
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid
import warnings
import zipfile
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import IO, Any, NamedTuple

import filelock
import numpy as np
import platformdirs
from numpy.typing import NDArray
from tqdm import tqdm

from rarefire import texts
from rarefire.errors import DataError, RarefireWarning

__all__ = [
    "Answer",
    "alone",
    "array_digest",
    "at_hand",
    "atomic_write",
    "cache_dir",
    "check_file",
    "copy_tree",
    "data_dir",
    "descriptor",
    "fetch",
    "file_digest",
    "forget",
    "keep",
    "key",
    "make_way",
    "mirror_dir",
    "pack",
    "provenance",
    "read_arrays",
    "read_text",
    "reason",
    "recall",
    "replace",
    "shipped",
    "target",
]

_fcntl: Any = importlib.import_module("fcntl") if os.name == "posix" else None

_PACKAGES = ("rarefire", "torch", "torchvision", "numpy", "scipy", "scikit-learn")
_STAMP = {"question": str, "versions": dict, "command": str, "date": str}  # and the facts

_ABANDONED = 24 * 3600  # seconds after which nobody writes a file any more, where locks do not tell
_SLOWEST = 1024  # bytes a second: a home that sends fewer hangs
_LONGEST = 6 * 3600  # seconds for one home; what has come then is not lost
_LARGEST = 2**28  # bytes; the largest file of a known data set has 170 million
_BLOCK = 2**16  # bytes


def data_dir() -> Path:
    """The book's ``data/`` folder: shipped results and the paper's claims.

    It lies in the package where that was installed, and beside ``lib/`` in a clone of the book.

    Raises
    ------
    DataError
        If it is in neither place: without it, what is recorded would be computed anew in silence.
    """
    package = Path(__file__).resolve().parent
    places = [package / "data", package.parents[1] / "data"]
    found = next((place for place in places if (place / "paper.csv").is_file()), None)
    if found is None:
        raise DataError(f"the recorded results are missing from {places[0]}: install rarefire again.")
    return found


def cache_dir() -> Path:
    """Where downloads, checkpoints and computed results are kept.

    The environment variable ``RAREFIRE_CACHE`` if set, else the user's cache folder.
    """
    named = os.environ.get("RAREFIRE_CACHE")
    return Path(named) if named else Path(platformdirs.user_cache_dir("rarefire"))


def mirror_dir() -> Path | None:
    """The local mirror of data sets named by ``RAREFIRE_MIRROR``, or None where it is not set.

    Raises
    ------
    DataError
        If the variable names a folder that does not exist.
    """
    named = os.environ.get("RAREFIRE_MIRROR")
    if not named:
        return None
    path = Path(named)
    if not path.is_dir():
        raise DataError(f"RAREFIRE_MIRROR names {named!r}, which is not a folder. Correct it or unset it.")
    return path


def at_hand(name: str) -> Path | None:
    """A file or folder of data in the mirror, else in the cache; None where neither has it.

    Parameters
    ----------
    name
        Relative to both, such as ``"weights/vgg19.pth"``.
    """
    for root in (mirror_dir(), cache_dir()):
        if root is not None and (root / name).exists():
            return root / name
    return None


# --- reading -------------------------------------------------------------------------------------


def check_file(path: str | Path) -> Path:
    """`path`, if a regular file is there, which can be mapped and read more than once.

    Raises
    ------
    DataError
        If nothing is there, or a folder, pipe, device or socket; none of them is opened.
    """
    path = Path(path)
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataError(f"there is no file {path}.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error
    if not stat.S_ISREG(mode):
        raise DataError(f"{path} is {_kind(mode)}, not a file. Name a file.")
    return path


def read_text(path: str | Path, *, kind: str = "text") -> str:
    """What a file or a pipe such as ``<(command)`` holds, as :func:`rarefire.texts.decode` reads it.

    Parameters
    ----------
    path
        A regular file, or a pipe.
    kind
        What it is read as, for the message.

    Raises
    ------
    DataError
        If there is no such file, it is a folder, device or socket, a pipe in which nothing is and into
        which nobody writes, or no text.
    """
    path = Path(path)
    try:
        content = _drained(path) if path.is_fifo() else check_file(path).read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read as {kind}: {error}") from error
    return texts.decode(content, path, kind=kind)


def read_arrays(path: str | Path, *names: str) -> dict[str, NDArray[Any]]:
    """Arrays of a ``.npz`` file, all of them or those named: each as it was written, checksum and length.

    No more memory is taken than what the file really holds, and nothing in it is executed.

    Raises
    ------
    DataError
        If there is no such file.
    Exception
        Of any kind, if something is missing, damaged, or no array of numbers or text.
    """
    with check_file(path).open("rb") as file, zipfile.ZipFile(file) as archive:
        members = archive.namelist()
        if not names:
            strange = next((member for member in members if not member.endswith(".npy")), None)
            if strange is not None or len(set(members)) < len(members):
                raise ValueError(f"it holds {'one array twice' if strange is None else repr(strange[:40])}")
        wanted = [f"{name}.npy" for name in names] or members
        return {member.removesuffix(".npy"): _array(archive, member) for member in wanted}


def _array(archive: zipfile.ZipFile, member: str) -> NDArray[Any]:
    stream = io.BytesIO(archive.read(member))
    version = np.lib.format.read_magic(stream)
    header = np.lib.format.read_array_header_1_0, np.lib.format.read_array_header_2_0
    shape, _, dtype = header[version != (1, 0)](stream)
    # Before numpy takes the memory: a header can say anything.
    if dtype.hasobject or math.prod(shape) * dtype.itemsize != len(stream.getbuffer()) - stream.tell():
        raise ValueError(f"{member} is not the array that its header says")
    stream.seek(0)
    array: NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
    return array


def reason(error: BaseException) -> str:
    """What an exception says, in one line that can be shown."""
    said = "".join(c if c.isprintable() else " " for c in str(error))
    said = " ".join(said.split())
    return (said if len(said) <= 200 else f"{said[:199]}…") or type(error).__name__


def _drained(pipe: Path) -> bytes:
    """All that comes out of a pipe."""
    # Opened without waiting: where nobody writes, and nothing was left, the end is reached at once.
    with open(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0) as file:
        first = file.read(1)
        if first == b"":
            raise DataError(f"{pipe} is an empty pipe into which nobody writes. Name a file.")
        os.set_blocking(file.fileno(), True)
        return (first or b"") + file.readall()


def _kind(mode: int) -> str:
    """What is there that is no regular file."""
    if stat.S_ISDIR(mode):
        return "a folder"
    if stat.S_ISFIFO(mode):
        return "a pipe"
    return "a socket" if stat.S_ISSOCK(mode) else "a device"


# --- writing -------------------------------------------------------------------------------------


@contextlib.contextmanager
def atomic_write(path: str | Path) -> Iterator[IO[bytes]]:
    """Open a binary file that appears at `path` whole on success, and not at all on failure.

    A symbolic link stays: the file that it leads to is replaced, which keeps its permissions. (Other
    hard links to it keep what it held.) A pipe, a character device or an open file of this process
    (:func:`descriptor`) is written into, at the end and in one go; a pipe waits for its reader.
    What killed writers of the same file have left beside it is removed.

    Raises
    ------
    DataError
        If `path` is a folder, block device or socket, or the disk refuses (full, read-only, over quota).
        What stood at `path` is untouched.
    """
    path = Path(path)
    if _is_stream(path):
        buffer = io.BytesIO()
        yield buffer
        _pour(buffer, path)
        return
    place = target(path)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        _sweep(place)
        with _beside(place) as (file, temporary):
            with file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            replace(temporary, place)
    except OSError as error:
        raise DataError(
            f"could not write {path}: {error.strerror or error}. Nothing was changed there. "
            "Free some space, or write elsewhere (RAREFIRE_CACHE moves the cache)."
        ) from error


@contextlib.contextmanager
def _beside(place: Path) -> Iterator[tuple[IO[bytes], Path]]:
    """A new file beside `place`, locked while its writer lives; it is moved away, or removed in the end."""
    while True:
        temporary = place.with_name(f".{place.name}.{uuid.uuid4().hex}.tmp")
        file = temporary.open("xb")
        # The lock outlives `file`, which is then put in its place. (Windows moves no file that is open.)
        held = None if _fcntl is None else os.dup(file.fileno())
        try:
            if held is not None:
                _lock(held, wait=True)
                if not temporary.exists():  # swept before it was locked
                    continue
            yield file, temporary
            return
        finally:
            with contextlib.suppress(OSError):
                file.close()
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            if held is not None:
                os.close(held)


def _lock(number: int, *, wait: bool) -> bool | None:
    """Lock an open file for its writer: whether no other has; None where the file system does not say."""
    if _fcntl is None:
        return None
    try:
        _fcntl.flock(number, _fcntl.LOCK_EX | (0 if wait else _fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _sweep(place: Path) -> None:
    """Remove what killed writers of `place` have left beside it, and nothing that is being written."""
    left = re.compile(rf"\.{re.escape(place.name)}\.[0-9a-f]{{32}}\.tmp")
    with contextlib.suppress(OSError), os.scandir(place.parent) as entries:
        for entry in entries:
            if left.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                with contextlib.suppress(OSError), open(entry.path, "rb") as file:
                    free = _lock(file.fileno(), wait=False)
                    if free is None:
                        free = time.time() - entry.stat().st_mtime > _ABANDONED
                    if free:
                        os.unlink(entry.path)


def make_way(path: Path) -> None:
    """Remove what stands in the cache at the place of a file and is none (a folder) or cannot be read."""
    own = Path(os.path.abspath(path)).is_relative_to(os.path.abspath(cache_dir()))
    if own and os.path.lexists(path) and not (path.is_file() and os.access(path, os.R_OK)):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def target(path: str | Path) -> Path:
    """The regular file that a name leads to, there or yet to be made; symbolic links are followed.

    Raises
    ------
    DataError
        If something else is there, or links lead in a circle.
    """
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        mode = None
    except OSError as error:
        raise DataError(f"could not write {path}: {error.strerror}.") from error
    if mode is not None and not stat.S_ISREG(mode):
        raise DataError(f"could not write {path}: it is {_kind(mode)}; name a file.")
    if descriptor(path) is not None:
        raise DataError(f"could not write {path}: it is an open file; name another.")
    return Path(os.path.realpath(path))


def replace(fresh: Path, place: Path) -> None:
    """Put the file `fresh` in the place of another, whose permissions it takes on, in one step."""
    if place.exists():
        fresh.chmod(place.stat().st_mode & 0o777)
    os.replace(fresh, place)


@contextlib.contextmanager
def alone(path: Path, *, wait_for: str = "", doing: str = "computes") -> Iterator[None]:
    """Let no other process (or thread) write `path`, and what it is made from, until the block ends.

    Parameters
    ----------
    path
        The file, or a name for what is computed meanwhile.
    wait_for
        What another process computes there, for a sentence on standard error; one waits until it is done.
        By default nobody waits.
    doing
        What the other process does, for that sentence.

    Raises
    ------
    DataError
        If another process does so now, or the disk refuses the lock.
    """
    lock = filelock.FileLock(path.with_name(f".{path.name}.lock"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        if not wait_for:
            raise DataError(
                f"another run is writing {path}. Wait for it, or stop it and start again: it goes on from "
                "there."
            ) from error
        tqdm.write(f"waiting for another process that {doing} {wait_for}", file=sys.stderr)
        lock.acquire()
    except OSError as error:
        raise DataError(
            f"could not write {path}: {error.strerror or error}. RAREFIRE_CACHE moves the cache."
        ) from error
    try:
        yield
    finally:
        # Removed while it is held: a run that has opened it meanwhile does not take it for a lock.
        with contextlib.suppress(OSError):  # on Windows, nothing open can be removed
            os.unlink(lock.lock_file)
        lock.release()


def descriptor(path: str | Path) -> int | None:
    """The number of the open file of this process that a name stands for; None for any other name.

    ``/dev/stdout`` is 1, ``/dev/fd/63`` is 63. Such a file may be a regular one that a shell has opened
    (``> table.csv``): who replaced it would leave the shell with the old one.
    """
    path, folder = os.path.abspath(path), os.path.realpath("/dev/fd")
    for _ in range(40):  # as many links as the kernel follows
        parent, name = os.path.split(path)
        if os.path.realpath(parent) == folder and name.isdecimal():
            return int(name)
        if not os.path.islink(path):
            return None
        path = os.path.join(os.path.realpath(parent), os.readlink(path))
    return None


def _is_stream(path: Path) -> bool:
    """Whether it is written into, not replaced."""
    if descriptor(path) is not None:
        return True
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)


def _pour(buffer: io.BytesIO, path: Path) -> None:
    """Write all of it into a stream, after what was printed before."""
    number = descriptor(path)
    for printed in filter(None, (sys.stdout, sys.stderr)):  # a closed one is None
        printed.flush()
    try:
        # The open file itself, not its name: it goes on where the shell's other output ends.
        with open(path if number is None else os.dup(number), "wb") as file:
            file.write(buffer.getbuffer())
    except OSError as error:
        raise DataError(f"could not write {path}: {error.strerror or error}.") from error


# --- digests -------------------------------------------------------------------------------------


def file_digest(path: str | Path, *, algorithm: str = "sha256") -> str:
    """Hexadecimal digest of a file's content, read in blocks."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def array_digest(*arrays: NDArray[Any]) -> str:
    """SHA-256 over dtype, shape and content of arrays of any shape, independent of memory layout."""
    total = hashlib.sha256()
    for array in arrays:
        contiguous = np.ascontiguousarray(array)
        total.update(f"{contiguous.dtype.str}{contiguous.shape}".encode())
        total.update(contiguous.data if contiguous.size else b"")
    return total.hexdigest()


def key(**facts: Any) -> str:
    """A short name (20 hexadecimal digits) for a set of JSON-able facts; the same facts, the same name."""
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:20]


# --- downloads -----------------------------------------------------------------------------------


def fetch(
    urls: Sequence[str],
    path: str | Path,
    *,
    md5: str,
    timeout: float = 30.0,
    longest: float = _LONGEST,
    largest: int = _LARGEST,
) -> Path:
    """Download one file: progress shown, interrupted downloads resumed, checksum verified.

    Where several processes want the same file, one downloads it and the others wait.

    Parameters
    ----------
    urls
        Homes of the file, tried in turn.
    path
        Where it goes. A file already there with the right checksum is kept. The part that has
        arrived waits in ``<path>.part`` until the rest has come and the checksum is right.
    md5
        Expected MD5, hexadecimal.
    timeout
        Seconds without an answer after which a home is given up, as is one that sends less than a kibibyte a
        second meanwhile.
    longest
        Seconds after which a home is given up that is still sending.
    largest
        Bytes: the file is known to have no more.

    Raises
    ------
    DataError
        If no home sends the file; what went wrong at each is said.
    """
    path = Path(path)
    if _md5(path) == md5:
        return path
    with alone(path, wait_for=path.name, doing="downloads"):
        if _md5(path) == md5:  # another process has downloaded it meanwhile
            return path
        try:
            return _fetched(urls, path, md5, timeout=timeout, longest=longest, largest=largest)
        except OSError as error:
            raise DataError(
                f"could not write {path}: {error.strerror or error}. What has come goes on from where it is "
                "when there is space. RAREFIRE_CACHE moves the cache."
            ) from error


def _fetched(urls: Sequence[str], path: Path, md5: str, **limits: Any) -> Path:
    part = path.with_name(path.name + ".part")
    make_way(part)
    failures = []
    homes = [(url, True) for url in urls]
    for url, resume in homes:
        if not resume:
            part.unlink(missing_ok=True)
        have, failure, again = part.stat().st_size if part.exists() else 0, "", False
        if _md5(part) != md5:
            try:
                _download(url, part, have, **limits)
            except _HomeError as error:
                failure, again = str(error), error.cannot_resume
        got = _md5(part)
        if got == md5:  # whatever the home said
            os.replace(part, path)
            return path
        if not failure:
            failure, again = f"MD5 {got} came, {md5} was expected", have > 0
            part.unlink()
        if again:  # of what was there, it is not known where it came from: once more without it
            homes.append((url, False))
        failures.append(f"{url}: {failure}")
    raise DataError(f"could not download {path.name}:\n  " + "\n  ".join(failures))


def _md5(path: Path) -> str | None:
    return file_digest(path, algorithm="md5") if path.is_file() else None


class _HomeError(Exception):
    """What is wrong with a home."""

    def __init__(self, what: str, *, cannot_resume: bool = False) -> None:
        super().__init__(what)
        self.cannot_resume = cannot_resume


def _download(url: str, part: Path, have: int, *, timeout: float, longest: float, largest: int) -> None:
    """Append to `part`, of `have` bytes, what is missing; start over where the server cannot resume."""
    with contextlib.closing(_arriving(url, have, timeout=timeout, longest=longest)) as arriving:
        answer: _Head = next(arriving)
        size = _start(answer, have)
        total = None if answer.length is None else size + answer.length
        if total is not None and total > largest:
            raise _HomeError(f"it would send {total:,} bytes, of {largest:,} at most")
        with (
            part.open("ab" if size else "wb") as file,
            tqdm(total=total, initial=size, unit="B", unit_scale=True, desc=part.stem, leave=False) as bar,
        ):
            for block in arriving:
                file.write(block)
                bar.update(len(block))
                size += len(block)
                if size > largest:
                    file.truncate(0)
                    raise _HomeError(f"it sent more than {largest:,} bytes")
    if total is not None and size < total:
        raise _HomeError(f"the connection ended after {size} of {total} bytes")


class _Head(NamedTuple):
    """How an answer begins; `length` is that of what follows, where it says so."""

    status: int | None
    headers: Any
    length: int | None


def _start(answer: _Head, have: int) -> int:
    """The place in the file from which on the home sends it."""
    if answer.headers.get_content_type() == "text/html":
        raise _HomeError("it sent a web page, not the file")
    if answer.status == 206:
        said = re.match(r"bytes (\d{1,15})-", answer.headers.get("Content-Range", f"bytes {have}-"))
        if said is None or int(said[1]) != have:
            raise _HomeError("it sent another part than was asked for", cannot_resume=have > 0)
        return have
    if answer.status not in (200, None):  # None: of a file
        raise _HomeError(f"it answered with status {answer.status}")
    return 0


def _arriving(url: str, have: int, *, timeout: float, longest: float) -> Generator[Any, None, None]:
    """The head of the answer of a home, then block after block.

    They come from a thread: a home can hold up that, with a byte now and then, but not this one.
    """
    arrived: queue.Queue[Any] = queue.Queue(maxsize=64)
    stop = threading.Event()
    threading.Thread(target=_ask, args=(url, have, timeout, arrived, stop), daemon=True).start()
    begun = since = time.monotonic()
    came = 0
    try:
        while True:
            now = time.monotonic()
            if now - begun > longest:
                raise _HomeError(f"it was still sending after {longest:g} seconds")
            if now - since >= timeout:
                if came < _SLOWEST * timeout:
                    raise _HomeError(
                        f"{f'only {came} bytes' if came else 'nothing'} came in {timeout:g} seconds"
                    )
                since, came = now, 0
            try:
                item = arrived.get(timeout=min(since + timeout, begun + longest) - now + 1e-3)
            except queue.Empty:
                continue
            if item is None:
                return
            if isinstance(item, Exception):
                raise _HomeError(_said(item), cannot_resume=getattr(item, "code", 0) == 416) from item
            if isinstance(item, _Head):
                since = now
            else:
                came += len(item)
            yield item
    finally:
        stop.set()
        with contextlib.suppress(queue.Empty):
            while True:  # a thread that waits for room goes on, and ends
                arrived.get_nowait()


def _ask(url: str, have: int, timeout: float, arrived: queue.Queue[Any], stop: threading.Event) -> None:
    """Put what a home answers into a queue, None at the end; or what is wrong."""
    try:
        request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
        # Who waits for this thread gives the home up before that, and says why.
        with urllib.request.urlopen(request, timeout=2 * timeout) as response:
            left = getattr(response, "length", None)
            arrived.put(_Head(response.status, response.headers, left))
            while not stop.is_set() and left != 0:
                block = response.read1(_BLOCK if left is None else min(_BLOCK, left))
                if not block:
                    break
                arrived.put(block)
                left = None if left is None else left - len(block)
        arrived.put(None)
    except Exception as error:  # a home can send anything
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        arrived.put(error)


def _said(error: Exception) -> str:
    """What is wrong with a home, in words."""
    if isinstance(error, OSError):
        return reason(error)
    return f"its answer is no HTTP ({type(error).__name__}: {reason(error)})"


# --- results -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """An answer from the store.

    Attributes
    ----------
    arrays
        The numbers, by name.
    provenance
        How they came about: question, facts, package versions, command, date.
    source
        ``"shipped"``, ``"cache"`` or ``"computed"``.
    """

    arrays: Mapping[str, NDArray[Any]]
    provenance: Mapping[str, Any]
    source: str


def provenance(question: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    """A stamp for numbers computed now: what was asked, with which versions, how and when."""
    return {
        "question": question,
        "facts": dict(facts),
        "versions": {p: importlib.metadata.version(p) for p in _PACKAGES},
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]) if sys.argv[0] else "interactive",
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def recall(
    question: str, facts: Mapping[str, Any], *, use_shipped: bool = True, warn: bool = True
) -> Answer | None:
    """The answer to `question` under `facts` that is shipped, else cached; None where there is none.

    What cannot be read, is not whole, or answers something else is no answer. A warning names it.

    Parameters
    ----------
    question
        A short name, e.g. ``"instance"``.
    facts
        JSON-able; everything that determines the answer, the version of the step included.
    use_shipped
        Whether the results shipped with the book count.
    warn
        Whether a damaged cached result is named; not where it was before.
    """
    name = key(question=question, **facts)
    place = _shipped_index(data_dir() / "results").get(name) if use_shipped else None
    found = None if place is None else _shipped_answer(place)
    if found is not None:
        return found
    path = _entry(name)
    if not os.path.lexists(path):
        return None
    try:
        arrays, stamp = _read(path)
        if _key_of(stamp, stamp["facts"]) != name:
            raise ValueError("it answers another question")
        return Answer(arrays, stamp, "cache")
    except Exception as error:  # a damaged file raises many kinds
        if warn and os.path.lexists(path):  # not removed meanwhile
            warnings.warn(
                f"the cached result {path} is damaged ({reason(error)}); it is not used, and replaced once "
                "it is computed again.",
                RarefireWarning,
                stacklevel=2,
            )
        return None


def keep(question: str, facts: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Answer:
    """Put an answer that was computed now into the user's cache, where :func:`recall` finds it."""
    answer = Answer({k: np.asarray(v) for k, v in arrays.items()}, provenance(question, facts), "computed")
    path = _entry(key(question=question, **facts))
    make_way(path)
    _write(path, answer.arrays, answer.provenance)
    return answer


def forget(question: str, facts: Mapping[str, Any]) -> None:
    """Take an answer out of the user's cache, if it is there."""
    path = _entry(key(question=question, **facts))
    make_way(path)
    path.unlink(missing_ok=True)


def _entry(name: str) -> Path:
    return cache_dir() / "results" / f"{name}.npz"


def shipped(question: str, **facts: Any) -> list[Answer]:
    """The answers to `question` that are shipped with the book and have all of these facts.

    A file that is damaged is left out; a warning names it.
    """
    places = _shipped_index(data_dir() / "results").values()
    answers = [_shipped_answer(place) for place in places if place.question == question]
    return [a for a in answers if a is not None and facts.items() <= a.provenance["facts"].items()]


def _shipped_answer(place: _Place) -> Answer | None:
    whole = _read_shipped(place.path)
    if whole is None:
        return None
    arrays, stamp = whole
    own = {k: v for k, v in stamp.items() if k != "keys"} | {"facts": stamp["facts"][place.row]}
    return Answer({k: v[place.row] for k, v in arrays.items()}, own, "shipped")


def pack(path: str | Path, answers: Iterable[Answer]) -> Path:
    """Write answers to one question, stacked along a new first axis, as a file to ship.

    Every answer keeps its key, so :func:`recall` finds it there one by one. Double precision becomes
    single. The rows' facts may differ; versions, command and date are those
    of the first answer. It is compressed with LZMA: a quarter smaller than what is cached, slower to write.
    """
    answers = list(answers)
    first = answers[0].provenance
    rows = [dict(a.provenance["facts"]) for a in answers]
    stamp = {**first, "facts": rows, "keys": [key(question=first["question"], **f) for f in rows]}
    stacked = {}
    for name in answers[0].arrays:
        column = np.stack([np.asarray(a.arrays[name]) for a in answers])
        stacked[name] = column.astype(np.float32) if column.dtype == np.float64 else column
    _write(Path(path), stacked, stamp, compression=zipfile.ZIP_LZMA)
    _shipped_index.cache_clear()
    _read_shipped.cache_clear()
    return Path(path)


def _write(
    path: Path,
    arrays: Mapping[str, NDArray[Any]],
    stamp: Mapping[str, Any],
    *,
    compression: int = zipfile.ZIP_DEFLATED,
) -> None:
    """As :func:`numpy.savez_compressed` does, which leaves no choice of the compression."""
    told = json.dumps({**stamp, "content": _content(arrays)}, sort_keys=True)
    text = np.frombuffer(told.encode(), dtype=np.uint8)
    with atomic_write(path) as file, zipfile.ZipFile(file, "w", compression) as archive:
        for name, array in {**arrays, "provenance": text}.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as part:
                np.lib.format.write_array(part, np.asanyarray(array), allow_pickle=False)


def _content(arrays: Mapping[str, NDArray[Any]]) -> str:
    """A name for what the arrays hold, by which a missing or another one is noticed."""
    return key(**{name: array_digest(array) for name, array in arrays.items()})


def _read(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Arrays and provenance, as :func:`_write` wrote them; an exception of any kind where they are not."""
    arrays = read_arrays(path)
    stamp = _stamp(arrays.pop("provenance", None))
    # Files of earlier versions do not say what they hold.
    if stamp.pop("content", None) not in (None, _content(arrays)):
        raise ValueError("it does not hold what was written")
    return arrays, stamp


def _stamp(text: NDArray[Any] | None) -> dict[str, Any]:
    """The provenance that a file holds."""
    stamp = None if text is None else json.loads(text.tobytes())
    if not isinstance(stamp, dict) or not all(isinstance(stamp.get(k), kind) for k, kind in _STAMP.items()):
        raise ValueError("it does not say where its numbers come from")
    return stamp


def _key_of(stamp: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    return key(question=stamp["question"], **facts)


class _Place(NamedTuple):
    """Where a shipped answer is, and to what."""

    path: Path
    row: int
    question: str


@cache  # some megabytes in all
def _read_shipped(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, Any]] | None:
    try:
        arrays, stamp = _read(path)
        if any(array.shape[:1] != (len(stamp["keys"]),) for array in arrays.values()):
            raise ValueError("it does not hold one answer for each key")
    except Exception as error:  # a damaged file raises many kinds
        _warn_shipped(path, error)
        return None
    return arrays, stamp


@lru_cache(maxsize=8)
def _shipped_index(folder: Path) -> dict[str, _Place]:
    """Key of every shipped answer -> where it is."""
    index: dict[str, _Place] = {}
    for path in sorted(folder.glob("*.npz")):
        try:
            stamp = _stamp(read_arrays(path, "provenance")["provenance"])
            if stamp["keys"] != [_key_of(stamp, facts) for facts in stamp["facts"]]:
                raise ValueError("its keys are not those of its facts")
        except Exception as error:  # a damaged file raises many kinds
            _warn_shipped(path, error)
            continue
        places = (_Place(path, row, stamp["question"]) for row in range(len(stamp["keys"])))
        index.update(zip(stamp["keys"], places, strict=True))
    return index


def _warn_shipped(path: Path, error: Exception) -> None:
    warnings.warn(
        f"the recorded results {path} are damaged ({reason(error)}) and not used. Restore the file: "
        f"git checkout {path.name} in that folder, or install rarefire again.",
        RarefireWarning,
        stacklevel=4,
    )


def copy_tree(source: Path, target: Path) -> None:
    """Replace the folder `target` by a copy of `source`, in one step at the end."""
    with alone(target, wait_for=f"the folder {target.name}", doing="writes"):
        # Of a killed run: there is no other one now.
        fresh, old = (target.with_name(f".{target.name}.{end}") for end in ("new", "old"))
        for leftover in (fresh, old):
            shutil.rmtree(leftover, ignore_errors=True)
        shutil.copytree(source, fresh)
        if target.exists():
            os.replace(target, old)
        os.replace(fresh, target)
        shutil.rmtree(old, ignore_errors=True)
