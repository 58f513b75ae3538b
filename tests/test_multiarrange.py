"""RDMs from arrangements: known answers, the long way, and rsatoolbox."""

import itertools
import math

import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform

from rarefire import multiarrange, rdm
from rarefire.errors import InputError
from rarefire.multiarrange import Arrangement, Estimate


def turned(points, angle, scale):
    """Moved, turned and mirrored: as somebody would arrange them another time."""
    turn = np.array([[math.cos(angle), math.sin(angle)], [math.sin(angle), -math.cos(angle)]])
    off = points @ turn - 0.3
    return scale * off / pdist(off).max()


@pytest.fixture
def points(rng):
    return rng.normal(size=(9, 2))


@pytest.fixture
def noisy(rng, points):
    """Five inexact arrangements, of all images and of subsets."""
    subsets = [range(9), [0, 3, 5, 8], [8, 1, 2], [4, 6, 7, 0, 2], [1, 2, 5]]
    made = []
    for i, subset in enumerate(subsets):
        places = turned(points[list(subset)], i, 0.7) + 0.03 * rng.normal(size=(len(subset), 2))
        made.append(Arrangement(np.array(subset), places))
    return made


def test_arrangements_without_noise_give_the_truth_up_to_scale(points):
    subsets = [np.arange(9), np.array([7, 2, 4]), np.array([0, 1, 8, 3])]
    given = [
        Arrangement(subset, turned(points[subset], 2 * i, 1 / (1 + i))) for i, subset in enumerate(subsets)
    ]
    found = multiarrange.estimate(given, n_images=9)
    ratio = found.rdm / pdist(points)
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-8)
    assert np.mean(found.rdm**2) == pytest.approx(1)
    assert found.n_images == 9


def test_by_hand():
    """A square, then three of its corners at half the size: evidence adds up, dissimilarities stay."""
    corners = 0.7 * np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
    found = multiarrange.estimate(
        [Arrangement(np.arange(4), corners), Arrangement(np.array([2, 0, 1]), corners[[2, 0, 1]] / 2)],
        n_images=4,
    )
    side, diagonal = np.sqrt(6 / 8), np.sqrt(12 / 8)  # root mean square 1
    np.testing.assert_allclose(found.rdm, [side, diagonal, side, side, diagonal, side])
    one, across = 0.7**2, 2 * 0.7**2
    np.testing.assert_allclose(found.evidence, [1.25 * one, 1.25 * across, one, 1.25 * one, across, one])


def long_way(arrangements, n):
    """The estimate pair by pair, in dictionaries."""
    given = []
    for one in arrangements:
        d = {}
        for (i, a), (j, b) in itertools.combinations(enumerate(one.images), 2):
            d[tuple(sorted((int(a), int(b))))] = math.dist(one.places[i], one.places[j])
        given.append(d)
    pairs = [p for p in itertools.combinations(range(n), 2) if any(p in d for d in given)]

    def scaled(values):
        size = math.sqrt(sum(v**2 for v in values.values()) / len(values))
        return {p: v / size for p, v in values.items()}

    now = scaled({p: np.mean([d[p] for d in given if p in d]) for p in pairs})
    for _ in range(2000):
        top, below = dict.fromkeys(pairs, 0.0), dict.fromkeys(pairs, 0.0)
        for d in given:
            by = math.sqrt(sum(now[p] ** 2 for p in d) / sum(v**2 for v in d.values()))
            for p, v in d.items():
                weight = max(v, 0.02) ** 2
                top[p] += weight * v * by
                below[p] += weight
        now = scaled({p: top[p] / below[p] for p in pairs})
    return now


def test_the_estimate_is_that_of_the_long_way(noisy):
    found = multiarrange.estimate(noisy, n_images=9)
    expected = long_way(noisy, 9)
    np.testing.assert_allclose(found.rdm, list(expected.values()), atol=1e-8)
    shuffled = multiarrange.estimate(noisy[::-1], n_images=9)
    np.testing.assert_allclose(shuffled.rdm, found.rdm, atol=1e-8)


def test_the_estimate_is_that_of_rsatoolbox(rng):
    """Its weights are squared distances too, none below 0.2²: here no distance is that small."""
    from rsatoolbox.rdm import RDMs
    from rsatoolbox.rdm.combine import rescale

    ring = np.array([[math.cos(a), math.sin(a)] for a in np.arange(6) * math.pi / 3])
    given, partial = [], np.full((3, 15), np.nan)
    for i, subset in enumerate([np.arange(6), np.array([0, 1, 3]), np.array([1, 2, 4, 5])]):
        given.append(Arrangement(subset, 0.42 * ring[subset] + 0.02 * rng.normal(size=(len(subset), 2))))
        assert given[-1].distances().min() > 0.2
        whole = np.full((6, 6), np.nan)
        whole[np.ix_(subset, subset)] = squareform(given[-1].distances())
        partial[i] = whole[np.triu_indices(6, 1)]
    theirs = rescale(RDMs(partial), method="evidence", threshold=1e-14)
    aligned, weights = theirs.dissimilarities, np.where(np.isfinite(partial), partial**2, 0)
    mean = np.nansum(aligned * weights, axis=0) / weights.sum(axis=0)
    ours = multiarrange.estimate(given, n_images=6).rdm
    np.testing.assert_allclose(ours / ours[0], mean / mean[0], rtol=1e-5)


