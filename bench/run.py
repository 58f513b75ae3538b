"""Benchmarks against peers, in the same run: `make bench`.

One tab-separated line for each on standard output, with the columns of COLUMNS; a readable table, and
how cost grows, on standard error. Each benchmark runs in a process of its own, whose resident memory
after our part, before the peer's, is `peak_mb`. A peer that would take hours is timed on a few steps
and extrapolated, and says so. `--record FILE` also keeps the lines, with the machine and versions.

    python bench/run.py [--record FILE] [NAME ...]
"""

from __future__ import annotations

import argparse
import csv
import datetime
import importlib.metadata
import io
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

COLUMNS = ("name", "ours_s", "peer", "peer_s", "ratio", "peak_mb")
MILLION = (1_000_000, 512)


def seconds(work: Callable[[], object], *, runs: int = 5, warm: bool = True) -> float:
    """Median wall time of a few runs, after one that does not count."""
    times = []
    for i in range(runs + warm):
        start = time.perf_counter()
        work()
        if i >= warm:
            times.append(time.perf_counter() - start)
    return float(np.median(times))


def peak_mb() -> float:
    """Largest resident memory of this process so far."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would count what the parent held when it started this process
        return (
            int(next(s for s in status.read_text().splitlines() if s.startswith("VmHWM")).split()[1]) / 1024
        )
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def features_of(n: int, features: int, *, seed: int = 0) -> np.ndarray:
    """Post-ReLU features: active first, rare last."""
    rng = np.random.default_rng(seed)
    return np.maximum(rng.normal(size=(n, features)) - np.linspace(-1, 1.5, features), 0)


def some_steps(features: int, count: int) -> list[int]:
    """`count` prefixes whose mean length is that of all prefixes."""
    return [round((i + 0.5) * features / count) for i in range(count)]


def row(ours: float, memory: float, peer: str, theirs: float, **more: object) -> dict[str, object]:
    """What a benchmark returns."""
    return {"ours_s": ours, "peer": peer, "peer_s": theirs, "ratio": theirs / ours, "peak_mb": memory, **more}


# --- curves against an RDM -----------------------------------------------------------------------


def human_input() -> tuple[np.ndarray, np.ndarray]:
    """120 images × 4,096 features, and 7,140 judgments."""
    return features_of(120, 4096), np.random.default_rng(1).random(120 * 119 // 2)


def human_curve() -> dict[str, object]:
    """Every prefix of 120 × 4,096 against an RDM; peer: rsatoolbox's RDM and comparison, step by step."""
    from rarefire.curves import rdm_curve

    embedding, human = human_input()
    order = np.arange(embedding.shape[1])
    start = time.perf_counter()
    found = rdm_curve(embedding, human, order)
    first = time.perf_counter() - start
    ours, memory = seconds(lambda: rdm_curve(embedding, human, order)), peak_mb()

    import rsatoolbox

    judged = rsatoolbox.rdm.RDMs(human[None])

    def step(k: int) -> float:
        data = rsatoolbox.data.Dataset(embedding[:, :k])
        calculated = rsatoolbox.rdm.calc_rdm(data, method="correlation")
        return float(rsatoolbox.rdm.compare(calculated, judged, method="corr")[0, 0])

    steps = some_steps(4096, 16)
    assert np.allclose([step(k) for k in steps], found.r[np.array(steps) - 1], atol=1e-9)
    theirs = seconds(lambda: [step(k) for k in steps], runs=3) / len(steps) * 4096
    peer = f"rsatoolbox calc_rdm + compare per prefix ({len(steps)} of 4096, extrapolated)"
    return row(ours, memory, peer, theirs, first=first)


def human_curve_pair_loop() -> dict[str, object]:
    """The same; peer: a Python loop over pairs, as the paper authors' earlier code does it."""
    from rarefire.curves import rdm_curve

    embedding, human = human_input()
    ours, memory = seconds(lambda: rdm_curve(embedding, human, np.arange(4096))), peak_mb()
    rows, columns = np.triu_indices(120, k=1)
    pairs, steps = range(0, 7140, 70), some_steps(4096, 4)

    def loop() -> None:
        for k in steps:
            for p in pairs:
                np.corrcoef(embedding[rows[p], :k], embedding[columns[p], :k])[0, 1]

    theirs = seconds(loop, runs=1) / (len(steps) * len(pairs)) * 4096 * 7140
    peer = f"Python loop over pairs ({len(steps) * len(pairs)} of {4096 * 7140}, extrapolated)"
    return row(ours, memory, peer, theirs)


