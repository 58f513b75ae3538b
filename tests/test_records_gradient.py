"""Networks that have to ignore light, and ranks through LeNets: what is recorded is what other ways give."""

import dataclasses
import functools

import numpy as np
import pytest
from sklearn.metrics import mutual_info_score
from typer.testing import CliRunner

from rarefire import cli, dimension, embeddings, networks, poz, records, stimuli, store, training, units
from rarefire.errors import UnknownNameError
from rarefire.records import dimension as through_training
from rarefire.records import gradient, rank

FEW = 200  # test images


@pytest.fixture(scope="module", autouse=True)
def few(tmp_path_factory):
    """Digits, of which few are trained on; a cache of its own."""
    with pytest.MonkeyPatch.context() as patch, training.one_thread():
        patch.setenv("RAREFIRE_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("RAREFIRE_MIRROR", "")
        patch.setattr(stimuli, "load", functools.partial(loaded, load=stimuli.load))
        recipes = {name: gradient._recipe(2) for name in gradient.CONDITIONS}
        setting = gradient.Setting(recipes, shown=FEW, by_heart=120, seeds=1)
        patch.setitem(gradient.SETTINGS, "digits", setting)
        patch.setattr(gradient, "_WIDE", 100)
        patch.setitem(through_training.SETTINGS, "digits", through_training.Setting(FEW, seeds=1))
        patch.setattr(rank, "_SHOWN", 120)
        patch.setattr(rank, "_AROUND", 2)
        patch.setattr(through_training, "EPOCHS", (0, 1))
        patch.setattr(rank, "EPOCHS", (0, 1))
        patch.setattr(rank, "_STATES", (0, 1))
        yield setting


def loaded(name, split="test", *, load):
    return load(name, split).subset(np.arange(300))


@pytest.fixture(scope="module")
def lit():
    assert gradient.known("digits") is None
    return gradient.measure("digits", jobs=1, progress=False)


@pytest.fixture(scope="module")
def conditions(few, lit):
    """Network and images shown, as they are made here."""
    train, test = stimuli.load("digits", "train"), stimuli.load("digits", "test")
    test = test.subset(test.spread(FEW))
    options = {"input_shape": (1, 32, 32), "n_classes": 10, "mean": train.mean, "std": train.std, "seed": 0}
    light = {
        "train": stimuli.with_luminance(train, strength=3.0, rng=np.random.default_rng([0, 0])),
        "test": stimuli.with_luminance(test, strength=3.0, rng=np.random.default_rng([0, 1])),
    }
    some = train.subset(train.spread(120))
    labels = np.random.default_rng([0, 2]).permutation(some.labels)
    made = {}
    for name, learned, shown in (
        ("original", train, test),
        ("gradient", light["train"], light["test"]),
        ("shuffled", dataclasses.replace(some, labels=labels), test),
    ):
        after = networks.build("lenet5", **options)
        path = store.cache_dir() / f"again-{name}.pt"
        training.fit(after, learned, path=path, recipe=few.recipes[name], seed=0)
        made[name] = (networks.build("lenet5", **options), after, shown, learned)
    return made


@pytest.mark.parametrize("condition", gradient.CONDITIONS)
def test_layers_before_and_after(lit, conditions, condition):
    c = gradient.CONDITIONS.index(condition)
    *states, shown, learned = conditions[condition]
    some = np.linspace(0, FEW - 1, 100).astype(int)
    light = units.bins(shown.images.mean(axis=(1, 2, 3)), 8)
    for s, network in enumerate(states):
        assert lit.accuracy[0, c, s] == pytest.approx(training.accuracy(network, shown))
        for layer in ("input", "conv1", "relu2", "relu4"):
            place = lit.layers.index(layer)
            points = shown.images if layer == "input" else embeddings.extract(network, shown, layer=layer)
            points = points.reshape(FEW, -1)
            found = [lit[name][0, c, s, place] for name in ("two_nn", "wide", "told", "silent")]
            assert found[0] == pytest.approx(dimension.two_nn(points).dimension, rel=1e-5)
            wide = dimension.gride(points[some], largest=32)[-1]
            assert wide.estimator == "gride-32"
            assert found[1] == pytest.approx(wide.dimension, rel=1e-5)
            if layer == "conv1":
                assert np.isnan(found[2:]).all()
                continue
            assert found[3] == pytest.approx(poz.poz(points).mean(), rel=1e-5)
            assert found[2] == pytest.approx(told(points, light), rel=1e-4)
    kept = ~stimuli.stratified_mask(learned.labels, 0.1, seed=0)
    assert lit.fitted[0, c] == pytest.approx(training.accuracy(states[1], learned.subset(kept)))


def told(points, light):
    """The median of I/H, one unit at a time, with Panzeri and Treves's correction."""
    shares, n = [], len(points)
    for said in units.responses(points).T:
        rates = np.bincount(said)[np.bincount(said) > 0] / n
        if len(rates) == 1:
            continue
        bits = mutual_info_score(said, light) / np.log(2)
        occupied = [len(np.unique(said[light == b])) - 1 for b in np.unique(light)]
        bits -= (sum(occupied) - (len(rates) - 1)) / (2 * n * np.log(2))
        shares.append(bits / -(rates @ np.log2(rates)))
    return np.median(shares)


def test_shuffled_labels_start_from_the_same_network(lit):
    for name in ("two_nn", "wide", "told", "silent"):
        np.testing.assert_array_equal(lit[name][0, 0, 0], lit[name][0, 2, 0])
    assert lit.accuracy[0, 0, 0] == lit.accuracy[0, 2, 0]
    assert lit.condition[0].tolist() == list(gradient.CONDITIONS)
    assert lit.layers == through_training.LAYERS


def test_light_makes_images_a_line_at_the_wide_scale(lit):
    wide = lit.wide[0, :, :, 0]
    assert (wide[1] < 3).all()
    assert (wide[[0, 2]] > 4.5).all()


def test_where_it_jumps():
    wide = np.full((2, 3, 2, 5), 2.0)
    wide[0, 1, 1] = [2, 2.1, 5, 6, 4]
    wide[1, 1, 1] = [2, 4, 5, 5.5, 6]
    wide[:, 0, 0] = [1, 2, 4, 4, 7]
    layer = [["a", "b", "c", "d", "e"]] * 2
    given = gradient.Gradients.of({"wide": wide, "layer": layer}, stimuli="digits", network="lenet5")
    assert given.jump().tolist() == [2, 1]
    assert given.jump("original", state="before").tolist() == [4, 4]
    with pytest.raises(UnknownNameError, match="no condition 'dark'"):
        given.jump("dark")
    with pytest.raises(UnknownNameError, match="no state 'later'"):
        given.jump(state="later")


def test_it_comes_out_again_without_images(lit, ranked, monkeypatch):
    monkeypatch.setattr(stimuli, "load", None)
    for module, found in ((gradient, lit), (rank, ranked)):
        again = module.known("digits")
        assert again.arrays.keys() == found.arrays.keys()
        for name, values in found.arrays.items():
            np.testing.assert_array_equal(again[name], values)
        assert not again.recorded


def test_tables(lit, ranked):
    table = lit.table()
    assert len(table) == 3 * 2 * 12
    row = table.query("images == 'gradient' and state == 'after' and layer == 'relu4'").iloc[0]
    assert row["wide"] == lit.wide[0, 1, 1, lit.layers.index("relu4")]
    assert row["PoZ"] == lit.silent[0, 1, 1, lit.layers.index("relu4")]
    table = ranked.table()
    assert len(table) == 2 * 11
    row = table.query("epoch == 1 and layer == 'pool2'").iloc[0]
    assert row["rank"] == ranked.rank[0, 1, :, 5].mean()
    assert row["images by chance"] == pytest.approx(400**-0.5)


def test_facts_name_what_determines_the_answers(few):
    facts = gradient._facts("digits")
    for change in ({"strength": 2.0}, {"shown": 100}, {"by_heart": 70}):
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(gradient.SETTINGS, "digits", dataclasses.replace(few, **change))
            other = gradient._facts("digits")
        assert {name for name in facts if facts[name] != other[name]} == set(change)
    assert rank._facts("digits")["size"] == rank.SIZE


def test_the_books_settings():
    """What is recorded trains all its epochs, the last ones slowly."""
    for setting in (gradient.SETTINGS["mnist"], gradient.SETTINGS["digits"]):
        assert list(setting.recipes) == list(gradient.CONDITIONS)
        for recipe in setting.recipes.values():
            assert recipe.patience == recipe.max_epochs
            assert recipe.keep == "last"
            assert 0 < recipe.milestones[0] <= recipe.max_epochs


# --- ranks ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ranked():
    assert rank.known("digits") is None
    return rank.measure("digits", jobs=1, progress=False)


def test_ranks_of_the_networks_of_the_other_record(ranked):
    train, test = stimuli.load("digits", "train"), stimuli.load("digits", "test")
    test = test.subset(test.spread(120))
    recipe = through_training.SETTINGS["digits"].recipe("digits")
    around = [np.flatnonzero(test.labels == c)[0] for c in (0, 1)]
    assert ranked.epoch.tolist() == [[0, 1]]
    for s, network in enumerate(through_training.through(train, recipe, 0)):
        for a, image in enumerate(test.images[around]):
            found = dimension.jacobian_ranks(network, image, layers=ranked.layers)
            assert ranked.rank[0, s, a].tolist() == list(found.values())
        for layer in ("conv2", "relu3"):
            place = ranked.layers.index(layer)
            points = embeddings.extract(network, test, layer=layer)
            of = dimension.quasi_orthogonality(points)
            assert ranked.features[0, s, place] == pytest.approx(of.cosine, rel=1e-5)
            assert ranked.constant[0, s, place] == of.dropped
            of = dimension.quasi_orthogonality(points, of="images")
            assert ranked.images[0, s, place] == pytest.approx(of.cosine, rel=1e-5)
            assert ranked.chance[0, place].tolist() == pytest.approx([119**-0.5, points.shape[1] ** -0.5])
            assert ranked.width[0, place] == points.shape[1]
            np.testing.assert_array_equal(ranked.fires[0, s, :, place], (points[around] != 0).sum(axis=1))
            if layer == "relu3":
                assert ranked.poz[0, s, place] == pytest.approx(poz.poz(points).mean(), rel=1e-5)
            else:
                assert np.isnan(ranked.poz[0, s, place])


def test_rank_does_not_grow_and_poz_bounds_it(ranked):
    assert ranked.grows() == 0
    assert (np.diff(ranked.rank.astype(int), axis=-1) <= 0).all()
    assert (ranked.rank <= ranked.fires).all()
    growing = rank.Ranks.of({"rank": [[[[3, 4, 2, 3]]] * 2]}, stimuli="digits", network="lenet5")
    assert growing.grows() == 4


# --- what is asked for ---------------------------------------------------------------------------


@pytest.mark.parametrize("ask", [gradient.measure, gradient.known, rank.measure, rank.known])
def test_an_unknown_image_set(ask):
    with pytest.raises(UnknownNameError, match="no image set 'moons'. There are: .*digits"):
        ask("moons")


def test_the_commands(lit, ranked, tmp_path):
    for name, module, words in (("gradient", gradient, "original before"), ("rank", rank, "relu4")):
        out = tmp_path / f"{name}.npz"
        done = CliRunner().invoke(cli.app, ["record", name, "digits", "--jobs", "1", "--ship", str(out)])
        assert done.exit_code == 0, done.output
        assert words in done.stdout
        assert f"written: {out}" in done.stdout
        assert "Source: lenet5 on digits" in done.stdout
        with np.load(out) as archive:
            for array, values in module.known("digits").arrays.items():
                np.testing.assert_array_equal(archive[array], values)
        done = CliRunner().invoke(cli.app, ["record", name, "moons"])
        assert done.exit_code == 1
        assert "no image set 'moons'" in done.stderr
    assert {"gradient", "rank"} <= set(records.__all__)
