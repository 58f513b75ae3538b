"""Judgments from a file: tables, matrices, their images, errors."""

import itertools
import shutil

import numpy as np
import pytest
from PIL import Image

from rarefire import ratings, rdm
from rarefire.errors import DataError, InputError, RarefireWarning


def picture(path, colour):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (6, 6), colour).save(path)


def reds(loaded):
    return np.round(loaded.images.images[:, 0, 0, 0] * 255).astype(int).tolist()


@pytest.fixture
def table(tmp_path):
    def write(text, name="ratings.csv"):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path / name

    return write


@pytest.fixture
def pictures(tmp_path):
    """cat1, cat2, cat10, dog: reds 1, 2, 10, 50."""
    for name, red in (("cat1.png", 1), ("cat2.png", 2), ("cat10.png", 10), ("dog.bmp", 50)):
        picture(tmp_path / "pictures" / name, (red, 0, 0))
    return tmp_path / "pictures"


LONG = "image1,image2,rating\ncat10,cat2,3\ncat2,cat10,5\ncat1,cat2,1\ndog,cat1,7\n"


def test_a_table_of_ratings(table):
    loaded = ratings.read(table(LONG))
    assert loaded.names == ("cat1", "cat2", "cat10", "dog")
    # cat1–cat2, cat1–cat10, cat1–dog, cat2–cat10 (mean of both directions), cat2–dog, cat10–dog
    np.testing.assert_array_equal(loaded.human, [1, np.nan, 7, 4, np.nan, np.nan])
    assert loaded.subjects is loaded.images is loaded.reliability is loaded.ceiling is None
    assert loaded.name == "ratings"


@pytest.mark.parametrize(
    "header",
    [
        "Image A;Image B;Score",
        "stimulus_1;stimulus_2;Dissimilarity",
        "first;second;distance",
    ],
)
def test_other_headers_and_separators(table, header):
    text = "\ufeff" + LONG.replace(",", ";").replace("image1;image2;rating", header)
    np.testing.assert_array_equal(ratings.read(table(text)).human[[0, 2, 3]], [1, 7, 4])
    tabs = ratings.read(table(text.replace(";", "\t"), "ratings.tsv"))
    np.testing.assert_array_equal(tabs.human[[0, 2, 3]], [1, 7, 4])


def test_similarities_are_turned_around(table):
    expected = np.array([6, np.nan, 0, 3, np.nan, np.nan])
    path = table(LONG)
    np.testing.assert_array_equal(ratings.read(path, similarity=True).human, expected)
    np.testing.assert_array_equal(ratings.read(path, similarity=True, scale=10).human, expected + 3)
    named = table(LONG.replace("rating", "similarity"), "named.csv")
    np.testing.assert_array_equal(ratings.read(named).human, expected)
    with pytest.raises(InputError, match="highest possible similarity; got 5, ratings.csv has 7"):
        ratings.read(path, similarity=True, scale=5)
    with pytest.raises(InputError, match="scale turns similarities around: pass similarity=True"):
        ratings.read(path, scale=5)
    with pytest.raises(InputError, match="scale is a finite number; got nan"):
        ratings.read(path, similarity=True, scale=float("nan"))
    with pytest.raises(InputError, match="similarity=True, but the ratings in .* are called 'distance'"):
        ratings.read(table(LONG.replace("rating", "distance")), similarity=True)


