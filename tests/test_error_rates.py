"""The recorded error rates need no computing, and come out again."""

import os
import types

import numpy as np
import pytest

from rarefire import inference, selection, simulations
from rarefire.errors import UnknownNameError
from rarefire.records import error_rates


@pytest.fixture(scope="module")
def recorded():
    return error_rates.known()


@pytest.mark.long
def test_studies_do_not_depend_on_how_they_are_spread():
    options = {"world": "groups", "images": 36, "n": 12, "effect": 0.1}
    alone = error_rates.outcomes("corrected", jobs=1, **options)
    np.testing.assert_allclose(alone, error_rates.outcomes("corrected", jobs=2, **options), rtol=1e-9)
    assert alone.shape == (12, len([t for t in error_rates.TESTS.values() if t.study == "corrected"]))
    assert not np.array_equal(alone, error_rates.outcomes("corrected", seed=1, jobs=1, **options))


def test_recorded_rates_need_no_computing(own_cache, recorded):
    found = error_rates.measure()
    table = found.table()
    assert found.recorded
    assert recorded.table().equals(table)
    assert table["test"].drop_duplicates().tolist() == list(error_rates.TESTS)
    assert list(own_cache.rglob("*")) == []


def test_every_test_was_measured_in_every_world_it_is_for(recorded):
    table = recorded.table()
    for name, test in error_rates.TESTS.items():
        study, rows = error_rates.STUDIES[test.study], table[table["test"] == name]
        assert set(rows["world"]) == set(study.worlds)
        assert len(rows) == len(study.worlds) * len(study.images)
    assert set(table["world"]) == set(simulations.WORLDS)
    assert len(simulations.WORLDS) >= 4
    intervals = table["kind"] == "interval"
    assert table.loc[intervals, ["power", "at .01", "at .001"]].isna().all(axis=None)
    np.testing.assert_allclose(table["below"] + table["above"], table["false positives"].where(intervals))
    assert ((table["false positives"] >= table["at .01"]) | intervals).all()
    assert ((table["power"] >= table["power small"] - 0.1) | intervals).all()


def test_levels_and_powers(recorded):
    """What is said on the page: J− holds where images do not decide alone, and has the power of its kind."""
    table = recorded.table()
    calm = table[(table["world"] != "heavier tails") & table["offered"]]
    most = calm.groupby("test")["false positives"].max()
    assert most["J−, subjects and images, largest t over k"] <= 0.06
    assert most.max() < 0.11
    naive = table.groupby("test")["false positives"].max()
    assert naive["paired t over 8 × 5 folds"] > 0.2
    assert naive["Williams' test over pairs"] > 0.3
    power = table.set_index(["test", "world", "images"])["power"]
    for name in simulations.WORLDS:
        for images in error_rates.IMAGES:
            assert power["J−", name, images] >= power["plain jackknife", name, images]
            assert power["plain jackknife", name, images] >= power["bootstrap", name, images] - 0.08
    summary = recorded.summary().set_index("test")
    assert summary.loc["J−, largest t over k", "where"].startswith("heavier tails")
    assert (summary["least"] <= summary["most"]).all()
    assert summary.loc["J−, largest t over k", "above"]
    assert round(naive["J−, largest t over k"], 2) == 0.13  # as its docstring says


@pytest.mark.parametrize(
    ("study", "people"),
    [("cross-fitted", (630,)), ("cross-fitted, subjects", (8, 630)), ("cross-fitted, order", (630,))],
)
def test_tests_with_a_choice_get_all_there_is_to_choose_from(study, people, monkeypatch):
    """All numbers of features at which the null holds, and the order where it is chosen too."""
    world, calls = simulations.world(), []

    def spy(embedding, human, order, *, rng, k=None):
        calls.append((embedding, np.asarray(human), np.asarray(order).tolist(), k))
        return types.SimpleNamespace(p=0.25)

    monkeypatch.setattr(selection, "cross_fitted", spy)
    rng = np.random.default_rng(7)
    found = [error_rates.STUDIES[study].run(world, 36, rng) for _ in range(2)]
    assert [list(each.values()) for each in found] == [[0.25], [0.25]]
    order, ks = ("low", (8, 16, 24, 32)) if study == "cross-fitted, order" else (list(range(64)), world.ks)
    for embedding, human, given, k in calls:
        assert (embedding.shape, human.shape, given, k) == ((36, ks[-1]), people, order, ks)
    assert not np.array_equal(calls[0][0], calls[1][0])  # new images in every study


