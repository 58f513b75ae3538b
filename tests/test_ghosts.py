"""Ghost features: naive loops, all subsets, simulated categories, a network built by hand, messages."""

import itertools
import tracemalloc
from math import comb

import numpy as np
import pytest
import torch
import zarr
from scipy import stats
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression

from rarefire import ghosts, poz, retrieval
from rarefire._engine import blocks
from rarefire.errors import InputError, RarefireWarning

CATEGORY = [3, 11, 12, 25, 39]

# Images 0, 1 and 2 are the category. Feature 0 fires for all; 1 for image 0 alone; 2 for image 2 alone, and
# for no other image; 3 and 4 are ghosts; 5 is dead; 6 fires for images 0 and 1.
TOY = np.array(
    [
        [1, 2, 0, 0, 0, 0, 1],
        [3, 0, 0, 0, 0, 0, 2],
        [1, 0, 4, 0, 0, 0, 0],
        [1, 1, 0, 5, 2, 0, 0],
        [0, 0, 0, 1, 0, 0, 3],
    ]
)


@pytest.fixture
def several(monkeypatch):
    """Blocks of 16 rows, the fewest there are."""
    monkeypatch.setattr(ghosts, "_ELEMENTS", 1)


def naive_find(inside, outside):
    """One image and one feature at a time."""
    n_features = inside.shape[1]
    fires, others, alone = [0] * n_features, [0] * n_features, [0] * len(inside)
    for j in range(n_features):
        fires[j] = sum(1 for row in inside if row[j] > 0)
        others[j] = sum(1 for row in outside if row[j] > 0)
        for i, row in enumerate(inside):
            rest = [other[j] for k, other in enumerate(inside) if k != i]
            alone[i] += bool(row[j] > 0 and not any(rest) and others[j])
    ghost = [f == 0 and o > 0 for f, o in zip(fires, others, strict=True)]
    dead = [f == 0 and o == 0 for f, o in zip(fires, others, strict=True)]
    return {"fires": fires, "others": others, "alone": alone, "ghost": ghost, "dead": dead}


def compare(found, expected):
    for name, values in expected.items():
        assert getattr(found, name).tolist() == values, name


def split(embedding, category=CATEGORY):
    return embedding[category], np.delete(embedding, category, axis=0)


# --- find ------------------------------------------------------------------------------------------


def test_a_toy_counted_by_hand():
    found = ghosts.find(TOY, [0, 1, 2])
    assert found.fires.tolist() == [3, 1, 1, 0, 0, 0, 2]
    assert found.others.tolist() == [1, 1, 0, 2, 1, 0, 1]
    assert found.alone.tolist() == [1, 0, 0]
    assert (found.n_images, found.n_others, found.n_features) == (3, 2, 7)
    assert found.features.tolist() == [3, 4]
    assert np.flatnonzero(found.silent).tolist() == [3, 4, 5]
    assert np.flatnonzero(found.dead).tolist() == [5]
    table = found.table()
    assert table.columns.tolist() == ["feature", "kind", "others"]
    assert table.to_numpy().tolist() == [[3, "ghost", 2], [4, "ghost", 1], [5, "dead", 0]]


def test_find_equals_a_naive_loop(embedding):
    found = ghosts.find(embedding, CATEGORY)
    compare(found, naive_find(*split(embedding)))
    assert (found.n_images, found.n_others) == (5, 35)
    # The kinds that the loop must have met for this to say anything.
    assert found.ghost.any()
    assert found.dead.any()
    assert found.alone.any()


def test_ghosts_are_those_of_poz(embedding):
    labels = np.arange(40) % 4
    expected = poz.silence(np.zeros(24), embedding, labels).ghost
    for category in range(4):
        np.testing.assert_array_equal(ghosts.find(embedding, labels == category).ghost, expected[category])


@pytest.mark.parametrize(
    "category",
    [
        CATEGORY[::-1],
        tuple(CATEGORY),
        np.array(CATEGORY, dtype=np.uint8),
        np.isin(np.arange(40), CATEGORY),
        np.isin(np.arange(40), CATEGORY).tolist(),
    ],
    ids=["other order", "tuple", "uint8", "mask", "list mask"],
)
def test_rows_in_any_order_and_masks_are_the_same_category(embedding, category):
    compare(ghosts.find(embedding, category), naive_find(*split(embedding)))


