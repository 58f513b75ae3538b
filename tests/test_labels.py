"""Categories of images, as people write them down."""

import numpy as np
import pytest

from rarefire import labels
from rarefire.errors import DataError, InputError

KINDS = ["cat", "cat", "dog", "dog", "été"]
FILES = [f"img{i}.png" for i in (2, 10, 1, 3, 4)]


@pytest.fixture
def read(tmp_path):
    def read(text, n=5):
        (tmp_path / "l.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
        return labels.read(tmp_path / "l.csv", n)

    return read


def table(*columns, header=None, separator=","):
    rows = [*([header] if header else []), *zip(*columns, strict=True)]
    return "".join(separator.join(row) + "\n" for row in rows)


def test_a_category_a_line(read):
    for text in ("\n".join(KINDS), "label\n" + "\n".join(KINDS), "\r\n".join(KINDS).encode("utf-16")):
        assert read(text) == (None, KINDS, "")
    commas = ["cat, tabby", "dog", "dog", "tench, Tinca tinca", "eel"]
    assert read("\n".join(commas)).categories == commas
    assert read("\n".join(["a, b"] * 5)).categories == ["a, b"] * 5


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_images_and_categories_in_either_order(read, separator):
    first = "image is column 1, category is column 2"
    assert read(table(FILES, KINDS, separator=separator)) == (FILES, KINDS, first)
    turned = "image is column 2, category is column 1"
    assert read(table(KINDS, FILES, separator=separator)) == (FILES, KINDS, turned)
    for header, said in (
        (("filename", "label"), "image is 'filename', category is 'label'"),
        (("Image", "Kind of thing"), "image is 'Image', category is 'Kind of thing'"),
    ):
        assert read(table(FILES, KINDS, header=header, separator=separator)) == (FILES, KINDS, said)


def test_other_columns_need_names_above_them(read):
    numbers = [str(i) for i in range(5)]
    found = read(table(numbers, FILES, KINDS, header=("id", "file name", "Category")))
    assert found == (FILES, KINDS, "image is 'file name', category is 'Category'; not used: 'id'")
    found = read(table(numbers, KINDS, KINDS, header=("rank", "x", "class")))
    assert found == (None, KINDS, "category is 'class'; not used: 'rank', 'x'")
    for text, named in (
        (table(numbers, FILES, KINDS), ""),
        (table(FILES, KINDS, KINDS, header=("image", "label", "class")), " ('image', 'label', 'class')"),
    ):
        with pytest.raises(InputError) as refused:
            read(text)
        assert str(refused.value) == (
            f"l.csv has 3 columns{named}, and it is not certain which hold the images and their categories: "
            "call them image and category in a first line."
        )


def test_what_is_refused(read, tmp_path):
    with pytest.raises(InputError, match=r"l\.csv has 3 lines; there are 5 images\."):
        read("a\nb\nc")
    with pytest.raises(InputError, match=r"l\.csv says no category of image 2: 'NA'\. Name one\."):
        read("a\nNA\nc\nd\ne")
    with pytest.raises(InputError, match="the category of image 1 has 201 characters; at most 200 are shown"):
        read("\n".join(["a" * 201, *"bcde"]))
    np.save(tmp_path / "l.npy", np.arange(5))
    with pytest.raises(
        InputError, match=r"l\.npy is no text: labels are a category a line, as numpy\.savetxt"
    ):
        labels.read(tmp_path / "l.npy", 5)
    with pytest.raises(DataError, match="there is no file"):
        labels.read(tmp_path / "none.txt", 5)
