"""Worlds with known truth: the truth is what they say, and the recorded error rates come out again."""

import os
import types

import numpy as np
import pytest
from scipy import stats

from rarefire import naive, poz, records, selection, simulations
from rarefire.errors import InputError, UnknownNameError


def r_with(sample, k, human):
    similarity = simulations._similarities(sample.embedding[:, :k])
    return -np.corrcoef(similarity, human)[0, 1]


@pytest.mark.long
@pytest.mark.parametrize("effect", [0.0, 0.3])
def test_a_large_sample_has_the_population_s_correlations(effect):
    world = simulations.world(effect=effect)
    sample = world.sample(np.random.default_rng(1), n_images=2000)
    found = [r_with(sample, k, sample.human) for k in world.ks]
    np.testing.assert_allclose(found, world.r, atol=0.012)
    np.testing.assert_allclose(world.r[:-1] / world.r[-1], 1 + effect)
    assert world.ks[-1] == sample.embedding.shape[1] == 64


@pytest.mark.long
def test_subjects_differ_and_their_mean_difference_is_none():
    world = simulations.world()
    sample = world.sample(np.random.default_rng(2), n_images=1000, n_subjects=60)
    kept, whole = ([r_with(sample, k, h) for h in sample.human] for k in (sample.kept, 64))
    d = np.array(kept) - np.array(whole)
    assert d.std() > 0.02  # people do differ
    assert abs(d.mean()) < 4 * d.std() / np.sqrt(60) + 0.01


def test_features_are_post_relu_and_rarer_in_later_groups():
    sample = simulations.world().sample(np.random.default_rng(3))
    assert sample.embedding.min() == 0
    silent = (sample.embedding == 0).reshape(120, 8, 8).mean(axis=(0, 2))
    assert silent[-1] > silent[0] + 0.2
    assert sample.order.tolist() == list(range(64))


def test_williams_is_the_published_formula():
    """Steiger (1980), equation 7, written out with three correlations and n."""
    sample = simulations.world().sample(np.random.default_rng(4), n_images=12)
    kept = simulations._similarities(sample.embedding[:, : sample.kept])
    whole = simulations._similarities(sample.embedding)
    r12, r13, r23 = (
        np.corrcoef(a, b)[0, 1] for a, b in ((sample.human, kept), (sample.human, whole), (kept, whole))
    )
    n = 66
    det = np.linalg.det(np.array([[1, r12, r13], [r12, 1, r23], [r13, r23, 1]]))
    t = (r12 - r13) * np.sqrt(
        (n - 1) * (1 + r23) / (2 * det * (n - 1) / (n - 3) + ((r12 + r13) / 2) ** 2 * (1 - r23) ** 3)
    )
    expected = 2 * stats.t.sf(abs(t), n - 3)
    # The package correlates similarities with similarities; turning both signs leaves |t| as it is.
    assert naive.williams(sample, np.random.default_rng(0)) == pytest.approx(expected)


def test_fold_tests_are_made_of_the_folds():
    sample = simulations.world().sample(np.random.default_rng(5))
    d = naive.differences_over_folds(sample, np.random.default_rng(6))
    assert d.shape == (40,)
    p = naive.paired_t_over_folds(sample, np.random.default_rng(6))
    assert p == pytest.approx(stats.ttest_1samp(d, 0).pvalue)
    t = d.mean() / np.sqrt(d.var(ddof=1) * (1 / 40 + 1 / 4))
    corrected = naive.nadeau_bengio(sample, np.random.default_rng(6))
    assert corrected == pytest.approx(2 * stats.t.sf(abs(t), 39))
    # The first fold, by hand.
    part = np.array_split(np.random.default_rng(6).permutation(120), 5)[0]
    rows, columns = np.triu_indices(120, 1)
    use = np.isin(rows, part) & np.isin(columns, part)
    kept, whole = (simulations._similarities(sample.embedding[:, :k])[use] for k in (sample.kept, 64))
    expected = np.corrcoef(kept, -sample.human[use])[0, 1] - np.corrcoef(whole, -sample.human[use])[0, 1]
    assert d[0] == pytest.approx(expected)