def bootstrap_1000() -> dict[str, object]:
    """1,000 bootstraps of that whole curve; peer: rsatoolbox's bootstrap over images."""
    from rarefire.inference import bootstrap

    embedding, human = human_input()
    rng = np.random.default_rng(0)

    def work() -> object:
        return bootstrap(embedding, np.arange(4096), rdm=human, n_boot=1000, rng=rng)

    ours, memory = seconds(work, runs=3), peak_mb()

    import rsatoolbox
    from rsatoolbox.inference import eval_bootstrap_pattern

    judged = rsatoolbox.rdm.RDMs(human[None])
    steps, samples = some_steps(4096, 8), 10
    models = []
    for k in steps:
        data = rsatoolbox.data.Dataset(embedding[:, :k])
        models.append(
            rsatoolbox.model.ModelFixed(str(k), rsatoolbox.rdm.calc_rdm(data, method="correlation"))
        )
    theirs = seconds(
        lambda: eval_bootstrap_pattern(models, judged, N=samples, method="corr", boot_noise_ceil=False),
        runs=1,
    )
    theirs *= 1000 / samples * 4096 / len(steps)
    peer = f"rsatoolbox eval_bootstrap_pattern ({samples} samples × {len(steps)} prefixes, extrapolated)"
    return row(ours, memory, peer, theirs)


def jackknife() -> dict[str, object]:
    """J− and the maximum over 512 numbers of 4,096 features; peer: numpy, one image left out at a time."""
    from rarefire.inference import change_of_prediction, corrected_jackknife

    embedding, human = human_input()
    order, steps = np.arange(4096), list(range(8, 4097, 8))

    def whole() -> object:
        rng = np.random.default_rng(0)
        return change_of_prediction(embedding, human, order, k=steps, method="maximum", rng=rng)

    def one() -> object:
        return change_of_prediction(embedding, human, order, k=2048, method="jackknife")

    ours, memory = seconds(whole), peak_mb()
    alone = seconds(one)
    rows, columns = np.triu_indices(120, k=1)
    few = some_steps(4096, 8)

    def loop(k: int) -> list[float]:
        kept, whole = (1 - np.corrcoef(e)[rows, columns] for e in (embedding[:, :k], embedding))
        rests = [(rows != i) & (columns != i) for i in range(120)]
        each = ((np.corrcoef(x[rest], human[rest])[0, 1] for x in (kept, whole)) for rest in rests)
        return [a - b for a, b in each]

    found = corrected_jackknife(embedding, order, rdm=human, k=few)
    plain = [119 / 120 * ((d - d.mean()) ** 2).sum() for d in map(np.array, map(loop, few[:-1]))]
    assert np.allclose(found.jackknife["difference"][:-1], plain, rtol=1e-6)
    per_step = seconds(lambda: [loop(k) for k in few], runs=1) / len(few)
    peer = "numpy.corrcoef without each image, the variance alone"
    return {
        **row(ours, memory, f"{peer} (8 of 512 prefixes, extrapolated)", per_step * 512),
        "also": {"jackknife-one-k": row(alone, memory, peer, per_step)},
    }


