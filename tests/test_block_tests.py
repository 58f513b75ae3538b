"""Which measure finds planted blocks: the maps of each, and the tables against counting by hand."""

import re

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from rarefire import cli, similarity, store, subnetworks, transport
from rarefire.errors import InputError
from rarefire.records import block_tests, source

KINDS = ("blocks", "smooth", "uneven")


def answer(arrays, **facts):
    return store.Answer(arrays, store.provenance("given", facts), "computed")


def simulated(b, *, b_uneven=None, exact=None, differ="both", noise=1.0, measures=("gw", "cka")):
    """A record of numbers ``(3, N, M)`` in the order of kinds."""
    b_uneven = b if b_uneven is None else b_uneven
    exact = np.zeros(b.shape, dtype=bool) if exact is None else exact
    answers = [
        answer(
            {"b": b[k], "b_uneven": b_uneven[k], "exact": exact[k]},
            **{"kind": kind, "differ": differ, "noise": noise, "measures": list(measures)},
        )
        for k, kind in enumerate(KINDS)
    ]
    return block_tests.Blocks(tuple(answers))


# --- maps ----------------------------------------------------------------------------------------


def test_maps_are_those_of_the_measures(rng):
    layers = subnetworks.toy("smooth", rng=rng, n_images=20, n_layers=6)
    found = block_tests.maps(layers)
    assert tuple(found) == block_tests.MEASURES
    spaces = {str(i): transport.distances(layer) for i, layer in enumerate(layers)}
    gw = transport.square_map(dict(transport.each_pair(spaces, n_random=0, jobs=1)), list(spaces))
    np.testing.assert_allclose(found["gw"], gw, rtol=1e-12)
    identity = np.mean((spaces["1"] - spaces["4"]) ** 2)
    assert found["identity"][1, 4] == found["identity"][4, 1] == pytest.approx(np.sqrt(identity) / 2)
    assert (found["gw"] <= found["identity"] + 1e-12).all()
    assert found["cka"][2, 5] == pytest.approx(1 - similarity.cka(layers[2], layers[5]))
    for metric in ("pearson", "cosine"):
        r2 = similarity.compare(layers[0], layers[3], measures=[metric])[metric]
        assert found[metric][0, 3] == pytest.approx(1 - r2)
    one = block_tests.maps([layers[0], 3 * layers[0], *layers[1:3]], measures=["cka"])
    assert list(one) == ["cka"]
    assert one["cka"][0, 1] == pytest.approx(0, abs=1e-12)


def test_measures_that_there_are_not(rng):
    layers = subnetworks.toy("smooth", rng=rng)
    for measures, said in ((["rsa", "gw"], "got rsa, gw"), ([], "got none")):
        with pytest.raises(InputError, match=f"some of gw, identity, cka, pearson, cosine; {said}"):
            block_tests.maps(layers, measures=measures)


# --- tables --------------------------------------------------------------------------------------