@pytest.mark.long
def test_simulations_do_not_depend_on_how_they_are_spread():
    test = "jackknife of the difference"
    alone = records.error_rates.rejections(test, n=12, effect=records.error_rates.EFFECT, jobs=1)
    spread = records.error_rates.rejections(test, n=12, effect=records.error_rates.EFFECT, jobs=2)
    np.testing.assert_array_equal(alone, spread)
    assert 0 < alone.sum() < 12
    other = records.error_rates.rejections(test, n=12, effect=records.error_rates.EFFECT, seed=1, jobs=1)
    assert not np.array_equal(alone, other)


def test_recorded_rates_need_no_computing(own_cache):
    table = records.error_rates.measure()
    assert table["test"].tolist() == list(records.error_rates.NAMES)
    assert list(own_cache.rglob("*")) == []


def test_no_offered_test_is_above_its_level():
    table = records.error_rates.measure()
    offered = table[table.offered]
    assert (offered["false positives"] <= 0.05 + 2 * offered["error"]).all()
    naive = table.set_index("test")["false positives"]
    assert naive["paired t over 8 × 5 folds"] > 0.2
    assert naive["Williams' test over pairs"] > 0.1
    power = offered["power"][[records.error_rates.TESTS[t].has_power for t in offered["test"]]]
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
    assert [records.error_rates.TESTS[test].rejects(world, rng) for _ in p] == [True, False]
    ks = (8, 16, 24, 32) if order == "low" else world.ks
    for embedding, human, given, k in calls:
        assert (embedding.shape, human.shape, given, k) == ((120, ks[-1]), people, order, ks)
    assert not np.array_equal(calls[0][0], calls[1][0])  # new images in every study


def test_groups_apart_are_told_apart_by_the_poz_of_few_images():
    """So that choosing the order by PoZ keeps to the numbers of features at which the null holds."""
    world = simulations.world(n_groups=4, apart=True)
    np.testing.assert_allclose(world.r, world.r[-1])
    assert world.r[0] > 0.3
    for seed in range(20):
        found = poz.poz(world.images(60, np.random.default_rng(seed)))
        order = poz.order(found)
        assert [set(part) for part in np.split(order, 4)] == [set(range(8 * g, 8 * g + 8)) for g in range(4)]


def test_a_choice_on_the_same_images_is_what_cross_fitting_repairs():
    """Without an effect, the best of the k on all images seems to gain something, nearly always."""
    world, peak, held_out = simulations.world(), [], []
    for seed in range(12):
        rng = np.random.default_rng([seed, 2])
        given = world.sample(rng)
        r = [r_with(given, k, given.human) for k in world.ks]
        peak.append(max(r) - r[-1])
        found = selection.cross_fitted(given.embedding, given.human, given.order, k=given.ks, rng=rng)
        held_out.append(found.estimate)
    assert min(peak) >= 0
    assert np.mean(peak) > 4 * np.std(peak) / np.sqrt(12)
    assert np.mean(held_out) < 2 * np.std(held_out) / np.sqrt(12)


#: New studies of each test. The rates are worth what their number is: RAREFIRE_SIMULATIONS=500 make test
STUDIES = int(os.environ.get("RAREFIRE_SIMULATIONS", "60"))


@pytest.mark.long
@pytest.mark.parametrize("test", records.error_rates.NAMES)
def test_the_recorded_rates_come_out_again(test):
    """Slow. New null studies, and a quarter as many with an effect, with other random numbers."""
    recorded = records.error_rates.measure().set_index("test").loc[test]
    cases = [(STUDIES, 0.0, recorded["false positives"])]
    if records.error_rates.TESTS[test].has_power:
        cases.append((STUDIES // 4, records.error_rates.EFFECT, recorded["power"]))
    for n, effect, rate in cases:
        found = records.error_rates.rejections(test, n=n, effect=effect, seed=1).mean()
        expected = min(max(rate, 0.005), 0.995)
        chance = np.sqrt(expected * (1 - expected) * (1 / n + 1 / records.error_rates.SIMULATIONS))
        assert abs(found - rate) <= 4 * chance, (effect, found, rate)
        if effect == 0 and recorded["offered"]:
            assert found <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / n)


def test_errors():
    with pytest.raises(UnknownNameError, match="no test 'jackknife'. There are: jackknife"):
        records.error_rates.rejections("jackknife", n=1)
    with pytest.raises(InputError, match="at least two groups of four features; got 1 of 8"):
        simulations.world(n_groups=1)
