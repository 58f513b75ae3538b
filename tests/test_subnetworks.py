"""Blocks of layers: against every partition there is, planted ones, chains without, and simulated studies."""

import itertools

import numpy as np
import pytest
from scipy import stats

from rarefire import similarity, subnetworks, transport
from rarefire.errors import InputError, UnknownNameError
from rarefire.rdm import condensed, square


def random_map(rng, n):
    return square(rng.random(n * (n - 1) // 2))


def in_order(n):
    """Distance i apart for layers i apart."""
    return np.abs(np.subtract.outer(np.arange(n), np.arange(n))).astype(float)


def by_hand(distances, cuts):
    """R² of the means within and between, of one partition."""
    n = len(distances)
    labels = np.searchsorted(cuts, np.arange(n), side="right") if len(cuts) else np.zeros(n)
    i, j = np.triu_indices(n, k=1)
    values, same = distances[i, j], labels[i] == labels[j]
    if same.all() or not same.any() or values[same].mean() >= values[~same].mean():
        return 0.0
    predicted = np.where(same, values[same].mean(), values[~same].mean())
    return 1 - ((values - predicted) ** 2).sum() / ((values - values.mean()) ** 2).sum()


def of_identity_plans(layers):
    """A map that takes no time: the root of what the identity plan costs."""
    spaces = [transport.distances(layer) for layer in layers]
    return np.array([[np.sqrt(((a - b) ** 2).mean()) for b in spaces] for a in spaces])


def two_maps(kind, rng, of=of_identity_plans, n_images=60):
    layers = subnetworks.toy(kind, rng=rng, n_images=n_images)
    return [of([layer[half::2] for layer in layers]) for half in (0, 1)]


def of_transport(layers):
    spaces = {str(i): transport.distances(layer) for i, layer in enumerate(layers)}
    return transport.square_map(dict(transport.each_pair(spaces, n_random=0, jobs=1)), list(spaces))


# --- blocks --------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [3, 4, 6, 8])
def test_blocks_are_the_best_of_all_partitions(rng, n):
    for distances in (random_map(rng, n), in_order(n), random_map(rng, n) ** 8):
        for k in range(1, n + 1):
            found = subnetworks.blocks(distances, k)
            every = [by_hand(distances, cuts) for cuts in itertools.combinations(range(1, n), k - 1)]
            assert found.n_blocks == k
            assert found.r2 == pytest.approx(max(every), abs=1e-9)
            assert by_hand(distances, found.cuts) == pytest.approx(found.r2, abs=1e-9)
            i, j = np.triu_indices(n, k=1)
            residual = ((distances[i, j] - found.predicted) ** 2).sum()
            variance = ((distances[i, j] - distances[i, j].mean()) ** 2).sum()
            assert 1 - residual / variance == pytest.approx(found.r2, abs=1e-9)
        best = subnetworks.best_blocks(distances)
        every = [subnetworks.blocks(distances, k) for k in range(1, n + 1)]
        assert best.r2 == pytest.approx(max(one.r2 for one in every), abs=1e-9)
        assert best.n_blocks == min(one.n_blocks for one in every if one.r2 > best.r2 - 1e-9)


def test_one_block_and_one_for_each_layer_explain_nothing(rng):
    distances = random_map(rng, 7)
    mean = distances[np.triu_indices(7, k=1)].mean()
    for k, cuts in ((1, ()), (7, (1, 2, 3, 4, 5, 6))):
        found = subnetworks.blocks(distances, k)
        assert found.cuts == cuts
        assert found.r2 == 0
        assert found.within == found.between == pytest.approx(mean)
    assert subnetworks.blocks(distances, 7).labels.tolist() == [0, 1, 2, 3, 4, 5, 6]


def test_planted_blocks_are_found_exactly():
    labels = np.repeat([0, 1, 2, 3], [2, 5, 1, 4])
    planted = np.where(np.equal.outer(labels, labels), 0.2, 0.9)
    np.fill_diagonal(planted, 0)
    best = subnetworks.best_blocks(planted)
    assert best.cuts == (2, 7, 8)
    assert (best.within, best.between, best.r2) == pytest.approx((0.2, 0.9, 1))
    assert best.labels.tolist() == labels.tolist()
    assert subnetworks.best_blocks(planted, most=3).n_blocks == 3


def test_ties_are_decided_the_same_way_whatever_the_rounding(rng):
    """Two cuts in the middle of five layers are equally good; sums in another order change nothing."""
    distances = in_order(5)
    expected = subnetworks.blocks(distances, 2).cuts
    for _ in range(20):
        shaken = distances * (1 + 1e-15 * square(rng.integers(-1, 2, 10)))
        assert subnetworks.blocks(shaken, 2).cuts == expected
    # Layers that are closer to others than to neighbours: no blocks, and no error.
    alternating = np.where(np.add.outer(np.arange(6), np.arange(6)) % 2, 1.0, 0.1)
    np.fill_diagonal(alternating, 0)
    assert subnetworks.blocks(alternating, 2).r2 >= 0


@pytest.mark.parametrize(
    ("distances", "message"),
    [
        (np.where(np.eye(4), 0, np.nan), "6 distances between layers are NaN or infinite"),
        (square([1, 2, np.inf]), "1 distances between layers are NaN or infinite"),
        (1 - np.eye(4), "all distances between layers are equal"),
        (square([1.0]), "at least three layers; got 2"),
        (square([1.0, -0.2, 0.3]), r"at least 0; got -0.2. Of similarities take 1 − s"),
        (np.ones((3, 4)), r"square, or condensed to one dimension; got \(3, 4\)"),
        (np.triu(np.ones((4, 4))), "not symmetric"),
        (np.ones(4), "not the shape of a condensed RDM"),
    ],
)
def test_maps_that_are_none(distances, message, rng):
    fine = random_map(rng, 4)
    for ask in (
        lambda: subnetworks.blocks(distances, 2),
        lambda: subnetworks.best_blocks(distances),
        lambda: subnetworks.choose(fine, distances),
        lambda: subnetworks.against_chain(fine, distances),
        lambda: subnetworks.spectral(distances),
    ):
        with pytest.raises(InputError, match=message):
            ask()


def test_numbers_of_blocks_that_cannot_be(rng):
    distances = random_map(rng, 6)
    for k in (0, 7):
        with pytest.raises(InputError, match=f"6 layers make from 1 to 6 blocks; got {k}"):
            subnetworks.blocks(distances, k)
    for most in (1, 7):
        with pytest.raises(InputError, match=f"from 2 to the 6 layers; got {most}"):
            subnetworks.best_blocks(distances, most=most)
    with pytest.raises(InputError, match="maps are of the same layers; got 6 and 5"):
        subnetworks.choose(distances, random_map(rng, 5))


# --- other images, and the chain -----------------------------------------------------------------


@pytest.mark.parametrize("of", [of_identity_plans, of_transport])
def test_the_planted_chain_has_its_blocks_and_the_others_have_none(of):
    for seed in range(2):
        b = {}
        for kind in subnetworks.TOYS:
            first, other = two_maps(kind, np.random.default_rng(seed), of)
            gain = subnetworks.against_chain(first, other)
            b[kind] = gain.b, gain.b_uneven
            if kind == "blocks":
                choice = subnetworks.choose(first, other)
                assert choice.best.cuts == gain.partition.cuts == (4, 8)
                assert choice.best is choice.partitions[2]
                assert choice.r2[2] == choice.r2.max() == pytest.approx(gain.blocks)
                clusters = subnetworks.spectral(first, n_clusters=3)
                assert clusters.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
                assert clusters.contiguous
        assert b["blocks"][0] > 0.2 > 0 > -0.1 > b["smooth"][0]
        assert abs(b["blocks"][1]) < 0.1 < -b["smooth"][1]


def test_r2_on_the_other_map_is_that_of_the_first_ones_predictions(rng):
    first, other = random_map(rng, 9), random_map(rng, 9)
    gain = subnetworks.against_chain(first, other)
    i, j = np.triu_indices(9, k=1)
    values, target = first[i, j], other[i, j]
    spread = ((target - target.mean()) ** 2).sum()
    assert gain.partition == subnetworks.best_blocks(first)
    assert gain.blocks == pytest.approx(1 - ((target - gain.partition.predicted) ** 2).sum() / spread)

    def rising(apart):
        """Least squares by pooling neighbours that fall."""
        found = [[values[apart == a].mean(), np.sum(apart == a), [a]] for a in np.unique(apart)]
        k = 0
        while k < len(found) - 1:
            if found[k][0] > found[k + 1][0]:
                (m, n, a), (own, count, lags) = found.pop(k + 1), found[k]
                found[k] = [(own * count + m * n) / (count + n), count + n, lags + a]
                k = max(k - 1, 0)
            else:
                k += 1
        at = {a: m for m, _, all_of in found for a in all_of}
        return np.array([at[a] for a in apart])

    along = np.append(0, np.diag(first, 1).cumsum())
    for apart, r2 in ((j - i, gain.chain), (along[j] - along[i], gain.uneven)):
        assert r2 == pytest.approx(1 - ((target - rising(apart)) ** 2).sum() / spread)
    assert gain.b == gain.blocks - gain.chain
    # A map that is a chain is foretold by a chain alone.
    exact = subnetworks.against_chain(in_order(9), 2 * in_order(9) - in_order(9))
    assert exact.chain == pytest.approx(1)
    assert exact.b < -0.1


def test_the_number_of_blocks_is_chosen_on_the_other_map(rng):
    first, other = random_map(rng, 7), random_map(rng, 7)
    choice = subnetworks.choose(first, other, most=5)
    i, j = np.triu_indices(7, k=1)
    spread = ((other[i, j] - other[i, j].mean()) ** 2).sum()
    for k in range(1, 6):
        partition = choice.partitions[k - 1]
        assert partition == subnetworks.blocks(first, k)
        assert choice.r2[k - 1] == pytest.approx(
            1 - ((other[i, j] - partition.predicted) ** 2).sum() / spread
        )
    assert choice.best.n_blocks == 1 + choice.r2.argmax()


# --- over seeds ----------------------------------------------------------------------------------


def gains(kind, n, rng):
    return [subnetworks.against_chain(*two_maps(kind, rng)).b for _ in range(n)]


def test_level_and_power_over_simulated_studies():
    """200 studies of six seeds: smooth chains, and planted ones, beside smooth twins."""
    rng = np.random.default_rng(0)
    smooth, planted = (np.array(gains(kind, n, rng)) for kind, n in (("smooth", 120), ("blocks", 40)))
    assert smooth.mean() < 0
    rejected = {"smooth": [], "blocks": []}
    for _ in range(200):
        twins = rng.choice(smooth, 6, replace=False)
        for kind, b in (("smooth", smooth), ("blocks", planted)):
            rejected[kind].append(subnetworks.seed_test(rng.choice(b, 6, replace=False), twins, rng=rng))
    p = {
        kind: np.array([[one.p, one.p_chain, one.p_twin] for one in found])
        for kind, found in rejected.items()
    }
    # One-sided p of six seeds are multiples of 1/64: three of them are at most .05.
    assert (p["smooth"][:, 0] <= 0.05).mean() == 0
    at_most = stats.binom(200, 3 / 64).ppf(0.999) / 200
    assert (p["smooth"][:, 2] <= 0.05).mean() <= at_most
    assert (p["blocks"][:, 0] <= 0.05).mean() == 1


def test_of_chains_that_differ_neither_part_of_the_test_is_enough(rng):
    """Trained networks whose B is below 0, but above that of their twins, have no blocks; and so on."""
    less = np.array([-0.1, -0.12, -0.09, -0.11, -0.1, -0.13])
    found = subnetworks.seed_test(less, less - 0.3, rng=rng)
    assert found.p_twin == 1 / 64
    assert found.p_chain == found.p == 1
    assert (found.estimate, found.trained, found.twin) == pytest.approx((0.3, less.mean(), less.mean() - 0.3))
    assert found.n == 6
    stages = subnetworks.seed_test(-less, 0.2 - less, rng=rng)
    assert (stages.p_chain, stages.p_twin, stages.p) == (1 / 64, 1, 1)
    both = subnetworks.seed_test(-less, less + rng.normal(size=6) / 100, rng=rng, level=0.9)
    assert both.p == 1 / 64
    differences = -2 * less
    assert both.low < differences.mean() + 0.02
    assert both.level == 0.9
    t = stats.ttest_1samp(-less - (less - 0.3), 0).confidence_interval(0.95)
    interval = subnetworks.seed_test(-less, less - 0.3, rng=rng)
    assert (interval.low, interval.high) == pytest.approx((t.low, t.high))


def test_seeds_that_cannot_be_tested(rng):
    with pytest.raises(InputError, match=r"at least five seeds .* got \(4,\) and \(4,\)"):
        subnetworks.seed_test(np.ones(4), np.zeros(4), rng=rng)
    with pytest.raises(InputError, match=r"got \(6,\) and \(5,\)"):
        subnetworks.seed_test(np.ones(6), np.zeros(5), rng=rng)
    with pytest.raises(InputError, match="B is NaN or infinite for some seeds"):
        subnetworks.seed_test([1, 2, 3, 4, np.nan], np.zeros(5), rng=rng)


# --- the same places -----------------------------------------------------------------------------


def test_agreement_of_two_seeds_with_a_cut_each_is_one_over_the_places(rng):
    same = subnetworks.cut_agreement([(3,), (3,)], n_layers=11, rng=rng)
    assert (same.shared, same.chance) == (1, pytest.approx(1 / 10))
    assert same.p == pytest.approx(1 / 10, abs=0.02)
    assert same.counts.tolist() == [0, 0, 2, 0, 0, 0, 0, 0, 0, 0]
    other = subnetworks.cut_agreement([(3,), (4,)], n_layers=11, rng=rng)
    assert (other.shared, other.p) == (0, 1)


def test_agreement_of_several_seeds_against_all_that_could_be(rng):
    """Three seeds of 2, 1 and 2 cuts in five places: all 10·5·10 ways."""
    cuts = [(1, 3), (3,), (2, 3)]
    found = subnetworks.cut_agreement(cuts, n_layers=6, rng=rng, n_draws=20_000)

    def shared(one):
        return sum(len(set(a) & set(b)) for a, b in itertools.combinations(one, 2))

    ways = [itertools.combinations(range(1, 6), len(own)) for own in cuts]
    every = np.array([shared(one) for one in itertools.product(*ways)])
    assert found.shared == shared(cuts) / 4
    assert found.chance == pytest.approx(every.mean() / 4)
    assert found.p == pytest.approx(np.mean(every >= shared(cuts)), abs=0.015)


def test_agreement_is_found_at_the_nominal_rate(rng):
    p = [
        subnetworks.cut_agreement(
            [1 + rng.choice(15, 3, replace=False) for _ in range(5)], n_layers=16, rng=rng, n_draws=199
        ).p
        for _ in range(300)
    ]
    assert np.mean(np.array(p) <= 0.05) <= stats.binom(300, 0.05).ppf(0.999) / 300


def test_seeds_without_cuts_and_cuts_that_are_none(rng):
    none = subnetworks.cut_agreement([(), ()], n_layers=5, rng=rng)
    assert np.isnan(none.shared)
    assert np.isnan(none.chance)
    assert none.p == 1
    for cuts in ([(0,), (1,)], [(5,), (1,)], [(2, 2), (1,)]):
        with pytest.raises(InputError, match="cuts of 5 layers lie from 1 to 4, each once"):
            subnetworks.cut_agreement(cuts, n_layers=5, rng=rng)
    with pytest.raises(InputError, match="at least two seeds and one draw are needed; got 1"):
        subnetworks.cut_agreement([(1,)], n_layers=5, rng=rng)


# --- spectral ------------------------------------------------------------------------------------


def test_spectral_clusters_need_not_be_blocks(rng):
    labels = np.array([0, 1, 0, 1, 2, 2, 0, 1])
    distances = np.where(np.equal.outer(labels, labels), 0.1, 1.0) + 0.01 * random_map(rng, 8)
    np.fill_diagonal(distances, 0)
    found = subnetworks.spectral(distances)
    assert found.labels.tolist() == labels.tolist()
    assert found.n_clusters == 3
    assert not found.contiguous
    # exp(−d²/2σ²), σ the median: its normalised affinities have these eigenvalues, by another way.
    sigma = np.median(distances[np.triu_indices(8, k=1)])
    affinities = np.exp(-(distances**2) / (2 * sigma**2))
    walk = affinities / affinities.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found.eigenvalues, np.sort(np.linalg.eigvals(walk).real)[::-1], atol=1e-12)
    assert found.eigenvalues[0] == pytest.approx(1)
    assert subnetworks.spectral(3 * distances, n_clusters=2, seed=1).n_clusters == 2


def test_clusters_that_cannot_be(rng):
    with pytest.raises(InputError, match="at least four layers; got 3"):
        subnetworks.spectral(random_map(rng, 3))
    for k in (1, 6):
        with pytest.raises(InputError, match=f"6 layers make from 2 to 5 clusters; got {k}"):
            subnetworks.spectral(random_map(rng, 6), n_clusters=k)
    far = np.zeros((6, 6))
    far[0, 1:] = far[1:, 0] = 1
    with pytest.raises(InputError, match="the median distance is 0"):
        subnetworks.spectral(far)


# --- control and toys ----------------------------------------------------------------------------


def test_images_of_large_norms_are_left_out_of_all_layers(rng):
    layers = {"a": rng.normal(size=(40, 6)), "b": rng.normal(size=(40, 3, 2, 2))}
    layers["a"][7] *= 50
    layers["b"][21] *= 10
    layers["b"] *= 1000  # what is large is so beside the layer's other images
    layers["dead"] = np.zeros((40, 2))
    rows, kept = subnetworks.without_large_norms(layers)
    assert kept.tolist() == [i for i in range(40) if i not in (7, 21)]
    assert {name: x.shape for name, x in rows.items()} == {"a": (38, 6), "b": (38, 12), "dead": (38, 2)}
    np.testing.assert_allclose(np.linalg.norm(rows["a"], axis=1), 1)
    features = layers["b"].reshape(40, -1)[kept]
    np.testing.assert_allclose(rows["b"], features / np.linalg.norm(features, axis=1, keepdims=True))
    assert not rows["dead"].any()
    raw, every = subnetworks.without_large_norms(layers, share=0, normalised=False)
    assert len(every) == 40
    np.testing.assert_array_equal(raw["a"], layers["a"])


def test_norms_that_cannot_be_left_out(rng):
    a = rng.normal(size=(10, 3))
    for layers, share, message in [
        ({}, 0.05, "the same images; got no layers"),
        ({"a": a, "b": a[:9]}, 0.05, r"the same images; got \{'a': 10, 'b': 9\}"),
        ({"a": np.where(a > 0, np.nan, a)}, 0.05, "a: features are NaN or infinite"),
        ({"a": a}, 1, r"lies in \[0, 1\); got 1"),
        ({"a": a}, 0.7, "without 7 of 10 images, 3 are left"),
    ]:
        with pytest.raises(InputError, match=message):
            subnetworks.without_large_norms(layers, share=share)


def test_toys_are_the_same_for_the_same_seed(rng):
    for kind in subnetworks.TOYS:
        one, same = (subnetworks.toy(kind, rng=np.random.default_rng(4), n_layers=7) for _ in range(2))
        assert len(one) == 7
        assert all(np.array_equal(a, b) for a, b in zip(one, same, strict=True))
        assert {len(layer) for layer in one} == {60}
        assert len({layer.shape[1] for layer in one}) > 1
    with pytest.raises(UnknownNameError, match="no toy 'rough'. There are: blocks, smooth, uneven"):
        subnetworks.toy("rough", rng=rng)
    with pytest.raises(
        InputError, match="four images, six layers and noise of at least 0; got 3, 12 and 0.3"
    ):
        subnetworks.toy("blocks", rng=rng, n_images=3)
    with pytest.raises(UnknownNameError, match="no difference 'size'. There are: both, who, shape"):
        subnetworks.toy("blocks", rng=rng, differ="size")


def test_toys_that_differ_in_both_are_what_they_were():
    """Three geometries drawn one after the other; first of all numbers that a seed gave before."""
    layers = subnetworks.toy("uneven", rng=np.random.default_rng(4), n_images=8, n_layers=7, differ="both")
    same = subnetworks.toy("uneven", rng=np.random.default_rng(4), n_images=8, n_layers=7)
    assert all(np.array_equal(a, b) for a, b in zip(layers, same, strict=True))
    np.testing.assert_allclose(
        [layers[0][0, 0], layers[6][7, 1]], [0.05727646694669821, 0.24055321536339774], rtol=1e-9
    )


def first_of_blocks(differ, rng, n_images=60):
    layers = subnetworks.toy("blocks", rng=rng, noise=0, differ=differ, n_images=n_images)
    return layers[0], layers[5], layers[11]


def test_gromov_wasserstein_is_blind_where_images_change_places(rng):
    """The same points: its distances sorted are the same, and the order is found in which all are."""
    layers = first_of_blocks("who", rng)
    for one, other in itertools.combinations(layers, 2):
        for images in (slice(None), slice(0, None, 2), slice(1, None, 2)):
            a, b = (transport.distances(layer[images]) for layer in (one, other))
            np.testing.assert_allclose(np.sort(a, axis=None), np.sort(b, axis=None), atol=1e-9)
            found = transport.bracket(a, b, rng=rng, n_random=0)
            assert found.distance < 1e-6
            assert found.identity > 0.1
        assert abs(similarity.cka(one, other)) < 0.25
        assert similarity.compare(one, other, measures=["cosine"])["cosine"] < 0.1


def test_cka_is_all_but_blind_where_shape_differs(rng):
    layers = first_of_blocks("shape", rng)
    for one, other in itertools.combinations(layers, 2):
        assert similarity.cka(one, other) > 0.85
        bracket = transport.compare(one, other, rng=rng, n_random=0)
        assert bracket.slb > 0.005
    assert transport.compare(layers[0], layers[2], rng=rng, n_random=0).slb > 0.05
    # A plane, and what is each image's own: 0, .3 and 1.5 times its variance.
    variances = [layer.var(axis=0).sum() for layer in layers]
    np.testing.assert_allclose(variances, [1, 1.3, 2.5], rtol=1e-9)


def test_uneven_steps_that_are_given_are_taken(rng):
    """All in one step: the first geometry, and the last."""
    steps = np.zeros(8)
    steps[4] = 3
    layers = subnetworks.toy("uneven", rng=rng, noise=0, n_layers=9, steps=steps)
    gaps = [1 - similarity.cka(a, b) for a, b in itertools.pairwise(layers)]
    np.testing.assert_allclose(np.delete(gaps, 4), 0, atol=1e-9)
    assert gaps[4] > 0.5
    even = subnetworks.toy("uneven", rng=np.random.default_rng(1), steps=np.full(11, 2))
    smooth = subnetworks.toy("smooth", rng=np.random.default_rng(1))
    assert all(np.allclose(a, b) for a, b in zip(even, smooth, strict=True))
    for kind, given, said in (
        ("smooth", np.ones(11), r"got \(11,\) for smooth"),
        ("uneven", np.ones(12), r"got \(12,\) for uneven"),
        ("uneven", np.zeros(11), r"got \(11,\) for uneven"),
        ("uneven", -np.ones(11), r"got \(11,\) for uneven"),
    ):
        with pytest.raises(InputError, match=f"11 from layer to layer, at least 0 and not all 0; {said}"):
            subnetworks.toy(kind, rng=rng, steps=given)


# --- two ways of training ------------------------------------------------------------------------


def some_maps(rng, n, shift=0.0):
    """Maps of five layers around a same one."""
    i, j = np.triu_indices(5, k=1)
    centre = np.abs(i - j) + np.where((i < 2) & (j >= 2), shift, 0)
    return np.stack([square(np.abs(centre + 0.1 * rng.normal(size=len(i)))) for _ in range(n)])


def test_ways_differ_where_their_maps_do(rng):
    found = subnetworks.ways_test(some_maps(rng, 6), some_maps(rng, 6, shift=1), rng=rng)
    assert found.p == pytest.approx(2 / 924)  # of all divisions, this one and the same turned round
    assert found.n == (6, 6)
    maps = some_maps(rng, 4), some_maps(rng, 3)
    found = subnetworks.ways_test(*maps, rng=rng)

    def rms(a, b):
        return np.sqrt(np.mean((condensed(a) - condensed(b)) ** 2))

    between = np.mean([rms(a, b) for a in maps[0] for b in maps[1]])
    within = np.mean([np.mean([rms(a, b) for a, b in itertools.combinations(own, 2)]) for own in maps])
    assert (found.between, found.within) == pytest.approx((between, within))
    drawn = subnetworks.ways_test(*maps, rng=rng, n_permutations=30)  # of 35: drawn
    assert drawn.between == found.between
    assert 0 < drawn.p <= 1


def test_ways_that_do_not_differ_are_rejected_as_often_as_is_said(rng):
    p = [subnetworks.ways_test(some_maps(rng, 5), some_maps(rng, 5), rng=rng).p for _ in range(300)]
    assert np.mean(np.array(p) <= 0.05) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 300)
    assert np.mean(np.array(p) <= 0.5) == pytest.approx(0.5, abs=0.1)


def test_a_difference_says_what_it_needs(rng):
    maps = some_maps(rng, 3)
    with pytest.raises(
        InputError, match=r"three networks of each way.*got \(3, 5, 5\), \(2, 5, 5\) and 9999"
    ):
        subnetworks.ways_test(maps, maps[:2], rng=rng)
    with pytest.raises(InputError, match=r"of the same layers.*\(3, 5, 5\), \(3, 4, 4\)"):
        subnetworks.ways_test(maps, maps[:, :4, :4], rng=rng)
    broken = maps.copy()
    broken[1, 0, 2] = broken[1, 2, 0] = np.nan
    with pytest.raises(InputError, match="1 distances between layers are NaN or infinite"):
        subnetworks.ways_test(broken, maps, rng=rng)
