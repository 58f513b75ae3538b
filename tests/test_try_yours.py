"""Try yours: what the page says of a reader's files is what Python says of them."""

import io
import pickle
import struct
import warnings
import zipfile

import numpy as np
import pandas as pd
import pytest

from rarefire import curves, labels, names, poz, rdm, records
from rarefire.cli import common
from rarefire.errors import InputError, RarefireError
from rarefire.page import widgets
from rarefire.page.try_yours import TryYours

METRICS = ("correlation", "cosine")


def features(seed, n, p):
    """From active to rare, some dead; single precision."""
    rng = np.random.default_rng(seed)
    found = np.maximum(rng.normal(size=(n, 4)) @ rng.normal(size=(4, p)) - np.linspace(-2, 3, p), 0)
    found[:, rng.integers(p, size=2)] = 0
    return found.astype(np.float32)


def orders_of(rates, seed=0):
    return {
        "low": poz.order(rates, first="low"),
        "high": poz.order(rates, first="high"),
        "random": np.random.default_rng(seed).permutation(len(rates)),
    }


def npy(array, **options):
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def npz(compressed=True, **arrays):
    file = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(file, **arrays)
    return file.getvalue()


def archive(**files):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        for name, content in files.items():
            made.writestr(name.replace("__", "/").replace("_", "."), content)
    return file.getvalue()


# --- in Python -----------------------------------------------------------------------------------


def test_the_example_travels_as_a_file(embedding):
    kinds = [f"kind {i % 3}" for i in range(40)]
    widget = TryYours(embedding, kinds, seed=3)
    np.testing.assert_array_equal(np.load(io.BytesIO(widget.example)), embedding)
    assert widget.labels.splitlines() == kinds
    page = widget._repr_mimebundle_()[0]["text/html"]
    assert page.startswith('<figure data-widget="')
    rates = poz.kinds(poz.poz(embedding))
    assert f"{(rates == 'active').sum()} active, {(rates == 'rare').sum()} rare" in page


@pytest.mark.parametrize(
    ("given", "kinds", "message"),
    [
        (np.full((5, 4), -1.0), None, "100% of the activations are negative"),
        (np.ones((5, 4)), ["a"], "labels are one per image: expected 5, got 1"),
        (np.ones((5, 4)), ["a\n"] * 5, "line break"),
        (np.ones((5, 4)), ["a" * 300] * 5, "at most 200 characters"),
        (np.ones((2000, 100)), None, "the example travels in the page: at most 1 MiB; got 1.5"),
    ],
)
def test_an_example_that_does_not_fit_is_refused(given, kinds, message):
    with pytest.raises(InputError, match=message):
        TryYours(given, kinds)


# --- in the page ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def page(browser, tmp_path_factory):
    """The page, from disk, without a network; and what went wrong in it."""
    path = tmp_path_factory.mktemp("try") / "page.html"
    example = TryYours(features(0, 30, 24), [f"kind {i % 3}" for i in range(30)], work=2.0**27)
    widgets.save(path, example, title="Try yours")
    context = browser.new_context(viewport={"width": 1280, "height": 900}, offline=True)
    tab = context.new_page()
    trouble = []
    tab.on("console", lambda m: trouble.append(m.text) if m.type in ("error", "warning") else None)
    tab.on("pageerror", lambda e: trouble.append(str(e)))
    own = ("file:", "data:", "blob:")
    tab.on("request", lambda r: None if r.url.startswith(own) else trouble.append(f"asks {r.url}"))
    tab.goto(path.as_uri())
    tab.locator("[data-ready]").wait_for()
    yield tab
    context.close()
    assert trouble == []


def give(page, *, wait=True, **files):
    """Choose files as a reader does, the embedding last; and what the page says then."""
    for role in ("people", "labels"):
        remove = page.locator(f"[data-role={role}] button")
        if remove.is_visible():
            remove.click()
    for role in ("people", "labels", "embedding"):
        if role in files:
            page.locator(f"[data-role={role}] input").set_input_files(files[role])
    if wait:
        page.locator(".rf-try[aria-busy=false]").wait_for()
    return page.locator(".rf-status").inner_text()


