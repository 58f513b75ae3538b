"""Worlds with known truth: the truth is what they say."""

import pickle

import numpy as np
import pytest
from PIL import Image

from rarefire import poz, rdm, selection, simulations, store
from rarefire.errors import DataError, InputError, UnknownNameError

MADE = ["groups", "heavy tails", "clusters"]  # uneven noise comes after the population
HERE = [*MADE, "lenet"]  # on every machine


def r_with(sample, k, human):
    return -np.corrcoef(rdm.pair_similarities(sample.embedding[:, :k]), human)[0, 1]


def without_noise(world, *, n, seed=1):
    """Images, and what people share and differ by; all of the images of a finite population."""
    return world.population.draw(world.population.size or n, np.random.default_rng(seed))


def images_of(world, *, n):
    """Features alone."""
    population = world.population
    return population.features if population.size else population.images(n, np.random.default_rng(1))


def r_of_all_steps(world, features, said):
    return np.array([-np.corrcoef(rdm.pair_similarities(features[:, :k]), said)[0, 1] for k in world.ks])


# --- what all worlds have in common --------------------------------------------------------------


@pytest.mark.parametrize("effect", [0.0, 0.1, -0.1])
@pytest.mark.parametrize("name", MADE)
def test_a_large_sample_has_the_population_s_correlations(name, effect):
    world = simulations.world(name, effect=effect)
    features, (shared, _) = without_noise(world, n=1200)
    found = r_of_all_steps(world, features, shared) / np.sqrt(shared.var() + world.noise**2) * shared.std()
    np.testing.assert_allclose(found, world.r, atol=0.03)
    np.testing.assert_allclose(found[:-1] - found[-1], world.r[:-1] - world.r[-1], atol=0.012)
    np.testing.assert_allclose(world.r[:-1], (1 + effect) * world.r[-1], rtol=1e-9)
    assert world.ks[-1] == features.shape[1]
    assert (world.name, world.effect, world.population.size) == (name, effect, None)


@pytest.mark.parametrize("effect", [0.0, 0.1, -0.1])
def test_a_finite_population_has_them_exactly(effect):
    world = simulations.world("lenet", effect=effect)
    features, (shared, taste) = without_noise(world, n=0)
    assert features.shape == (1797, 84)
    assert shared.std() == pytest.approx(1, abs=1e-4)
    np.testing.assert_allclose(r_of_all_steps(world, features, shared) / np.sqrt(2), world.r, atol=1e-5)
    np.testing.assert_allclose(world.r, [(1 + effect) * world.r[-1]] * 3 + [world.r[-1]], rtol=1e-9)
    assert np.corrcoef(shared, taste)[0, 1] == pytest.approx(0, abs=1e-5)
    # With the noise of ratings too; of 1.6 million pairs.
    sample = world.sample(np.random.default_rng(2), n_images=1797)
    found = [r_with(sample, k, sample.human) for k in world.ks]
    np.testing.assert_allclose(found, world.r, atol=0.005)


@pytest.mark.parametrize("name", HERE)
def test_people_are_predicted_as_well_in_every_world(name):
    """As people are by networks; and a small effect leaves r(all) as it is where people have more."""
    null, other = (simulations.world(name, effect=effect) for effect in (0.0, 0.1))
    assert 0.3 < null.r[-1] < 0.6
    if name != "groups":
        assert other.r[-1] == pytest.approx(null.r[-1])
    assert len(null.ks) >= 4


@pytest.mark.parametrize("n_images", [36, 92, 120])
@pytest.mark.parametrize("name", HERE)
def test_studies_of_the_usual_sizes(name, n_images):
    world = simulations.world(name)
    given = [world.sample(np.random.default_rng(seed), n_images=n_images, n_subjects=8) for seed in (4, 4, 5)]
    pairs = n_images * (n_images - 1) // 2
    assert given[0].human.shape == (8, pairs)
    assert given[0].embedding.shape == (n_images, world.ks[-1])
    assert given[0].embedding.dtype == np.float64
    assert given[0].embedding.min() == 0
    assert (given[0].kept, given[0].ks) == (world.ks[0], world.ks)
    # No image has a prefix without variation: it would be left out.
    assert rdm.unit_vectors(given[0].embedding[:, : world.ks[0]])[1].all()
    np.testing.assert_array_equal(given[0].human, given[1].human)
    assert not np.array_equal(given[0].human, given[2].human)
    assert world.sample(np.random.default_rng(4), n_images=n_images).human.shape == (pairs,)


