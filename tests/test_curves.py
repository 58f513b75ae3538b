"""Nested curves: against both RDMs made the long way, at every k."""

import numpy as np
import pytest

from rarefire import curves, embeddings, poz, rdm, stimuli, training
from rarefire._engine import grams
from rarefire.errors import InputError


def naive_curve(embedding, order, metric="correlation"):
    """Both RDMs as full matrices and their correlation, one k at a time."""
    n = len(embedding)
    found, left = [], []
    for k in range(1, embedding.shape[1] + 1):
        prefix = embedding[:, order[:k]]
        if metric == "correlation":
            has = np.array([len(set(row)) > 1 for row in prefix])
        else:
            has = np.array([any(row) for row in prefix])
        left.append(int(has.sum()))
        if has.sum() < 3:
            found.append(np.nan)
            continue
        partial, full = (similarity(x[has], metric) for x in (prefix, embedding))
        pairs = np.triu_indices(int(has.sum()), 1)
        a, b = partial[pairs], full[pairs]
        found.append(np.corrcoef(a, b)[0, 1] if np.ptp(a) > 1e-9 else np.nan)
    assert n >= max(left)
    return np.array(found), np.array(left)


def similarity(x, metric):
    if metric == "correlation":
        return np.corrcoef(x)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    return unit @ unit.T


@pytest.mark.parametrize("metric", ["correlation", "cosine"])
@pytest.mark.parametrize("first", ["low", "high"])
def test_curve_equals_the_long_way_at_every_k(embedding, metric, first):
    order = poz.order(poz.poz(embedding), first=first)
    found = curves.geometry_curve(embedding, order, metric=metric)
    expected, left = naive_curve(embedding, order, metric)
    np.testing.assert_allclose(found.r, expected, atol=1e-9)
    np.testing.assert_array_equal(found.n_images, left)


def test_curve_on_real_digits_equals_numpy_at_every_k():
    """Pixels of real digits: many constant images at small k, in the high-to-low order."""
    images = stimuli.load("digits", "test").images[:120]
    embedding = images[:, 0, ::4, ::4].reshape(120, -1).astype(float)
    for first in ("low", "high"):
        order = poz.order(poz.poz(embedding), first=first)
        expected, left = naive_curve(embedding, order)
        found = curves.geometry_curve(embedding, order)
        np.testing.assert_allclose(found.r, expected, atol=1e-9)
        np.testing.assert_array_equal(found.n_images, left)
        assert found.n_images.min() < 120


def test_curve_ends_at_one_and_ignores_dead_features(embedding):
    rates = poz.poz(embedding)
    found = curves.geometry_curve(embedding, poz.order(rates), metric="cosine")
    assert found.r[-1] == pytest.approx(1, abs=1e-12)
    alive = int((rates < 1).sum())
    assert found.r[alive - 1] == pytest.approx(1, abs=1e-12)


def test_dead_features_alone_have_no_geometry(embedding):
    found = curves.geometry_curve(embedding, poz.order(poz.poz(embedding), first="high"))
    assert np.isnan(found.r[:2]).all()
    assert found.n_images[:2].tolist() == [0, 0]


def test_chosen_steps_equal_the_whole_curve(embedding):
    order = poz.order(poz.poz(embedding))
    whole = curves.geometry_curve(embedding, order)
    some = curves.geometry_curve(embedding, order, k=[24, 5, 9])
    assert some.k.tolist() == [5, 9, 24]
    np.testing.assert_allclose(some.r, whole.r[[4, 8, 23]], atol=1e-12)  # sums of 780 products


def test_curve_is_unchanged_by_permuting_features_and_images(embedding, rng):
    shuffle = rng.permutation(24)
    order = np.arange(24)
    moved = embedding[:, shuffle][rng.permutation(40)]
    found = curves.geometry_curve(moved, np.argsort(shuffle)[order])
    np.testing.assert_allclose(found.r, curves.geometry_curve(embedding, order).r, atol=1e-12)


