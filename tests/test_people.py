"""What is measured of a network beside people: laws, worlds in which the truth is known, scipy, VGG-19."""

import collections
import dataclasses
import functools
import itertools
import re
import socket

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from scipy.io import loadmat
from scipy.spatial.distance import pdist
from torch import nn

from rarefire import curves, embeddings, inference, networks, poz, rdm, records, reliability, stimuli, store
from rarefire.embeddings import View
from rarefire.errors import InputError, RarefireWarning
from rarefire.judgments import Judgments
from rarefire.records.people import COLUMNS, KINDS, Prediction, measure_view
from rarefire.records.record import VERSIONS, Array

N, F = 24, 10
PAIRS = N * (N - 1) // 2
AT = (2, 5, 8)  # of ten features, the shares that were decided on beforehand

# What the docstring says of each of the kinds, by its shape; subjects_k is empty without subjects.
OF_KIND = {
    **{"<kind>": "S", "n_images_<kind>": "S", "best_<kind>": "2", "naive_<kind>": "2", "chance_<kind>": "3"},
    **{"cross_<kind>": "8", "subjects_<kind>": "8", "advance_<kind>": "3, 8", "largest_<kind>": "4"},
    **{"cross_k_<kind>": "10, 2", "subjects_k_<kind>": "10, 2"},
}
FIELDS = {name: field for name, field in vars(Prediction).items() if isinstance(field, Array)}
# What hangs on how the images were divided, which the seed and their places decide.
DIVIDED = ("cross", "subjects", "naive", "plain", "ridge", "weights")


def names_of(kind):
    chance = kind in ("low", "high")
    return {
        name.replace("<kind>", kind): shape
        for name, shape in OF_KIND.items()
        if chance or "chance" not in name
    }


def made(n=N, *, human=None, subjects=None, pixels=None, seed=0):
    """Judgments of images of two categories; by default as chance has it."""
    rng = np.random.default_rng([seed, 9])
    if subjects is not None:  # of one scale each
        human = reliability.mean_of_subjects(subjects)[0]
    elif human is None:
        human = rng.random(n * (n - 1) // 2)
    pixels = rng.random((n, 3, 4, 4)).astype(np.float32) if pixels is None else pixels
    images = stimuli.Stimuli("made", "test", pixels, np.arange(n) % 2, ("a", "b"), "made")
    names = tuple(f"i{i}" for i in range(n))
    return Judgments("made", human, subjects, None, None, images, names, "c", "l", "s")


def channels(rng):
    """Ten channels of 36 positions: none as rare as another, in no half of the images; one is dead."""
    maps = rng.normal(size=(N, F, 6, 6)) + rng.normal(size=(N, F, 1, 1)) / 2
    maps = np.maximum(maps - np.linspace(-1, 2, F)[:, None, None], 0)
    maps[:, -2] *= rng.random((N, 1, 1)) < 0.5
    maps[:, -1] = 0
    maps = maps[:, rng.permutation(F)]
    return View("channels", maps.mean(axis=(2, 3)), np.count_nonzero(maps == 0, axis=(2, 3)), 36)


def ranked(view):
    """The features from the most to the least frequent, by counts alone."""
    zeros = view.silent.sum(axis=0).tolist()
    return sorted(range(len(zeros)), key=lambda f: (zeros[f], f))


@functools.cache
def world(people):
    """Channels, people who partly see the frequent ones, and what is measured of them.

    ``subjects``: three, of one scale each; ``mean``: one RDM, with three pairs that nobody judged.
    """
    rng = np.random.default_rng(20231)
    view = channels(rng)
    seen = 2 * pdist(view.embedding[:, ranked(view)[:4]] + 0.05, "correlation")
    said = seen + rng.normal(size=(3, PAIRS)) * 0.7
    said[0, [3, 50, 100] if people == "mean" else []] = np.nan
    given = made(human=said[0]) if people == "mean" else made(subjects=said * [[1], [20], [3]])
    return view, given, measure_view(view, given, seed=3)


both = pytest.mark.parametrize("people", ["mean", "subjects"])


def r_of(features, human, metric="correlation", *, inside=True):
    """r of scipy's distances with people's, over the images that are `inside` and have one."""
    use = varies(features, metric) & inside
    i, j = np.triu_indices(len(features), 1)
    use = use[i] & use[j] & np.isfinite(human)
    d = pdist(features, metric)[use]
    return np.corrcoef(d, human[use])[0, 1] if len(d) > 2 and np.ptp(d) > 1e-9 else np.nan


def varies(features, metric):
    return np.ptp(features, axis=1) > 0 if metric == "correlation" else features.any(axis=1)


def same(found, expected, *, but=()):
    """All that is recorded is the same, but for what starts with one of these."""
    assert found.keys() == expected.keys()
    for name in found.keys() - {name for name in found if name.startswith(tuple(but))}:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-6, atol=1e-8, err_msg=name)


# --- what is recorded ------------------------------------------------------------------------------


@both
def test_all_that_the_docstring_names_is_recorded_and_nothing_else(people):
    _, _, found = world(people)
    assert measure_view.__doc__.count("arrays of :class:`Prediction`")
    said = dict(re.findall(r"``(\w*<kind>)(?: \((.*?)\))?``", Prediction.__doc__))
    assert said.keys() == OF_KIND.keys()
    assert {shape.strip(",") for name, shape in said.items() if shape != OF_KIND[name] + ","} <= {"", "3, 8"}
    shapes = {name: field.shape for name, field in FIELDS.items()}
    for kind in KINDS:
        shapes |= names_of(kind)
        if people == "mean":
            shapes[f"subjects_k_{kind}"] = "0, 0"
    assert found.keys() == shapes.keys()
    sizes = {"S": len(found["k"]), "R": len(found["ridge_k"])}
    for name, shape in shapes.items():
        parts = shape.replace(" ", "").split(",")
        assert found[name].shape == tuple(int(sizes.get(part, part)) for part in parts if part), name


@both
def test_nan_is_where_there_is_nothing_to_test(people):
    """Cosine curves have no naive test, nor have pairs that nobody judged; without subjects none vary."""
    _, _, found = world(people)
    for kind in KINDS:
        assert np.isfinite(found[f"cross_{kind}"]).all()
        assert np.isnan(found[f"subjects_{kind}"]).all() == (people == "mean")
        without = people == "mean" or "cosine" in kind or found[f"best_{kind}"][0] == F
        assert np.isnan(found[f"naive_{kind}"]).all() == without
    assert np.isfinite(found["naive_low"]).all() == (people == "subjects")
    assert np.isnan([found["ceiling"], found["ceiling_mean"]]).all() == (people == "mean")
    assert np.isnan(found["weights"][0]).all()  # one feature has no correlation over features
    assert np.isfinite(found["weights"][2:]).all()  # in some parts of the images, two have one: 1


