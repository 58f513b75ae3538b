"""Spike counts of single units: by hand, every order, naive loops, simulated images, real features."""

import itertools

import numpy as np
import pytest
from sklearn.metrics.cluster import contingency_matrix, expected_mutual_information

from rarefire import curves, embeddings, inference, poz, units
from rarefire.errors import InputError, UnknownNameError

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
    with pytest.raises(InputError, match=r"window must be at least 2, a whole number.*got 1"):
        units.fano(embedding, window=1)
    for window in (2.5, True):
        with pytest.raises(InputError, match=f"window is a whole number; got {window}"):
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


# --- information ---------------------------------------------------------------------------------


def naive_responses(unit):
    """One unit: equal values together, where the halves are least unequal; below, if it is all one."""
    positive = sorted(v for v in unit if v > 0)
    apart = {c: (abs(sum(v <= c for v in positive) - len(positive) / 2), -c) for c in set(positive)}
    best = min(apart, key=apart.get, default=0)
    return [0 if v == 0 else 1 if v <= best else 2 for v in unit]


def naive_information(unit, stimulus, corrected):
    """One unit, from the definition and Panzeri and Treves's (1996) formula, a count at a time."""
    n, bits, over = len(unit), 0.0, 0
    for s in set(stimulus):
        own = [r for r, t in zip(unit, stimulus, strict=True) if t == s]
        over += len(set(own)) - 1
        for r in set(own):
            joint, apart = own.count(r) / n, list(unit).count(r) / n * len(own) / n
            bits += joint * np.log2(joint / apart)
    return bits - corrected * (over - (len(set(unit)) - 1)) / (2 * n * np.log(2))


@pytest.fixture
def answers(rng):
    """Responses of 12 units to 300 images, the last dead, and two properties that they know of."""
    first, second = rng.integers(6, size=300), rng.integers(4, size=300)
    known = np.outer(first, rng.uniform(0, 1, 12)) + np.outer(second, rng.uniform(0, 1, 12))
    shown = np.maximum(known + rng.normal(size=(300, 12)) - rng.uniform(1, 4, 12), 0)
    shown[:, -1] = 0
    return units.responses(shown), first, second


def test_responses_are_silence_and_halves():
    found = units.responses(
        [[0, 3, 2, 1, 0], [4, 1, 2, 2, 0], [1, 2, 2, 2, 7], [3, 5, 0, 2, 0], [2, 4, 0, 2, 0]]
    )
    assert found.dtype == np.uint8
    assert found.T.tolist() == [
        [0, 2, 1, 2, 1],
        [1, 1, 1, 2, 2],
        [1, 1, 1, 0, 0],
        [1, 2, 2, 2, 2],
        [0, 0, 1, 0, 0],
    ]


def test_responses_and_bins_equal_naive_ones(embedding, rng):
    tied = np.round(np.concatenate([embedding, 3 * embedding], axis=1))
    for shown in (embedding, tied):
        found = units.responses(shown)
        np.testing.assert_array_equal(found.T, [naive_responses(unit) for unit in shown.T])
    many = rng.integers(4, size=(300_000, 20)) * rng.random(20)  # several parts of units
    np.testing.assert_array_equal(units.responses(many)[:, -1], naive_responses(many[:, -1].round(6)))
    # Halves of a unit that always fires are two bins.
    for unit in (embedding + 1).T, np.round(embedding + 1).T:
        np.testing.assert_array_equal(units.responses(unit.T).T - 1, [units.bins(one, 2) for one in unit])


