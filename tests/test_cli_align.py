"""Files of one's own, read as they were meant: which row is which image, and what a text says."""

import os
import re
import unicodedata
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from rarefire import cli, curves, networks, poz, ratings, rdm
from rarefire.errors import InputError

N = 12
FILES = [f"img{i}.png" for i in range(1, N + 1)]


def run(*arguments):
    return CliRunner().invoke(cli.app, arguments)


def written(*arguments):
    """What a command that succeeds says."""
    done = run(*arguments)
    assert done.exit_code == 0, done.output
    return done.stdout


def refused(*arguments):
    """The one line by which a command refuses."""
    done = run(*arguments)
    assert done.exit_code == 1, done.output
    assert done.stdout == ""
    assert "RAREFIRE_DEBUG" not in done.stderr
    return done.stderr.splitlines()[-1]


@pytest.fixture
def made(tmp_path, monkeypatch, rng):
    """An embedding with names, and the RDM of its own geometry."""
    monkeypatch.chdir(tmp_path)
    embedding = np.maximum(rng.normal(size=(N, 40)), 0)
    np.save("E.npy", embedding)
    Path("E.names.txt").write_text("".join(f"{name}\n" for name in FILES))
    return embedding, rdm.square(rdm.rdm(embedding))


def table(matrix, names, *, sep=",", decimal=".", form=repr):
    rows = [
        [name, *(form(float(v)).replace(".", decimal) for v in row)]
        for name, row in zip(names, matrix, strict=True)
    ]
    return "\n".join(sep.join(row) for row in [["", *names], *rows]) + "\n"


def curve():
    return pd.read_csv("c.csv").r2.to_numpy()


# --- which row is which --------------------------------------------------------------------------