# --- against scipy and loops -----------------------------------------------------------------------


@both
def test_curves_are_r_of_scipy_s_distances(people):
    view, given, found = world(people)
    x, human = view.embedding, given.human
    assert found["k"].tolist() == list(range(1, F + 1))
    order = ranked(view)
    assert order != sorted(range(F), key=lambda f: (np.sum(x[:, f] == 0), f))  # not the means' PoZ
    for kind, (first, metric) in KINDS.items():
        own = order if first == "low" else order[::-1]
        expected = [r_of(x[:, own[:k]], human, metric) for k in found["k"]]
        np.testing.assert_allclose(found[kind], expected, atol=1e-9)
        counts = [varies(x[:, own[:k]], metric).sum() for k in found["k"]]
        np.testing.assert_array_equal(found[f"n_images_{kind}"], counts)
        shown = np.where(np.array(counts) >= N / 2, expected, np.nan)
        best = np.nanargmax(shown) + 1, np.nanmax(shown)
        np.testing.assert_allclose(found[f"best_{kind}"], best, atol=1e-9)
    bits = [stats.entropy(np.histogram(f, 20, (0, f.max() or 1))[0]) for f in x.T]
    for by, score in (("mean", x.sum(axis=0)), ("sd", x.var(axis=0)), ("entropy", np.array(bits))):
        own = np.argsort(-score.round(9), kind="stable")
        expected = [r_of(x[:, own[:k]], human) for k in found["k"]]
        np.testing.assert_allclose(found[by], expected, atol=1e-9)
    whole = r_of(x, human)
    for name in ("low", "high", "mean", "sd", "entropy", "random"):  # all end with all features
        np.testing.assert_allclose(found[name][..., -1], whole, atol=1e-9)
    assert found["low_cosine"][-1] == pytest.approx(found["high_cosine"][-1], abs=1e-9)


@pytest.mark.filterwarnings("default")  # rsatoolbox's own
def test_curves_are_those_of_rsatoolbox():
    import rsatoolbox

    view, given, found = world("subjects")
    people = rsatoolbox.rdm.RDMs(given.human[None])
    for k in range(3, F + 1):
        features = rsatoolbox.data.Dataset(view.embedding[:, ranked(view)[:k]])
        model = rsatoolbox.rdm.calc_rdm(features, method="correlation")
        assert found["low"][k - 1] == pytest.approx(rsatoolbox.rdm.compare(model, people, "corr")[0, 0])


@both
def test_what_was_decided_beforehand_is_tested_as_by_hand(people):
    """D and both r over the images that have a similarity; J− where there are no subjects."""
    view, given, found = world(people)
    x, order = view.embedding, ranked(view)
    said = [given.human] if people == "mean" else given.subjects
    for kind, (first, metric) in KINDS.items():
        own = order if first == "low" else order[::-1]
        for row, k in zip(found[f"advance_{kind}"], AT, strict=True):
            some = x[:, own[:k]]
            defined = varies(some, metric)

            def r(features, inside, metric=metric):
                return np.mean([r_of(features, s, metric, inside=inside) for s in said])

            kept, whole = r(some, defined), r(x, defined)
            if np.isnan(kept):  # of the dead one and another there is one: all images are alike
                assert (k, first) == (2, "high")
                assert np.isnan(row).all()
                continue
            estimate, low, high, se, df, p, r_kept, r_all = row
            assert (estimate, r_kept, r_all) == pytest.approx((kept - whole, kept, whole), abs=1e-9)
            if people == "mean":
                rests = [defined & (np.arange(N) != i) for i in np.flatnonzero(defined)]
                d = np.array([r(some, rest) - r(x, rest) for rest in rests])
                n = len(d)
                assert df == n - 1
                plain = (n - 1) / n * np.sum((d - d.mean()) ** 2)
                single = inference.corrected_jackknife(x, own, rdm=given.human, k=[k], metric=metric).single
                b = single["difference"][0]  # against a naive loop in the tests of J−
                assert se**2 == pytest.approx(max(plain - 2 * b, 0) + b)
            margin = stats.t.ppf(0.975, df) * se
            assert (low, high) == pytest.approx((estimate - margin, estimate + margin))
            assert p == pytest.approx(2 * stats.t.sf(abs(estimate) / se, df))


def test_random_orders_are_random_sets_of_features(monkeypatch):
    """Of ten features every set of k can be gone through: where draws from these lie, and what p is."""
    view, given, _ = world("mean")
    levels, n = np.array([0.05, 0.5, 0.95]), 1000
    monkeypatch.setattr(records.people, "BAND", n)
    found = measure_view(view, given, seed=3)
    place = levels * (n - 1) + 1  # of a quantile among the draws; an order statistic's level is a beta
    least = stats.beta(np.floor(place), n + 1 - np.floor(place)).ppf(1e-4)
    most = stats.beta(np.ceil(place), n + 1 - np.ceil(place)).ppf(1 - 1e-4)
    assert np.isnan(found["random"][:, 0]).all()
    for k in range(2, F + 1):
        sets = itertools.combinations(range(F), k)
        r = np.array([r_of(view.embedding[:, chosen], given.human) for chosen in sets])
        r = r[np.isfinite(r)]
        band = found["random"][:, k - 1]
        assert (band >= np.quantile(r, least, method="lower") - 1e-9).all()
        assert (band <= np.quantile(r, most, method="higher") + 1e-9).all()
        if k in AT:
            for kind in ("low", "high"):
                own, p = found[kind][k - 1], found[f"chance_{kind}"][AT.index(k)]
                tail = min(np.mean(r >= own - 1e-9), np.mean(r <= own + 1e-9))
                spread = np.sqrt(tail * (1 - tail) / 900)
                assert np.isnan(p) if np.isnan(own) else abs(p - 2 * tail) < 10 * spread + 0.005
    np.testing.assert_array_equal(np.sort(found["random"], axis=0), found["random"])


def test_features_with_equal_poz_in_any_order():
    """The second and third feature are equally active, the fifth to eighth, and two are dead."""
    embedding = np.random.default_rng(1).random((N, F))
    zeros = [1, 3, 3, 4, 7, 7, 7, 7, N, N]
    given = made()
    found = measure_view(View("features", embedding, np.arange(N)[:, None] < zeros), given)
    assert found["tied"] == 8
    np.testing.assert_allclose(found["low"], [r_of(embedding[:, :k], given.human) for k in found["k"]])
    for ties, (first, tied, more) in zip(
        found["ties"], ((1, (1, 2), 1), (4, (4, 5, 6, 7), 1), (8, (), 0)), strict=True
    ):
        sets = ([*range(first), *some] for some in itertools.combinations(tied, more))
        r = [r_of(embedding[:, chosen], given.human) for chosen in sets]
        assert found["low"][first + more - 1] == pytest.approx(r[0])
        # Of a hundred draws among up to four each is drawn more than five times: both ends are there.
        np.testing.assert_allclose(ties, [min(r), max(r)], atol=1e-9)
        assert (max(r) - min(r) > 1e-3) == (len(r) > 1)


