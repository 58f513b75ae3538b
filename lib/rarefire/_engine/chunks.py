"""Arrays that grow in a zarr store, chunk by chunk, from several processes: there when they are whole.

A zarr array is there when its ``zarr.json`` is. That is written last; until then what it will say lies beside
the chunks under another name. Which chunks are there is seen from the store, so that a stopped run goes on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from rarefire import files, store
from rarefire.errors import DataError

__all__ = ["Growing"]

_WHOLE, _PART = "zarr.json", ".part.json"


class Growing:
    """An array that is being written. It can be sent to other processes, which write chunks of their own.

    Parameters
    ----------
    path
        A folder, there or not, or an address (:func:`rarefire.files.address`).
    key
        A name for what it is made from: only the same goes on with what is there.
    shape, dtype
        Of the whole.
    rows
        Of a chunk, along the first axis.
    attributes
        Of the array, JSON-able.

    Raises
    ------
    DataError
        If something else is there already, zarr is not installed, or the place does not answer.
    """

    def __init__(
        self,
        path: str | Path,
        key: str,
        *,
        shape: tuple[int, ...],
        dtype: DTypeLike,
        rows: int,
        attributes: Mapping[str, Any],
    ) -> None:
        self.place = _place_of(path)
        self.key = key
        try:
            import zarr
        except ImportError as error:
            raise DataError("to write zarr stores: pip install 'rarefire[scale]'.") from error
        memory = zarr.storage.MemoryStore()
        made = {**attributes, "rarefire": {"key": key}}
        array = zarr.create_array(
            memory, shape=shape, chunks=(rows, *shape[1:]), dtype=dtype, attributes=made, zarr_format=3
        )
        facts = array.metadata.to_buffer_dict(_prototype())[_WHOLE].to_bytes()
        try:
            self._metadata = {**self._begin(facts), "attributes": {}}  # names can be many
        except DataError:
            raise
        except Exception as error:  # addresses fail in as many ways as there are kinds of them
            raise DataError(f"could not write {self.place}: {store.reason(error)}.") from error

    def _begin(self, facts: bytes) -> dict[str, Any]:
        """What the array says, or will; that of an earlier run where there was one."""
        system, root = _system(self.place)
        there = _there(system, root)
        self.whole, begun = _WHOLE in there, f".{self.key}{_PART}" in there
        if self.whole or begun:
            with system.open(f"{root}/{_WHOLE if self.whole else f'.{self.key}{_PART}'}") as file:
                held: dict[str, Any] = json.loads(file.read())
            if held.get("attributes", {}).get("rarefire", {}).get("key") != self.key:
                raise self._taken("another array is there")
            return held
        if any(name.endswith(_PART) for name in there):
            raise self._taken("there is an unfinished one, of another network, layer or images")
        if there:
            raise self._taken("something else is there")
        system.makedirs(root, exist_ok=True)
        self._put(system, root, facts)
        new: dict[str, Any] = json.loads(facts)
        return new

    def _taken(self, why: str) -> DataError:
        return DataError(f"could not write {self.place}: {why}. Remove it, or name another place.")

    def _put(self, system: Any, root: str, facts: bytes) -> None:
        """What the array will say, under the name that says that it is not whole."""
        if files.address(self.place) is None:
            with store.atomic_write(Path(root) / f".{self.key}{_PART}") as file:
                file.write(facts)
        else:
            system.pipe_file(f"{root}/.{self.key}{_PART}", facts)

    def missing(self) -> list[slice]:
        """The rows of each chunk that is not there."""
        if self.whole:
            return []
        there = _there(*_system(self.place))
        shape, chunk = self._metadata["shape"], self._metadata["chunk_grid"]["configuration"]["chunk_shape"]
        zeros, n = "/0" * (len(shape) - 1), shape[0]
        starts = range(0, n, chunk[0])
        lacking = [start for i, start in enumerate(starts) if f"c/{i}{zeros}" not in there]
        return [slice(start, min(start + chunk[0], n)) for start in lacking]

    def write(self, rows: slice, values: NDArray[Any]) -> int:
        """Write one whole chunk; how many rows it has."""
        import zarr
        from zarr.storage import FsspecStore, LocalStore, StorePath

        remote = files.address(self.place) is not None
        opened = FsspecStore.from_url(self.place) if remote else LocalStore(self.place)
        # A chunk of zeros is written too: one that is left out would seem missing.
        inner: Any = zarr.AsyncArray
        array = zarr.Array(inner(self._metadata, StorePath(opened), config={"write_empty_chunks": True}))
        array[rows] = np.asarray(values, dtype=array.dtype)
        return len(values)

    def finish(self) -> None:
        """Have the array be there.

        Raises
        ------
        DataError
            If a chunk is missing.
        """
        if self.whole:
            return
        lacking = self.missing()
        if lacking:
            raise DataError(
                f"{self.place} lacks the rows from {lacking[0].start}: something removed them. Start again."
            )
        system, root = _system(self.place)
        system.mv(f"{root}/.{self.key}{_PART}", f"{root}/{_WHOLE}")
        self.whole = True


def _place_of(path: str | Path) -> str:
    """An address, or an absolute path; ``file://`` is one, for files are written whole there."""
    address = files.address(path)
    if address is None:
        return str(Path(path).absolute())
    return address.partition("://")[2] if address.startswith(("file://", "local://")) else address


def _system(place: str) -> tuple[Any, str]:
    from fsspec.core import url_to_fs

    system, root = url_to_fs(place)
    system.invalidate_cache()  # others write there too
    return system, root


def _there(system: Any, root: str) -> set[str]:
    """What is in a store, by names in it."""
    if not system.exists(root):
        return set()
    return {str(name)[len(root) :].lstrip("/") for name in system.find(root)}


def _prototype() -> Any:
    from zarr.core.buffer import default_buffer_prototype

    return default_buffer_prototype()
