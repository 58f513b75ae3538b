"""Worlds with known truth: the truth is what they say."""

import numpy as np
import pytest

from rarefire import poz, rdm, selection, simulations
from rarefire.errors import InputError


def r_with(sample, k, human):
    return -np.corrcoef(rdm.pair_similarities(sample.embedding[:, :k]), human)[0, 1]


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


def test_groups_apart_are_told_apart_by_the_poz_of_few_images():
    """So that choosing the order by PoZ keeps to the numbers of features at which the null holds."""
    world = simulations.world(n_groups=4, apart=True)
    np.testing.assert_allclose(world.r, world.r[-1])
    assert world.r[0] > 0.3
    for seed in range(20):
        found = poz.poz(world.sample(np.random.default_rng(seed), n_images=60).embedding)
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


def test_a_world_has_two_groups_at_least():
    with pytest.raises(InputError, match="at least two groups of four features; got 1 of 8"):
        simulations.world(n_groups=1)
