"""Negative queries: by hand, naive loops, DeLong by definition, simulations, error messages."""

import numpy as np
import pytest
import torch
import zarr
from sklearn.metrics import roc_auc_score

from rarefire import retrieval
from rarefire._engine import blocks
from rarefire.errors import InputError

ROUNDING = 1e-12  # shares, cosines and areas are of size 1
# Mean (2, 10, 0, 0, 4): features 2 and 3 are ghosts; 4 and 0 always fire, 1 is the strongest but does not.
CATEGORY = np.array([[3.0, 0.0, 0.0, 0.0, 5.0], [1.0, 20.0, 0.0, 0.0, 3.0]])
IMAGE = np.array([[1.0, 1.0, 2.0, 4.0, 2.0]])


@pytest.fixture
def category(embedding):
    """Ten images for which six of 24 features are silent: four ghosts, and two that are dead."""
    images = embedding[:10].copy()
    images[:, 4:8] = 0
    assert (images == 0).all(axis=0).sum() == 6
    return images


@pytest.fixture
def full(rng):
    """A category without ghosts, and a hundred other images."""
    return rng.random((5, 300)), rng.random((100, 300))


def cosine(x, y):
    length = np.sqrt(sum(a * a for a in x)) * np.sqrt(sum(b * b for b in y))
    return sum(a * b for a, b in zip(x, y, strict=True)) / length if length else 0.0


def naive_scores(category, images, *, usable, drawn):
    """What :data:`retrieval.QUERIES` says, one image and one feature at a time; `drawn` are given."""
    features = [j for j in range(category.shape[1]) if usable[j]]
    silent = [j for j in features if all(row[j] == 0 for row in category)]
    fires = {j: sum(row[j] > 0 for row in category) for j in features}
    mean = {j: sum(row[j] for row in category) / len(category) for j in features}
    active = sorted(features, key=lambda j: (-fires[j], -mean[j]))[: len(silent)]
    scores = {name: [] for name in retrieval.QUERIES}
    for x in images:
        total = sum(x[j] for j in features)
        for name, some in (("ghosts", silent), ("random", drawn)):
            scores[name].append(sum(x[j] for j in some) / total if total else 0.0)
        scores["active"].append(1 - sum(x[j] for j in active) / total if total else 0.0)
        for name, some in (("random mean", drawn), ("mean", features)):
            scores[name].append(1 - cosine([x[j] for j in some], [mean[j] for j in some]))
    return scores


def naive_auc(inside, outside):
    """Structural components by a double loop: the value, one per image inside, one per image outside."""
    above = [[(o > i) + (o == i) / 2 for o in outside] for i in inside]
    return np.mean(above), np.mean(above, axis=1), np.mean(above, axis=0)


# --- queries -----------------------------------------------------------------------------------------


def test_each_query_by_hand():
    asked = retrieval.queries(CATEGORY)
    assert list(asked) == list(retrieval.QUERIES)
    scores = {name: found.item() for name, found in retrieval.unlikeness(IMAGE, asked).items()}
    assert scores["ghosts"] == pytest.approx(6 / 10, abs=ROUNDING)
    assert scores["active"] == pytest.approx(1 - 3 / 10, abs=ROUNDING)
    assert scores["mean"] == pytest.approx(1 - (2 + 10 + 8) / np.sqrt(26 * 120), abs=ROUNDING)
    # Which two of the five are drawn depends on the generator; the same two for both queries.
    drawn = np.flatnonzero(asked["random mean"].over)
    assert len(drawn) == 2
    assert scores["random"] == pytest.approx(IMAGE[0, drawn].sum() / 10, abs=ROUNDING)
    mean = CATEGORY.mean(axis=0)
    assert scores["random mean"] == pytest.approx(1 - cosine(IMAGE[0, drawn], mean[drawn]), abs=ROUNDING)


