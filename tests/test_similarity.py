"""How alike two networks' layers are: against formulas written out, loops, and what is known."""

import warnings

import numpy as np
import pytest
from scipy.linalg import subspace_angles

from rarefire import embeddings, networks, rdm, similarity
from rarefire.errors import InputError, UnknownNameError

#: Images × features of two layers: fewer features than images, more, and of each one.
SHAPES = [(40, 7, 11), (30, 50, 80), (30, 6, 90), (4, 3, 2)]


def two_layers(rng, n=40, p=7, q=11):
    """Post-ReLU features that share a part."""
    shared = rng.normal(size=(n, 3))
    return tuple(np.maximum(shared @ rng.normal(size=(3, w)) + rng.normal(size=(n, w)), 0) for w in (p, q))


def explicit_cka(x, y, *, debiased):
    """Song et al. (2012), eq. 5, with the vectors of ones spelt out; or trace(K H L H)."""
    n, one = len(x), np.ones(len(x))

    def hsic(k, el):
        if not debiased:
            h = np.eye(n) - np.outer(one, one) / n
            return np.trace(k @ h @ el @ h)
        k, el = k - np.diag(np.diag(k)), el - np.diag(np.diag(el))
        inner = np.trace(k @ el) + (one @ k @ one) * (one @ el @ one) / ((n - 1) * (n - 2))
        return (inner - 2 / (n - 2) * (one @ k @ el @ one)) / (n * (n - 3))

    k, el = x @ x.T, y @ y.T
    return hsic(k, el) / np.sqrt(hsic(k, k) * hsic(el, el))


def explicit_svcca(x, y, variance=0.99):
    """SVD of each, then canonical correlations by QR and SVD (Björck & Golub 1973)."""
    bases = []
    for features in (x, y):
        u, s, _ = np.linalg.svd(features - features.mean(axis=0), full_matrices=False)
        kept = 1
        while (s[:kept] ** 2).sum() < variance * (s**2).sum() * (1 - 1e-12):
            kept += 1
        bases.append(np.linalg.qr(u[:, :kept] * s[:kept])[0])
    return np.linalg.svd(bases[0].T @ bases[1], compute_uv=False).mean(), bases


def by_position(x):
    """One row for each position of each image, one position after the other."""
    return np.array([image[:, i, j] for image in x for i in range(x.shape[2]) for j in range(x.shape[3])])


def quiet(function, *arguments, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*arguments, **options)


@pytest.mark.parametrize(("n", "p", "q"), SHAPES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rdms_agree_as_they_do_the_long_way(rng, n, p, q, dtype):
    x, y = (z.astype(dtype) for z in two_layers(rng, n, p, q))
    if n > 4:
        x[3], x[5], y[7], y[8] = 0, 1.5, 0, 0.3  # silent or constant images
    found = similarity.compare(x, y, measures=("cosine", "pearson"))
    assert list(found) == ["cosine", "pearson"]
    for measure, metric in (("cosine", "cosine"), ("pearson", "correlation")):
        both = (quiet(rdm.rdm, z, metric=metric) for z in (x, y))
        assert found[measure] == pytest.approx(rdm.compare(*both), abs=1e-10), measure
    pairs = [(i, j) for i in range(n) for j in range(i) if all(z[k].any() for z in (x, y) for k in (i, j))]
    units = [z.astype(float) / np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-9) for z in (x, y)]
    cosines = [[unit[i] @ unit[j] for i, j in pairs] for unit in units]
    assert found["cosine"] == pytest.approx(np.corrcoef(cosines)[0, 1] ** 2, abs=1e-6)


@pytest.mark.parametrize(("n", "p", "q"), SHAPES)
@pytest.mark.parametrize("debiased", [True, False])
def test_cka_is_the_formula(rng, n, p, q, debiased):
    x, y = two_layers(rng, n, p, q)
    expected = explicit_cka(x, y, debiased=debiased)
    assert similarity.cka(x, y, debiased=debiased) == pytest.approx(expected, abs=1e-10)
    if debiased:
        assert similarity.compare(x, y)["cka"] == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize(("n", "p", "q"), SHAPES)