def test_every_source_in_one_block_or_in_several(embedding, tmp_path, monkeypatch):
    np.save(tmp_path / "e.npy", embedding)
    zarr.create_array(str(tmp_path / "e.zarr"), data=embedding, chunks=(9, 24))
    expected = naive_find(*split(embedding))
    single = embedding.astype(np.float32)
    for elements in (2**22, 1):
        monkeypatch.setattr(ghosts, "_ELEMENTS", elements)
        for source in (
            embedding,
            embedding.tolist(),
            single,
            np.asfortranarray(embedding),
            torch.from_numpy(embedding),
            torch.from_numpy(single).requires_grad_(),
            blocks.open_embedding(tmp_path / "e.npy"),
            blocks.open_embedding(tmp_path / "e.zarr"),
        ):
            compare(ghosts.find(source, CATEGORY), expected)
    assert len(blocks.spans(embedding, elements=1)) == 3


def test_activations_of_whole_numbers_and_of_truth_values(embedding):
    expected = naive_find(*split(embedding))
    compare(ghosts.find(embedding > 0, CATEGORY), expected)
    compare(ghosts.find((embedding > 0).astype(np.uint8), CATEGORY), expected)


@pytest.mark.usefixtures("several")
def test_other_images_from_another_source_are_other_images(embedding, tmp_path):
    np.save(tmp_path / "more.npy", embedding[20:])
    more = blocks.open_embedding(tmp_path / "more.npy")
    found = ghosts.find(embedding[:20], CATEGORY[:3], others=more)
    compare(found, naive_find(*split(embedding, CATEGORY[:3])))
    assert (found.n_images, found.n_others) == (3, 37)
    # A category that is a whole source.
    found = ghosts.find(torch.from_numpy(embedding[:20]), np.ones(20, dtype=bool), others=embedding[20:])
    compare(found, naive_find(embedding[:20], embedding[20:]))
    assert (found.n_images, found.n_others) == (20, 20)


def test_inputs_stay(embedding):
    before, rows = embedding.copy(), np.array(CATEGORY[::-1])
    ghosts.find(embedding, rows)
    ghosts.components(embedding, [3, 1, 2])
    np.testing.assert_array_equal(embedding, before)
    assert rows.tolist() == CATEGORY[::-1]


def test_a_single_image_is_warned_of():
    with pytest.warns(RarefireWarning, match="the category has one image: .* Look at more images") as caught:
        found = ghosts.find(TOY, [0])
    assert caught[0].filename == __file__
    assert found.alone.tolist() == [3]
    assert found.features.tolist() == [2, 3, 4]
    chance = found.chance()
    assert np.isnan(chance.rate)
    assert chance[1:] == (1, 1, 0.95)
    assert str(found) == (
        "1 image of the category, 4 others: 3 ghosts, 1 dead, of 7 features. "
        "One image says nothing about the next."
    )


def test_what_is_printed():
    found = ghosts.find(TOY, [0, 1, 2])
    chance = found.chance()
    assert str(found) == (
        "3 images of the category, 2 others: 2 ghosts, 1 dead, of 7 features. For the next image of the "
        f"category 11.1% of the ghosts would fire (estimate; at most {chance.high:.0%} at 95%; no single "
        f"one for more than {chance.every:.0%} of such images)."
    )
    large = ghosts.find(np.tile([[1, 0, 0]], (1200, 1)), np.arange(1100), others=[[0, 1, 1]])
    assert str(large).startswith("1,100 images of the category, 101 others: 2 ghosts, 0 dead, of 3 features.")


def test_a_category_without_ghosts_is_said_to_have_none():
    assert str(ghosts.find(TOY[:, [0, 1]], [0, 1, 3])) == (
        "3 images of the category, 2 others: the category has no ghosts (every feature fires for some image "
        "of it; 0 ghosts, 0 dead, of 2 features)."
    )
    found = ghosts.find(TOY[:, [0, 5]], [0, 1])
    assert str(found) == (
        "2 images of the category, 3 others: the category has no ghosts (the silent ones are dead; 0 ghosts, "
        "1 dead, of 2 features)."
    )
    assert found.features.tolist() == []
    assert found.table().to_numpy().tolist() == [[1, "dead", 0]]
    assert np.isnan(found.chance().rate)
    assert found.chance()[1:] == (1, 1, 0.95)
    with pytest.raises(InputError, match="no features to read: the category has no ghosts"):
        ghosts.components(TOY, found.features)


def test_without_other_images_ghosts_cannot_be_told_from_dead_features():
    found = ghosts.find(TOY, np.arange(5))
    assert found.dead.sum() == found.silent.sum() == 1
    assert str(found) == (
        "5 images of the category, 0 others: 1 of 7 features are silent; without other images, ghosts cannot "
        "be told from dead features."
    )