@both
def test_what_the_images_and_people_are_like(people):
    """Categories against a partial correlation by the inverse of a matrix, ceilings, quantiles of PoZ."""
    view, given, found = world(people)
    i, j = np.triu_indices(N, 1)
    use = np.isfinite(given.human)
    three = pdist(view.embedding, "correlation"), given.human, (i - j) % 2
    correlations = np.corrcoef([values[use] for values in three])
    inverse = np.linalg.inv(correlations)
    expected = correlations[1, 2], -inverse[0, 1] / np.sqrt(inverse[0, 0] * inverse[1, 1])
    assert found["categories"].tolist() == pytest.approx(expected)
    rates = view.silent.sum(axis=0) / (36 * N)
    np.testing.assert_allclose(found["poz"], stats.scoreatpercentile(rates, np.arange(0, 101, 5)))
    assert (found["rare"], found["dead"], found["tied"]) == (np.mean(rates > 0.8), 0.1, 0)
    np.testing.assert_allclose(found["ties"], np.stack([found["low"][np.array(AT) - 1]] * 2, axis=1))
    if people == "subjects":
        z = stats.zscore(given.subjects, axis=1)
        high = np.mean([np.corrcoef(own, z.sum(axis=0))[0, 1] for own in z])
        low = np.mean([np.corrcoef(own, z.sum(axis=0) - own)[0, 1] for own in z])
        assert found["ceiling"].tolist() == pytest.approx([low, high])
        assert found["ceiling_mean"].tolist() == pytest.approx([low / high, 1])


def test_the_naive_test_is_of_folds():
    """D over other folds of the same images than those recorded, on the average."""
    view, given, found = world("subjects")
    k, rng, d = int(found["best_low"][0]), np.random.default_rng(1), []
    for part in (part for _ in range(80) for part in np.array_split(rng.permutation(N), 5)):
        inside = np.isin(np.arange(N), part)
        some = view.embedding[:, ranked(view)[:k]]
        d.append(r_of(some, given.human, inside=inside) - r_of(view.embedding, given.human, inside=inside))
    mean, p = found["naive_low"]
    assert mean == pytest.approx(np.mean(d), abs=4 * np.std(d) * np.sqrt(1 / 40 + 1 / 400))
    assert mean / stats.t.isf(p / 2, 39) * np.sqrt(40) == pytest.approx(np.std(d), rel=0.6)


# --- what must not matter --------------------------------------------------------------------------


def scaled(view, given, rng):
    """The activations are of another unit."""
    return dataclasses.replace(view, embedding=3.7 * view.embedding), given, ()


def on_other_scales(view, given, rng):
    """People's answers are."""
    human, subjects = given.human, given.subjects
    if subjects is None:
        return view, dataclasses.replace(given, human=5 * human + 3), ()
    return view, made(subjects=subjects * [[0.2], [7], [3]] + [[1], [0], [-9]]), ()


def other_images_first(view, given, rng):
    """Where subjects vary, a bootstrap draws images by their places."""
    p = rng.permutation(N)
    moved = dataclasses.replace(view, embedding=view.embedding[p], silent=view.silent[p])
    return moved, given.subset(p), (*DIVIDED, *(() if given.subjects is None else ("advance",)))


def other_features_first(view, given, rng):
    """No two are as rare as one another; some may be of the same entropy."""
    p = rng.permutation(F)
    moved = dataclasses.replace(view, embedding=view.embedding[:, p], silent=view.silent[:, p])
    return moved, given, ("random", "chance", "entropy")


@both
@pytest.mark.parametrize("change", [scaled, on_other_scales, other_images_first, other_features_first])
def test_what_is_measured_does_not_hang_on(people, change):
    view, given, before = world(people)
    view, given, but = change(view, given, np.random.default_rng(5))
    same(measure_view(view, given, seed=3), before, but=but)


@both
def test_another_seed_changes_what_is_random_alone(people, capsys):
    view, given, before = world(people)
    other = measure_view(view, given, seed=1)
    same(other, before, but=(*DIVIDED, "random", "chance", "largest"))
    for kind in KINDS:  # what is drawn for it is a multivariate t distribution
        np.testing.assert_allclose(other[f"largest_{kind}"], before[f"largest_{kind}"], atol=0.03)
    assert capsys.readouterr().err == ""
    same(measure_view(view, given, seed=1, progress=True), other)
    assert "made, channels" in capsys.readouterr().err
    for name in ("random", "ridge", "cross_k_low", "chance_low"):
        assert not np.array_equal(other[name], before[name], equal_nan=True)


def test_steps_and_categories_change_nothing_else(monkeypatch):
    """Few of the steps are recorded, and all images are of one category."""
    view, given, whole = world("subjects")
    monkeypatch.setattr(records.people, "_STEPS", 4)
    alike = dataclasses.replace(given.images, labels=np.zeros(N, dtype=int))
    found = measure_view(view, dataclasses.replace(given, images=alike), seed=3)
    assert np.isnan(found["categories"]).all()
    assert found["k"].tolist() == [2, 5, 8, 10]
    steps = {name: v[..., found["k"] - 1] for name, v in whole.items() if v.shape[-1:] == (F,)}
    assert len(steps) == 2 * len(KINDS) + 5
    same(found, whole | steps, but=["categories"])


def test_a_dead_feature_changes_only_what_it_must():
    """It comes last, or first among what is recorded; cosines stay, and correlations of all do not."""
    view, given, before = world("subjects")
    nothing = np.zeros((N, 1))
    more = dataclasses.replace(
        view,
        embedding=np.hstack([view.embedding, nothing]),
        silent=np.hstack([view.silent, nothing + 36]).astype(int),
    )
    after = measure_view(more, given, seed=3)
    for name in ("low", "low_cosine", "mean", "sd", "entropy", "n_images_low", "n_images_low_cosine"):
        np.testing.assert_allclose(after[name][:F], before[name], atol=1e-9)
    assert abs(after["low"][F] - before["low"][-1]) > 1e-3
    assert after["low_cosine"][F] == pytest.approx(before["low_cosine"][-1], abs=1e-9)
    np.testing.assert_allclose(after["high_cosine"][1:], before["high_cosine"], atol=1e-9)
    assert np.isnan(after["high_cosine"][0])
    for kind, later in (("low_cosine", 0), ("high_cosine", 1)):
        np.testing.assert_allclose(after[f"best_{kind}"], before[f"best_{kind}"] + [later, 0], atol=1e-9)
        for name in ("cross", "subjects"):
            np.testing.assert_allclose(after[f"{name}_{kind}"], before[f"{name}_{kind}"], atol=1e-9)
            np.testing.assert_array_equal(after[f"{name}_k_{kind}"], before[f"{name}_k_{kind}"] + later)
    assert (after["dead"], after["tied"], before["tied"]) == (2 / 11, 2, 0)
    for name in ("ceiling", "ceiling_mean"):
        np.testing.assert_array_equal(after[name], before[name])


