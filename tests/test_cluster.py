"""A real Dask cluster of processes gives what one process does; workers are killed in the middle of runs."""

import os
import signal
import sys
from functools import partial

import dask.array
import distributed
import numpy as np
import pytest
import torch
import tqdm
import zarr
from conftest import PATIENCE, wait_until
from PIL import Image
from typer.testing import CliRunner

from rarefire import cli, cluster, curves, embeddings, files, ghosts, networks, poz, stimuli
from rarefire._engine import blocks
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
    for work in (partial(cluster.geometry_curve, many, np.arange(32)), partial(cluster.poz, many)):
        with pytest.raises(DataError, match=r"needs Dask: pip install 'rarefire\[scale\]'"):
            work()


# --- PoZ and ghosts ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def places(many, tmp_path_factory):
    """The same embedding in every form."""
    folder = tmp_path_factory.mktemp("places")
    np.save(folder / "many.npy", many)
    np.savez(folder / "many.npz", many=many)
    zarr.create_array(str(folder / "many.zarr"), data=many, chunks=(700, 32))
    return {
        "array": many,
        "file": folder / "many.npy",
        "archive": folder / "many.npz",
        "zarr": folder / "many.zarr",
        "address": f"file://{folder}/many.zarr",
        "dask": dask.array.from_array(many, chunks=(1500, 7)),
    }


def test_poz_and_ghosts_are_those_of_one_process(client, many, places):
    rates = poz.poz(many)
    assert 0 < rates.min() < rates.max() < 1
    category = np.argsort((many > 0).sum(axis=1), kind="stable")[:6]
    expected = ghosts.find(many, category)
    assert len(expected.features) >= 3
    assert expected.alone.sum() > 0
    for name, source in places.items():
        np.testing.assert_array_equal(cluster.poz(source, scheduler=client), rates, err_msg=name)
        found = cluster.ghosts(source, category, scheduler=client)
        for counted in ("fires", "others", "alone", "n_images", "n_others"):
            np.testing.assert_array_equal(getattr(found, counted), getattr(expected, counted), err_msg=name)


def test_errors_of_poz_and_ghosts(client, many):
    with pytest.raises(InputError, match="of the activations are negative"):
        cluster.poz(many - 1, scheduler=client)
    with pytest.raises(InputError, match="category has no images"):
        cluster.ghosts(many, [], scheduler=client)
    with pytest.raises(InputError, match="rows must be at least 1"):
        cluster.poz(many, scheduler=client, rows=0)


def test_a_worker_that_cannot_read_is_named(client, many, tmp_path, monkeypatch):
    """The file is seen from here, and not from there."""
    np.save(tmp_path / "many.npy", many)
    mapped = np.load(tmp_path / "many.npy", mmap_mode="r")
    monkeypatch.setattr(blocks, "open_embedding", lambda path: mapped)
    with pytest.raises(DataError, match=r"the worker tcp://.* says: there is no file .*none.npy. Every"):
        cluster.poz(tmp_path / "none.npy", scheduler=client)


def test_in_memory_addresses_within_one_process(many, tmp_path):
    place = f"memory://{tmp_path}/many.zarr"
    zarr.create_array(place, data=many[:2000], chunks=(300, 32))
    local = distributed.LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, dashboard_address="127.0.0.1:0"
    )
    with local, distributed.Client(local) as threads:
        np.testing.assert_array_equal(cluster.poz(place, scheduler=threads), poz.poz(many[:2000]))
        images = many[:40].reshape(40, 1, 4, 8).repeat(8, axis=2).repeat(4, axis=3) % 1
        network = networks.build("lenet5", input_shape=(1, 32, 32), mean=(0,), std=(1,), seed=1)
        out = f"memory://{tmp_path}/E.zarr"
        found = cluster.extract(network, images, out=out, scheduler=threads, batch_size=8)
        expected = embeddings.extract(network, images, batch_size=8)
        np.testing.assert_allclose(found[:], expected, atol=1e-5, rtol=0)
        assert network._forward_hooks == {}


# --- embeddings ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """150 pictures, in a folder and in a store."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(8)
    for i in range(150):
        place = folder / "all" / ("cats" if i % 2 else "dogs") / f"{i}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (36, 40, 3), dtype=np.uint8)).save(place)
    gallery = stimuli.gallery(folder / "all", size=32)
    return gallery, stimuli.save_gallery(folder / "all.zarr", gallery)


