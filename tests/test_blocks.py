"""Rows in blocks: every kind of source gives the same rows, and threads stop when they should."""

import mmap
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
import torch
import zarr
from conftest import PATIENCE, wait_until

from rarefire import curves, poz
from rarefire._engine import blocks
from rarefire.errors import DataError, InputError


def test_every_source_gives_the_same_rows(embedding, tmp_path):
    np.save(tmp_path / "e.npy", embedding)
    zarr.create_array(str(tmp_path / "e.zarr"), data=embedding, chunks=(9, 24))
    sources = [
        embedding,
        embedding.tolist(),
        torch.from_numpy(embedding),
        torch.from_numpy(embedding).requires_grad_(),
        np.asfortranarray(embedding),
        blocks.open_embedding(tmp_path / "e.npy"),
        blocks.open_embedding(tmp_path / "e.zarr"),
    ]
    for given in sources:
        source = blocks.check_source(given)
        parts = [blocks.read(source, rows) for rows in blocks.spans(source, elements=24 * 16)]
        assert len(parts) > 1
        np.testing.assert_array_equal(np.concatenate(parts), embedding)


def test_half_precision_and_integers_are_read():
    half = torch.full((4, 2), 1.5, dtype=torch.bfloat16)
    np.testing.assert_array_equal(blocks.check_source(half), np.full((4, 2), 1.5))
    assert blocks.read(blocks.check_source(np.eye(3, dtype=bool)), slice(0, 2)).shape == (2, 3)


def test_spans_cover_all_rows_once_and_follow_chunks(tmp_path):
    spans = blocks.spans(np.zeros((1000, 10)), elements=2560)
    assert [s.stop - s.start for s in spans] == [256, 256, 256, 232]
    array = zarr.create_array(str(tmp_path / "e.zarr"), data=np.zeros((1000, 10)), chunks=(100, 10))
    assert all(s.start % 100 == 0 for s in blocks.spans(array, elements=2560))


@pytest.mark.long
def test_pages_of_a_file_are_let_go(tmp_path):
    """Reading a file in blocks must not count as memory in use: 200 MB are read, far less stays."""
    if not Path("/proc/self/status").exists():
        pytest.skip("needs Linux to tell a process's peak memory")
    np.save(tmp_path / "large.npy", np.zeros((100_000, 256)))
    code = (
        "import sys; from rarefire._engine import blocks\n"
        "def peak(): return int(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])\n"
        "s = blocks.open_embedding(sys.argv[1])\n"
        "before = peak()\nfor rows in blocks.spans(s, elements=2**19): blocks.read(s, rows)\n"
        "print((peak() - before) / 1024)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "large.npy")], check=True, capture_output=True, text=True
    )
    assert float(done.stdout) < 60
    assert isinstance(blocks._mapped(blocks.open_embedding(tmp_path / "large.npy")), mmap.mmap)


def test_a_private_copy_on_write_map_is_left_alone(tmp_path):
    np.save(tmp_path / "e.npy", np.zeros((10, 2)))
    changed = np.load(tmp_path / "e.npy", mmap_mode="c")
    changed[3] = 7
    blocks.read(blocks.check_source(changed), slice(0, 5))
    assert changed[3].tolist() == [7, 7]


def test_spread_does_everything_once_in_several_threads():
    together = threading.Barrier(min(blocks.threads(), 100), timeout=PATIENCE)

    def work(items):
        together.wait()  # else one thread may be done before the next is started, and do its part too
        return threading.get_ident(), list(items)

    seen = blocks.spread(work, range(100), progress=True)
    assert sorted(i for _, some in seen for i in some) == list(range(100))
    assert len({ident for ident, _ in seen}) == len(seen) == min(blocks.threads(), 100)


def test_one_failure_stops_all_threads():
    done = []

    def work(items):
        for i in items:
            if i == 4:
                raise InputError("four")
            done.append(i)
            time.sleep(0.001)

    with pytest.raises(InputError, match="four"):
        blocks.spread(work, range(10_000))
    assert len(done) < 9_000


def test_threads_follow_the_libraries_own_limit():
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        assert blocks.threads() == 1
    assert 1 <= blocks.cores() <= 4096


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros(5), r"\(n_images, n_features\); got \(5,\)"),
        (np.zeros((2, 4)), "at least three images; got 2"),
        (np.zeros((4, 0)), "at least one feature"),
        (np.array([["a", "b"]] * 4), "real numbers; got <U1"),
        (np.zeros((4, 2), dtype=complex), "real numbers; got complex128"),
        (np.ma.masked_less(np.eye(4), 0.5), "a masked array; pass a plain one"),
        (scipy.sparse.eye_array(4), "a sparse array; pass a plain one"),
    ],
)
def test_errors_of_sources(given, message):
    with pytest.raises(InputError, match=message):
        blocks.check_source(given)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
def test_nan_and_infinity_are_counted_and_located(bad, kind):
    spoilt = np.zeros((10, 3))
    spoilt[[4, 6], 1] = bad
    with pytest.raises(InputError, match=r"2 of 10 images have NaN or infinite features"):
        blocks.read(kind(spoilt), slice(0, 10))
    with pytest.raises(InputError, match=r"1 of 5 images \(rows 5 to 9\)"):
        blocks.read(kind(spoilt), slice(5, 10))


def test_large_values_are_not_taken_for_infinite():
    large = np.full((3, 4), 6e4, dtype=np.float16)
    assert blocks.read(large, slice(0, 3)).max() == np.float16(6e4)
    huge = np.full((3, 4), 1e308)
    assert blocks.read(huge, slice(0, 3)).max() == 1e308