def test_where_all_fire_as_often_the_strongest_are_the_most_active():
    category = np.array([[1.0, 3.0, 0.0, 2.0], [1.0, 3.0, 0.0, 2.0]])
    found = retrieval.unlikeness(np.eye(4), retrieval.queries(category))
    assert found["active"].tolist() == [1, 0, 1, 1]
    assert found["ghosts"].tolist() == [0, 0, 1, 0]


def test_random_features_are_drawn_by_the_generator(category):
    def drawn(rng):
        asked = retrieval.queries(category, rng=rng)
        kept = tuple(np.flatnonzero(asked["random mean"].over))
        np.testing.assert_array_equal(np.flatnonzero(asked["random"].weights), kept)
        return kept

    assert drawn(np.random.default_rng(3)) == drawn(np.random.default_rng(3))
    assert drawn(None) == drawn(np.random.default_rng(0))
    generator = np.random.default_rng(3)
    many = [drawn(generator) for _ in range(300)]
    assert {len(d) for d in many} == {6}
    assert len(set(many)) > 100
    # Every feature as often as any other, ghosts among them.
    often = np.bincount(np.concatenate(many), minlength=24) / 300
    assert abs(often - 1 / 4).max() < 0.12


def test_what_is_not_alive_is_left_out_of_everything(embedding, category):
    alive = np.ones(24, dtype=bool)
    alive[[0, 3, 9, 22, 23]] = False
    asked = retrieval.queries(category, alive=alive, rng=np.random.default_rng(5))
    found = retrieval.unlikeness(embedding, asked)
    without = retrieval.queries(category[:, alive], rng=np.random.default_rng(5))
    expected = retrieval.unlikeness(embedding[:, alive], without)
    noisy = embedding + ~alive * 1000
    after = retrieval.unlikeness(noisy, asked)
    for name in retrieval.QUERIES:
        np.testing.assert_allclose(found[name], expected[name], atol=ROUNDING)
        np.testing.assert_array_equal(found[name], after[name])
    everything = retrieval.unlikeness(noisy, retrieval.queries(category))
    assert all(abs(everything[name] - after[name]).max() > 0.01 for name in retrieval.QUERIES)


@pytest.mark.parametrize("together", [True, False])
def test_without_ghosts_every_query_but_the_mean_guesses(full, together):
    category, others = full
    asked = retrieval.queries(category)
    for names in [list(asked)] if together else [[name] for name in asked] + [["ghosts", "mean"]]:
        some = {name: asked[name] for name in names}
        inside, outside = (retrieval.unlikeness(images, some) for images in (category, others))
        for name in names:
            found = retrieval.auc(inside[name], outside[name])
            if name == "mean":
                assert found.value > 0.9
            else:
                assert len(set(outside[name])) == 1, name
                assert found.value == 0.5, name


def test_images_without_activation_on_ghosts_score_0_exactly(full):
    """Whatever else they do, they tie with the category."""
    category, others = (images.copy() for images in full)
    category[:, :60] = 0
    others[:50, :60] = 0
    asked = retrieval.queries(category)
    for names in (["ghosts"], ["ghosts", "mean"], list(asked)):
        for images in (others[:50], others[:7], others[:1], category):
            found = retrieval.unlikeness(images, {name: asked[name] for name in names})["ghosts"]
            assert (found == 0).all()
    inside, outside = (retrieval.unlikeness(images, asked)["ghosts"] for images in (category, others))
    assert retrieval.auc(inside, outside).value == 0.75


@pytest.mark.parametrize(
    ("category", "options", "message"),
    [
        (-CATEGORY, {}, "of the activations are negative"),
        ([[1.0, np.nan]], {}, "1 of 1 images have NaN or infinite features: row 0"),
        (CATEGORY[0], {}, r"activations must be \(n_images, n_features\); got \(5,\)"),
        (CATEGORY[:0], {}, "a query needs at least one image of the category; got none"),
        (CATEGORY, {"alive": np.ones(4, dtype=bool)}, r"alive must be a mask \(5,\); got bool \(4,\)"),
        (CATEGORY, {"alive": [0, 1, 2, 3, 4]}, r"alive must be a mask \(5,\); got int64 \(5,\)"),
    ],
)
def test_errors_of_queries(category, options, message):
    with pytest.raises(InputError, match=message):
        retrieval.queries(category, **options)