MAKE = partial(networks.build, "lenet5", input_shape=(3, 32, 32), seed=3)


@pytest.fixture(scope="module")
def alone(pictures):
    """What one process makes of them."""
    return embeddings.extract(MAKE(), pictures[0][:], batch_size=8)


def test_embeddings_are_those_of_one_process(client, pictures, alone, tmp_path):
    gallery, stored = pictures
    given = {
        "E.npy": (MAKE, gallery),
        "E.zarr": (MAKE, stored),
        "F.zarr": (MAKE(), gallery),
        "F.npy": (MAKE(), gallery[:]),
    }
    for out, (network, images) in given.items():
        found = cluster.extract(
            network, images, out=tmp_path / out, scheduler=client, batch_size=8, names=None
        )
        np.testing.assert_allclose(found[:], alone, atol=1e-5, rtol=0, err_msg=out)
        named = None if out == "F.npy" else gallery.paths
        assert files.read(tmp_path / out).names == named
    assert found.shape == alone.shape
    assert zarr.open(str(tmp_path / "E.zarr"), mode="r").chunks == (8, alone.shape[1])


class _Stop(Exception):
    pass


@pytest.mark.parametrize("out", ["E.npy", "E.zarr"])
def test_a_stopped_run_goes_on_on_a_cluster(client, pictures, alone, tmp_path, out):
    """What was done by one process is not done again by others: it is of other bits here."""
    gallery, _ = pictures
    network, passes = MAKE(), []

    def stop(*_):
        passes.append(1)
        if len(passes) == 8:
            raise _Stop

    hook = network.register_forward_pre_hook(stop)
    with pytest.raises(_Stop):
        embeddings.save(tmp_path / out, network, gallery, batch_size=8)
    hook.remove()
    assert not (tmp_path / out).is_file()
    with pytest.raises(DataError):
        files.read(tmp_path / out)
    begun = {p: p.stat().st_mtime_ns for p in (tmp_path / out).rglob("c/*/0")} if out == "E.zarr" else {}
    assert out == "E.npy" or len(begun) >= 2
    found = cluster.extract(MAKE, gallery, out=tmp_path / out, scheduler=client, batch_size=8)
    np.testing.assert_allclose(found[:], alone, atol=1e-5, rtol=0)
    assert begun == {p: p.stat().st_mtime_ns for p in begun}


