"""Arrays that grow in zarr stores: there when they are whole, begun once, gone on with."""

import sys

import numpy as np
import pytest
import zarr

from rarefire import files
from rarefire._engine.chunks import Growing
from rarefire.errors import DataError

VALUES = np.arange(70.0).reshape(10, 7)
VALUES[3:6] = 0  # a chunk that zarr would leave out


def begin(place, key="key", **more):
    names = [f"image {i}" for i in range(10)]
    options = {"shape": (10, 7), "dtype": "f4", "rows": 3, "attributes": {"names": names}, **more}
    return Growing(place, key, **options)


@pytest.fixture(params=["folder", "file", "memory"])
def place(request, tmp_path):
    """A folder, and addresses; what is in memory goes by a name of its own."""
    folder = tmp_path / "E.zarr"
    return {"folder": folder, "file": f"file://{folder}", "memory": f"memory://{tmp_path}/E.zarr"}[
        request.param
    ]


def test_it_is_there_when_it_is_whole(place):
    growing = begin(place)
    assert growing.missing() == [slice(0, 3), slice(3, 6), slice(6, 9), slice(9, 10)]
    for rows in (slice(3, 6), slice(9, 10)):
        assert growing.write(rows, VALUES[rows]) == rows.stop - rows.start
    with pytest.raises(DataError, match=r"not finished|there is no zarr array"):
        files.read(place)
    with pytest.raises(DataError, match="lacks the rows from 0"):
        growing.finish()

    again = begin(place, rows=5)  # it goes on in the chunks of the first run
    assert again.missing() == [slice(0, 3), slice(6, 9)]
    for rows in again.missing():
        again.write(rows, VALUES[rows])
    again.finish()
    again.finish()
    found = files.read(place)
    np.testing.assert_array_equal(found.values[:], VALUES)
    assert found.names == tuple(f"image {i}" for i in range(10))
    assert found.values.chunks == (3, 7)
    assert begin(place).missing() == []


def test_what_is_there_is_left_alone(place, tmp_path):
    growing = begin(place)
    with pytest.raises(DataError, match="an unfinished one, of another network, layer or images. Remove it"):
        begin(place, "another")
    for rows in growing.missing():
        growing.write(rows, VALUES[rows])
    growing.finish()
    with pytest.raises(
        DataError, match="could not write .*another array is there. Remove it, or name another"
    ):
        begin(place, "another")
    np.testing.assert_array_equal(files.read(place).values[:], VALUES)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "letter.txt").write_text("mine")
    with pytest.raises(DataError, match="something else is there"):
        begin(tmp_path / "folder")
    zarr.create_array(str(tmp_path / "theirs.zarr"), data=VALUES)
    with pytest.raises(DataError, match="another array is there"):
        begin(tmp_path / "theirs.zarr")


def test_what_it_needs_is_said(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="could not write nonsense://E.zarr: Protocol not known: nonsense"):
        begin("nonsense://E.zarr")
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(DataError, match=r"to write zarr stores: pip install 'rarefire\[scale\]'"):
        begin(tmp_path / "E.zarr")