# --- unlikeness --------------------------------------------------------------------------------------


@pytest.mark.parametrize("least", [0, 4], ids=["all features", "some"])
def test_scores_equal_a_naive_loop(embedding, category, least):
    usable = np.arange(24) >= least
    asked = retrieval.queries(category, alive=usable, rng=np.random.default_rng(1))
    drawn = np.flatnonzero(asked["random mean"].over).tolist()
    images = np.vstack([embedding, np.zeros((1, 24))])
    found = retrieval.unlikeness(images, asked)
    expected = naive_scores(category, images, usable=usable, drawn=drawn)
    assert len(drawn) == 6
    for name in retrieval.QUERIES:
        assert found[name].shape == (41,)
        np.testing.assert_allclose(found[name], expected[name], atol=ROUNDING, err_msg=name)
        assert found[name].min() >= 0
        assert found[name].max() <= 1
        # For an image in which nothing fires nothing speaks against the category, nor for it.
        assert found[name][-1] == (1 if "mean" in name else 0)


def test_scale_of_an_image_does_not_matter(embedding, category, rng):
    asked = retrieval.queries(category)
    first = retrieval.unlikeness(embedding, asked)
    again = retrieval.unlikeness(embedding * rng.uniform(0.01, 100, size=(40, 1)), asked)
    for name in asked:
        np.testing.assert_allclose(again[name], first[name], atol=ROUNDING)


def test_queries_of_ones_own_and_their_names(category, embedding):
    """Score x·weights / x·over or, with root, 1 − x·weights / √(x²·over)."""
    weights, over = np.linspace(0, 1, 24), np.ones(24)
    asked = {"sum": retrieval.Query(weights, over), 7: retrieval.Query(weights / 9, over, root=True)}
    found = retrieval.unlikeness(embedding, asked)
    assert list(found) == ["sum", 7]
    np.testing.assert_allclose(found["sum"], embedding @ weights / embedding.sum(axis=1), atol=ROUNDING)
    length = np.linalg.norm(embedding, axis=1)
    np.testing.assert_allclose(found[7], 1 - embedding @ weights / 9 / length, atol=ROUNDING)


def test_every_source_in_one_block_or_in_several(embedding, category, tmp_path, monkeypatch):
    np.save(tmp_path / "e.npy", embedding)
    zarr.create_array(str(tmp_path / "e.zarr"), data=embedding, chunks=(9, 24))
    before = embedding.copy()
    asked = retrieval.queries(category)
    expected = retrieval.unlikeness(embedding, asked)
    spans = blocks.spans
    for elements in (2**22, 1):
        monkeypatch.setattr(
            retrieval.blocks, "spans", lambda source, elements, n=elements: spans(source, elements=n)
        )
        for source in (
            embedding.tolist(),
            np.asfortranarray(embedding),
            torch.from_numpy(embedding).requires_grad_(),
            blocks.open_embedding(tmp_path / "e.npy"),
            blocks.open_embedding(tmp_path / "e.zarr"),
        ):
            found = retrieval.unlikeness(source, asked)
            for name in asked:
                np.testing.assert_allclose(found[name], expected[name], atol=ROUNDING)
    single = retrieval.unlikeness(embedding.astype(np.float32), asked)
    np.testing.assert_allclose(single["mean"], expected["mean"], atol=1e-6)
    np.testing.assert_array_equal(embedding, before)


