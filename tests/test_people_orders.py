"""Orders of units beside people: against the functions that each number comes from, and loops."""

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from torch import nn

from rarefire import curves, inference, poz, rdm, reliability, removal, triplets
from rarefire.embeddings import View
from rarefire.errors import DataError, InputError, UnknownNameError
from rarefire.judgments import Judgments
from rarefire.records import people_orders as orders
from rarefire.records.people import COLUMNS
from rarefire.stimuli import Gallery, Stimuli

N, F, CLASSES = 30, 20, 3
AT = [curves.count(share, F) for share in orders.SHARES]
NAMES = list(orders.ORDERS)


def images_of(rng, n=N):
    pixels = rng.random((n, 3, 12, 12)).astype(np.float32)
    return Stimuli("made", "test", pixels, np.zeros(n, int), ("a",), "made")


@pytest.fixture
def features(rng):
    found = np.maximum(rng.normal(size=(N, 4)) @ rng.normal(size=(4, F)) - np.linspace(-4, 1, F), 0)
    return found.astype(np.float32)


@pytest.fixture
def given(rng, features):
    people = np.stack([rdm.rdm(features) + rng.normal(size=N * (N - 1) // 2) * 0.3 for _ in range(4)])
    human, reliable = reliability.mean_of_subjects(people)
    names = tuple(f"i{i}" for i in range(N))
    return Judgments("made", human, people, None, reliable, images_of(rng), names, "c", "l", "s")


@pytest.fixture
def important(rng):
    found = {name: rng.random(F) for name in NAMES if name != orders.SAME_IMAGES}
    return found | {"accuracy": np.asarray(0.75)}


def view_of(features):
    return View("pooled", features, features == 0)


def orders_of(features, important):
    values = {**important, orders.SAME_IMAGES: 1 - poz.poz(features)}
    return [poz.order(values[name], first="high") for name in NAMES]


def test_curves_are_those_of_every_order(given, features, important):
    found = orders.measure_view(view_of(features), given, important)
    steps = np.arange(1, F + 1)
    last = np.searchsorted(found["fraction"], steps / F + 1e-9, side="right") - 1
    np.testing.assert_allclose(found["fraction"][last], steps / F)
    assert len(found["fraction"]) == 100
    for place, order in enumerate(orders_of(features, important)):
        people = curves.rdm_curve(features, given.human, order)
        own = curves.geometry_curve(features, order)
        there = curves.enough(people.n_images, N)
        for name, r in (("people", people.r), ("geometry", own.r**2)):
            np.testing.assert_allclose(found[name][place][last], np.where(there, r, np.nan), atol=1e-9)
    # The last step is all units, in whatever order.
    np.testing.assert_allclose(found["geometry"][:, -1], 1)
    whole = rdm.compare(rdm.rdm(features), given.human, method="pearson")
    np.testing.assert_allclose(found["people"][:, -1], whole)
    np.testing.assert_allclose(found["ceiling"], [given.ceiling.low, given.ceiling.high])
    assert (found["n_units"], found["accuracy"]) == (F, 0.75)


def test_tests_are_j_minus_against_all_units_and_against_the_first_order(given, features, important):
    found = orders.measure_view(view_of(features), given, important)["tests"]
    made, scale = orders_of(features, important), 1 / given.subject_ceiling.high
    for o, order in enumerate(made):
        expected = inference.corrected_jackknife(features, order, rdm=given.subjects, k=AT)
        test = expected.estimate("difference")
        for s, k in enumerate(AT):
            row = dict(zip(COLUMNS, found[0, o, s], strict=True))
            for column in ("estimate", "low", "high"):
                assert row[column] == pytest.approx(getattr(test, column)[s] * scale, abs=1e-9)
            assert row["p"] == pytest.approx(test.p[s], rel=1e-6)
            assert row["r_all"] == pytest.approx(expected.r_all[s] * scale)
            if not o:
                assert np.isnan(found[1, o, s]).all()  # nothing differs from itself
                continue
            upper = np.triu_indices(N, k=1)
            models = [1 - rdm.similarities(features[:, which[:k]])[upper] for which in (order, made[0])]
            said = inference.compare(*models, given.subjects)
            row = dict(zip(COLUMNS, found[1, o, s], strict=True))
            for column, value in (
                ("estimate", said.estimate),
                ("r_kept", said.first),
                ("r_all", said.second),
            ):
                assert row[column] == pytest.approx(value * scale, abs=1e-9)
            assert (row["p"], row["df"]) == (pytest.approx(said.p), pytest.approx(said.df))


def test_random_orders_and_chance(given, features, important):
    """The same draws, one curve after the other."""
    found = orders.measure_view(view_of(features), given, important, seed=5)
    rng = np.random.default_rng([5, 3])
    drawn = [rng.permutation(F) for _ in range(50)]
    r = np.array([curves.rdm_curve(features, given.human, order, k=AT).r for order in drawn])
    kept = np.array([curves.geometry_curve(features, order, k=AT).r ** 2 for order in drawn])
    at = [int(np.argmin(np.abs(found["fraction"] - k / F))) for k in AT]
    for name, lines in (("random_people", r), ("random_geometry", kept)):
        expected = [lines.mean(axis=0), *np.quantile(lines, [0.05, 0.95], axis=0)]
        np.testing.assert_allclose(found[name][:, at], expected, atol=1e-9)
    for o, order in enumerate(orders_of(features, important)):
        own = curves.rdm_curve(features, given.human, order, k=AT).r
        sides = np.minimum((r >= own - 1e-12).sum(axis=0), (r <= own + 1e-12).sum(axis=0))
        np.testing.assert_allclose(found["chance"][0, o], np.minimum(1, 2 * (1 + sides) / 51))
    ranks = [important["mean"], 1 - poz.poz(features)]
    expected = stats.spearmanr(*ranks).statistic
    assert found["alike"][NAMES.index("mean"), NAMES.index("poz_same")] == pytest.approx(expected)


def test_the_order_that_people_go_by_wins(rng, features, important):
    """People see four units alone; the order that begins with them predicts best, and that holds."""
    seen = np.arange(F) < AT[0]
    human = rdm.rdm(features[:, seen]) + rng.normal(size=N * (N - 1) // 2) * 0.05
    people = Judgments("made", human, None, None, None, None, tuple(map(str, range(N))), "c", "l", "s")
    important = {**important, "taylor": seen + rng.random(F) / 2, "poz": 1.0 - seen + rng.random(F) / 2}
    arrays = orders.measure_view(view_of(features), people, important)
    facts = {"judgments": "made", "network": "n", "triplets": False}
    found = orders.Orders.of({name: np.asarray(a)[None] for name, a in arrays.items()}, **facts)
    table = found.table()
    assert len(table) == len(orders.SHARES) * (len(NAMES) + 1)
    first = table[table["share"] == 0.2].set_index("order")
    assert first["r"].idxmax() == "taylor"
    assert first.loc["taylor", "k"] == AT[0]
    assert first.loc["taylor", "R²"] == pytest.approx(first.loc["taylor", "r"] ** 2)
    assert first.loc["random", "r"] == pytest.approx(arrays["random_people"][0, 19])
    compared = found.comparisons().set_index("order")
    assert list(compared.index) == NAMES[1:]
    np.testing.assert_allclose(compared["holm"], inference.holm(compared["p"]))
    assert compared.loc["taylor", "holm"] < 0.05
    df, m = compared.loc["taylor", "df"], len(compared)
    needed = stats.t.isf(0.025 / m, df) + stats.t.ppf(0.8, df)
    assert compared.loc["taylor", "detectable"] == pytest.approx(needed * compared.loc["taylor", "se"])
    head = found.headline().set_index(["share", "order"])
    assert head.loc[(0.2, "taylor"), ["first", "better", "worse", "above chance"]].tolist() == [1, 1, 0, 1]
    assert head.loc[(0.2, "taylor"), "D"] == pytest.approx(compared.loc["taylor", "estimate"])
    assert head.loc[(0.2, "poz"), "D"] == 0
    assert head["first"].sum() == len(orders.SHARES)
    against_all = found.comparisons(against="all", share=0.5).set_index("order")
    assert head.loc[(0.5, "mean"), "D all"] == pytest.approx(against_all.loc["mean", "estimate"])
    assert list(found.likeness().columns) == NAMES
    assert (found.network, found.about) == ("n", "made")
    with pytest.raises(UnknownNameError, match="no side .none.. There are: all, poz"):
        found.comparisons(against="none")
    with pytest.raises(InputError, match=r"share is one of 0.2, 0.5; got 0.3"):
        found.comparisons(share=0.3)


def test_triplets_are_agreement(features, important, rng):
    features = features + rng.random(features.shape)  # every image has a similarity
    distance = rdm.square(rdm.rdm(features))
    rows = np.array([rng.choice(N, 3, replace=False) for _ in range(800)])
    swap = distance[rows[:, 0], rows[:, 1]] > distance[rows[:, 0], rows[:, 2]]
    swap ^= rng.random(len(rows)) < 0.3
    rows[swap] = rows[swap][:, [0, 2, 1]]
    votes, names = np.tile([3, 1], (len(rows), 1)), tuple(f"i{i}" for i in range(N))
    asked = triplets.Triplets("made", images_of(rng), names, rows, votes, "c", "l", "s")
    found = orders.measure_view(view_of(features), asked, important)
    made = orders_of(features, important)
    for o in (1, 4):
        for s, k in enumerate(AT):
            models = [rdm.rdm(features[:, which[:k]]) for which in (made[o], made[0])]
            at = int(np.argmin(np.abs(found["fraction"] - k / F)))
            assert found["people"][o, at] == pytest.approx(triplets.agreement(models[0], asked))
            said = triplets.compare(*models, asked)
            np.testing.assert_allclose(found["tests"][1, o, s, :2], [said.estimate, said.low])
    np.testing.assert_allclose(found["ceiling"], triplets.ceiling(asked))


class Small(nn.Module):
    """A convolution and a ReLU, before a classifier of three classes."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 9, 5, stride=4), nn.ReLU())
        self.fc = nn.Linear(9, CLASSES)

    def forward(self, x):
        return self.fc(self.features(x).mean(dim=(2, 3)))


@pytest.fixture
def small():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return Small().eval()


@pytest.fixture
def gallery(tmp_path, rng):
    for i in range(4 * CLASSES):
        folder = tmp_path / "g" / f"n{i % CLASSES}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray((rng.random((16, 16, 3)) * 255).astype(np.uint8)).save(folder / f"{i:02d}.png")
    return Gallery(tmp_path / "g", tuple(sorted((tmp_path / "g").rglob("*.png"))), 12, 12)


def test_importance_is_that_of_removal(small, gallery):
    """One pass and frozen weights give what one measure after the other gives."""
    shown = orders.labelled(gallery)
    assert shown.class_names == ("n0", "n1", "n2")
    assert shown.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    found = orders.importances(small, shown, layer="features")
    assert {*found} == {*NAMES, "accuracy"} - {orders.SAME_IMAGES}
    for name, by in (("apoz", "poz"), *((by, by) for by in ("mean", "sd", "entropy", "taylor"))):
        expected = removal.importance(small, shown, by, layer="features")
        np.testing.assert_allclose(found[name], expected, atol=1e-6, err_msg=name)
    np.testing.assert_allclose(found["norm"], small.fc.weight.detach().norm(dim=0), rtol=1e-6)
    with torch.no_grad():
        pixels = torch.from_numpy(shown.images)
        silent = (small.features(pixels) == 0).all(dim=(2, 3)).numpy()
        right = (small(pixels).argmax(1).numpy() == shown.labels).mean()
    np.testing.assert_allclose(found["poz"], 1 - silent.mean(axis=0))
    assert found["accuracy"] == right
    assert all(p.requires_grad for p in small.parameters())  # the network is as it was
    flat = orders.importances(small, shown)  # the input of the last layer: units without positions
    np.testing.assert_array_equal(flat["apoz"], flat["poz"])
    np.testing.assert_allclose(flat["mean"], found["mean"], atol=1e-6)


def test_a_network_of_one_s_own_is_measured_once(own_cache, small, gallery, given, monkeypatch):
    options = {"name": "small", "layer": "features", "photographs": gallery, "progress": False}
    found = orders.measure(given, small, **options)
    assert found.people.shape == (1, len(NAMES), 100)
    assert found.n_units.tolist() == [9]
    monkeypatch.setattr(orders, "measure_view", None)
    np.testing.assert_array_equal(orders.measure(given, small, **options).tests, found.tests)
    monkeypatch.undo()
    monkeypatch.setenv("RAREFIRE_CACHE", str(own_cache))
    monkeypatch.setattr(orders, "importances", None)  # known of this network, whatever people judged
    orders.measure(given, small, seed=1, **options)


def test_what_does_not_fit_is_named(own_cache, small, gallery, given, features, important):
    shown = orders.labelled(gallery)
    two = Stimuli("t", "train", shown.images[:8], shown.labels[:8], ("a", "b"), "t")
    with pytest.raises(InputError, match="photographs are of 2 classes, and the network has 3 outputs"):
        orders.importances(small, two, layer="features")
    wide = nn.Sequential(nn.Conv2d(3, 4, 9), nn.ReLU(), nn.Flatten(), nn.Linear(64, CLASSES))
    with pytest.raises(InputError, match="last layer reads 64 units, and '1' has 4: name the layer"):
        orders.importances(wide, shown, layer="1")
    with pytest.raises(InputError, match="the view has 29 images, the judgments 30"):
        orders.measure_view(view_of(features[:29]), given, important)
    with pytest.raises(InputError, match=r"important must hold 'norm', \(20,\); got \(3,\)"):
        orders.measure_view(view_of(features), given, important | {"norm": np.ones(3)})
    unseen = Judgments("made", given.human, None, None, None, None, given.names, "c", "l", "s")
    with pytest.raises(InputError, match="images of 'made' are not at hand"):
        orders.measure(unseen, small, name="small")
    with pytest.raises(DataError, match="there is no gallery on this machine"):
        orders.measure(given, small, name="small", layer="features")
    with pytest.raises(UnknownNameError, match="no set .moon.. There are: .*letters"):
        orders.measure_here(sets=["moon"])
    with pytest.raises(DataError, match="no network of googlenet is on this machine"):
        orders.measure_here(only=["googlenet"])