def test_a_study_says_what_its_tests_say():
    """J−, the maximum and the sides of intervals, by the functions that are offered."""
    world = simulations.world("lenet", effect=0.1)
    found = error_rates.STUDIES["corrected"].run(world, 36, np.random.default_rng(3))
    given = world.sample(np.random.default_rng(3), n_images=36)
    arguments = given.embedding, given.human, given.order
    for name, method in (("J−", "jackknife"), ("plain jackknife", "plain-jackknife")):
        test = inference.change_of_prediction(*arguments, k=given.kept, method=method)
        assert found[name] == pytest.approx(test.p, rel=1e-6)
    rng = np.random.default_rng(0)
    most = inference.change_of_prediction(
        *arguments, k=given.ks, method="maximum", alternative="greater", rng=rng
    )
    assert found["J−, largest t over k"] == pytest.approx(most.p, abs=0.05)
    curve = inference.corrected_jackknife(*arguments[::2], rdm=given.human, k=given.ks).estimate("r")
    side = int(world.r[0] > curve.high[0]) - int(world.r[0] < curve.low[0])
    assert found["J− interval of r"] == side
    assert world.r[0] == pytest.approx(1.1 * world.r[-1])


#: New studies of each kind in each world. The rates are worth what their number is:
#: RAREFIRE_SIMULATIONS=500 make test
N_STUDIES = int(os.environ.get("RAREFIRE_SIMULATIONS", "40"))


@pytest.mark.long
@pytest.mark.parametrize("study", error_rates.STUDIES)
def test_the_recorded_rates_come_out_again(study, recorded):
    """Slow. New studies in every world with other random numbers, without an effect and with one."""
    about, table = error_rates.STUDIES[study], recorded.table()
    images = about.images[0]
    table = table[table["images"] == images].set_index(["test", "world"])
    tests = [name for name, test in error_rates.TESTS.items() if test.study == study]
    worlds = [world for world in about.worlds if simulations.available(world)]
    for n, effect, column in ((N_STUDIES, 0.0, "false positives"), (N_STUDIES // 2, 0.1, "power")):
        off, spread = np.zeros(len(tests)), np.zeros(len(tests))
        for world in worlds:
            options = {"world": world, "images": images, "effect": effect, "seed": 1}
            said = error_rates.outcomes(study, n=n, jobs=1, **options)  # the worlds are made once
            for place, test in enumerate(tests):
                interval = error_rates.TESTS[test].kind == "interval"
                if interval and effect:
                    continue
                found = np.mean(said[:, place] != 0 if interval else said[:, place] < 0.05)
                row = table.loc[(test, world)]
                rate = min(max(row[column], 0.005), 0.995)
                variance = rate * (1 - rate) * (1 / n + 1 / row["studies"])
                assert abs(found - row[column]) <= 4.5 * np.sqrt(variance) + 1 / n, (test, world, effect)
                off[place] += found - row[column]
                spread[place] += variance
        # Over the worlds together: what no single one of so few studies would show.
        assert (np.abs(off) <= 4 * np.sqrt(spread) + 1 / n).all(), (effect, off, spread)


def test_rates_that_are_not_recorded_are_not_known(own_cache):
    assert error_rates.known(fewer=123) is None


def test_the_rates_are_what_the_outcomes_give(own_cache, monkeypatch):
    """By hand, for a kind of study with one test and one with an interval."""
    few = {
        "J−, subjects and images",
        "J−, subjects and images, largest t over k",
        "J− interval of D, subjects",
    }
    monkeypatch.setattr(error_rates, "TESTS", {n: t for n, t in error_rates.TESTS.items() if n in few})
    monkeypatch.setattr(
        error_rates,
        "STUDIES",
        {"subjects": error_rates.Study(error_rates.STUDIES["subjects"].run, 20, ("groups",), (12,))},
    )
    found = error_rates.measure()
    assert found.rejected.shape == (3, 3, 3)
    table = found.table().set_index("test")
    options = {"world": "groups", "images": 12}
    null = error_rates.outcomes("subjects", n=20, **options)
    effect = error_rates.outcomes("subjects", n=10, effect=0.1, **options)
    for place, name in enumerate(error_rates.TESTS):
        if name == "J− interval of D, subjects":
            assert table.loc[name, "above"] == np.mean(null[:, place] == 1)
            assert table.loc[name, "false positives"] == np.mean(null[:, place] != 0)
            assert np.isnan(table.loc[name, "power"])
        else:
            assert table.loc[name, "false positives"] == np.mean(null[:, place] < 0.05)
            assert table.loc[name, "at .01"] == np.mean(null[:, place] < 0.01)
            assert table.loc[name, "power"] == np.mean(effect[:, place] < 0.05)
    assert table["studies"].tolist() == [20] * 3
    again = error_rates.known()
    assert not again.recorded
    assert again.table().equals(found.table())


def test_a_study_that_does_not_exist():
    with pytest.raises(UnknownNameError, match="no kind of study 'jackknife'. There are: corrected"):
        error_rates.outcomes("jackknife", world="groups", images=36, n=1)
    with pytest.raises(UnknownNameError, match="no world 'moon'. There are: groups"):
        error_rates.outcomes("corrected", world="moon", images=36, n=1)
