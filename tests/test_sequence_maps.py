"""Maps of the layers of small transformers, recorded: against direct calls, on a tiny network and task."""

import dataclasses

import numpy as np
import pytest
from typer.testing import CliRunner

from rarefire import cli, sequences, store, transport
from rarefire.errors import UnknownNameError
from rarefire.records import sequence_maps
from rarefire.records.subnetworks import measure_samples

HALF = 2e-3  # what half precision leaves of a number
LAYERS = ("attention 0", "mlp 0", "attention 1", "mlp 1", "norm", "outputs")
ROWS = 20  # of a sample


@pytest.fixture(scope="module", autouse=True)
def tiny(tmp_path_factory):
    """Two blocks learn addition modulo 11 for a few steps; a cache and shipped results of their own."""
    folder = tmp_path_factory.mktemp("tiny")
    data, character = sequences.addition(11), sequences.docstrings(length=8)
    short = dataclasses.replace(character, test=character.test[:2000])
    recipe = dataclasses.replace(sequences.TASKS["addition"], steps=20)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAREFIRE_CACHE", str(folder / "cache"))
        (folder / "data" / "results").mkdir(parents=True)
        patch.setattr(store, "data_dir", lambda: folder / "data")
        patch.setitem(sequences.TASKS, "addition", recipe)
        patch.setitem(sequences.TASKS, "docstrings", dataclasses.replace(recipe, goal=None, steps=2))
        patch.setattr(sequence_maps, "_data", {"addition": data, "docstrings": short}.__getitem__)
        patch.setattr(sequence_maps, "_N", ROWS)
        patch.setattr(sequence_maps, "_SHOWN", 24)
        one = sequence_maps.Setting("tiny", "addition", 2, 16, seeds=2)
        text = sequence_maps.Setting("text", "docstrings", 2, 16, states=("untrained", "after"), seeds=1)
        patch.setattr(sequence_maps, "SETTINGS", {"tiny": one, "text": text})
        patch.setattr(sequence_maps, "SHOWN", ("tiny",))
        yield folder / "data" / "results"


@pytest.fixture(scope="module")
def measured(tiny):
    return sequence_maps.measure("tiny", jobs=1, progress=False)


def first():
    """The network of seed 0, untrained."""
    return sequences.Transformer(12, width=16, depth=2, heads=4, length=3, seed=0)


def test_layers_are_the_stream_at_the_last_place(measured):
    rows = sequence_maps._data("addition").test[:7]
    found = dict(sequence_maps.stream(first(), rows))
    assert tuple(found) == LAYERS
    whole = sequences.states(first(), rows[:, :3])
    for layer, values in found.items():
        np.testing.assert_array_equal(values, whole[layer])


def test_states_and_seeds(measured):
    assert [*measured] == [*sequence_maps.STATES]
    for state, found in measured.items():
        assert found.seeds == (0, 1)
        assert {answer.provenance["facts"]["state"] for answer in found.answers} == {state}
        assert found.layers == LAYERS
        assert found.upper.shape == (2, 2, 15)
        assert (found.upper[0] != found.upper[1]).any()
    assert (measured["untrained"].upper != measured["after"].upper).any()
    assert (measured["untrained"].step == 0).all()
    assert (measured["after"].step == 20).all()
    assert measured["after"].about == "addition"
    assert measured["after"].network == "transformer, 2 blocks"
    # Nothing is learnt by heart in so few steps: the end stands for it.
    networks, fitted = sequence_maps.trained("tiny", 0)
    assert [*networks] == [*fitted.weights] == ["untrained", "after"]
    np.testing.assert_array_equal(measured["before"].upper, measured["after"].upper)


