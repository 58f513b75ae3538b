"""The pruning explorer: what Python says, and what a real Chromium shows, against RDMs made the long way."""

import io
import math
import re
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import traitlets
from conftest import wait_until
from PIL import Image
from scipy.spatial import procrustes
from scipy.spatial.distance import pdist

from rarefire import curves, poz, rdm, records, reliability, stimuli, units
from rarefire.errors import InputError, UnknownNameError
from rarefire.page import explorer, widgets
from rarefire.page.explorer import Explorer, Scene

ORDERS, METRICS = explorer.ORDERS, explorer.METRICS


@pytest.fixture
def scene(trained):
    """120 real digits in a trained LeNet-5, not in the order of their classes, and made-up people."""
    from rarefire import embeddings

    network, images = trained
    some = images.subset(np.arange(120))
    embedding = embeddings.extract(network, some)
    noise = np.random.default_rng(5).normal(size=120 * 119 // 2)
    return Scene(
        "digits",
        "LeNet-5",
        embedding,
        labels=some.labels,
        names=[f"digit {c}" for c in range(10)],
        images=some.images,
        human=dissimilarities(embedding, "correlation") + 0.5 * noise,
        ceiling=reliability.NoiseCeiling(0.5, 0.6, np.array([0.5, 0.5])),
    )


def dissimilarities(features, metric):
    """Condensed; NaN for the pairs of an image without a similarity."""
    vectors = np.asarray(features, dtype=float)
    if metric == "correlation":
        vectors = vectors - vectors.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(vectors, axis=1)
    norms[norms < 1e-9] = np.nan
    return 1 - (vectors @ vectors.T / np.outer(norms, norms))[np.triu_indices(len(vectors), k=1)]


def long_way(scene, k, order, metric, *, people=False):
    """R² by RDMs, images as they were given."""
    embedding = np.asarray(scene.embedding)
    partial = dissimilarities(embedding[:, order[:k]], metric)
    other = np.asarray(scene.human) if people else dissimilarities(embedding, metric)
    use = np.isfinite(partial) & np.isfinite(other)
    if use.sum() < 3 or partial[use].std() < 1e-9:
        return math.nan
    return np.corrcoef(partial[use], other[use])[0, 1] ** 2


def orders_of(scene, seed=0):
    rates = poz.poz(scene.embedding) if scene.poz is None else scene.poz
    return {
        "low": poz.order(rates, first="low"),
        "high": poz.order(rates, first="high"),
        "random": np.random.default_rng(seed).permutation(len(rates)),
    }


# --- Python --------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("reference", ["network", "people"])
def test_r2_and_curve_are_those_of_rdms_made_the_long_way(scene, order, metric, reference):
    widget = Explorer([scene], order=order, metric=metric, reference=reference, seed=3)
    orders = orders_of(scene, seed=3)
    for fraction in (0.3, 0.55, 1.0):
        widget.fraction = fraction
        expected = long_way(scene, round(84 * fraction), orders[order], metric, people=reference == "people")
        assert widget.k == round(84 * fraction)
        assert widget.r2 == pytest.approx(expected, abs=1e-9, nan_ok=True)


def test_traits_are_checked_and_observed(scene):
    widget = Explorer([scene], fraction=0.5)
    seen = []
    widget.observe(lambda change: seen.append(change["new"]), "fraction")
    widget.fraction = 0.25
    assert seen == [0.25]
    assert widget.k == 21
    widget.fraction = 0  # as a slider's end may be: one feature is always kept
    assert widget.k == 1
    for trait, value, message in [
        ("fraction", 1.5, "fraction lies in"),
        ("scene", 1, "scene is an index from 0 to 0"),
        ("category", 10, "category is an index from 0 to 9"),
        ("order", "rare", "order"),
        ("metric", "euclidean", "metric"),
        ("view", "globe", "view"),
    ]:
        with pytest.raises(traitlets.TraitError, match=message):
            setattr(widget, trait, value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"embedding": np.ones((2, 5))}, "at least three images; got 2"),
        ({"embedding": np.ones((401, 5))}, "up to 400 images; got 401"),
        ({"embedding": np.ones((3, 70_000))}, "up to 65,535 features; got 70,000"),
        ({"embedding": -np.ones((4, 5))}, "negative"),
        ({"embedding": np.full((4, 5), np.nan)}, "4 of 4 images have NaN"),
        ({"poz": np.zeros(4)}, r"poz must be \(5,\), one share .* per feature; got \(4,\)"),
        ({"poz": np.full(5, 2.0)}, r"one share in \[0, 1\] per feature"),
        ({"labels": [0, 1]}, r"labels must be \(4,\) integers from 0, one per image; got \(2,\)"),
        ({"labels": [0, 1, 2, 3], "names": ["a"]}, "labels go up to 3, but there are 1 names"),
        ({"ghosts": np.zeros((3, 5))}, r"ghosts must be \(1, 5\), categories by features; got \(3, 5\)"),
        ({"images": np.zeros((4, 8, 8))}, r"images must be \(4, 1 or 3, height, width\); got \(4, 8, 8\)"),
        ({"images": np.zeros((3, 1, 8, 8))}, r"images must be \(4, 1 or 3, .*got \(3, 1, 8, 8\)"),
        ({"images": np.full((4, 1, 8, 8), 200, np.uint8)}, r"in \[0, 1\]; got 200 to 200. Divide 8-bit"),
        ({"embedding": np.ones((400, 10_000))}, "400 images × 10,000 features are too many to recompute"),
        ({"embedding": -np.ones((4, 5)), "poz": np.zeros(5), "ghosts": np.zeros((1, 5))}, "negative"),
        ({"labels": np.ones(4)}, r"labels must be .*; got \(4,\) float64"),
        (
            {"labels": [0, 1, 2, 3], "names": ["a", "b", "c", "d" * 10_000_000]},
            r"names have at most 255 characters; 'd{30}'… has 10,000,000\. Shorten it\.",
        ),
        (
            {"labels": [0, 1, 2, 3], "names": ["a"] * 70_000},
            r"an explorer takes up to 65,536 categories; got 70,000\. Choose some\.",
        ),
        ({"human": np.ones(6)}, "all values of the RDM are equal"),
        ({"human": np.zeros(5)}, "5"),
    ],
)
def test_scenes_that_do_not_fit_are_refused(change, message):
    given = {"embedding": np.abs(np.random.default_rng(0).normal(size=(4, 5))), **change}
    with pytest.raises(InputError, match=message):
        Explorer([Scene("some", "network", **given)])


@pytest.mark.parametrize("names", [("x" * 256, "network"), ("some", "x" * 256)])
def test_a_title_that_fills_the_page_is_refused(names):
    with pytest.raises(InputError, match=r"at most 255 characters; 'x{30}'… has 256\. Shorten it\."):
        Explorer([Scene(*names, np.eye(4) + 1)])
    assert Explorer([Scene("x" * 255, "y" * 255, np.eye(4))]).scenes[0]["network"] == "y" * 255


def test_no_scene():
    with pytest.raises(InputError, match="at least one scene"):
        Explorer([])


def test_an_unknown_trait(scene):
    with pytest.raises(UnknownNameError, match="no trait 'fractoin'. There are: fraction"):
        Explorer(scene, fractoin=0.5)


def test_the_pages_orders_are_pythons(rng):
    """PoZ that single precision cannot tell apart, and ties."""
    embedding = rng.uniform(size=(6, 5))
    rates = np.array([0.5 + 1e-12, 0.5, 0.25, 0.25, 0.5 - 1e-12])
    packed = Explorer(Scene("made", "up", embedding, poz=rates), seed=2).scenes[0]
    for name, order in orders_of(Scene("", "", embedding, poz=rates), seed=2).items():
        np.testing.assert_array_equal(np.frombuffer(packed["orders"][name], "<u2"), order)