def test_power_is_what_lies_above_the_threshold_of_each_measure():
    """Of twenty numbers one is above the nineteenth: a twentieth, as asked for."""
    smooth = np.arange(1, 21.0)  # threshold 19
    uneven = smooth + 5  # threshold 24; 20 to 25 are above 19: six of twenty
    planted = np.where(np.arange(20) < 12, 19, np.where(np.arange(20) < 17, 20.0, 30.0))
    b = np.stack([planted, smooth, uneven])[..., None] * [1, -1]
    exact = np.zeros((3, 20, 2), dtype=bool)
    exact[0, :5, 1] = True
    found = simulated(b, b_uneven=b + 100, exact=exact).power()
    assert len(found) == 2 * 2 * 2
    rows = found.set_index(["statistic", "null", "measure"])
    assert set(found["differ"]) == {"both"}
    assert set(found["noise"]) == {1.0}
    of_smooth, either = rows.loc["b", "smooth", "gw"], rows.loc["b", "either", "gw"]
    assert (of_smooth["threshold"], of_smooth["power"], of_smooth["uneven"]) == (19, 8 / 20, 6 / 20)
    assert (either["threshold"], either["power"], either["uneven"]) == (24, 3 / 20, 1 / 20)
    assert rows.loc[("b_uneven", "smooth", "gw"), "threshold"] == 119
    # Turned round: the threshold of smooth is −2 of −1 … −20; those planted are all below.
    turned = rows.loc["b", "smooth", "cka"]
    assert (turned["threshold"], turned["power"], turned["exact"]) == (-2, 0, 5 / 20)
    assert of_smooth["exact"] == 0
    # Wilson: (p + z²/2n ± z √(p(1−p)/n + z²/4n²)) / (1 + z²/n)
    z, p, n = 1.959964, 0.4, 20
    middle, half = p + z**2 / (2 * n), z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    ends = (middle - half) / (1 + z**2 / n), (middle + half) / (1 + z**2 / n)
    assert (of_smooth["low"], of_smooth["high"]) == pytest.approx(ends, abs=1e-6)
    lenient = simulated(b).power(level=0.5).set_index(["statistic", "null", "measure"])
    assert lenient.loc[("b", "smooth", "gw"), "threshold"] == 10


def test_power_is_of_differences_and_noises_of_which_all_kinds_are_there():
    b = np.zeros((3, 4, 2))
    one, other = simulated(b, differ="who"), simulated(b, noise=2.0)
    part = block_tests.Blocks((*one.answers, *other.answers[:2]))
    assert set(part.power()["differ"]) == {"who"}
    assert "simulated networks on 2 measures (5 settings, computed" in source(part)


def studies(b, b_uneven, *, noise=0.3):
    facts = {"noise": noise, "seeds": b.shape[-1]}
    halves = ((b[:2], b_uneven[:2]), (b[2:], b_uneven[2:]))
    return block_tests.Studies(
        tuple(answer({"b": x, "b_uneven": y}, part=i, **facts) for i, (x, y) in enumerate(halves))
    )


def test_studies_are_counted_over_parts():
    """Six of one sign have p = 1/64, five and the smallest against them 2/64, two 4/64 or so: too many."""
    b = np.zeros((4, 4, 6))
    b[:, 0], b[:, 1], b[:, 2], b[:, 3] = 0.4, -0.3, 0.2, -0.5
    b += np.arange(6) / 100
    b[3, 0, :3] = -1  # one study of blocks has them in half of its seeds
    b_uneven = np.zeros(b.shape)
    b_uneven[:, 2] = -0.3
    b_uneven[0, 2] = -0.05
    found = studies(b, b_uneven).table().set_index("kind")
    assert found["studies"].tolist() == [4, 4, 4]
    assert found["rejected"].to_dict() == {"blocks": 0.75, "smooth": 0, "uneven": 1}
    assert found["reported"].to_dict() == {"blocks": 0.75, "smooth": 0, "uneven": 0.25}
    assert found.loc["uneven", ["b", "twin", "b_uneven"]].tolist() == pytest.approx([0.225, -0.475, -0.2375])
    assert (found["low"] <= found["rejected"]).all()
    assert (found["reported"] <= found["reported high"]).all()
    wide = studies(b, b_uneven).table(margin=-1).set_index("kind")
    assert wide["reported"].equals(wide["rejected"].rename("reported"))
    assert (studies(b, b_uneven).table(level=0.01)["rejected"] == 0).all()  # 1/64 is more
    assert "simulated studies of 6 seeds on Gromov–Wasserstein (2 parts" in source(studies(b, b_uneven))


def test_levels_and_numbers_that_cannot_be():
    none = np.zeros((3, 4, 2))
    for level in (0, 1, 5):
        with pytest.raises(InputError, match=rf"level lies in \(0, 1\); got {level}"):
            simulated(none).power(level=level)
        with pytest.raises(InputError, match=rf"level lies in \(0, 1\); got {level}"):
            studies(np.ones((4, 4, 6)), np.ones((4, 4, 6))).table(level=level)
    for ask in (
        block_tests.measure,
        block_tests.measure_studies,
        block_tests.known,
        block_tests.known_studies,
    ):
        with pytest.raises(InputError, match="fewer divides numbers, and is at least 1; got 0"):
            ask(fewer=0)