def test_a_table_with_subjects_equals_a_naive_reading(table, rng):
    names, people = ["a", "b", "c", "d", "e"], ["s1", "s2", "s10"]
    lines, given = [], {}
    for person in people:
        for a, b in itertools.combinations(names, 2):
            if (person, a, b) == ("s10", "a", "b"):
                continue
            for _ in range(1 + (person == "s2")):
                rating = round(rng.uniform(0, 10), 3)
                given.setdefault((person, a, b), []).append(rating)
                lines.append(f"{person},{b},{a},{rating},x")
    rng.shuffle(lines)
    loaded = ratings.read(table("participant ID,image1,image2,rating,note\n" + "\n".join(lines)))
    expected = np.array(
        [
            [np.mean(given.get((person, a, b), np.nan)) for a, b in itertools.combinations(names, 2)]
            for person in people
        ]
    )
    np.testing.assert_allclose(loaded.subjects, expected)
    z = (expected - np.nanmean(expected, axis=1, keepdims=True)) / np.nanstd(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(loaded.human, np.nanmean(z, axis=0))
    assert loaded.subject_ceiling.by_subject.shape == (3,)


def test_subjects_that_say_nothing_are_refused_by_name(table):
    head = "subject,image1,image2,rating\n"
    pairs = [("a", "b"), ("a", "c"), ("b", "c")]
    varied = "".join(f"ann,{a},{b},{i}\n" for i, (a, b) in enumerate(pairs))
    same = "".join(f"bob,{a},{b},4\n" for a, b in pairs)
    with pytest.raises(InputError, match="subject 'bob' has the same rating for every pair"):
        ratings.read(table(head + varied + same))
    with pytest.raises(InputError, match="subject 'eve' has fewer than three pairs"):
        ratings.read(table(head + varied + "eve,a,b,1\neve,a,c,2\n"))
    with pytest.raises(InputError, match="all ratings are of one subject, 'ann'; two are needed"):
        ratings.read(table(head + varied))


def test_an_image_with_itself_is_ignored_and_counted(table):
    with pytest.warns(RarefireWarning, match="2 ratings in ratings.csv are of an image with itself"):
        loaded = ratings.read(table(LONG + "dog,dog,9\ncat1,cat1,9\n"))
    assert np.nanmax(loaded.human) == 7


def test_missing_ratings_are_left_out(table):
    loaded = ratings.read(table(LONG + "cat2,dog,NA\ncat1,cat10,nan\n\ncat10,dog,\n"))
    assert np.isfinite(loaded.human).sum() == 3


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        (
            "who,left_image,right_image,mark\n" + "x,a,b,1\n" * 9,
            InputError,
            r"not understood: found 'who', 'left_image', .*; expected image1, image2, rating .*9 lines of 4",
        ),
        ("image1,rating\n" + "a,1\n" * 9, InputError, r"found 'image1', 'rating'; expected image1, image2"),
        (
            LONG.replace("rating", "rating,score") * 2,
            InputError,
            "several columns for the rating: 'rating' and",
        ),
        (
            LONG + "cat1,dog,much\n",
            DataError,
            r"ratings.csv, line 6: the rating 'much' is not a finite",
        ),
        (LONG + "cat1,,3\n", InputError, r"line 6: the second image is missing"),
        (LONG + "cat1,dog,inf\n", DataError, r"line 6: the rating 'inf' is not a finite number"),
        ("image1,image2,rating\n", InputError, "holds no rating of any pair"),
        ("image1,image2,rating\na,b,1\n", InputError, "at least three images are needed; got 2"),
        ("subject,image1,image2,rating\n,a,b,1\nx,a,c,1\n", InputError, "line 2: the subject is missing"),
        ("", DataError, "cannot be read as a matrix|its rows have no entries"),
        ("0,1\n1,0\n", InputError, "at least three images are needed; got 2"),
    ],
)
def test_tables_that_cannot_be_read(table, text, kind, message):
    with pytest.raises(kind, match=message):
        ratings.read(table(text))


def test_files_that_are_no_table(tmp_path, table):
    with pytest.raises(DataError, match="there is no file .*none.csv"):
        ratings.read(tmp_path / "none.csv")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00,\x01")
    with pytest.raises(DataError, match="binary.csv cannot be read as a table"):
        ratings.read(tmp_path / "binary.csv")
    with pytest.raises(InputError, match="size is for images; pass images="):
        ratings.read(table(LONG), size=3)


def test_a_table_with_its_images(table, pictures):
    loaded = ratings.read(table(LONG.replace("dog", "dog.bmp")), images=pictures)
    assert loaded.names == ("cat1", "cat2", "cat10", "dog.bmp")
    assert reds(loaded) == [1, 2, 10, 50]
    np.testing.assert_array_equal(loaded.human, [1, np.nan, 7, 4, np.nan, np.nan])
    assert loaded.images.class_names == ("pictures",)
    assert loaded.images.mean == (0.485, 0.456, 0.406)
    assert loaded.images.images.dtype == np.float32


