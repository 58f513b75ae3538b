"""Spike counts of single units: by hand, every order, naive loops, simulated images, real features."""

import itertools

import numpy as np
import pytest

from rarefire import embeddings, poz, units
from rarefire.errors import InputError

ROUNDING = 1e-12  # sums and ratios of up to a few hundred whole numbers


def show(rng, rates):
    """Units that fire by chance, at `rates`, ``(n_images, n_features)``; how strongly is of no account."""
    return (rng.random(rates.shape) < rates) * rng.uniform(0.5, 2, rates.shape)


def naive_fano(embedding, window, order):
    """One unit and one window at a time."""
    found = []
    for unit in embedding.T:
        shown = [unit[i] > 0 for i in order]
        counts = [sum(shown[s : s + window]) for s in range(0, len(shown) - window + 1, window)]
        mean = sum(counts) / len(counts)
        variance = sum((c - mean) ** 2 for c in counts) / (len(counts) - 1)
        found.append(variance / mean if mean else np.nan)
    return found


def naive_selectivity(embedding, labels):
    """One minus the mean square within classes over the total one, from deviations."""
    found = []
    for unit in (embedding > 0).T.astype(float):
        within = sum(((unit[labels == c] - unit[labels == c].mean()) ** 2).sum() for c in set(labels))
        total = unit.var(ddof=1)
        found.append(1 - within / (len(unit) - len(set(labels))) / total if total else np.nan)
    return found


def near(found, expected, *, errors=4.0):
    """Whether the mean over independent units or draws is what it should be, within standard errors."""
    apart = np.asarray(found) - expected
    return abs(apart.mean()) < errors * apart.std(ddof=1) / np.sqrt(len(apart))


def test_known_answers():
    fires = np.array([[1, 1, 0, 1], [1, 1, 0, 0], [1, 0, 0, 1], [1, 0, 0, 0], [1, 1, 0, 5]])
    # Counts in two windows of two: (2, 2), (2, 0), (0, 0), (1, 1); the fifth image is left over.
    np.testing.assert_array_equal(units.fano(fires, window=2), [0, 2, np.nan, 0])
    np.testing.assert_array_equal(units.fano(fires, window=2, order=[0, 2, 1, 3]), [0, 0, np.nan, 2])
    # Within: 0; 0; 0; 1/2 + 1/2 of 4 − 2. Total: 1 of 4 − 1.
    found = units.selectivity(fires[:4], ["cat", "cat", "dog", "dog"])
    np.testing.assert_allclose(found, [np.nan, 1, np.nan, 1 - (1 / 2) / (1 / 3)], rtol=ROUNDING)
    expected = units.expected_fano([0, 0.5, 1, 0.5], [np.nan, 1, np.nan, 0], window=2)
    np.testing.assert_array_equal(expected, [0, 1, np.nan, 0.5])


def test_equal_naive_loops(embedding, rng):
    order, labels = rng.permutation(40)[:37], rng.integers(5, size=40)
    found = units.fano(embedding, window=6, order=order)
    np.testing.assert_allclose(found, naive_fano(embedding, 6, order), rtol=ROUNDING, atol=ROUNDING)
    found = units.selectivity(embedding, labels)
    np.testing.assert_allclose(found, naive_selectivity(embedding, labels), rtol=ROUNDING, atol=ROUNDING)


def test_over_all_orders_the_mean_is_poz():
    fires = np.arange(6)[:, None] < [1, 2, 3, 5, 6]
    each = [units.fano(fires, window=2, order=order) for order in itertools.permutations(range(6))]
    np.testing.assert_allclose(np.mean(each, axis=0), poz.poz(fires) * 6 / 5, rtol=ROUNDING, atol=ROUNDING)


def test_over_all_class_blocks_the_mean_is_what_selectivity_says():
    """ε², and not another estimate of ρ, makes it exact."""
    fires = np.array([[0, 1, 1], [1, 1, 0], [1, 1, 0], [1, 1, 0], [0, 0, 0], [0, 1, 1], [0, 0, 0], [0, 0, 1]])
    labels, (n, n_windows) = np.repeat([0, 1], 4), (2, 4)
    inside = list(itertools.permutations(range(4)))
    orders = [[*one, *(4 + i for i in other)] for one in inside for other in inside]
    each = [units.fano(fires, window=n, order=order) for order in orders]
    rho, rates = units.selectivity(fires, labels), poz.poz(fires)
    exact = rates * 8 / 7 * (1 + (n - 1) * rho * n_windows / (n_windows - 1))
    np.testing.assert_allclose(np.mean(each, axis=0), exact, rtol=ROUNDING)
    assert (rho < 0).any()
    assert (rho > 0.4).any()


def test_of_independent_images_fano_is_poz(rng):
    fires = show(rng, np.full((4000, 400), rng.uniform(0.05, 0.95, 400)))
    assert near(units.fano(fires, window=20) / poz.poz(fires), 1)
    assert near(units.selectivity(fires, rng.integers(10, size=4000)), 0)