def saved(page, link):
    """A table that the page makes."""
    with page.expect_download() as found:
        page.get_by_role("link", name=link).click()
    return pd.read_csv(found.value.path())


def notes(page):
    return page.locator(".rf-notes").inner_text()


def check_curves(table, embedding, *, human=None, seed=0, places=10, tolerance=1e-6):
    """At some places of every curve, against Python."""
    checked = 0
    for order, indices in orders_of(poz.poz(embedding), seed).items():
        for metric in METRICS:
            for against in ("all features", "people"):
                own = table[(table.order == order) & (table.metric == metric) & (table.reference == against)]
                if against == "people" and human is None:
                    assert own.empty
                    continue
                k = own.k.to_numpy()
                some = np.unique(np.linspace(0, len(k) - 1, places).astype(int))
                if human is None or against != "people":
                    expected = curves.geometry_curve(embedding, indices, metric=metric, k=k[some])
                else:
                    expected = curves.rdm_curve(embedding, human, indices, metric=metric, k=k[some])
                found = own.r2.to_numpy()[some]
                np.testing.assert_allclose(
                    found, expected.r2, rtol=0, atol=tolerance, err_msg=f"{order} {metric}"
                )
                np.testing.assert_array_equal(own.n_images.to_numpy()[some], expected.n_images)
                checked += len(some)
    assert checked >= 6 * min(places, len(k))


E = features(1, 40, 30)
LATIN = "name;caf\xe9;b;c\n" + "".join(f"p{i};{i + 1},5;{i % 3};{(i * 7) % 5},25\n" for i in range(6))
TABLE = np.array([[i + 1.5, i % 3, (i * 7) % 5 + 0.25] for i in range(6)])
NAMED = [f"img{i}.png" for i in range(40)]
CSV = "image," + ",".join(f"f{j}" for j in range(30)) + "\n"
CSV += "".join(
    f"{name},{','.join(repr(float(v)) for v in row)}\n" for name, row in zip(NAMED, E, strict=True)
)
FORMS = {
    "plain.npy": (npy(E), E),
    "half.npy": (npy(E.astype("f2")), E.astype("f2").astype(float)),
    "fortran.npy": (npy(np.asfortranarray(E)), E),
    "big-endian.npy": (npy(E.astype(">f4")), E),
    "double.npy": (npy(E.astype("f8") * np.pi), E.astype("f8") * np.pi),
    "huge.npy": (npy(E.astype("f8") * 1e200), E.astype("f8") * 1e200),
    "fortran-big-endian.npy": (npy(np.asfortranarray(E.astype(">f8"))), E),
    "whole.npy": (npy(np.rint(9 * E).astype(">i8")), np.rint(9 * E)),
    "bytes.npy": (npy(np.rint(9 * E).clip(0, 255).astype("u1")), np.rint(9 * E).clip(0, 255)),
    "bool.npy": (npy(E > 0.5), (E > 0.5).astype(float)),
    "one.npz": (npz(features=E, names=np.array(NAMED)), E),
    "stored.npz": (npz(compressed=False, features=np.asfortranarray(E)), E),
    "named.csv": (CSV.encode(), E),
    "mark.csv": (b"\xef\xbb\xbf" + CSV.encode(), E),
    "wide.csv": (CSV.encode("utf-16"), E),
    "quoted.csv": (CSV.replace("img", '"img').replace(".png", '.png"').encode(), E),
    "latin.csv": (LATIN.encode("latin-1"), TABLE),
    "tabs.tsv": (CSV.replace(",", "\t").encode(), E),
    "alike.npy": (npy(5000 + E.astype("f8")), 5000 + E.astype("f8")),  # products lose digits unless centred
}


