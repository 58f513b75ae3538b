"""The recorded error rates need no computing, and come out again."""

import os
import types

import numpy as np
import pytest

from rarefire import selection, simulations
from rarefire.errors import UnknownNameError
from rarefire.records import error_rates


@pytest.mark.long
def test_simulations_do_not_depend_on_how_they_are_spread():
    test = "jackknife of the difference"
    alone = error_rates.rejections(test, n=12, effect=error_rates.EFFECT, jobs=1)
    spread = error_rates.rejections(test, n=12, effect=error_rates.EFFECT, jobs=2)
    np.testing.assert_array_equal(alone, spread)
    assert 0 < alone.sum() < 12
    other = error_rates.rejections(test, n=12, effect=error_rates.EFFECT, seed=1, jobs=1)
    assert not np.array_equal(alone, other)


def test_recorded_rates_need_no_computing(own_cache):
    found = error_rates.measure()
    table = found.table()
    assert found.recorded
    assert error_rates.known().table().equals(table)
    assert table["test"].tolist() == list(error_rates.NAMES)
    assert list(own_cache.rglob("*")) == []


def test_no_offered_test_is_above_its_level():
    table = error_rates.known().table()
    offered = table[table.offered]
    assert (offered["false positives"] <= 0.05 + 2 * offered["error"]).all()
    naive = table.set_index("test")["false positives"]
    assert naive["paired t over 8 × 5 folds"] > 0.2
    assert naive["Williams' test over pairs"] > 0.1
    power = offered["power"][[error_rates.TESTS[t].has_power for t in offered["test"]]]
    assert (power > 0.2).all()


@pytest.mark.parametrize(
    ("test", "people", "order"),
    [
        ("k chosen on other images", (7140,), list(range(64))),
        ("k chosen on other images, subjects", (16, 7140), list(range(64))),
        ("PoZ order and k chosen on other images", (7140,), "low"),
    ],
)
def test_tests_with_a_choice_get_all_there_is_to_choose_from(test, people, order, monkeypatch):
    """All numbers of features at which the null holds, and the order where it is chosen too."""
    world, calls, p = simulations.world(), [], [0.0499, 0.05]

    def spy(embedding, human, order, *, rng, k=None):
        calls.append((embedding, np.asarray(human), np.asarray(order).tolist(), k))
        return types.SimpleNamespace(p=p[len(calls) - 1])

    monkeypatch.setattr(selection, "cross_fitted", spy)
    rng = np.random.default_rng(7)
    assert [error_rates.TESTS[test].rejects(world, rng) for _ in p] == [True, False]
    ks = (8, 16, 24, 32) if order == "low" else world.ks
    for embedding, human, given, k in calls:
        assert (embedding.shape, human.shape, given, k) == ((120, ks[-1]), people, order, ks)
    assert not np.array_equal(calls[0][0], calls[1][0])  # new images in every study


#: New studies of each test. The rates are worth what their number is: RAREFIRE_SIMULATIONS=500 make test
STUDIES = int(os.environ.get("RAREFIRE_SIMULATIONS", "60"))


@pytest.mark.long
@pytest.mark.parametrize("test", error_rates.NAMES)
def test_the_recorded_rates_come_out_again(test):
    """Slow. New null studies, and a quarter as many with an effect, with other random numbers."""
    recorded = error_rates.known().table().set_index("test").loc[test]
    cases = [(STUDIES, 0.0, recorded["false positives"])]
    if error_rates.TESTS[test].has_power:
        cases.append((STUDIES // 4, error_rates.EFFECT, recorded["power"]))
    for n, effect, rate in cases:
        found = error_rates.rejections(test, n=n, effect=effect, seed=1).mean()
        expected = min(max(rate, 0.005), 0.995)
        chance = np.sqrt(expected * (1 - expected) * (1 / n + 1 / error_rates.SIMULATIONS))
        assert abs(found - rate) <= 4 * chance, (effect, found, rate)
        if effect == 0 and recorded["offered"]:
            assert found <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / n)


def test_rates_that_are_not_recorded_are_not_known(own_cache):
    assert error_rates.known(n=123) is None


def test_the_rates_are_what_the_rejections_give(own_cache, monkeypatch):
    """By hand, for two tests of which one has no power to be measured."""
    few = ("jackknife of the difference", "jackknife interval of r")
    monkeypatch.setattr(error_rates, "NAMES", few)
    monkeypatch.setattr(error_rates, "TESTS", {name: error_rates.TESTS[name] for name in few})
    found = error_rates.measure(n=6)
    table = found.table().set_index("test")
    assert (found.null.shape, found.effect.shape) == ((2, 6), (2, 6))
    for place, name in enumerate(few):
        rejected = error_rates.rejections(name, n=6)
        np.testing.assert_array_equal(found.null[place], rejected)
        assert table.loc[name, "false positives"] == rejected.mean()
    assert table.loc[few[0], "power"] == error_rates.rejections(few[0], n=6, effect=error_rates.EFFECT).mean()
    assert np.isnan(table.loc[few[1], "power"])
    assert error_rates.known(n=6).effect.tolist() == found.effect.tolist()


def test_a_test_that_does_not_exist():
    with pytest.raises(UnknownNameError, match="no test 'jackknife'. There are: jackknife"):
        error_rates.rejections("jackknife", n=1)