# --- worlds in which the answer is known -----------------------------------------------------------


@pytest.mark.parametrize("seen", ["low", "high"])
@pytest.mark.parametrize("n_subjects", [0, 6])
def test_people_who_see_some_of_the_features_are_found(seen, n_subjects):
    """They see the five most, or least, frequent of ten; all fire for every image, at some position."""
    rng = np.random.default_rng([n_subjects, len(seen)])
    embedding = np.abs(rng.normal(size=(40, F)))
    silent = rng.binomial(1000, np.linspace(0.05, 0.95, F), size=(40, F))
    exact = pdist(embedding[:, :5] if seen == "low" else embedding[:, 5:], "correlation")
    said = exact + 0.2 * rng.normal(size=(max(n_subjects, 1), len(exact)))
    given = made(40, subjects=said) if n_subjects else made(40, human=said[0])
    found = measure_view(View("channels", embedding, silent, 1000), given)
    blind = {"low": "high", "high": "low"}[seen]
    assert found[f"best_{seen}"][0] == 5
    assert found[f"best_{seen}"][1] > 0.9
    assert found[f"best_{blind}"].tolist() == pytest.approx([F, found["low"][-1]])
    record = prediction(found)
    for name in ("cross", "subjects") if n_subjects else ("cross",):
        gained, nothing = record.test(f"{name}_{seen}"), record.test(f"{name}_{blind}")
        assert gained["low"] > 0.1
        assert gained["p"] < 0.01
        assert gained["low"] < gained["estimate"] < gained["high"]
        assert (found[f"{name}_k_{seen}"] == 5).mean() > 0.8
        assert abs(nothing["estimate"]) < 0.02
    assert (found[f"advance_{seen}"][1, :2] > 0).all()  # at half of the features: the estimate and low
    assert (found[f"advance_{blind}"][1, [0, 2]] < 0).all()
    assert max(found["chance_low"][1], found["chance_high"][1]) < 0.02  # better than by chance, and worse
    assert found[f"naive_{seen}"][0] > 0.1
    assert found[f"naive_{seen}"][1] < 1e-3
    assert np.isnan(found[f"naive_{blind}"]).all()
    # All features: those that nobody sees lose their weight. The five that all see have nothing to gain.
    assert found["ridge_k"].tolist() == [1, 2, 4, 5, 8, 10]  # round(.05 × 10) = 0 becomes 1; .1 × 10 too
    assert found["weights"][-1, 1] > 0.05
    assert found["ridge"][-1] - found["plain"][-1] == pytest.approx(found["weights"][-1, 0], abs=0.05)
    half = found["weights"][3]
    assert (found["plain"][3] > 0.8) == (found["ridge"][3] > 0.8) == (seen == "low")
    assert half[1] < 0.02 if seen == "low" else half[1] < 0 < half[2]


def test_people_who_see_nothing_of_it_are_not_found(monkeypatch):
    """By chance alone a test has p < .05 in five of twelve worlds with a probability of 2 · 10⁻⁴."""
    assert stats.binom.sf(4, 12, 0.05) < 2e-4
    monkeypatch.setattr(records.people, "ORDERS", 99)
    wrong = collections.Counter()
    for seed in range(12):
        found = measure_view(channels(np.random.default_rng([seed, 1])), made(seed=seed), seed=seed)
        p = {"weights": found["weights"][-1, 4]}
        for kind in KINDS:
            p |= {f"cross_{kind}": found[f"cross_{kind}"][5]}
            p |= {f"advance_{kind}_{place}": found[f"advance_{kind}"][place, 5] for place in range(3)}
        for kind in ("low", "high"):
            p |= {f"chance_{kind}_{place}": found[f"chance_{kind}"][place] for place in range(3)}
        wrong.update(name for name, value in p.items() if value < 0.05)
    assert max(wrong.values()) <= 4, wrong


# --- little to go by -------------------------------------------------------------------------------


def test_few_features():
    """With three, 20 % of them is one, and 50 and 80 % are two."""
    rng = np.random.default_rng(0)
    embedding = rng.random((N, 3)) + np.eye(3)[0]
    embedding[::4, :2] = embedding[::4, 1::-1]
    # The first two features correlate by 1 or −1: three of four images are alike.
    human = pdist(embedding[:, :2], "correlation") + 0.1 * rng.random(PAIRS)
    given = dataclasses.replace(made(human=human), images=None)
    found = measure_view(View("features", embedding, np.arange(N)[:, None] < [0, 1, 20]), given)
    assert found["k"].tolist() == [1, 2, 3]
    assert found["best_low"][0] == 2
    for name in ("ties", "chance_low", "advance_low"):
        assert np.isnan(found[name][0]).all()
        assert np.isfinite(found[name][1:]).all()
        np.testing.assert_array_equal(found[name][1], found[name][2])
    # Nothing varies in some folds, and without images there are no categories.
    assert np.isnan([found["naive_low"], found["categories"]]).all()


def test_a_peak_of_few_images_is_none():
    """The rarest five features fire for ten of 24 images, of which people say just what these do."""
    embedding = np.random.default_rng(1).random((N, F))
    embedding[10:, :5] = 0
    human = made().human
    inside = np.logical_and.outer(*[np.arange(N) < 10] * 2)[np.triu_indices(N, 1)]
    human[inside] = pdist(embedding[:10, :5], "correlation")
    found = measure_view(View("features", embedding, embedding == 0), made(human=human))
    assert found["n_images_high"][4] == 10
    assert found["high"][4] == pytest.approx(1)
    assert found["best_high"][0] > 5
    assert found["best_high"][1] < 0.9


def test_subjects_with_nothing_in_common_have_no_ceiling():
    """Each judged pairs that nobody else did: their mean is what each says."""
    rng = np.random.default_rng(2)
    subjects = rng.random((2, PAIRS))
    whose = rng.random(PAIRS) < 0.5
    subjects[0, whose] = subjects[1, ~whose] = np.nan
    found = measure_view(world("mean")[0], made(subjects=subjects))
    assert np.isnan([found["ceiling"], found["ceiling_mean"]]).all()
    assert np.isfinite(found["subjects_low"]).all()