@pytest.mark.browser
def test_every_form_of_an_array_is_measured_as_python_does(page, tmp_path):
    for name, (content, expected) in FORMS.items():
        path = tmp_path / name
        path.write_bytes(content)
        said = give(page, embedding=path)
        assert said.startswith(
            f"{name}: {len(expected)} images × {expected.shape[1]} features, measured in"
        ), said
        table = saved(page, "PoZ (CSV)")
        np.testing.assert_allclose(table.poz, poz.poz(expected), rtol=0, atol=1e-12, err_msg=name)
        np.testing.assert_array_equal(table.kind, poz.kinds(poz.poz(expected)))
        check_curves(saved(page, "curves (CSV)"), expected, places=10)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            what = common.opened(path)
        if name.endswith("v") or name.endswith("z"):
            assert f"{name}: " in notes(page)
            assert (what.names is None) == ("names of images" not in notes(page))
        if name == "latin.csv":
            assert "latin.csv is no UTF-8; it is read as Latin-1, with 'café' in it." in notes(page)


@pytest.mark.browser
@pytest.mark.parametrize("images", ["mnist", "cifar10-jpg"])
def test_the_embeddings_of_the_book(page, tmp_path, images):
    few = records.ensembles.excerpt(images)
    assert few is not None
    given = few["embedding"]
    np.save(tmp_path / "book.npy", given)
    kinds = [f"{few['names'][i]}" for i in few["labels"]]
    (tmp_path / "kinds.txt").write_text("\n".join(kinds))
    give(page, embedding=tmp_path / "book.npy", labels=tmp_path / "kinds.txt")
    check_curves(saved(page, "curves (CSV)"), given.astype(float))
    # And in the explorer, at every place of its slider, as it stands there.
    rates, order = poz.poz(given), poz.order(poz.poz(given), first="low")
    r2 = curves.geometry_curve(given, order).r2
    for k in np.linspace(2, given.shape[1], 10).astype(int):
        page.locator(".rf-explorer input[type=range]").fill(str(k))
        page.evaluate("new Promise(requestAnimationFrame)")
        found = float(page.locator(".rf-explorer .rf-r2").get_attribute("data-r"))
        assert found**2 == pytest.approx(r2[k - 1], abs=1e-6)
    ghosts = poz.ghosts(given, few["labels"]).sum(axis=1)
    shown = page.locator(".rf-explorer .rf-side dl")
    assert f"of {ghosts[0]}" in shown.inner_text()
    assert f"{(rates == 1).sum()} dead" in page.locator(".rf-try .rf-lines").first.inner_text()


@pytest.mark.browser
def test_embeddings_at_the_edge(page, tmp_path):
    """What has no similarity is not defined in the page either."""
    edges = {"zeros": np.zeros((5, 4)), "single": E[:, :1], "three": E[:3], "alike": np.ones((4, 6))}
    for name, given in edges.items():
        np.save(tmp_path / f"{name}.npy", given)
        assert "measured in" in give(page, embedding=tmp_path / f"{name}.npy"), name
        table = saved(page, "curves (CSV)")
        for order, indices in orders_of(poz.poz(given)).items():
            for metric in METRICS:
                own = table[(table.order == order) & (table.metric == metric)]
                expected = curves.geometry_curve(given, indices, metric=metric)
                np.testing.assert_allclose(own.r2, expected.r2, rtol=0, atol=1e-6, err_msg=name)
                np.testing.assert_array_equal(own.n_images, expected.n_images)


# --- bad files -----------------------------------------------------------------------------------

