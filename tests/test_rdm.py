"""RDMs and comparators: the paper's example, scipy, rsatoolbox, invariances, error messages."""

import pickle
import sys

import numpy as np
import pytest
from scipy.spatial import procrustes
from scipy.spatial.distance import pdist
from scipy.stats import spearmanr

from rarefire import rdm
from rarefire.errors import DataError, InputError, RarefireWarning, UnknownNameError

EXAMPLE = np.array(
    [[0.91, 0.76, 0.3, 0.7, 0.9, 0], [0.40, 0.70, 0.6, 0.3, 0.7, 0], [0.02, 0.40, 0.9, 0.2, 0.2, 0]]
)


def test_the_papers_worked_example():
    with_zero, without = 1 - rdm.rdm(EXAMPLE), 1 - rdm.rdm(EXAMPLE[:, :5])
    np.testing.assert_allclose(with_zero, [0.62, -0.18, 0.56], atol=0.005)  # AB, AC, BC
    # The paper prints −.06 for the first: its inputs are rounded.
    np.testing.assert_allclose(without, [-0.065, -0.94, 0.40], atol=0.005)


@pytest.mark.parametrize("metric", rdm.METRICS)
def test_rdm_equals_scipy(rng, metric):
    embedding = np.maximum(rng.normal(size=(12, 9)), 0) + 0.01
    np.testing.assert_allclose(rdm.rdm(embedding, metric=metric), pdist(embedding, metric), atol=1e-12)


@pytest.mark.filterwarnings("default")  # rsatoolbox's own
@pytest.mark.parametrize(("metric", "theirs"), [("correlation", "correlation"), ("euclidean", "euclidean")])
def test_rdm_equals_rsatoolbox(rng, metric, theirs):
    import rsatoolbox

    embedding = rng.uniform(size=(15, 20))
    other = rsatoolbox.rdm.calc_rdm(rsatoolbox.data.Dataset(embedding), method=theirs).dissimilarities[0]
    ours = rdm.rdm(embedding, metric=metric)
    # Theirs is the squared distance divided by the number of features.
    np.testing.assert_allclose(ours if metric == "correlation" else ours**2 / 20, other, atol=1e-12)


@pytest.mark.parametrize("metric", rdm.METRICS)
def test_rdm_is_unchanged_by_a_permutation_of_features(embedding, rng, metric):
    shuffled = embedding[:, rng.permutation(embedding.shape[1])]
    np.testing.assert_allclose(
        rdm.rdm(shuffled, metric=metric), rdm.rdm(embedding, metric=metric), atol=1e-12
    )


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_an_always_zero_feature_leaves_cosine_and_euclidean_alone(embedding, metric):
    padded = np.hstack([embedding, np.zeros((len(embedding), 5))])
    np.testing.assert_allclose(rdm.rdm(padded, metric=metric), rdm.rdm(embedding, metric=metric), atol=1e-12)


def test_an_always_zero_feature_moves_pearson(embedding):
    padded = np.hstack([embedding, np.zeros((len(embedding), 5))])
    assert np.abs(rdm.rdm(padded) - rdm.rdm(embedding)).max() > 0.01


def test_many_zero_features_turn_pearson_into_cosine(embedding):
    padded = np.hstack([embedding, np.zeros((len(embedding), 100_000))])
    cosine = rdm.rdm(embedding, metric="cosine")
    np.testing.assert_allclose(rdm.rdm(padded), cosine, atol=1e-3)
    assert np.abs(rdm.rdm(embedding) - cosine).max() > 0.05


@pytest.mark.parametrize("scale", [1e-200, 1e-12, 1e200])
@pytest.mark.parametrize("metric", ["correlation", "cosine"])
def test_tiny_and_huge_activations_are_not_lost(embedding, metric, scale):
    np.testing.assert_allclose(
        rdm.rdm(embedding * scale, metric=metric), rdm.rdm(embedding, metric=metric), atol=1e-9
    )


