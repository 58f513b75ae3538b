"""PoZ, orders and silence: known answers, a naive loop, invariances, error messages."""

import numpy as np
import pytest
from scipy import stats

from rarefire import ghosts, poz
from rarefire.errors import InputError, UnknownNameError

ROUNDING = 1e-12  # means and entropies of up to 50 numbers
TOY = np.array([[0.3, 0.0, 0.0], [1.2, 0.0, 0.0], [0.7, 2.1, 0.0], [0.1, 0.0, 0.0]])


def naive_poz(embedding):
    """One image and one feature at a time."""
    zeros = [0] * embedding.shape[1]
    for row in embedding:
        for j, value in enumerate(row):
            zeros[j] += value == 0
    return [z / len(embedding) for z in zeros]


def test_poz_of_a_toy_counted_by_hand():
    assert poz.poz(TOY).tolist() == [0.0, 0.75, 1.0]


def test_poz_equals_a_naive_loop(embedding):
    assert poz.poz(embedding).tolist() == naive_poz(embedding)


@pytest.mark.parametrize("scale", [1e-30, 0.5, 3.0, 1e30])
def test_poz_is_unchanged_by_positive_scaling(embedding, scale):
    np.testing.assert_array_equal(poz.poz(embedding * scale), poz.poz(embedding))


def test_poz_leaves_its_input_as_it_was(embedding):
    before = embedding.copy()
    poz.poz(embedding)
    np.testing.assert_array_equal(embedding, before)


def test_apoz_counts_images_and_positions():
    maps = np.zeros((2, 3, 2, 2))
    maps[0, 0] = 1  # channel 0: 4 of 8 positions fire
    maps[1, 1, 0, 0] = 1  # channel 1: 1 of 8
    assert poz.poz(maps).tolist() == [0.5, 0.875, 1.0]


@pytest.mark.parametrize("block", [1, 7, 40])
def test_streaming_equals_all_at_once(embedding, block):
    counter = poz.PozCounter()
    for start in range(0, len(embedding), block):
        counter.update(embedding[start : start + block])
    np.testing.assert_array_equal(counter.result(), poz.poz(embedding))
    assert counter.n_images == len(embedding)


def test_streaming_of_feature_maps_with_unequal_batches(rng):
    maps = np.maximum(rng.normal(size=(10, 3, 4, 5)), 0)
    counter = poz.PozCounter()
    for part in (maps[:3], maps[3:4], maps[4:]):
        counter.update(part)
    expected = (maps == 0).mean(axis=(0, 2, 3))
    np.testing.assert_allclose(counter.result(), expected, rtol=1e-15)


def test_order_low_and_high_with_ties_by_index_in_both_directions():
    rates = [0.5, 0.1, 0.5, 0.9, 0.1]
    assert poz.order(rates, first="low").tolist() == [1, 4, 0, 2, 3]
    assert poz.order(rates, first="high").tolist() == [3, 0, 2, 1, 4]


def test_random_ties_move_only_features_of_equal_poz():
    rates = np.array([0.5, 0.1] + [0.7] * 20)
    found = poz.order(rates, rng=np.random.default_rng(1))
    assert found[:2].tolist() == [1, 0]
    assert sorted(found[2:]) == list(range(2, 22))
    assert found[2:].tolist() != list(range(2, 22))
    np.testing.assert_array_equal(found, poz.order(rates, rng=np.random.default_rng(1)))


def test_rounding_does_not_decide_an_order(rng):
    """The same numbers in another order have the same mean and spread, but for the last digits of a sum."""
    values = rng.random(1001)
    features = np.stack([rng.permutation(values) for _ in range(40)] + [2 * values, values / 2], axis=1)
    assert len(np.unique(features.mean(axis=0))) > 3
    expected = [40, *range(40), 41]
    for by in ("mean", "sd"):
        assert poz.order(poz.statistic(features, by), first="high").tolist() == expected
    assert poz.order(poz.statistic(features, "entropy"), first="high").tolist() == list(range(42))
    shuffled = poz.order(features.mean(axis=0), first="high", rng=np.random.default_rng(0))
    assert (shuffled[0], shuffled[-1]) == (40, 41)
    assert shuffled.tolist() != expected
    # A feature that does not vary has no spread, though its mean is rounded: .7 three times, for one.
    assert poz.statistic(np.full((3, 2), 0.7), "sd").tolist() == [0, 0]