@pytest.mark.parametrize(
    ("embedding", "category", "others", "message"),
    [
        (TOY, [0, 5], None, "there are 5 images, numbered from 0; got 0 to 5"),
        (TOY, [-1, 2], None, "there are 5 images, numbered from 0; got -1 to 2"),
        (TOY, [2, 1, 2], None, "image 2 is named twice"),
        (TOY, [0.0, 1.0], None, r"row numbers from 0, or a mask; got float64 \(2,\)"),
        (TOY, 3, None, r"row numbers from 0, or a mask; got int64 \(\)"),
        (TOY, [[0, 1]], None, r"row numbers from 0, or a mask; got int64 \(1, 2\)"),
        (TOY, ["0", "1"], None, "row numbers from 0, or a mask; got <U1"),
        (TOY, [], None, "the category has no images: name at least one row"),
        (TOY, np.zeros(5, dtype=bool), None, "the category has no images"),
        (TOY, np.ones(4, dtype=bool), None, r"as a mask must be \(5,\), one per image; got \(4,\)"),
        (TOY, np.ones((5, 7), dtype=bool), None, r"as a mask must be \(5,\), .*; got \(5, 7\)"),
        (-TOY, [0, 1], None, "of the activations are negative .* post-ReLU"),
        (TOY, [0, 1], -TOY, "of the activations are negative"),
        (np.where(TOY == 5, np.nan, TOY), [0, 1], None, "1 of 5 images have NaN or infinite"),
        (TOY, [0, 1], np.where(TOY == 5, np.inf, TOY), "1 of 5 images have NaN or infinite"),
        (TOY, [0, 1], TOY[:, :4], "others has 4 features, the embedding 7"),
        (TOY[0], [0, 1], None, r"an embedding is \(n_images, n_features\); got \(7,\)"),
    ],
)
def test_errors_of_find(embedding, category, others, message):
    with pytest.raises(InputError, match=message):
        ghosts.find(embedding, category, others=others)


# --- how many, and how sure --------------------------------------------------------------------------


def test_rarefaction_by_hand():
    """Looking at one image misses 3 + 1/3, 3 + 2/3, … of the features that fire somewhere; 3, 4 always."""
    found = ghosts.find(TOY, [0, 1, 2])
    # Features 1 and 2 are missed by 2/3, 1/3 and 0 of the choices of 1, 2 and 3 images; 6 by 1/3, 0 and 0.
    np.testing.assert_allclose(found.rarefaction(), [2 + 2 * 2 / 3 + 1 / 3, 2 + 2 / 3, 2], rtol=1e-12)
    assert found.rarefaction(0).tolist() == [6]
    np.testing.assert_allclose(found.rarefaction([3, 1, 0]), [2, 11 / 3, 6], rtol=1e-12)


def test_rarefaction_is_the_average_over_all_subsets(rng):
    embedding = rng.random((17, 60)) * (rng.random((17, 60)) < rng.beta(0.5, 1.5, size=60))
    embedding[:, :5] = 0
    found = ghosts.find(embedding, np.arange(6))
    alive = (embedding > 0).any(axis=0)
    expected = []
    for m in range(7):
        counts = [
            sum(alive[j] and not embedding[list(looked), j].any() for j in range(60))
            for looked in itertools.combinations(range(6), m)
        ]
        expected.append(sum(counts) / len(counts))
    np.testing.assert_allclose(found.rarefaction(np.arange(7)), expected, rtol=1e-12)
    np.testing.assert_array_equal(found.rarefaction(), found.rarefaction(np.arange(1, 7)))
    assert found.rarefaction(6)[0] == len(found.features) == expected[-1]
    assert found.rarefaction(0)[0] == alive.sum() < 60