@pytest.mark.parametrize("variance", [0.5, 0.9, 0.99, 1.0])
def test_svcca_is_the_textbook(rng, n, p, q, variance):
    x, y = two_layers(rng, n, p, q)
    expected, bases = explicit_svcca(x, y, variance)
    found = similarity.svcca(x, y, variance=variance)
    assert found == pytest.approx(expected, abs=1e-7)
    assert found == pytest.approx(np.cos(subspace_angles(*bases)).mean(), abs=1e-7)
    if variance == 0.99:
        assert similarity.compare(x, y)["cca"] == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize(("n", "p", "q"), [*SHAPES, (200, 20, 3)])
def test_images_by_images_and_features_by_features_say_the_same(rng, n, p, q):
    """The whole arrays take one of two ways, a stream always the second."""
    x, y = two_layers(rng, n, p, q)
    pair = similarity.Pair()
    pair.update(x, y)
    for debiased in (True, False):
        assert pair.cka(debiased=debiased) == pytest.approx(
            similarity.cka(x, y, debiased=debiased), abs=1e-10
        )
    assert pair.svcca() == pytest.approx(similarity.svcca(x, y), abs=1e-8)
    one_way = similarity.cka(x, np.pad(y, ((0, 0), (0, 500))))  # features that are 0 change the way only
    assert one_way == pytest.approx(similarity.cka(x, y), abs=1e-10)


@pytest.mark.parametrize(("n", "p"), [(60, 10), (30, 90)])
def test_what_each_measure_does_not_see(rng, n, p):
    x, y = two_layers(rng, n, p, p)
    for value in similarity.compare(x, x).values():
        assert value == pytest.approx(1, abs=1e-10)
    rotation = np.linalg.qr(rng.normal(size=(p, p)))[0]
    before, after = similarity.compare(x, y), similarity.compare(1e-3 * x @ rotation, y)
    for measure in ("cosine", "cka", "cca"):
        assert after[measure] == pytest.approx(before[measure], abs=1e-8)
    assert abs(after["pearson"] - before["pearson"]) > 1e-3  # it sees which features are rotated into which
    scaled = similarity.compare(1e-3 * x, 50 * y)
    assert scaled == pytest.approx(before, abs=1e-8)


def test_canonical_correlations_do_not_see_an_invertible_matrix(rng):
    x, _ = two_layers(rng, 100, 8)
    turned = x @ (rng.normal(size=(8, 8)) + 3 * np.eye(8))
    assert similarity.svcca(x, turned, variance=1) == pytest.approx(1, abs=1e-8)
    assert similarity.cka(x, turned) < 0.99


def test_what_independent_features_have_in_common_is_a_bias(rng):
    draws = [(rng.normal(size=(60, 200)), rng.normal(size=(60, 300))) for _ in range(20)]
    plain = [similarity.cka(x, y, debiased=False) for x, y in draws]
    fair = [similarity.cka(x, y) for x, y in draws]
    assert min(plain) > 0.7
    assert np.mean(fair) == pytest.approx(0, abs=4 * np.std(fair) / np.sqrt(20))
    assert np.max(np.abs(fair)) < 0.1
    assert min(fair) < 0  # not clipped


def test_a_column_mean_subtracted_twice_is_another_measure(rng):
    """A slip in published code: of a symmetric K, `K.mean(1)` is the row that `K.mean(0)` is."""

    def slip(x, y):
        def centred(k):
            return k - k.mean(0) - k.mean(1) + k.mean()

        k, el = centred(x @ x.T), centred(y @ y.T)
        return np.trace(k @ el) / (np.linalg.norm(k) * np.linalg.norm(el))

    slipped = {"any sign": [], "none negative": []}
    for _ in range(20):
        gaussian = rng.normal(size=(200, 50))
        for found, x in zip(slipped.values(), (gaussian, np.abs(gaussian)), strict=True):
            found.append(slip(x, x))
            for debiased in (True, False):
                assert similarity.cka(x, x, debiased=debiased) == pytest.approx(1, abs=1e-10)
    assert np.mean(slipped["any sign"]) == pytest.approx(0.986, abs=0.003)
    assert np.mean(slipped["none negative"]) == pytest.approx(-0.46, abs=0.03)