def test_constant_images_are_dropped_and_counted(embedding):
    embedding = embedding.copy()
    embedding[[2, 5]] = 0.7
    with pytest.warns(RarefireWarning, match="2 of 40 images have constant features"):
        found = rdm.square(rdm.rdm(embedding))
    kept = np.delete(np.arange(40), [2, 5])
    assert np.isnan(found[2, kept]).all()
    np.testing.assert_allclose(found[np.ix_(kept, kept)], rdm.square(rdm.rdm(embedding[kept])), atol=1e-12)
    # Constant images have a cosine and a distance.
    assert np.isfinite(rdm.rdm(embedding, metric="cosine")).all()


def test_compare_against_numpy_and_scipy(rng):
    a, b = rng.normal(size=(2, 66))
    r = np.corrcoef(a, b)[0, 1]
    assert rdm.compare(a, b, method="pearson") == pytest.approx(r, abs=1e-12)
    assert rdm.compare(a, b) == pytest.approx(r**2, abs=1e-12)
    assert rdm.compare(a, b, method="spearman") == pytest.approx(spearmanr(a, b).statistic, abs=1e-12)


@pytest.mark.filterwarnings("default")  # rsatoolbox's own
@pytest.mark.parametrize(("method", "theirs"), [("pearson", "corr"), ("spearman", "spearman")])
def test_compare_equals_rsatoolbox(rng, method, theirs):
    import rsatoolbox

    a, b = rng.uniform(size=(2, 105))
    other = rsatoolbox.rdm.compare(rsatoolbox.rdm.RDMs(a[None]), rsatoolbox.rdm.RDMs(b[None]), method=theirs)
    assert rdm.compare(a, b, method=method) == pytest.approx(float(other[0, 0]), abs=1e-12)


def test_compare_of_an_rdm_with_itself_and_its_opposite(rng):
    a = rng.uniform(size=45)
    assert rdm.compare(a, a) == pytest.approx(1)
    assert rdm.compare(a, 2 - a, method="pearson") == pytest.approx(-1)
    assert rdm.compare(a, 3 * a + 1, method="spearman") == pytest.approx(1)


def test_compare_takes_square_rdms_and_drops_undefined_pairs(rng):
    a, b = rng.uniform(size=(2, 45))
    holes = a.copy()
    holes[[3, 7]] = np.nan
    kept = np.delete(np.arange(45), [3, 7])
    assert rdm.compare(rdm.square(holes), rdm.square(b)) == pytest.approx(rdm.compare(a[kept], b[kept]))


# --- maps ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_mds_recovers_points_up_to_a_rotation(rng, dimensions):
    points = rng.normal(size=(30, dimensions)) * [3, 2, 1][:dimensions]
    found = rdm.mds(pdist(points), dimensions=dimensions)
    assert found.shape == (30, dimensions)
    np.testing.assert_allclose(pdist(found), pdist(points), atol=1e-10)
    assert procrustes(np.c_[points, np.zeros(30)], np.c_[found, np.zeros(30)])[2] < 1e-20
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-10)
    spread = found.std(axis=0)
    assert (np.diff(spread) <= 0).all()


def test_mds_of_distances_is_their_principal_components(embedding):
    from sklearn.decomposition import PCA

    found = rdm.mds(rdm.rdm(embedding, metric="euclidean"))
    theirs = PCA(2, svd_solver="full").fit_transform(embedding)
    theirs *= np.sign(theirs[np.abs(theirs).argmax(axis=0), [0, 1]])
    np.testing.assert_allclose(found, theirs, atol=1e-8)


def test_mds_by_hand():
    """A rectangle of 4 × 2, and a line: the second dimension is empty."""
    rectangle = np.array([[0, 0], [4, 0], [4, 2], [0, 2.0]])
    found = rdm.mds(rdm.square(pdist(rectangle)))
    # Every corner is as far out as any other: the first is on the positive side.
    np.testing.assert_allclose(found, [[2, 1], [-2, 1], [-2, -1], [2, -1]], atol=1e-12)
    line = rdm.mds([1.0, 3.0, 2.0])
    np.testing.assert_allclose(line[:, 0], [-4 / 3, -1 / 3, 5 / 3])
    assert (line[:, 1] == 0).all()
    assert (rdm.mds(np.zeros(3)) == 0).all()