def test_pairs_that_were_never_together_are_unknown(points):
    given = [Arrangement(np.arange(8), turned(points[:8], 0, 1))]
    found = multiarrange.estimate(given, n_images=9)
    known = np.isfinite(rdm.square(found.rdm))
    assert not known[8, :8].any()
    assert known[:8, :8].all()
    assert (rdm.square(found.evidence)[8] == 0).all()
    assert 8 in multiarrange.next_subset(found)


def best_next(found):
    """Lift the weakest, the long way."""
    n, d, w = found.n_images, rdm.square(found.rdm), rdm.square(found.evidence)

    def efficiency(chosen):
        pairs = list(itertools.combinations(sorted(chosen), 2))
        largest = max(d[p] for p in pairs)
        gain = sum(math.exp(-10 * w[p]) - math.exp(-10 * (w[p] + (d[p] / largest) ** 2)) for p in pairs)
        return gain / len(chosen) ** 1.2

    chosen = set(min(itertools.combinations(range(n), 2), key=lambda p: w[p]))
    while len(chosen) < n:
        best = max((efficiency({*chosen, i}), -i) for i in range(n) if i not in chosen)
        if len(chosen) > 2 and best[0] <= efficiency(chosen):
            break
        chosen.add(-best[1])
    return sorted(chosen)


def test_the_weakest_pair_is_lifted(noisy):
    for m in range(1, 6):
        found = multiarrange.estimate(noisy[:m], n_images=9)
        assert multiarrange.next_subset(found).tolist() == best_next(found)


def test_two_that_lie_close_together_come_again_with_others_that_do(rng):
    """Two clusters far apart: the next subset lies in one of them."""
    places = np.concatenate([[-0.45, 0] + 0.03 * rng.normal(size=(5, 2)), [[0.45, 0]] * 5])
    places[5:] += 0.03 * rng.normal(size=(5, 2))
    chosen = multiarrange.next_subset(
        multiarrange.estimate([Arrangement(np.arange(10), places)], n_images=10)
    )
    assert len({bool(i < 5) for i in chosen}) == 1
    assert len(chosen) >= 3


def test_a_simulated_subject_ends_when_it_knows_enough_or_has_had_enough(points):
    true = pdist(points)
    exact = multiarrange.simulate(true, noise=0, required=0.1, most=50, rng=np.random.default_rng(0))
    found = multiarrange.estimate(exact, n_images=9)
    assert found.evidence.min() >= 0.1
    assert multiarrange.estimate(exact[:-1], n_images=9).evidence.min() < 0.1
    np.testing.assert_allclose(found.rdm / true, found.rdm[0] / true[0], rtol=1e-6)
    short = multiarrange.simulate(true, most=3, rng=np.random.default_rng(0))
    assert len(short) == 3
    assert short[0].images.tolist() == list(range(9))
    again = multiarrange.simulate(true, most=3, rng=np.random.default_rng(0))
    assert all(np.array_equal(a.places, b.places) for a, b in zip(short, again, strict=True))
    assert pdist(short[1].places).max() <= 1 + 1e-9


def test_a_steadier_hand_tells_more(rng):
    true = pdist(rng.normal(size=(10, 2)))
    r = []
    for noise in (0.01, 0.1, 0.5):
        run = multiarrange.simulate(true, noise=noise, most=4, rng=np.random.default_rng(1))
        r.append(np.corrcoef(multiarrange.estimate(run, n_images=10).rdm, true)[0, 1])
    assert r[0] > r[1] > r[2]
    assert r[0] > 0.99


PLACES = np.array([[0, 0], [0.5, 0], [0, 0.5]])


@pytest.mark.parametrize(
    ("images", "places", "message"),
    [
        ([0, 1], PLACES[:2], "at least 3 indices from 0; got int64"),
        ([0.0, 1.0, 2.0], PLACES, "at least 3 indices from 0; got float64"),
        ([0, 1, 1], PLACES, r"each once; got \[0, 1, 1\]"),
        ([-1, 1, 0], PLACES, "indices from 0, each once"),
        ([0, 1, 2], PLACES[:2], r"places must be \(3, 2\) finite numbers.*got shape \(2, 2\)"),
        ([0, 1, 2], PLACES * np.nan, "finite numbers"),
        ([0, 1, 2], PLACES * 100, r"units of the arena's diameter.*got 70\.7"),
        ([0, 1, 2], PLACES * 0, "largest distance is above 0"),
    ],
)
def test_what_is_no_arrangement(images, places, message):
    with pytest.raises(InputError, match=message):
        Arrangement(np.array(images), places)


def test_what_gives_no_estimate(points):
    one = Arrangement(np.array([0, 1, 2]), PLACES)
    other = Arrangement(np.array([2, 3, 4]), PLACES)
    with pytest.raises(InputError, match="at least one arrangement; got none"):
        multiarrange.estimate([], n_images=3)
    with pytest.raises(InputError, match="hold image 4, but the last of n_images=4 is 3"):
        multiarrange.estimate([one, other], n_images=4)
    with pytest.raises(InputError, match="arrangement 2 shares no pair of images with those before it"):
        multiarrange.estimate([one, other], n_images=5)
    with pytest.raises(InputError, match="at least 3 images; the estimate is of 2"):
        multiarrange.next_subset(Estimate(np.ones(1), np.ones(1)))
    with pytest.raises(InputError, match=r"noise must be at least 0.* got -1, 0\.5, 12"):
        multiarrange.simulate(pdist(points), noise=-1, rng=np.random.default_rng(0))