def test_a_subject_with_too_few_pairs_is_not_taken_to_vary():
    """One who judged the first five images only: the mean over people is still tested."""
    view, given, _ = world("subjects")
    few = np.full((N, N), np.nan)
    few[:5, :5] = rdm.square(given.subjects[1])[:5, :5]
    some = made(subjects=np.stack([given.subjects[0], rdm.condensed(few), given.subjects[2]]))
    with pytest.warns(RarefireWarning, match="made: D is undefined in .* subject judged no two of them"):
        found = measure_view(view, some, seed=3)
    mean = measure_view(view, made(human=some.human), seed=3)
    same(found, mean, but=["ceiling"])


def test_judgments_of_other_images_or_too_few_are_refused():
    view, given, _ = world("mean")
    with pytest.raises(InputError, match="the view has 24 images, the judgments 25"):
        measure_view(view, made(25))
    few = View("features", view.embedding[:23], view.silent[:23])
    with pytest.raises(InputError, match="at least 24 judged images are needed; got 23"):
        measure_view(few, given.subset(np.arange(23)))


# --- one prediction --------------------------------------------------------------------------------


def prediction(arrays, source="cache", **facts):
    facts = {"judgments": "made", "network": "Net", "view": "channels"} | facts
    return Prediction((store.Answer(arrays, store.provenance("prediction", facts), source),))


def test_curves_with_the_mean_become_those_with_single_subjects():
    """The mean over subjects of r(model, subject) is r(model, human) × to_subjects, at every k."""
    view, given, arrays = world("subjects")
    found = prediction(arrays)
    single = [
        np.mean([r_of(view.embedding[:, ranked(view)[:k]], own) for own in given.subjects])
        for k in range(2, F + 1)
    ]
    np.testing.assert_allclose(found["low"][1:] * found.to_subjects, single)
    assert found.to_subjects < 0.95
    assert found.has_subjects
    # The tests are on the same scale as the curves, whoever was taken to vary.
    table = records.people.beforehand([found], kinds=["low"])
    np.testing.assert_allclose(table["r_all"], found.r("low")[-1])
    np.testing.assert_allclose(table["r_kept"], found.r("low")[np.array(AT) - 1])
    images, subjects = found.test("cross_low"), found.test("subjects_low")
    assert subjects["r_all"] == pytest.approx(images["r_all"], abs=0.05)  # in parts of the images
    assert prediction(world("mean")[2]).to_subjects == 1


def test_the_table_holds_every_curve():
    found = prediction(world("mean")[2])
    table = found.table()
    assert table.columns.tolist() == ["view", "k", *KINDS, "mean", "sd", "entropy"]
    assert set(table.pop("view")) == {"channels"}
    assert table.pop("k").tolist() == list(range(1, F + 1))
    for name in table:
        np.testing.assert_array_equal(table[name], found.r(name))


def test_what_a_prediction_says_of_itself():
    """Ten steps of a hundred features; in the first two, few images have a similarity."""
    arrays = {
        "k": np.arange(10, 101, 10),
        "low": np.arange(10) / 10,
        "n_images_low": np.array([4, 9, 10, 15, 20, 20, 20, 20, 20, 20]),
        "mean": np.arange(10) / 20,
        "best_low": np.array([37.0, 0.95]),
        "cross_low": np.arange(8.0),
        "subjects_low": np.arange(8.0),
        "ceiling": np.array([0.3, 0.5]),
    }
    found = prediction(arrays, "computed", judgments="mur", network="Net 1", view="pooled")
    assert (found.judgments, found.network, found.view, found.n_features) == ("mur", "Net 1", "pooled", 100)
    np.testing.assert_allclose(found.fraction, np.arange(1, 11) / 10)
    np.testing.assert_array_equal(found.r("low"), [np.nan, np.nan, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])
    np.testing.assert_array_equal(found.r("low", least=0.2), np.arange(10) / 10)
    np.testing.assert_array_equal(found.r("low", least=0.6)[:4], [np.nan, np.nan, np.nan, 0.3])
    np.testing.assert_array_equal(found.k, arrays["k"])
    np.testing.assert_array_equal(found.r("mean"), found.mean)
    assert found.at("low", 0.52) == 0.4
    assert found.at("mean", 0.97) == 0.45
    assert np.isnan(found.at("low", 0.1))
    assert found.peak("low") == (0.37, 0.95)
    names = ["estimate", "low", "high", "se", "df", "p", "r_kept", "r_all"]
    assert found.test("cross_low") == dict(zip(names, range(8), strict=True))
    # From r averaged over subjects to r with their mean: divided by .5, but for df and p.
    assert found.test("subjects_low") == dict(zip(names, (0, 2, 4, 6, 4, 5, 12, 14), strict=True))
    assert found.has_subjects
    assert not prediction(arrays | {"subjects_low": np.full(8, np.nan)}).has_subjects
    assert not found.recorded


def one(name, p_cross, p_subjects, p_largest, *, people):
    """A prediction with known tests."""

    def test(p):
        return np.array([0.1, 0.0, 0.2, 0.05, 20, p, 0.6, 0.5])

    arrays = {"k": np.array([5, 10]), "ceiling": np.full(2, 0.5 if people else np.nan)}
    for kind, own in (("low", 0), ("high", 1)):
        arrays |= {
            f"cross_{kind}": test(p_cross[own]),
            f"cross_k_{kind}": np.array([[3, 4], [5, 8]]),
            f"best_{kind}": np.array([7 + own, 0.8]),
            kind: np.array([0.7, 0.5 + own / 10]),
            f"naive_{kind}": np.array([0.2, 0.001 + own]),
            f"advance_{kind}": np.stack([test(p) for p in (0.2 + own / 100, 0.01, 0.4)]),
            f"largest_{kind}": np.array([p_largest[own], 6, 0.1, 0.04]),
            f"chance_{kind}": np.array([0.02, 0.5, 0.04 + own / 100]),
            f"subjects_{kind}": test(p_subjects[own]) if people else np.full(8, np.nan),
        }
    arrays["weights"] = np.array([[np.nan] * 5, [0.3, 0.1, 0.5, 0.1, p_cross[0]]])
    return prediction(arrays, judgments=name, view="pooled")


FAMILY = (
    one("with", (0.9, 0.9), (0.5, 0.6), (0.01, 0.02), people=True),
    one("without", (0.3, 0.12), None, (0.03, 0.012), people=False),
)