def test_the_sign_of_a_map_does_not_depend_on_luck(embedding):
    found = rdm.mds(rdm.rdm(embedding))
    assert (found.max(axis=0) >= -found.min(axis=0) - 1e-12).all()
    # Correlation distances are no Euclidean ones: more dimensions than there are stay empty.
    every = rdm.mds(rdm.rdm(embedding), dimensions=39)
    assert (every[:, -1] == 0).all()
    np.testing.assert_allclose(every[:, :2], found, atol=1e-12)


def test_class_means_by_hand():
    found = rdm.class_means([[1.0, 0.0], [3.0, 2.0], [5.0, 5.0]], [9, 9, 4])
    assert found.tolist() == [[5, 5], [2, 1]]


def test_inputs_are_unmodified(embedding):
    before = embedding.copy()
    rdm.rdm(embedding)
    rdm.unit_vectors(embedding, metric="cosine")
    rdm.class_means(embedding, np.arange(40) % 4)
    np.testing.assert_array_equal(embedding, before)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rdm.rdm(EXAMPLE[:2]), "at least three images; got 2"),
        (lambda: rdm.rdm(EXAMPLE[0]), r"\(n_images, n_features\); got \(6,\)"),
        (lambda: rdm.rdm(np.ones((4, 0))), r"at least one feature; got \(4, 0\)"),
        (lambda: rdm.rdm(EXAMPLE * np.nan), "3 of 3 images have NaN or infinite"),
        (lambda: rdm.rdm(np.ones((5, 4))), "5 of 5 images have constant features"),
        (lambda: rdm.rdm(np.zeros((5, 4)), metric="cosine"), "5 of 5 images have features that are all 0"),
        (lambda: rdm.rdm(EXAMPLE, metric="manhattan"), "correlation, cosine, euclidean; got 'manhattan'"),
        (lambda: rdm.compare([1, 2, 3], [1, 2, 3], method="tau"), "r2, pearson, spearman; got 'tau'"),
        (lambda: rdm.compare([1, 2, 3], [1, 2, 3, 4, 5, 6]), "differ in size: 3 and 6 pairs"),
        (lambda: rdm.compare([1, 1, 1], [1, 2, 3]), "all values of the first RDM are equal"),
        (lambda: rdm.compare([0.3, 0.1 + 0.2, 0.3], [1, 2, 3]), "all values of the first RDM are equal"),
        (lambda: rdm.compare([1, 2, 3], [2, 2, 2]), "all values of the second RDM are equal"),
        (lambda: rdm.compare([1, 2, np.nan], [1, 2, 3]), "only 2 pairs are defined"),
        (lambda: rdm.compare(np.ones((3, 2)), [1, 2, 3]), r"an RDM is square.*got \(3, 2\)"),
        (lambda: rdm.compare(np.arange(9).reshape(3, 3), [1, 2, 3]), "not symmetric"),
        (lambda: rdm.square(np.ones(4)), "not the shape of a condensed RDM"),
        (lambda: rdm.class_means(EXAMPLE, [1, 2]), r"labels must be \(3,\)"),
        (lambda: rdm.mds([1, 2, np.nan]), "1 values of the RDM are NaN or infinite"),
        (lambda: rdm.mds([1, 2, -0.5]), "cannot be negative; the RDM goes down to -0.5"),
        (lambda: rdm.mds([1.0]), "at least three images; the RDM has 1 pairs"),
        (lambda: rdm.mds([1, 2, 3, 4]), "not the shape of a condensed RDM"),
        (lambda: rdm.mds(np.ones((3, 2))), r"an RDM is square.*got \(3, 2\)"),
        (lambda: rdm.mds([1, 2, 3], dimensions=3), "map of 3 images lie between 1 and 2; got 3"),
    ],
)
def test_errors_say_what_came_and_what_was_expected(call, message):
    with pytest.raises(InputError, match=message):
        call()


