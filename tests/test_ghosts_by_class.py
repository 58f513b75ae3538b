"""Ghosts of every class in an ensemble: made ones, loops, computed once and grown."""

import itertools

import numpy as np
import pytest
from oracles import ROUNDING, ghosts_score, mean_score, naive_auc, pca, sixteenths
from scipy import stats

from rarefire import embeddings, networks, stimuli, store, training
from rarefire.records import ensembles, ghosts_by_class, source
from rarefire.records.record import VERSIONS

# --- one instance ----------------------------------------------------------------------------------


def test_perfect_ghosts(rng):
    """Three classes of twenty images; six features never fire for each, and always for the others."""
    labels = rng.permutation(np.arange(3).repeat(20))
    features = rng.uniform(0.5, 1.5, (60, 24))
    for c in range(3):
        features[np.ix_(labels == c, range(6 * c, 6 * c + 6))] = 0
    features[:, 22:] = 0
    found = ghosts_by_class.measure_network(features, labels)
    assert found["m"].tolist() == [1, 2, 5, 10]
    assert found["dead"] == 2
    np.testing.assert_allclose(found["expected"], 6)
    assert (found["fires"] == 0).all()
    assert (found["auc"][..., 0] == 1).all()
    assert found["auc"].shape == (3, 4, 5)
    assert np.isnan(found["high"][:, 0]).all()
    bound = [1 - 0.05 ** (1 / m) for m in (2, 5, 10)]  # Clopper and Pearson, none of m
    np.testing.assert_allclose(found["high"][:, 1:], [bound] * 3)
    assert (found["own"][..., 0] == 0).all()
    assert (found["own"][..., 1] > 0).any()


@pytest.fixture
def noisy(rng):
    """Classes of 16, 20 and 12 images with rare features; one is dead."""
    labels = rng.permutation(np.repeat([0, 1, 2], [16, 20, 12]))
    features = sixteenths(rng.normal(size=(48, 30)) + 0.3 * rng.normal(size=(3, 30))[labels] - 1)
    features[:, 7] = 0
    return features, labels


def test_one_instance_equals_loops(noisy):
    features, labels = noisy
    found = ghosts_by_class.measure_network(features, labels)
    half = stimuli.half_mask(labels)
    first, second = features[half], features[~half]
    own, shown = labels[half], labels[~half]
    alive = [f for f in range(30) if first[:, f].any()]
    assert found["m"].tolist() == [1, 2, 6]  # the smallest class has twelve images
    assert found["dead"] == 30 - len(alive) >= 1
    for c, (i, m) in itertools.product(range(3), enumerate([1, 2, 6])):
        rows = np.flatnonzero(own == c)
        counts = [
            sum(not first[list(looked), f].any() for f in alive) for looked in itertools.combinations(rows, m)
        ]
        assert found["expected"][c, i] == pytest.approx(np.mean(counts))
    # All images of the smallest class: no order matters.
    looked, inside = first[own == 2], shown == 2
    ghosts = [f for f in alive if not looked[:, f].any()]
    assert found["expected"][2, 2] == pytest.approx(len(ghosts))
    assert found["fires"][2, 2] == pytest.approx(np.mean([image[ghosts] > 0 for image in second[inside]]))
    for query, score in ((0, ghosts_score), (4, mean_score)):
        scores = score(looked[:, alive], second[:, alive])
        area = naive_auc(scores[inside], scores[~inside])
        assert found["auc"][2, 2, query] == pytest.approx(area)
    shares = []
    for i in range(6):
        silent = [f for f in alive if not np.delete(looked, i, axis=0)[:, f].any()]
        shares.append(np.mean(looked[i, silent] > 0))
    assert found["high"][2, 2] == pytest.approx(stats.beta.ppf(0.95, sum(shares) + 1, 6 - sum(shares)))
    scores = pca(second[:, ghosts])[0][:, :3].round(9)  # several images show the same
    top = np.argsort(-scores, axis=0, kind="stable")[:8].T
    pairs = [shown[a] == shown[b] for row in top for a, b in itertools.combinations(row, 2)]
    assert found["alike"][2, 2, 0] == pytest.approx(np.mean(pairs))
    assert found["own"][2, 2, 0] == pytest.approx(np.mean(inside[top]))
    assert 0 < np.mean(inside[top]) < 1
    assert ((found["alike"] >= 0) & (found["alike"] <= 1)).all()