@pytest.mark.parametrize("state", ["untrained", "after"])
def test_a_network_equals_direct_calls(measured, state):
    data, found = sequence_maps._data("addition"), measured[state]
    network = sequence_maps.trained("tiny", 0)[0][state]
    if state == "untrained":
        weights = first().state_dict()
        assert all((weights[name] == values).all() for name, values in network.state_dict().items())
    assert found.accuracy[0] == sequences.accuracy(network, data)
    assert found.bits[0] == pytest.approx(sequences.bits(network, data))
    for block in (0, 1):
        less = sequences.skipped(network, block)
        assert found.skipped[0, block] == pytest.approx(sequences.bits(less, data))
        assert found.passed[0, block] == sequences.accuracy(less, data)
    # Two samples of all test rows, no row in both.
    n = len(data.test)
    places = np.linspace(0, n - 1, min(2 * ROWS, n)).astype(int)
    assert len(set(places)) == len(places)
    pairs = [(a, b) for i, a in enumerate(LAYERS) for b in LAYERS[i + 1 :]]
    for s in (0, 1):
        rows = data.test[places[s : len(places) // 2 * 2 : 2]]
        states = sequences.states(network, rows[:, :-1])
        spaces = {layer: transport.distances(states[layer]) for layer in LAYERS}
        each = dict(transport.each_pair(spaces, n_random=0, jobs=1))
        for name in ("lower", "upper", "identity", "chance"):
            expected = [getattr(each[pair], name) for pair in pairs]
            np.testing.assert_allclose(found[name][0, s], expected, rtol=HALF, atol=1e-6)
    samples = (sequence_maps.stream(network, rows) for rows in sequence_maps._samples(data))
    again = measure_samples(*samples, controls=False)
    np.testing.assert_array_equal(found.cka[0], again["cka"])
    assert np.isnan(found.controls).all()


def test_how_far_each_block_but_the_first_moves_the_stream(measured):
    found = measured["after"]
    moved = found.moved()
    assert moved.shape == (2, 1)
    np.testing.assert_array_equal(moved[:, 0], found.apart()[:, 1, 3])  # mlp 0, mlp 1
    np.testing.assert_array_equal(found.moved("cka")[:, 0], found.apart("cka")[:, 1, 3])
    with pytest.raises(UnknownNameError, match="there is no measure 'rsa'"):
        found.moved("rsa")


def test_what_is_known_is_kept_and_not_trained_again(measured, monkeypatch):
    monkeypatch.setattr(sequences, "fit", None)
    again = sequence_maps.measure("tiny", seeds=[1], jobs=1, progress=False)
    for state, found in again.items():
        assert found.seeds == (1,)
        np.testing.assert_array_equal(found.upper[0], measured[state].upper[1])


def test_what_is_shown_is_sorted_by_the_sum(measured):
    shown = sequence_maps.measure_shown("tiny")
    assert shown.layer == LAYERS
    assert shown.groups == ("0–1", "2–3", "4–5", "6–7", "8–9", "10–10")
    data = sequence_maps._data("addition")
    there = np.bincount(data.test[:, -1] * 6 // 11)
    assert np.bincount(shown.group).tolist() == np.minimum(there, 4).tolist()
    rows, told, _ = sequence_maps._sorted(data)
    assert (data.test[:, None] == rows).all(axis=2).any(axis=0).all()
    assert (told == rows[:, :2].sum(axis=1) % 11 * 6 // 11).all()
    network = sequence_maps.trained("tiny", 0)[0]["after"]
    spaces = {n: transport.distances(x) for n, x in sequence_maps.stream(network, rows)}
    each = dict(transport.each_pair(spaces, jobs=1))
    np.testing.assert_allclose(shown.upper[1], each["attention 0", "attention 1"].upper)
    assert sequence_maps.shown_record("tiny")["partner"].shape == (15, len(rows))


def test_docstrings_are_shown_by_the_kind_of_character():
    data = sequence_maps._data("docstrings")
    rows, told, kinds = sequence_maps._sorted(data)
    assert kinds == ("space", "small letter", "capital", "other")
    assert np.bincount(told).tolist() == [6, 6, 6, 6]
    characters = np.array(list(sequences.ALPHABET))[rows[:, -1]]
    assert all(c.isspace() for c in characters[:6])
    assert all(c.islower() for c in characters[6:12])
    assert all(c.isupper() for c in characters[12:18])
    assert not any(c.isspace() or c.isalpha() for c in characters[18:])
    found = sequence_maps.measure("text", jobs=1, progress=False)
    assert [*found] == ["untrained", "after"]
    assert found["after"].layers == LAYERS
    assert found["after"].bits[0] == pytest.approx(
        sequences.bits(sequence_maps.trained("text", 0)[0]["after"], data)
    )


def run(*arguments):
    return CliRunner().invoke(cli.app, ["record", "sequences", *map(str, arguments)])


def test_the_command_prints_and_ships_and_what_is_shipped_is_known(measured, tiny, monkeypatch):
    assert sequence_maps.known("tiny") == {}  # what is cached is of this Python
    assert sequence_maps.known_shown("tiny") is None
    done = run("tiny", "--jobs", 1, "--ship", tiny / "sequences-tiny.npz")
    assert done.exit_code == 0, done.output
    assert "transformer, 2 blocks on addition (6 networks, computed on this machine)" in done.stdout
    named = [tiny / f"sequences-tiny{end}.npz" for end in ("", "-shown")]
    assert [f"written: {path}" in done.stdout for path in named] == [True, True]
    assert sorted(tiny.iterdir()) == sorted(named)
    rows = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines() if "." in line}
    for state, found in measured.items():
        b = np.median([gain.b for gain in found.gains()])
        assert (rows[state][0], rows[state][3]) == ("2", f"{b:.3f}")
    # Whatever the facts are that this Python would give.
    monkeypatch.setattr(sequence_maps, "_data", None)
    monkeypatch.setenv("RAREFIRE_CACHE", str(tiny.parent / "none"))
    again = sequence_maps.known("tiny")
    assert [*again] == [*measured]
    for state, found in again.items():
        assert found.recorded
        assert found.seeds == (0, 1)
        np.testing.assert_array_equal(found.upper, measured[state].upper)
        np.testing.assert_allclose(found.bits, measured[state].bits, rtol=1e-6)
    shown = sequence_maps.known_shown("tiny")
    assert shown.layer == LAYERS
    assert sequence_maps.known_shown_record("tiny").recorded
    assert "(6 networks, recorded runs)" in run("tiny").stdout
    assert run("tiny", "--ship", tiny.parent / "again.npz").exit_code == 0
    assert sorted(path.name for path in tiny.parent.glob("*.npz")) == ["again-shown.npz", "again.npz"]


@pytest.mark.parametrize("ask", ["measure", "known", "trained", "measure_shown", "known_shown"])
def test_an_unknown_transformer(ask):
    arguments = ("adition", 0) if ask == "trained" else ("adition",)
    with pytest.raises(UnknownNameError, match="there is no transformer 'adition'. There are: tiny, text"):
        getattr(sequence_maps, ask)(*arguments)
    wrong = run("adition")
    assert wrong.exit_code == 1
    assert "there is no transformer 'adition'" in wrong.stderr