def test_verdicts_are_over_subjects_where_there_are_some_and_adjusted_over_all():
    table = records.people.verdicts(FAMILY)
    assert table["judgments"].tolist() == ["with", "with", "without", "without"]
    assert table["kind"].tolist() == ["low", "high", "low", "high"]
    assert table["p"].tolist() == [0.01, 0.02, 0.03, 0.012]
    # Sorted .01 .012 .02 .03, times 4 3 2 1, made monotone.
    np.testing.assert_allclose(table["holm"], [0.04, 0.04, 0.04, 0.04])
    assert table["k"].tolist() == [4.5] * 4  # the median choice for the mean over people
    assert table["peak"].tolist() == [7, 8, 7, 8]
    np.testing.assert_allclose(table["gain"], [0.3, 0.2, 0.3, 0.2])
    assert table["naive p"].tolist() == [0.001, 1.001, 0.001, 1.001]
    assert table["at"].tolist() == [6] * 4
    assert table["chosen p"].tolist() == [0.5, 0.6, 0.3, 0.12]
    # With subjects: their mean r, .5 of what it is with their mean.
    assert table[["D", "low"]].to_numpy().tolist() == [[0.2, 0.08]] * 2 + [[0.1, 0.04]] * 2
    ends = table[["chosen D", "chosen low", "chosen high"]].to_numpy().tolist()
    assert ends == [[0.2, 0, 0.4]] * 2 + [[0.1, 0, 0.2]] * 2
    names = "judgments network view kind peak gain naive-p p at D low k"
    names += " chosen-D chosen-low chosen-high chosen-p holm"
    assert table.columns.tolist() == [name.replace("-", " ") for name in names.split()]
    assert records.people.improved(table).all()
    assert records.people.improved(table, naive=True).tolist() == [True, False, True, False]
    assert (set(table["network"]), set(table["view"])) == ({"Net"}, {"pooled"})
    only = records.people.verdicts(FAMILY, kinds=["high"])
    np.testing.assert_allclose(only["holm"], [0.024, 0.024])


def test_what_was_decided_beforehand_is_a_family_of_its_own():
    table = records.people.beforehand(FAMILY)
    assert table["share"].tolist() == [0.2, 0.5, 0.8] * 4
    assert table["kind"].tolist() == (["low"] * 3 + ["high"] * 3) * 2
    np.testing.assert_allclose(table["p"][:6], [0.2, 0.01, 0.4, 0.21, 0.01, 0.4])
    np.testing.assert_allclose(table["chance"][:6], [0.02, 0.5, 0.04, 0.02, 0.5, 0.05])
    np.testing.assert_array_equal(table["holm"], inference.holm(table["p"].to_numpy()))
    np.testing.assert_array_equal(table["chance holm"], inference.holm(table["chance"].to_numpy()))
    assert table["holm"][1] == pytest.approx(0.12)  # the smallest of twelve
    assert set(COLUMNS) < set(table.columns)
    np.testing.assert_allclose(table["estimate"], [0.2] * 6 + [0.1] * 6)
    numbers = table[["low", "high", "se", "r_kept", "r_all"]]
    np.testing.assert_allclose(numbers.iloc[[0, 6]], [[0, 0.4, 0.1, 1.2, 1], [0, 0.2, 0.05, 0.6, 0.5]])
    assert set(table["df"]) == {20}


def test_what_weights_add_is_of_all_features():
    table = records.people.weights(FAMILY)
    assert table.columns.tolist() == ["view", "D", "low", "high", "se", "p", "holm"]
    np.testing.assert_allclose(table["p"], [0.9, 0.3])
    np.testing.assert_allclose(table["holm"], [0.9, 0.6])
    np.testing.assert_allclose(table[["D", "low", "high", "se"]], [[0.3, 0.1, 0.5, 0.1]] * 2)


# --- measure, ship, known --------------------------------------------------------------------------


def planted(scale=1.0):
    """Six channels of a 2 × 2 convolution: the three colours, always active, and what one has more of."""
    mixed = [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, -1, 0], [0, 1, -1], [-1, 0, 1]]
    network = nn.Sequential(
        nn.Conv2d(3, 6, 2, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 2)
    )
    with torch.no_grad():
        network[0].weight.copy_(scale * torch.tensor(mixed)[:, :, None, None] / 4)
        network[0].bias.zero_()
        network[4].weight.fill_(1)
        network[4].bias.zero_()
    return network.eval()


def sources(found):
    return {answer.source for p in found for answer in p.answers}


def test_what_is_not_known_is_computed_and_nothing_else(own_cache, monkeypatch):
    given, calls = made(), []

    def light(view, given, *, seed, progress, kept):
        """The views are real; of the measurement only how often it is made matters here."""
        calls.append((view.name, seed))
        return {"k": np.arange(1, view.embedding.shape[1] + 1), "poz": view.poz}

    monkeypatch.setattr(records.people, "measure_view", light)
    options = {"name": "Small", "layer": "1", "progress": False}
    first = records.people.measure(given, planted(), **options)
    assert [p.view for p in first] == ["pooled", "channels", "positions"]
    assert [p.n_features for p in first] == [6, 6, 24]
    assert sources(first) == {"computed"}
    for found, expected in zip(first, embeddings.views(planted(), given.images, layer="1"), strict=True):
        np.testing.assert_array_equal(found["poz"], expected.poz)
    again = records.people.measure(given, planted(), **options)
    assert sources(again) == {"cache"}
    assert calls == [("pooled", 0), ("channels", 0), ("positions", 0)]
    np.testing.assert_array_equal(again[2]["poz"], first[2]["poz"])
    facts = again[0].facts
    assert (facts["judgments"], facts["network"], facts["layer"], facts["seed"]) == ("made", "Small", "1", 0)
    pixels = given.images.images
    for changed, network, more in (
        (given, planted(), {"seed": 1}),
        (given, planted(2.0), {}),
        (given, planted(), {"layer": "3"}),
        (made(pixels=pixels, human=given.human[::-1].copy()), planted(), {}),
        (made(pixels=pixels[::-1].copy(), human=given.human), planted(), {}),
    ):
        found = records.people.measure(changed, network, **{**options, **more})
        assert sources(found) == {"computed"}
        assert len(found) == (1 if "layer" in more else 3)