def test_labels_are_names_and_the_seed_is_of_the_order(noisy):
    features, labels = noisy
    found = ghosts_by_class.measure_network(features, labels)
    renamed = ghosts_by_class.measure_network(features, np.array([3, 7, 20])[labels])
    for name, values in found.items():
        np.testing.assert_array_equal(renamed[name], values)
    other = ghosts_by_class.measure_network(features, labels, seed=1)
    np.testing.assert_array_equal(other["expected"], found["expected"])
    assert (other["fires"][:, 0] != found["fires"][:, 0]).any()
    np.testing.assert_array_equal(other["fires"][2, 2], found["fires"][2, 2])


def test_an_instance_without_ghosts(rng):
    labels = np.arange(3).repeat(10)
    found = ghosts_by_class.measure_network(rng.uniform(0.1, 1, (30, 12)), labels)
    assert (found["expected"] == 0).all()
    for name in ("fires", "high", "alike", "own"):
        assert np.isnan(found[name]).all()
    assert (found["auc"][..., :4] == 0.5).all()
    assert (found["auc"][..., 4] != 0.5).any()


@pytest.mark.parametrize(
    ("labels", "share"),
    [([[1, 1, 1, 1]], 1), ([[0, 1, 2, 3]], 0), ([[0, 1, 0, 1]], 1 / 3), ([[5, 5], [1, 2], [3, 3]], 2 / 3)],
)
def test_pairs_of_one_label(labels, share):
    assert ghosts_by_class._same_pairs(np.array(labels)) == pytest.approx(share)


# --- an ensemble -----------------------------------------------------------------------------------


@pytest.fixture
def digits(own_cache, monkeypatch):
    """Real digits, and LeNets whose training takes no time."""
    trained = []

    class Instance:
        def __init__(self, seed):
            self.seed = seed

        def network(self):
            return networks.build(
                "lenet5", input_shape=(1, 32, 32), n_classes=10, mean=(0.1,), std=(0.3,), seed=self.seed
            )

    def train(images, network, *, seeds, progress):
        assert (images, network) == ("digits", "lenet5")
        trained.extend(seeds)
        return [Instance(seed) for seed in seeds]

    monkeypatch.setattr(training, "train", train)
    return trained, Instance


def test_an_ensemble_is_measured_once_and_can_grow(digits, tmp_path, monkeypatch, capsys):
    trained, instance = digits
    first = ghosts_by_class.measure("digits", seeds=[0], progress=False)
    assert capsys.readouterr().err == ""
    both = ghosts_by_class.measure("digits", seeds=[0, 1])
    assert "digits: ghosts" in capsys.readouterr().err
    assert trained == [0, 1]
    assert (len(first), len(both)) == (1, 2)
    assert [a.source for a in both.answers] == ["cache", "computed"]
    np.testing.assert_array_equal(first["auc"][0], both["auc"][0])
    test = stimuli.load("digits", "test")
    for seed in (0, 1):
        embedding = embeddings.extract(instance(seed).network(), test)
        for name, values in ghosts_by_class.measure_network(embedding, test.labels, seed=seed).items():
            np.testing.assert_allclose(both[name][seed], values, atol=ROUNDING)
    assert both["auc"].shape == (2, 10, len(both["m"][0]), 5)
    said = "Source: lenet5 on digits (2 instances, computed on this machine); rarefire "
    assert source(both).startswith(said)
    asked = {**ensembles.embedded_facts("digits", "lenet5"), "seed": 1, **VERSIONS["ghosts"]}
    assert both.answers[1].provenance["facts"] == asked
    assert ghosts_by_class.measure("digits", seeds=[1, 0], progress=False)["auc"].shape == both["auc"].shape
    assert trained == [0, 1]
    # Shipped, it is found without data and without training.
    monkeypatch.setattr(store, "data_dir", lambda: tmp_path / "data")
    assert not ghosts_by_class.known("digits").recorded
    store.pack(tmp_path / "data" / "results" / "digits.npz", both.answers)
    monkeypatch.setenv("RAREFIRE_CACHE", str(tmp_path / "empty"))
    found = ghosts_by_class.known("digits")
    np.testing.assert_allclose(found["fires"], both["fires"], rtol=1e-6)
    assert source(found).startswith("Source: lenet5 on digits (2 instances, recorded runs); rarefire ")
    assert ghosts_by_class.known("mnist") is None
    assert ghosts_by_class.known("digits", network="lenet5-wide") is None
    again = ghosts_by_class.measure("digits", seeds=[1, 0], progress=False)
    assert [a.source for a in again.answers] == ["shipped", "shipped"]
    np.testing.assert_array_equal(again["fires"], found["fires"][::-1])
    assert trained == [0, 1]
    ghosts_by_class.measure("digits", seeds=[1], use_shipped=False, progress=False)
    assert trained == [0, 1, 1]
    monkeypatch.setitem(VERSIONS, "ghosts", {"ghosts_version": 99})
    assert ghosts_by_class.known("digits") is None