@pytest.mark.parametrize("name", HERE)
def test_subjects_differ_and_their_mean_difference_is_none(name):
    """Opposite tastes give opposite differences, exactly so but for the sample of images."""
    world = simulations.world(name)
    features, (shared, taste) = without_noise(world, n=1200)
    assert taste.std() == pytest.approx(0.4, abs=0.02)
    d = []
    for t in (-1, 1):
        r = r_of_all_steps(world, features, shared + t * taste)
        d.append(r[0] - r[-1])
    assert abs(d[1] - d[0]) > 0.1
    assert abs(d[0] + d[1]) < (1e-5 if name == "lenet" else 0.02)
    # Which is what subjects have, with noise of their own.
    sample = world.sample(np.random.default_rng(1), n_images=300, n_subjects=2)
    _, (shared, taste) = world.population.draw(300, np.random.default_rng(1))
    first, second = ((h - shared) for h in sample.human)
    basis = np.stack([np.ones_like(taste), taste], axis=1)
    errors = [h - basis @ np.linalg.lstsq(basis, h, rcond=None)[0] for h in (first, second)]
    assert abs(np.corrcoef(*errors)[0, 1]) < 0.03
    assert np.var(errors) == pytest.approx(1, abs=0.15)


def test_worlds_go_to_workers_as_they_are():
    for name in ("clusters", "lenet"):
        world = simulations.world(name)
        again = pickle.loads(pickle.dumps(world))
        mine, theirs = (w.sample(np.random.default_rng(3), n_images=36) for w in (world, again))
        np.testing.assert_array_equal(mine.human, theirs.human)


# --- groups --------------------------------------------------------------------------------------


def test_recorded_results_are_those_of_this_world():
    """Error rates are recorded for it: same draws, same numbers."""
    for effect, r, human in (
        (0.0, [0.51416773733, 0.51416773733], [5.022894605, 4.82848357169, 5.96337877998]),
        (0.1, [0.518253915276, 0.471139922978], [4.29083309611, 3.93384767233, 5.54818274986]),
    ):
        world = simulations.world(effect=effect)
        np.testing.assert_allclose(world.r[[0, -1]], r, rtol=1e-9)
        np.testing.assert_allclose(world.sample(np.random.default_rng([0, 1])).human[:3], human, rtol=1e-9)
    subjects = world.sample(np.random.default_rng([0, 1]), n_images=36, n_subjects=8).human
    np.testing.assert_allclose(subjects[-1, -3:], [4.9310222763, 3.00517380462, 7.12202950926], rtol=1e-9)


@pytest.mark.long
def test_subjects_of_groups_differ_and_their_mean_difference_is_none():
    world = simulations.world()
    sample = world.sample(np.random.default_rng(2), n_images=500, n_subjects=60)
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


# --- the other worlds ----------------------------------------------------------------------------


def errors_of(name, *, n=400):
    """What ratings have that people do not share, of `n` images: square, 0 on the diagonal."""
    world = simulations.world(name)
    given = world.sample(np.random.default_rng(6), n_images=n)
    _, (shared, _) = world.population.draw(n, np.random.default_rng(6))
    return rdm.square(given.human - shared)


def test_noise_depends_on_images():
    spread = {}
    for name in [*HERE, "groups, uneven noise"]:
        squares = errors_of(name) ** 2
        assert squares.sum() / (400 * 399) == pytest.approx(1, abs=0.12), name
        spread[name] = np.log(squares.sum(axis=1)).std()
    assert spread.pop("groups") < 0.1
    for name, found in spread.items():  # of the lognormal uncertainty: .5
        assert 0.4 < found < 0.6, name


def test_uneven_noise_is_all_that_differs_from_groups():
    even, uneven = (simulations.world(name) for name in ("groups", "groups, uneven noise"))
    np.testing.assert_array_equal(even.r, uneven.r)
    mine, theirs = (world.sample(np.random.default_rng(7)) for world in (even, uneven))
    np.testing.assert_array_equal(mine.embedding, theirs.embedding)
    assert np.corrcoef(mine.human, theirs.human)[0, 1] > 0.9


def test_heavy_tails_are_heavy():
    def kurtosis(values):
        return np.mean((values - values.mean()) ** 4) / values.var() ** 2

    errors = [
        errors_of(name)[np.triu_indices(400, 1)] for name in ("groups", "groups, uneven noise", "heavy tails")
    ]
    found = [kurtosis(e) for e in errors]
    assert found[0] == pytest.approx(3, abs=0.1)
    assert found[0] < found[1] < 7 < found[2]
    features = images_of(simulations.world("heavy tails"), n=4000)
    contrast = features.std(axis=1)
    assert np.quantile(contrast, 0.99) > 3 * np.median(contrast)
    heavier = images_of(simulations.world("heavier tails"), n=4000).std(axis=1)
    assert np.log(heavier[heavier > 0]).std() > 1.1 * np.log(contrast[contrast > 0]).std()


