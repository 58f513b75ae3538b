"""Curves over a real Dask cluster of processes; a worker is killed in the middle of a run."""

import os
import signal
import sys

import dask.array
import distributed
import numpy as np
import pytest
import zarr
from conftest import PATIENCE

from rarefire import cluster, curves
from rarefire.errors import DataError, InputError


@pytest.fixture(scope="module", autouse=True)
def patience():
    """Workers of a busy machine take their time to start and to answer."""
    with dask.config.set({f"distributed.comm.timeouts.{what}": PATIENCE for what in ("connect", "tcp")}):
        yield


@pytest.fixture(scope="module")
def client(patience):
    local = distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0")
    with local, distributed.Client(local) as client:
        yield client


@pytest.fixture(scope="module")
def many():
    """20,000 images; some have constant first features."""
    rng = np.random.default_rng(3)
    shared = rng.normal(size=(20000, 4)) @ rng.normal(size=(4, 32))
    return np.maximum(shared + rng.normal(size=(20000, 32)) - np.linspace(2, -1, 32), 0)


@pytest.mark.parametrize("metric", ["correlation", "cosine"])
def test_cluster_equals_memory(client, many, metric, tmp_path):
    order = np.random.default_rng(0).permutation(32)
    expected = curves.geometry_curve(many, order, metric=metric)
    np.save(tmp_path / "many.npy", many)
    zarr.create_array(str(tmp_path / "many.zarr"), data=many, chunks=(700, 32))
    sources = {
        "array": many,
        "file": tmp_path / "many.npy",
        "zarr": tmp_path / "many.zarr",
        "dask": dask.array.from_array(many, chunks=(1500, 7)),
    }
    for name, source in sources.items():
        found = cluster.geometry_curve(source, order, scheduler=client, metric=metric)
        np.testing.assert_allclose(found.r, expected.r, atol=1e-10, rtol=0, err_msg=name)
        np.testing.assert_array_equal(found.n_images, expected.n_images)
    assert expected.n_images.min() < len(many)


def test_a_scheduler_address_and_chosen_steps(client, many):
    found = cluster.geometry_curve(
        many, np.arange(32), scheduler=client.scheduler.address, k=[4, 16], rows=999, progress=True
    )
    expected = curves.geometry_curve(many, np.arange(32), k=[4, 16])
    np.testing.assert_allclose(found.r, expected.r, atol=1e-10, rtol=0)


def test_a_cluster_of_its_own(many):
    found = cluster.geometry_curve(many[:2000], np.arange(32), k=[8])
    assert found.r[0] == pytest.approx(
        curves.geometry_curve(many[:2000], np.arange(32), k=[8]).r[0], abs=1e-10
    )


def test_a_worker_killed_in_the_middle_changes_nothing(many, tmp_path, monkeypatch):
    """Some parts are done, some running, some waiting when one of two processes dies."""
    path = tmp_path / "large.npy"
    np.save(path, np.tile(many, (10, 1)) + np.random.default_rng(1).random((200000, 32)))
    expected = curves.geometry_curve(np.load(path, mmap_mode="r"), np.arange(32))
    local = distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0")
    with local, distributed.Client(local) as client:
        processes = client.run(os.getpid)
        killed = []

        def first_killed(done, **_):
            """Parts as they are done; the worker that holds the first of them is killed."""
            for future in done:
                if not killed:
                    busy = next(w for w, held in client.has_what().items() if held)
                    killed.append(processes[busy])
                    os.kill(killed[0], signal.SIGKILL)
                yield future

        monkeypatch.setattr(cluster, "tqdm", first_killed)
        found = cluster.geometry_curve(path, np.arange(32), scheduler=client, rows=5000)
        assert killed
        assert killed[0] not in client.run(os.getpid).values()
    np.testing.assert_allclose(found.r, expected.r, atol=1e-10, rtol=0)
    np.testing.assert_array_equal(found.n_images, expected.n_images)


def test_errors_from_workers_and_from_here(client, many, tmp_path, monkeypatch):
    spoilt = many.copy()
    spoilt[15000, 3] = np.nan
    with pytest.raises(InputError, match="1 of .* images .*have NaN or infinite features"):
        cluster.geometry_curve(spoilt, np.arange(32), scheduler=client)
    with pytest.raises(InputError, match="each of the 32 feature indices once"):
        cluster.geometry_curve(many, np.arange(31), scheduler=client)
    with pytest.raises(InputError, match="rows must be at least 1"):
        cluster.geometry_curve(many, np.arange(32), scheduler=client, rows=0)
    lazy = dask.array.from_array(many, chunks=(5000, 32))
    some = lazy[lazy[:, 0] > 0]
    with pytest.raises(InputError, match="unknown sizes"):
        cluster.geometry_curve(some, np.arange(32), scheduler=client)
    with pytest.raises(DataError, match="there is no file"):
        cluster.geometry_curve(tmp_path / "none.npy", np.arange(32), scheduler=client)
    monkeypatch.setattr(cluster, "_ANSWER", 1)
    with pytest.raises(DataError, match="no Dask scheduler answers at tcp://127.0.0.1:9"):
        cluster.geometry_curve(many, np.arange(32), scheduler="tcp://127.0.0.1:9")


def test_without_dask_it_says_what_to_install(many, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(DataError, match=r"needs Dask: pip install 'rarefire\[scale\]'"):
        cluster.geometry_curve(many, np.arange(32))