def test_fraction_and_value_at_a_fraction(embedding):
    found = curves.geometry_curve(embedding, np.arange(24))
    assert found.fraction[-1] == 1
    assert found.at(0.5) == found.r2[11] == found.r[11] ** 2
    with pytest.raises(InputError, match="no value at 12 of 24"):
        curves.geometry_curve(embedding, np.arange(24), k=[24]).at(0.5)


@pytest.mark.parametrize("squared", [True, False])
def test_class_curve_equals_the_authors_convention_spelt_out(embedding, squared):
    labels = np.arange(40) % 10
    order = poz.order(poz.poz(embedding))
    found = curves.class_curve(embedding, labels, order, squared=squared)
    means = np.stack([embedding[labels == c].mean(0) for c in range(10)])
    pairs = np.triu_indices(10, 1)
    power = 2 if squared else 1
    full = np.corrcoef(means)[pairs] ** power
    for k in (3, 10, 24):
        partial = np.corrcoef(means[:, order[:k]])[pairs] ** power
        assert len(partial) == 45
        assert found.r2[k - 1] == pytest.approx(np.corrcoef(partial, full)[0, 1] ** 2, abs=1e-12)
    assert np.isnan(found.r[0])  # one feature: every class mean is constant
    assert found.n_images.tolist() == [0] + [10] * 23


def test_curve_agrees_with_rdm_and_compare(embedding):
    order = poz.order(poz.poz(embedding))
    found = curves.geometry_curve(embedding, order, k=[15])
    expected = rdm.compare(rdm.rdm(embedding[:, order[:15]]), rdm.rdm(embedding), method="pearson")
    assert found.r[0] == pytest.approx(expected, abs=1e-12)


def test_curve_of_a_real_network_is_exact(trained):
    network, test = trained
    embedding = embeddings.extract(network, test)
    order = poz.order(poz.poz(embedding))
    expected, _ = naive_curve(embedding.astype(float), order)
    np.testing.assert_allclose(curves.geometry_curve(embedding, order).r, expected, atol=1e-9)


def over_images(monkeypatch):
    """Take the way through sums over images, however few there are."""
    monkeypatch.setattr(curves, "_few", lambda *_: False)


@pytest.mark.parametrize("metric", ["correlation", "cosine"])
@pytest.mark.parametrize("first", ["low", "high"])
def test_both_ways_agree_with_numpy_at_every_k(embedding, monkeypatch, metric, first):
    order = poz.order(poz.poz(embedding), first=first)
    expected, left = naive_curve(embedding, order, metric)
    for _ in range(2):
        found = curves.geometry_curve(embedding, order, metric=metric)
        np.testing.assert_allclose(found.r, expected, atol=1e-9)
        np.testing.assert_array_equal(found.n_images, left)
        over_images(monkeypatch)


def test_which_way_is_taken():
    every = np.arange(1, 4097)
    assert curves._few((120, 4096), every, 4096)
    assert not curves._few((10_000, 84), every[:84], 84)
    assert not curves._few((1_000_000, 512), np.arange(25, 513, 25), 512)
    assert not curves._few((1_000_000, 4096), every, 4096)  # pairs would not fit


@pytest.fixture(scope="module")
def mnist(mirror, tmp_path_factory):
    """Features of 1,500 real MNIST test images in a LeNet-5 trained on MNIST for one epoch."""
    recipe, folder = training.Recipe(max_epochs=1), tmp_path_factory.mktemp("mnist")
    (instance,) = training.train("mnist", seeds=[0], recipe=recipe, folder=folder, progress=False)
    return embeddings.extract(instance.network(), stimuli.load("mnist", "test").subset(np.arange(1500)))