@pytest.mark.parametrize("sizes", [(1000,) * 4, (2000, 1000, 600, 400)])
def test_in_class_blocks_fano_is_as_the_classes_rates_say(rng, sizes):
    """Known rates, with classes of equal and of unequal size; shuffled, it is PoZ again."""
    share, n = np.array(sizes) / sum(sizes), 20
    rates = rng.uniform(0.05, 0.95, (4, 400))
    p = share @ rates
    rho = (share @ rates**2 - p**2) / (p * (1 - p))
    labels = np.repeat(range(4), sizes)
    fires = show(rng, rates[labels])
    assert near(units.selectivity(fires, labels), rho)

    order = units.class_blocks(labels, window=n, rng=rng)
    n_windows = len(order) // n
    exact = (1 - p) * (1 + (n * n_windows / (n_windows - 1) - 1) * rho)
    blocks = units.fano(fires, window=n, order=order)
    assert near(blocks / exact, 1)
    # One shuffle puts the same classes together for all units: the error is one over shuffles.
    shuffled = [units.fano(fires, window=n, order=rng.permutation(order)) for _ in range(30)]
    assert near(np.mean(shuffled / poz.poz(fires), axis=1), 1)
    # Many windows: what is expected is 1/M below what is exact, and that is all.
    expected = units.expected_fano(1 - p, rho, window=n)
    assert (expected <= exact).all()
    assert (exact <= expected * n_windows / (n_windows - 1)).all()


def test_windows_of_class_blocks_are_of_one_class_and_come_in_any_order(rng):
    labels = rng.permutation(np.repeat(["a", "b", "c", "d"], [50, 23, 9, 37]))
    order = units.class_blocks(labels, window=10, rng=np.random.default_rng(1))
    assert len(set(order)) == len(order) == 100
    windows = labels[order].reshape(10, 10)
    assert (windows == windows[:, :1]).all()
    assert sorted(windows[:, 0]) == [*"aaaaabbddd"]
    assert list(windows[:, 0]) != sorted(windows[:, 0])
    np.testing.assert_array_equal(order, units.class_blocks(labels, window=10, rng=np.random.default_rng(1)))
    assert order.tolist() != units.class_blocks(labels, window=10, rng=rng).tolist()


def test_real_features(trained, rng):
    """LeNet-5 and digits: shuffled, Fano is PoZ; in class blocks it is far more, as selectivity says."""
    network, test = trained
    order = units.class_blocks(test.labels, window=5, rng=rng)
    shown, labels = embeddings.extract(network, test)[order], test.labels[order]
    rates = poz.poz(shown)
    some = (rates > 0) & (rates < 1)
    shown, rates, n_windows = shown[:, some], rates[some], len(order) // 5
    assert some.sum() > 40

    shuffles = [rng.permutation(len(shown)) for _ in range(50)]
    shuffled = np.mean([units.fano(shown, window=5, order=each).mean() for each in shuffles])
    assert shuffled == pytest.approx(rates.mean(), rel=0.05)
    blocks = units.fano(shown, window=5)
    assert blocks.mean() > 2 * rates.mean()
    expected = units.expected_fano(rates, units.selectivity(shown, labels), window=5)
    assert blocks.mean() == pytest.approx(expected.mean() * n_windows / (n_windows - 1), rel=0.05)
    assert np.corrcoef(blocks, expected)[0, 1] > 0.98


def test_wrong_windows_orders_and_activations(embedding):
    for window in (1, 2.5, True):
        with pytest.raises(InputError, match=f"window must be at least 2, a whole number.*got {window}"):
            units.fano(embedding, window=window)
    with pytest.raises(InputError, match="at least two windows of 21; got 40 images"):
        units.fano(embedding, window=21)
    for order in ([0, 0, 1, 2], [0, 1, 2, 40], [0, 1, 2, -1], [0.0, 1.0, 2.0, 3.0], [[0, 1], [2, 3]]):
        with pytest.raises(InputError, match="order must be image indices from 0 to 39, each at most once"):
            units.fano(embedding, window=2, order=order)
    for asked in (
        lambda values: units.fano(values, window=2),
        lambda values: units.selectivity(values, np.arange(40) % 2),
    ):
        with pytest.raises(InputError, match="activations are negative"):
            asked(embedding - 1)


def test_wrong_labels_rates_and_blocks(embedding, rng):
    with pytest.raises(InputError, match=r"one per image: expected \(40,\), got \(39,\)"):
        units.selectivity(embedding, np.arange(39) % 2)
    for labels in (np.zeros(40), np.arange(40)):
        with pytest.raises(InputError, match="needs two classes or more, one of them with two images"):
            units.selectivity(embedding, labels)
    for rates, rho in (([0.5], [0.5, 0.5]), ([1.5], [0]), ([np.nan], [0]), ([0.5], [1.5])):
        with pytest.raises(InputError, match="poz and selectivity must be one number per feature"):
            units.expected_fano(rates, rho, window=2)
    with pytest.raises(InputError, match="window must be at least 2"):
        units.expected_fano([0.5], [0], window=1)
    with pytest.raises(InputError, match=r"must fill two windows of 4; they have \[7, 3\] images"):
        units.class_blocks([0] * 7 + [1] * 3, window=4, rng=rng)
    with pytest.raises(InputError, match=r"labels must be one per image; got shape \(1, 4\)"):
        units.class_blocks([[0, 0, 1, 1]], window=2, rng=rng)
    with pytest.raises(InputError, match="window must be at least 2"):
        units.class_blocks([0, 0, 1, 1], window=1, rng=rng)
    with pytest.raises(InputError, match=r"rng is a numpy.random.Generator; got int"):
        units.class_blocks([0, 0, 1, 1], window=2, rng=1)