@pytest.mark.parametrize(
    ("n", "first", "second", "expected"), [(500, 84, 84, 0.36), (500, 256, 256, 0.65), (5000, 84, 84, 0.11)]
)
def test_chance_is_as_published(rng, n, first, second, expected):
    mean, sd = similarity.chance(n, first, second, rng=rng, n_draws=5)
    assert mean == pytest.approx(expected, abs=0.01)
    assert 0 < sd < 0.01


@pytest.mark.parametrize(
    ("n", "first", "second"), [(40, 5, 9), (40, 9, 5), (30, 20, 15), (30, 4, 27), (20, 19, 3), (12, 30, 5)]
)
def test_chance_is_that_of_gaussians(rng, n, first, second):
    drawn = [
        similarity.svcca(rng.normal(size=(n, first)), rng.normal(size=(n, second)), variance=1)
        for _ in range(300)
    ]
    mean, sd = similarity.chance(n, first, second, rng=rng, n_draws=300)
    error = np.hypot(np.std(drawn), sd) / np.sqrt(300)
    assert mean == pytest.approx(np.mean(drawn), abs=4 * error + 1e-8)
    assert sd == pytest.approx(np.std(drawn), rel=0.25, abs=1e-6)
    if max(first, second) >= n - 1:  # one layer spans all there is
        assert mean == pytest.approx(1, abs=1e-12)