def test_silence_tells_dead_and_ghost_apart():
    # Feature 0 fires for both classes; 1 only for class 7; 2 never here; 3 never here nor in training.
    test = np.array([[1, 0, 0, 0], [1, 0, 0, 0], [0, 2, 0, 0], [1, 1, 0, 0]])
    kinds = poz.silence([0.1, 0.5, 0.2, 1.0], test, [3, 3, 7, 7])
    assert kinds.dead_in_training.tolist() == [False, False, False, True]
    assert kinds.dead_in_test.tolist() == [False, False, True, True]
    assert kinds.ghost.tolist() == [[False, True, False, False], [False, False, False, False]]


def test_silent_features_and_ghosts_by_hand():
    # Feature 0 fires for both categories; 1 only for 7; 2 only for 3; 3 for none.
    embedding = [[1, 0, 0, 0], [1, 0, 2, 0], [0, 2, 0, 0], [1, 1, 0, 0]]
    labels = [3, 3, 7, 7]
    assert poz.silent(embedding, labels).tolist() == [[False, True, False, True], [False, False, True, True]]
    assert poz.ghosts(embedding, labels).tolist() == [
        [False, True, False, False],
        [False, False, True, False],
    ]
    # Of a single category there is no other image for which a silent feature could fire.
    assert poz.silent(embedding, [0] * 4).tolist() == [[False, False, False, True]]
    assert not poz.ghosts(embedding, [0] * 4).any()