# --- what is simulated ---------------------------------------------------------------------------


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(block_tests, "NOISES", (0.3,))
    monkeypatch.setattr(block_tests, "STUDY_NOISES", (0.3,))
    monkeypatch.setattr(block_tests, "_PARTS", 1)
    monkeypatch.setattr(block_tests, "DIFFERENCES", ("both",))


def test_networks_are_simulated_once(own_cache, small):
    assert block_tests.known(fewer=200) is None
    found = block_tests.measure(fewer=200, jobs=1, progress=False)
    assert found.b.shape == found.b_uneven.shape == found.exact.shape == (3, 1, 5)
    assert found.b.dtype == np.float16
    again = block_tests.known(fewer=200)
    np.testing.assert_array_equal(again.b, found.b)
    pd.testing.assert_frame_equal(again.power(), found.power())
    # The second sample is of other images of the same network.
    rng = np.random.default_rng([0, 0, 300, 0])
    layers = subnetworks.toy("blocks", rng=rng, n_images=80, noise=0.3)
    halves = [block_tests.maps([layer[half::2] for layer in layers]) for half in (0, 1)]
    k = [one.provenance["facts"]["kind"] for one in found.answers].index("blocks")
    for m, name in enumerate(block_tests.MEASURES):
        gain = subnetworks.against_chain(*(half[name] for half in halves))
        assert found.b[k, 0, m] == pytest.approx(gain.b, rel=1e-5)
        assert found.b_uneven[k, 0, m] == pytest.approx(gain.b_uneven, rel=1e-4, abs=1e-6)
        assert found.exact[k, 0, m] == (gain.partition.cuts == (4, 8))
    assert found.exact[k, 0, 0]


def test_uneven_steps_are_the_same_in_all_seeds_of_a_study(own_cache, small, monkeypatch):
    asked = []

    def spy(kind, *, rng, steps=None, **options):
        asked.append((kind, None if steps is None else tuple(steps)))
        return [np.empty((80, 1))]

    gain = subnetworks.Gain(subnetworks.Partition(12, (4, 8), 0, 1, 1), 0.5, 0.25, 0.75)
    monkeypatch.setattr(subnetworks, "toy", spy)
    monkeypatch.setattr(block_tests, "_gains", lambda layers, measures: [gain])
    part, arrays = block_tests._studies((0.3, 0), 2)
    assert part == (0.3, 0)
    assert arrays["b"].shape == (2, 4, 6)
    assert (arrays["b"] == 0.25).all()
    assert (arrays["b_uneven"] == -0.25).all()
    assert [kind for kind, _ in asked] == 2 * [k for kind in (*KINDS, "smooth") for k in 6 * [kind]]
    steps = [steps for kind, steps in asked if kind == "uneven"]
    assert len(set(steps[:6])) == len(set(steps[6:])) == 1
    assert len(set(steps)) == 2
    assert all(steps is None for kind, steps in asked if kind != "uneven")


def test_both_are_printed_and_written(own_cache, small, tmp_path):
    done = CliRunner().invoke(
        cli.app, ["record", "blocks", "--fewer", "200", "--jobs", "1", "--ship", f"{tmp_path / 'one.npz'}"]
    )
    assert done.exit_code == 0, done.stderr
    assert re.search(r"b_uneven +either +both +0\.300 +pearson", done.stdout)
    assert re.search(r"0\.300 +uneven +1", done.stdout)
    assert done.stdout.count("computed on this machine") == 2
    for name, of in (("one", block_tests.known), ("one-studies", block_tests.known_studies)):
        with np.load(tmp_path / f"{name}.npz") as archive:
            np.testing.assert_array_equal(archive["b"], of(fewer=200).b)