@pytest.mark.parametrize(
    ("embedding", "asked", "message"),
    [
        (np.ones((4, 3)), retrieval.queries(CATEGORY), "must be for 3 features, those of the embedding"),
        (np.ones((4, 3)), {}, "must be for 3 features"),
        (-np.ones((4, 5)), retrieval.queries(CATEGORY), "100% of the activations are negative"),
        (np.full((4, 5), np.nan), retrieval.queries(CATEGORY), "4 of 4 images have NaN or infinite"),
        (np.ones(5), retrieval.queries(CATEGORY), r"an embedding is \(n_images, n_features\); got \(5,\)"),
    ],
)
def test_errors_of_unlikeness(embedding, asked, message):
    with pytest.raises(InputError, match=message):
        retrieval.unlikeness(embedding, asked)


# --- auc ---------------------------------------------------------------------------------------------


def test_auc_by_hand():
    """Of the six pairs, four with the one outside higher and one tie."""
    found = retrieval.auc([0.1, 0.5], [0.5, 0.9, 0.2])
    assert found.value == pytest.approx(4.5 / 6, abs=ROUNDING)
    np.testing.assert_allclose(found.inside, [1, 0.5], atol=ROUNDING)
    np.testing.assert_allclose(found.outside, [0.75, 1, 0.5], atol=ROUNDING)


@pytest.mark.parametrize("levels", [2, 5, 10**9], ids=["mostly ties", "ties", "no ties"])
def test_auc_equals_a_naive_loop_and_sklearn(levels, rng):
    for n, m in ((1, 1), (1, 9), (13, 1), (17, 40)):
        inside, outside = (
            rng.integers(0, levels, n) / levels,
            rng.integers(0, levels, m) / levels + 0.1 * (levels > 9),
        )
        found = retrieval.auc(inside, outside)
        value, above, below = naive_auc(inside, outside)
        assert found.value == pytest.approx(value, abs=ROUNDING)
        np.testing.assert_allclose(found.inside, above, atol=ROUNDING)
        np.testing.assert_allclose(found.outside, below, atol=ROUNDING)
        labels = np.repeat([0, 1], [n, m])
        assert found.value == pytest.approx(
            roc_auc_score(labels, np.concatenate([inside, outside])), abs=ROUNDING
        )


def test_scores_that_differ_by_rounding_alone_tie():
    assert 0.1 + 0.2 > 0.3
    found = retrieval.auc([0.3, 0.1 + 0.2, 0.9], [0.1 + 0.2, 0.3, 0.1])
    assert found.value == pytest.approx(2 / 9, abs=ROUNDING)  # four ties among nine pairs, and none higher
    np.testing.assert_array_equal(found.inside, retrieval.auc([0.3, 0.3, 0.9], [0.3, 0.3, 0.1]).inside)
    assert retrieval.auc([0.3], [0.3 + 1e-9]).value == 1


def test_auc_of_what_separates_does_not_and_is_turned_round(rng):
    scores = rng.random(30)
    assert retrieval.auc(scores, scores[:9] + 1).value == 1
    assert retrieval.auc(scores + 1, scores[:9]).value == 0
    assert retrieval.auc(scores, scores).value == pytest.approx(0.5, abs=ROUNDING)
    assert retrieval.auc(np.ones(4), np.ones(7)).value == 0.5
    found, turned = retrieval.auc(scores[:10], scores[10:]), retrieval.auc(scores[10:], scores[:10])
    assert found.value == pytest.approx(1 - turned.value, abs=ROUNDING)
    assert found.value == pytest.approx(found.inside.mean(), abs=ROUNDING)
    assert found.value == pytest.approx(found.outside.mean(), abs=ROUNDING)


@pytest.mark.parametrize(
    ("inside", "outside", "message"),
    [
        ([], [1.0], r"must be \(n,\) each, not empty; got \(0,\) and \(1,\)"),
        ([1.0], [], r"must be \(n,\) each, not empty; got \(1,\) and \(0,\)"),
        ([[1.0]], [1.0], r"must be \(n,\) each, not empty; got \(1, 1\) and \(1,\)"),
        (1.0, [1.0], r"must be \(n,\) each, not empty; got \(\) and \(1,\)"),
        ([np.nan], [1.0], "scores are NaN or infinite"),
        ([0.0], [1.0, np.inf], "scores are NaN or infinite"),
    ],
)
def test_errors_of_auc(inside, outside, message):
    with pytest.raises(InputError, match=message):
        retrieval.auc(inside, outside)