def test_what_is_shipped_is_found(own_cache, tmp_path, monkeypatch):
    """People see the colours and the first of the differences between them."""
    rng = np.random.default_rng(3)
    pixels = (rng.random((N, 3, 1, 1)) + 0.1 + 0.05 * rng.random((N, 3, 4, 4))).astype(np.float32)
    features = embeddings.extract(planted(), pixels, layer="3")
    assert (poz.poz(features)[:3] == 0).all()
    assert (poz.poz(features)[3:] > 0.2).all()
    given, network = made(pixels=pixels, human=rdm.rdm(features[:, :4]) + 0.1 * rng.random(PAIRS)), planted()
    found = records.people.measure(given, network, name="Small", layer="3", progress=False)
    assert (found[0]["cross_k_low"] >= 3).all()
    assert records.people.known("made") == []
    excerpt = records.people.excerpt(given, network, name="Small", layer="1")
    monkeypatch.setattr(store, "data_dir", lambda: tmp_path / "data")
    path = tmp_path / "data" / "results" / "made-small.npz"
    assert records.people.ship(found, path, excerpt=excerpt) == path
    assert sorted(p.name for p in path.parent.iterdir()) == ["made-small-sample.npz", "made-small.npz"]
    monkeypatch.setenv("RAREFIRE_CACHE", str(tmp_path / "empty"))
    (shipped,) = records.people.known("made")
    assert (shipped.judgments, shipped.network, shipped.view) == ("made", "Small", "features")
    assert shipped.recorded
    assert records.source(shipped).startswith("Source: Small on made (recorded run); rarefire ")
    assert records.source(*found).startswith("Source: Small on made (computed on this machine); rarefire ")
    same(shipped.arrays, found[0].arrays)
    assert sources(records.people.measure(given, network, name="Small", layer="3", progress=False)) == {
        "shipped"
    }
    assert records.people.known("mur") == []
    # The excerpt, by its name and again through its facts.
    known = records.people.known_excerpt("made")
    assert known.recorded
    expected = embeddings.views(network, given.images, layer="1")[0].embedding
    for record in (excerpt, known, records.people.excerpt(given, network, name="Small", layer="1")):
        assert record["embedding"].dtype == np.float16
        np.testing.assert_allclose(record["embedding"], expected, rtol=1e-3, atol=1e-6)
        assert record["labels"].tolist() == [0, 1] * 12
        assert record["categories"].tolist() == ["a", "b"]
    assert records.people.known_excerpt("mur") is None
    assert not (tmp_path / "empty").exists()
    # A second network, and numbers of an earlier measurement.
    other = prediction(found[0].arrays, network="Other", **VERSIONS["prediction"])
    records.people.ship([*found, other], path, excerpt=excerpt)
    assert [p.network for p in records.people.known("made")] in (["Small"], ["Other"])
    monkeypatch.setitem(VERSIONS, "prediction", {"version": -1})
    assert records.people.known("made") == []


def test_judgments_without_images_are_refused(own_cache):
    given = dataclasses.replace(made(), name="bare", images=None)
    for call in (records.people.measure, records.people.excerpt):
        with pytest.raises(InputError, match="the images of 'bare' are not at hand; a network needs them"):
            call(given, planted(), name="Small")
    assert list(own_cache.rglob("*")) == []


# --- VGG-19 ----------------------------------------------------------------------------------------


@pytest.mark.long
def test_vgg19_from_pixels_to_verdicts(own_cache, monkeypatch, tmp_path):
    """The paper's network, with random weights and no connection: 4,096 features after its last ReLU."""

    def refuse(*_, **__):
        raise OSError("no network in this test")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))  # no weights from an earlier download
    quick = {"ORDERS": 2, "BAND": 2, "_TIES": 2, "_TESTED": 20, "_STEPS": 64, "RIDGE_SHARES": (1.0,)}
    for name, value in quick.items():
        monkeypatch.setattr(records.people, name, value)
    light = functools.partial(records.people.reweighted, repeats=1, alphas=(0.1, 10.0))
    monkeypatch.setattr(records.people, "reweighted", light)
    network = networks.build("vgg19", input_shape=(3, 224, 224))
    named = dict(network.named_modules())
    assert isinstance(named["classifier.4"], nn.ReLU)
    assert (named["classifier.6"].in_features, named["classifier.6"].out_features) == (4096, 1000)
    rng = np.random.default_rng(1)
    coarse = rng.random((N, 3, 7, 7), dtype=np.float32)
    pixels = np.repeat(np.repeat(coarse[:2], 32, axis=2), 32, axis=3)

    two = embeddings.extract(network, pixels)
    assert two.shape == (2, 4096)
    for layer in ("classifier.3", "classifier.4"):  # before the last ReLU, which works in place, and after
        one = embeddings.extract(network, pixels[:1], layer=layer)
        assert (one.min() < 0) == (layer == "classifier.3")
        np.testing.assert_allclose(np.maximum(one, 0), two[:1], atol=1e-5)
    assert 0.1 < np.mean(two == 0) < 0.9

    # Smaller ones, which it spreads over the same 7 × 7 positions.
    pixels = np.repeat(np.repeat(coarse, 5, axis=2), 5, axis=3)
    given = made(pixels=pixels, subjects=rng.random((3, PAIRS)))
    (found,) = records.people.measure(given, network, name="VGG-19", progress=False)
    assert (found.view, found.n_features, sources([found])) == ("features", 4096, {"computed"})
    assert found.r("low").shape == (64,)
    assert found.r("low")[-1] == pytest.approx(found.r("high")[-1], abs=1e-9)
    assert np.isfinite(found.test("subjects_low")["p"])
    assert found["poz"][0] < found["poz"][-1] == 1
    assert records.people.verdicts([found])["holm"].between(0, 1).all()
    monkeypatch.setattr(embeddings, "views", None)  # nothing is embedded again
    (again,) = records.people.measure(given, network, name="VGG-19", progress=False)
    assert sources([again]) == {"cache"}
    np.testing.assert_array_equal(again.r("low"), found.r("low"))
    assert not list((tmp_path / "torch").rglob("*.pth"))


# --- Mur et al., from the raw data -----------------------------------------------------------------


