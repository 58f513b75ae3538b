"""What is measured of a network beside people: views by hand, every number against its function, VGG-19."""

import collections
import dataclasses
import functools
import itertools
import socket

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import loadmat
from torch import nn

from rarefire import (
    curves,
    embeddings,
    inference,
    naive,
    networks,
    poz,
    rdm,
    records,
    reweighting,
    selection,
    simulations,
    stimuli,
    store,
)
from rarefire.embeddings import View
from rarefire.errors import DataError, InputError, RarefireWarning
from rarefire.judgments import Judgments
from rarefire.records.people import Prediction

N, F = 24, 10
QUICK = {"ORDERS": 19, "BAND": 5, "_TIES": 3, "_N_BOOT": 20, "RIDGE_SHARES": (1.0,)}
RIDGE_SHARES = records.people.RIDGE_SHARES


def images_of(pixels):
    n = len(pixels)
    return stimuli.Stimuli("made", "test", pixels, np.arange(n) % 2, ("a", "b"), "made")


def made(pixels, *, name="made", subjects=None, human=None, rng=None):
    """Judgments of made images; by default as chance has it."""
    if subjects is not None:  # of one scale each
        scaled = [(s - np.nanmean(s)) / np.nanstd(s) for s in subjects]
        human = np.nansum(scaled, axis=0) / np.isfinite(scaled).sum(axis=0)
    elif human is None:
        human = rng.random(len(pixels) * (len(pixels) - 1) // 2)
    names = tuple(f"i{i}" for i in range(len(pixels)))
    return Judgments(name, human, subjects, None, None, images_of(pixels), names, "c", "l", "s")


@pytest.fixture
def quick(monkeypatch):
    for name, value in QUICK.items():
        monkeypatch.setattr(records.people, name, value)
    light = functools.partial(reweighting.reweighted, repeats=1, alphas=(0.1, 10.0))
    monkeypatch.setattr(records.people, "reweighted", light)


@pytest.fixture
def view(rng):
    """Channels averaged over nine positions; two are rare and one is dead."""
    maps = np.maximum(rng.normal(size=(N, F, 3, 3)) - np.linspace(-1, 1.3, F)[:, None, None], 0)
    maps[:, 7] *= rng.random((N, 1, 1)) < 0.3
    maps[:, 4] = 0
    zeros = np.count_nonzero(maps == 0, axis=(2, 3))
    return View("channels", maps.mean(axis=(2, 3)).astype(np.float32), zeros, 9)


@pytest.fixture
def given(view, rng):
    """Three subjects who partly see what the first features show."""
    shared = 2 * rdm.rdm(view.embedding[:, :4] + 0.05)
    return made(
        rng.random((N, 3, 4, 4)).astype(np.float32),
        subjects=(shared + rng.normal(size=(3, len(shared))) * 0.7) * [[1], [20], [3]],
    )


# --- views -----------------------------------------------------------------------------------------


def conv():
    """Two channels of a 1 × 1 convolution, the pixel less .5 and .25 less the pixel, and a classifier."""
    net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU(), nn.Conv2d(2, 3, 1), nn.AdaptiveAvgPool2d(1))
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([1.0, -1.0]).view(2, 1, 1, 1))
        net[0].bias.copy_(torch.tensor([-0.5, 0.25]))
    return net.eval()


PIXELS = np.array(
    [[[0.0, 0.25], [0.75, 1.0]], [[0.5, 0.5], [0.25, 0.5]], [[1.0, 1.0], [1.0, 0.0]]], dtype=np.float32
)[:, None]


@pytest.mark.parametrize("layer", ["penultimate", "1"])
def test_views_of_a_convolution_by_hand(layer):
    pooled, channels, positions = embeddings.views(conv(), PIXELS, layer=layer, batch_size=2)
    assert [v.name for v in (pooled, channels, positions)] == ["pooled", "channels", "positions"]
    expected = [[0.75 / 4, 0.25 / 4], [0, 0], [1.5 / 4, 0.25 / 4]]
    for found in (pooled, channels):
        np.testing.assert_allclose(found.embedding, expected, atol=1e-7)
    np.testing.assert_allclose(pooled.poz, [1 / 3, 1 / 3])
    assert pooled.silent.tolist() == [[False, False], [True, True], [False, False]]
    # Of four positions of each of three images.
    assert channels.silent.tolist() == [[2, 3], [4, 4], [1, 3]]
    assert channels.positions == 4
    np.testing.assert_allclose(channels.poz, [7 / 12, 10 / 12])
    flat = [
        [0, 0, 0.25, 0.5, 0.25, 0, 0, 0],
        [0, 0, 0, 0, 0, 0, 0, 0],
        [0.5, 0.5, 0.5, 0, 0, 0, 0, 0.25],
    ]
    np.testing.assert_allclose(positions.embedding, flat, atol=1e-7)
    np.testing.assert_allclose(positions.poz, np.mean(np.array(flat) == 0, axis=0))
    assert (positions.positions, pooled.positions) == (1, 1)