def people() -> dict[str, object]:
    """All that is measured of 120 × 4,096 beside people; peer: the plain way, of which a part is timed.

    Its parts: every penalty fitted anew by scikit-learn, and numpy.corrcoef for every prefix. What
    resamples images, which is little, is left out.
    """
    from rarefire import embeddings, poz, records, reweighting
    from rarefire.judgments import Judgments

    embedding, human = human_input()

    def judged(n: int) -> Judgments:
        pairs = human[: n * (n - 1) // 2]
        return Judgments("bench", pairs, None, None, None, None, tuple(map(str, range(n))), "", "", "")

    def measure(n: int) -> dict[str, np.ndarray]:
        return records.people.measure_view(
            embeddings.View("features", embedding[:n], embedding[:n] == 0), judged(n)
        )

    measure(24)  # compiled, on first use
    start = time.perf_counter()
    found = measure(120)
    ours, memory = time.perf_counter() - start, peak_mb()

    first = embedding[:, poz.order(poz.poz(embedding))]
    theirs, parts = 0.0, 15
    for k in found["ridge_k"].tolist():
        start = time.perf_counter()
        r = plain_ridge(first[:, :k], human, seed=5, alphas=reweighting.ALPHAS)
        theirs += (time.perf_counter() - start) * parts
        if k == found["ridge_k"][0]:
            own = reweighting.reweighted(first, human, np.arange(4096), rng=np.random.default_rng(5), k=[k])
            assert abs(own.ridge[0, 0, 0] - r) < 1e-8
    every = {120: 4 * 4096 + 3 * 512 + 50 * 512 + 999 * 3 + 100 * 3, 60: 4 * 20 * 4096}  # prefixes, images
    for n, prefixes in every.items():
        steps = some_steps(4096, 16)
        pairs = np.triu_indices(n, k=1)
        start = time.perf_counter()
        naive = [np.corrcoef(np.corrcoef(first[:n, :k])[pairs], -human[: len(pairs[0])])[0, 1] for k in steps]
        theirs += (time.perf_counter() - start) / len(steps) * prefixes
        assert n < 120 or np.allclose(naive, found["low"][np.searchsorted(found["k"], steps)], atol=1e-9)
    peer = f"scikit-learn Ridge per penalty (1 of {parts} parts) and numpy.corrcoef per prefix, extrapolated"
    return row(ours, memory, peer, theirs)


def plain_ridge(first: np.ndarray, human: np.ndarray, *, seed: int, alphas: tuple[float, ...]) -> float:
    """R of ridge weights on the first of the test parts, with the penalty that three inner parts choose."""
    from sklearn.linear_model import Ridge

    from rarefire.rdm import standardised, unit_vectors

    rng, n = np.random.default_rng(seed), len(first)
    tests = [part for _ in range(5) for part in np.array_split(rng.permutation(n), 3)]
    train = np.setdiff1d(np.arange(n), tests[0])
    rows, columns = np.triu_indices(n, k=1)
    unit, _ = unit_vectors(first)
    target = standardised(human)

    def r(images: np.ndarray, held: np.ndarray, alpha: float) -> float:
        fitted, other = (np.isin(rows, one) & np.isin(columns, one) for one in (images, held))
        x = unit[rows[fitted]] * unit[columns[fitted]]
        size = float(((x - x.mean(axis=0)) ** 2).sum()) / len(x)
        model = Ridge(alpha=alpha * size, solver="cholesky").fit(x, target[fitted])
        return float(
            np.corrcoef(model.predict(unit[rows[other]] * unit[columns[other]]), target[other])[0, 1]
        )

    parts = np.array_split(rng.permutation(train), 3)
    scores = [np.mean([r(np.setdiff1d(train, part), part, alpha) for part in parts]) for alpha in alphas]
    return r(train, tests[0], alphas[int(np.argmax(scores))])


# --- curves against the full embedding -----------------------------------------------------------


def naive_steps(embedding: np.ndarray, steps: list[int]) -> list[float]:
    """Both RDMs made the long way, for some prefixes."""
    pairs = np.triu_indices(len(embedding), k=1)
    whole = np.corrcoef(embedding)[pairs]
    return [float(np.corrcoef(np.corrcoef(embedding[:, :k])[pairs], whole)[0, 1]) for k in steps]


def geometry_curve_10000() -> dict[str, object]:
    """Every prefix of 10,000 × 84 against the whole; peer: numpy.corrcoef at every step."""
    from rarefire.curves import geometry_curve

    embedding = features_of(10_000, 84)
    order = np.arange(84)
    found = geometry_curve(embedding, order)
    ours, memory = seconds(lambda: geometry_curve(embedding, order)), peak_mb()
    steps = [28, 56]
    start = time.perf_counter()
    naive = naive_steps(embedding, steps)
    theirs = (time.perf_counter() - start) / (len(steps) + 1) * 84  # the whole counts as a step
    assert np.allclose(naive, found.r[np.array(steps) - 1], atol=1e-9)
    return row(ours, memory, "numpy.corrcoef per prefix (3 of 84, extrapolated)", theirs)


def million_images() -> dict[str, object]:
    """20 prefixes of 1,000,000 × 512 from disk; peer: numpy.corrcoef, whose RDM would take 8 TB.

    The same with products in single precision; its peer is double precision.
    """
    from rarefire.curves import geometry_curve

    n, features = MILLION
    steps = [round(features * (i + 1) / 20) for i in range(20)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "embedding.npy"
        file = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=MILLION)
        for i in range(0, n, 20_000):
            file[i : i + 20_000] = features_of(20_000, features, seed=i)
        file.flush()
        del file
        # Memory is that of a fresh process: writing the file above must not count.
        found = {}
        for precision in ("double", "single"):
            command = [sys.executable, __file__, "--here", "curve-of-a-file", str(path), precision]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            found[precision] = json.loads(done.stdout)
        ours, memory, r = found["double"]
        assert np.allclose(found["single"][2], r, atol=1e-5)
        few = np.load(path, mmap_mode="r")[:2000]
        assert np.allclose(geometry_curve(few, np.arange(features), k=steps).r[:-1], r[:-1], atol=0.05)
    few = few.astype(np.float64)
    naive_steps(few, [256])
    theirs = seconds(lambda: naive_steps(few, steps), runs=1) * (n / len(few)) ** 2
    peer = "numpy.corrcoef per prefix (2,000 images, × 500², extrapolated)"
    single = row(found["single"][0], found["single"][1], "the same in double precision", ours)
    return row(ours, memory, peer, theirs, also={"million-images-single": single})


def curve_of_a_file(path: str, precision: str) -> list[Any]:
    """Seconds, memory and r of 20 prefixes of a file."""
    from rarefire.curves import geometry_curve

    embedding = np.load(path, mmap_mode="r")
    features = embedding.shape[1]
    steps = [round(features * (i + 1) / 20) for i in range(20)]
    start = time.perf_counter()
    found = geometry_curve(embedding, np.arange(features), k=steps, precision=precision)  # type: ignore[arg-type]
    return [time.perf_counter() - start, peak_mb(), found.r.tolist()]


def dask_2_workers() -> dict[str, object]:
    """300,000 × 256 from disk, 20 prefixes, on two worker processes; peer: the same on one."""
    import distributed

    from rarefire import cluster
    from rarefire.curves import geometry_curve

    n, features = 300_000, 256
    steps = [round(features * (i + 1) / 20) for i in range(20)]
    order = np.arange(features)
    times, memory = {}, 0.0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "embedding.npy"
        np.save(path, features_of(n, features).astype(np.float32))
        for workers in (2, 1):
            options: dict[str, Any] = {"threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"}
            with (
                distributed.LocalCluster(n_workers=workers, **options) as local,
                distributed.Client(local) as client,
            ):
                cluster.geometry_curve(path, order, scheduler=client, k=[8])  # imports, on the workers
                start = time.perf_counter()
                found = cluster.geometry_curve(path, order, scheduler=client, k=steps)
                times[workers] = time.perf_counter() - start
                if workers == 2:
                    memory = max(client.run(peak_mb).values())
        here = geometry_curve(np.load(path, mmap_mode="r"), order, k=steps)
        difference = float(np.abs(here.r - found.r).max())
        assert difference < 1e-10
    return row(times[2], memory, "the same on 1 worker", times[1], difference=difference)


def dask_2_workers_poz_and_embed() -> dict[str, object]:
    """PoZ of 300,000 × 1,024 from disk, and SqueezeNet's features of 512 pictures, on two worker processes.

    Peer: the same on one.
    """
    import functools

    import distributed
    import zarr

    from rarefire import cluster, networks, poz, stimuli

    make = functools.partial(networks.build, "squeezenet1_0", seed=0)
    rng = np.random.default_rng(0)
    times: dict[tuple[str, int], float] = {}
    memory: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "embedding.npy"
        embedding = np.maximum(rng.standard_normal((300_000, 1024), dtype=np.float32), 0)
        np.save(path, embedding)
        rates = poz.poz(embedding)
        del embedding
        pixels = rng.integers(0, 256, (512, 224, 224, 3), dtype=np.uint8)
        zarr.create_array(f"{folder}/pictures.zarr", data=pixels, chunks=(32, 224, 224, 3))
        pictures = stimuli.gallery(f"{folder}/pictures.zarr")
        for workers in (2, 1):
            options: dict[str, Any] = {"threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"}
            with (
                distributed.LocalCluster(n_workers=workers, **options) as local,
                distributed.Client(local) as client,
            ):
                cluster.poz(path, scheduler=client)  # imports, on the workers, and the file into memory
                start = time.perf_counter()
                found = cluster.poz(path, scheduler=client)
                times["poz", workers] = time.perf_counter() - start
                assert (found == rates).all()
                memory.setdefault("poz", max(client.run(peak_mb).values()))
                for out in ("warm", "timed"):
                    some = pictures.part(slice(0, 64)) if out == "warm" else pictures
                    start = time.perf_counter()
                    cluster.extract(
                        make, some, out=f"{folder}/{out}{workers}.zarr", scheduler=client, batch_size=16
                    )
                times["embed", workers] = time.perf_counter() - start
                memory.setdefault("embed", max(client.run(peak_mb).values()))
        kept = [zarr.open(f"{folder}/timed{workers}.zarr", mode="r")[:] for workers in (1, 2)]
        difference = float(np.abs(kept[0] - kept[1]).max())
        assert difference < 1e-4
    lines = {
        f"dask-2-workers-{what}": row(times[what, 2], memory[what], "the same on 1 worker", times[what, 1])
        for what in ("poz", "embed")
    }
    return {"also": lines}


# --- training ------------------------------------------------------------------------------------


def training_epochs() -> dict[str, object]:
    """Three epochs of LeNet-5 by each recipe, on one thread; peer: the loop of PyTorch's MNIST example.

    That loop takes one picture after the other from a data set of torchvision's kind, through
    ``ToTensor`` and ``Normalize``. Then the same loop with all pictures ready as tensors. Ours writes a
    checkpoint after every epoch; all measure accuracy on a tenth of the images.
    """
    import dataclasses

    import torch
    from PIL import Image
    from torch import nn
    from torch.utils.data import DataLoader, Dataset, TensorDataset
    from torchvision import transforms

    from rarefire import networks, stimuli, training

    class Pictures(Dataset):  # type: ignore[misc]
        """As ``torchvision.datasets.MNIST`` and ``CIFAR10`` hand out theirs."""

        def __init__(self, images: np.ndarray, labels: np.ndarray, transform: Callable[..., Any]) -> None:
            self.images, self.labels, self.transform = images, labels, transform

        def __len__(self) -> int:
            return len(self.images)

        def __getitem__(self, i: int) -> tuple[Any, int]:
            return self.transform(Image.fromarray(self.images[i])), int(self.labels[i])

    def tutorial(train: Any, test: Any, network: nn.Module, batch_size: int) -> None:
        loader = DataLoader(train, batch_size=batch_size, shuffle=True)
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
        loss_of = nn.CrossEntropyLoss()
        for _ in range(3):
            network.train()
            for images, labels in loader:
                optimizer.zero_grad()
                loss = loss_of(network(images), labels)
                loss.backward()
                optimizer.step()
            network.eval()
            with torch.no_grad():
                for images, labels in DataLoader(test, batch_size=1000):
                    (network(images).argmax(1) == labels).sum().item()

    torch.set_num_threads(1)
    lines: dict[str, dict[str, object]] = {}
    for name, n, shape in (
        ("digits", 1297, (32, 32)),
        ("mnist", 8000, (28, 28)),
        ("cifar10", 8000, (32, 32, 3)),
    ):
        pixels = np.random.default_rng(0).integers(0, 256, (n, *shape), dtype=np.uint8)
        images = (pixels[:, None] if len(shape) == 2 else pixels.transpose(0, 3, 1, 2)) / np.float32(255)
        labels, (mean, std) = np.arange(n) % 10, stimuli.normalisation(name)
        data = stimuli.Stimuli(name, "train", images, labels, tuple("0123456789"), "made")
        recipe = dataclasses.replace(training.recipe_for(name), max_epochs=3, patience=3, typical=0)
        held = stimuli.stratified_mask(labels, recipe.validation, seed=0)
        transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize(mean, std)])
        ready = torch.from_numpy(
            (images - np.reshape(mean, (-1, 1, 1))) / np.reshape(std, (-1, 1, 1))
        ).float()
        kinds = {
            f"training-{name}": [Pictures(pixels[use], labels[use], transform) for use in (~held, held)],
            f"training-{name}-tensors": [
                TensorDataset(ready[use], torch.from_numpy(labels[use])) for use in (~held, held)
            ],
        }

        def ours() -> None:
            with tempfile.TemporaryDirectory() as folder:
                training.train(data, seeds=[0], recipe=recipe, jobs=1, folder=folder, progress=False)  # noqa: B023

        mine, memory = seconds(ours, runs=3), peak_mb()
        for line, (train, test) in kinds.items():

            def theirs() -> None:
                tutorial(train, test, networks.lenet5(data.input_shape, 10), recipe.batch_size)  # noqa: B023

            peer = "tensors in memory" if line.endswith("tensors") else "pictures, torchvision's transforms"
            lines[line] = row(mine, memory, f"a tutorial's loop: {peer}", seconds(theirs, runs=3))
    return {"also": lines}