def test_squeezenet_predicts_people_as_it_is_known_to(objects, mirror):
    given, network, (pooled, channels, positions) = objects
    # Some of the images, without the package: resized by Pillow, scaled as torchvision's weights want it.
    folder = mirror / "mur92"
    pictures = loadmat(folder / "Kriegeskorte_Neuron2008_supplementalData.mat")["stimuli_92objs"][0]
    some = [0, 17, 40, 91]
    small = [
        Image.fromarray(pictures[i]["image"]).resize((227, 227), Image.Resampling.BILINEAR) for i in some
    ]
    pixels = torch.from_numpy(np.stack([np.asarray(image) for image in small])).permute(0, 3, 1, 2) / 255
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.inference_mode():
        maps = network.features((pixels - mean[:, None, None]) / std[:, None, None])
    np.testing.assert_allclose(pooled.embedding[some], maps.mean(dim=(2, 3)), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(positions.embedding[some], maps.flatten(1), rtol=1e-2, atol=1e-2)
    np.testing.assert_array_equal(pooled.embedding, channels.embedding)
    assert positions.embedding.shape == (92, 512 * 13 * 13)
    people = [
        p["RDM"][np.triu_indices(92, 1)] for p in loadmat(folder / "92_behavRDMs.mat")["rdms_behav_92"][0]
    ]
    r = r_of(pooled.embedding, stats.zscore(people, axis=1).mean(axis=0))
    assert r == pytest.approx(0.541, abs=0.001)
    assert r_of(pooled.embedding, given.human) == pytest.approx(r, abs=1e-4)
    assert given.subject_ceiling.low == pytest.approx(0.57, abs=0.005)


def test_shipped_predictions_are_found_without_data(own_cache):
    found = records.people.known("mur")
    assert [p.view for p in found] == ["pooled", "channels", "positions"]
    assert [p.n_features for p in found] == [512, 512, 512 * 13 * 13]
    names = FIELDS.keys() | {name for kind in KINDS for name in names_of(kind)}
    for one in found:
        assert one.recorded
        assert one.arrays.keys() == names
        assert one.facts["layer"] == "features"
        for kind in KINDS:
            assert one.peak(kind)[1] >= np.nanmax(one.r(kind)) - 1e-6
            assert one.r(kind)[-1] == pytest.approx(one.r(kind.replace("low", "high"))[-1], abs=1e-6)
        assert one.has_subjects
        assert one.test("subjects_low")["r_all"] == pytest.approx(one.test("cross_low")["r_all"], abs=0.01)
        assert (one.ties[:, 0] <= one.ties[:, 1]).all()
        assert np.isfinite(one.weights).all()
        np.testing.assert_allclose(one.weights[:, 0], one.ridge - one.plain, atol=0.05)
    table = records.people.verdicts(found)
    assert len(table) == 6
    assert table["p"].between(0, 1).all()
    np.testing.assert_allclose(
        records.people.beforehand(found)["r_all"], np.repeat([f.r("low")[-1] for f in found], 6), rtol=1e-4
    )
    assert list(own_cache.rglob("*")) == []


def test_shipped_predictions_are_what_raw_data_give(objects):
    given, _, all_views = objects
    for view, shipped in zip(all_views, records.people.known("mur"), strict=True):
        assert shipped.view == view.name
        x, human, k = view.embedding, given.human, shipped.k.tolist()
        for kind in ("low", "high") if view.name == "positions" else KINDS:
            first, metric = KINDS[kind]
            order = poz.order(view.poz, first=first)
            whole = curves.rdm_curve(x, human, order, metric=metric, k=k)
            np.testing.assert_allclose(shipped[kind], whole.r, atol=1e-3, err_msg=f"{view.name} {kind}")
            np.testing.assert_allclose(shipped[f"n_images_{kind}"], whole.n_images, atol=1)
            best, r = shipped[f"best_{kind}"]
            peak = curves.rdm_curve(x, human, order, metric=metric, k=[int(best)]).r[0]
            assert peak == pytest.approx(r, abs=1e-3)
        np.testing.assert_allclose(shipped.poz, np.quantile(view.poz, np.linspace(0, 1, 21)), atol=1e-3)
        assert shipped.ceiling.tolist() == pytest.approx(
            [given.subject_ceiling.low, given.subject_ceiling.high], abs=1e-5
        )
        _, counts = np.unique(view.silent.sum(axis=0), return_counts=True)
        assert abs(shipped.tied - counts[counts > 1].sum()) <= 0.01 * view.embedding.shape[1]
    # With fewer samples than were recorded: the same but for chance.
    pooled, shipped = all_views[0], records.people.known("mur")[0]
    options = {"k": round(0.2 * 512), "method": "subjects-and-images", "n_boot": 200}
    test = inference.change_of_prediction(
        pooled.embedding, given.subjects, poz.order(pooled.poz), rng=np.random.default_rng(0), **options
    )
    recorded = dict(zip(COLUMNS, shipped["advance_low"][0].tolist(), strict=True))
    for name in ("estimate", "r_kept", "r_all"):
        assert getattr(test, name) == pytest.approx(recorded[name], abs=1e-3), name
    assert test.se == pytest.approx(recorded["se"], rel=0.2)


def test_the_recorded_run_answers_for_the_raw_data(objects, own_cache):
    """Nothing is computed where judgments, images and weights are those of the recorded run."""
    given, network, _ = objects
    (name,) = {p.network for p in records.people.known("mur")}
    options = {"name": name, "layer": "features"}
    asked = [*records.people.measure(given, network, progress=False, **options)]
    assert len(asked) == 3
    assert sources([*asked, records.people.excerpt(given, network, **options)]) == {"shipped"}


# --- features that are there already, and steps ----------------------------------------------------


@pytest.fixture
def few(own_cache, monkeypatch):
    """Few random orders."""
    monkeypatch.setattr(records.people, "ORDERS", 9)
    monkeypatch.setattr(records.people, "BAND", 3)
    monkeypatch.setattr(records.people, "_TIES", 3)


def test_an_embedding_is_measured_as_a_layer_is(few):
    """The same numbers as of the network whose features they are; other features are another question."""
    given = made()
    features = embeddings.extract(planted(), given.images, layer="3")
    (of_network,) = records.people.measure(given, planted(), name="Small", layer="3", progress=False)
    alone = dataclasses.replace(given, images=None)
    (found,) = records.people.measure_embedding(alone, features, name="E.npy", progress=False)
    same(found.arrays, of_network.arrays, but=["categories"])
    assert (found.network, found.view) == ("E.npy", "features")
    (again,) = records.people.measure_embedding(alone, features, name="E.npy", progress=False)
    (other,) = records.people.measure_embedding(alone, features[:, ::-1], name="E.npy", progress=False)
    assert (sources([again]), sources([other])) == ({"cache"}, {"computed"})
    with pytest.raises(InputError, match="of the activations are negative"):
        records.people.measure_embedding(alone, features - 1, name="E.npy")
    with pytest.raises(InputError, match="the view has 23 images, the judgments 24"):
        records.people.measure_embedding(alone, features[1:], name="E.npy", progress=False)


def test_each_step_is_kept_and_nothing_is_computed_twice(few, monkeypatch):
    """Interrupted in the last step but two; after that only what is left is computed."""
    given = made(human=np.random.default_rng(2).random(PAIRS))
    features = embeddings.extract(planted(), given.images, layer="3")
    (whole,) = records.people.measure_embedding(given, features, name="whole", progress=False)
    computed, ceilings = [], records.people._ceilings
    for name in ("_curve", "_chosen", "_in_advance", "_other_orders", "_reweighted", "_silence"):
        step = getattr(records.people, name)

        @functools.wraps(step)
        def counted(*given, step=step):
            computed.append(step.__name__)
            return step(*given)

        monkeypatch.setattr(records.people, name, counted)

    @functools.wraps(ceilings)
    def stopped(asked):
        raise KeyboardInterrupt

    monkeypatch.setattr(records.people, "_ceilings", stopped)
    with pytest.raises(KeyboardInterrupt):
        records.people.measure_embedding(given, features, name="E.npy", progress=False)
    each = ("_curve", "_chosen", "_in_advance")
    assert collections.Counter(computed) == {**dict.fromkeys(each, 4), "_other_orders": 1, "_reweighted": 1}
    monkeypatch.setattr(records.people, "_ceilings", ceilings)
    (found,) = records.people.measure_embedding(given, features, name="E.npy", progress=False)
    assert computed[14:] == ["_silence"]
    for name, values in whole.arrays.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)
    kept = {store._read(path)[1]["question"] for path in (store.cache_dir() / "results").glob("*.npz")}
    assert kept == {"prediction"}