def test_one_folder_for_each_category(table, pictures):
    for category in ("wild", "tame"):
        (pictures / category).mkdir()
    (pictures / "empty").mkdir()
    (pictures / "dog.bmp").rename(pictures / "wild" / "dog.bmp")
    with pytest.raises(InputError, match=r"holds images and folders with images \(wild\)"):
        ratings.read(table(LONG), images=pictures)
    for name in ("cat1", "cat2", "cat10"):
        (pictures / f"{name}.png").rename(pictures / "tame" / f"{name}.png")
    loaded = ratings.read(table(LONG.replace("dog", "wild/dog")), images=pictures)
    assert loaded.images.class_names == ("tame", "wild")
    assert loaded.images.labels.tolist() == [0, 0, 0, 1]
    assert reds(loaded) == [1, 2, 10, 50]
    shutil.copy(pictures / "wild" / "dog.bmp", pictures / "tame" / "dog.bmp")
    with pytest.raises(InputError, match=r"'dog' in ratings.csv can mean tame/dog.bmp and wild/dog.bmp"):
        ratings.read(table(LONG), images=pictures)


def test_names_without_an_image_are_listed(table, pictures):
    with pytest.raises(
        InputError,
        match=r"2 of 5 images named in ratings.csv are not in .*: 'dogs', 'emu'. There are 'cat1', ",
    ):
        ratings.read(table(LONG.replace("dog", "dogs") + "cat1,emu,3\n"), images=pictures)
    with pytest.raises(InputError, match=r"'cat1' and 'cat1.png' in ratings.csv both mean cat1.png"):
        ratings.read(table(LONG + "cat1.png,dog,3\n"), images=pictures)
    with pytest.raises(DataError, match="there is no folder .*none"):
        ratings.read(table(LONG), images=pictures / "none")
    (pictures / "hollow").mkdir()
    with pytest.raises(DataError, match="there are no images in .*hollow"):
        ratings.read(table(LONG), images=pictures / "hollow")


def test_images_that_nobody_judged_are_left_out(table, pictures):
    picture(pictures / "aardvark.png", (99, 0, 0))
    with pytest.warns(RarefireWarning, match="1 of 5 images in .* were not judged and are left out"):
        loaded = ratings.read(table(LONG), images=pictures)
    assert reds(loaded) == [1, 2, 10, 50]