@pytest.mark.parametrize("name", ["heavy tails", "clusters", "lenet"])
def test_features_are_in_the_order_of_their_poz(name):
    features = images_of(simulations.world(name), n=4000)
    found = poz.poz(features)
    if name == "lenet":
        assert (np.diff(found) >= 0).all()
    assert np.diff(found).min() > -0.03
    assert found[0] < 0.3 < 0.9 < found[-1]


def test_clusters_are_clusters_of_images_with_sparse_features():
    features = images_of(simulations.world("clusters"), n=2000)
    found = poz.poz(features)
    assert (features == 0).mean() > 0.6
    assert (found == 1).sum() >= 10
    # A cluster's images are alike: most images have some that are far more similar than is usual.
    similar = rdm.square(rdm.pair_similarities(features))
    assert np.median(np.quantile(similar, 0.97, axis=1)) > np.median(similar) + 2 * similar.std()


def test_real_features_are_drawn_without_replacement():
    world = simulations.world("lenet")
    features = images_of(world, n=0)
    assert world.population.size == len(np.unique(features, axis=0)) == 1797
    given = world.sample(np.random.default_rng(8), n_images=500)
    assert len(np.unique(given.embedding, axis=0)) == 500


@pytest.fixture
def photographs(own_cache, tmp_path, monkeypatch):
    """A mirror with a small network in the place of GoogLeNet, and forty small photographs."""
    mirror = tmp_path / "mirror"
    (mirror / "networks").mkdir(parents=True)
    (mirror / "networks" / "nets.py").write_text(
        """from pathlib import Path
import torch
from torch import nn

def googlenet():
    with Path(__file__).with_name("calls").open("a") as file:
        file.write("x")
    torch.manual_seed(0)
    features = nn.Conv2d(3, 30, 9, 8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    return nn.Sequential(*features, nn.Linear(30, 5))
"""
    )
    (mirror / "networks" / "googlenet_bvlc_fp16.npz").write_bytes(b"weights")
    rng = np.random.default_rng(9)
    for i in range(40):
        folder = mirror / "imagenet-sample" / f"n{i:08d}_thing"
        folder.mkdir(parents=True)
        pixels = np.clip(rng.normal(rng.uniform(0, 255, 3), 60, size=(8, 8, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "one.png")
    monkeypatch.setenv("RAREFIRE_MIRROR", str(mirror))
    return mirror


def test_photographs_are_embedded_once(photographs):
    assert simulations.available("googlenet")
    world = simulations.world("googlenet", seed=1)
    other = simulations.world("googlenet", seed=2)
    assert (photographs / "networks" / "calls").read_text() == "x"
    [file] = (store.cache_dir() / "worlds").glob("*.npy")
    assert np.load(file).shape == (40, 30)
    features, (shared, _) = without_noise(world, n=0)
    assert world.ks == (6, 12, 18, 30)
    np.testing.assert_allclose(r_of_all_steps(world, features, shared) / np.sqrt(2), world.r, atol=1e-5)
    assert not np.array_equal(shared, without_noise(other, n=0)[1][0])  # other people
    with pytest.raises(InputError, match="the world 'googlenet' has 40 images; got n_images=92"):
        world.sample(np.random.default_rng(0), n_images=92)


# --- what cannot be done -------------------------------------------------------------------------


def test_photographs_that_are_not_there(own_cache):
    assert not simulations.available("googlenet")
    assert all(simulations.available(name) for name in simulations.WORLDS[:-1])
    missing = "needs networks/nets.py and networks/googlenet_bvlc_fp16.npz and imagenet-sample, which this"
    with pytest.raises(DataError, match=missing):
        simulations.world("googlenet", seed=3)


@pytest.mark.parametrize("ask", [simulations.world, simulations.available])
def test_an_unknown_world_lists_those_that_there_are(ask):
    with pytest.raises(UnknownNameError, match="no world 'cluster'. There are: clusters") as caught:
        ask("cluster")
    assert all(name in str(caught.value) for name in simulations.WORLDS)


@pytest.mark.parametrize("effect", [-1, np.nan, np.inf])
def test_an_effect_that_no_correlation_has(effect):
    with pytest.raises(InputError, match=f"an effect is greater than −1; got {effect}"):
        simulations.world(effect=effect)


def test_a_world_has_two_groups_at_least():
    with pytest.raises(InputError, match="at least two groups of four features; got 1 of 8"):
        simulations.world(n_groups=1)
    with pytest.raises(InputError, match="are of worlds of groups; 'clusters' has none"):
        simulations.world("clusters", n_groups=4)


def test_a_study_has_images_enough_and_not_too_many():
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match="at least 4 images; got n_images=3"):
        simulations.world().sample(rng, n_images=3)
    with pytest.raises(InputError, match="'lenet' has 1,797 images; got n_images=1798"):
        simulations.world("lenet").sample(rng, n_images=1798)
    with pytest.raises(InputError, match="n_subjects is 0 or more; got -1"):
        simulations.world().sample(rng, n_subjects=-1)