# --- from a file ---------------------------------------------------------------------------------


@pytest.fixture
def matrix(rng):
    return rdm.square(rng.random(45))


@pytest.mark.parametrize("delimiter", [",", ";", "\t", " "])
@pytest.mark.parametrize("named", [False, True])
def test_text_with_and_without_names(matrix, tmp_path, delimiter, named):
    names = [f"image{i}" for i in range(10)]
    lines = [delimiter.join(repr(float(v)) for v in row) for row in matrix]
    if named:
        lines = [f"{n}{delimiter}{line}" for n, line in zip(names, lines, strict=True)]
        corner = "" if delimiter != " " else "-"
        lines.insert(0, delimiter.join([corner, *names]))
    path = tmp_path / "rdm.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8-sig")
    np.testing.assert_array_equal(rdm.read(path), rdm.condensed(matrix))


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("index", [True, False])
@pytest.mark.parametrize("header", [True, False])
def test_tables_as_pandas_writes_them(matrix, tmp_path, first, index, header):
    import pandas as pd

    numbers = list(range(first, first + 10))
    frame = pd.DataFrame(matrix, index=numbers, columns=numbers)
    frame.to_csv(tmp_path / "rdm.csv", index=index, header=header)
    np.testing.assert_array_equal(rdm.read(tmp_path / "rdm.csv"), rdm.condensed(matrix))


def test_quoted_names_missing_values_and_a_delimiter_at_the_end(matrix, tmp_path):
    names = [f'"image, {i}"' for i in range(10)]
    rows = [[n, *map(repr, map(float, row))] for n, row in zip(names, matrix, strict=True)]
    rows[0][2] = rows[1][1] = "NA"
    text = "\n".join(",".join(row) + "," for row in [["", *names], *rows]) + "\n\n"
    (tmp_path / "rdm.csv").write_text(text)
    found = rdm.read(tmp_path / "rdm.csv")
    assert np.isnan(found[0])
    np.testing.assert_array_equal(found[1:], rdm.condensed(matrix)[1:])


def test_npy_similarities_and_gaps(matrix, tmp_path):
    np.save(tmp_path / "rdm.npy", matrix)
    np.testing.assert_array_equal(rdm.read(tmp_path / "rdm.npy"), rdm.condensed(matrix))
    np.save(tmp_path / "sim.npy", 10 - matrix)
    found = rdm.read(tmp_path / "sim.npy", similarity=True)
    assert np.corrcoef(found, rdm.condensed(matrix))[0, 1] == pytest.approx(1)
    matrix[2, 5] = matrix[5, 2] = np.nan
    text = "\n".join(",".join("" if np.isnan(v) else str(v) for v in row) for row in matrix)
    (tmp_path / "gap.csv").write_text(text)
    assert np.isnan(rdm.read(tmp_path / "gap.csv")).sum() == 1


def test_any_diagonal_but_a_similarity_s_is_accepted(matrix, tmp_path, rng):
    np.fill_diagonal(matrix, rng.random(10) * 0.1)
    np.save(tmp_path / "rdm.npy", matrix)
    np.testing.assert_array_equal(rdm.read(tmp_path / "rdm.npy"), rdm.condensed(matrix))
    np.fill_diagonal(matrix, np.nan)
    np.save(tmp_path / "rdm.npy", matrix)
    assert len(rdm.read(tmp_path / "rdm.npy")) == 45