def test_commands_on_a_cluster(client, pictures, many, places, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    on = ["--scheduler", client.scheduler.address]

    def run(*arguments):
        done = CliRunner().invoke(cli.app, [str(argument) for argument in arguments])
        assert done.exit_code == 0, done.output
        return done.stdout

    (tmp_path / "nets.py").write_text(
        "from rarefire import networks\n\n\ndef small():\n"
        "    return networks.build('lenet5', input_shape=(3, 32, 32), seed=3)\n"
    )
    network = ["--network", "nets.py:small"]
    said = run("embed", pictures[1].root, *network, "--out", "E.zarr", "--names", "names.txt", *on)
    assert "150 images × 84 features, small, penultimate. Written: E.zarr, and names in it" in said
    assert (tmp_path / "names.txt").read_text().splitlines() == list(pictures[0].paths)
    run("embed", pictures[0].root, *network, "--size", 32, "--out", "E.npy")
    np.testing.assert_allclose(files.read("E.zarr").values[:], np.load("E.npy"), atol=1e-5, rtol=0)
    run("poz", f"file://{tmp_path}/E.zarr", "--out", "there.csv", *on)
    run("poz", "E.npy", "--out", "here.csv")
    assert (tmp_path / "there.csv").read_text() == (tmp_path / "here.csv").read_text()
    (tmp_path / "dogs.txt").write_text("\n".join(n for n in pictures[0].paths if "dogs" in n))
    run("ghosts", "E.zarr", "--category", "dogs.txt", "--out", "there.csv", *on)
    run("ghosts", "E.npy", "--category", "dogs.txt", "--out", "here.csv")
    assert (tmp_path / "there.csv").read_text() == (tmp_path / "here.csv").read_text()
    np.savez("two.npz", first=many[:500], second=many[500:900])
    said = run("curve", "two.npz", "--array", "second", "--k", "16", "--out", "there.csv", *on)
    assert "400 images × 32 features" in said


def test_errors_of_embedding_on_a_cluster(client, pictures, tmp_path):
    gallery, _ = pictures
    options = {"scheduler": client, "batch_size": 8}
    (tmp_path / "nets.py").write_text(
        "import os\nfrom rarefire import networks\n\n\ndef other():\n"
        "    return networks.build('lenet5', input_shape=(3, 32, 32), seed=os.getpid())\n"
    )
    other = partial(networks.build, f"{tmp_path}/nets.py:other")
    with pytest.raises(DataError, match="the worker tcp://.* says: its network is another one"):
        cluster.extract(other, gallery, out=tmp_path / "E.npy", **options)
    assert not (tmp_path / "E.npy").exists()
    broken = gallery[:]
    broken[100] = np.nan
    with pytest.raises(InputError, match="of the images from number 96 on: .*is NaN or infinite"):
        cluster.extract(MAKE, broken, out=tmp_path / "E.zarr", **options)
    with torch.autocast("cpu"), pytest.raises(InputError, match="autocast does not reach the workers"):
        cluster.extract(MAKE, gallery, out=tmp_path / "E.npy", **options)
    with pytest.raises(InputError, match="saved as a .npy file or a .zarr store; got 'E.csv'"):
        cluster.extract(MAKE, gallery, out=tmp_path / "E.csv", **options)


# --- a worker is killed: these come last, for it starts anew ---------------------------------------


@pytest.fixture
def killing(client):
    """Progress bars of which the first step kills the worker that holds most."""
    killed = []

    def kill():
        if not killed:
            processes, held = client.run(os.getpid), client.has_what()
            killed.append(processes[max(processes, key=lambda worker: len(held.get(worker, ())))])
            os.kill(killed[0], signal.SIGKILL)

    class Bar(tqdm.tqdm):
        def update(self, n=1):
            kill()
            return super().update(n)

        def __iter__(self):
            for one in super().__iter__():
                kill()
                yield one

    yield Bar
    assert killed
    wait_until(lambda: len(pids := client.run(os.getpid).values()) == 2 and killed[0] not in pids)


def test_poz_outlasts_a_worker(client, many, places, killing, monkeypatch):
    monkeypatch.setattr(cluster, "tqdm", killing)
    found = cluster.poz(places["file"], scheduler=client, rows=200)
    np.testing.assert_array_equal(found, poz.poz(many))


@pytest.mark.parametrize("out", ["E.npy", "E.zarr"])
def test_embedding_outlasts_a_worker(client, pictures, alone, killing, monkeypatch, tmp_path, out):
    monkeypatch.setattr(embeddings, "tqdm", killing)
    network = MAKE if out == "E.npy" else MAKE()  # the one that was sent is lost with the worker
    found = cluster.extract(network, pictures[0], out=tmp_path / out, scheduler=client, batch_size=8)
    np.testing.assert_allclose(found[:], alone, atol=1e-5, rtol=0)


def test_what_is_measured_apart_is_spread(client, rng):
    """Pairs of layers, on the workers: the same as in this process."""
    from rarefire import transport

    spaces = {name: transport.distances(rng.normal(size=(20, 4))) for name in "abc"}
    expected = dict(transport.each_pair(spaces, jobs=1))
    with cluster.at_work(client) as used:
        assert used is client
        found = dict(transport.each_pair(spaces))
    assert set(found) == set(expected)
    for pair, one in expected.items():
        assert found[pair].upper == pytest.approx(one.upper, abs=1e-9)
        assert found[pair].lower == pytest.approx(one.lower, abs=1e-9)


def _where(place):
    return place, {"process": np.array(os.getpid()), "place": np.array(place)}


def test_records_are_measured_by_a_cluster(client):
    """Each task on a worker, and none here; after the block, here again."""
    from rarefire.records.record import each_apart

    options = {"jobs": 2, "what": "tasks", "progress": False}
    with cluster.at_work(client):
        found = dict(each_apart(_where, [(i,) for i in range(6)], **options))
    assert sorted(found) == list(range(6))
    assert {int(one["process"]) for one in found.values()} <= set(client.run(os.getpid).values())
    again = dict(each_apart(_where, [(0,)], **options))
    assert int(again[0]["process"]) not in client.run(os.getpid).values()


def test_records_say_where_no_scheduler_answers(monkeypatch):
    monkeypatch.setattr(cluster, "_ANSWER", 0.5)
    done = CliRunner().invoke(cli.app, ["record", "--scheduler", "tcp://127.0.0.1:9", "blocks"])
    assert done.exit_code == 1
    assert "no Dask scheduler answers at tcp://127.0.0.1:9" in done.output