def two_nn() -> dict[str, object]:
    """TwoNN of 10,000 × 4,096 in single precision; peer: scikit-dimension, whose distances are products."""
    from rarefire import dimension

    rng = np.random.default_rng(0)
    dimension.two_nn(rng.normal(size=(50, 4)))  # compiled, on first use
    points = (rng.normal(size=(10_000, 12)) @ rng.normal(size=(12, 4096))).astype(np.float32)
    points -= np.linspace(-3, 4.5, 4096, dtype=np.float32)
    np.maximum(points, 0, out=points)
    start = time.perf_counter()
    found = dimension.two_nn(points)
    ours, memory = time.perf_counter() - start, peak_mb()

    import skdim

    start = time.perf_counter()
    other = skdim.id.TwoNN().fit(points).dimension_
    assert abs(found.dimension / other - 1) < 1e-2
    return row(ours, memory, "scikit-dimension TwoNN", time.perf_counter() - start)


# --- in the page ---------------------------------------------------------------------------------


def explorer_step() -> dict[str, object]:
    """A step of the explorer's slider, 120 × 512, drawn by Chromium; peer: the same RDM and R² in numpy.

    Memory is that of the page's scripts.
    """
    import shutil

    from playwright.sync_api import sync_playwright

    from rarefire.page import widgets
    from rarefire.page.explorer import Explorer, Scene

    embedding = features_of(120, 512)
    found = os.environ.get("RAREFIRE_BROWSER") or shutil.which("chromium")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        widgets.save(Path(folder) / "page.html", Explorer([Scene("120 images", "512 features", embedding)]))
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        page.goto((Path(folder) / "page.html").as_uri())
        page.locator("[data-ready]").wait_for()
        times, heap = page.evaluate(
            """async () => {
                const times = [], slider = document.querySelector(".rf-explorer input[type=range]");
                const note = list => times.push(...list.getEntries().map(entry => entry.duration));
                new PerformanceObserver(note).observe({ entryTypes: ["measure"] });
                for (let k = 502; k > 2; k -= 10) {
                    slider.value = k;
                    slider.dispatchEvent(new Event("input"));
                    await new Promise(requestAnimationFrame);
                }
                await new Promise(done => setTimeout(done, 100));
                return [times, performance.memory.usedJSHeapSize];
            }"""
        )
        browser.close()
    steps = list(range(502, 2, -10))
    assert len(times) >= len(steps)
    naive_steps(embedding, steps)
    theirs = seconds(lambda: naive_steps(embedding, steps)) / len(steps)
    return row(float(np.median(times)) / 1000, heap / 2**20, "numpy.corrcoef, without drawing", theirs)