def test_errors_of_files(matrix, tmp_path):
    np.save(tmp_path / "similar.npy", 1 - matrix)
    np.save(tmp_path / "oblong.npy", matrix[1:])
    np.save(tmp_path / "skew.npy", np.triu(matrix))
    np.save(tmp_path / "infinite.npy", np.where(matrix > 0.9, np.inf, matrix))
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object))
    np.save(tmp_path / "triangle.npy", np.triu(matrix))
    np.save(tmp_path / "nothing.npy", np.where(np.eye(10), 0, np.nan))
    np.save(tmp_path / "complex.npy", matrix.astype(complex))
    (tmp_path / "word.csv").write_text("0,1,2\n1,0,x\n2,3,0\n")
    (tmp_path / "ragged.csv").write_text("0,1,2\n1,0\n2,3,0\n")
    (tmp_path / "empty.csv").write_text("")
    for name, error, message in [
        ("none.npy", DataError, "there is no file"),
        ("similar.npy", InputError, "look like similarities"),
        ("oblong.npy", InputError, r"must be square; got \(9, 10\)"),
        ("skew.npy", InputError, "not symmetric"),
        ("infinite.npy", InputError, "values of the RDM in infinite.npy are infinite"),
        ("objects.npy", DataError, "cannot be read as a .npy array of numbers"),
        ("word.csv", DataError, "row 2, column 3 of the numbers is 'x'"),
        ("triangle.npy", InputError, "Fill in both triangles"),
        ("nothing.npy", InputError, "holds no value for any pair"),
        ("complex.npy", DataError, "its numbers are complex"),
        ("ragged.csv", DataError, "its rows have 2, 3 entries"),
        ("empty.csv", DataError, "its rows have no entries"),
    ]:
        with pytest.raises(error, match=message):
            rdm.read(tmp_path / name)


def test_check_rdm_names_both_sizes(matrix):
    np.testing.assert_array_equal(rdm.check_rdm(matrix, 10), rdm.condensed(matrix))
    with pytest.raises(InputError, match="the RDM is of 10 images; the embedding has 12 images"):
        rdm.check_rdm(matrix, 12)


def test_similarities_are_the_rdm_and_nan_where_undefined(embedding):
    given = embedding.copy()
    given[3] = 0
    for metric in ("correlation", "cosine"):
        found = rdm.similarities(given, metric=metric)
        assert np.isnan(found[3]).all()
        assert np.isnan(found[:, 3]).all()
        rest = np.delete(np.delete(found, 3, axis=0), 3, axis=1)
        expected = 1 - rdm.square(rdm.rdm(np.delete(given, 3, axis=0), metric=metric))
        np.testing.assert_allclose(rest, expected, atol=1e-12)
    with pytest.raises(InputError, match="metric is one of correlation, cosine; got 'euclidean'"):
        rdm.similarities(given, metric="euclidean")


def test_similarities_of_pairs_are_condensed_and_0_where_undefined(embedding):
    embedding[3] = 0
    ends = np.triu_indices(len(embedding), 1)
    for metric in ("correlation", "cosine"):
        found = rdm.pair_similarities(embedding, metric=metric)
        np.testing.assert_array_equal(found, np.nan_to_num(rdm.similarities(embedding, metric=metric)[ends]))
    distances = np.delete(pdist(embedding, "cosine"), np.flatnonzero((ends[0] == 3) | (ends[1] == 3)))
    np.testing.assert_allclose(1 - found[(ends[0] != 3) & (ends[1] != 3)], distances, atol=1e-12)


# --- partial correlations ------------------------------------------------------------------------


def test_a_partial_correlation_is_that_of_residuals(rng):
    """Of what a straight line through the control leaves of both."""
    control = rng.random(60) < 0.4
    network, human = control + rng.normal(size=60), 2 * control + rng.normal(size=60)
    left = [v - np.polyval(np.polyfit(control, v, 1), control) for v in (network, human)]
    expected = np.corrcoef(human, control)[0, 1], np.corrcoef(left)[0, 1]
    assert rdm.partial(network, human, control) == pytest.approx(expected)
    # Pairs that were not judged, or without a similarity, are left out.
    gaps, use = [network.copy(), human.copy()], np.ones(60, dtype=bool)
    gaps[0][[1, 5]] = gaps[1][[5, 30, 31]] = np.nan
    use[[1, 5, 30, 31]] = False
    expected = rdm.partial(network[use], human[use], control[use])
    assert rdm.partial(*gaps, control) == pytest.approx(expected, abs=1e-12)


