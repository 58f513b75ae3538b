"""Which column of a table is what."""

import itertools
from pathlib import Path

import pytest

from rarefire import columns
from rarefire.errors import InputError

PAIRS = list(itertools.combinations("abcd", 2))


def found(text, **named):
    header, *rows = [line.split(",") for line in text.strip().splitlines()]
    lines = [(number, row) for number, row in enumerate(rows, start=2)]
    return columns.find(header, lines, Path("r.csv"), **named)


def rated(head, *people, more=lambda s, i: ""):
    """Every person's rating of every pair, in that order of columns."""
    rows = [
        f"{who},{a},{b},{(i + s) % 7}{more(s, i)}"
        for s, who in enumerate(people)
        for i, (a, b) in enumerate(PAIRS)
    ]
    return "\n".join([head, *rows])


@pytest.mark.parametrize(
    "name",
    [
        *(
            "subject",
            "Subject ID",
            "subject_nr",
            "subj",
            "sub",
            "SUB_ID",
            "participant",
            "Participant Private ID",
        ),
        *(
            "Participant Public ID",
            "participantId",
            "ppt",
            "pid",
            "PROLIFIC_PID",
            "prolific_id",
            "user",
            "User Name",
        ),
        *(
            "worker_id",
            "WorkerId",
            "rater",
            "rater id",
            "annotator",
            "respondent",
            "observer",
            "vp",
            "VPN_nr",
        ),
        *("participation", "person", "uid"),
    ],
)
def test_the_usual_names_of_people(name):
    taken = found(rated(f"{name},image1,image2,rating", "p1", "p2")).taken
    assert taken == {"image1": "image1", "image2": "image2", "rating": "rating", "subject": name}


@pytest.mark.parametrize("name", ["trial", "RT", "Expert", "date", "Participant Age", "substance"])
def test_others_are_no_people(name):
    taken = found(rated(f"{name},image1,image2,rating", "p1"))
    assert "subject" not in taken.taken
    assert taken.unused == (name,)
    assert str(taken).endswith(f"rating is 'rating'; no column of subjects; not used: {name!r}")


@pytest.mark.parametrize(
    "name", ["rating", "Response", "Slider Response", "score", "judgment", "label", "answer"]
)
def test_the_usual_names_of_ratings(name):
    assert found(rated(f"sub,image1,image2,{name}", "p1", "p2")).taken["rating"] == name


@pytest.mark.parametrize(
    ("first", "second"),
    [
        *(("image1", "image2"), ("Image A", "Image B"), ("stim1_name", "stim2_name"), ("left", "right")),
        *(
            ("leftImage", "rightImage"),
            ("image_left", "image_right"),
            ("picture_0", "picture_1"),
            ("imgi", "imgj"),
        ),
        ("first", "second"),
    ],
)
def test_the_usual_names_of_images(first, second):
    taken = found(rated(f"sub,{first},{second},rating", "p1", "p2")).taken
    assert (taken["image1"], taken["image2"]) == (first, second)


def test_columns_that_are_named():
    text = rated("code,image1,image2,mark", "p1", "p2")
    taken = found(text, subject="CODE", rating="mark")
    assert taken.taken == {"image1": "image1", "image2": "image2", "rating": "mark", "subject": "code"}
    assert "subject" not in found(text, subject="none", rating="mark").taken
    with pytest.raises(
        InputError, match="subject names one column of r.csv; it has 0 called 'who', of 'code'"
    ):
        found(text, subject="who", rating="mark")


def test_repeats_that_a_column_would_tell_apart():
    told = "6 of 12 ratings in r.csv repeat a pair, and 'code', not used, would tell the repeats apart. Say"
    with pytest.raises(InputError, match=told):
        found(rated("code,image1,image2,rating", "p1", "p2"))
    twice = rated("code,image1,image2,rating", "p1", "p2")
    twice += "\n" + "\n".join(twice.splitlines()[1:])  # each person rated every pair twice
    with pytest.raises(InputError, match="'code', not used, would tell"):
        found(twice)
    with pytest.raises(
        InputError, match=r"repeat a pair, and 'condition', not used.* name the subject \('sub'"
    ):
        found(twice_under_conditions())
    assert found(twice_under_conditions(), subject="sub").unused == ("condition",)
    # What is the same for all repeats, or counts lines, says nothing.
    found(rated("note,image1,image2,rating", "x", "x"))
    found(rated("sub,image1,image2,rating,rt", "p1", "p2", more=lambda s, i: f",{500 + s}"))