@pytest.mark.parametrize("first", ["low", "high"])
def test_curve_on_mnist_equals_numpy_at_every_k(mnist, first, monkeypatch):
    order = poz.order(poz.poz(mnist), first=first)
    expected, left = naive_curve(mnist.astype(float), order)
    for _ in range(2):
        found = curves.geometry_curve(mnist, order)
        np.testing.assert_allclose(found.r, expected, atol=1e-9)
        np.testing.assert_array_equal(found.n_images, left)
        over_images(monkeypatch)


def test_every_source_gives_the_same_curve(embedding, tmp_path, monkeypatch):
    import torch
    import zarr

    over_images(monkeypatch)
    monkeypatch.setattr(grams, "BLOCK", 24 * 16)
    order = poz.order(poz.poz(embedding), first="high")
    expected = curves.geometry_curve(embedding, order)
    np.save(tmp_path / "e.npy", embedding)
    zarr.create_array(str(tmp_path / "e.zarr"), data=embedding, chunks=(7, 24))
    for source in (
        torch.from_numpy(embedding),
        np.load(tmp_path / "e.npy", mmap_mode="r"),
        zarr.open(str(tmp_path / "e.zarr"), mode="r"),
        embedding.tolist(),
    ):
        found = curves.geometry_curve(source, order)
        np.testing.assert_allclose(found.r, expected.r, atol=1e-12)
        np.testing.assert_array_equal(found.n_images, expected.n_images)
    single = curves.geometry_curve(embedding.astype(np.float32), order, precision="single")
    np.testing.assert_allclose(single.r, expected.r, atol=1e-4)


def test_a_tensor_that_stays_a_tensor_gives_the_same_curve(embedding, monkeypatch):
    """The way of a tensor on a GPU, here on the CPU."""
    import torch

    order = poz.order(poz.poz(embedding), first="high")
    expected = curves.geometry_curve(embedding, order)
    monkeypatch.setattr(curves.blocks, "check_source", lambda x, **_: x)
    found = curves.geometry_curve(torch.from_numpy(embedding), order)
    np.testing.assert_allclose(found.r, expected.r, atol=1e-12)
    np.testing.assert_array_equal(found.n_images, expected.n_images)


def test_a_tensor_on_a_gpu(embedding):
    import torch

    if not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    order = poz.order(poz.poz(embedding), first="high")
    found = curves.geometry_curve(torch.from_numpy(embedding).cuda(), order)
    np.testing.assert_allclose(found.r, curves.geometry_curve(embedding, order).r, atol=1e-10)


@pytest.mark.parametrize("metric", ["correlation", "cosine"])
@pytest.mark.parametrize("alike", [1e-1, 1e-2, 1e-4])
@pytest.mark.parametrize("way", ["pairs", "images", "single"])
def test_images_that_are_nearly_alike(metric, alike, way, monkeypatch, rng):
    """All similarities near 1: r must not drown in their size."""
    if way != "pairs":
        over_images(monkeypatch)
    embedding = rng.random(12) + 1 + alike * rng.normal(size=(30, 12))
    precision = "single" if way == "single" else "double"
    found = curves.geometry_curve(embedding, np.arange(12), k=[3, 6, 9], metric=metric, precision=precision)
    for k, r in zip(found.k, found.r, strict=True):
        partial, full = (spdist(x, metric) for x in (embedding[:, :k], embedding))
        assert r == pytest.approx(np.corrcoef(partial, full)[0, 1], abs=1e-4 if way == "single" else 1e-6)
    human = rng.random(435)
    judged = curves.rdm_curve(embedding, human, np.arange(12), k=[6], metric=metric)
    expected = np.corrcoef(spdist(embedding[:, :6], metric), human)[0, 1]
    assert judged.r[0] == pytest.approx(expected, abs=1e-6)


def spdist(x, metric):
    from scipy.spatial.distance import pdist

    return pdist(x, metric)