def test_a_folder_of_unpadded_names_agrees_with_itself(own_cache, tmp_path, monkeypatch):
    """From pictures to R²: people who see exactly what the network does, in any order and spelling."""
    monkeypatch.chdir(tmp_path)
    Path("images").mkdir()
    for i, name in enumerate(FILES):
        tile = np.random.default_rng(i).integers(0, 256, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(tile).resize((48, 48)).save(f"images/{name}")
    network = networks.build("squeezenet1_1", input_shape=(3, 48, 48))
    torch.save(network.state_dict(), "w.pth")
    arguments = ("--network", "squeezenet1_1", "--weights", "w.pth", "--layer", "features", "--pooled")
    said = written("embed", "images", *arguments, "--size", "48", "--out", "E.npy")
    assert "Written: E.npy, and names in E.names.txt" in said
    assert Path("E.names.txt").read_text().splitlines() == FILES
    matrix = rdm.square(rdm.rdm(np.load("E.npy")))
    for order in (sorted(range(N), key=lambda i: FILES[i]), np.random.default_rng(0).permutation(N)):
        Path("R.csv").write_text(table(matrix[np.ix_(order, order)], [FILES[i][:-4].upper() for i in order]))
        said = written("curve", "E.npy", "--human", "R.csv", "--out", "c.csv")
        assert "(images aligned by name, whatever the extension and capitals)" in said
        assert re.search(r"100 % \(512\) 1\.0000", said)
        assert curve()[-1] == pytest.approx(1, abs=1e-12)


def test_a_permuted_and_renamed_copy_gives_the_same(made, rng):
    _, human = made
    human = human + np.abs(rng.normal(size=human.shape))
    human = (human + human.T) / 2 * (1 - np.eye(N))
    Path("R.csv").write_text(table(human, FILES))
    written("curve", "E.npy", "--human", "R.csv", "--out", "c.csv")
    expected = curve()
    spellings = [str.upper, lambda n: n[:-4], lambda n: f"pictures/{n}", lambda n: f"{n[:-4]}.jpg"]
    for i in range(24):
        order, spell = rng.permutation(N), spellings[i % 4]
        separator, decimal = [(",", "."), (";", ","), ("\t", "."), ("\t", ",")][i // 6]
        names = [spell(FILES[j]) for j in order]
        text = table(human[np.ix_(order, order)], names, sep=separator, decimal=decimal)
        Path("R.csv").write_bytes(text.encode(["utf-8", "utf-8-sig", "utf-16"][i % 3]))
        assert "images aligned by name" in written("curve", "E.npy", "--human", "R.csv", "--out", "c.csv")
        np.testing.assert_allclose(curve(), expected, rtol=0, atol=1e-12)


def test_names_on_one_side_only_are_refused_unless_position_is_asked_for(made):
    _, human = made
    np.save("R.npy", human)
    Path("R.csv").write_text(table(human, FILES))
    for command in (("curve", "--out", "c.csv"), ("explore", "--out", "c.html")):
        said = refused(command[0], "E.npy", "--human", "R.npy", *command[1:])
        assert said == (
            "rarefire: E.npy has names (E.names.txt), R.npy has none: give it names, or match them row by "
            "row with --by-position (by_position=True)."
        )
        forced = written(command[0], "E.npy", "--human", "R.npy", "--by-position", *command[1:])
        assert "by position, as asked for" in forced
    Path("E.names.txt").rename("names.txt")
    assert "by position: neither has names" in written("curve", "E.npy", "--human", "R.npy", "--out", "c.csv")
    said = refused("curve", "E.npy", "--human", "R.csv", "--out", "c.csv")
    assert "R.csv names its images, E.npy does not: write their names into E.names.txt" in said
    assert "--by-position says how to read" in refused("curve", "E.npy", "--by-position", "--out", "c.csv")
    assert "--by-position says how to match" in refused(
        "explore", "E.npy", "--by-position", "--out", "c.html"
    )


def test_other_names_and_another_number_of_them_are_refused(made):
    _, human = made
    Path("R.csv").write_text(table(human, [*FILES[:-1], "café"]))
    said = refused("curve", "E.npy", "--human", "R.csv", "--out", "c.csv")
    assert (
        "R.csv lacks 1 of 12 ('img12.png') and E.npy lacks 1 of 12 ('café'). Give both the same names" in said
    )
    Path("E.names.txt").write_text("img1.png\n")
    said = refused("curve", "E.npy", "--human", "R.csv", "--out", "c.csv")
    assert (
        "E.names.txt names 1 images, E.npy is 12 × 40. Write it again with the array, or remove it." in said
    )
    assert not Path("c.csv").exists()


@pytest.mark.parametrize("name", ["a\nb.png", "a\rb.png", os.fsdecode(b"caf\xe9.png")])
def test_pictures_whose_names_no_line_holds_are_refused(own_cache, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    Path("images").mkdir()
    for file in ("x.png", name):
        Image.new("RGB", (48, 48), (9, 9, 9)).save(Path("images") / file)
    torch.save(networks.build("squeezenet1_1", input_shape=(3, 48, 48)).state_dict(), "w.pth")
    arguments = ("--network", "squeezenet1_1", "--weights", "w.pth", "--layer", "features", "--size", "48")
    assert "Rename it." in refused("embed", "images", *arguments, "--out", "E.npy")
    assert sorted(p.name for p in Path().iterdir() if not p.name.startswith("cache")) == ["images", "w.pth"]


# --- people --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("on_disk", "in_table"),
    [
        (unicodedata.normalize("NFD", "pâté.png"), "pâté"),
        ("cat.JPG", "cat.jpg"),
        ("Cat.png", "cat"),
        ("cat.png", "cat.bmp"),
    ],
)
def test_ratings_find_their_pictures_in_another_spelling(tmp_path, on_disk, in_table):
    (tmp_path / "images").mkdir()
    for i, name in enumerate([on_disk, "x.png", "y.png"]):
        Image.new("RGB", (6, 6), (10 * i + 10, 0, 0)).save(tmp_path / "images" / name, format="PNG")
    (tmp_path / "r.csv").write_text(f"image1,image2,rating\n{in_table},x,1\n{in_table},y,2\nx,y,3\n")
    found = ratings.read(tmp_path / "r.csv", images=tmp_path / "images")
    assert dict(zip(found.names, np.round(255 * found.images.images[:, 0, 0, 0]), strict=True)) == {
        in_table: 10, "x": 20, "y": 30,
    }  # fmt: skip
    Image.new("RGB", (6, 6)).save(tmp_path / "images" / "x.jpg")
    with pytest.raises(InputError, match=r"'x' in r\.csv can mean x\.(jpg|png) and x\.(jpg|png)"):
        ratings.read(tmp_path / "r.csv", images=tmp_path / "images")


def test_people_of_a_matrix_without_names_need_to_be_told(own_cache, made):
    Path("images").mkdir()
    for name in FILES:
        Image.new("RGB", (48, 48)).save(f"images/{name}")
    np.save("R.npy", made[1])
    torch.save(networks.build("squeezenet1_1", input_shape=(3, 48, 48)).state_dict(), "w.pth")
    arguments = ("--images", "images", "--network", "squeezenet1_1", "--weights", "w.pth", "--size", "48")
    said = refused("people", "R.npy", *arguments)
    assert "R.npy is of 12 images without names, images holds 12. Give the matrix names, or take" in said
    assert "--by-position are for a file of ratings" in refused("people", "mur", "--by-position")


# --- what a text says ----------------------------------------------------------------------------

MISSING = ["", "NA", "NULL", "None", ".", "#N/A", "nan", "-"]


@pytest.mark.parametrize("missing", MISSING)
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_missing_values_of_every_kind(made, missing, separator):
    embedding, human = made
    human[2, 5] = human[5, 2] = np.nan
    cells = [["" if np.isnan(v) else repr(float(v)) for v in row] for row in human]
    cells = [[cell or missing for cell in row] for row in cells]
    for i in range(N):
        cells[i][i] = missing
    Path("E.names.txt").unlink()
    Path("R.csv").write_text("\n".join(separator.join(row) for row in cells))
    written("curve", "E.npy", "--human", "R.csv", "--out", "c.csv")
    expected = curves.rdm_curve(embedding, human, poz.order(poz.poz(embedding))).r2
    np.testing.assert_allclose(curve(), expected, atol=1e-12)


@pytest.mark.parametrize("upper", [True, False])
def test_one_triangle_may_be_left_empty(made, upper):
    _, human = made
    Path("E.names.txt").unlink()
    given = np.triu(np.ones((N, N)), 0 if upper else 1).astype(bool) == upper
    rows = [
        ["" if not g else repr(float(v)) for v, g in zip(*pair, strict=True)]
        for pair in zip(human, given, strict=True)
    ]
    Path("R.csv").write_text("\n".join(",".join(row) for row in rows))
    written("curve", "E.npy", "--human", "R.csv", "--out", "c.csv")
    np.testing.assert_allclose(curve()[-1], 1, atol=1e-12)


def test_excel_s_line_that_says_what_separates(made):
    Path("R.csv").write_text("sep=;\r\n" + table(made[1], FILES, sep=";", decimal=",").replace("\n", "\r\n"))
    written("curve", "E.npy", "--human", "R.csv", "--out", "c.csv")
    assert curve()[-1] == pytest.approx(1, abs=1e-12)


def test_latin_1_is_read_and_said_and_what_is_not_to_be_told_is_refused(made):
    names = ["café", *FILES[1:]]
    Path("E.names.txt").write_text("\n".join(names), encoding="utf-8")
    Path("R.csv").write_bytes(table(made[1], names).encode("latin-1"))
    with pytest.warns(UserWarning, match="read as Latin-1, with 'café' in it"):
        written("curve", "E.npy", "--human", "R.csv", "--out", "c.csv")
    assert curve()[-1] == pytest.approx(1, abs=1e-12)
    Path("R.csv").write_bytes(table(made[1], names).encode("mac-roman"))
    said = refused("curve", "E.npy", "--human", "R.csv", "--out", "c.csv")
    assert "its encoding is not to be told. Save it as UTF-8" in said


def test_an_embedding_that_lies_on_its_side_is_refused(made):
    np.save("side.npy", made[0].T)
    np.save("R.npy", made[1])
    assert refused("curve", "side.npy", "--human", "R.npy", "--out", "c.csv") == (
        "rarefire: side.npy has 40 rows and 12 columns, the RDM 12 images: rows are images. Save it turned "
        "(E.T)."
    )


# --- labels --------------------------------------------------------------------------------------


def categories_of(monkeypatch, *arguments):
    """The category of each image as the explorer gets it; and what is said."""
    from rarefire.page import explorer

    seen = []

    class Watched(explorer.Scene):
        def __init__(self, *given, **options):
            seen.append([options["names"][code] for code in options["labels"]])
            super().__init__(*given, **options)

    with monkeypatch.context() as patched:
        patched.setattr(explorer, "Scene", Watched)
        said = written("explore", "E.npy", *arguments, "--out", "p.html")
    return seen[0], said


LABELS = ["cat"] * 5 + ["dog"] * 7


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_labels_in_every_encoding(made, monkeypatch, encoding, end):
    Path("l.txt").write_bytes((end.join(LABELS) + 2 * end).encode(encoding))
    found, said = categories_of(monkeypatch, "--labels", "l.txt")
    assert found == LABELS
    assert "Labels: by position, a line for each image of E.npy." in said


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_labels_with_names_are_aligned(made, monkeypatch, rng, header, separator):
    order = rng.permutation(N)
    rows = [("image", "category")] * header + [(FILES[i][:-4], LABELS[i]) for i in order]
    Path("l.csv").write_text("\n".join(separator.join(row) for row in rows))
    found, said = categories_of(monkeypatch, "--labels", "l.csv")
    assert found == LABELS
    assert "Labels: aligned by name, whatever the extension (" in said
    found, said = categories_of(monkeypatch, "--labels", "l.csv", "--by-position")
    assert found == [LABELS[i] for i in order]
    assert "Labels: by position, as asked for (" in said
    Path("l.csv").write_text(Path("l.csv").read_text().replace("img12", "img13"))
    assert "l.csv lacks 1 of 12 ('img12.png')" in refused(
        "explore", "E.npy", "--labels", "l.csv", "--out", "p.html"
    )


def test_labels_are_lines_and_nothing_else(made, monkeypatch):
    """Neither vertical tabs nor U+2028 end one; spaces around it are none of it; accents have one form."""
    odd = ["a\vb", "a\u2028b", "c, d", " e ", "e", unicodedata.normalize("NFD", "é"), "é", *"fghij"]
    Path("l.txt").write_text("\n".join(odd) + "\n", encoding="utf-8")
    found, _ = categories_of(monkeypatch, "--labels", "l.txt")
    assert found == ["a\vb", "a\u2028b", "c, d", "e", "e", "é", "é", *"fghij"]


def test_labels_that_cannot_be_shown(made):
    for third, message in [
        ("", "l.txt says no category of image 3: ''. Name one."),
        ("NULL", "l.txt says no category of image 3: 'NULL'. Name one."),
        ("x" * 201, "the category of image 3 has 201 characters; at most 200 are shown. Shorten it."),
        ("a\nb", "l.txt has 13 lines; there are 12 images."),
    ]:
        Path("l.txt").write_text("\n".join(["a", "b", third, *"cdefghijk"]))
        assert message in refused("explore", "E.npy", "--labels", "l.txt", "--out", "p.html")
    assert not Path("p.html").exists()


def test_many_labels_make_no_large_page(tmp_path, monkeypatch, rng):
    """Only what is drawn is written: ten megabytes of labels leave the page as it was."""
    monkeypatch.chdir(tmp_path)
    n = 50_000
    np.save("E.npy", np.maximum(rng.normal(size=(n, 4)), 0).astype(np.float32))
    Path("short.txt").write_text("a\nb\n" * (n // 2))
    Path("long.txt").write_text("".join(f"{i:0200d}\n" for i in range(n)))
    assert Path("long.txt").stat().st_size > 10_000_000
    for name in ("short", "long"):
        written("explore", "E.npy", "--labels", f"{name}.txt", "--images", "20", "--out", f"{name}.html")
    assert Path("long.html").stat().st_size < Path("short.html").stat().st_size + 20_000


# --- a category's images -------------------------------------------------------------------------


def test_ghosts_of_images_by_name(made):
    embedding, _ = made
    embedding[[1, 9], :6] = 0
    np.save("E.npy", embedding)
    tables = []
    for text, options, how in [
        ("9\n1\n", ("--by-position",), "by position"),
        ("img10\nimg2.png\n", (), "aligned by name"),
        ("\ufeffIMG10.PNG\r\nimages/img2.jpg", (), "aligned by name"),
        ("1\n9\n", (), "by position"),
    ]:
        Path("rows.txt").write_text(text, encoding="utf-8")
        arguments = ("--category", "rows.txt", "--out", "g.csv", "--read", "r.csv")
        assert f"The category's images: {how}." in written("ghosts", "E.npy", *arguments, *options)
        tables.append((pd.read_csv("g.csv"), pd.read_csv("r.csv")))
    for found, read in tables[1:]:
        pd.testing.assert_frame_equal(found, tables[0][0])
        pd.testing.assert_frame_equal(read, tables[1][1])
    assert set(tables[0][0].feature) >= set(range(6))
    read = tables[1][1]
    assert read.name.tolist() == [FILES[i] for i in read.image]


def test_what_names_no_image_or_could_name_two(made):
    for text, message in [
        ("img1\nimg99\n", "rows.txt: 'img99' is none of the images beside the embedding."),
        ("img1\nimg1.png\n", "rows.txt: image 0 is named twice."),
        ("1\n99\n", "rows.txt names image 99; there are 12, numbered from 0."),
    ]:
        Path("rows.txt").write_text(text)
        assert message in refused("ghosts", "E.npy", "--category", "rows.txt", "--out", "g.csv")
    Path("E.names.txt").write_text("".join(f"{i}.png\n" for i in range(1, N + 1)))
    Path("rows.txt").write_text("1\n2\n")
    said = refused("ghosts", "E.npy", "--category", "rows.txt", "--out", "g.csv")
    assert (
        "the numbers in rows.txt can be rows or names of images: write whole names, or say --by-position"
        in said
    )
    Path("rows.txt").write_text("1.png\n2.png\n")
    assert "aligned by name" in written("ghosts", "E.npy", "--category", "rows.txt", "--out", "g.csv")


# --- what a curve says ---------------------------------------------------------------------------


def test_a_curve_says_a_fifth_half_and_four_fifths(made):
    embedding, human = made
    Path("R.csv").write_text(table(human, FILES))
    found = curves.geometry_curve(embedding, poz.order(poz.poz(embedding))).r2
    parts = [f"{share} % ({k}) {found[k - 1]:.4f}" for share, k in ((20, 8), (50, 20), (80, 32))]
    said = written("curve", "E.npy", "--out", "c.csv")
    assert f"R² of the features with the lowest PoZ: {', '.join(parts)}.\n" in said
    assert "1.0000" not in said  # what is 1 by its definition says nothing
    said = written("curve", "E.npy", "--human", "R.csv", "--out", "c.csv")
    assert f"{', '.join(parts)}, 100 % (40) 1.0000.\n" in said
    said = written("curve", "E.npy", "--order", "high", "--k", "20%, 50 %,12.5%,40", "--out", "c.csv")
    some = r"\S+( for \d+ images)?"  # for which a few features are not all equal
    assert re.search(rf"highest PoZ: 12.5 % \(5\) {some}, 20 % \(8\) {some}, 50 % \(20\) {some}, 100 %", said)
    assert pd.read_csv("c.csv").k.tolist() == [5, 8, 20, 40]


def test_a_curve_says_why_it_is_undefined(tmp_path, monkeypatch, rng):
    monkeypatch.chdir(tmp_path)
    embedding = np.maximum(rng.normal(size=(N, 10)), 0) + 0.1
    embedding[:, 6:] = 0
    embedding[:2, 6:8] = 1
    np.save("E.npy", embedding)
    said = written("curve", "E.npy", "--k", "1", "--out", "c.csv")
    assert "10 % (1) undefined." in said
    assert "R² is undefined (empty) at 1 of 1 k: at k = 1 one feature alone has no correlation." in said
    assert "nan" not in said
    said = written(
        "curve", "E.npy", "--order", "high", "--metric", "cosine", "--k", "1,2,3,4", "--out", "c.csv"
    )
    assert (
        "at k = 1–4 fewer than three images have a similarity (for the others these features are all 0)."
        in said
    )


@pytest.mark.parametrize("k", ["0%", "101%", "5%%", "%", "", "1.5", "1e1", "٣"])
def test_shares_that_are_none(made, k):
    assert "--k " in refused("curve", "E.npy", "--k", k, "--out", "c.csv")
    assert not Path("c.csv").exists()


# --- anything ------------------------------------------------------------------------------------

PIECES = [
    b"0",
    b"1",
    b"1,5",
    b"2.5",
    b"-",
    b"NA",
    b",",
    b";",
    b"\t",
    b" ",
    b"\n",
    b"\r\n",
    b"\r",
    b'"',
    b"img1",
]
PIECES += [
    "é".encode(),
    "é".encode("latin-1"),
    b"\0",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"sep=;\n",
    b"inf",
    b"1e999",
]


@pytest.mark.filterwarnings("ignore::rarefire.errors.RarefireWarning")
def test_readers_take_anything_or_refuse_it_in_a_line(made, rng):
    """Neither an RDM nor labels, a category or ratings ever make a traceback."""
    whole = table(made[1], FILES).encode()
    for i in range(60):
        if i % 3:
            content = b"".join(PIECES[j] for j in rng.integers(0, len(PIECES), rng.integers(0, 60)))
        else:
            start, length = rng.integers(0, len(whole)), rng.integers(0, 40)
            piece = PIECES[rng.integers(0, len(PIECES))]
            content = whole[:start] + piece + whole[start + length :]
        Path("X").write_bytes(content)
        for command in (
            ("curve", "E.npy", "--human", "X", "--k", "40", "--out", "c.csv"),
            ("ghosts", "E.npy", "--category", "X", "--out", "g.csv"),
            ("people", "X"),
            *([("explore", "E.npy", "--labels", "X", "--out", "p.html")] if i % 10 == 0 else []),
        ):
            done = run(*command)
            assert done.exit_code in (0, 1), (command, content)
            assert "RAREFIRE_DEBUG" not in done.output, (command, content, done.output)