def try_yours() -> dict[str, object]:
    """A reader's 2,000 × 4,096 in the page, file to figures; peer: PoZ and the same six curves in Python.

    Memory is that of the page's scripts, without their workers'.
    """
    import shutil

    from playwright.sync_api import sync_playwright

    from rarefire import curves, poz
    from rarefire.page import widgets
    from rarefire.page.try_yours import TryYours

    embedding = features_of(2000, 4096).astype(np.float32)
    found = os.environ.get("RAREFIRE_BROWSER") or shutil.which("chromium")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        np.save(Path(folder) / "E.npy", embedding)
        widgets.save(Path(folder) / "page.html", TryYours(features_of(30, 24)))
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        page.set_default_timeout(600_000)
        page.goto((Path(folder) / "page.html").as_uri())
        page.locator("[data-ready]").wait_for()
        start = time.perf_counter()
        page.locator("[data-role=embedding] input").set_input_files(Path(folder) / "E.npy")
        page.locator(".rf-try[aria-busy=false]").wait_for()
        ours = time.perf_counter() - start
        assert page.locator(".rf-status").inner_text().startswith("E.npy: 2,000 images × 4,096 features")
        heap = page.evaluate("performance.memory.usedJSHeapSize")
        browser.close()

    def theirs() -> None:
        rates = poz.poz(embedding)
        steps = [curves.count(i / 100, 4096) for i in range(1, 101)]
        orders = [poz.order(rates, first=first) for first in ("low", "high")]  # type: ignore[arg-type]
        for order in (*orders, np.random.default_rng(0).permutation(4096)):
            for metric in ("correlation", "cosine"):
                curves.geometry_curve(embedding, order, k=steps, metric=metric)  # type: ignore[arg-type]

    return row(ours, heap / 2**20, "geometry_curve in Python, compiled", seconds(theirs, runs=1))