# --- auc_difference ----------------------------------------------------------------------------------


def naive_delong(inside, outside):
    """L S Lᵀ of DeLong et al. (1988), for two scores ``(2, n)`` and ``(2, m)``."""
    one, other = (naive_auc(i, o) for i, o in zip(inside, outside, strict=True))
    s10, s01 = np.cov([one[2], other[2]]), np.cov([one[1], other[1]])
    contrast = np.array([1, -1])
    covariance = s10 / len(outside[0]) + s01 / len(inside[0])
    return one[0] - other[0], contrast @ covariance @ contrast


@pytest.mark.parametrize("levels", [4, 10**9], ids=["ties", "no ties"])
def test_difference_is_delongs(levels, rng):
    for n, m in ((2, 2), (9, 30), (25, 12)):
        inside = rng.integers(0, levels, (2, n)) / levels
        outside = rng.integers(0, levels, (2, m)) / levels + 0.2
        one, other = (retrieval.auc(i, o) for i, o in zip(inside, outside, strict=True))
        estimate, variance = naive_delong(inside, outside)
        assert retrieval.auc_difference(one, other) == pytest.approx((estimate, variance), abs=ROUNDING)
        assert retrieval.auc_difference(other, one) == pytest.approx((-estimate, variance), abs=ROUNDING)
        assert retrieval.auc_difference(one, one) == (0, 0)


def test_variance_is_that_over_data_sets(rng):
    """Two scores of the same images, which share part of their noise and differ in what they tell."""
    found = []
    for _ in range(2000):
        shared, own = rng.normal(size=80), rng.normal(size=(2, 80))
        scores = shared + own + np.outer([1.5, 0.7], np.arange(80) >= 30)
        one, other = (retrieval.auc(s[:30], s[30:]) for s in scores)
        found.append(retrieval.auc_difference(one, other))
    estimates, variances = np.array(found).T
    assert np.mean(variances) / np.var(estimates, ddof=1) == pytest.approx(1, abs=0.15)
    # Its intervals cover the true difference, too; as for independent scores they would be far too wide.
    covered = abs(estimates - estimates.mean()) < 1.96 * np.sqrt(variances)
    assert 0.92 < covered.mean() < 0.97


def test_a_single_image_has_no_variance():
    one, other = retrieval.auc([0.1], [0.5, 0.0]), retrieval.auc([0.7], [0.9, 0.8])
    estimate, variance = retrieval.auc_difference(one, other)
    assert estimate == -0.5
    assert np.isnan(variance)
    one, other = retrieval.auc([0.1, 0.2], [0.5]), retrieval.auc([0.7, 0.2], [0.5])
    estimate, variance = retrieval.auc_difference(one, other)
    assert estimate == 0.5
    assert np.isnan(variance)


@pytest.mark.parametrize(("n", "m"), [(3, 4), (2, 5)])
def test_aucs_of_other_images_are_not_compared(n, m):
    one, other = retrieval.auc(np.arange(2), np.arange(4)), retrieval.auc(np.arange(n), np.arange(m))
    message = f"of the same images; got 2 and {n} inside, 4 and {m} outside"
    with pytest.raises(InputError, match=message):
        retrieval.auc_difference(one, other)


def test_perfect_scores_do_not_differ(rng):
    """Of a perfect query there is no variance to estimate: 0 from itself, not NaN."""
    perfect = retrieval.auc(rng.random(20), rng.random(30) + 1)
    again = retrieval.auc(rng.random(20), rng.random(30) + 2)
    assert retrieval.auc_difference(perfect, again) == (0, 0)