NAN = E.copy()
NAN[2, 1], NAN[4, 0] = np.nan, np.inf
BAD = {
    "lie.npy": npy(E).replace(b"(40, 30)", b"(99, 99)"),
    "object.npy": npy(np.array([[1, "a"], [None, 2]], dtype=object), allow_pickle=True),
    "header.npy": npy(E)[:40],
    "short.npy": npy(E)[:8],
    "garbage.npy": npy(E)[:10] + b"!" * 118 + npy(E)[128:],
    "version.npy": b"\x93NUMPY\x09\x00" + npy(E)[8:],
    "type.npy": npy(E).replace(b"'<f4'", b"'<q8'"),
    "minus.npy": npy(E).replace(b"(40, 30)", b"(-40,30)"),
    "negative.npy": npy(E - np.float32(0.37)),
    "a few.npy": npy(E - np.float32(1e-5)),
    "nan.npy": npy(NAN),
    "nan-fortran.npy": npy(np.asfortranarray(NAN)),
    "one nan.npy": npy(np.where(np.arange(1200).reshape(40, 30) == 3, np.nan, E)),
    "one.npy": npy(E[:1]),
    "two.npy": npy(E[:2]),
    "none.npy": npy(E[:0]),
    "no feature.npy": npy(E[:, :0]),
    "flat.npy": npy(E[0]),
    "number.npy": npy(np.float64(3)),
    "three.npy": npy(E[None]),
    "positions.npy": npy(E.reshape(1, 40, 30, 1)),
    "words.npy": npy(np.array([["a", "bc"]])),
    "complex.npy": npy(E + 1j),
    "dates.npy": npy(np.zeros((4, 4), "M8[D]")),
    "letters.npy": npy(np.array([[b"a", b"bc"]])),
    "records.npy": npy(np.zeros((3, 3), dtype=[("a", "<f4"), ("b", "<i4")])),
    "void.npy": npy(np.zeros((3, 3), "V4")),
    "several.npz": npz(a=E, b=E[:3]),
    "words.npz": npz(a=np.array(["x", "y"])),
    "cut.npz": npz(a=E)[:-30],
    "flipped.npz": npz(compressed=False, a=E).replace(E[3:4].tobytes(), E[4:5].tobytes()),
    "objects.npz": npz(a=np.array([[1, "a"]], dtype=object)),
    "lie.npz": archive(a_npy=npy(E).replace(b"(40, 30)", b"(99, 99)")),
    "negative.npz": npz(a=E - 1),
    "features.pkl": pickle.dumps(E),
    "it's.pkl": pickle.dumps(E),
    "features.parquet": b"PAR1aaaa",
    "features.rds": b"abc",
    "features.csv.gz": b"\x1f\x8bxxxx",
    "features.bin": b"\0\1\2\3" * 10,
    "features.zip": archive(a_txt="hi"),
    "features.xlsx": archive(xl__a_txt="hi"),
    "features.xls": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\1" * 8,
    "features.safetensors": struct.pack("<Q", 20) + b'{"a":1}            ',
    "octave.txt": b"# Created by Octave 8\n1 2\n",
    "letter.txt": b"Dear reader,\nthis is a letter.\nIt holds no numbers.\n",
    "empty.csv": b"",
    "blank.csv": b"\n\n",
    "head.csv": b"a,b,c\n",
    "ragged.csv": b"1,2,3\n4,5\n6,7,8\n",
    "cell.csv": b"1,2,3\n4,x,6\n7,8,9\n",
    "both.csv": b"1,5;2.5;3\n1;2;3\n",
    "gap.csv": b"1,2.5,3\n4,,6\n7,8,9\n",
    "negative.csv": b"1,-2\n3,4\n5,6\n",
    "infinite.csv": b"1,inf\n3,4\n5,6\n",
    "encoding.csv": b"1,2\n\xff\xfe\xfd\x80,3\n",
    "zero.csv": b"1,2\n3,4\0\n5,6\n",
    "names.csv": b"a\nb\nc\n",
    "wide.csv": b"\xff\xfe1\0,\0\x00\xd8",
    "quote.csv": b'"1,2\n3,4\n5,6',
    "one line.csv": b"1,2,3\n",
}
SQUARE = rdm.square(rdm.rdm(E[:6]))
SYMMETRIC = "\n".join(",".join(repr(float(v)) for v in row) for row in SQUARE)
WITH_NAMES = "," + ",".join("abcdef") + "\n" + "\n".join(
    f"{name},{line}" for name, line in zip("abcdef", SYMMETRIC.splitlines(), strict=True)
)  # fmt: skip
BAD_PEOPLE = {
    "other.npy": npy(SQUARE[:5, :5]),
    "crooked.npy": npy(SQUARE + np.triu(np.ones((6, 6)))),
    "oblong.npy": npy(SQUARE[:5]),
    "oblong.csv": "\n".join(SYMMETRIC.splitlines()[:5]).encode(),
    "infinite.npy": npy(np.where(SQUARE[0, 1] == SQUARE, np.inf, SQUARE)),
    "empty.npy": npy(np.full((6, 6), np.nan)),
    "constant.npy": npy(1 - np.eye(6)),
    "similar.npy": npy(1 - SQUARE),
    "marked.npy": npy(np.where(SQUARE[0, 1] == SQUARE, -999, SQUARE)),
    "letter.csv": b"Dear reader,\nthis is no matrix\n",
    "cell.csv": SYMMETRIC.replace("0.0", "zero", 1).encode(),
    "names.csv": WITH_NAMES.encode(),
    "twice.csv": WITH_NAMES.replace("b", "a").encode(),
    "triangle.csv": "\n".join(
        ",".join(line.split(",")[: i + 1]) for i, line in enumerate(SYMMETRIC.splitlines())
    ).encode(),
}  # fmt: skip
BAD_LABELS = {
    "few.txt": b"a\nb\n",
    "gap.txt": b"a\nb\n\nb\nc\nc\n",
    "long.txt": b"a\nb\n" + b"x" * 300 + b"\nb\nc\nc\n",
    "columns.csv": b"x,y,z\n" + b"1,2,3\n" * 6,
    "array.npy": npy(np.arange(6)),
    "names.csv": b"image,category\n" + b"".join(b"%d.png,a\n" % i for i in range(6)),
}