def categories(seed):
    """Forty images of four categories of different sizes; features rare, silent, dead or faint."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat([2, 3, 5, 11], [2, 6, 12, 20]))
    fires = rng.random((40, 60)) < rng.uniform(0, 0.3, (4, 60))[np.searchsorted([2, 3, 5, 11], labels)]
    fires[:, rng.permutation(60)[:7]] = False
    return np.where(fires, 10 ** rng.uniform(-300, 2, (40, 60)), 0), labels


@pytest.mark.parametrize("seed", range(8))
def test_ghosts_equal_a_naive_loop_and_agree_with_every_other_way_to_ask(seed):
    embedding, labels = categories(seed)
    quiet, found = poz.silent(embedding, labels), poz.ghosts(embedding, labels)
    dead = [not any(image[j] for image in embedding) for j in range(60)]
    assert sum(dead) >= 7
    for row, category in enumerate((2, 3, 5, 11)):
        own = embedding[labels == category]
        silent = [not any(image[j] for image in own) for j in range(60)]
        assert quiet[row].tolist() == silent
        assert found[row].tolist() == [s and not d for s, d in zip(silent, dead, strict=True)]
        one = ghosts.find(embedding, labels == category)
        np.testing.assert_array_equal(found[row], one.ghost)
        np.testing.assert_array_equal(quiet[row], one.silent)
        np.testing.assert_array_equal(dead, one.dead)
    assert found.any()
    told_apart = poz.silence(np.ones(60), embedding, labels)
    np.testing.assert_array_equal(told_apart.ghost, found)
    np.testing.assert_array_equal(told_apart.dead_in_test, dead)
    # Whatever the categories are called, and whatever else is dead.
    np.testing.assert_array_equal(poz.ghosts(embedding, 100 - labels), found[::-1])
    wider = np.hstack([embedding, np.zeros((40, 3))])
    np.testing.assert_array_equal(poz.ghosts(wider, labels), np.hstack([found, np.zeros((4, 3), dtype=bool)]))


def test_the_share_of_rare_features():
    assert poz.RARE == 0.8
    assert poz.rare_share([0, 0.8, 0.81, 1]) == 0.5  # the dead count, a PoZ of .8 does not
    assert poz.rare_share([0.1, 0.3, 0.31, 1], rare=0.3) == 0.5
    assert poz.rare_share([0.5, 1], rare=1) == 0
    assert poz.rare_share([0.2], rare=0) == 1
    several = np.array([[[0, 0.9], [1, 1]], [[0.8, 0.8], [0.9, 0]]])
    assert poz.rare_share(several).tolist() == [[0.5, 1], [0, 0.5]]


@pytest.mark.parametrize("rare", [0, 0.5, 0.8])
def test_the_share_of_rare_features_is_of_those_that_are_rare_or_dead(embedding, rare):
    kinds = poz.kinds(poz.poz(embedding), rare=rare)
    assert poz.rare_share(poz.poz(embedding), rare=rare) == np.mean([kind != "active" for kind in kinds])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: poz.poz([[0.1, -0.2]]), "50% of the activations are negative .* post-ReLU"),
        (lambda: poz.poz([[np.nan, 1.0]]), "1 of 1 images have NaN .*: row 0"),
        (lambda: poz.poz([[np.inf, 1.0]]), "1 of 1 images have NaN .*: row 0"),
        (lambda: poz.poz([1.0, 2.0]), r"must be \(n_images, n_features\).*got \(2,\)"),
        (lambda: poz.poz(np.empty((0, 3))), "at least one image"),
        (lambda: poz.order([0.1, np.nan]), "one finite number per feature"),
        (lambda: poz.order([0.1], first="up"), "'low' or 'high'; got 'up'"),
        (lambda: poz.ghosts(TOY, [0, 1]), r"expected \(4,\), got \(2,\)"),
        (
            lambda: poz.silent(TOY, [[0, 1, 2, 3]]),
            r"labels must be one per image: expected \(4,\), got \(1, 4\)",
        ),
        (lambda: poz.silent(-TOY, [0, 0, 1, 1]), "of the activations are negative"),
        (lambda: poz.silent(np.empty((0, 3)), []), "what is silent needs at least one image; got none"),
        (lambda: poz.silence([0.1], TOY, [0, 0, 1, 1]), r"poz_training has shape \(1,\)"),
    ],
)
def test_errors_say_what_came_and_what_to_do(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_batches_must_agree():
    counter = poz.PozCounter()
    counter.update(TOY)
    with pytest.raises(InputError, match="this batch has 2 features, those before it had 3"):
        counter.update(TOY[:, :2])


def test_kinds(embedding):
    rates = poz.poz(embedding)
    found = poz.kinds(rates, rare=0.5)
    assert set(found) <= set(poz.KINDS)
    for rate, kind in zip(rates, found, strict=True):
        assert kind == ("dead" if rate == 1 else "rare" if rate > 0.5 else "active")
    assert poz.kinds([0.8, 0.8001, 1.0]).tolist() == ["active", "rare", "dead"]
    with pytest.raises(InputError, match=r"one share in \[0, 1\] per feature"):
        poz.kinds([1.5])


def test_poz_of_files_and_tensors_is_that_of_the_array(embedding, tmp_path):
    import torch
    import zarr

    np.save(tmp_path / "e.npy", embedding)
    zarr.create_array(str(tmp_path / "e.zarr"), data=embedding, chunks=(7, 24))
    expected = poz.poz(embedding)
    for source in (
        np.load(tmp_path / "e.npy", mmap_mode="r"),
        zarr.open(str(tmp_path / "e.zarr"), mode="r"),
        torch.from_numpy(embedding),
        embedding.tolist(),
    ):
        np.testing.assert_array_equal(poz.poz(source), expected)


def test_mean_and_sd_equal_a_naive_loop(embedding):
    for j, column in enumerate(embedding.T):
        mean = sum(column) / 40
        sd = (sum((x - mean) ** 2 for x in column) / 40) ** 0.5
        assert poz.statistic(embedding, "mean")[j] == pytest.approx(mean, abs=ROUNDING)
        assert poz.statistic(embedding, "sd")[j] == pytest.approx(sd, abs=ROUNDING)


@pytest.mark.parametrize("bins", [2, 7, 20])
def test_entropy_is_that_of_a_histogram(embedding, bins):
    found = poz.statistic(embedding, "entropy", bins=bins)
    for j, column in enumerate(embedding.T):
        top = column.max() or 1
        counts, _ = np.histogram(column, bins=bins, range=(0, top))
        assert found[j] == pytest.approx(stats.entropy(counts, base=2), abs=ROUNDING)
    assert (found <= np.log2(bins) + ROUNDING).all()


def test_entropy_known_beforehand():
    """Half of the images in the first bin and half in the last: one bit. Evenly over four bins: two."""
    half = [0, 1, 0, 1, 0, 1, 0, 1]
    even = [0, 0.1, 0.3, 0.4, 0.6, 0.7, 0.9, 1]
    features = np.stack([half, even, np.zeros(8), np.ones(8)], axis=1)
    for scale in (1, 1e-30):
        found = poz.statistic(features * scale, "entropy", bins=4)
        np.testing.assert_allclose(found, [1, 2, 0, 0], atol=ROUNDING)
    # The widest bins that tell the halves apart, and the default.
    for bins in (2, 20):
        assert poz.statistic(features, "entropy", bins=bins)[0] == pytest.approx(1, abs=ROUNDING)


def test_dead_features_have_no_statistic_but_0_and_go_last(embedding):
    dead = np.flatnonzero(poz.poz(embedding) == 1)
    assert len(dead) >= 2
    before = embedding.copy()
    for by in poz.STATISTICS:
        found = poz.statistic(embedding, by)
        assert found.shape == (24,)
        assert (found[dead] == 0).all()
        alive = np.setdiff1d(np.arange(24), dead)
        assert (found[alive] > 0).all()
        order = poz.order(found, first="high")
        assert sorted(order[-len(dead) :]) == dead.tolist()
    np.testing.assert_array_equal(embedding, before)


@pytest.mark.parametrize(
    ("error", "call", "message"),
    [
        (
            UnknownNameError,
            lambda: poz.statistic(TOY, "variance"),
            "no statistic 'variance'. There are: mean, sd, entropy",
        ),
        (InputError, lambda: poz.statistic(-TOY, "mean"), "of the activations are negative"),
        (
            InputError,
            lambda: poz.statistic([[np.nan, 1.0]], "sd"),
            "1 of 1 images have NaN .*: row 0",
        ),
        (
            InputError,
            lambda: poz.statistic(np.ones((2, 3, 4, 4)), "sd"),
            r"must be \(n_images, n_features\);",
        ),
        (InputError, lambda: poz.statistic(np.empty((0, 3)), "mean"), "needs at least one image; got none"),
        (InputError, lambda: poz.statistic(TOY, "entropy", bins=1), "bins must be at least 2.*; got 1"),
        (InputError, lambda: poz.statistic(TOY, "entropy", bins=4.0), "bins is a whole number; got 4.0"),
    ],
)
def test_statistics_of_what_has_none(error, call, message):
    with pytest.raises(error, match=message):
        call()


def test_a_counter_over_batches_is_poz_of_all(rng):
    activations = np.maximum(rng.normal(size=(50, 7)), 0)
    counter = poz.PozCounter.over(iter(np.split(activations, [10, 31])))
    np.testing.assert_array_equal(counter.result(), (activations == 0).mean(axis=0))
    assert counter.n_images == 50
    with pytest.raises(InputError, match="has 3 features, those before it had 7"):
        poz.PozCounter.over([activations, activations[:, :3]])


def test_saturated_features_counted_by_hand(rng, tmp_path):
    activations = np.float32([[0, 6, 5.9], [6, 6, 0], [1, 6, 6], [np.nextafter(np.float32(6), 0), 6, 2]])
    assert poz.saturated(activations).tolist() == [0.25, 1, 0.25]
    assert poz.saturated(activations[:3, :2] / 6, at=1).tolist() == [1 / 3, 1]
    with_positions = np.minimum(np.maximum(rng.normal(2, 4, size=(5, 3, 2, 2)), 0), 6)
    by_hand = [np.mean([x == 6 for x in channel.ravel()]) for channel in with_positions.swapaxes(0, 1)]
    np.testing.assert_allclose(poz.saturated(with_positions), by_hand)
    # The cap changes no zero.
    free = np.maximum(rng.normal(2, 4, size=(50, 7)), 0)
    np.testing.assert_array_equal(poz.poz(np.minimum(free, 6)), poz.poz(free))
    np.save(tmp_path / "E.npy", np.minimum(free, 6))
    on_disk = np.load(tmp_path / "E.npy", mmap_mode="r")
    np.testing.assert_array_equal(poz.saturated(on_disk), (free >= 6).mean(axis=0))


def test_what_is_not_capped_is_named():
    with pytest.raises(InputError, match=r"an activation is 6\.5: the layer is not capped at 6\."):
        poz.saturated(np.array([[0, 6.5], [1, 2]]))
    with pytest.raises(InputError, match="the activations are negative"):
        poz.saturated(np.array([[-1.0, 6], [1, 2]]))
    for at in (np.nan, np.inf):
        with pytest.raises(InputError, match=f"at is a finite number; got {at}"):
            poz.saturated(np.ones((2, 2)), at=at)
    for at in (0, -1):
        with pytest.raises(InputError, match=f"largest value of the activation function, above 0; got {at}"):
            poz.saturated(np.ones((2, 2)), at=at)
    with pytest.raises(InputError, match="PoZ needs at least one image"):
        poz.saturated(np.empty((0, 3)))


def test_counters_are_added(rng):
    batches = [np.maximum(rng.normal(size=(n, 5)), 0) for n in (4, 7, 2)]
    whole, empty = poz.PozCounter.over(batches), poz.PozCounter()
    for batch in batches:
        empty.add(poz.PozCounter.over([batch]))
    empty.add(poz.PozCounter())
    np.testing.assert_array_equal(empty.result(), whole.result())
    assert empty.n_images == whole.n_images == 13
    with pytest.raises(InputError, match="this batch has 3 features, those before it had 5"):
        whole.add(poz.PozCounter.over([batches[0][:, :3]]))


def test_by_the_packages_name_alone():
    import rarefire as rf

    assert rf.poz.poz([[0.0, 1.0], [2.0, 3.0]]).tolist() == [0.5, 0.0]