def test_images_of_other_sizes_and_kinds(table, pictures):
    Image.new("L", (20, 10), 128).save(pictures / "cat2.png")
    with pytest.raises(InputError, match="differ in size .* Pass size="):
        ratings.read(table(LONG), images=pictures)
    loaded = ratings.read(table(LONG), images=pictures, size=5)
    assert loaded.images.images.shape == (4, 3, 5, 5)
    np.testing.assert_allclose(loaded.images.images[1], 128 / 255, atol=1e-6)
    (pictures / "cat2.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"cat2\.png cannot be read as an image"):
        ratings.read(table(LONG), images=pictures)


def test_scaling_keeps_the_whole_shorter_side(tmp_path, table):
    """People judged all of it: nothing is cropped but what makes it a square."""
    stripes = np.zeros((8, 12, 3), dtype=np.uint8)
    stripes[0], stripes[-1] = 200, 100
    for i in range(3):
        Image.fromarray(stripes).save(tmp_path / f"{i}.png")
    path = table("image1,image2,rating\n0,1,1\n0,2,2\n1,2,3\n")
    loaded = ratings.read(path, images=tmp_path, size=8).images.images[0, 0] * 255
    np.testing.assert_allclose(loaded[[0, -1]], [[200] * 8, [100] * 8], atol=1e-4)


MATRIX = np.array([[0, 1, 2, 3], [1, 0, 4, 5], [2, 4, 0, 6], [3, 5, 6, 0]], dtype=float)


def named_matrix(names, *, above=True, before=True, values=MATRIX):
    rows = [
        ([name] if before else []) + [f"{v:g}" for v in row] for name, row in zip(names, values, strict=True)
    ]
    if above:
        rows = [([""] if before else []) + list(names), *rows]
    return "\n".join(",".join(row) for row in rows)


def test_a_matrix_without_names_is_in_the_folders_order_if_one_says_so(tmp_path, pictures):
    np.save(tmp_path / "m.npy", MATRIX)
    with pytest.raises(InputError, match=r"m.npy is of 4 images without names, .* with --by-position"):
        ratings.read(tmp_path / "m.npy", images=pictures)
    loaded = ratings.read(tmp_path / "m.npy", images=pictures, by_position=True)
    assert loaded.names == ("cat1", "cat2", "cat10", "dog")
    assert reds(loaded) == [1, 2, 10, 50]
    np.testing.assert_array_equal(loaded.human, [1, 2, 3, 4, 5, 6])
    alone = ratings.read(tmp_path / "m.npy")
    assert alone.names == ("1", "2", "3", "4")
    np.testing.assert_array_equal(alone.human, rdm.read(tmp_path / "m.npy"))
    (pictures / "dog.bmp").unlink()
    with pytest.raises(InputError, match=r"m.npy is of 4 images, .*pictures holds 3"):
        ratings.read(tmp_path / "m.npy", images=pictures, by_position=True)


@pytest.mark.parametrize(("above", "before"), [(True, True), (True, False), (False, True)])
def test_a_matrix_with_names_is_put_into_the_folders_order(table, pictures, above, before):
    path = table(named_matrix(["dog", "cat10", "cat1", "cat2"], above=above, before=before))
    assert ratings.read(path).names == ("dog", "cat10", "cat1", "cat2")
    loaded = ratings.read(path, images=pictures)
    assert loaded.names == ("cat1", "cat2", "cat10", "dog")
    np.testing.assert_array_equal(loaded.human, [6, 4, 2, 5, 3, 1])
    assert reds(loaded) == [1, 2, 10, 50]


def test_a_matrix_whose_names_are_not_the_images(table, pictures):
    with pytest.raises(InputError, match=r"1 of 4 images named in .*: 'emu'"):
        ratings.read(table(named_matrix(["dog", "emu", "cat1", "cat2"])), images=pictures)
    with pytest.raises(InputError, match="two images called 'dog'"):
        ratings.read(table(named_matrix(["dog", "dog", "cat1", "cat2"])))
    # What pandas writes above and before the numbers are no names.
    counted = table(named_matrix([str(i) for i in range(4)]))
    with pytest.raises(InputError, match="of 4 images without names"):
        ratings.read(counted, images=pictures)
    assert ratings.read(counted, images=pictures, by_position=True).names == ("cat1", "cat2", "cat10", "dog")
    mixed = named_matrix(["dog", "cat10", "cat1", "cat2"]).splitlines()
    half = "\n".join([mixed[0], *(f"{i},{line.split(',', 1)[1]}" for i, line in enumerate(mixed[1:]))])
    np.testing.assert_array_equal(ratings.read(table(half), images=pictures).human, [6, 4, 2, 5, 3, 1])
    swapped = "\n".join([",cat10,dog,cat1,cat2", *mixed[1:]])
    with pytest.raises(InputError, match="number 1 is 'cat10' and 'dog'. Put both in one order"):
        ratings.read(table(swapped))
    with pytest.raises(DataError, match="2 names above 4 columns"):
        ratings.read(table("\n".join(["dog,cat10", *mixed[1:]])))


def test_a_matrix_of_similarities(table, tmp_path):
    similar = 7 - MATRIX
    path = table(named_matrix("abcd", values=similar))
    np.testing.assert_array_equal(ratings.read(path, similarity=True).human, [0, 1, 2, 3, 4, 5])
    np.testing.assert_array_equal(ratings.read(path, similarity=True, scale=7).human, [1, 2, 3, 4, 5, 6])
    with pytest.raises(InputError, match="these look like similarities"):
        ratings.read(path)
    with pytest.raises(InputError, match="not symmetric"):
        ratings.read(table("0,1,2\n3,0,4\n5,6,0\n"))


# --- choices among three images --------------------------------------------------------------------

ODD = """subject,image1,image2,image3,response,rt
p1,a,b,c,3,500
p1,a,b,d,3,501
p2,a,c,d,1,502
p2,b,c,d,1,503
p2,a,b,c,2,504
"""


def test_odd_one_out_trials_are_counted(table):
    loaded = ratings.read(table(ODD))
    # ab: together in 2 of 3 trials; ac: 1 of 3; ad: 0 of 2; bc: 0 of 3; bd: 0 of 2; cd: 2 of 2.
    np.testing.assert_allclose(loaded.human, [1 / 3, 2 / 3, 1, 1, 1, 0])
    assert loaded.subjects is None
    assert loaded.columns.kind == "odd-one-out"
    assert loaded.columns.taken["choice"] == "response"
    assert loaded.columns.unused == ("rt",)
    given = ratings.read_choices(table(ODD))
    assert repr(given) == "<ratings: 4 images, 5 odd-one-out trials, 2 subjects>"
    assert given.trials.tolist() == [[0, 1, 2], [0, 1, 3], [2, 3, 0], [2, 3, 1], [0, 2, 1]]
    assert given.subjects == ("p1", "p1", "p2", "p2", "p2")
    together, shown = given.counts()
    assert together.tolist() == [2, 1, 0, 0, 0, 2]
    assert shown.tolist() == [3, 3, 2, 3, 2, 2]


def answers(write):
    """The same trials with other answers, by what each says of the three images and the odd one's place."""
    head, *rows = [line.split(",") for line in ODD.strip().splitlines()]
    changed = [[*row[:4], write(row[1:4], int(row[4]) - 1), row[5]] for row in rows]
    return "\n".join(",".join(row) for row in [head, *changed])


@pytest.mark.parametrize(
    "write",
    [
        lambda names, place: names[place],
        lambda names, place: str(place),
        lambda names, place: f"{place + 1}.0",
        lambda names, place: ("Left", "Middle", "Right")[place],
        lambda names, place: ("first", "second", "third")[place],
        lambda names, place: f"image{place + 1}",
    ],
)
def test_an_answer_is_a_name_a_number_or_a_side(table, write):
    np.testing.assert_array_equal(ratings.read(table(answers(write))).human, ratings.read(table(ODD)).human)


def test_two_that_stayed_together_and_the_odd_one(table):
    rows = ["a,b,c", "a,b,d", "c,d,a", "c,d,b", "a,c,b"]
    loaded = ratings.read(table("\n".join(["image1,image2,odd", *rows])))
    np.testing.assert_array_equal(loaded.human, ratings.read(table(ODD)).human)


def test_triplets_are_counted(table):
    text = "anchor,left,right,choice\na,b,c,left\nb,c,a,right\nc,a,b,b\na,c,b,right\n"
    with pytest.raises(
        InputError, match=r"line 4: 'choice' is 'b', which is none of its 2 .*the others are \(sides\)"
    ):
        ratings.read(table(text))
    text = text.replace(",b\n", ",right\n")
    loaded = ratings.read(table(text))
    # Offered: ab 3 times, chosen each time; ac 3 times, never; bc twice, once.
    np.testing.assert_allclose(loaded.human, [0, 1, 1 / 2])
    assert ratings.read_choices(table(text)).trials.tolist() == [[0, 1, 2], [1, 0, 2], [2, 1, 0], [0, 1, 2]]
    stated = "anchor,positive,negative\na,b,c\nb,a,c\nc,b,a\na,b,c\n"
    np.testing.assert_array_equal(ratings.read(table(stated)).human, loaded.human)
    odd = text.replace("choice", "odd").replace("left\n", "LEFT\n").replace("right\n", "left\n")
    flipped = ratings.read(table(odd.replace("LEFT", "right")))
    np.testing.assert_array_equal(flipped.human, loaded.human)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            ODD.replace("p2,a,c,d,1", "p2,a,c,d,7"),
            r"line 4: 'response' is '7', which is none of its 3 images",
        ),
        (
            ODD.replace(",3,", ",2,"),
            r"'response' in ratings.csv can be read as numbers from 1 and as numbers from",
        ),
        (
            ODD.replace("p1,a,b,d,3,501\n", "").replace("p2,b,c,d,1,503\n", ""),
            r"1 of 6 pairs of images were never shown together in the 3 odd.*such as 'b' and 'd'",
        ),
        (ODD.replace("p1,a,b,c", "p1,a,a,c"), r"line 2: a trial is of three different images"),
        (ODD.replace("p1,a,b,c", "p1,a,,c"), r"line 2: the image2 is missing"),
        (ODD.split("\n")[0] + "\np1,a,b,c,,5\n", "ratings.csv holds no answer"),
        (
            "image1,image2,image3,response\n" + "a,b,c,2\nb,c,a,3\n" * 10,
            r"in none of 20 trials in ratings.csv is 'image1' chosen.* Then call it reference",
        ),
    ],
)
def test_choices_that_cannot_be_read(table, text, message):
    with pytest.raises(InputError, match=message):
        ratings.read(table(text))