def twice_under_conditions():
    rows = rated("sub,image1,image2,rating", "p1", "p2").splitlines()
    return "\n".join([f"{rows[0]},condition", *(f"{r},{c}" for c in ("one", "two") for r in rows[1:])])


def test_several_columns_for_one_role():
    text = rated("sub,image1,image2,rating,user", "p1", "p2", more=lambda s, i: f",u{s}")
    assert found(text).taken["subject"] == "sub"  # both tell the same people apart
    other = rated("sub,image1,image2,rating,user", "p1", "p2", more=lambda s, i: f",u{i % 2}")
    with pytest.raises(
        InputError, match=r"several columns for the subject: 'sub' and 'user'.*--subject COLUMN"
    ):
        found(other)
    assert found(other, subject="user").taken["subject"] == "user"
    with pytest.raises(
        InputError, match=r"several columns for the rating: 'rating' and 'score'.*--rating COLUMN"
    ):
        found(rated("sub,image1,image2,rating,score", "p1", "p2", more=lambda s, i: f",{i}"))
    ids = "\n".join(
        ["stim1_id,stim2_id,stim1_name,stim2_name,label"]
        + [f"{ord(a)},{ord(b)},{a},{b},{i}" for i, (a, b) in enumerate(PAIRS)]
    )
    assert found(ids).taken["image1"] == "stim1_name"


TRIALS = "\n".join(f"{a},{b},{c},2" for a, b, c in itertools.permutations("abcd", 3))


def test_a_third_column_of_images():
    assert found("image1,image2,image3,response\n" + TRIALS).kind == "odd-one-out"
    assert found("image_0,image_1,image_2,choice\n" + TRIALS).kind == "odd-one-out"
    assert found("left,center,right,odd_one_out\n" + TRIALS).kind == "odd-one-out"
    assert found("image1,image2,odd,rt\n" + TRIALS).kind == "odd-one-out"
    assert found("anchor,left,right,choice\n" + TRIALS).kind == "triplets"
    assert found("anchor,positive,negative,rt\n" + TRIALS).kind == "triplets"
    told = r"has a third column of images, 'image3', and none that says which was chosen"
    with pytest.raises(InputError, match=told):
        found("image1,image2,image3,rating\n" + TRIALS)
    with pytest.raises(InputError, match="'image4'.*odd-one-out trials of three"):
        found("image1,image2,image3,image4,response\n" + "\n".join(["a,b,c,d,1"] * 9))
    # Ratings of what goes with a category, which is no image, are ratings.
    assert (
        found("image1,image2,target,rating\n" + "\n".join(f"{a},{b},yes,2" for a, b in PAIRS)).kind
        == "ratings"
    )


def test_a_table_without_its_head_and_a_matrix():
    with pytest.raises(InputError, match=r"8 lines of 3 whole numbers, and no names.*image1,image2,odd for"):
        found("\n".join(f"{i},{i + 1},{i + 2}" for i in range(8)))
    assert found("0,1,2\n1,0,3\n2,3,0") is None
    assert found("image1,image2,image3\n0,1,2\n1,0,3\n2,3,0") is None


def test_other_peoples_words():
    read = found("workerId,stim_left,stim_right,resp\n" + "\n".join(f"w,{a},{b},2" for a, b in PAIRS)).taken
    assert read == {"image1": "stim_left", "image2": "stim_right", "rating": "resp", "subject": "workerId"}
    for scale in ("Similarity (0-100)", "Rating [1-7]", "dissimilarity 1..9"):
        read = found(f"Image 1,Image 2,{scale}\n" + "\n".join(f"{a},{b},2" for a, b in PAIRS)).taken
        assert read["rating"] == scale
    with pytest.raises(InputError, match="several columns for the rating: 'rating1' and 'rating2'"):
        found("image1,image2,rating1,rating2\n" + "\n".join(f"{a},{b},2,3" for a, b in PAIRS))


def test_annotations_of_meadows():
    """Where `label` is the answer, and `resp` the time at which it was given."""
    head = "task,participation,trial,stim1_id,stim2_id,stim1_name,stim2_name,start,resp,label\n"
    rows = [f"rate,brave-fox,{t},{ord(a)},{ord(b)},{a},{b},{t},{t},{t % 7}" for t, (a, b) in enumerate(PAIRS)]
    read = found(head + "\n".join(rows))
    assert read.taken == {
        "image1": "stim1_name",
        "image2": "stim2_name",
        "rating": "label",
        "subject": "participation",
    }
    assert read.unused == ("task", "trial", "stim1_id", "stim2_id", "start", "resp")