def in_python(path, people=None, kinds=None):
    """The sentence with which Python refuses files, by what its commands do."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = common.opened(path)
            if people is not None:
                common.judged(people, path, found, similarity=False, by_position=False, array=None)
            if kinds is not None:
                given = labels.read(kinds, found.values.shape[0])
                if given.names is not None:
                    options = {"n_images": len(found.values), "own_file": path, "other_file": kinds}
                    names.align(found.names, given.names, **options)
            rates = poz.poz(found.values)
            curves.geometry_curve(found.values, poz.order(rates), k=[len(rates)])
    except RarefireError as error:
        return str(error)
    return None


@pytest.mark.browser
def test_bad_files_get_the_sentences_of_python(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a page knows names of files, not paths
    differ = {}
    for name, content in BAD.items():
        (tmp_path / name).write_bytes(content)
        expected = in_python(tmp_path.joinpath(name).relative_to(tmp_path))
        assert expected is not None, name
        found = give(page, embedding=tmp_path / name)
        if found != " ".join(expected.split()):
            differ[name] = (found, expected)
        assert not page.locator(".rf-results").is_visible()
    assert differ == {}


@pytest.mark.browser
@pytest.mark.parametrize("role", ["people", "labels"])
def test_bad_rdms_and_labels_get_the_sentences_of_python(page, tmp_path, monkeypatch, role):
    monkeypatch.chdir(tmp_path)
    np.save("E.npy", E[:6])
    differ = {}
    for name, content in {"people": BAD_PEOPLE, "labels": BAD_LABELS}[role].items():
        (tmp_path / name).write_bytes(content)
        path = (tmp_path / name).relative_to(tmp_path)
        given = {"people": path} if role == "people" else {"kinds": path}
        expected = in_python((tmp_path / "E.npy").relative_to(tmp_path), **given)
        assert expected is not None, name
        found = give(page, embedding=tmp_path / "E.npy", **{role: tmp_path / name})
        if found != " ".join(expected.split()):
            differ[name] = (found, expected)
    assert differ == {}


@pytest.mark.browser
def test_what_only_python_reads_is_said(page, tmp_path):
    (tmp_path / "E.mat").write_bytes(b"MATLAB 5.0 MAT-file" + b"\0" * 200)
    said = give(page, embedding=tmp_path / "E.mat")
    assert said.startswith("E.mat is a MATLAB file: this page reads .npy, .npz and text, the Python package")
    assert "files.read('E.mat').values" in said


# --- names, people, several arrays ---------------------------------------------------------------


@pytest.mark.browser
def test_people_and_labels_are_matched_by_name(page, tmp_path, rng):
    human = rng.uniform(size=40 * 39 // 2)
    human[::7] = np.nan
    square, kinds = rdm.square(human), [f"kind {i % 4}" for i in range(40)]
    shuffled = rng.permutation(40)
    stems = [name.removesuffix(".png") for name in NAMED]
    theirs = pd.DataFrame(square, index=stems, columns=stems).iloc[shuffled, shuffled]
    theirs.to_csv(tmp_path / "people.csv")
    pd.DataFrame({"image": NAMED, "category": kinds}).iloc[shuffled[::-1]].to_csv(
        tmp_path / "kinds.csv", index=False
    )
    (tmp_path / "E.csv").write_text(CSV)
    files = {"embedding": "E.csv", "people": "people.csv", "labels": "kinds.csv"}
    give(page, **{role: tmp_path / name for role, name in files.items()})
    said = notes(page)
    assert "The RDM: aligned by name, whatever the extension." in said
    assert "Labels: aligned by name (image is 'image', category is 'category')." in said
    table = saved(page, "curves (CSV)")
    check_curves(table, E, human=human)
    # The explorer starts with all features; with people, its r is that of the whole embedding.
    page.locator(".rf-explorer").get_by_role("radio", name="people").check()
    page.evaluate("new Promise(requestAnimationFrame)")
    r = float(page.locator(".rf-explorer .rf-r2").get_attribute("data-r"))
    assert r == pytest.approx(curves.rdm_curve(E, human, np.arange(30), k=[30]).r[0], abs=1e-5)
    assert page.locator(".rf-explorer .rf-edge").inner_text().split("\n") == sorted(set(kinds))


@pytest.mark.browser
def test_one_of_several_arrays_is_chosen(page, tmp_path):
    (tmp_path / "two.npz").write_bytes(npz(first=E[:5], second=E))
    said = give(page, embedding=tmp_path / "two.npz")
    assert "two.npz holds several arrays: first 5 × 30, second 40 × 30." in said
    page.get_by_role("combobox", name="Array of the embedding").select_option("second")
    page.locator(".rf-try[aria-busy=false]").wait_for()
    assert "two.npz: 'second', 40 × 30 (NumPy)." in notes(page)
    check_curves(saved(page, "curves (CSV)"), E)


# --- large files ---------------------------------------------------------------------------------


@pytest.mark.browser
def test_a_gigabyte_is_read_in_slices(page, tmp_path):
    """Most of it is a hole in the file: only what is written takes place on the disk."""
    n, p = 2**20, 256
    path, rng = tmp_path / "large.npy", np.random.default_rng(5)
    some = np.maximum(rng.normal(size=(500, p)) - 0.5, 0).astype("f4")
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (n, p)})
        start = file.tell()
        file.write(some.tobytes())
        file.truncate(start + 4 * n * p)
    said = give(page, embedding=path)
    assert said.startswith("large.npy: 1,048,576 images × 256 features, measured in"), said
    expected = 1 - np.count_nonzero(some, axis=0) / n
    np.testing.assert_allclose(saved(page, "PoZ (CSV)").poz, expected, rtol=0, atol=1e-12)
    assert "drawn with seed 0" in notes(page)


@pytest.mark.browser
def test_images_are_drawn_as_numpy_draws_them(page, tmp_path):
    """Curves are those of the rows that the page says; PoZ is over all of them."""
    given = features(2, 900, 120)
    np.save(tmp_path / "many.npy", given)
    give(page, embedding=tmp_path / "many.npy")
    work = 2**27
    kept = int(np.sqrt(work / (120 + 10 * 100)))
    assert kept < 900
    assert f"curves of {kept} images, drawn with seed 0, at every per cent of the features" in notes(page)
    rows = np.sort(np.random.default_rng(0).permutation(900)[:kept])
    table, rates = saved(page, "curves (CSV)"), poz.poz(given)
    for order, indices in orders_of(rates).items():
        for metric in METRICS:
            own = table[(table.order == order) & (table.metric == metric)]
            assert own.k.tolist() == [curves.count(i / 100, 120) for i in range(1, 101)]
            expected = curves.geometry_curve(given[rows], indices, metric=metric, k=own.k.tolist())
            np.testing.assert_allclose(own.r2, expected.r2, rtol=0, atol=1e-6)


@pytest.mark.browser
def test_blocks_of_rows_are_named_as_python_names_them(page, tmp_path, monkeypatch):
    """Python looks at four million numbers at once."""
    monkeypatch.chdir(tmp_path)
    given = np.zeros((5000, 1000), dtype="u1").astype("f2")
    given[4500, 3] = np.nan
    for name, array in {"late.npy": given, "late-fortran.npy": np.asfortranarray(given)}.items():
        np.save(name, array)
        expected = in_python((tmp_path / name).relative_to(tmp_path))
        assert "(rows 4194 to 4999)" in expected
        assert give(page, embedding=tmp_path / name) == expected


@pytest.mark.browser
def test_it_can_be_stopped(page, tmp_path):
    path = tmp_path / "endless.npy"
    with path.open("wb") as file:
        shape = {"descr": "<f4", "fortran_order": False, "shape": (2**24, 256)}
        np.lib.format.write_array_header_1_0(file, shape)
        file.truncate(file.tell() + 4 * 2**32)
    give(page, embedding=path, wait=False)
    page.wait_for_function("document.querySelector('.rf-progress progress').value > 0")
    page.get_by_role("button", name="Stop").click()
    assert page.locator(".rf-status").inner_text() == "Stopped. Nothing was kept."
    assert not page.locator("progress").is_visible()
    page.get_by_role("button", name="The example").click()
    page.locator(".rf-try[aria-busy=false]").wait_for()
    assert page.locator(".rf-status").inner_text().startswith("example.npy: 30 images × 24 features")


# --- saved ---------------------------------------------------------------------------------------


@pytest.mark.browser
def test_the_explorer_is_saved_as_one_page(page, tab, tmp_path):
    np.save(tmp_path / "<b>mine.npy", E)
    give(page, embedding=tmp_path / "<b>mine.npy")
    with page.expect_download() as found:
        page.get_by_role("link", name="the explorer").click()
    assert found.value.suggested_filename.endswith("mine.html")
    found.value.save_as(tmp_path / "mine.html")
    tab.context.set_offline(True)
    tab.goto((tmp_path / "mine.html").as_uri())
    tab.locator("[data-ready]").wait_for()
    assert tab.locator("figcaption").inner_text() == "<b>mine.npy: 40 images. PoZ counted over all 40 images."
    r2 = curves.geometry_curve(E, poz.order(poz.poz(E), first="high"), metric="cosine").r2
    tab.get_by_role("radio", name="high→low PoZ").check()
    tab.get_by_role("radio", name="cosine").check()
    for k in (12, 20, 30):
        tab.locator("input[type=range]").fill(str(k))
        tab.evaluate("new Promise(requestAnimationFrame)")
        shown = float(tab.locator(".rf-r2").get_attribute("data-r"))
        assert shown**2 == pytest.approx(r2[k - 1], abs=1e-6)


FOCUSED = """(() => {
    const found = document.activeElement;
    return found.closest("[data-role]")?.dataset.role ?? found.type;
})()"""


@pytest.mark.browser
def test_by_keyboard_and_by_dropping(page, tmp_path):
    """Every place for a file can be reached with the keyboard, and takes a file that is dropped on it."""
    page.get_by_role("button", name="The example").click()
    page.locator(".rf-try[aria-busy=false]").wait_for()
    page.locator("[data-role=embedding] input").focus()
    reached = []
    for _ in range(8):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate(
                "document.activeElement.closest('[data-role]')?.dataset.role ?? document.activeElement.type"
            )
        )
    assert {"people", "labels", "checkbox", "button"} <= set(reached)
    page.evaluate(
        """bytes => {
            const dataTransfer = new DataTransfer();
            dataTransfer.items.add(new File([new Uint8Array(bytes)], "dropped.npy"));
            const event = new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true });
            document.querySelector("[data-role=embedding] label").dispatchEvent(event);
        }""",
        list(npy(E)),
    )
    page.locator(".rf-try[aria-busy=false]").wait_for()
    assert page.locator(".rf-status").inner_text().startswith("dropped.npy: 40 images")
    assert (
        page.locator("[data-role=labels]").inner_text().startswith("Labels (optional)")
    )  # the example's are gone
    page.set_viewport_size({"width": 390, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.set_viewport_size({"width": 1280, "height": 900})