def test_choices_are_no_ratings(table):
    with pytest.raises(
        InputError, match=r"similarity and scale are for ratings; ratings.csv holds odd-one-out"
    ):
        ratings.read(table(ODD), similarity=True)
    with pytest.raises(InputError, match="holds ratings of pairs, no choices among three images"):
        ratings.read_choices(table(LONG))
    with pytest.raises(InputError, match="holds a matrix, no choices"):
        ratings.read_choices(table("0,1,2\n1,0,3\n2,3,0\n"))
    missing = ratings.read_choices(table(ODD + "p3,a,b,c,NA,5\n"))
    assert len(missing) == 5


def test_choices_with_their_images(table, pictures):
    text = ODD.replace("a,", "cat10,").replace("b,", "cat2,").replace("c,", "cat1,").replace("d,", "dog,")
    given = ratings.read_choices(table(text), images=pictures)
    assert given.names == ("cat1", "cat2", "cat10", "dog")
    assert reds(given) == [1, 2, 10, 50]
    assert given.trials[0].tolist() == [2, 1, 0]


@pytest.mark.parametrize("name", ["sub", "Participant Private ID", "pid", "user", "PROLIFIC_PID"])
def test_people_under_other_names_keep_their_scales(table, name):
    """Two who use the scale differently: each is brought to one scale, not averaged as they are."""
    pairs = list(itertools.combinations("abcde", 2))
    rows = [
        f"{who},{a},{b},{scale * i + 1}"
        for who, scale in (("x", 10), ("y", 1))
        for i, (a, b) in enumerate(pairs)
    ]
    loaded = ratings.read(table("\n".join([f"{name},image1,image2,rating", *rows])))
    assert loaded.columns.taken["subject"] == name
    assert len(loaded.subjects) == 2
    assert loaded.reliability == pytest.approx(1)
    pooled = ratings.read(table("\n".join([f"{name},image1,image2,rating", *rows])), subject="none")
    assert pooled.subjects is None
    np.testing.assert_allclose(pooled.human, 5.5 * np.arange(10) + 1)


@pytest.mark.parametrize(
    ("column", "similarity", "high"),
    [("rating", False, "dissimilar"), ("rating", True, "similar"), ("similarity", False, "similar")],
)
def test_it_is_said_what_a_high_rating_means(tmp_path, column, similarity, high):
    path = tmp_path / "r.csv"
    path.write_text(f"image1,image2,{column}\na,b,1\na,NA,5\nb,NA,3\n")
    given = ratings.read(path, similarity=similarity)
    assert f"; high means {high}; no column of subjects" in str(given.columns)
    assert given.names == ("NA", "a", "b")  # an image may be called so
    np.testing.assert_array_equal(given.human, [0, 2, 4] if high == "similar" else [5, 3, 1])


def test_a_person_called_na_is_one(tmp_path):
    path = tmp_path / "r.csv"
    lines = [
        f"{who},{a},{b},{i}" for who in ("NA", "0506", "506") for i, (a, b) in enumerate(["ab", "ac", "bc"])
    ]
    path.write_text("participant,image1,image2,rating\n" + "\n".join(lines))
    assert len(ratings.read(path).subjects) == 3