def test_images_that_nobody_judged_do_not_count(embedding, rng):
    human = np.full((40, 40), np.nan)
    human[:12, :12] = rdm.square(rng.random(66))
    found = curves.rdm_curve(embedding, human, np.arange(24), k=[20])
    few = curves.rdm_curve(embedding[:12], human[:12, :12], np.arange(24), k=[20])
    assert found.r[0] == pytest.approx(few.r[0], abs=1e-12)
    assert found.n_images.tolist() == few.n_images.tolist() == [12]


@pytest.mark.parametrize("size", [1e-200, 1e-3, 1e200])
def test_the_scale_of_judgments_does_not_matter(embedding, rng, size):
    human = rng.random(780)
    expected = curves.rdm_curve(embedding, human, np.arange(24)).r
    np.testing.assert_allclose(
        curves.rdm_curve(embedding, human * size, np.arange(24)).r, expected, atol=1e-9
    )


def test_several_passes_give_the_same_curve(embedding, monkeypatch):
    over_images(monkeypatch)
    order = np.arange(24)
    expected = curves.geometry_curve(embedding, order)
    monkeypatch.setattr(grams, "MEMORY", 4000)
    assert len(curves.groups(np.arange(1, 25), 24)) > 3
    np.testing.assert_allclose(curves.geometry_curve(embedding, order).r, expected.r, atol=1e-12)


@pytest.mark.parametrize("way", ["pairs", "images"])
def test_another_embedding_as_reference(embedding, rng, monkeypatch, way):
    if way == "images":
        over_images(monkeypatch)
    other = np.maximum(rng.normal(size=(40, 7)), 0)
    other[5] = 0  # no geometry there: left out everywhere
    found = curves.geometry_curve(embedding, np.arange(24), reference=other, k=[12])
    use = np.delete(np.arange(40), 5)
    partial, full = (rdm.rdm(x[use]) for x in (embedding[:, :12], other))
    assert found.n_images.tolist() == [39]
    assert found.r[0] == pytest.approx(np.corrcoef(partial, full)[0, 1], abs=1e-12)
    with pytest.raises(InputError, match="the reference has 39 images, the embedding 40"):
        curves.geometry_curve(embedding, np.arange(24), reference=other[:39])


# --- silenced, not removed -----------------------------------------------------------------------


def naive_silenced_curve(embedding, order):
    """Correlations of whole vectors in which the features outside the first k are 0."""
    found, left = [], []
    for k in range(1, embedding.shape[1] + 1):
        kept = np.zeros_like(embedding)
        kept[:, order[:k]] = embedding[:, order[:k]]
        has = np.array([any(row) for row in kept])
        left.append(int(has.sum()))
        pairs = np.triu_indices(left[-1], 1)
        if left[-1] < 3:
            found.append(np.nan)
            continue
        a, b = np.corrcoef(kept[has])[pairs], np.corrcoef(embedding[has])[pairs]
        found.append(np.corrcoef(a, b)[0, 1] if np.ptp(a) > 1e-9 else np.nan)
    return np.array(found), np.array(left)


@pytest.mark.parametrize("first", ["low", "high"])
def test_silenced_curve_equals_the_long_way_at_every_k(embedding, first, monkeypatch):
    order = poz.order(poz.poz(embedding), first=first)
    expected, left = naive_silenced_curve(embedding, order)
    for _ in range(2):
        found = curves.silenced_curve(embedding, order)
        np.testing.assert_allclose(found.r, expected, atol=1e-9)
        np.testing.assert_array_equal(found.n_images, left)
        over_images(monkeypatch)
    assert left.min() < 40  # images that fire for none of the first features are left out, and counted
    assert found.r[-1] == pytest.approx(1, abs=1e-12)
    assert found.fraction.tolist() == [k / 24 for k in range(1, 25)]


def test_silenced_curve_of_a_real_network_is_exact(trained):
    """In single precision, as embeddings come."""
    network, test = trained
    embedding = embeddings.extract(network, test)
    order = poz.order(poz.poz(embedding), first="high")
    expected, left = naive_silenced_curve(embedding.astype(float), order)
    found = curves.silenced_curve(embedding, order)
    np.testing.assert_allclose(found.r, expected, atol=1e-9)
    np.testing.assert_array_equal(found.n_images, left)