def test_bins_are_of_equal_size_and_keep_what_is_equal_together(rng):
    values = rng.permutation(230) / 7
    found = units.bins(values)
    assert np.bincount(found).tolist() == [10] * 23
    np.testing.assert_array_equal(found, np.argsort(np.argsort(values)) // 10)
    assert set(np.bincount(units.bins(rng.random(1000)))) == {43, 44}
    assert units.bins([0, 0, 0, 1, 2, 3], 3).tolist() == [0, 0, 0, 1, 2, 2]
    assert units.bins([5, 5, 5, 5], 2).tolist() == [0] * 4
    # 0.1 + 0.2 is 0.3: rounding decides nothing.
    assert units.bins([0.3, 0.1 + 0.2, 0.1, 0.9], 4).tolist() == [1, 1, 0, 3]


def test_entropy_is_that_of_firing_and_of_halves(embedding):
    assert units.entropy([[0, 0, 1, True], [1, 0, 1, 2], [2, 0, 1, 3], [0, 0, 1, 4]]).tolist() == [
        1.5,
        0,
        0,
        2,
    ]
    rates = np.array([0, 0.5, 0.25, 1])
    known = [0, 1, 2 - 0.75 * np.log2(3), 0]
    np.testing.assert_allclose(units.poz_bound(rates), known, atol=ROUNDING)
    firing = units.entropy(embedding > 0)
    np.testing.assert_allclose(firing, units.poz_bound(poz.poz(embedding)), atol=ROUNDING)
    halves = np.array([[0.0]] * 4 + [[1.0], [2.0]] * 6)
    np.testing.assert_allclose(units.entropy(units.responses(halves)), [units.poz_bound(1 / 4) + 3 / 4])


def test_of_xor_each_part_says_nothing_and_both_say_all():
    first, second = np.repeat([0, 1], 50), np.tile([0, 1], 50)
    said = (first ^ second)[:, None]
    options = {"corrected": False}
    assert units.information(said, first, **options) == 0
    assert units.information(said, second, **options) == 0
    assert units.conditional_information(said, first, given=second, **options) == 1
    assert units.independent_share(said, first, given=second, **options) == 1
    # Both responses for both values: 1/(2 N ln 2) is taken off; one for each of the four: 1 of it is added.
    bias = 1 / (200 * np.log(2))
    np.testing.assert_allclose(units.information(said, first), -bias, rtol=ROUNDING)
    given = units.conditional_information(said, first, given=second)
    np.testing.assert_allclose(given, 1 + 2 * bias, rtol=ROUNDING)


def test_of_a_binary_channel_information_is_its_capacity():
    """An answer that is wrong at rate e tells 1 − h(e) of an even question."""
    said, asked = [], np.repeat([0, 1], 1000)
    for wrong in (0, 10, 110, 500):
        flipped = np.tile(np.arange(1000) < wrong, 2)
        said.append(asked ^ flipped)
    found = units.information(np.stack(said, axis=1), asked, corrected=False)
    np.testing.assert_allclose(found, 1 - units.poz_bound([0, 0.01, 0.11, 0.5]), atol=ROUNDING)


@pytest.mark.parametrize("corrected", [False, True])
def test_information_equals_a_naive_loop_and_scikit_learn(answers, corrected):
    from sklearn.metrics import mutual_info_score

    said, first, second = answers
    for stimulus in (first, second, np.array([*"abcdef"])[first]):
        found = units.information(said, stimulus, corrected=corrected)
        naive = [naive_information(unit, stimulus.tolist(), corrected) for unit in said.T.tolist()]
        np.testing.assert_allclose(found, naive, rtol=ROUNDING, atol=ROUNDING)
        assert found[-1] == 0
        if not corrected:
            peer = [mutual_info_score(stimulus, unit) / np.log(2) for unit in said.T]
            np.testing.assert_allclose(found, peer, rtol=ROUNDING, atol=ROUNDING)
            assert (found <= units.entropy(said) + ROUNDING).all()


def test_chain_rule(answers):
    said, first, second = answers
    stimulus = np.arange(300)  # decides everything
    for options in ({"corrected": False}, {}):
        for one, both in ((first, 10 * first + second), (stimulus, stimulus)):
            known = units.information(said, second, **options)
            beyond = units.conditional_information(said, one, given=second, **options)
            total = units.information(said, both, **options)
            np.testing.assert_allclose(known + beyond, total, atol=ROUNDING)
            share = units.independent_share(said, one, given=second, **options)
            np.testing.assert_allclose(share[:-1], (beyond / np.where(total, total, np.nan))[:-1], rtol=1e-9)
            assert np.isnan(share[-1])
    np.testing.assert_allclose(units.information(said, stimulus, corrected=False), units.entropy(said))


def test_information_does_not_hang_on_names_orders_or_how_units_are_cut(answers, rng, monkeypatch):
    said, first, _ = answers
    found = units.information(said, first)
    names = rng.permutation(6)
    np.testing.assert_allclose(units.information(said, names[first] * 7.5), found, atol=ROUNDING)
    np.testing.assert_allclose(units.information(2 - said, first), found, atol=ROUNDING)
    order = rng.permutation(300)
    np.testing.assert_allclose(units.information(said[order], first[order]), found, atol=ROUNDING)
    many = np.tile(said, 5)  # 60 units, in parts of 16
    monkeypatch.setattr(units, "_CHUNK", 1)
    np.testing.assert_allclose(units.information(many, first), np.tile(found, 5), atol=ROUNDING)


@pytest.mark.parametrize(
    ("n", "raw", "left", "units_"), [(230, 0.150, 0.018, 2000), (1000, 0.032, 0.0004, 2000)]
)
def test_what_chance_gives_is_taken_off(rng, n, raw, left, units_):
    """Three responses, 23 values, independent: 0.15 bits become 0.02, and 0.03 none."""
    said = rng.permuted(np.tile((np.arange(n) % 3)[:, None], units_), axis=0)
    stimulus = np.arange(n) % 23
    assert near(units.information(said, stimulus, corrected=False), raw, errors=4)
    assert near(units.information(said, stimulus), left, errors=4)


def test_what_chance_gives_is_the_mean_over_all_orders(rng):
    said = np.array([[0, 0, 2], [0, 1, 2], [1, 2, 2], [0, 1, 2], [2, 0, 2], [0, 0, 2]])
    stimulus = np.array([0, 0, 0, 1, 1, 2])
    orders = [list(order) for order in itertools.permutations(range(6))]
    mean = np.mean([units.information(said, stimulus[o], corrected=False) for o in orders], axis=0)
    np.testing.assert_allclose(units.expected_information(said, stimulus), mean, atol=ROUNDING)
    # scikit-learn's, in nats, takes a table.
    said, stimulus = rng.integers(3, size=(300, 4)), rng.integers(7, size=300)
    expected = [
        expected_mutual_information(contingency_matrix(unit, stimulus, sparse=True), 300) / np.log(2)
        for unit in said.T
    ]
    np.testing.assert_allclose(units.expected_information(said, stimulus), expected, rtol=1e-9)


def test_beyond_chance_rare_units_know_nothing_where_the_correction_leaves_something(rng):
    """The number in the notes of the correction."""
    said = units.responses(show(rng, np.full((1000, 400), 0.07)))
    stimulus = units.bins(rng.random(1000), 23)
    beyond = units.information(said, stimulus, corrected=False) - units.expected_information(said, stimulus)
    assert near(beyond, 0)
    assert units.information(said, stimulus).mean() == pytest.approx(0.014, abs=0.002)


def test_permutations(rng):
    """What is known is found; of what is not, p is uniform; rules of p, Holm and of the dead."""
    said = rng.integers(3, size=(120, 400))
    said[:, 0] = 0
    stimuli = {"known": said[:, 1], "unknown": rng.integers(5, size=120)}
    found = units.information_test(said, stimuli, rng=np.random.default_rng(4), n_permutations=99)
    assert found.properties == ("known", "unknown")
    for i, one in enumerate(stimuli.values()):
        np.testing.assert_array_equal(found.information[i], units.information(said, one))
    assert found.p[:, 0].tolist() == [1, 1]
    assert found.p[0, 1] == 0.01
    assert found.adjusted[0, 1] == 0.02
    for p, adjusted in zip(found.p.T, found.adjusted.T, strict=True):
        np.testing.assert_array_equal(adjusted, inference.holm(p))
    # A naive loop with the same permutations.
    gen = np.random.default_rng(4)
    orders = [gen.permutation(120) for _ in range(99)]
    for unit in (1, 2, 3):
        own, values = said[:, unit].tolist(), stimuli["unknown"]
        each = [naive_information(own, values[order].tolist(), False) for order in [np.arange(120), *orders]]
        assert found.p[1, unit] == np.mean(np.array(each) >= each[0] - ROUNDING)


def test_permutations_hold_their_level(rng):
    """Of independent units and properties, over data sets: one in twenty at 0.05, on average over units."""
    rates = []
    for _ in range(60):
        said = units.responses(np.maximum(rng.normal(size=(60, 30)) - rng.uniform(-1, 1, 30), 0))
        stimuli = {"luminance": units.bins(rng.random(60), 5)}
        rates.append((units.information_test(said, stimuli, rng=rng, n_permutations=39).p <= 0.05).mean())
    assert near(rates, 0.05)


def test_concentration():
    assert units.gini([2, 2, 2]) == 0
    assert units.gini([0, 0, 0, 5]) == 0.75
    assert units.gini([1, 3]) == 0.25
    assert np.isnan(units.gini([0, 0]))
    values = np.array([3.0, 1, 4, 1, 5, 9, 2, 6])
    naive = np.abs(values[:, None] - values).mean() / (2 * values.mean())
    assert units.gini(values) == pytest.approx(naive, rel=ROUNDING)
    assert units.top_share(np.ones(84)) == pytest.approx(0.1, rel=ROUNDING)
    assert units.top_share([0, 10, 0]) == pytest.approx(0.3, rel=ROUNDING)
    assert units.top_share([6, 1, 2, 1], share=0.375) == pytest.approx(0.7, rel=ROUNDING)
    assert units.top_share([6, 1, 2, 1], share=1) == 1
    assert np.isnan(units.top_share([0, 0]))


def test_summary_counts_the_dead_and_leaves_them_out():
    found = units.summary([0.5, 0, 0.1, -0.1], [1, 0, 0.4, 0.5], share=0.5)
    assert (found.relative, found.n_dead, found.n_units) == (0.25, 1, 4)
    assert found.gini == units.gini([0.5, 0.1, 0])
    assert found.top_share == units.top_share([0.5, 0.1, 0], share=0.5)
    dead = units.summary([0, 0], [0, 0])
    assert (dead.n_dead, dead.n_units) == (2, 2)
    assert np.isnan([dead.relative, dead.gini, dead.top_share]).all()


def test_information_of_real_features(trained):
    """LeNet-5's last units and digits: bounds hold, scikit-learn agrees, and units know classes."""
    from sklearn.metrics import mutual_info_score

    network, test = trained
    shown = embeddings.extract(network, test)
    said = units.responses(shown)
    found, most = units.information(said, test.labels, corrected=False), units.entropy(said)
    peer = [mutual_info_score(test.labels, unit) / np.log(2) for unit in said.T]
    np.testing.assert_allclose(found, peer, rtol=ROUNDING, atol=ROUNDING)
    assert (found <= most + ROUNDING).all()
    rates = poz.poz(shown)
    firing = units.information(shown > 0, test.labels, corrected=False)
    assert (firing <= units.poz_bound(rates) + ROUNDING).all()
    assert (firing <= found + ROUNDING).all()
    layer = units.summary(units.information(said, test.labels), most)
    assert layer.n_dead == np.count_nonzero(rates == 1)
    assert 0.3 < layer.relative < 1
    assert 0.1 < layer.top_share < 0.5


def test_wrong_responses_and_properties(embedding, rng):
    said, classes = units.responses(embedding), np.arange(40) % 4
    with pytest.raises(InputError, match="activations are negative"):
        units.responses(embedding - 1)
    with pytest.raises(InputError, match="responses are those to images; got none"):
        units.responses(embedding[:0])
    for wrong in (embedding, said[0], said[:0], said[:, :0], said.astype(int) - 1):
        with pytest.raises(
            InputError, match=r"responses must be \(n_images, n_features\), whole numbers from 0"
        ):
            units.entropy(wrong)
        with pytest.raises(
            InputError, match=r"responses must be \(n_images, n_features\), whole numbers from 0"
        ):
            units.information(wrong, classes)
    for wrong in (classes[:39], classes[:, None], np.where(classes, classes, np.nan)):
        for asked in (
            lambda wrong: units.information(said, wrong),
            lambda wrong: units.conditional_information(said, classes, given=wrong),
            lambda wrong: units.independent_share(said, wrong, given=classes),
            lambda wrong: units.information_test(said, {"of": wrong}, rng=rng),
        ):
            with pytest.raises(InputError, match=r"a property is one value per image.*expected \(40,\), got"):
                asked(wrong)
    with pytest.raises(InputError, match="stimuli holds properties by name; got none"):
        units.information_test(said, {}, rng=rng)
    with pytest.raises(InputError, match="n_permutations must be a whole number, at least 1; got 0"):
        units.information_test(said, {"class": classes}, rng=rng, n_permutations=0)
    with pytest.raises(InputError, match=r"rng is a numpy.random.Generator; got int"):
        units.information_test(said, {"class": classes}, rng=1)


def test_chance_takes_responses_and_a_property(rng):
    with pytest.raises(InputError, match="responses must be"):
        units.expected_information(rng.random((5, 2)), np.arange(5))
    with pytest.raises(InputError, match="a property is one value per image"):
        units.expected_information(np.zeros((5, 2), int), np.arange(4))


def test_wrong_bins_rates_and_amounts():
    with pytest.raises(
        InputError, match=r"got shape \(3,\), 1 of them NaN or infinite: leave those images out"
    ):
        units.bins([1, np.nan, 2], 2)
    with pytest.raises(InputError, match=r"one finite number per image; got shape \(1, 2\)"):
        units.bins([[1, 2]], 2)
    with pytest.raises(InputError, match=r"n_bins is a whole number; got 2\.0"):
        units.bins([1, 2, 3], 2.0)
    for n_bins in (1, 4):
        with pytest.raises(InputError, match=f"from 2 to the number of images, 3; got {n_bins}"):
            units.bins([1, 2, 3], n_bins)
    with pytest.raises(InputError, match=r"poz is a share of images, in \[0, 1\]"):
        units.poz_bound([0.5, 1.1])
    for wrong in ([], [[1.0]], [-1, 2], [np.nan]):
        for asked in (units.gini, units.top_share):
            with pytest.raises(InputError, match="values must be one finite number per feature, at least 0"):
                asked(wrong)
    for share in (0, 1.5):
        with pytest.raises(
            InputError, match=f"share is one of the units, above 0 and at most 1; got {share}"
        ):
            units.top_share([1, 2], share=share)
    for wrong in (([1, 2], [1]), ([np.nan], [1]), ([1], [-1])):
        with pytest.raises(InputError, match="information and entropy must be one finite number per feature"):
            units.summary(*wrong)


# --- the geometry without a single unit ------------------------------------------------------------


def naive_without(embedding, metric, silenced):
    """r and the number of images, one feature and one pair at a time."""

    def alike(a, b):
        if metric == "correlation":
            a, b = a - a.mean(), b - b.mean()
        return a @ b / np.sqrt((a @ a) * (b @ b))

    def defined(row):
        return len(row) > 0 and (row.any() if metric == "cosine" else np.ptp(row) > 0)

    found = []
    for f in range(embedding.shape[1]):
        rest = embedding.copy()
        rest[:, f] = 0
        rest = rest if silenced else np.delete(embedding, f, axis=1)
        rows = [i for i in range(len(rest)) if defined(embedding[i]) and defined(rest[i])]
        both = [
            (alike(rest[i], rest[j]), alike(embedding[i], embedding[j]))
            for i, j in itertools.combinations(rows, 2)
        ]
        varies = len(both) >= 3 and np.ptp([x for x, _ in both]) > 1e-9
        found.append((np.corrcoef(np.array(both).T)[0, 1] if varies else np.nan, len(rows)))
    return np.array(found).T


def odd_images(rng):
    """Images of which a single feature is all there is, or all that differs; and a dead feature."""
    embedding = np.maximum(rng.normal(size=(12, 3)) @ rng.normal(size=(3, 9)) - np.linspace(-1, 2, 9), 0)
    embedding[0], embedding[1], embedding[2], embedding[3] = 0, 0.7, 0, 0.5
    embedding[2, 4], embedding[3, 6], embedding[4] = 1, 2, 1
    embedding[4, 0], embedding[:, 8] = 0, 0
    return embedding


@pytest.mark.parametrize("metric", ["correlation", "cosine"])
@pytest.mark.parametrize("silenced", [True, False])
def test_the_geometry_without_each_unit_is_that_of_a_naive_loop(rng, metric, silenced):
    for embedding in (odd_images(rng), rng.gamma(0.3, size=(10, 6)), 1e150 * rng.uniform(1, 2, (8, 5))):
        found = units.without_each(embedding, metric=metric, silenced=silenced)
        r, n_images = naive_without(embedding / embedding.max(), metric, silenced)
        np.testing.assert_allclose(found.r, r, rtol=0, atol=1e-9)
        np.testing.assert_array_equal(found.n_images, n_images)
        lost = np.where(np.isfinite(r), 1 - r**2, 1)
        assert found.rank.tolist() == [1 + np.count_nonzero(lost > own + 1e-9) for own in lost]


def test_where_one_unit_is_nearly_all_digits_are_not_lost(rng):
    """What is left without it is less than a millionth; the nested curves, which go another way, agree."""
    embedding = rng.uniform(size=(15, 7))
    embedding[:, 3] *= 3e3
    others = np.r_[np.delete(np.arange(7), 3), 3]
    found = units.without_each(embedding).r[3]
    assert found == pytest.approx(curves.silenced_curve(embedding, others, k=[6]).r[0], abs=1e-9)
    found = units.without_each(embedding, silenced=False).r[3]
    assert found == pytest.approx(curves.geometry_curve(embedding, others, k=[6]).r[0], abs=1e-9)


def test_a_unit_that_never_fires_matters_by_centring_alone(rng):
    embedding = np.c_[rng.gamma(0.5, size=(20, 6)), np.zeros(20)]
    assert units.without_each(embedding).r[6] == pytest.approx(1, abs=1e-12)
    assert units.without_each(embedding).rank[6] == 7
    assert 0.9 < units.without_each(embedding, silenced=False).r2[6] < 1 - 1e-6
    for silenced in (True, False):
        assert units.without_each(embedding, metric="cosine", silenced=silenced).r[6] == pytest.approx(1)


def test_too_few_images_and_no_similarity():
    with pytest.raises(InputError, match="at least three images"):
        units.without_each(np.ones((2, 4)))
    with pytest.raises(UnknownNameError, match=r"no metric of a similarity 'euclidean'\. There are: "):
        units.without_each(np.eye(4), metric="euclidean")
    one = units.without_each(np.arange(1.0, 5)[:, None], silenced=False)
    assert np.isnan(one.r).all()
    assert one.n_images.tolist() == [0]
