"""Maps of layers, recorded: against direct calls, on toys, digits and a small network."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from typer.testing import CliRunner

from rarefire import cli, embeddings, networks, poz, pruning, similarity, stimuli, store, training, transport
from rarefire import subnetworks as direct
from rarefire.errors import DataError, InputError, UnknownNameError
from rarefire.records import layer_choice, people_across, pruned, subnetworks
from rarefire.records.record import Stack

HALF = 2e-3  # what half precision leaves of a number


@pytest.fixture(scope="module", autouse=True)
def tiny(tmp_path_factory):
    """Digits, few images, one epoch; a cache of its own."""
    recipe = training.Recipe(max_epochs=1, patience=1, keep="last", batch_size=64)
    few = pruned.Setting("digits", "digits", recipe, n_rounds=1, at=(1,), rate=0.5, seeds=1)
    with pytest.MonkeyPatch.context() as patch, training.one_thread():
        patch.setenv("RAREFIRE_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("RAREFIRE_MIRROR", "")
        patch.setitem(pruned.SETTINGS, "digits", few)
        patch.setattr(subnetworks, "_BY_HEART", 2)
        patch.setitem(subnetworks.SETTINGS, "digits", subnetworks.Setting(20, 100, seeds=1))
        yield


@pytest.fixture(scope="module")
def measured(tiny):
    assert subnetworks.known("digits") == {}
    return subnetworks.measure("digits", jobs=1, progress=False)


# --- one network ----------------------------------------------------------------------------------


@pytest.fixture
def layers(rng):
    """Two samples of three layers; the second is post-ReLU, and has a feature that never fires."""
    first, second = (direct.toy("blocks", rng=rng, n_images=12, n_layers=6)[::2] for _ in range(2))
    for sample in (first, second):
        sample[1] = np.maximum(sample[1], 0)
        sample[1][:, 2] = 0
    return [dict(zip("abc", sample, strict=True)) for sample in (first, second)]


def test_a_network_equals_direct_calls(layers):
    found = subnetworks.measure_samples(*(each.items() for each in layers), seed=3, n_random=1)
    pairs = [("a", "b"), ("a", "c"), ("b", "c")]
    spaces = [{name: transport.distances(x) for name, x in each.items()} for each in layers]
    for s in (0, 1):
        each = dict(transport.each_pair(spaces[s], seed=3, n_random=1, jobs=1))
        for name in ("lower", "upper", "identity", "chance"):
            expected = [getattr(each[pair], name) for pair in pairs]
            np.testing.assert_allclose(found[name][s], expected, rtol=HALF)
        for place, (a, b) in enumerate(pairs):
            alike = similarity.compare(layers[s][a], layers[s][b], measures=similarity.OF_GRAMS)
            assert {name: found[name][s, place] for name in alike} == pytest.approx(alike, abs=HALF)
    assert (found["lower"] <= found["upper"]).all()
    assert (found["upper"] <= found["identity"]).all()
    assert found["layer"].tolist() == ["a", "b", "c"]
    assert found["width"].tolist() == [layers[0][name].shape[1] for name in "abc"]
    assert (found["floor"][:, 0] < found["floor"][:, 1]).all()
    rates = poz.poz(layers[0]["b"])
    np.testing.assert_allclose(found["silent"][1], [rates.mean(), (rates == 1).mean()], rtol=HALF)
    assert np.isnan(found["silent"][[0, 2]]).all()


def test_what_is_left_out_is_of_those_that_fire(layers):
    found = subnetworks.measure_samples(*(each.items() for each in layers), seed=3)
    rows, rng = layers[0]["b"], np.random.default_rng([3, 9])
    rates = poz.poz(rows)
    fires = [f for f in poz.order(rates, first="low") if rates[f] < 1]
    assert 3 < len(fires) < rows.shape[1]
    whole = transport.distances(rows)
    for o, order in enumerate(subnetworks.ORDERS):
        for s, share in enumerate(subnetworks.SHARES):
            n = len(fires) - round(share * len(fires))
            kept = {"rarest": fires[:n], "most active": fires[-n:]}.get(order)
            if kept is not None:
                near = transport.bracket(whole, transport.distances(rows[:, kept]), rng=rng, n_random=0)
                assert found["without"][1, o, s] == pytest.approx(near.relative, rel=HALF)
    assert (found["without"][1] > 0).all()
    assert np.isnan(found["without"][[0, 2]]).all()
    # Maps without the rarest fifth, and of images of one norm.
    spaces = {name: transport.distances(x) for name, x in layers[0].items()}
    spaces["b"] = transport.distances(rows[:, fires[: len(fires) - round(0.2 * len(fires))]])
    each = dict(transport.each_pair(spaces, seed=3, n_random=0, jobs=1))
    np.testing.assert_allclose(
        found["controls"][1], [each[pair].upper for pair in (("a", "b"), ("a", "c"), ("b", "c"))], rtol=HALF
    )
    own, kept = direct.without_large_norms(layers[0])
    assert len(kept) == 11
    each = dict(transport.each_pair({n: transport.distances(x) for n, x in own.items()}, seed=3, n_random=0))
    np.testing.assert_allclose(found["controls"][0, 0], each["a", "b"].upper, rtol=HALF)
    # What was not asked for is not there.
    fewer = subnetworks.measure_samples(*(each.items() for each in layers), seed=3, controls=False)
    assert all(np.isnan(fewer[name]).all() for name in ("controls", "without", "silent"))
    np.testing.assert_array_equal(fewer["upper"], found["upper"])


def test_maps_and_their_blocks(rng):
    chain = [direct.toy("blocks", rng=rng, n_images=24) for _ in range(2)]
    numbers = [
        subnetworks.measure_samples(
            *(((str(i), x[s * 12 : s * 12 + 12]) for i, x in enumerate(sample)) for s in (0, 1)),
            controls=False,
        )
        for sample in chain
    ]
    arrays = {name: np.stack([each[name] for each in numbers]) for name in numbers[0]}
    maps = subnetworks.Maps.of(arrays, stimuli="toy", network="toy")
    assert maps.layers == tuple(map(str, range(12)))
    assert len(maps) == 2
    apart = maps.apart()
    assert apart.shape == (2, 12, 12)
    assert (np.diagonal(apart, axis1=1, axis2=2) == 0).all()
    assert apart[1, 0, 2] == pytest.approx(np.sqrt(float(maps.upper[1, 0, 1])) / 2)
    cka = maps.apart("cka", sample=1)
    assert cka[0, 0, 1] == pytest.approx(1 - min(max(float(maps.cka[0, 1, 0]), 0), 1))
    np.testing.assert_allclose(maps.relative * maps.chance, maps.upper.astype(float), rtol=1e-6)
    gains = maps.gains()
    both = [maps.apart(sample=s)[1] for s in (0, 1)]
    assert gains[1] == direct.against_chain(*both)
    assert [gain.partition.cuts for gain in maps.gains("cka")] == [(4, 8), (4, 8)]
    assert np.isnan(maps.control("normalised")[0, 0, 1])
    with pytest.raises(UnknownNameError, match="there is no measure 'rsa'. There are: gw, cka"):
        maps.apart("rsa")
    with pytest.raises(UnknownNameError, match="there is no control 'none'. There are: normalised"):
        maps.control("none")


def of_maps(*apart):
    """A record of one network, whose ½·GW on both samples is this."""
    i, j = np.triu_indices(len(apart[0]), k=1)
    upper = np.stack([(2 * each[i, j]) ** 2 for each in apart])[:, None] * np.ones((1, 2, 1))
    layer = [[str(k) for k in range(len(apart[0]))]] * len(apart)
    return subnetworks.Maps.of({"layer": layer, "upper": upper}, stimuli="toy", network="toy")


def test_layers_that_stand_alone_at_an_end_are_taken_off():
    steps = np.abs(np.subtract.outer(np.arange(9), np.arange(9))) / 10
    two = np.where(np.not_equal.outer(np.arange(9) < 4, np.arange(9) < 4), 1.0, 0.1) * (steps > 0)

    def with_ends(inside):
        far = np.full((11, 11), 5.0)
        far[1:-1, 1:-1] = inside
        np.fill_diagonal(far, 0)
        return far

    maps = of_maps(with_ends(steps), with_ends(two))
    assert [gain.partition.cuts for gain in maps.gains()] != [(3,), (4,)]
    chain, groups = maps.inner()
    assert chain == direct.against_chain(*[maps.apart()[0, 1:-1, 1:-1]] * 2)
    assert chain.b < 0
    assert groups.partition.cuts == (4,)
    assert groups.b > 0
    # Without ends nothing is taken off; of few layers nothing is left.
    assert of_maps(two).inner() == of_maps(two).gains()
    assert of_maps(with_ends(steps)[:6, :6]).inner() == [None]


# --- LeNets ---------------------------------------------------------------------------------------


def test_every_way_is_measured_and_kept(measured):
    assert [*measured] == [*subnetworks.WAYS]
    assert all(isinstance(each, Stack) and each.layers == subnetworks.LAYERS for each in measured.values())
    again = subnetworks.known("digits")
    assert [*again] == [*measured]
    np.testing.assert_array_equal(again["trim"].upper, measured["trim"].upper)
    assert again["usual"].about == "digits"
    assert again["norm"].network == "lenet5-batchnorm"
    maps = [tuple(np.nan_to_num(each.upper).ravel()) for each in measured.values()]
    assert len(set(maps)) == len(maps)
    assert np.isfinite(measured["usual"].controls).all()
    assert np.isnan(measured["lrr"].controls).all()


def test_a_way_is_the_network_that_it_says(measured):
    train, test = (stimuli.load("digits", split) for split in ("train", "test"))
    options = {"input_shape": train.input_shape, "n_classes": 10, "mean": train.mean, "std": train.std}
    untrained = networks.build("lenet5", **options, seed=0)
    rows = [np.flatnonzero(test.labels == c)[s * 2 : s * 2 + 2] for s in (0, 1) for c in range(10)]
    assert np.intersect1d(np.concatenate(rows[:10]), np.concatenate(rows[10:])).size == 0
    for s in (0, 1):
        shown = test.subset(np.concatenate(rows[10 * s : 10 * s + 10]))
        spaces = transport.layer_distances(untrained, shown, layers=["conv1", "fc3"])
        (_, one), *_ = transport.each_pair(spaces, n_random=0, jobs=1)
        place = subnetworks.LAYERS.index("fc3") - 1  # of conv1 with fc3
        assert measured["untrained"].upper[0, s, place] == pytest.approx(one.upper, rel=HALF)
    assert measured["untrained"].accuracy[0] == training.accuracy(untrained, test)
    # The usual one is the dense network of chapter 6; the pruned are its last rounds.
    options = {**pruned.SETTINGS["digits"].options(), "seeds": [0], "jobs": 1, "progress": False}
    rounds = pruning.rounds(train, "lenet5", **options)
    assert measured["usual"].accuracy[0] == training.accuracy(rounds["dense"][0][0].network(), test)
    assert measured["lrr"].accuracy[0] == training.accuracy(rounds["lrr"][0][1].network(), test)
    # Those that learn few images learn the same, once with labels that are not theirs.
    folder = store.cache_dir() / "checkpoints"
    names = {path.name.rsplit("-", 1)[0] for path in folder.iterdir() if path.name.startswith("ways-")}
    assert names == {f"ways-digits-{n}" for n in ("decay", "norm", "tuned", "few", "shuffled")}
    assert len(list(folder.glob("ways-digits-tuned-*/seed-0000*.pt"))) == 2


def test_what_is_not_there_is_said(tiny):
    with pytest.raises(UnknownNameError, match="there is no image set 'letters'. There are: digits, mnist"):
        subnetworks.measure("letters")
    with pytest.raises(UnknownNameError, match="there is no way 'usal'. There are: usual"):
        subnetworks.measure("digits", ["usal"])
    with pytest.raises(DataError, match="no network of googlenet is on this machine: set RAREFIRE_MIRROR"):
        subnetworks.measure_here(["googlenet"])


# --- a network of photographs ---------------------------------------------------------------------


class Small(nn.Module):
    """Three steps; the second gives what it takes."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Sequential(nn.Conv2d(3, 6, 3, stride=4), nn.ReLU()),
            nn.Sequential(nn.Conv2d(6, 6, 3, padding=1), nn.ReLU()),
            nn.Sequential(nn.Conv2d(6, 6, 1), nn.ReLU()),
            nn.ReLU(),
        )
        self.head = nn.Linear(6, 4)

    def forward(self, x):
        return self.head(self.features(x).mean(dim=(2, 3)))


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A small network in place of GoogLeNet, photographs of noise in a mirror."""
    rng = np.random.default_rng(0)
    folder = tmp_path / stimuli.SAMPLE
    for c in range(4):
        (folder / f"n{c:08d}_c").mkdir(parents=True)
        for i in range(6):
            pixels = rng.integers(0, 60 * (c + 1), (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"n{c:08d}_c" / f"{i}.png")
    (tmp_path / "nets.py").write_text("")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Small().eval()
    monkeypatch.setenv("RAREFIRE_MIRROR", str(tmp_path))
    monkeypatch.setattr(people_across, "ready", lambda name: name == "googlenet")
    monkeypatch.setattr(people_across, "place", lambda name: people_across.Place("small", "features", 32))
    monkeypatch.setattr(networks, "build", lambda *_, **__: network)
    monkeypatch.setattr(networks, "local_weights", lambda *_: None)
    monkeypatch.setattr(subnetworks, "_N", 12)
    yield network
    shutil.rmtree(store.cache_dir() / "results", ignore_errors=True)


def test_a_network_of_photographs(place):
    found = subnetworks.measure_here(jobs=1, progress=False)["googlenet"]
    assert [*found] == ["untrained", "trained"]
    layers = ("features.0", "features.1", "features.2", "features.3", "pooled", "outputs")
    assert found["trained"].layers == layers
    photographs = stimuli.gallery(size=32)[0:24:2]
    spaces = transport.layer_distances(place, photographs, layers=["features.0", "features.2"])
    (_, one), *_ = transport.each_pair(spaces, jobs=1)
    assert found["trained"].upper[0, 0, 1] == pytest.approx(one.upper, rel=HALF)
    assert not np.array_equal(found["untrained"].upper, found["trained"].upper)
    assert subnetworks.known_network("googlenet") == {} or "trained" in subnetworks.known_network("googlenet")


# --- what groups are good for ---------------------------------------------------------------------


def test_the_middle_of_a_block_is_nearest_to_the_others():
    at = np.array([0.0, 1.0, 1.5, 10.0, 10.1])
    apart = np.abs(at[:, None] - at)
    assert layer_choice.middles(apart, 2).tolist() == [1, 4]  # of two that are as near, the later
    assert layer_choice.middles(apart, 5).tolist() == [0, 1, 2, 3, 4]


def test_a_readout_is_a_ridge_classifier(rng):
    labels = np.repeat([0, 1, 2], 40)
    features = rng.normal(size=(120, 5)) * [1, 1, 1, 100, 1]
    features[:, 0] += 4 * (labels == 1)
    features[:, 3] += 400 * (labels == 2)
    learned = np.arange(120) % 2 == 0
    assert layer_choice.readout(features, labels, learned) > 0.9
    assert layer_choice.readout(features, rng.permutation(labels), learned) < 0.6
    # Its units do not count.
    scaled = features * [1e-3, 1, 1, 7, 1e3] + 5
    expected = layer_choice.readout(features, labels, learned)
    assert layer_choice.readout(scaled, labels, learned) == pytest.approx(expected)
    with pytest.raises(InputError, match=r"some images are not learned; got 120, 120, 120 of 120"):
        layer_choice.readout(features, labels, np.ones(120, dtype=bool))
    with pytest.raises(InputError, match=r"have one first axis.*got 119, 120, 60 of 120"):
        layer_choice.readout(features[1:], labels, learned)


def test_a_step_that_gives_what_it_takes_can_be_left_out(place, rng):
    image = rng.random((2, 3, 32, 32)).astype(np.float32)
    layers = ["features.0", "features.1", "features.2", "features.3", "pooled", "outputs"]
    can = layer_choice.steps(place, layers, image[:1])
    assert can == ["features.1", "features.2"]  # the last has no weights
    less = layer_choice.without(place, ["features.1"])
    assert isinstance(place.features[1], nn.Sequential)  # a copy
    x = torch.from_numpy(image)
    with torch.no_grad():
        expected = place.head(place.features[2](place.features[0](x)).mean(dim=(2, 3)))
        np.testing.assert_allclose(less(x), expected, atol=1e-6)
        np.testing.assert_array_equal(layer_choice.without(place, [])(x), place(x))


@pytest.fixture
def transfer(monkeypatch):
    """Six images of each class in place of CIFAR-10."""
    rng = np.random.default_rng(3)
    images = np.stack([rng.random((3, 8, 8)) * (c + 1) / 10 for c in range(10) for _ in range(6)])
    halves = [
        stimuli.Stimuli(
            "cifar10-jpg",
            split,
            images[s::2].astype(np.float32),
            np.repeat(np.arange(10), 3),
            tuple("abcdefghij"),
            "",
        )
        for s, split in enumerate(("train", "test"))
    ]
    monkeypatch.setattr(layer_choice, "_OF_CLASS", 3)
    monkeypatch.setattr(stimuli, "load", lambda name, split: halves[split == "test"])
    monkeypatch.setattr(stimuli, "content_digest", lambda *_: "digest")
    return halves


def test_choices_of_a_network(place, transfer):
    one = layer_choice.measure_here(progress=False)["googlenet"]
    n = len(one.layer)
    assert n == 6
    assert one.single.shape == (n,)
    assert one.drawn.shape == (5, 40)
    shown = np.concatenate([each.images for each in transfer])
    large = nn.functional.interpolate(
        torch.from_numpy(shown), size=(32, 32), mode="bilinear", align_corners=False
    )
    pooled = embeddings.extract(place, large.numpy(), layer="features.1", spatial="mean")
    labels = np.tile(np.repeat(np.arange(10), 3), 2)
    assert one.single[1] == pytest.approx(layer_choice.readout(pooled, labels, np.arange(60) < 30))
    last = layer_choice.CHOSEN.index("last")
    assert one.chosen[last, 4] == one.everything  # of six layers, the last six
    assert one.step.tolist() == ["features.1", "features.2"]
    maps = subnetworks.measure_here(jobs=1, progress=False)["googlenet"]["trained"]
    assert one.moved[0] == pytest.approx([maps.apart()[0, 0, 1], maps.apart()[0, 1, 2]])
    assert one.least() == pytest.approx(one.without[np.argmin(one.moved[0])] - one.without.mean())
    assert np.isnan(one.ranks())
    assert layer_choice.known_networks().keys() <= people_across.NETWORKS.keys()
    table = one.table()
    assert table["layers"].tolist() == [2, 3, 4, 5, 6]
    np.testing.assert_array_equal(table[[*layer_choice.CHOSEN]], one.chosen.T)
    np.testing.assert_allclose(table["random"], one.drawn.mean(axis=1), rtol=1e-6)


# --- the commands ---------------------------------------------------------------------------------


def run(*arguments):
    return CliRunner().invoke(cli.app, ["record", *map(str, arguments)])


@pytest.fixture
def results(tmp_path, monkeypatch):
    """A folder of shipped results that is empty."""
    monkeypatch.setattr(store, "data_dir", lambda: tmp_path / "data")
    (tmp_path / "data" / "results").mkdir(parents=True)
    return tmp_path / "data" / "results"


def test_a_table_has_the_medians_of_each_way(rng):
    b = direct.toy("blocks", rng=rng, n_images=24)
    one = subnetworks.measure_samples(
        *(((str(i), x[s * 12 : s * 12 + 12]) for i, x in enumerate(b)) for s in (0, 1)), controls=False
    )
    answers = [
        store.Answer({**one, "accuracy": np.float64(right)}, {"facts": {"state": state}}, "computed")
        for state, right in (("trained", 0.5), ("untrained", 0.1), ("trained", 0.75), ("trained", 1))
    ]
    maps = subnetworks.Maps(tuple(answers))
    table = maps.table("cka")
    assert table[["way", "networks", "accuracy"]].to_numpy().tolist() == [
        ["trained", 3, 0.75],
        ["untrained", 1, 0.1],
    ]
    gain = maps.gains("cka")[0]
    for name in ("blocks", "b", "b_uneven"):
        assert table[name].tolist() == pytest.approx([getattr(gain, name)] * 2)
    with pytest.raises(UnknownNameError, match="there is no measure 'rsa'"):
        maps.table("rsa")


def test_the_command_prints_and_ships_lenets(measured, results, monkeypatch):
    path = results / "subnetworks-digits.npz"
    done = run("subnetworks", "digits", "--jobs", 1, "--ship", path)
    assert done.exit_code == 0, done.output
    rows = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines() if "." in line}
    assert [*rows][: len(subnetworks.WAYS)] == [*subnetworks.WAYS]
    (gain,) = measured["trim"].gains()
    expected = [measured["trim"].accuracy[0], gain.blocks, gain.b, gain.b_uneven]
    assert rows["trim"] == ["1", *(f"{value:.3f}" for value in expected)]
    assert "2 networks on digits (10 networks, computed on this machine)" in done.stdout
    assert [*results.iterdir()] == [path]  # digits are not recorded to be shown
    # One file answers for every way, without a cache.
    monkeypatch.setenv("RAREFIRE_CACHE", str(results.parent / "none"))
    again = subnetworks.known("digits")
    assert [*again] == [*measured]
    assert all(each.recorded for each in again.values())
    np.testing.assert_array_equal(again["tuned"].upper, measured["tuned"].upper)
    wrong = run("subnetworks", "moon")
    assert wrong.exit_code == 1
    assert "no image set or network 'moon'. There are: digits, mnist, cifar10-jpg, networks" in wrong.stderr


def test_what_is_shown_of_a_lenet_is_written_beside_it(measured, results, monkeypatch):
    monkeypatch.setattr(subnetworks, "SHOWN", ("digits",))
    monkeypatch.setattr(subnetworks, "_SHOWN", 20)
    path = results / "one.npz"
    assert subnetworks.known_shown("digits") is None
    done = run("subnetworks", "digits", "--jobs", 1, "--ship", path)
    assert done.exit_code == 0, done.output
    assert f"written: {results / 'one-shown.npz'}" in done.stdout
    monkeypatch.setenv("RAREFIRE_CACHE", str(results.parent / "none"))
    assert subnetworks.known_shown_record("digits").recorded
    assert subnetworks.shown_record("digits").recorded
    shown = subnetworks.known_shown("digits")
    assert shown.layer == subnetworks.LAYERS
    assert shown.group.tolist() == np.repeat(np.arange(10), 2).tolist()
    np.testing.assert_array_equal(subnetworks.measure_shown("digits").space, shown.space)


def test_the_commands_of_networks(place, transfer, results, monkeypatch):
    done = run("subnetworks", "--jobs", 1, "--ship", results / "subnetworks.npz")
    assert done.exit_code == 0, done.output
    named = [results / f"subnetworks-googlenet{end}.npz" for end in ("", "-shown")]
    assert [f"written: {path}" in done.stdout for path in named] == [True, True]
    assert sorted(results.iterdir()) == sorted(named)
    assert [line.split()[0] for line in done.stdout.splitlines() if line.split()[1:2] == ["1"]] == [
        *subnetworks.STATES
    ]
    done = run("layer-choice", "googlenet", "--jobs", 1, "--ship", results / "layer-choice-googlenet.npz")
    assert done.exit_code == 0, done.output
    one = layer_choice.known_network("googlenet")
    assert layer_choice.known_networks()["googlenet"].recorded
    (two,) = (line for line in done.stdout.splitlines() if line.split()[:1] == ["2"])
    assert f"{one.chosen[0, 0]:.3f}" in two
    # Once they are shipped, it takes neither the network nor the photographs.
    monkeypatch.setattr(people_across, "ready", lambda _: False)
    monkeypatch.setenv("RAREFIRE_CACHE", str(results.parent / "none"))
    for name in ("subnetworks", "layer-choice"):
        again = run(name, "googlenet", "--ship", results.parent / f"{name}.npz")
        assert again.exit_code == 0, again.output
        assert "recorded run" in again.stdout
        gone = run(name, "googlenet", "--recompute")
        assert gone.exit_code == 1
        assert "no network of googlenet is on this machine" in gone.stderr
    assert {path.name for path in results.parent.glob("*.npz")} == {
        *("subnetworks.npz", "subnetworks-shown.npz", "layer-choice.npz")
    }
    shown = subnetworks.known_shown("googlenet")
    assert shown.layer == subnetworks.known_network("googlenet")["trained"].layers
    wrong = run("layer-choice", "digits")
    assert wrong.exit_code == 1
    assert "no network 'digits'. There are: networks, squeezenet1_0" in wrong.stderr