def test_silencing_is_neither_removing_nor_leaving_out_the_mean(embedding):
    order = poz.order(poz.poz(embedding))
    silenced = curves.silenced_curve(embedding, order).r[2:20]
    for metric in ("correlation", "cosine"):
        removed = curves.geometry_curve(embedding, order, metric=metric).r[2:20]
        assert np.abs(silenced - removed).min() > 1e-6, metric


def test_for_the_cosine_silencing_is_removing(embedding):
    order = poz.order(poz.poz(embedding))
    removed = curves.geometry_curve(embedding, order, metric="cosine", k=[3, 11, 20]).r
    for k, r in zip((3, 11, 20), removed, strict=True):
        kept = embedding.copy()
        kept[:, order[k:]] = 0
        has = kept.any(axis=1)
        pairs = np.triu_indices(int(has.sum()), 1)
        a, b = (similarity(x[has], "cosine")[pairs] for x in (kept, embedding))
        assert r == pytest.approx(np.corrcoef(a, b)[0, 1], abs=1e-9)


def test_features_that_never_fire_change_nothing_when_silenced(embedding):
    """Wherever in the order they come; removed ones do change a Pearson correlation."""
    rates = poz.poz(embedding)
    alive, dead = poz.order(rates)[:-2], np.flatnonzero(rates == 1)
    assert len(dead) == 2
    last = curves.silenced_curve(embedding, [*alive, *dead])
    first = curves.silenced_curve(embedding, [*dead, *alive])
    among = curves.silenced_curve(embedding, [*alive[:9], *dead, *alive[9:]])
    np.testing.assert_allclose(first.r[2:], last.r[:-2], atol=1e-12)
    np.testing.assert_array_equal(first.n_images[2:], last.n_images[:-2])
    np.testing.assert_allclose(among.r[[9, 10]], last.r[8], atol=1e-12)
    np.testing.assert_allclose(last.r[-3:], 1, atol=1e-12)
    assert np.isnan(first.r[:2]).all()
    assert first.n_images[:2].tolist() == [0, 0]
    removed = curves.geometry_curve(embedding, [*alive[:9], *dead, *alive[9:]]).r
    assert abs(removed[10] - removed[8]) > 1e-6


def test_silenced_curve_at_chosen_steps_and_of_every_source(embedding, tmp_path):
    order = poz.order(poz.poz(embedding))
    whole = curves.silenced_curve(embedding, order)
    np.save(tmp_path / "e.npy", embedding)
    for source in (embedding, embedding.tolist(), np.load(tmp_path / "e.npy", mmap_mode="r")):
        some = curves.silenced_curve(source, order.tolist(), k=[24, 5, 9, 5])
        assert some.k.tolist() == [5, 9, 24]
        assert some.n_features == 24
        np.testing.assert_allclose(some.r, whole.r[[4, 8, 23]], atol=1e-12)
        np.testing.assert_array_equal(some.n_images, whole.n_images[[4, 8, 23]])


def test_images_that_say_nothing_are_left_out_when_silenced(rng):
    """Of six images, two fire only for the last feature, and one not at all."""
    embedding = rng.random((6, 4)) + 0.5
    embedding[4:, :3] = 0
    embedding[0] = 0
    found = curves.silenced_curve(embedding, np.arange(4))
    assert found.n_images.tolist() == [3, 3, 3, 5]
    pairs = np.triu_indices(3, 1)
    kept = embedding * [1, 1, 0, 0]
    a, b = (np.corrcoef(x[1:4])[pairs] for x in (kept, embedding))
    assert found.r[1] == pytest.approx(np.corrcoef(a, b)[0, 1], abs=1e-9)