# --- how cost grows ------------------------------------------------------------------------------


def ghost_gallery() -> dict[str, object]:
    """Ten components of 1,000 ghosts over a gallery of 50,000 images on disk; peer: IncrementalPCA.

    The same over a quarter of the images: its memory must not be less.
    """
    from sklearn.decomposition import IncrementalPCA

    n, features = 50_000, 2_000
    with tempfile.TemporaryDirectory() as folder:
        found = {}
        for size in (n, n // 4):
            path = Path(folder) / f"{size}.npy"
            file = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(size, features))
            for i in range(0, size, 2_500):
                file[i : i + 2_500] = features_of(2_500, features, seed=i)
            file.flush()
            del file
            command = [sys.executable, __file__, "--here", "components-of-a-file", str(path)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            found[size] = json.loads(done.stdout)
        gallery = np.load(Path(folder) / f"{n}.npy", mmap_mode="r")

        def peer() -> None:
            fitted = IncrementalPCA(10, batch_size=1_000)
            blocks = [slice(i, i + 1_000) for i in range(0, n, 1_000)]
            for rows in blocks:
                fitted.partial_fit(gallery[rows, ::2])
            for rows in blocks:
                fitted.transform(gallery[rows, ::2])

        theirs = seconds(peer, runs=1, warm=False)
    ours, memory = found[n]
    fewer = row(*found[n // 4], peer="the same over 50,000 images", theirs=ours)
    return row(
        ours, memory, "sklearn IncrementalPCA (approximate)", theirs, also={"ghost-gallery-quarter": fewer}
    )


def components_of_a_file(path: str) -> list[float]:
    """Seconds and memory of the components of every other feature of a file."""
    from rarefire import ghosts

    gallery = np.load(path, mmap_mode="r")
    start = time.perf_counter()
    ghosts.components(gallery, np.arange(0, gallery.shape[1], 2), n=10)
    return [time.perf_counter() - start, peak_mb()]


def growth() -> dict[str, object]:
    """Exponents of time against images, features and number of k, for both kinds of curve."""
    from rarefire.curves import geometry_curve, rdm_curve

    def fit(sizes: list[int], work: Callable[[int], object]) -> tuple[float, list[float]]:
        times = [seconds(lambda s=s: work(s), runs=3) for s in sizes]  # type: ignore[misc]
        return float(np.polyfit(np.log(sizes), np.log(times), 1)[0]), times

    human = {n: np.random.default_rng(n).random(n * (n - 1) // 2) for n in (120, 240, 480, 960)}
    data = {n: features_of(n, 84) for n in (10_000, 20_000, 40_000, 80_000)}
    wide = {f: features_of(20_000, f) for f in (64, 128, 256, 512)}
    people = {n: features_of(n, 1024) for n in human}
    many = {f: features_of(120, f) for f in (2048, 4096, 8192, 16384)}
    cases: dict[str, tuple[list[int], Callable[[int], object]]] = {
        "geometry, images (84 features, 20 k)": (
            list(data),
            lambda n: geometry_curve(data[n], np.arange(84), k=range(4, 84, 4)),
        ),
        "geometry, features (20,000 images, 8 k)": (
            list(wide),
            lambda f: geometry_curve(wide[f], np.arange(f), k=[f * (i + 1) // 8 for i in range(8)]),
        ),
        "geometry, number of k (20,000 × 256)": (
            [4, 8, 16, 32],
            lambda m: geometry_curve(wide[256], np.arange(256), k=[256 * (i + 1) // m for i in range(m)]),
        ),
        "against an RDM, images (1,024 features, every k)": (
            list(human),
            lambda n: rdm_curve(people[n], human[n], np.arange(1024)),
        ),
        "against an RDM, features (120 images, every k)": (
            list(many),
            lambda f: rdm_curve(many[f], human[120], np.arange(f)),
        ),
    }
    found = {}
    for name, (sizes, work) in cases.items():
        exponent, times = fit(sizes, work)
        found[name] = {"exponent": exponent, "sizes": sizes, "seconds": times}
    return {"growth": found}


def compilation() -> dict[str, object]:
    """What the compiled loops cost: once on a machine, and in every new process."""
    code = (
        "import time, numpy as np; from rarefire import pairs; from rarefire.curves import rdm_curve\n"
        "E = np.random.default_rng(0).random((8, 4)); start = time.perf_counter()\n"
        "rdm_curve(E, np.arange(28.), np.arange(4)); print(time.perf_counter() - start)"
    )
    with tempfile.TemporaryDirectory() as folder:
        times = []
        for _ in range(2):
            environment = {**os.environ, "NUMBA_CACHE_DIR": folder}
            done = subprocess.run(
                [sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment
            )
            times.append(float(done.stdout))
    return {"compilation": times}


BENCHMARKS: dict[str, Callable[[], dict[str, object]]] = {
    "human-curve": human_curve,
    "human-curve-pair-loop": human_curve_pair_loop,
    "geometry-curve": geometry_curve_10000,
    "million-images": million_images,
    "bootstrap-1000": bootstrap_1000,
    "jackknife": jackknife,
    "people-120x4096": people,
    "dask-2-workers": dask_2_workers,
    "dask-2-workers-poz-embed": dask_2_workers_poz_and_embed,
    "training": training_epochs,
    "two-nn": two_nn,
    "explorer-step": explorer_step,
    "try-yours": try_yours,
    "ghost-gallery": ghost_gallery,
    "growth": growth,
    "compilation": compilation,
}


def machine() -> str:
    """Processor and cores."""
    name = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), name)
    return f"{name}, {len(os.sched_getaffinity(0))} cores"


def main() -> None:
    """Run the benchmarks that are named, or all."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--record", type=Path, help="keep the lines in this CSV file")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    children = {"curve-of-a-file": curve_of_a_file, "components-of-a-file": components_of_a_file}
    if given.here and given.names[0] in children:
        print(json.dumps(children[given.names[0]](*given.names[1:])))
        return
    unknown = set(given.names) - set(BENCHMARKS)
    if unknown:
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    if given.here:
        print(json.dumps(BENCHMARKS[given.names[0]]()))
        return
    rows = []
    print("\t".join(COLUMNS), flush=True)
    print(
        f"{machine()}\n{'benchmark':<24}{'ours':>11}{'peer':>12}{'ratio':>10}{'memory':>10}  peer",
        file=sys.stderr,
    )
    for name in given.names or BENCHMARKS:
        command = [sys.executable, __file__, "--here", name]
        found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
        lines = {name: found} if "ratio" in found else {}
        for line, values in {**lines, **found.get("also", {})}.items():
            rows.append({"name": line, **values})
            print("\t".join(shown(column, rows[-1][column]) for column in COLUMNS), flush=True)
            print(
                f"{line:<24}{values['ours_s']:>9.3f} s{values['peer_s']:>10.1f} s{values['ratio']:>9.1f}×"
                f"{values['peak_mb']:>7.0f} MB  {values['peer']}",
                file=sys.stderr,
            )
        for case, grown in found.get("growth", {}).items():
            rows.append({"name": f"growth: {case}", "exponent": grown["exponent"]})
            sizes = ", ".join(
                f"{s:,}: {t:.3f} s" for s, t in zip(grown["sizes"], grown["seconds"], strict=True)
            )
            print(f"time grows with exponent {grown['exponent']:.2f} — {case} ({sizes})", file=sys.stderr)
        if "compilation" in found:
            once, again = found["compilation"]
            print(
                f"compilation: {once:.1f} s once on a machine; {again:.2f} s in a new process",
                file=sys.stderr,
            )
    if given.record:
        record(rows, given.record)


def shown(column: str, value: object) -> str:
    """A cell of the tab-separated table."""
    digits = {"ours_s": 4, "peer_s": 4, "ratio": 2, "peak_mb": 0}.get(column)
    return str(value) if digits is None else f"{value:.{digits}f}"


def record(rows: list[dict[str, Any]], path: Path) -> None:
    """Keep the lines, with what they were measured on."""
    from rarefire import store

    versions = " ".join(
        f"{p} {importlib.metadata.version(p)}" for p in ("numpy", "numba", "rsatoolbox", "dask")
    )
    stamp = {"machine": machine(), "versions": versions, "date": datetime.date.today().isoformat()}
    text = io.StringIO()
    columns = [*COLUMNS, "exponent", *stamp]
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for one in rows:
        short = {c: float(f"{v:.4g}") if isinstance(v, float) else v for c, v in one.items()}
        writer.writerow({**short, **stamp})
    with store.atomic_write(path) as file:
        file.write(text.getvalue().encode())


if __name__ == "__main__":
    main()