def test_apoz_of_a_view_is_that_of_the_maps():
    network = networks.build("lenet5", input_shape=(1, 28, 28), n_classes=10, mean=(0.1,), std=(0.3,))
    pixels = np.random.default_rng(0).random((6, 1, 28, 28)).astype(np.float32)
    pooled, channels, positions = embeddings.views(network, pixels, layer="relu2")
    maps = embeddings.extract(network, pixels, layer="relu2", spatial="keep")
    np.testing.assert_allclose(channels.poz, poz.poz(maps))
    np.testing.assert_array_equal(pooled.poz, poz.poz(maps.mean(axis=(2, 3))))
    np.testing.assert_array_equal(positions.poz, poz.poz(maps.reshape(6, -1)))
    (features,) = embeddings.views(network, pixels)
    assert features.name == "features"
    expected = embeddings.extract(network, pixels, layer="relu4")
    np.testing.assert_allclose(features.embedding, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(features.silent, features.embedding == 0)
    np.testing.assert_array_equal(features.poz, poz.poz(features.embedding))


def test_a_layer_before_the_relu_is_refused():
    with pytest.raises(InputError, match="of the activations are negative .* Name the ReLU's layer"):
        embeddings.views(conv(), PIXELS, layer="0")
    with pytest.raises(LookupError, match="no layer 'relu'"):
        embeddings.views(conv(), PIXELS, layer="relu")


# --- measure ---------------------------------------------------------------------------------------


def columns(test):
    return pytest.approx([getattr(test, name) for name in records.people.COLUMNS], rel=1e-9)


def test_every_number_is_that_of_its_function(view, given, quick, monkeypatch):
    monkeypatch.setattr(records.people, "RIDGE_SHARES", RIDGE_SHARES)
    light = {"repeats": 2, "alphas": (0.1, 10.0)}
    monkeypatch.setattr(records.people, "reweighted", functools.partial(reweighting.reweighted, **light))
    found = records.people.measure_view(view, given, seed=3)
    x, human = view.embedding.astype(np.float64), given.human
    assert found["k"].tolist() == list(range(1, F + 1))
    orders = {first: poz.order(view.silent.sum(axis=0) / (9 * N), first=first) for first in ("low", "high")}
    assert not np.array_equal(orders["low"], poz.order(poz.poz(x)))  # APoZ is not PoZ of the means
    for kind, first, metric in (
        ("low", "low", "correlation"),
        ("high", "high", "correlation"),
        ("low_cosine", "low", "cosine"),
        ("high_cosine", "high", "cosine"),
    ):
        order = orders[first]
        whole = curves.rdm_curve(x, human, order, metric=metric)
        np.testing.assert_allclose(found[kind], whole.r, rtol=1e-9)
        np.testing.assert_array_equal(found[f"n_images_{kind}"], whole.n_images)
        k = selection.best(whole, n_images=N)
        assert found[f"best_{kind}"].tolist() == pytest.approx([k, whole.r[k - 1]])
        rng = np.random.default_rng([3, 1])
        for name, people in (("cross", human), ("subjects", given.subjects)):
            chosen = selection.cross_fitted(x, people, first, silent=view.silent, rng=rng, metric=metric)
            assert found[f"{name}_{kind}"].tolist() == columns(chosen)
            np.testing.assert_array_equal(found[f"{name}_k_{kind}"], chosen.k)
        for place, share in enumerate((0.2, 0.5, 0.8)):
            arguments = {"k": round(share * F), "method": "subjects-and-images", "metric": metric}
            arguments |= {"n_boot": 20, "rng": np.random.default_rng([3, 7])}
            try:
                expected = columns(inference.change_of_prediction(x, given.subjects, order, **arguments))
            except InputError:  # the rarest two features have no similarity to offer
                assert (first, share) == ("high", 0.2)
                expected = pytest.approx([np.nan] * 8, nan_ok=True)
            assert found[f"advance_{kind}"][place].tolist() == expected
        if metric == "cosine" or k == F:
            assert np.isnan(found[f"naive_{kind}"]).all()
            continue
        sample = simulations.Sample(x[:, order], human, k, (k, F))
        d = naive.differences_over_folds(sample, np.random.default_rng([3, 2]))
        p = naive.paired_t_over_folds(sample, np.random.default_rng([3, 2]))
        assert found[f"naive_{kind}"].tolist() == pytest.approx([d.mean(), p])
    assert np.isfinite(found["naive_low"]).all()
    for by in ("mean", "sd", "entropy"):
        order = poz.order(-poz.statistic(x, by))
        np.testing.assert_allclose(found[by], curves.rdm_curve(x, human, order).r, rtol=1e-9)
    rng = np.random.default_rng([3, 3])
    chance = np.stack([curves.rdm_curve(x, human, rng.permutation(F)).r for _ in range(5)])
    assert np.isnan(found["random"][:, 0]).all()  # one feature has no correlation over features
    np.testing.assert_allclose(
        found["random"][:, 1:], np.nanquantile(chance[:, 1:], [0.05, 0.5, 0.95], axis=0)
    )
    rng = np.random.default_rng([3, 4])  # 19 random orders, the same for both
    null = np.stack([curves.rdm_curve(x, human, rng.permutation(F), k=[2, 5, 8]).r for _ in range(19)])
    n = np.isfinite(null).sum(axis=0)  # the dead channel and another are no order of two
    assert n.tolist()[1:] == [19, 19]
    for first, order in orders.items():
        own = curves.rdm_curve(x, human, order, k=[2, 5, 8]).r
        beyond = np.minimum((null >= own - 1e-12).sum(axis=0), (null <= own + 1e-12).sum(axis=0))
        expected = np.where(np.isfinite(own), np.minimum(1, 2 * (1 + beyond) / (1 + n)), np.nan)
        np.testing.assert_allclose(found[f"chance_{first}"], expected)
    ridge = reweighting.reweighted(
        x, human, orders["low"], k=[1, 2, 4, 5, 8, 10], rng=np.random.default_rng([3, 5]), **light
    )
    assert found["ridge_k"].tolist() == [1, 2, 4, 5, 8, 10]  # round(.05 × 10) = 0 becomes 1; .1 × 10 too
    table = ridge.table()
    np.testing.assert_allclose(found["plain"], table["plain"], rtol=1e-9)
    np.testing.assert_allclose(found["ridge"], table["ridge"], rtol=1e-6)
    assert np.isnan(found["weights"][0]).all()
    np.testing.assert_allclose(found["weights"][:, [0, 1, 2, 4]], table[["D", "low", "high", "p"]], rtol=1e-5)
    np.testing.assert_allclose(found["weights"][:, 3], ridge.gain().se, rtol=1e-5)
    # No two channels are equally active: the order is one.
    assert found["tied"] == 0
    np.testing.assert_allclose(found["ties"], np.stack([found["low"][[1, 4, 7]]] * 2, axis=1), rtol=1e-9)
    i, j = np.triu_indices(N, 1)
    other = (given.images.labels[i] != given.images.labels[j]).astype(float)
    expected = np.corrcoef(other, human)[0, 1], of_residuals(1 - np.corrcoef(x)[i, j], human, other)
    assert found["categories"].tolist() == pytest.approx(expected, abs=1e-6)
    assert found["ceiling"].tolist() == [given.subject_ceiling.low, given.subject_ceiling.high]
    assert found["ceiling_mean"].tolist() == [given.ceiling.low, given.ceiling.high]
    rates = np.sort(view.silent.sum(axis=0) / (9 * N))
    assert found["poz"].shape == (21,)
    np.testing.assert_allclose(found["poz"][[0, 10, 20]], [rates[0], rates[[4, 5]].mean(), rates[-1]])
    assert found["rare"] == np.mean(rates > 0.8)
    assert found["dead"] == 0.1


def of_residuals(a, b, control):
    """R of what a straight line through `control` leaves of two variables."""
    line = np.stack([np.ones(len(control)), control], axis=1)
    left = [v - line @ np.linalg.lstsq(line, v, rcond=None)[0] for v in (a, b)]
    return np.corrcoef(left)[0, 1]


def test_features_with_equal_poz_in_any_order(rng, quick, monkeypatch):
    """The second and third feature are equally active, the fifth to eighth, and two are dead."""
    monkeypatch.setattr(records.people, "_TIES", 9)
    embedding = rng.random((N, F))
    silent = np.arange(N)[:, None] < [1, 3, 3, 4, 7, 7, 7, 7, N, N]
    given = made(rng.random((N, 3, 4, 4)).astype(np.float32), rng=rng)
    found = records.people.measure_view(View("features", embedding, silent), given, seed=2)
    counts = collections.Counter(silent.sum(axis=0).tolist())
    assert found["tied"] == sum(n for n in counts.values() if n > 1) == 8
    draws = np.random.default_rng([2, 6])
    r = []
    for _ in range(9):
        chance = draws.permutation(F)
        order = sorted(range(F), key=lambda f: (silent[:, f].sum(), chance[f]))
        r.append([])
        for k in (2, 5, 8):
            i, j = np.triu_indices(N, 1)
            r[-1].append(np.corrcoef(np.corrcoef(embedding[:, order[:k]])[i, j], -given.human)[0, 1])
    np.testing.assert_allclose(found["ties"], np.quantile(r, [0.05, 0.95], axis=0).T, atol=1e-9)
    assert found["ties"][0, 0] < found["ties"][0, 1]
    assert found["ties"][1, 0] < found["ties"][1, 1]
    # The first eight are the same in every order.
    np.testing.assert_allclose(found["ties"][2], found["low"][7], atol=1e-9)


def test_partial_correlation_is_that_of_residuals(rng):
    control = rng.random(60) < 0.4
    network, human = control + rng.normal(size=60), 2 * control + rng.normal(size=60)
    with_control, given_control = rdm.partial(network, human, control)
    assert with_control == pytest.approx(np.corrcoef(human, control)[0, 1])
    assert given_control == pytest.approx(of_residuals(network, human, control))
    # Pairs that were not judged, or without a similarity, are left out.
    gaps, use = [network.copy(), human.copy()], np.ones(60, dtype=bool)
    gaps[0][[1, 5]] = gaps[1][[5, 30, 31]] = np.nan
    use[[1, 5, 30, 31]] = False
    expected = rdm.partial(network[use], human[use], control[use])
    assert rdm.partial(*gaps, control) == pytest.approx(expected, abs=1e-12)


def test_what_a_partial_correlation_says_of_known_agreements(rng):
    """Two that share nothing but the control; two that share more; and a control without part in it."""
    control, own, a, b = rng.normal(size=(4, 4000))
    r, nothing = rdm.partial(control + 0.3 * a, control + 0.3 * b, control)
    assert r == pytest.approx(1 / np.sqrt(1.09), abs=0.01)
    assert nothing == pytest.approx(0, abs=0.05)
    assert rdm.partial(control + own, control + own, control)[1] == pytest.approx(1)
    assert rdm.partial(control + own, control - own, control)[1] == pytest.approx(-1)
    r, all_of_it = rdm.partial(own + a, own + b, control)
    assert (r, all_of_it) == pytest.approx((0, 0.5), abs=0.05)
    for constant in range(3):
        three = [own[:50], a[:50], control[:50]]
        three[constant] = np.ones(50)
        assert np.isnan(rdm.partial(*three)).all()
    assert np.isnan(rdm.partial(own[:3], a[:3], control[:3])).all()


def test_without_subjects_and_with_gaps(view, rng, quick, capsys):
    human = rng.random(N * (N - 1) // 2)
    human[[3, 50, 100]] = np.nan
    given = made(rng.random((N, 3, 4, 4)).astype(np.float32), human=human)
    found = records.people.measure_view(view, given, progress=True)
    assert "made, channels" in capsys.readouterr().err
    for kind in records.people.KINDS:
        assert found[f"subjects_k_{kind}"].shape == (0, 0)
        assert found[f"subjects_{kind}"].shape == (len(records.people.COLUMNS),)
        assert np.isnan(found[f"subjects_{kind}"]).all()
    order = poz.order(view.poz)
    for place, k in enumerate((2, 5, 8)):
        test = inference.change_of_prediction(view.embedding, human, order, k=k, method="jackknife")
        assert found["advance_low"][place].tolist() == columns(test)
    for name in ("ceiling", "ceiling_mean", "naive_low", "naive_high"):  # folds need every pair
        assert found[name].shape == (2,)
        assert np.isnan(found[name]).all()
    expected = curves.rdm_curve(view.embedding, human, poz.order(view.poz)).r
    np.testing.assert_allclose(found["low"], expected, rtol=1e-9)
    other = records.people.measure_view(view, given, seed=1)
    np.testing.assert_allclose(found["low"], other["low"], rtol=1e-9)
    for name in ("random", "ridge", "cross_k_low"):
        assert not np.array_equal(found[name], other[name], equal_nan=True)


def test_many_features_are_recorded_at_some_steps(rng, quick, monkeypatch):
    monkeypatch.setattr(records.people, "_STEPS", 4)
    embedding = np.maximum(rng.normal(size=(N, F)), 0)
    given = made(rng.random((N, 3, 4, 4)).astype(np.float32), rng=rng)
    alike = dataclasses.replace(given.images, labels=np.zeros(N, dtype=int))
    given = dataclasses.replace(given, images=alike)
    found = records.people.measure_view(View("features", embedding, embedding == 0), given)
    assert found["k"].tolist() == [2, 5, 8, 10]
    assert np.isnan(found["categories"]).all()  # there is one
    order = poz.order(poz.poz(embedding))
    whole = curves.rdm_curve(embedding, given.human, order)
    np.testing.assert_allclose(found["low"], whole.r[[1, 4, 7, 9]], rtol=1e-9)
    expected = np.nanargmax(whole.r) + 1, np.nanmax(whole.r)  # among all k
    assert found["best_low"].tolist() == pytest.approx(expected)
    assert found["random"].shape == (3, 4)


def test_few_features(rng, quick):
    """With three, 20 % of them is one, and 50 and 80 % are two."""
    embedding = np.maximum(rng.normal(size=(N, 3)), 0) + 0.01
    given = dataclasses.replace(made(rng.random((N, 3, 4, 4)).astype(np.float32), rng=rng), images=None)
    found = records.people.measure_view(View("features", embedding, embedding == 0), given)
    assert found["k"].tolist() == [1, 2, 3]
    assert np.isnan(found["categories"]).all()
    assert np.isnan(found["ties"][0]).all()
    np.testing.assert_array_equal(found["ties"][1], found["ties"][2])
    assert found["chance_low"].shape == (3,)
    assert np.isnan(found["chance_low"][0])
    assert found["chance_low"][1] == found["chance_low"][2]
    assert found["advance_low"].shape == (3, len(records.people.COLUMNS))
    assert np.isnan(found["advance_low"][0]).all()
    assert np.isfinite(found["advance_low"][1:]).all()
    # Two features correlate by 1 or −1: in a fold whose images are alike, nothing is to be tested.
    sample = simulations.Sample(embedding[:, poz.order(poz.poz(embedding))], given.human, 2, (2, 3))
    folds = 0
    rng = np.random.default_rng([0, 2])
    for _ in range(8):
        for part in np.array_split(rng.permutation(N), 5):
            folds += len(set(np.sign(np.diff(sample.embedding[part, :2], axis=1)).ravel())) == 1
    assert found["best_low"][0] == 2
    assert np.isnan(found["naive_low"]).all() == (folds > 0)


def test_subjects_with_nothing_in_common_have_no_ceiling(view, rng, quick):
    """Each judged pairs that nobody else did: their mean is what each says."""
    subjects = rng.random((2, N * (N - 1) // 2))
    whose = rng.random(subjects.shape[1]) < 0.5
    subjects[0, whose] = subjects[1, ~whose] = np.nan
    given = made(rng.random((N, 3, 4, 4)).astype(np.float32), subjects=subjects)
    found = records.people.measure_view(view, given)
    assert np.isnan([found["ceiling"], found["ceiling_mean"]]).all()
    assert np.isfinite(found["subjects_low"]).all()


def test_a_subject_with_too_few_pairs_is_not_taken_to_vary(view, given, quick):
    """One who judged the first five images only: the mean over people is still tested."""
    few = np.full((N, N), np.nan)
    few[:5, :5] = rdm.square(given.subjects[1])[:5, :5]
    subjects = given.subjects.copy()
    subjects[1] = rdm.condensed(few)
    some = made(given.images.images, subjects=subjects)
    with pytest.warns(RarefireWarning, match="made: D is undefined in .* subject judged no two of them"):
        found = records.people.measure_view(view, some)
    assert np.isnan(found["subjects_low"]).all()
    assert found["subjects_k_low"].shape == (0, 0)
    assert np.isfinite(found["cross_low"]).all()
    rng = np.random.default_rng([0, 1])
    alone = selection.cross_fitted(view.embedding, some.human, "low", silent=view.silent, rng=rng)
    assert found["cross_low"].tolist() == columns(alone)


def test_judgments_of_other_images_or_too_few_are_refused(view, rng):
    given = made(rng.random((N + 1, 3, 4, 4)).astype(np.float32), rng=rng)
    with pytest.raises(InputError, match="the view has 24 images, the judgments 25"):
        records.people.measure_view(view, given)
    few = View("features", view.embedding[:23], view.silent[:23])
    with pytest.raises(InputError, match="at least 24 judged images are needed; got 23"):
        records.people.measure_view(few, given.subset(np.arange(23)))


# --- one prediction --------------------------------------------------------------------------------


@pytest.fixture
def measured(view, given, quick):
    facts = {"judgments": "made", "network": "Net", "view": "channels"}
    return Prediction(
        store.Answer(records.people.measure_view(view, given), store.provenance("prediction", facts), "cache")
    )


def test_curves_with_the_mean_become_those_with_single_subjects(measured, view, given):
    """The mean over subjects of r(model, subject) is r(model, human) × to_subjects, at every k."""
    order = poz.order(view.poz)
    people = measured.r("low", least=0) * measured.to_subjects
    for k in range(2, F + 1):
        model = []
        for i, j in itertools.combinations(range(N), 2):
            a, b = view.embedding[[i, j]][:, order[:k]].astype(np.float64)
            model.append(1 - np.corrcoef(a, b)[0, 1] if np.ptp(a) and np.ptp(b) else np.nan)
        if np.isnan(model).any():
            continue
        single = np.mean([np.corrcoef(model, s)[0, 1] for s in given.subjects])
        mean = np.corrcoef(model, given.human)[0, 1]
        assert single == pytest.approx(mean * measured.to_subjects, abs=1e-12)
        assert people[k - 1] == pytest.approx(single, abs=1e-6)
    assert np.isfinite(people).sum() > 5
    assert measured.to_subjects < 0.95
    # The tests are on the same scale as the curves, whoever was taken to vary.
    table = records.people.beforehand([measured], kinds=["low"])
    whole = measured.r("low", least=0)
    np.testing.assert_allclose(table["r_all"], whole[-1], rtol=1e-6)
    np.testing.assert_allclose(table["r_kept"], whole[[1, 4, 7]], rtol=1e-6)
    np.testing.assert_allclose(table["estimate"], whole[[1, 4, 7]] - whole[-1], atol=1e-6)
    images, both = measured.test("cross_low"), measured.test("subjects_low")
    assert both["r_all"] == pytest.approx(images["r_all"], abs=0.05)  # in parts of the images
    assert measured["subjects_low"][-1] < 0.9 * images["r_all"]
    assert measured.has_subjects
    table = measured.table()
    assert table.columns.tolist() == ["view", "k", *records.people.KINDS, "mean", "sd", "entropy"]
    assert set(table["view"]) == {"channels"}
    assert table["k"].tolist() == list(range(1, F + 1))
    for name in ("high_cosine", "sd"):
        np.testing.assert_array_equal(table[name], measured.r(name))
    bare = Prediction(store.Answer({"ceiling": np.full(2, np.nan)}, {}, "cache"))
    assert bare.to_subjects == 1


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
    facts = {"judgments": "mur", "network": "Net 1", "view": "pooled"}
    found = Prediction(store.Answer(arrays, store.provenance("prediction", facts), "computed"))
    assert (found.judgments, found.network, found.view, found.n_features) == ("mur", "Net 1", "pooled", 100)
    np.testing.assert_allclose(found.fraction, np.arange(1, 11) / 10)
    np.testing.assert_array_equal(found.r("low"), [np.nan, np.nan, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])
    np.testing.assert_array_equal(found.r("low", least=0.2), np.arange(10) / 10)
    np.testing.assert_array_equal(found.r("low", least=0.6)[:4], [np.nan, np.nan, np.nan, 0.3])
    np.testing.assert_array_equal(arrays["low"], np.arange(10) / 10)
    np.testing.assert_array_equal(found.r("mean"), arrays["mean"])
    assert found.at("low", 0.52) == 0.4
    assert found.at("mean", 0.97) == 0.45
    assert np.isnan(found.at("low", 0.1))
    assert found.peak("low") == (0.37, 0.95)
    names = ["estimate", "low", "high", "se", "df", "p", "r_kept", "r_all"]
    assert found.test("cross_low") == dict(zip(names, range(8), strict=True))
    # From r averaged over subjects to r with their mean: divided by .5, but for df and p.
    assert found.test("subjects_low") == dict(zip(names, (0, 2, 4, 6, 4, 5, 12, 14), strict=True))
    assert found.has_subjects
    arrays["subjects_low"] = np.full(8, np.nan)
    assert not found.has_subjects
    assert found.stamp().startswith("Net 1, computed on this machine; rarefire ")


def one(name, p_cross, p_subjects, *, people):
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
            f"chance_{kind}": np.array([0.02, 0.5, 0.04 + own / 100]),
        }
        arrays[f"subjects_{kind}"] = test(p_subjects[own]) if people else np.full(8, np.nan)
        if people:
            arrays[f"subjects_k_{kind}"] = np.array([[1, 9]])
    facts = {"judgments": name, "network": "Net", "view": "pooled"}
    return Prediction(store.Answer(arrays, store.provenance("prediction", facts), "cache"))


FAMILY = (
    one("with", (0.9, 0.9), (0.01, 0.02), people=True),
    one("without", (0.03, 0.012), None, people=False),
)


def test_verdicts_are_over_subjects_where_there_are_some_and_adjusted_over_all():
    table = records.people.verdicts(FAMILY)
    assert table["judgments"].tolist() == ["with", "with", "without", "without"]
    assert table["kind"].tolist() == ["low", "high", "low", "high"]
    assert table["p"].tolist() == [0.01, 0.02, 0.03, 0.012]
    np.testing.assert_array_equal(table["holm"], inference.holm([0.01, 0.02, 0.03, 0.012]))
    # Sorted .01 .012 .02 .03, times 4 3 2 1, made monotone.
    np.testing.assert_allclose(table["holm"], [0.04, 0.04, 0.04, 0.04])
    assert table["k"].tolist() == [4.5] * 4  # the median choice for the mean over people
    assert table["peak"].tolist() == [7, 8, 7, 8]
    np.testing.assert_allclose(table["gain"], [0.3, 0.2, 0.3, 0.2])
    assert table["naive p"].tolist() == [0.001, 1.001, 0.001, 1.001]
    assert table["D images"].tolist() == [0.1] * 4
    assert table["p images"].tolist() == [0.9, 0.9, 0.03, 0.012]
    # With subjects: their mean r, .5 of what it is with their mean.
    assert table[["D", "low", "high"]].to_numpy().tolist() == [[0.2, 0, 0.4]] * 2 + [[0.1, 0, 0.2]] * 2
    names = "judgments network view kind peak gain naive-p k D-images p-images D low high p holm"
    assert table.columns.tolist() == [name.replace("-", " ") for name in names.split()]
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
    assert set(records.people.COLUMNS) < set(table.columns)
    np.testing.assert_allclose(table["estimate"], [0.2] * 6 + [0.1] * 6)
    np.testing.assert_allclose(table[["low", "high", "se", "r_kept", "r_all"]].iloc[0], [0, 0.4, 0.1, 1.2, 1])
    np.testing.assert_allclose(
        table[["low", "high", "se", "r_kept", "r_all"]].iloc[6], [0, 0.2, 0.05, 0.6, 0.5]
    )
    assert set(table["df"]) == {20}


# --- predict, ship, find ---------------------------------------------------------------------------


def small(seed=0):
    """A convolutional network of three channels and four positions."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(3, 3, 2, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2)
        ).eval()


def test_predict_computes_what_is_not_known(own_cache, quick, rng, monkeypatch):
    given = made(rng.random((N, 3, 4, 4)).astype(np.float32), rng=rng)
    calls = []
    measure = records.people.measure_view

    def light(view, given, *, seed, progress):
        """The views are real; of the measurement only how often it is made matters here."""
        calls.append((view.name, seed))
        return {"k": np.arange(1, view.embedding.shape[1] + 1), "poz": view.poz}

    monkeypatch.setattr(records.people, "measure", light)
    options = {"name": "Small", "layer": "1", "progress": False}
    first = records.people.measure(given, small(), **options)
    assert [p.view for p in first] == ["pooled", "channels", "positions"]
    assert [p.n_features for p in first] == [3, 3, 12]
    assert {p.answer.source for p in first} == {"computed"}
    for found, expected in zip(first, embeddings.views(small(), given.images, layer="1"), strict=True):
        np.testing.assert_array_equal(found["poz"], expected.poz)
    again = records.people.measure(given, small(), **options)
    assert {p.answer.source for p in again} == {"cache"}
    assert calls == [("pooled", 0), ("channels", 0), ("positions", 0)]
    np.testing.assert_array_equal(again[2]["poz"], first[2]["poz"])
    facts = again[0].answer.provenance["facts"]
    assert (facts["judgments"], facts["network"], facts["layer"], facts["seed"]) == ("made", "Small", "1", 0)
    other = made(given.images.images, human=given.human[::-1].copy())
    pixels = made(given.images.images[::-1].copy(), human=given.human)
    for changed, network, more in (
        (given, small(), {"seed": 1}),
        (given, small(1), {}),
        (given, small(), {"layer": "3"}),
        (other, small(), {}),
        (pixels, small(), {}),
    ):
        found = records.people.measure(changed, network, **{**options, **more})
        assert {p.answer.source for p in found} == {"computed"}
    assert [p.view for p in records.people.measure(given, small(), **{**options, "layer": "3"})] == [
        "features"
    ]
    assert measure is not records.people.measure_view


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


def test_ship_and_find(own_cache, quick, rng, tmp_path, monkeypatch):
    """People see the colours and the first of the differences between them."""
    colours = rng.random((N, 3, 1, 1)) + 0.1
    pixels = (colours + 0.05 * rng.random((N, 3, 4, 4))).astype(np.float32)
    features = embeddings.extract(planted(), pixels, layer="3")
    assert (poz.poz(features)[:3] == 0).all()
    assert (poz.poz(features)[3:] > 0.2).all()
    human = rdm.rdm(features[:, :4]) + 0.1 * rng.random(N * (N - 1) // 2)
    given, network = made(pixels, human=human), planted()
    found = records.people.measure(given, network, name="Small", layer="3", progress=False)
    assert (found[0]["cross_k_low"] >= 3).all()
    assert records.people.known("made") == []
    sample = records.people.excerpt(given, network, name="Small", layer="1")
    monkeypatch.setattr(store, "data_dir", lambda: tmp_path / "data")
    path = tmp_path / "data" / "results" / "made-small.npz"
    assert records.people.ship(found, path, sample=sample) == path
    assert sorted(p.name for p in path.parent.iterdir()) == ["made-small-sample.npz", "made-small.npz"]
    monkeypatch.setenv("RAREFIRE_CACHE", str(tmp_path / "empty"))
    (shipped,) = records.people.known("made")
    assert (shipped.judgments, shipped.network, shipped.view) == ("made", "Small", "features")
    assert shipped.answer.source == "shipped"
    assert shipped.stamp().startswith("Small, recorded run; rarefire ")
    assert set(shipped.answer.arrays) == set(found[0].answer.arrays)
    for name, values in found[0].answer.arrays.items():
        np.testing.assert_allclose(shipped[name], values, rtol=1e-6, err_msg=name)
    (again,) = records.people.measure(given, network, name="Small", layer="3", progress=False)
    assert again.answer.source == "shipped"
    assert records.people.known("mur") == []
    assert records.people.verdicts([shipped])["p"].to_numpy() == pytest.approx(
        records.people.verdicts(found)["p"].to_numpy(), rel=1e-5
    )
    # The sample, by its name and again through its facts.
    known = records.people.known_excerpt("made")
    assert known.source == "shipped"
    expected = embeddings.views(network, given.images, layer="1")[0].embedding
    for answer in (sample, known, records.people.excerpt(given, network, name="Small", layer="1")):
        assert answer.arrays["embedding"].dtype == np.float16
        np.testing.assert_allclose(answer.arrays["embedding"], expected, rtol=1e-3, atol=1e-6)
        assert answer.arrays["labels"].tolist() == [0, 1] * 12
        assert answer.arrays["categories"].tolist() == ["a", "b"]
    assert records.people.known_excerpt("mur") is None
    assert not (tmp_path / "empty").exists()
    # A second network, and numbers of an earlier measurement.
    (other,) = records.people.measure(given, planted(2.0), name="Other", layer="3", progress=False)
    records.people.ship([*found, other], path, sample=sample)
    assert [p.network for p in records.people.known("made")] in (["Small"], ["Other"])
    monkeypatch.setattr(records.people, "_VERSION", -1)
    assert records.people.known("made") == []


def test_judgments_without_images_are_refused(own_cache, rng):
    given = Judgments("bare", rng.random(6), None, None, None, None, tuple("abcd"), "c", "l", "s")
    for call in (records.people.measure, records.people.excerpt):
        with pytest.raises(InputError, match="the images of 'bare' are not at hand; a network needs them"):
            call(given, small(), name="Small")
    assert list(own_cache.rglob("*")) == []


# --- VGG-19 ----------------------------------------------------------------------------------------


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """No connection, and no weights from an earlier download."""

    def refuse(*_, **__):
        raise OSError("no network in this test")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    with pytest.raises(DataError, match="could not be downloaded"):
        networks.build("squeezenet1_0", weights="DEFAULT")


@pytest.mark.long
def test_vgg19_from_pixels_to_verdicts(own_cache, quick, offline, monkeypatch, tmp_path):
    """The network of the paper, with random weights: its 4,096 features after the last ReLU."""
    for name in ("ORDERS", "BAND", "_TIES"):
        monkeypatch.setattr(records.people, name, 2)
    network = networks.build("vgg19", input_shape=(3, 224, 224))
    named = dict(network.named_modules())
    assert isinstance(named["classifier.4"], nn.ReLU)
    assert (named["classifier.6"].in_features, named["classifier.6"].out_features) == (4096, 1000)
    rng = np.random.default_rng(1)
    coarse = rng.random((N, 3, 7, 7), dtype=np.float32)
    pixels = np.repeat(np.repeat(coarse[:2], 32, axis=2), 32, axis=3)

    # By name and by value, on two images of the size it was made for.
    seen, hooks = {}, []
    for name in ("classifier.3", "classifier.4", "classifier.6"):
        keep = lambda _, __, output, name=name: seen.update({name: output.numpy().copy()})  # noqa: E731
        hooks.append(named[name].register_forward_hook(keep))
    two = embeddings.extract(network, pixels)
    for hook in hooks:
        hook.remove()
    assert two.shape == (2, 4096)
    np.testing.assert_allclose(two, seen["classifier.4"], rtol=1e-6)
    # The ReLU works in place, so what the layer before it gave out was kept before.
    np.testing.assert_allclose(two, np.maximum(seen["classifier.3"], 0), rtol=1e-6)
    assert seen["classifier.3"].min() < 0 == two.min()
    assert 0.1 < np.mean(two == 0) < 0.9
    last = named["classifier.6"]
    logits = two @ last.weight.detach().numpy().T + last.bias.detach().numpy()
    np.testing.assert_allclose(logits, seen["classifier.6"], atol=1e-4)
    one = embeddings.extract(network, pixels[:1], layer="classifier.4")
    np.testing.assert_allclose(one, two[:1], atol=1e-5)

    subjects = rng.random((3, N * (N - 1) // 2))
    # Smaller ones, which it spreads over the same 7 × 7 positions.
    given = made(np.repeat(np.repeat(coarse, 5, axis=2), 5, axis=3), subjects=subjects)
    (found,) = records.people.measure(given, network, name="VGG-19", progress=False)
    assert (found.view, found.n_features, found.answer.source) == ("features", 4096, "computed")
    assert found.r("low").shape == (512,)
    assert found.r("low")[-1] == pytest.approx(found.r("high")[-1], abs=1e-9)
    assert np.isfinite(found.test("subjects_low")["p"])
    assert found["poz"][0] < found["poz"][-1] == 1
    assert records.people.verdicts([found])["holm"].between(0, 1).all()
    monkeypatch.setattr(records.people, "views", None)  # nothing is embedded again
    (again,) = records.people.measure(given, network, name="VGG-19", progress=False)
    assert again.answer.source == "cache"
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
    scaled = [(p - p.mean()) / p.std() for p in people]
    r = np.corrcoef(pairwise(pooled.embedding), np.mean(scaled, axis=0))[0, 1]
    assert r == pytest.approx(0.541, abs=0.001)
    found = curves.rdm_curve(pooled.embedding, given.human, np.arange(512), k=[512]).r[0]
    assert found == pytest.approx(r, abs=1e-4)
    assert given.subject_ceiling.low == pytest.approx(0.57, abs=0.005)


def pairwise(features):
    upper = np.triu_indices(len(features), 1)
    return 1 - np.corrcoef(features)[upper]


def test_shipped_predictions_are_found_without_data(own_cache):
    found = records.people.known("mur")
    assert [p.view for p in found] == ["pooled", "channels", "positions"]
    assert {p.answer.source for p in found} == {"shipped"}
    assert [p.n_features for p in found] == [512, 512, 512 * 13 * 13]
    for one in found:
        assert one.answer.provenance["facts"]["layer"] == "features"
        for kind in records.people.KINDS:
            assert one.peak(kind)[1] >= np.nanmax(one.r(kind)) - 1e-6
            assert one.r(kind)[-1] == pytest.approx(one.r(kind.replace("low", "high"))[-1], abs=1e-6)
        assert one.has_subjects
        assert one.test("subjects_low")["r_all"] == pytest.approx(one.test("cross_low")["r_all"], abs=0.01)
        assert (one["ties"][:, 0] <= one["ties"][:, 1]).all()
        assert np.isfinite(one["weights"]).all()
        np.testing.assert_allclose(one["weights"][:, 0], one["ridge"] - one["plain"], atol=0.05)
    table = records.people.verdicts(found)
    assert len(table) == 6
    assert table["p"].between(0, 1).all()
    np.testing.assert_allclose(
        records.people.beforehand(found)["r_all"], np.repeat([f.r("low")[-1] for f in found], 6), rtol=1e-4
    )
    assert list(own_cache.rglob("*")) == []


def test_shipped_predictions_are_what_raw_data_give(objects):
    given, network, all_views = objects
    for view, shipped in zip(all_views, records.people.known("mur"), strict=True):
        assert shipped.view == view.name
        facts = records.people._facts(given, network, shipped.network, "features")
        assert shipped.answer.provenance["facts"]["weights_digest"] == facts["weights_digest"]
        x, human, k = view.embedding, given.human, shipped["k"].tolist()
        for kind in ("low", "high") if view.name == "positions" else records.people.KINDS:
            first, metric = records.people.KINDS[kind]
            order = poz.order(view.poz, first=first)
            whole = curves.rdm_curve(x, human, order, metric=metric, k=k)
            np.testing.assert_allclose(shipped[kind], whole.r, atol=1e-3, err_msg=f"{view.name} {kind}")
            np.testing.assert_allclose(shipped[f"n_images_{kind}"], whole.n_images, atol=1)
            best, r = shipped[f"best_{kind}"]
            peak = curves.rdm_curve(x, human, order, metric=metric, k=[int(best)]).r[0]
            assert peak == pytest.approx(r, abs=1e-3)
        np.testing.assert_allclose(shipped["poz"], np.quantile(view.poz, np.linspace(0, 1, 21)), atol=1e-3)
        assert shipped["ceiling"].tolist() == pytest.approx(
            [given.subject_ceiling.low, given.subject_ceiling.high], abs=1e-5
        )
        _, counts = np.unique(view.silent.sum(axis=0), return_counts=True)
        assert abs(shipped["tied"] - counts[counts > 1].sum()) <= 0.01 * view.embedding.shape[1]
        i, j = np.triu_indices(92, 1)
        other = (given.images.labels[i] != given.images.labels[j]).astype(float)
        expected = np.corrcoef(other, human)[0, 1], of_residuals(pairwise(x), human, other)
        assert shipped["categories"].tolist() == pytest.approx(expected, abs=1e-3)
    # With fewer samples than were recorded: the same but for chance.
    pooled, shipped = all_views[0], records.people.known("mur")[0]
    options = {"k": round(0.2 * 512), "method": "subjects-and-images", "n_boot": 200}
    test = inference.change_of_prediction(
        pooled.embedding, given.subjects, poz.order(pooled.poz), rng=np.random.default_rng(0), **options
    )
    recorded = dict(zip(records.people.COLUMNS, shipped["advance_low"][0].tolist(), strict=True))
    for name in ("estimate", "r_kept", "r_all"):
        assert getattr(test, name) == pytest.approx(recorded[name], abs=1e-3), name
    assert test.se == pytest.approx(recorded["se"], rel=0.2)


def test_the_recorded_run_answers_for_the_raw_data(objects, own_cache):
    """Nothing is computed where judgments, images and weights are those of the recorded run."""
    given, network, _ = objects
    (name,) = {p.network for p in records.people.known("mur")}
    facts = records.people._facts(given, network, name, "features")
    for view in ("pooled", "channels", "positions"):
        asked = {**facts, "seed": 0, "version": records.people._VERSION, "view": view}
        answer = store.recall("prediction", asked, None)
        assert answer is not None, "judgments, images or weights are not those of the recorded run"
        assert answer.source == "shipped"
    assert store.recall("prediction-sample", facts, None).source == "shipped"