# --- against an RDM ------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", ["correlation", "cosine"])
def test_rdm_curve_equals_rsatoolbox_at_every_k(embedding, rng, metric):
    import rsatoolbox

    human = rng.random(780)
    alive = embedding[:, poz.order(poz.poz(embedding))] + (1e-3 if metric == "correlation" else 0)
    alive[:, 0] += 0.1  # every prefix of two features is defined
    judged = rsatoolbox.rdm.RDMs(human[None])
    found = curves.rdm_curve(alive, human, np.arange(24), metric=metric)
    for k in range(2, 25):
        if metric == "correlation":
            data = rsatoolbox.data.Dataset(alive[:, :k])
            theirs = rsatoolbox.rdm.calc_rdm(data, method="correlation")
        else:
            theirs = rsatoolbox.rdm.RDMs(rdm.rdm(alive[:, :k], metric="cosine")[None])
        expected = rsatoolbox.rdm.compare(theirs, judged, method="corr")[0, 0]
        assert found.r[k - 1] == pytest.approx(expected, abs=1e-9), k


def test_rdm_curve_with_missing_judgments_and_constant_images(embedding, rng):
    human = rng.random(780) * 1e-3 + 1000  # far from 0
    human[[3, 99, 500]] = np.nan
    order = poz.order(poz.poz(embedding), first="high")
    found = curves.rdm_curve(embedding, rdm.square(human), order)
    for k in (4, 10, 24):
        has = np.ptp(embedding[:, order[:k]], axis=1) > 0
        i, j = np.triu_indices(40, 1)
        use = has[i] & has[j] & np.isfinite(human)
        with np.errstate(invalid="ignore"):
            partial = 1 - np.corrcoef(embedding[:, order[:k]])[i, j]
        assert found.r[k - 1] == pytest.approx(np.corrcoef(partial[use], human[use])[0, 1], abs=1e-9)
        assert found.n_images[k - 1] == has.sum()


def test_rdm_curve_on_real_judgments_equals_rsatoolbox(mur):
    """Mur et al. (2013): SqueezeNet's pooled features, the mean of 16 people."""
    import rsatoolbox

    features, people = mur
    judged = rsatoolbox.rdm.RDMs(people.mean(axis=0)[None])
    order = poz.order(poz.poz(features))
    found = curves.rdm_curve(features, people.mean(axis=0), order)
    for k in range(16, 513, 16):
        data = rsatoolbox.data.Dataset(features[:, order[:k]].astype(float))
        theirs = rsatoolbox.rdm.calc_rdm(data, method="correlation")
        assert found.r[k - 1] == pytest.approx(
            rsatoolbox.rdm.compare(theirs, judged, method="corr")[0, 0], abs=1e-9
        )
    assert found.r[-1] == pytest.approx(0.54, abs=0.02)  # the value of an independent prototype


def test_inputs_are_not_modified(embedding, rng):
    human, before = rng.random(780), embedding.copy()
    kept = human.copy()
    curves.rdm_curve(embedding, human, np.arange(24))
    curves.geometry_curve(embedding, np.arange(24))
    curves.silenced_curve(embedding, np.arange(24))
    np.testing.assert_array_equal(embedding, before)
    np.testing.assert_array_equal(human, kept)