def test_a_ceiling_that_is_not_defined_is_left_out(scene):
    unknown = reliability.NoiseCeiling(np.nan, 0.5, np.array([np.nan]))
    assert Explorer(replace(scene, ceiling=unknown)).scenes[0]["ceiling"] == []
    assert Explorer(scene).scenes[0]["ceiling"] == [0.5, 0.6]


def test_images_are_sorted_by_label_with_everything_that_is_theirs(scene):
    widget = Explorer([scene])
    packed = widget.scenes[0]
    labels = np.frombuffer(packed["labels"], "<u2")
    sort = np.argsort(scene.labels, kind="stable")
    np.testing.assert_array_equal(labels, np.sort(scene.labels))
    assert packed["kind"] == "f2"
    sent = np.frombuffer(packed["embedding"], "<f2").reshape(120, 84).astype(float)
    given = np.asarray(scene.embedding)[sort]
    np.testing.assert_allclose(sent * given.max(axis=1, keepdims=True), given, rtol=1e-3, atol=1e-5)
    assert ((sent == 0) == (given == 0)).mean() > 0.999
    human = rdm.condensed(rdm.square(scene.human)[np.ix_(sort, sort)])
    mean, spread = packed["scale"]
    np.testing.assert_allclose(mean + spread * np.frombuffer(packed["human"], "<f4"), human, atol=1e-6)
    sprite = widget.sprites[packed["sprite"]]
    sheet = np.asarray(Image.open(io.BytesIO(sprite["file"])))
    y, x = 32 * (17 // sprite["columns"]), 32 * (17 % sprite["columns"])
    np.testing.assert_array_equal(
        sheet[y : y + 32, x : x + 32], np.rint(255 * scene.images[sort[17]][0]).astype(np.uint8)
    )


def test_large_embeddings_travel_in_8_bits_and_keep_their_zeros(rng):
    embedding = np.maximum(rng.normal(size=(100, 3000)) - rng.uniform(-1, 2, 3000), 0) * rng.gamma(
        1, size=3000
    )
    packed = Explorer([Scene("many", "features", embedding)]).scenes[0]
    assert packed["kind"] == "u1"
    codes = np.frombuffer(packed["embedding"], np.uint8).reshape(embedding.shape)
    steps = np.frombuffer(packed["steps"], "<f4")
    np.testing.assert_array_equal(codes == 0, embedding == 0)
    order = poz.order(poz.poz(embedding))
    for k in (20, 300, 3000):
        exact = curves.geometry_curve(embedding, order, k=[k]).r2[0]
        assert curves.geometry_curve(codes * steps, order, k=[k]).r2[0] == pytest.approx(exact, abs=1e-3)


def test_colour_images_become_a_small_sheet(rng):
    images = rng.uniform(size=(5, 3, 96, 64))
    embedding = np.abs(rng.normal(size=(5, 6)))
    (sprite,) = Explorer([Scene("a", "b", embedding, images=images)] * 2).sprites
    assert (sprite["type"], sprite["tile"], sprite["columns"]) == ("image/jpeg", [32, 48], 3)
    assert Image.open(io.BytesIO(sprite["file"])).size == (96, 96)


def test_ghosts_are_silent_for_a_category_and_not_dead():
    embedding = np.array([[1.0, 0, 0], [2, 0, 0], [1, 3, 0], [3, 0, 0]])
    given = Scene("hand", "made", embedding, labels=[0, 0, 1, 1], names=["a", "b"])
    ghosts = np.frombuffer(Explorer([given]).scenes[0]["ghosts"], np.uint8).reshape(2, 3)
    assert ghosts.tolist() == [[0, 1, 0], [0, 0, 0]]
    # One category; PoZ from more images, in which the second feature fires.
    alone = Scene("hand", "made", embedding[[0, 1, 3]], poz=[0, 0.75, 1])
    assert Explorer([alone]).scenes[0]["ghosts"] == bytes([0, 1, 0])


@pytest.mark.parametrize("seed", range(4))
def test_ghosts_by_default_are_those_that_poz_counts(seed):
    """Where PoZ is of the images shown; one category has none of them, and some features are dead."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat([0, 1, 3], [3, 5, 8]))
    fires = rng.random((16, 30)) < rng.uniform(0, 0.4, (4, 30))[labels]
    fires[:, rng.permutation(30)[:4]] = False
    embedding = fires * rng.uniform(0.1, 1, (16, 30))
    expected = np.zeros((4, 30), dtype=np.uint8)
    expected[[0, 1, 3]] = poz.ghosts(embedding, labels)
    assert expected.any()
    for given in ({}, {"poz": poz.poz(embedding)}):
        scene = Scene("made", "up", embedding, labels=labels, names=list("abcd"), **given)
        found = np.frombuffer(Explorer([scene]).scenes[0]["ghosts"], np.uint8).reshape(4, 30)
        np.testing.assert_array_equal(found, expected)


def test_the_books_scenes():
    found = records.ensembles.by_images(instances=2)
    made = explorer.scenes(found, seeds=[0, 1, 7])
    assert [scene.network for scene in made[:2]] == ["lenet5, seed 0", "lenet5, seed 1"]
    assert {scene.stimuli for scene in made} >= {"digits", "MNIST", "CIFAR-10 (JPEG)"}
    for scene in made:
        assert np.shape(scene.embedding) == (100, 84)
        assert np.bincount(scene.labels).tolist() == [10] * 10
        # What never fires for any test image does not fire for these.
        assert not np.asarray(scene.embedding)[:, np.asarray(scene.poz) == 1].any()
    assert made[0].images.shape == (100, 1, 32, 32)


def test_samples_are_shipped_and_found_without_data(own_cache):
    for name in ("mnist", "cifar10-jpg"):
        sample = records.ensembles.excerpt(name, seed=2)
        assert sample["embedding"].dtype == np.float16
        assert sample["labels"].tolist() == sorted(list(range(10)) * 10)
        assert records.ensembles.excerpt(name, seed=9) is None


def test_a_shipped_sample_is_what_the_network_says_of_the_images(mirror, own_cache, monkeypatch):
    """The features say the class of their images, and are silent where PoZ says so."""
    monkeypatch.setenv("RAREFIRE_MIRROR", str(mirror))
    shipped, test = records.ensembles.excerpt("mnist", seed=0), stimuli.load("mnist", "test")
    np.testing.assert_array_equal(test.labels[shipped["rows"]], shipped["labels"])
    rates = records.ensembles.known("mnist", seeds=[0])["poz_test"][0]
    embedding = shipped["embedding"].astype(float)
    assert np.corrcoef((embedding == 0).mean(axis=0), rates)[0, 1] > 0.98
    means = rdm.class_means(embedding, shipped["labels"])
    nearest = np.argmin(((embedding[:, None] - means) ** 2).sum(axis=2), axis=1)
    assert (nearest == shipped["labels"]).mean() > 0.95


def test_the_figure_without_scripts_says_the_same(scene):
    page = Explorer([scene], name="still", caption="A finding.")._repr_mimebundle_()[0]["text/html"]
    assert page.startswith('<figure data-widget="')
    assert 'id="figure-still"' in page
    assert "A finding." in page
    order = orders_of(scene)["low"]
    for k in (67, 34, 8):
        assert f"R² = {long_way(scene, k, order, 'correlation'):.3f}" in page


# --- features that fire, and one of them ---------------------------------------------------------


def with_dead(scene):
    """The scene with three more features, which never fire."""
    return replace(scene, embedding=np.insert(np.asarray(scene.embedding), [0, 40, 84], 0.0, axis=1))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("people", [False, True], ids=["network", "people"])
def test_without_dead_features_everything_is_of_those_that_fire(scene, order, people):
    given = with_dead(scene)
    fires = poz.poz(given.embedding) < 1
    alive = np.asarray(given.embedding)[:, fires]
    widget = Explorer(given, firing=True, order=order, reference="people" if people else "network", seed=3)
    inserted = orders_of(given, seed=3)[order]
    among = [int(np.count_nonzero(fires[:f])) for f in inserted if fires[f]]
    for fraction in (0.3, 0.8, 1.0):
        widget.fraction = fraction
        expected = long_way(replace(scene, embedding=alive), widget.k, among, "correlation", people=people)
        assert widget.k == round(len(among) * fraction)
        assert widget.r2 == pytest.approx(expected, abs=1e-9)
    assert widget.curve().n_features == len(among) < 87
    widget.firing = False
    assert widget.curve().n_features == 87


def test_where_nothing_fires_all_features_stay():
    widget = Explorer(Scene("all", "silent", np.zeros((5, 3))), firing=True)
    assert widget.k == 3
    assert math.isnan(widget.r2)


def naive_portrait(scene, feature, metric):
    """R² of the RDM with a feature set to 0, and without it, against the whole one, by RDMs."""
    embedding = np.asarray(scene.embedding, dtype=float)
    silenced = embedding.copy()
    silenced[:, feature] = 0
    full = dissimilarities(embedding, metric)
    found = []
    for rest in (silenced, np.delete(embedding, feature, axis=1)):
        partial = dissimilarities(rest, metric)
        use = np.isfinite(partial) & np.isfinite(full)
        found.append(np.corrcoef(partial[use], full[use])[0, 1] ** 2)
    return found


@pytest.mark.parametrize("metric", METRICS)
def test_a_portrait_says_what_a_feature_fires_for_and_what_it_carries(scene, metric):
    given = with_dead(scene)
    every = [naive_portrait(given, f, metric) for f in range(87)]
    lost = np.array([1 - silenced for silenced, _ in every])
    embedding, labels = np.asarray(given.embedding), np.asarray(given.labels)
    for feature in (0, 1, 30, 86):
        found = explorer.portrait(given, feature, metric=metric)
        np.testing.assert_array_equal(found.activations, embedding[:, feature])
        assert found.poz == (embedding[:, feature] == 0).mean()
        assert set(found.images) == set(np.flatnonzero(embedding[:, feature]))
        assert (np.diff(embedding[found.images, feature]) <= 0).all()
        for c in range(10):
            own = embedding[labels == c, feature]
            assert found.means[c] == pytest.approx(own.mean())
            assert found.shares[c] == (own > 0).mean()
        assert (found.silenced, found.left_out) == pytest.approx(every[feature], abs=1e-9)
        assert found.rank == 1 + np.count_nonzero(lost > lost[feature] + 1e-9)
        assert (found.n_features, found.n_images) == (87, 120)
    alone = explorer.portrait(given, 30, metric=metric, firing=True)
    assert alone.n_features == (poz.poz(embedding) < 1).sum()
    assert explorer.portrait(given, 0, metric=metric).silenced == pytest.approx(1, abs=1e-12)


def test_which_portrait_the_explorer_draws(scene):
    widget = Explorer(with_dead(scene), fraction=0.5)
    order = orders_of(with_dead(scene))["low"]
    assert widget.portrait().feature == order[widget.k - 1]
    widget.feature = 0
    assert widget.portrait().feature == 0
    widget.firing = True  # it never fires
    assert widget.portrait().feature == order[widget.k - 1]
    with pytest.raises(traitlets.TraitError, match="feature is an index from 0 to 86; got 87"):
        widget.feature = 87


def test_a_portrait_of_no_feature(scene):
    with pytest.raises(InputError, match="feature is an index from 0 to 83; got 84"):
        explorer.portrait(scene, 84)
    with pytest.raises(InputError, match=r"feature 0 never fires \(PoZ = 100 %\): it is not among the"):
        explorer.portrait(with_dead(scene), 0, firing=True)


# --- in a real browser ---------------------------------------------------------------------------


def open_page(tab, address, *, count=1):
    tab.goto(address)
    for i in range(count):
        tab.locator("[data-widget][data-ready]").nth(i).wait_for()


def slide(tab, k, *, within="body"):
    """Move the slider to k as its user would, at once, and read r."""
    tab.locator(f"{within} .rf-explorer input[type=range]").fill(str(k))
    return shown_r(tab, within=within)


def shown_r(tab, *, within="body"):
    tab.evaluate("new Promise(requestAnimationFrame)")
    return float(tab.locator(f"{within} .rf-explorer .rf-r2").get_attribute("data-r"))


@pytest.mark.browser
@pytest.mark.parametrize("people", [False, True], ids=["network", "people"])
def test_page_and_rdms_agree(tab, static_page, scene, people):
    open_page(tab, static_page(Explorer([scene], seed=1)))
    orders = orders_of(scene, seed=1)
    steps = np.linspace(3, 84, 10).astype(int)
    if people:
        tab.get_by_role("radio", name="people").check()
    for order, label in zip(ORDERS, ("low→high PoZ", "high→low PoZ", "random"), strict=True):
        tab.get_by_role("radio", name=label).check()
        for metric, name in zip(METRICS, ("Pearson", "cosine"), strict=True):
            tab.get_by_role("radio", name=name).check()
            for k in steps:
                expected = long_way(scene, k, orders[order], metric, people=people)
                assert slide(tab, k) ** 2 == pytest.approx(expected, abs=1e-3, nan_ok=True)
            said = tab.locator(".rf-r2").inner_text().removeprefix("R² = ")
            assert float(said) == pytest.approx(expected, abs=1.5e-3)  # it is printed with three digits


@pytest.mark.browser
def test_real_people_in_the_page(tab, static_page, mur):
    features, people = mur
    # Of r with the mean over people: how reliable that mean is.
    root = reliability.split_half(people, rng=np.random.default_rng(0)).corrected ** 0.5
    ceiling = reliability.NoiseCeiling(root - 0.05, root, np.array([root]))
    scene = Scene("Mur et al.", "SqueezeNet", features, human=people.mean(axis=0), ceiling=ceiling)
    widget = Explorer([scene], reference="people")
    open_page(tab, static_page(widget))
    for metric, name in zip(METRICS, ("Pearson", "cosine"), strict=True):
        tab.get_by_role("radio", name=name).check()
        curve = curves.rdm_curve(features, people.mean(axis=0), orders_of(scene)["low"], metric=metric)
        for k in np.linspace(2, 512, 10).astype(int):
            assert slide(tab, k) == pytest.approx(curve.r[k - 1], abs=1e-3)
    shade = "c => c.getContext('2d').getImageData(5, 5, 1, 1).data.slice(0, 3).join()"
    maps = [tab.locator("canvas[tabindex]").nth(i).evaluate(shade) for i in range(2)]
    assert maps[0] == maps[1] == ",".join(str(v) for v in widget.colours[:3])  # an image with itself
    facts = tab.locator(".rf-side dl").inner_text()
    assert f"{ceiling.low**2:.2f}–{ceiling.high**2:.2f}" in facts
    assert f"{curve.r[-1]:.3f}" in facts


@pytest.mark.browser
def test_images_without_a_similarity_are_left_out_in_page_and_python(tab, static_page, rng):
    """Rare features first: most images have no similarity at all, then a few, then all."""
    embedding = np.maximum(rng.normal(size=(40, 30)) - np.linspace(-1, 2.2, 30), 0)
    embedding[0] = 0  # an image for which nothing fires
    human = rng.uniform(size=40 * 39 // 2)
    human[::7] = np.nan  # pairs that nobody judged
    scene = Scene("rare", "features", embedding, human=human)
    widget = Explorer([scene], order="high")
    open_page(tab, static_page(widget))
    for reference, label in (("network", "all features"), ("people", "people")):
        widget.reference = reference
        curve = widget.curve()
        left = curve.n_images
        tab.get_by_role("radio", name=label).check()
        for k in range(1, 31):
            assert slide(tab, k) == pytest.approx(curve.r[k - 1], abs=1e-3, nan_ok=True), (reference, k)
            widget.fraction = k / 30
            said = tab.locator(".rf-result").inner_text()
            # Neither says anything of the set where most of its images have no similarity.
            assert (
                ("R² = –" in said) == math.isnan(widget.r2) == (np.isnan(curve.r[k - 1]) or left[k - 1] < 20)
            )
            assert f"{left[k - 1]} of 40 images have a similarity there" in said
            key = tab.locator(".rf-key-none")
            assert key.is_visible()
            assert key.inner_text() == ("undefined or not judged" if label == "people" else "undefined")


@pytest.mark.browser
def test_the_key_says_what_nobody_judged(tab, static_page, scene):
    human = np.array(scene.human)
    human[0] = np.nan
    order = np.argsort(scene.labels, kind="stable")
    i, j = int(np.flatnonzero(order == 0)[0]), int(np.flatnonzero(order == 1)[0])
    open_page(tab, static_page(Explorer(replace(scene, human=human))))
    assert not tab.locator(".rf-key-none").is_visible()
    tab.get_by_role("radio", name="people").check()
    shown_r(tab)
    assert tab.locator(".rf-key-none").inner_text() == "not judged"
    canvas = tab.locator("canvas[tabindex]").first
    cell = canvas.bounding_box()["width"] / 120
    canvas.hover(position={"x": (j + 0.5) * cell, "y": (i + 0.5) * cell})
    assert "dissimilarity not judged by people, " in tab.locator("[role=status]").inner_text()
    tab.get_by_role("radio", name="all features").check()
    shown_r(tab)
    assert not tab.locator(".rf-key-none").is_visible()


@pytest.mark.browser
def test_the_share_of_images_that_r2_needs_travels_in_the_page(tab, static_page, rng):
    """With another share, R² is said elsewhere; nobody sets it by accident."""
    embedding = np.maximum(rng.normal(size=(40, 30)) - np.linspace(-1, 2.2, 30), 0)
    widget = Explorer(Scene("rare", "features", embedding), order="high")
    share = widget.curve().n_images / 40
    k = 1 + int(np.flatnonzero((share > 0.2) & (share < 0.45) & ~np.isnan(widget.curve().r))[0])
    for least, said in ((0.5, False), (0.2, True)):
        widget.set_trait("least", least)
        open_page(tab, static_page(widget))
        slide(tab, k)
        assert ("undefined" not in tab.locator(".rf-result").inner_text()) == said
        dot = tab.locator(".rf-curve circle").get_attribute("class")
        assert dot == ("rf-dot rf-high" if said else "rf-none")
    with pytest.raises(traitlets.TraitError, match='"least" trait is read-only'):
        Explorer(Scene("rare", "features", embedding), least=0.2)


# --- the page's geometry, without a page ---------------------------------------------------------


@pytest.fixture
def geometry(tab):
    """Calls JavaScript that uses the explorer's geometry, in a browser."""
    tab.add_script_tag(content=widgets.script("geometry"))
    return tab.evaluate


def rare_features(seed):
    """From active to rare, some dead; nothing fires for the first image, everything alike for the second."""
    rng = np.random.default_rng(seed)
    n, p = (int(v) for v in rng.integers([15, 20], [40, 60]))
    embedding = np.maximum(rng.normal(size=(n, 4)) @ rng.normal(size=(4, p)) - np.linspace(-2, 5, p), 0)
    embedding[:, rng.integers(p, size=3)] = 0
    embedding[0], embedding[1] = 0, 0.7
    return embedding, rng.permutation(p), rng


@pytest.mark.browser
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("seed", range(4))
def test_the_running_curve_is_that_of_python(geometry, seed, metric):
    """And that of each number of features by itself; with pairs that nobody judged, too."""
    embedding, order, rng = rare_features(seed)
    n, p = embedding.shape
    human = rng.uniform(size=n * (n - 1) // 2)
    human[::5] = np.nan
    full, judged = rdm.square(dissimilarities(embedding, metric)), rdm.square(human)
    expected = (
        curves.geometry_curve(embedding, order, metric=metric),
        curves.rdm_curve(embedding, human, order, metric=metric),
    )
    for against, python in zip((full, judged), expected, strict=True):
        found = geometry(
            """([embedding, n, p, order, metric, reference]) => {
                const prefixes = residuals(embedding, n, p, order, metric);
                const { r, images } = nestedCurve(prefixes, reference), square = new Float64Array(n * n);
                const alone = k => agreement(similarities(prefixes, k, square), reference, n);
                return { r: [...r], images: [...images], alone: order.map((_, f) => alone(f + 1)) };
            }""",
            [embedding.ravel().tolist(), n, p, order.tolist(), metric, (-against).ravel().tolist()],
        )
        np.testing.assert_allclose(found["r"], python.r, rtol=0, atol=1e-9)
        np.testing.assert_allclose(found["alone"], python.r, rtol=0, atol=1e-9)
        np.testing.assert_array_equal(found["images"], python.n_images)
        assert python.n_images[-1] == n - (2 if metric == "correlation" else 1)


@pytest.mark.browser
@pytest.mark.parametrize("seed", range(4))
def test_the_map_of_a_matrix_is_that_of_python(geometry, seed):
    """Up to sign, from scratch and from an earlier map; images without a similarity are not on it."""
    embedding, order, _ = rare_features(seed)
    n, p = embedding.shape
    partial = [rdm.square(dissimilarities(embedding[:, order[:k]], "correlation")) for k in (p, p // 2)]
    for square in partial:
        np.fill_diagonal(square, 0)
    found = geometry(
        """([first, second, n]) => {
            const before = scaling(first, n);
            return [before, scaling(second, n), scaling(second, n, before.basis)].map(({ places }) => places);
        }""",
        [*(square.ravel().tolist() for square in partial), n],
    )
    for places, square in zip(np.array(found), (partial[0], partial[1], partial[1]), strict=True):
        there = np.isfinite(square).sum(axis=1) > 1
        assert 3 <= there.sum() < n
        np.testing.assert_array_equal(np.isfinite(places).all(axis=1), there)
        expected = rdm.mds(square[np.ix_(there, there)])
        turned = places[there] * np.sign((places[there] * expected).sum(axis=0))
        np.testing.assert_allclose(turned, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


@pytest.fixture
def silencing(tab):
    """Calls JavaScript that drops single features."""
    tab.add_script_tag(content=widgets.script("geometry", "feature"))
    return tab.evaluate


@pytest.mark.browser
@pytest.mark.parametrize("metric", METRICS)
def test_the_geometry_without_each_feature_is_that_of_python(silencing, metric):
    """And where nearly all of an image is in a single feature."""
    made = [rare_features(seed)[0] for seed in range(3)]
    huge = np.random.default_rng(9).uniform(size=(15, 7)) * [1, 1, 1, 3e3, 1, 1, 1]
    for embedding in (*made, huge):
        n, p = embedding.shape
        found = silencing(
            """([embedding, n, p, metric]) => {
                const prefixes = residuals(embedding, n, p, [...Array(p).keys()], metric);
                const whole = similarities(prefixes, p, new Float64Array(n * n)).map(v => 1 - v);
                const s = { n, p, embedding: Float64Array.from(embedding), features: [...Array(p).keys()],
                    prefixes: () => prefixes, full: () => whole };
                const drop = new Silencing(s, metric), ways = [false, true];
                drop.go(Infinity);
                return { ways: ways.map(out => s.features.map(f => drop.without(f, out))),
                    ranks: s.features.map(f => drop.rank(f)) };
            }""",
            [embedding.ravel().tolist(), n, p, metric],
        )
        for silenced, theirs in zip((True, False), found["ways"], strict=True):
            python = units.without_each(embedding, metric=metric, silenced=silenced)
            r = np.array([np.nan if each["r"] is None else each["r"] for each in theirs])
            np.testing.assert_allclose(r, python.r, rtol=0, atol=1e-8)
            assert [each["images"] for each in theirs] == python.n_images.tolist()
        assert found["ranks"] == units.without_each(embedding, metric=metric).rank.tolist()


# --- maps ----------------------------------------------------------------------------------------


def shown_maps(tab, folder):
    """Left and right coordinates ``(n, 2)``, images by their labels, as the page gives them away."""
    with tab.expect_download() as started:
        tab.get_by_role("link", name="Numbers (CSV)").nth(1).click()
    started.value.save_as(folder / "maps.csv")
    table = pd.read_csv(folder / "maps.csv")
    return table[["left_x", "left_y"]].to_numpy(), table[["right_x", "right_y"]].to_numpy()


def assert_same_map(shown, expected, *, atol=5e-3):
    """Up to a common scale; `atol` is a share of the map's radius."""
    a, b = (x - x.mean(axis=0) for x in (shown, expected))
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    np.testing.assert_allclose(a, b, rtol=0, atol=atol * np.abs(b).max())


def lying_on(target, points):
    """`points` turned and mirrored onto `target`, as widely spread, by scipy."""
    return procrustes(target, points)[1]


def shares(tab):
    return [
        text.split("share ")[1].split("\xa0")[0] for text in tab.locator(".rf-map small").all_inner_texts()
    ]


def check_maps(tab, folder, left, embedding, order, steps, *, metric="correlation"):
    for k in steps:
        slide(tab, k)
        partial = rdm.rdm(embedding[:, order[:k]], metric=metric)
        on_left, on_right = shown_maps(tab, folder)
        placed = rdm.mds(partial)
        assert_same_map(on_left, rdm.mds(left))
        assert_same_map(on_right, lying_on(rdm.mds(left), placed))
        assert np.linalg.norm(on_right - on_right.mean(axis=0)) == pytest.approx(np.linalg.norm(on_left))
        for share, d in zip(shares(tab), (left, partial), strict=True):
            found = np.corrcoef(pdist(rdm.mds(d)), d)[0, 1] ** 2
            assert float(share) == pytest.approx(100 * found, abs=0.7)


@pytest.mark.browser
@pytest.mark.parametrize("metric", METRICS)
def test_maps_are_those_of_python(tab, static_page, tmp_path, scene, metric):
    open_page(tab, static_page(Explorer(scene, view="maps", metric=metric)))
    embedding = np.asarray(scene.embedding, dtype=float)[np.argsort(scene.labels, kind="stable")]
    left = rdm.rdm(embedding, metric=metric)
    order = orders_of(scene)["low"]
    check_maps(tab, tmp_path, left, embedding, order, (84, 50, 20, 55), metric=metric)


@pytest.mark.browser
def test_maps_of_real_people(tab, static_page, tmp_path, mur):
    features, people = mur
    scene = Scene("Mur et al.", "SqueezeNet", features, human=people.mean(axis=0))
    open_page(tab, static_page(Explorer(scene, view="maps", reference="people")))
    r = slide(tab, 100)
    check_maps(tab, tmp_path, people.mean(axis=0), features, orders_of(scene)["low"], (512, 300, 100, 12))
    tab.get_by_role("radio", name="matrices").check()
    assert slide(tab, 100) == r
    # Pairs that nobody judged take the mean of their images' means.
    human = people.mean(axis=0).copy()
    human[::9] = np.nan
    square = rdm.square(human)
    np.fill_diagonal(square, np.nan)
    means = np.nanmean(square, axis=1)
    filled = np.where(np.isnan(square), (means + means[:, None]) / 2, square)[np.triu_indices(92, k=1)]
    open_page(tab, static_page(Explorer(replace(scene, human=human), view="maps", reference="people")))
    assert_same_map(shown_maps(tab, tmp_path)[0], rdm.mds(filled))
    assert "Pairs that nobody judged" in tab.locator(".rf-map small").first.inner_text()


@pytest.mark.browser
@pytest.mark.parametrize("case", ["a line", "alike", "noise", "three", "huge offset"])
def test_maps_of_odd_dissimilarities(tab, static_page, tmp_path, rng, case):
    """Where the second dimension is slight, missing, or not the second largest eigenvalue in size."""
    n = 3 if case == "three" else 60
    line = np.cumsum(rng.uniform(size=n))
    human = {
        "a line": pdist(np.c_[line, 0.02 * rng.normal(size=(n, 3))]),
        "alike": 1 + 1e-3 * rng.uniform(size=n * (n - 1) // 2),
        "noise": rng.uniform(size=n * (n - 1) // 2),
        "three": np.array([3.0, 4.0, 5.0]),
        "huge offset": 1e4 + pdist(rng.normal(size=(n, 2))),
    }[case]
    scene = Scene("odd", "made up", np.abs(rng.normal(size=(n, 9))), human=human)
    open_page(tab, static_page(Explorer(scene, view="maps", reference="people")))
    left, right = shown_maps(tab, tmp_path)
    assert_same_map(left, rdm.mds(human), atol=0.01)
    assert np.isfinite(right).all()


@pytest.mark.browser
def test_images_without_a_similarity_are_not_on_the_map(tab, static_page, tmp_path, rng):
    embedding = np.maximum(rng.normal(size=(40, 30)) - np.linspace(-1, 2.2, 30), 0)
    embedding[0] = 0
    scene = Scene("rare", "features", embedding)
    open_page(tab, static_page(Explorer(scene, view="maps", order="high")))
    order = orders_of(scene)["high"]
    full = np.delete(embedding, 0, axis=0)
    for k in (30, 22, 14, 25, 2, 30):
        slide(tab, k)
        defined = np.ptp(embedding[:, order[:k]], axis=1) > 0
        left, right = shown_maps(tab, tmp_path)
        note = tab.locator(".rf-map small").nth(1).inner_text()
        assert np.isnan(left[0]).all()
        assert_same_map(left[1:], rdm.mds(rdm.rdm(full)))
        if defined.sum() < 3:
            assert np.isnan(right).all()
            assert "there is no map" in note
            continue
        np.testing.assert_array_equal(np.isfinite(right).all(axis=1), defined)
        expected = rdm.mds(rdm.rdm(embedding[defined][:, order[:k]]))
        on = lying_on(left[defined], expected)
        assert_same_map(right[defined], on)
        assert f"{40 - defined.sum()} of 40 images have no similarity: not shown." in note
    canvas = tab.locator(".rf-map canvas").nth(1)
    canvas.focus()
    tab.keyboard.press("Home")
    assert "image 1. Least dissimilar to it: left none, it has no similarity" in status(tab)
    assert not tab.locator(".rf-mark:visible").count()


def status(tab):
    return tab.locator("[role=status]").inner_text()


@pytest.mark.browser
@pytest.mark.parametrize("pictures", [True, False])
def test_pointing_at_an_image_on_a_map(tab, static_page, scene, pictures):
    """With the keys, the mouse and a finger: marked on both maps, with what is least dissimilar to it."""
    given = scene if pictures else replace(scene, images=None)
    open_page(tab, static_page(Explorer(given, fraction=0.5, view="maps")))
    sort = np.argsort(scene.labels, kind="stable")
    embedding, labels = np.asarray(scene.embedding, dtype=float)[sort], np.sort(scene.labels)
    squares = [rdm.square(rdm.rdm(part)) for part in (embedding, embedding[:, orders_of(scene)["low"][:42]])]

    def expected(i):
        found = []
        for side, square in zip(("left", "right"), squares, strict=True):
            j = np.argsort(square[i] + 9 * (np.arange(120) == i), kind="stable")[0]
            found.append(f"{side} digit {labels[j]} (image {j + 1}), {square[i, j]:.2f}")
        return f"digit {labels[i]} (image {i + 1}). Least dissimilar to it: {'; '.join(found)}."

    assert status(tab).startswith("Point at an image")
    canvas = tab.locator(".rf-map canvas").first
    assert canvas.get_attribute("aria-label").startswith("Map of 120 images, all features; what is alike")
    tab.locator("input[type=range]").focus()
    tab.keyboard.press("Tab")
    assert canvas.evaluate("c => c === document.activeElement")
    at = 0
    for key, to in [("ArrowRight", 1), ("PageDown", 11), ("Control+ArrowDown", 21), ("ArrowLeft", 20)]:
        tab.keyboard.press(key)
        at = to
        assert status(tab) == expected(at)
    tab.keyboard.press("End")
    assert status(tab) == expected(119)
    for side in (0, 1):
        box = tab.locator(".rf-map").nth(side).locator(".rf-mark:not(.rf-near)").bounding_box()
        area = tab.locator(".rf-map canvas").nth(side).bounding_box()
        assert area["x"] < box["x"] + box["width"] / 2 < area["x"] + area["width"]
        assert tab.locator(".rf-map").nth(side).locator(".rf-near").is_visible()
    assert tab.locator(".rf-detail canvas:visible").count() == 3 * pictures
    # Where the mark is, there the image is found: with the mouse, and with a finger.
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    tab.keyboard.press("Escape")
    assert status(tab).startswith("Point at an image")
    tab.mouse.move(x, y)
    assert status(tab) == expected(119)
    tab.mouse.move(2, 2)
    assert status(tab).startswith("Point at an image")
    tab.touchscreen.tap(x, y)
    assert status(tab) == expected(119)
    # It stays while the slider moves, and when the view changes.
    slide(tab, 30)
    assert status(tab).startswith("digit 9 (image 120). Least")
    tab.get_by_role("radio", name="matrices").check()
    shown_r(tab)
    assert status(tab) == "An image of digit 9 with itself."
    tab.get_by_role("radio", name="maps").check()
    shown_r(tab)
    assert status(tab).startswith("digit 9 (image 120). Least")
    # Who it is can be seen without colours that are too many: ten categories have a key.
    assert tab.locator(".rf-kinds > span").count() == 10
    for width in (390, 320):
        tab.set_viewport_size({"width": width, "height": 800})
        shown_r(tab)
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        ratio = canvas.evaluate("c => c.width / c.clientWidth / devicePixelRatio")
        assert ratio == pytest.approx(1, abs=0.02)


@pytest.mark.browser
def test_the_view_is_a_trait(tab, static_page, scene):
    import ipywidgets

    first, second = Explorer([scene], name="first"), Explorer([scene], name="second", view="maps")
    ipywidgets.jslink((second, "view"), (first, "view"))
    open_page(tab, static_page(first, second), count=2)
    for view in ("maps", "matrices", "maps"):
        tab.locator("#figure-second").get_by_role("radio", name=view).check()
        for name in ("first", "second"):
            r = shown_r(tab, within=f"#figure-{name}")
            assert r == pytest.approx(1)
            inside = tab.locator(f"#figure-{name}")
            assert inside.get_by_role("radio", name=view).is_checked()
            assert inside.locator(".rf-map").first.is_visible() == (view == "maps")
            assert inside.locator(".rf-matrix").first.is_visible() == (view == "matrices")
            assert inside.locator(".rf-bar").get_by_text("unlike").is_visible() == (view == "matrices")


def nasty(rng):
    """Embeddings that few bits, or a common scale, would ruin."""
    plain = np.maximum(rng.normal(size=(30, 20)) - 0.3, 0)
    one_image, one_number, one_feature = plain.copy(), plain.copy(), plain.copy()
    one_image[4] *= 1e8
    one_number[3, 7] = 1e6
    one_feature[:, 2] *= 1e6
    yield from (
        ("one huge image", one_image),
        ("one huge number", one_number),
        ("one huge feature", one_feature),
    )
    yield "heavy tails", rng.gamma(0.05, size=(30, 20))
    yield "far from 0", 100 + rng.uniform(size=(30, 20))
    yield "nearly constant", 1 + 1e-4 * rng.uniform(size=(30, 20))
    yield "the same direction", np.outer(rng.uniform(1, 2, 30), plain[0])
    yield "tiny", 1e-200 * plain
    yield "huge", 1e200 * plain
    yield "counts", rng.poisson(0.5, size=(70, 4096)).astype(float)
    yield "clipped", np.clip(rng.normal(size=(70, 4096)), 0, 0.5)


@pytest.mark.browser
def test_every_curve_in_the_page_is_pythons_whatever_the_scale(tab, static_page, rng):
    given = dict(nasty(rng))
    widget = Explorer([Scene("nasty", name, embedding) for name, embedding in given.items()])
    open_page(tab, static_page(widget))
    for i, name in enumerate(given):
        tab.get_by_role("combobox", name="Network").select_option(name)
        widget.scene = i
        for order, label in (("low", "low→high PoZ"), ("high", "high→low PoZ")):
            tab.get_by_role("radio", name=label).check()
            widget.order = order
            curve, p = widget.curve(), given[name].shape[1]
            for k in np.unique(np.linspace(1, p, 7).astype(int)):
                assert slide(tab, k) ** 2 == pytest.approx(curve.r2[k - 1], abs=1e-3, nan_ok=True), (name, k)


@pytest.mark.browser
@pytest.mark.parametrize(("size", "offset"), [(1e-20, 0), (1e-2, 1e4), (1e39, 0)])
def test_peoples_scale_does_not_matter(tab, static_page, scene, size, offset):
    human = offset + size * np.asarray(scene.human)
    open_page(tab, static_page(Explorer(replace(scene, human=human), reference="people")))
    expected = long_way(scene, 40, orders_of(scene)["low"], "correlation", people=True)
    assert slide(tab, 40) ** 2 == pytest.approx(expected, abs=1e-3)


@pytest.mark.browser
def test_one_feature_and_constant_images(tab, static_page, rng):
    """Nothing is defined, and the page says so."""
    human = rng.uniform(size=10)
    scenes = [
        Scene("one", "feature", rng.uniform(size=(5, 1)), human=human),
        Scene("all", "silent", np.zeros((5, 3)), human=human),
    ]
    open_page(tab, static_page(Explorer(scenes)))
    for images in ("one", "all"):
        tab.get_by_role("combobox", name="Images").select_option(images)
        for reference in ("people", "all features"):
            tab.get_by_role("radio", name=reference).check()
            assert math.isnan(shown_r(tab))
            assert "undefined" in tab.locator(".rf-result").inner_text()


@pytest.mark.browser
def test_eight_bits_are_enough_in_the_page(tab, static_page, rng):
    embedding = np.maximum(rng.normal(size=(100, 3000)) - rng.uniform(-1, 2, 3000), 0) * rng.gamma(
        1, size=3000
    )
    scene = Scene("many", "features", embedding)
    open_page(tab, static_page(Explorer([scene])))
    order = orders_of(scene)["low"]
    for k in (2, 30, 900, 3000):
        assert slide(tab, k) ** 2 == pytest.approx(long_way(scene, k, order, "correlation"), abs=1e-3)


@pytest.mark.browser
def test_mouse_keyboard_and_touch_move_the_slider(tab, static_page, scene):
    open_page(tab, static_page(Explorer([scene], fraction=0.5)))
    handle, label = tab.locator("input[type=range]"), tab.locator(".rf-slider output")
    box = handle.bounding_box()
    middle = box["y"] + box["height"] / 2
    tab.mouse.move(box["x"] + box["width"] / 2, middle)
    tab.mouse.down()
    tab.mouse.move(box["x"] + 0.8 * box["width"], middle, steps=8)
    tab.mouse.up()
    shown_r(tab)
    at = int(handle.input_value())
    assert 63 < at < 71
    assert label.inner_text().startswith(f"{at} of 84")
    handle.focus()
    for key, moved in [("ArrowRight", at + 1), ("ArrowLeft", at), ("Home", 1), ("End", 84)]:
        tab.keyboard.press(key)
        assert int(handle.input_value()) == moved
    tab.keyboard.press("PageDown")
    assert int(handle.input_value()) < 80
    shown_r(tab)
    assert handle.get_attribute("aria-valuetext").startswith(f"{handle.input_value()} most active of 84")
    tab.touchscreen.tap(box["x"] + 0.25 * box["width"], middle)
    assert 17 < int(handle.input_value()) < 25
    # A finger that scrolls the page past slider and curve leaves them where they are.
    at = handle.input_value()
    finger = tab.context.new_cdp_session(tab)
    tab.set_viewport_size({"width": 390, "height": 600})
    for place in (handle, tab.locator(".rf-curve")):
        place.scroll_into_view_if_needed()
        # The finger goes where the place is once the narrow page is laid out and drawn.
        tab.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        area, before = place.bounding_box(), tab.evaluate("scrollY")
        x, y = area["x"] + 0.9 * area["width"], area["y"] + area["height"] / 2
        for kind, up in [
            ("touchStart", 0),
            *(("touchMove", d) for d in range(10, 160, 15)),
            ("touchEnd", None),
        ]:
            points = [] if up is None else [{"x": x, "y": y - up}]
            finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        tab.wait_for_function("before => scrollY > before + 50", arg=before)
        shown_r(tab)
        assert handle.input_value() == at
    tab.set_viewport_size({"width": 1280, "height": 900})
    tab.locator(".rf-curve").scroll_into_view_if_needed()
    # The curve can be dragged too.
    curve = tab.locator(".rf-curve").bounding_box()
    tab.mouse.move(curve["x"] + curve["width"] / 2, curve["y"] + 40)
    tab.mouse.down()
    tab.mouse.move(curve["x"] + 0.9 * curve["width"], curve["y"] + 40, steps=4)
    tab.mouse.up()
    shown_r(tab)
    assert int(handle.input_value()) > 60


@pytest.mark.browser
def test_a_cell_shows_its_two_images(tab, static_page, scene):
    open_page(tab, static_page(Explorer([scene], fraction=0.5)))
    labels = np.sort(scene.labels)
    canvas = tab.locator("canvas[tabindex]").nth(1)
    box = canvas.bounding_box()
    i, j = 30, 77
    canvas.hover(position={"x": (j + 0.5) / 120 * box["width"], "y": (i + 0.5) / 120 * box["height"]})
    sort = np.argsort(scene.labels, kind="stable")
    full = rdm.square(dissimilarities(scene.embedding, "correlation"))[sort[i], sort[j]]
    kept = rdm.square(dissimilarities(scene.embedding[:, orders_of(scene)["low"][:42]], "correlation"))[
        sort[i], sort[j]
    ]
    said = tab.locator("[role=status]").inner_text()
    assert said == (
        f"digit {labels[i]} and digit {labels[j]} (row 31, column 78): dissimilarity {full:.2f} with all "
        f"features, {kept:.2f} with those kept."
    )
    shown = tab.evaluate(
        "n => [...document.querySelectorAll('.rf-detail canvas')][n].getContext('2d')"
        ".getImageData(46, 46, 1, 1).data[0]",
        0,
    )
    assert abs(shown - 255 * scene.images[sort[i], 0, 15, 15]) < 2
    # A click keeps the cell when the pointer leaves; the arrow keys go on from it; Escape lets it go.
    status = tab.locator("[role=status]")
    canvas.click(position={"x": (j + 0.5) / 120 * box["width"], "y": (i + 0.5) / 120 * box["height"]})
    tab.mouse.move(5, 5)
    assert status.inner_text() == said
    canvas.focus()
    for key in ("ArrowDown", "ArrowRight", "PageDown", "Control+ArrowLeft", "End"):
        tab.keyboard.press(key)
    row = min(119, i + 11)
    assert f"digit {labels[row]} and digit {labels[119]} (row {row + 1}, column 120)" in status.inner_text()
    tab.keyboard.press("Escape")
    assert status.inner_text().startswith("Point at a cell")
    canvas.hover(position={"x": 50, "y": 150})
    assert "dissimilarity" in status.inner_text()
    tab.mouse.move(5, 5)
    assert status.inner_text().startswith("Point at a cell")
    canvas.click(position={"x": 50, "y": 1})
    tab.keyboard.press("ArrowUp")  # at the edge
    tab.mouse.move(5, 5)
    assert "row 1," in status.inner_text()
    canvas.click(position={"x": 50, "y": 1})  # once more lets it go
    tab.mouse.move(5, 5)
    assert status.inner_text().startswith("Point at a cell")


def as_it_travels(widget, scene):
    """The scene as the page has it: in fewer bits, images as they were given."""
    packed = widget.scenes[0]
    sizes = np.frombuffer(packed["sizes"], "<f8")[:, None]
    embedding = np.empty(packed["shape"])
    kind = {"f2": "<f2", "f4": "<f4", "f8": "<f8"}[packed["kind"]]
    sent = np.frombuffer(packed["embedding"], kind).astype(float).reshape(packed["shape"]) * sizes
    embedding[np.argsort(scene.labels, kind="stable")] = sent
    return replace(scene, embedding=embedding, poz=poz.poz(scene.embedding))


def opened(tab):
    """The features' place in the page, when all of them are computed."""
    panel = tab.locator(".rf-feature")
    panel.locator("summary").click()
    panel.get_by_text("height: what silencing takes").wait_for()
    return panel


def told(panel):
    return panel.locator(".rf-said").inner_text()


@pytest.mark.browser
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("firing", [False, True], ids=["all", "firing"])
def test_every_feature_in_the_page_is_pythons(tab, static_page, scene, tmp_path, metric, firing):
    given = with_dead(scene)
    widget = Explorer(given, metric=metric, firing=firing)
    open_page(tab, static_page(widget))
    panel = opened(tab)
    with tab.expect_download() as started:
        panel.get_by_role("link", name="Every feature (CSV)").click()
    started.value.save_as(tmp_path / "features.csv")
    table = pd.read_csv(tmp_path / "features.csv")
    travels, sort = as_it_travels(widget, given), np.argsort(given.labels, kind="stable")
    rates = poz.poz(given.embedding)
    order = orders_of(given)["low"]
    assert table["feature"].tolist() == [f for f in order if rates[f] < 1 or not firing]
    for row in table.iloc[[0, 7, 40, -4, -1]].itertuples():
        found = explorer.portrait(travels, row.feature, metric=metric, firing=firing)
        assert row.images == len(found.images)
        if len(found.images):
            assert sort[int(row.image) - 1] == found.images[0]
            assert row.highest == pytest.approx(found.activations.max(), rel=1e-12)
        assert row.r2_silenced == pytest.approx(found.silenced, abs=1e-6)
        assert row.r2_left_out == pytest.approx(found.left_out, abs=1e-6)
        assert row.rank == found.rank


@pytest.mark.browser
def test_a_feature_is_chosen_by_mouse_keys_and_finger(tab, static_page, scene):
    given = with_dead(scene)
    widget = Explorer(given, fraction=0.5)
    open_page(tab, static_page(widget))
    order, labels = orders_of(given)["low"], np.sort(given.labels)
    sort = np.argsort(given.labels, kind="stable")
    assert not tab.locator(".rf-strip").is_visible()  # closed at first
    panel = opened(tab)
    strip = panel.get_by_role("slider", name="Feature, in order of PoZ")

    def shows(place):
        """What is said and shown of the feature at a place."""
        panel.get_by_text(f"Feature {order[place]}:").wait_for()
        found = explorer.portrait(given, int(order[place]))
        assert strip.get_attribute("aria-valuenow") == str(place + 1)
        said = told(panel)
        count = f"fires for {len(found.images)} of 120 images"
        if not len(found.images):
            assert "fires for none of these 120 images: silenced, it changes nothing; left out, it" in said
            assert panel.locator(".rf-most-for > div:visible").count() == 0
            return
        first = int(np.flatnonzero(sort == found.images[0])[0])
        assert said.startswith(
            f"Feature {order[place]} {count}, most for digit {labels[first]} (image {first + 1})."
        )
        r2 = float(said.split("R² = ")[1].split(" ")[0])
        assert r2 == pytest.approx(found.silenced, abs=5e-5)
        assert f"change of {found.n_features} features" in said
        tiles = panel.locator(".rf-most-for > div:visible")
        assert tiles.count() == min(8, len(found.images))
        assert float(tiles.first.inner_text()) == pytest.approx(found.activations.max(), rel=0.06)
        rows = panel.locator("tbody tr").all_inner_texts()
        assert [int(row.split("\t")[-1].split("\xa0")[0]) for row in rows] == [
            round(100 * share) for share in found.shares
        ]

    shows(widget.k - 1)  # at the slider's place, and with it
    slide(tab, 20)
    shows(19)
    strip.focus()
    at = 19
    for key, to in [("ArrowRight", 20), ("ArrowLeft", 19), ("PageUp", 29), ("Home", 0), ("End", 86)]:
        tab.keyboard.press(key)
        at = to
        shows(at)
    slide(tab, 50)  # one that was chosen stays
    shows(86)
    box = strip.bounding_box()
    x, y = box["x"] + 10.5 / 87 * box["width"], box["y"] + box["height"] / 2
    tab.mouse.click(x, y)
    shows(10)
    panel.get_by_role("button", name="The next rarer feature").click()
    shows(11)
    # Said aloud, politely; a slider that has the focus says it itself.
    tab.wait_for_function(
        "said => document.querySelector('.rf-feature [aria-live]').textContent === said", arg=told(panel)
    )
    tab.touchscreen.tap(x, y)
    shows(10)
    panel.get_by_role("button", name="the one at the cut").click()
    shows(49)
    fires = poz.poz(given.embedding) < 1
    tab.get_by_role("checkbox", name=f"without the {(~fires).sum()} dead features").check()
    tab.get_by_text(f"of {fires.sum()} features that fire").wait_for()
    assert strip.get_attribute("aria-valuemax") == str(fires.sum())
    for width in (390, 320):
        tab.set_viewport_size({"width": width, "height": 800})
        shown_r(tab)
        assert tab.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.browser
def test_the_page_says_how_bright_each_matrix_is(tab, static_page, scene):
    given = with_dead(scene)
    open_page(tab, static_page(Explorer(given)))
    order, embedding = orders_of(given)["low"], np.asarray(given.embedding, dtype=float)
    said = tab.locator(".rf-level")
    for metric, name in zip(METRICS, ("Pearson", "cosine"), strict=True):
        tab.get_by_role("radio", name=name).check()
        for k in (60, 20):
            slide(tab, k)
            left, right = (np.nanmean(dissimilarities(embedding[:, o], metric)) for o in (order, order[:k]))
            expected = re.findall(r"\d\.\d\d", said.inner_text())
            np.testing.assert_allclose([float(v) for v in expected], [left, right], atol=0.0051)
            apart = round(right, 2) - round(left, 2)
            assert ("not how bright" in said.inner_text()) == (apart > 0.001)
            assert ("not how dark" in said.inner_text()) == (apart < -0.001)


@pytest.mark.browser
def test_another_network_other_images(tab, static_page, scene, rng):
    other = np.maximum(rng.normal(size=(20, 50)) - 0.3, 0)
    scenes = [
        scene,
        Scene("digits", "other", np.asarray(scene.embedding)[:, ::2]),
        Scene("made", "up", other),
    ]
    open_page(tab, static_page(Explorer(scenes, fraction=0.5)))
    tab.get_by_role("combobox", name="Network").select_option("other")
    shown_r(tab)
    assert tab.locator(".rf-slider output").inner_text().startswith("21 of 42")
    tab.get_by_role("combobox", name="Images").select_option("made")
    expected = long_way(scenes[2], 25, orders_of(scenes[2])["low"], "correlation")
    assert shown_r(tab) ** 2 == pytest.approx(expected, abs=1e-3)
    assert tab.get_by_role("combobox", name="Network").is_hidden()  # there is only one
    # What was pointed at among 120 images does not exist among 20.
    tab.get_by_role("combobox", name="Images").select_option("digits")
    canvas = tab.locator("canvas[tabindex]").first
    canvas.hover(position={"x": 300, "y": 300})
    tab.get_by_role("combobox", name="Images").select_option("made")
    shown_r(tab)
    tab.keyboard.press("Tab")
    canvas.focus()
    tab.keyboard.press("ArrowDown")
    assert "row 2, column 1" in tab.locator("[role=status]").inner_text()
    assert tab.get_by_role("radio", name="people").is_hidden()


@pytest.mark.browser
def test_the_numbers_can_be_downloaded(tab, static_page, scene, tmp_path):
    open_page(tab, static_page(Explorer([scene], order="high")))
    with tab.expect_download() as started:
        tab.get_by_role("link", name="Numbers (CSV)").first.click()
    started.value.save_as(tmp_path / "curve.csv")
    table = pd.read_csv(tmp_path / "curve.csv")
    order = orders_of(scene)["high"]
    np.testing.assert_array_equal(table["feature"], order)
    np.testing.assert_allclose(table["poz"], poz.poz(scene.embedding)[order], rtol=1e-6)
    expected = curves.geometry_curve(scene.embedding, order)
    np.testing.assert_allclose(table["r2"], expected.r2, atol=1e-3)
    np.testing.assert_array_equal(table["n_images"], expected.n_images)


@pytest.mark.browser
def test_linked_widgets_move_together_without_a_kernel(tab, static_page, scene):
    import ipywidgets

    first, second = Explorer([scene], name="first", fraction=0.9), Explorer([scene], name="second")
    ipywidgets.jslink((first, "fraction"), (second, "fraction"))
    open_page(tab, static_page(first, second), count=2)
    at_first = shown_r(tab, within="#figure-first")
    assert shown_r(tab, within="#figure-second") == at_first
    assert at_first < 1
    r = slide(tab, 30, within="#figure-first")
    assert shown_r(tab, within="#figure-second") == r


@pytest.mark.browser
def test_without_scripts_the_figure_stays(browser, static_page, scene):
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto(static_page(Explorer([scene], caption="A finding.")))
    assert tab.locator(".rf-panels svg").count() == 4
    assert tab.get_by_text("A finding.").is_visible()
    context.close()


@pytest.mark.browser
def test_a_widget_that_fails_leaves_the_figure(browser, static_page, scene):
    widget = Explorer([scene])
    widget._esm = "export default { render() { throw new Error('broken'); } };"
    tab = browser.new_page()
    said = []
    tab.on("console", lambda m: said.append(m.text))
    tab.goto(static_page(widget))
    wait_until(lambda: tab.evaluate("0") or any("broken" in text for text in said))
    assert tab.locator(".rf-panels svg").count() == 4
    assert tab.locator("figure > div").count() == 1
    tab.close()


# Milliseconds that the products of all pairs of 120 images take, 512 features each.
PRODUCTS = """() => {
    const x = Float64Array.from({ length: 120 * 512 }, (_, i) => i % 7), start = performance.now();
    let sum = 0;
    for (let i = 0; i < 120 * 512; i += 512)
        for (let j = 0; j <= i; j += 512)
            for (let f = 0; f < 512; f++) sum += x[i + f] * x[j + f];
    return sum > 0 ? performance.now() - start : NaN;
}"""


@pytest.mark.browser
@pytest.mark.parametrize("view", explorer.VIEWS)
def test_a_step_of_the_slider_fits_a_frame(tab, static_page, rng, capsys, view):
    """120 images × 512 features. The time is printed; beside the multiplications alone it is checked.

    Those are the products of all pairs of images, in the same page: both take longer on a busy machine.
    """
    embedding = np.maximum(rng.normal(size=(120, 512)) - rng.uniform(-1, 2, 512), 0)
    given = Scene("120 images", "512 features", embedding, images=rng.uniform(size=(120, 3, 48, 48)))
    open_page(tab, static_page(Explorer([given], view=view)))
    tab.evaluate(
        "window.steps = []; new PerformanceObserver(l => steps.push(...l.getEntries().map(e => e.duration)))"
        ".observe({ entryTypes: ['measure'] })"
    )
    products = []
    for k in range(512, 2, -10):
        slide(tab, k)
        products.append(tab.evaluate(PRODUCTS))
    tab.wait_for_function("steps.length >= 50")
    steps = np.array(tab.evaluate("steps"))
    with capsys.disabled():
        sys.stdout.write(
            f"\n120 × 512, {view}: a step takes {np.median(steps):.1f} ms (median), "
            f"{steps.max():.1f} ms (longest), the multiplications alone {np.median(products):.1f} ms\n"
        )
    assert np.median(steps) < 10 * np.median(products)