def test_chance_hangs_on_nothing_but_its_source():
    first, second = (similarity.chance(50, 5, 8, rng=np.random.default_rng(3)) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("sizes", [[40], [1, 1, 2, 36], [13, 13, 14]])
@pytest.mark.parametrize("ordered", [False, True])
def test_a_stream_is_the_whole(rng, sizes, ordered):
    x, y = two_layers(rng)
    if ordered:  # the first batch is like no other
        x, y = (z[np.argsort(x[:, 0])] for z in (x, y))
    pair = similarity.Pair(variance=0.9)
    for first, second in zip(*(np.split(z, np.cumsum(sizes)[:-1]) for z in (x, y)), strict=True):
        pair.update(first, second)
    for debiased in (True, False):
        assert pair.cka(debiased=debiased) == pytest.approx(similarity.cka(x, y, debiased=debiased), abs=1e-8)
    assert pair.svcca() == pytest.approx(similarity.svcca(x, y, variance=0.9), abs=1e-8)


@pytest.mark.parametrize(("n", "p", "q"), [(40, 7, 11), (30, 50, 80)])
def test_a_constant_on_top_changes_nothing(rng, n, p, q):
    x, y = two_layers(rng, n, p, q)
    far = x + 1e4, y - 1e4
    pair = similarity.Pair()
    for i in range(0, n, 10):
        pair.update(*(z[i : i + 10] for z in far))
    before, after = similarity.compare(x, y), similarity.compare(*far)
    for found in (pair.cka(), similarity.cka(*far), after["cka"]):
        assert found == pytest.approx(before["cka"], abs=1e-6)
    for found in (pair.svcca(), similarity.svcca(*far), after["cca"]):
        assert found == pytest.approx(before["cca"], abs=1e-6)
    assert after["pearson"] == pytest.approx(before["pearson"], abs=1e-6)


@pytest.mark.parametrize(("n", "p", "q"), SHAPES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_products_that_are_kept_say_the_same(rng, n, p, q, dtype):
    x, y = (layer.astype(dtype) for layer in two_layers(rng, n, p, q))
    if n > 10:
        x[3] = 0  # silent: it has no cosine
    a, b = similarity.Grams(x), similarity.Grams(y)
    assert len(a) == n
    found, expected = a.compare(b), similarity.compare(x, y, measures=similarity.OF_GRAMS)
    assert found == pytest.approx(expected, rel=1e-5 if dtype == np.float32 else 1e-9, nan_ok=True)
    assert similarity.Grams(x[:, :, None, None]).compare(b) == pytest.approx(found, nan_ok=True)
    assert a.compare(a, measures=["cka", "pearson"]) == pytest.approx({"cka": 1, "pearson": 1})
    with pytest.raises(InputError, match=f"the same images; got {n} and {n + 1}"):
        a.compare(similarity.Grams(np.vstack([y, y[:1]])))
    with pytest.raises(UnknownNameError, match="there is no measure 'cca'. There are: cka"):
        a.compare(b, measures=["cca"])


def test_positions_are_rows_for_canonical_correlations_and_features_for_the_rest(rng):
    x, y = (np.maximum(rng.normal(size=(30, c, 3, 2)), 0).astype(np.float32) for c in (5, 4))
    y[:, :2] += x[:, :2]
    rows = by_position(x), by_position(y)
    found = similarity.compare(x, y)
    flat = similarity.compare(x.reshape(30, -1), y.reshape(30, -1))
    assert found == pytest.approx({**flat, "cca": similarity.svcca(*rows)}, abs=1e-10)
    assert similarity.svcca(x, y) == pytest.approx(explicit_svcca(*rows)[0], abs=1e-6)
    assert similarity.cka(x, y) == pytest.approx(found["cka"], abs=1e-12)
    pair = similarity.Pair()
    for i in range(0, 30, 7):
        pair.update(x[i : i + 7], y[i : i + 7])
    assert pair.svcca() == pytest.approx(found["cca"], abs=1e-8)
    assert pair.cka() == pytest.approx(
        explicit_cka(*(r.astype(float) for r in rows), debiased=True), abs=1e-8
    )


def test_many_rows_are_taken_in_blocks(rng):
    x, y = two_layers(rng, 20_000, 3, 4)
    assert similarity.svcca(x, y) == pytest.approx(explicit_svcca(x, y)[0], abs=1e-8)
    a, b = (z - z.mean(axis=0) for z in (x, y))
    plain = np.linalg.norm(a.T @ b) ** 2 / (np.linalg.norm(a.T @ a) * np.linalg.norm(b.T @ b))
    assert similarity.cka(x, y, debiased=False) == pytest.approx(plain, abs=1e-10)


@pytest.mark.parametrize("width", [7, 90])
def test_a_layer_that_says_nothing_is_like_none(rng, width):
    x = two_layers(rng, 40, width)[0].astype(np.float32)
    varies = np.linspace(0.1, 0.7, width, dtype=np.float32)
    for dead in (np.zeros_like(x), np.full_like(x, 0.1), np.tile(varies, (40, 1))):
        for pair in ((x, dead), (dead, x), (dead, dead)):
            assert np.isnan(list(similarity.compare(*pair).values())).all()
            stream = similarity.Pair()
            stream.update(*(z[:30] for z in pair))
            stream.update(*(z[30:] for z in pair))
            assert np.isnan([similarity.cka(*pair, debiased=False), stream.cka(), stream.svcca()]).all()
    alone = np.zeros_like(x)
    alone[2, 3] = 1  # one image with one feature: all others are silent
    found = similarity.compare(x, alone)
    assert np.isnan([found["pearson"], found["cosine"], found["cka"]]).all()
    orthogonal = similarity.compare(np.eye(40), x)  # every pair of images is as far apart as any other
    assert np.isnan([orthogonal["pearson"], orthogonal["cosine"], orthogonal["cka"]]).all()
    assert 0 < orthogonal["cca"] <= 1


def test_real_layers(trained):
    """A trained LeNet-5 is like itself, less once its weights are moved, least like an untrained one."""
    network, images = trained
    options = {"input_shape": images.input_shape, "n_classes": 10, "mean": images.mean, "std": images.std}
    untrained, moved = (networks.build("lenet5", seed=1, **options) for _ in range(2))
    weights = {k: v + 0.02 * v.std() if v.ndim > 1 else v for k, v in network.state_dict().items()}
    moved.load_state_dict(weights)
    names = ["relu1", "pool2", "fc1", embeddings.PENULTIMATE]
    itself, near, far = (
        similarity.layers(network, other, images, layers=names, batch_size=64)
        for other in (network, moved, untrained)
    )
    for table in (itself, near, far):
        assert list(table.columns) == ["layer", *similarity.MEASURES]
        assert list(table["layer"]) == names
    measures = list(similarity.MEASURES)
    np.testing.assert_allclose(itself[measures], 1, atol=1e-6)
    assert (near[measures].to_numpy() > far[measures].to_numpy()).all()
    x, y = (
        embeddings.extract(n, images, layer=embeddings.PENULTIMATE).astype(np.float64)
        for n in (network, untrained)
    )
    last = far.set_index("layer").loc[embeddings.PENULTIMATE]
    assert last["cka"] == pytest.approx(explicit_cka(x, y, debiased=True), abs=1e-6)
    assert last["cca"] == pytest.approx(explicit_svcca(x, y)[0], abs=1e-5)
    for measure, metric in (("cosine", "cosine"), ("pearson", "correlation")):
        expected = rdm.compare(*(quiet(rdm.rdm, z, metric=metric) for z in (x, y)))
        assert last[measure] == pytest.approx(expected, abs=1e-6)
    batches = (images.images[i : i + 50] for i in range(0, 150, 50))  # may be gone through once
    streamed = similarity.layers(network, untrained, batches, layers=names, measures=("cka",))
    np.testing.assert_allclose(streamed["cka"], far["cka"], atol=1e-5)
    with pytest.raises(UnknownNameError, match="there is no layer 'nowhere'. There are: penultimate"):
        similarity.layers(network, untrained, images, layers=["nowhere"])


def test_error_messages(rng):
    x, y = two_layers(rng)
    for function in (similarity.compare, similarity.cka, similarity.svcca):
        with pytest.raises(InputError, match=r"of the same 4 or more images; got \(40, 7\) and \(39, 11\)"):
            function(x, y[:39])
        with pytest.raises(InputError, match=r"4 or more images; got \(3, 7\) and \(3, 11\)"):
            function(x[:3], y[:3])
        with pytest.raises(InputError, match=r"height, width\).*got \(40,\) and \(40, 11\)"):
            function(x[:, 0], y)
        with pytest.raises(InputError, match=r"got \(40, 0\) and \(40, 11\)"):
            function(x[:, :0], y)
        with pytest.raises(InputError, match="2 of 40 images have NaN or infinite features in the second"):
            function(x, np.where(np.isin(np.arange(40), [3, 8])[:, None], np.nan, y))
    with pytest.raises(UnknownNameError, match="there is no measure 'ckaa'. There are: cka"):
        similarity.compare(x, y, measures=["ckaa"])
    small = x[:, :6].reshape(40, 1, 3, 2)
    with pytest.raises(InputError, match=r"the same positions; got \(40, 1, 3, 2\) and \(40, 1, 2, 3\)"):
        similarity.svcca(small, small.reshape(40, 1, 2, 3))
    with pytest.raises(InputError, match=r"variance is a share in \(0, 1\]; got 99"):
        similarity.svcca(x, y, variance=99)
    with pytest.raises(InputError, match=r"variance is a share in \(0, 1\]; got 0"):
        similarity.Pair(variance=0)
    for bad in ((3, 2, 2, 20), (10, 0, 2, 20), (10, 2, 2, 1)):
        with pytest.raises(InputError, match=f"widths >= 1 and n_draws >= 2; got n={bad[0]}, {bad[1]} and"):
            similarity.chance(*bad[:3], rng=rng, n_draws=bad[3])


def test_a_stream_says_what_it_lacks(rng):
    x, y = two_layers(rng)
    pair = similarity.Pair()
    for ask in (pair.cka, pair.svcca):
        with pytest.raises(InputError, match="at least four rows are needed to compare layers; there are 0"):
            ask()
    pair.update(x[:3], y[:3])
    with pytest.raises(InputError, match="there are 3 so far"):
        pair.cka()
    with pytest.raises(InputError, match="so far have 7 and 11 features; this one has 7 and 10"):
        pair.update(x, y[:, :10])
    with pytest.raises(InputError, match=r"of the same images; got \(5, 7\) and \(6, 11\)"):
        pair.update(x[:5], y[:6])
    pair.update(x[3:], y[3:])  # what was refused left nothing behind
    assert pair.cka() == pytest.approx(similarity.cka(x, y), abs=1e-8)
