"""What the book keeps of pruned networks: identities that must hold, and that it comes out again."""

import dataclasses

import numpy as np
import pytest

from rarefire import embeddings, poz, pruning, removal, stimuli, training, units
from rarefire.curves import geometry_curve
from rarefire.errors import UnknownNameError
from rarefire.records import pruned

SHORT = training.Recipe(batch_size=64, max_epochs=2, patience=2, keep="last")
CHECKED = dataclasses.replace(SHORT, keep="least-loss", check_every=4)


@pytest.fixture(scope="module", autouse=True)
def tiny(tmp_path_factory):
    """One setting, of digits, few images, one network and two rounds; a cache of its own."""
    setting = pruned.Setting(
        *("tiny", "digits", SHORT),
        methods=("imp", "again", "trim"),
        n_rounds=2,
        at=(2,),
        rate=0.5,
        seeds=1,
    )
    load = stimuli.load

    def few(name, split, **options):
        return load(name, split, **options).subset(np.arange(250))

    with pytest.MonkeyPatch.context() as patch, training.one_thread():
        patch.setenv("RAREFIRE_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("RAREFIRE_MIRROR", "")
        patch.setitem(pruned.SETTINGS, "tiny", setting)
        patch.setattr(stimuli, "load", few)
        patch.setattr(pruned, "WINDOW", 10)
        yield setting


@pytest.fixture(scope="module")
def measured(tiny):
    assert pruned.known("tiny") is None
    return pruned.measure("tiny", jobs=1, progress=False)


@pytest.fixture(scope="module")
def chain(tiny, measured):
    found = pruning.rounds(
        stimuli.load("digits", "train"), **tiny.options(), seeds=[0], progress=False, jobs=1
    )
    order = [("dense", 0), ("imp", 1), ("imp", 2), ("again", 2), ("trim", 1), ("trim", 2)]
    return [found[method][0][number] for method, number in order]


@pytest.fixture(scope="module")
def unseen(tiny):
    return stimuli.load("digits", "test")


def test_shapes_and_identities(measured, chain, unseen):
    layers = ["relu1", "pool1", "relu2", "pool2", "relu3", "relu4", "fc3"]
    network = chain[0].network()
    assert pruned.layers_of(network) == layers
    assert measured.method.tolist() == [[each.method for each in chain]]
    assert measured.number.tolist() == [[each.number for each in chain]]
    n_units = 6 + 16 + 120 + 84
    shapes = {"left": (5,), "units_left": (4,), "alike": (7, 4), "apoz": (n_units,), "incoming": (n_units,)}
    for name in ("accuracy", "stop", *shapes):
        assert measured[name].shape == (1, 6, *shapes.get(name, ())), name
    assert measured.chance.shape == (1, 7)
    np.testing.assert_array_equal(measured.share[0, 0], 1)
    np.testing.assert_allclose(measured.alike[0, 0], 1, atol=1e-5)
    assert (measured.alike[0, 1:3] < 1).all()
    assert (measured.chance < 0.9).all()
    assert (measured.stop == 2).all()


def test_accuracy_apoz_and_what_is_left(measured, chain, unseen):
    for i, each in enumerate(chain):
        network = each.network()
        assert measured.accuracy[0, i] == pytest.approx(training.accuracy(network, unseen))
        rates = poz.poz(embeddings.extract(network, unseen))
        np.testing.assert_allclose(measured.apoz[0, i, -84:], rates, rtol=1e-6)
        weights = each.fitted.weights
        counts = [
            int((weights[f"{name}.weight"] != 0).sum()) for name in ("conv1", "conv2", "fc1", "fc2", "fc3")
        ]
        np.testing.assert_allclose(measured.left[0, i], counts, atol=3)  # a weight may be 0 by itself
        assert measured.share[0, i] == pytest.approx(pruning.share_left(each.masks))
        expected = [
            each.masks[f"{name}.weight"].flatten(1).double().mean(1).numpy()
            for name in ("conv1", "conv2", "fc1", "fc2")
        ]
        np.testing.assert_allclose(measured.incoming[0, i], np.concatenate(expected), rtol=1e-6)
        assert measured.units_left[0, i].tolist() == [int((share > 0).sum()) for share in expected]
    assert measured.share[0, 1] == pytest.approx(0.5, abs=0.01)
    assert measured.share[0, 2] == pytest.approx(0.25, abs=0.01)
    assert (measured.units_left[0, 5] <= measured.units_left[0, 4]).all()
    assert measured.units_left[0, 5].sum() < 226
    assert measured.units_left[0, 3].tolist() == [6, 16, 120, 84]


def test_the_check_with_the_least_loss_is_where_it_stopped(tiny, unseen):
    options = tiny.options() | {"methods": (), "recipe": CHECKED, "seeds": [0]}
    train = stimuli.load("digits", "train")
    (dense,) = pruning.rounds(train, **options, jobs=1, progress=False)["dense"][0].values()
    found = pruned.measure_network([dense], unseen, rows=np.arange(30))
    checks = dense.fitted.history["validation_loss"]
    assert len(checks) == 2  # 4 steps in each of two epochs
    assert found["stop"].tolist() == [checks.index(min(checks)) + 1]


def test_it_comes_out_again_without_images(measured, monkeypatch):
    monkeypatch.setattr(stimuli, "load", None)
    again = pruned.known("tiny")
    assert again.arrays.keys() == measured.arrays.keys()
    for name, values in measured.arrays.items():
        np.testing.assert_array_equal(again[name], values)
    assert again.seeds == (0,)
    assert again.facts["n_rounds"] == 2
    assert not again.recorded


@pytest.fixture(scope="module")
def of_units(tiny, measured):
    assert pruned.known_units("tiny") is None
    return pruned.measure_units("tiny", jobs=1, progress=False)


def test_units_shapes_and_identities(of_units, chain, unseen):
    network, train = chain[0].network(), stimuli.load("digits", "train")
    n_orders = len(removal.ORDERS)
    for name in ("r2", "r2_cosine", "accuracy"):
        assert of_units[name].shape == (1, n_orders, 84)
    assert of_units.importance.shape == (1, n_orders - 1, 84)
    assert of_units.lost.shape == (1, 84, 10)
    assert of_units.classes.shape == (1, 4, 10)
    assert of_units.fano.shape == (1, 2, 84)
    np.testing.assert_allclose(of_units.r2[..., -1], 1, rtol=1e-6)
    np.testing.assert_allclose(of_units.r2_cosine[..., -1], 1, rtol=1e-6)
    np.testing.assert_allclose(of_units.accuracy[..., -1], training.accuracy(network, unseen), rtol=1e-6)
    embedding = embeddings.extract(network, unseen)
    np.testing.assert_allclose(of_units.poz[0], poz.poz(embedding), rtol=1e-6)
    np.testing.assert_allclose(
        of_units.selectivity[0], units.selectivity(embedding, unseen.labels), rtol=1e-5
    )
    trained_on = poz.poz(embeddings.extract(network, train))
    np.testing.assert_allclose(of_units.importance[0, 0], 1 - trained_on, rtol=1e-6)


def test_curves_are_those_of_networks_without_units(of_units, chain, unseen):
    """By the order of PoZ: some of the most important units alone, the others set to 0."""
    network = chain[0].network()
    order = poz.order(of_units.importance[0, 0].astype(np.float64), first="high")
    for k in (1, 20, 60):
        quiet = removal.silenced(network, {"fc2": order[k:]})
        assert of_units.accuracy[0, 0, k - 1] == pytest.approx(training.accuracy(quiet, unseen), abs=0.01)
    curve = geometry_curve(embeddings.extract(network, unseen), order).r2
    np.testing.assert_allclose(of_units.r2[0, 0], curve, rtol=1e-4)


def test_the_most_important_units_of_each_class(of_units, chain, unseen):
    network, train = chain[0].network(), stimuli.load("digits", "train")
    few, lost = round(84 * pruned.FEW), removal.ablation(network, train)
    assert few == 3
    np.testing.assert_allclose(of_units.classes[0, 0], removal.balanced_accuracy(network, unseen), rtol=1e-6)
    for c in (0, 7):
        best = np.argsort(-lost[:, c], kind="stable")[:few]
        for row, gone in ((1, best), (2, np.setdiff1d(np.arange(84), best))):
            quiet = removal.silenced(network, {"fc2": gone})
            found = removal.balanced_accuracy(quiet, unseen)[c]
            assert of_units.classes[0, row, c] == pytest.approx(found, abs=0.01)


def test_units_by_images_are_computed_on_digits_and_known_elsewhere(monkeypatch):
    asked = []
    monkeypatch.setattr(
        pruned, "measure_units", lambda images, **options: asked.append((images, options)) or images
    )
    found = pruned.units_by_images(instances=2)
    assert list(found) == ["digits", "mnist", "cifar10-jpg"]
    assert (found["mnist"].about, found["cifar10-jpg"].about) == ("mnist", "cifar10-jpg")  # shipped
    assert asked == [("digits", {"seeds": range(2)})]
    assert list(pruned.units_by_images("full").values()) == ["digits", "mnist", "cifar10-jpg"]
    assert asked[-1] == ("cifar10-jpg", {"use_shipped": False})
    with pytest.raises(UnknownNameError, match="no profile 'half'"):
        pruned.units_by_images("half")


def test_what_a_page_travels_with(tiny, chain):
    found = pruned.sample("tiny")
    assert found["method"].tolist() == [each.method for each in chain]
    n_images = len(found["rows"])
    assert n_images == pruned.SHOWN
    assert np.bincount(found["labels"]).tolist() == [3] * 10
    assert found["rdm"].shape == (6, 5, n_images * (n_images - 1) // 2)
    shown = stimuli.load("digits", "test").subset(found["rows"])
    embedding = embeddings.extract(chain[1].network(), shown, layer="relu3")
    distances = 1 - np.corrcoef(embedding)[np.triu_indices(n_images, 1)]
    np.testing.assert_allclose(found["rdm"][1, 2] / 127, distances, atol=0.51 / 127)


@pytest.mark.parametrize(
    "ask", [pruned.measure, pruned.known, pruned.measure_units, pruned.known_units, pruned.sample]
)
def test_an_unknown_setting(ask):
    with pytest.raises(UnknownNameError, match="no setting 'imagenet'. There are: .*digits"):
        ask("imagenet")


def test_layers_are_compared_on_images_of_all_classes():
    for name, setting in pruned.SETTINGS.items():
        if stimuli.available(setting.images):
            test = stimuli.load(setting.images, "test")
            rows = setting.rows(test)
            assert len(set(rows)) == min(pruned.COMPARED, len(test)), name
            counts = np.bincount(test.labels[rows], minlength=len(test.class_names))
            assert counts.min() > 0.7 * len(rows) / len(counts), name
    ordered = dataclasses.replace(pruned.SETTINGS["digits"], by_class=True)
    assert set(ordered.facts()) - set(pruned.SETTINGS["digits"].facts()) == {"by_class"}


def test_the_books_settings_know_what_determines_them():
    for setting in pruned.SETTINGS.values():
        assert set(setting.methods) <= set(pruning.METHODS)
        assert setting.options()["recipe"] == setting.recipe
    facts = pruned.SETTINGS["tiny"].facts()
    other = dataclasses.replace(pruned.SETTINGS["tiny"], retrain=CHECKED, rate=0.4)
    changed = {name for name in facts if facts[name] != other.facts()[name]}
    assert changed == {"rate", "retrain"}