def test_what_a_partial_correlation_says_of_known_agreements(rng):
    """Two that share nothing but the control; two that share more; and a control without part in it."""
    control, own, a, b = rng.normal(size=(4, 4000))
    r, nothing = rdm.partial(control + 0.3 * a, control + 0.3 * b, control)
    assert r == pytest.approx(1 / np.sqrt(1.09), abs=0.01)
    assert nothing == pytest.approx(0, abs=0.05)
    assert rdm.partial(control + own, control + own, control)[1] == pytest.approx(1)
    assert rdm.partial(control + own, control - own, control)[1] == pytest.approx(-1)
    r, all_of_it = rdm.partial(own + a, own + b, control)
    assert (r, all_of_it) == pytest.approx((0, 0.5), abs=0.05)
    for constant in range(3):
        three = [own[:50], a[:50], control[:50]]
        three[constant] = np.ones(50)
        assert np.isnan(rdm.partial(*three)).all()
    assert np.isnan(rdm.partial(own[:3], a[:3], control[:3])).all()


def test_it_is_said_how_a_file_is_taken(tmp_path, rng):
    values = rng.random(10)
    np.save(tmp_path / "a.npy", values)
    np.savetxt(tmp_path / "a.csv", values[None], delimiter=",")
    for name in ("a.npy", "a.csv"):
        assert rdm.described(tmp_path / name) == (
            f"{name}: condensed, pairs in the order (1, 2), (1, 3), … (2, 3), …, as squareform of scipy and "
            "MATLAB has them."
        )
    np.save(tmp_path / "b.npy", rdm.square(values))
    assert rdm.described(tmp_path / "b.npy") == ""
    np.save(tmp_path / "c.npy", np.stack([values, values]))
    assert rdm.described(tmp_path / "c.npy").endswith(
        "c.npy: RDMs of 2 people, each brought to mean 0 and standard deviation 1, averaged."
    )
    (tmp_path / "d.csv").write_text("1,2,3\n1,2\n")
    with pytest.raises(DataError, match="its rows have"):
        rdm.described(tmp_path / "d.csv")


def test_an_rdm_is_put_into_the_order_of_names(tmp_path, rng):
    values, order = rdm.square(rng.random(10)), [3, 0, 4, 1, 2]
    named = list("abcde")
    theirs = [named[i] for i in order]
    lines = [",".join(["", *theirs])]
    lines += [",".join([theirs[i], *map(str, values[order][i, order])]) for i in range(5)]
    (tmp_path / "R.csv").write_text("\n".join(lines))
    np.testing.assert_array_equal(rdm.read(tmp_path / "R.csv"), rdm.condensed(values[np.ix_(order, order)]))
    found = rdm.read(tmp_path / "R.csv", names=[f"set/{name}.png" for name in named])
    np.testing.assert_array_equal(found, rdm.condensed(values))
    with pytest.raises(
        InputError, match=r"the images of names= and R\.csv differ: R\.csv lacks 1 of 5 \('f'\)"
    ):
        rdm.read(tmp_path / "R.csv", names=list("abcdf"))
    np.save(tmp_path / "R.npy", values)
    with pytest.raises(
        InputError, match=r"R\.npy has no names: leave names= out to take it in its own order"
    ):
        rdm.read(tmp_path / "R.npy", names=named)


def test_columns_in_another_order_than_rows_are_put_into_it(tmp_path, rng):
    values, order = rdm.square(rng.random(10)), [3, 0, 4, 1, 2]
    lines = [",".join(["", *("abcde"[i] for i in order)])]
    lines += [",".join(["abcde"[i], *map(str, values[i, order])]) for i in range(5)]
    (tmp_path / "R.csv").write_text("\n".join(lines))
    found, above, before = rdm.read_named(tmp_path / "R.csv")
    np.testing.assert_array_equal(found, rdm.condensed(values))
    assert above == before == list("abcde")