def test_errors_of_files(tmp_path):
    (tmp_path / "text.npy").write_text("hello")
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object))
    np.save(tmp_path / "short.npy", np.zeros((100, 10)))
    whole = (tmp_path / "short.npy").read_bytes()
    (tmp_path / "short.npy").write_bytes(whole[:500])
    (tmp_path / "folder").mkdir()
    zarr.create_group(str(tmp_path / "group.zarr"))
    for name, message in {
        "none.npy": "there is no file",
        "text.npy": "cannot be read as a matrix of numbers: it holds no numbers",
        "objects.npy": "cannot be read as a .npy array of numbers",
        "short.npy": "cannot be read as a .npy array of numbers",
        "folder": "is a folder, not a file. Name a file",
        "group.zarr": "is a zarr group",
    }.items():
        with pytest.raises(DataError, match=message):
            blocks.open_embedding(tmp_path / name)


def test_without_zarr_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "zarr", None)
    (tmp_path / "zarr.json").write_text("{}")
    with pytest.raises(DataError, match=r"to read zarr stores: pip install 'rarefire\[scale\]'"):
        blocks.open_embedding(tmp_path)


# --- rows of another embedding -------------------------------------------------------------------


@pytest.fixture(params=["array", "memmap", "zarr"])
def stored(request, embedding, tmp_path):
    """The embedding, in memory or on disk."""
    if request.param == "memmap":
        np.save(tmp_path / "e.npy", embedding)
        return blocks.open_embedding(tmp_path / "e.npy")
    if request.param == "zarr":
        return zarr.create_array(str(tmp_path / "e.zarr"), data=embedding, chunks=(9, 24))
    return embedding


def test_rows_in_an_order_are_those_of_a_copy(stored, embedding, rng):
    order = rng.permutation(40)[:33]
    rows = blocks.Rows(stored, order)
    assert (rows.shape, rows.dtype) == ((33, 24), embedding.dtype)
    np.testing.assert_array_equal(rows[4:9], embedding[order[4:9]])
    source = blocks.check_source(rows)
    assert source is rows
    spans = blocks.spans(source, elements=24 * 16)
    assert [(s.start, s.stop) for s in spans] == [(0, 16), (16, 32), (32, 33)]
    parts = [blocks.read(source, span) for span in spans]
    np.testing.assert_array_equal(np.concatenate(parts), embedding[order])


def test_what_is_computed_from_rows_is_that_of_a_copy(stored, embedding, rng):
    chosen = rng.permutation(40)[:33]
    rows, copy = blocks.Rows(stored, chosen), embedding[chosen]
    rates = poz.poz(rows)
    np.testing.assert_array_equal(rates, (copy == 0).mean(axis=0))
    order = np.argsort(rates, kind="stable")
    for metric in ("correlation", "cosine"):
        got, expected = (curves.geometry_curve(e, order, metric=metric) for e in (rows, copy))
        np.testing.assert_allclose(got.r, expected.r, atol=1e-12)
        assert np.isfinite(got.r[-10:]).all()


def test_rows_may_repeat_and_are_not_copied():
    source = np.zeros((4, 2))
    rows = blocks.Rows(source, [3, 0, 3])
    source[3] = 7
    assert blocks.read(rows, slice(0, 3)).tolist() == [[7, 7], [0, 0], [7, 7]]
    assert blocks.Rows(source, np.arange(0)).shape == (0, 2)


def test_bad_rows_are_located_in_their_new_order():
    spoilt = np.zeros((10, 3))
    spoilt[2, 1] = np.nan
    with pytest.raises(InputError, match=r"1 of 5 images \(rows 5 to 9\) have NaN"):
        blocks.read(blocks.Rows(spoilt, np.arange(10)[::-1]), slice(5, 10))


def test_rows_of_a_tensor_and_of_a_file(embedding, tmp_path):
    rows = np.array([7, 2, 30])
    np.testing.assert_array_equal(
        poz.poz(blocks.Rows(torch.from_numpy(embedding), rows)), poz.poz(embedding[rows])
    )
    np.save(tmp_path / "e.npy", embedding)
    of_file = blocks.Rows(blocks.open_embedding(tmp_path / "e.npy"), rows)
    assert not isinstance(of_file[0:2], np.memmap)
    np.testing.assert_array_equal(of_file[0:2], embedding[[7, 2]])


def test_processes_are_found_again_and_have_one_thread_each():
    import joblib

    def of_each():
        with blocks.processes(2):
            return joblib.Parallel()(joblib.delayed(_process_and_threads)() for _ in range(4))

    first, again = of_each(), of_each()
    assert {threads for _, threads in first} == {1}
    assert os.getpid() not in {pid for pid, _ in first}
    assert {pid for pid, _ in first} & {pid for pid, _ in again}


def _process_and_threads():
    return os.getpid(), blocks.threads()


IDLE = """
import os, time, joblib
from rarefire._engine import blocks
if __name__ == "__main__":
    with blocks.processes(2):
        joblib.Parallel()(joblib.delayed(os.getpid)() for _ in range(4))
    print("idle", flush=True)
    time.sleep(1e5)
"""


def test_processes_without_work_end_with_a_parent_that_was_killed():
    run = subprocess.Popen([sys.executable, "-c", IDLE], stdout=subprocess.PIPE, start_new_session=True)
    assert run.stdout.readline() == b"idle\n"
    run.kill()
    run.communicate()
    listed = ["ps", "-o", "pid=", "-s", str(run.pid)]
    wait_until(lambda: not subprocess.run(listed, capture_output=True).stdout.split())