def test_rarefaction_of_many_images_keeps_its_precision(rng):
    n = 3000
    fires = np.concatenate([[0, 1, 2, n // 2, n - 1, n], rng.integers(0, n + 1, size=20)])
    found = ghosts.Ghosts(fires, np.ones_like(fires), n, 1, np.zeros(n, dtype=int))
    for m in (1, 2, 10, 1500, n - 1, n):
        exact = sum(comb(n - int(a), m) / comb(n, m) for a in fires)
        assert found.rarefaction(m)[0] == pytest.approx(exact, rel=1e-9)


@pytest.mark.parametrize("m", [-1, 4, [0, 4], 1.0, [1.5], True, "2"])
def test_errors_of_rarefaction(m):
    with pytest.raises(InputError, match="m are whole numbers from 0 to 3, the images of the category; got"):
        ghosts.find(TOY, [0, 1, 2]).rarefaction(m)


def naive_rate(inside, outside):
    """Leave each image out: of the features silent for the rest, but not for all others, what fires."""
    shares = []
    for i, row in enumerate(inside):
        rest = [r for k, r in enumerate(inside) if k != i]
        counted = [
            j
            for j in range(inside.shape[1])
            if not any(r[j] > 0 for r in rest) and any(r[j] > 0 for r in outside)
        ]
        shares.append(sum(row[j] > 0 for j in counted) / len(counted))
    return sum(shares) / len(shares)


def test_chance_by_hand():
    """Leaving out image 0, one of three ghosts fires for it; leaving out 1 or 2, none of two."""
    chance = ghosts.find(TOY, [0, 1, 2]).chance()
    assert chance.rate == pytest.approx(1 / 9, abs=1e-12)
    assert chance.every == pytest.approx(1 - (0.05 / 7) ** (1 / 3), abs=1e-12)
    assert chance.level == 0.95
    # Two images; one ghost, and one feature each that they alone make fire: one success of two.
    chance = ghosts.find([[1, 0, 0], [0, 1, 0], [1, 1, 1]], [0, 1]).chance()
    assert chance.rate == 0.5
    assert chance.high == pytest.approx(0.95**0.5, abs=1e-12)


def test_rate_leaves_one_out(embedding, rng):
    assert ghosts.find(embedding, CATEGORY).chance().rate == pytest.approx(
        naive_rate(*split(embedding)), abs=1e-12
    )
    sparse = (rng.random((30, 200)) < 0.05) * 1.0
    sparse[:4, 4] = [0, 1, 0, 0]
    sparse[4:, 4] = 0  # fires for one image of the category only
    found = ghosts.find(sparse, np.arange(4))
    assert found.chance().rate == pytest.approx(naive_rate(sparse[:4], sparse[4:]), abs=1e-12)


@pytest.mark.parametrize("level", [0.5, 0.8, 0.95, 0.999])
def test_bounds_have_closed_forms(level):
    """Nothing fires alone: the rule of three, for the mean and, with Bonferroni's factor, for all."""
    for n in (2, 7, 40):
        embedding = np.hstack([np.ones((n + 1, 3)), np.eye(n + 1)[:, -1:], np.zeros((n + 1, 2))])
        chance = ghosts.find(embedding, np.arange(n)).chance(level=level)
        assert chance.rate == 0
        assert chance.high == pytest.approx(1 - (1 - level) ** (1 / n), rel=1e-9)
        assert chance.every == pytest.approx(1 - ((1 - level) / 6) ** (1 / n), rel=1e-12)
        assert chance.level == level
    # Ten images, each with one of the eleven features: half of two ghosts each, five successes of ten.
    chance = ghosts.find(np.vstack([np.eye(11)[:10], np.ones(11)]), np.arange(10)).chance(level=level)
    assert chance.rate == 0.5
    assert stats.binom.cdf(5, 10, chance.high) == pytest.approx(1 - level, abs=1e-9)


def drawn(kind, rng, n_features=200):
    """How often each feature fires for images of a category, and a function that draws images."""
    if kind == "independent":
        rates = 10 ** rng.uniform(-3, 0, n_features)
        return rates, lambda n: rng.random((n, n_features)) < rates
    if kind == "kinds":  # images are of twelve kinds, unequally frequent; features fire for one of them
        share, owner = rng.dirichlet(np.ones(12)), rng.integers(0, 12, n_features)
        return share[owner], lambda n: owner == rng.choice(12, size=(n, 1), p=share)
    rates = np.where(np.arange(n_features) < 2, 0.001, 0.5 if kind == "all or none, often" else 0.1)
    single = np.arange(n_features) < 2  # the others fire together or not at all
    return rates, lambda n: rng.random((n, n_features))[:, np.where(single, np.arange(n_features), 2)] < rates


@pytest.mark.parametrize("kind", ["independent", "kinds", "all or none, often", "all or none, rarely"])
@pytest.mark.parametrize("n", [5, 20])
def test_bounds_cover_the_ghosts_true_rates(kind, n, rng):
    covers, other = [], np.ones((1, 200))
    for draw in range(200):
        if draw % 10 == 0:
            rates, images = drawn(kind, rng)
        found = ghosts.find(images(n), np.ones(n, dtype=bool), others=other)
        chance, true = found.chance(), rates[found.features]
        if len(true):
            covers.append((true.mean() <= chance.high, true.max() <= chance.every))
    assert len(covers) >= 190
    assert (np.mean(covers, axis=0) >= 0.95).all()
    if kind == "all or none, often" and n == 5:  # where all are ghosts (1 in 32), the bound must miss
        assert np.mean(covers, axis=0)[0] < 1


def test_the_bound_for_every_ghost_is_no_wider_than_it_has_to_be(rng):
    """Features that all fire just more often than it: 5% of the categories have one of them for a ghost."""
    every = 1 - (0.05 / 40) ** (1 / 8)
    missed = 0
    for _ in range(1500):
        found = ghosts.find(rng.random((8, 40)) < every + 1e-6, np.arange(8), others=np.ones((1, 40)))
        missed += len(found.features) > 0
        if len(found.features):
            assert found.chance().every == pytest.approx(every)
    assert 0.035 < missed / 1500 < 0.065


def test_rate_is_what_the_ghosts_of_one_image_less_do_on_average(rng):
    """Leaving one out estimates the mean true rate of the ghosts of n − 1 images without bias."""
    rates, images = drawn("independent", rng)
    other, differences = np.ones((1, 200)), []
    for _ in range(400):
        seen = images(6)
        less = ghosts.find(seen[1:], np.arange(5), others=other).features
        estimate = ghosts.find(seen, np.arange(6), others=other).chance().rate
        differences.append(estimate - rates[less].mean())
    error = np.std(differences, ddof=1) / 400**0.5
    assert abs(np.mean(differences)) < 3.5 * error < 0.005


@pytest.mark.parametrize("level", [0, 1, 95, -0.1, np.nan])
def test_errors_of_chance(level):
    with pytest.raises(InputError, match=rf"level lies in \(0, 1\); got {level}"):
        ghosts.find(TOY, [0, 1, 2]).chance(level=level)


# --- components --------------------------------------------------------------------------------------


def sklearn_pca(features, n):
    fitted = PCA(n, svd_solver="full").fit(features)
    origin = fitted.transform(np.zeros((1, features.shape[1])))
    return fitted.transform(features) * np.where(origin > 0, -1, 1), fitted.explained_variance_ratio_


def compare_pca(found, features, n, *, tolerance=1e-8):
    scores, explained = sklearn_pca(features, n)
    assert found.scores.shape == (len(features), n)
    np.testing.assert_allclose(found.scores, scores, atol=tolerance * np.abs(scores).max())
    np.testing.assert_allclose(found.explained, explained, rtol=tolerance)


def test_axes_known_beforehand():
    """Features a·(.6, .8) + b·(.8, −.6) with a and b uncorrelated; what else there is does not matter."""
    a, b = np.array([10.0, 20.0, 30.0, 40.0]), np.array([3.0, 1.0, 1.0, 3.0])
    gallery = np.stack([[900, 0, 0, 0], 0.6 * a + 0.8 * b, [0, 0, 70, 9], 0.8 * a - 0.6 * b], axis=1)
    for features in ([1, 3], [3, 1], [False, True, False, True]):
        found = ghosts.components(gallery, features)
        np.testing.assert_allclose(found.scores, np.stack([a - 25, b - 2], axis=1), atol=1e-12)
        np.testing.assert_allclose(found.explained, [500 / 504, 4 / 504], atol=1e-12)
    assert found.features.tolist() == [1, 3]
    assert ghosts.components(gallery, [3, 1]).features.tolist() == [3, 1]
    assert found.top(1)[0].tolist() == [3]
    assert found.top(4)[0].tolist() == [3, 2, 1, 0]
    assert set(found.top(2)[1]) == {0, 3}


@pytest.mark.parametrize("shape", [(90, 30), (40, 70), (50, 50)], ids=["images", "features", "as many"])
@pytest.mark.parametrize("dense", [500, 4], ids=["eigh", "eigsh"])
@pytest.mark.parametrize("elements", [2**22, 1], ids=["one block", "several"])
def test_components_are_those_of_sklearn(shape, dense, elements, rng, monkeypatch):
    monkeypatch.setattr(ghosts, "_ELEMENTS", elements)
    monkeypatch.setattr(ghosts, "_DENSE", dense)
    n_images, n_features = shape
    gallery = np.maximum(rng.normal(size=(n_images, n_features + 20)) * rng.gamma(2, size=n_features + 20), 0)
    chosen = rng.permutation(n_features + 20)[:n_features]
    compare_pca(ghosts.components(gallery, chosen, n=6), gallery[:, chosen], 6)


def test_both_solvers_agree_beyond_the_size_where_they_change(rng):
    gallery = np.maximum(rng.normal(size=(640, 530)) + rng.normal(size=(640, 3)) @ rng.random((3, 530)), 0)
    compare_pca(ghosts.components(gallery, np.arange(530), n=4), gallery, 4)


@pytest.mark.parametrize("n_images", [25, 60])
def test_a_high_score_is_unlike_the_category(n_images, rng):
    """An image for which all the features are 0, as for the category, scores below the mean, 0."""
    gallery = rng.gamma(1, size=(n_images, 40)) * rng.gamma(1, size=(n_images, 1))
    gallery[7] = 0
    found = ghosts.components(gallery, np.arange(40), n=10)
    assert (found.scores[7] <= 0).all()
    assert found.scores[7, 0] == found.scores[:, 0].min()
    np.testing.assert_allclose(found.scores.mean(axis=0), 0, atol=1e-12)


@pytest.mark.usefixtures("several")
@pytest.mark.parametrize("n_images", [20, 90])
def test_components_of_every_source(n_images, rng, tmp_path):
    gallery = np.maximum(rng.normal(size=(n_images, 40)), 0).astype(np.float32)
    np.save(tmp_path / "g.npy", gallery)
    zarr.create_array(str(tmp_path / "g.zarr"), data=gallery, chunks=(9, 40))
    chosen = np.arange(5, 35)
    for source in (
        gallery,
        gallery.tolist(),
        torch.from_numpy(gallery).requires_grad_(),
        blocks.open_embedding(tmp_path / "g.npy"),
        blocks.open_embedding(tmp_path / "g.zarr"),
    ):
        compare_pca(ghosts.components(source, chosen, n=3), gallery[:, chosen].astype(float), 3)
    counts = rng.integers(0, 200, size=(n_images, 40)).astype(np.uint8)
    compare_pca(ghosts.components(counts, chosen, n=3), counts[:, chosen].astype(float), 3)


@pytest.mark.parametrize("dense", [500, 4], ids=["eigh", "eigsh"])
def test_fewer_components_come_back_where_there_are_no_more(dense, rng, monkeypatch):
    monkeypatch.setattr(ghosts, "_DENSE", dense)
    plane = rng.random((70, 2)) @ rng.random((2, 50))
    for gallery in (plane, plane[:45], plane + 1000):
        found = ghosts.components(gallery, np.arange(50))
        assert found.scores.shape == (len(gallery), 2)
        assert found.explained.sum() == pytest.approx(1, abs=1e-12)
    # Three images lie in a plane, too; and of one feature there is one component.
    assert ghosts.components(rng.random((3, 50)), np.arange(50)).scores.shape == (3, 2)
    one = rng.random((30, 1))
    np.testing.assert_allclose(ghosts.components(one, [0]).scores, one - one.mean(), atol=1e-12)


def test_rounding_decides_neither_the_images_that_lead_nor_a_sign():
    """Images that score the same come in their order; an origin at the mean does not choose the sign."""
    scores = np.array([[0.3, 0.1], [0.1 + 0.2, 0.2], [0.5, 0.1 + 0.1], [0.3, -0.1]])
    found = ghosts.Components(scores, np.array([0.9, 0.1]), np.arange(2))
    assert found.top(4).tolist() == [[2, 0, 1, 3], [1, 2, 0, 3]]
    # Images along (1, −1), on which the origin falls at the mean: the first of the two ends is the high one.
    line = np.array([[3, 0], [0, 3], [2, 1], [1, 2.0]])
    for order in ([0, 1], [1, 0]):
        own = ghosts.components(line[:, order], [0, 1])
        assert own.top(4).tolist() == [[0, 2, 3, 1]]


def test_a_component_of_one_image(rng):
    """A ghost that fires for one image only, and strongly, is a component that this image leads."""
    gallery = rng.random((30, 8))
    gallery[:, 2] = 0
    gallery[17, 2] = 50
    found = ghosts.components(gallery, np.arange(8), n=1)
    assert found.top(1).tolist() == [[17]]
    assert found.scores.shape == (30, 1)


@pytest.mark.parametrize("count", [0, -1, 6])
def test_errors_of_top(count):
    with pytest.raises(InputError, match=f"count is a whole number from 1 to the 5 images; got {count}"):
        ghosts.components(TOY, [3, 4]).top(count)


@pytest.mark.parametrize(
    ("gallery", "features", "n", "message"),
    [
        (TOY, [], 1, "there are no features to read: the category has no ghosts. Look at a wider layer"),
        (TOY, np.zeros(7, dtype=bool), 1, "the category has no ghosts"),
        (TOY, [3, 4, 3], 1, "feature 3 is named twice"),
        (TOY, [3, 7], 1, "there are 7 features, numbered from 0; got 3 to 7"),
        (TOY, [-1], 1, "there are 7 features, numbered from 0; got -1 to -1"),
        (TOY, [3.0], 1, r"features are indices from 0, or a mask of 7; got float64 \(1,\)"),
        (TOY, [True, False], 1, r"features are indices from 0, or a mask of 7; got bool \(2,\)"),
        (TOY, [[3, 4]], 1, r"features are indices from 0, or a mask of 7; got int64 \(1, 2\)"),
        (TOY, [3, 4], 0, "n is a whole number from 1, the gallery two images or more; got 0, 5"),
        (TOY[:1], [3, 4], 1, "the gallery two images or more; got 1, 1"),
        (np.where(TOY == 5, np.nan, TOY), [3], 1, "1 of 5 images have NaN or infinite"),
    ],
)
def test_errors_of_components(gallery, features, n, message):
    with pytest.raises(InputError, match=message):
        ghosts.components(gallery, features, n=n)


@pytest.mark.parametrize("dense", [500, 4], ids=["eigh", "eigsh"])
@pytest.mark.parametrize("n_images", [20, 60])
@pytest.mark.parametrize("value", [0, 1, 0.1])
def test_features_that_never_vary_have_no_components(value, n_images, dense, monkeypatch):
    monkeypatch.setattr(ghosts, "_DENSE", dense)
    gallery = np.hstack([np.full((n_images, 40), value), np.arange(n_images)[:, None]])
    found = ghosts.components(gallery, np.arange(40))
    assert found.scores.shape == (n_images, 0)
    assert found.explained.shape == (0,)
    assert found.top(3).shape == (0, 3)


def test_too_many_features_of_too_many_images(rng, monkeypatch):
    monkeypatch.setattr(ghosts, "MOST", 12)
    gallery = rng.random((14, 13))
    with pytest.raises(InputError, match="13 features of 14 images: one of the two may be at most 12. Take"):
        ghosts.components(gallery, np.arange(13))
    assert ghosts.components(gallery, np.arange(12)).scores.shape == (14, 10)
    assert ghosts.components(gallery[:12], np.arange(13)).scores.shape == (12, 10)


@pytest.mark.long
def test_memory_does_not_grow_with_the_images(rng, tmp_path, monkeypatch):
    """Of eight times as many images only the scores take more; a gallery that is read whole is noticed."""
    start = rng.random((2000, 600), dtype=np.float32)
    np.save(tmp_path / "2000.npy", start)
    np.save(tmp_path / "16000.npy", np.tile(start, (8, 1)))

    def peak(n_images, n_features):
        gallery = blocks.open_embedding(tmp_path / f"{n_images}.npy")
        tracemalloc.start()
        found = ghosts.components(gallery, np.arange(n_features), n=2)
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert found.scores.shape == (n_images, 2)
        return highest

    monkeypatch.setattr(ghosts, "_ELEMENTS", 600 * 100)
    scores = 14_000 * 2 * 8
    peak(2000, 10)  # what is imported and kept the first time
    for n_features in (60, 600):
        assert peak(16_000, n_features) - peak(2000, n_features) < 3 * scores
    assert peak(16_000, 600) < 12e6  # covariances of 600 features, twice; the file has 38 MB
    monkeypatch.setattr(ghosts, "_ELEMENTS", 2**40)
    assert peak(16_000, 60) - peak(2000, 60) > 100 * scores


# --- explained_by ------------------------------------------------------------------------------------


def test_explained_by_is_r2_of_a_regression(rng):
    others = rng.normal(size=(50, 4)) + 3
    scores = others @ rng.normal(size=(4, 3)) + rng.normal(size=(50, 3)) * [0.1, 1, 10]
    expected = [LinearRegression().fit(others, column).score(others, column) for column in scores.T]
    found = ghosts.explained_by(scores, others)
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    assert found.shape == (3,)
    # The same where columns come twice, or do not vary.
    more = np.hstack([others, others[:, :1], np.ones((50, 1))])
    np.testing.assert_allclose(ghosts.explained_by(scores, more), expected, rtol=1e-10)


def test_explained_by_known_beforehand(rng):
    others = rng.normal(size=(3000, 3))
    combined, noise = others @ [1.0, -2.0, 0.5] + 7, rng.normal(size=3000)
    found = ghosts.explained_by(np.stack([combined, noise, combined + 2 * noise], axis=1), others)
    assert found[0] == pytest.approx(1, abs=1e-12)
    assert 0 <= found[1] < 0.01
    assert found[2] == pytest.approx(5.25 / 9.25, abs=0.03)


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, 1e6 + 0.1])
@pytest.mark.parametrize("n", [7, 13])
def test_a_column_that_does_not_vary_is_not_explained(value, n, rng):
    scores = np.stack([np.full(n, value), rng.random(n)], axis=1)
    found = ghosts.explained_by(scores, rng.random((n, 2)))
    assert np.isnan(found[0])
    assert 0 < found[1] < 1


@pytest.mark.parametrize(
    ("scores", "others", "message"),
    [
        (np.ones((5, 2)), np.ones((4, 2)), r"of the same images; got \(5, 2\) and \(4, 2\)"),
        (np.ones(5), np.ones((5, 2)), r"must be \(n_images, n\) each, .*; got \(5,\) and \(5, 2\)"),
        (np.ones((5, 2)), np.ones(5), r"must be \(n_images, n\) each, .*; got \(5, 2\) and \(5,\)"),
    ],
)
def test_errors_of_explained_by(scores, others, message):
    with pytest.raises(InputError, match=message):
        ghosts.explained_by(scores, others)


# --- from a network to a query -----------------------------------------------------------------------


def bars(rng, n, *, upright):
    """Photographs of one bar each, from edge to edge, anywhere, of any brightness."""
    images = torch.zeros(n, 1, 12, 12)
    for image in images:
        place, brightness = int(rng.integers(2, 10)), float(rng.uniform(0.5, 1))
        if upright:
            image[0, :, place] = brightness
        else:
            image[0, place, :] = brightness
    return images


@pytest.fixture
def detectors():
    """A network whose features 0 to 2 detect upright bars, 3 to 5 level ones, 6 dots, 7 bars of any kind."""
    line, left, right = [-1.0, 2.0, -1.0], [-1.0, 1.0, 0.0], [0.0, 1.0, -1.0]
    upright = torch.tensor([[kernel] * 3 for kernel in (line, left, right)])
    dot = torch.full((1, 3, 3), -1.0)
    dot[0, 1, 1] = 8
    convolution, readout = torch.nn.Conv2d(1, 7, 3), torch.nn.Linear(7, 8)
    with torch.no_grad():
        convolution.weight[:, 0] = torch.cat([upright, upright.transpose(1, 2), dot])
        convolution.bias[:] = torch.tensor([-0.1] * 6 + [-7.0])  # a bar is 6 times its brightness to the dot
        readout.weight[:] = torch.cat([torch.eye(7), torch.tensor([[1.0, 0, 0, 1, 0, 0, 0]])])
        readout.bias[:] = 0
    pooling = torch.nn.AdaptiveMaxPool2d(1)
    return torch.nn.Sequential(
        convolution, torch.nn.ReLU(), pooling, torch.nn.Flatten(), readout, torch.nn.ReLU()
    ).eval()


def test_a_network_built_by_hand(detectors, rng):
    """Its ghosts, what they say, and what they can find, all known beforehand."""
    level, upright = bars(rng, 40, upright=False), bars(rng, 40, upright=True)
    with torch.no_grad():
        own, others = detectors(level), detectors(upright)
    gallery = torch.cat([own, others])
    found = ghosts.find(gallery, np.arange(40))
    assert found.features.tolist() == [0, 1, 2]
    assert np.flatnonzero(found.dead).tolist() == [6]
    assert found.chance().rate == 0
    assert (found.rarefaction() == 3).all()
    turned = ghosts.find(gallery, np.arange(40, 80))
    assert turned.features.tolist() == [3, 4, 5]
    # What was dead was only never shown what it detects.
    dot = torch.zeros(1, 1, 12, 12)
    dot[0, 0, 5, 5] = 1
    with torch.no_grad():
        shown = ghosts.find(gallery, np.arange(40), others=detectors(dot))
    assert shown.features.tolist() == [0, 1, 2, 6]
    # One axis, that of upright bars, brightest first.
    read = ghosts.components(gallery, found.features)
    assert read.explained[0] > 0.99
    assert read.scores[40:, 0].min() > 0 > read.scores[:40, 0].max()
    brightest = np.argsort(-upright.amax(dim=(1, 2, 3)).numpy())[:5]
    assert read.top(5)[0].tolist() == (40 + brightest).tolist()
    assert ghosts.explained_by(read.scores[:, :1], others=gallery[:, [7]].numpy())[0] < 0.5
    # The query made from some level bars finds all that are not, and no new level bar among them.
    with torch.no_grad():
        fresh = detectors(bars(rng, 30, upright=False))
    asked = retrieval.queries(own, alive=~found.dead, rng=rng)
    inside, outside = (retrieval.unlikeness(images, asked)["ghosts"] for images in (fresh, others))
    np.testing.assert_allclose(inside, 0, atol=1e-12)
    share = (others[:, :3].sum(dim=1) / others.sum(dim=1)).numpy()
    np.testing.assert_allclose(outside, share, atol=1e-6)
    assert retrieval.auc(inside, outside).value == 1


def test_counters_of_parts_are_added_in_any_order(rng):
    embedding = np.maximum(rng.normal(size=(40, 30)) - 1.2, 0)
    category = [3, 17, 18, 31]
    expected = ghosts.find(embedding, category)
    assert expected.alone.sum() > 0
    whole = ghosts.FiringCounter(category, 40)
    for rows in (slice(25, 40), slice(0, 18), slice(18, 25)):
        part = whole.part(rows)
        part.update(embedding[rows], rows)
        whole.add(part)
    found = whole.result()
    for counted in ("fires", "others", "alone", "n_images", "n_others"):
        np.testing.assert_array_equal(getattr(found, counted), getattr(expected, counted))
    with pytest.raises(InputError, match="the category has no images"):
        ghosts.FiringCounter([], 40)