# --- rsatoolbox's objects ------------------------------------------------------------------------


@pytest.mark.filterwarnings("default")  # rsatoolbox's own
def test_rdms_go_to_rsatoolbox_and_back(rng, tmp_path):
    import rsatoolbox

    names = [f"image {i}" for i in range(7)]
    people = np.stack([rdm.rdm(rng.uniform(size=(7, 5))) for _ in range(3)])
    theirs = rdm.to_rsatoolbox(people, names=names, metric="correlation")
    # The third image with the fifth, by rsatoolbox's own reading.
    np.testing.assert_allclose(theirs.get_matrices()[1, 2, 4], rdm.square(people[1])[2, 4])
    assert theirs.dissimilarity_measure == "correlation"
    back, called = rdm.from_rsatoolbox(theirs)
    np.testing.assert_array_equal(back, people)
    assert called == tuple(names)
    theirs.save(str(tmp_path / "people.hdf5"))
    np.testing.assert_allclose(rdm.read_people(tmp_path / "people.hdf5")[0], people)
    with (tmp_path / "people.pkl").open("wb") as file:  # as its save does, which leaves the file open
        pickle.dump(theirs.to_dict(), file)
    with pytest.raises(DataError, match="a pickle, which can run code when it is opened: it is not read"):
        rdm.read(tmp_path / "people.pkl")
    # What it computed itself, and one of several ways to give one RDM.
    data = rsatoolbox.data.Dataset(rng.uniform(size=(7, 5)), obs_descriptors={"stim": names})
    made = rsatoolbox.rdm.calc_rdm(data, method="correlation", descriptor="stim")
    values, called = rdm.from_rsatoolbox(made)
    np.testing.assert_allclose(values, made.dissimilarities)
    assert called == tuple(names)
    for form in (people[0], rdm.square(people[0]), rdm.square(people[0])[None]):
        one, nobody = rdm.from_rsatoolbox(rdm.to_rsatoolbox(form))
        np.testing.assert_allclose(one, people[:1])
        assert nobody is None


@pytest.mark.filterwarnings("default")  # rsatoolbox's own
def test_what_rsatoolbox_does_not_take_and_what_it_does_not_say(rng, monkeypatch):
    import rsatoolbox

    one = rdm.rdm(rng.uniform(size=(4, 5)))
    with pytest.raises(InputError, match="names are one for each of 4 images; got 3"):
        rdm.to_rsatoolbox(one, names=["a", "b", "c"])
    with pytest.raises(InputError, match="names must differ"):
        rdm.to_rsatoolbox(one, names=["a", "b", "c", "a"])
    with pytest.raises(InputError, match=r"numbers each, for n images; got \(7,\)"):
        rdm.to_rsatoolbox(np.arange(7.0))
    with pytest.raises(InputError, match=r"rdms is a rsatoolbox\.rdm\.RDMs; got ndarray"):
        rdm.from_rsatoolbox(one)
    both = rsatoolbox.rdm.RDMs(one[None], pattern_descriptors={"file": list("abcd"), "word": list("wxyz")})
    with pytest.raises(InputError, match="images' names: 'file', 'word'. Say which with names="):
        rdm.from_rsatoolbox(both)
    assert rdm.from_rsatoolbox(both, names="word")[1] == ("w", "x", "y", "z")
    with pytest.raises(UnknownNameError, match="there is no pattern descriptor 'conds'.*file"):
        rdm.from_rsatoolbox(both, names="conds")
    monkeypatch.setitem(sys.modules, "rsatoolbox", None)
    with pytest.raises(InputError, match="this needs rsatoolbox, .* pip install rsatoolbox"):
        rdm.to_rsatoolbox(one)