@pytest.mark.parametrize(
    ("human", "message"),
    [
        (np.zeros(10), "is of 5 images; the embedding has 40 images"),
        (np.zeros(11), "11 pairs, which no number of images has"),
        (np.zeros((40, 39)), r"square, or condensed to one dimension; got \(40, 39\)"),
        (np.triu(np.ones((40, 40))), "not symmetric"),
        (np.ones(780), "all values of the RDM are equal"),
        (np.full(780, np.nan), "only 0 pairs of the RDM are defined"),
        (np.append(np.zeros(779), np.inf), "1 values of the RDM are infinite"),
    ],
)
def test_errors_of_rdms(embedding, human, message):
    with pytest.raises(InputError, match=message):
        curves.rdm_curve(embedding, human, np.arange(24))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda e: curves.geometry_curve(e, np.arange(24), precision="half"),
            "'double' or 'single'; got 'half'",
        ),
        (lambda e: curves.geometry_curve(np.where(e > 2, np.nan, e), np.arange(24)), "NaN or infinite"),
        (lambda e: curves.geometry_curve(e[:2], np.arange(24)), "at least three images; got 2"),
        (lambda e: curves.geometry_curve(e, np.arange(23)), "each of the 24 feature indices once"),
        (lambda e: curves.geometry_curve(e, [0] * 24), "each of the 24 feature indices once"),
        (lambda e: curves.geometry_curve(e, np.arange(24), k=[0, 3]), "k must lie between 1 and 24"),
        (lambda e: curves.geometry_curve(e, np.arange(24), k=[25]), "k must lie between 1 and 24"),
        (lambda e: curves.geometry_curve(e, np.arange(24), k=[2.5]), r"in whole numbers; got \[2.5\]"),
        (lambda e: curves.geometry_curve(e, np.arange(24), k=[]), r"k must lie between 1 and 24, .*got \[\]"),
        (lambda e: curves.geometry_curve(e, np.arange(24), metric="euclidean"), "got 'euclidean'"),
        (lambda e: curves.silenced_curve(e, np.arange(23)), "each of the 24 feature indices once"),
        (lambda e: curves.silenced_curve(e, [0] * 24), "each of the 24 feature indices once"),
        (lambda e: curves.silenced_curve(e, np.arange(24), k=[0, 3]), "k must lie between 1 and 24"),
        (lambda e: curves.silenced_curve(e, np.arange(24), k=[25]), "k must lie between 1 and 24"),
        (lambda e: curves.silenced_curve(e[:2], np.arange(24)), "at least three images; got 2"),
        (lambda e: curves.silenced_curve(np.where(e > 2, np.nan, e), np.arange(24)), "NaN or infinite"),
        (lambda e: curves.class_curve(e, [0, 1] * 20, np.arange(24)), "at least three classes; got 2"),
        (lambda e: curves.class_curve(e, [0, 1], np.arange(24)), r"labels must be \(40,\)"),
    ],
)
def test_errors(embedding, call, message):
    with pytest.raises(InputError, match=message):
        call(embedding)


def test_a_share_is_at_least_one_feature():
    assert [curves.count(share, 84) for share in (0, 0.001, 0.2, 0.5, 1)] == [1, 1, 17, 42, 84]


def test_enough_is_at_least_half_of_the_images():
    assert curves.ENOUGH == 0.5
    assert curves.enough([49, 50, 51, 0, 100], 100).tolist() == [False, True, True, False, True]
    assert curves.enough([1, 2, 3], 5).tolist() == [False, False, True]  # 2.5 are needed
    assert curves.enough([0, 1], [0, 0]).tolist() == [True, True]  # of none, none are missing
    # A row for each instance, the last of which says how many there are.
    counted = np.array([[0, 5, 10], [0, 5, 12]])
    assert curves.enough(counted, counted[:, -1:]).tolist() == [[False, True, True], [False, False, True]]
    assert curves.enough([0, 1], 2, least=0).all()
    assert curves.enough([1, 2], 2, least=1).tolist() == [False, True]
    assert curves.enough(1, 2).shape == ()


def test_a_curve_as_a_table(embedding):
    found = curves.geometry_curve(embedding, np.arange(24), k=[6, 12, 24])
    table = found.table()
    assert list(table) == ["k", "fraction", "r", "r2", "n_images"]
    assert table["k"].tolist() == [6, 12, 24]
    assert table["fraction"].tolist() == pytest.approx([0.25, 0.5, 1])
    np.testing.assert_allclose(table["r2"], table["r"] ** 2)
    assert table["r2"].iloc[-1] == pytest.approx(1)
