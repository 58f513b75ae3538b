"""Text as people's programs write it: encodings, lines, tables, numbers."""

import itertools

import numpy as np
import pytest

from rarefire import texts
from rarefire.errors import DataError, InputError, RarefireWarning

TEXT = "image,Katze\r\ncafé,1\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_unicode_is_recognised_with_and_without_a_mark(encoding):
    assert texts.decode(TEXT.encode(encoding), "t.csv") == TEXT


def test_latin_1_is_read_and_said():
    with pytest.warns(RarefireWarning, match=r"t\.csv is no UTF-8; it is read as Latin-1, with 'café' in it"):
        assert texts.decode(TEXT.encode("latin-1"), "t.csv") == TEXT


@pytest.mark.parametrize(
    "content",
    [
        "кошка".encode("cp1251"),
        "猫です".encode("shift-jis"),
        "café".encode("mac-roman"),
        "a “cat”".encode("cp1252"),
        b"\xff\xfe\x00,\x01",
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
        bytes(range(256)),
        b"a\0b",
        b"\xef\xbb\xbf\xff",
    ],
)
def test_what_is_not_to_be_told_is_refused_with_advice(content):
    with pytest.raises(DataError, match=r"t\.csv cannot be read as a table: .* Save it as UTF-8"):
        texts.decode(content, "t.csv", kind="a table")


def test_lines_end_where_lines_end():
    assert texts.lines("a\nb\r\nc\rd\ve\u2028f\x85g\x1ch\n") == ["a", "b", "c", "d\ve\u2028f\x85g\x1ch"]
    assert texts.lines("a\n\nb\n \n\n") == ["a", "", "b"]
    assert texts.lines("") == []


@pytest.mark.parametrize(("delimiter", "decimal"), [*itertools.product(";\t ", ",."), (",", ".")])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_table_comes_back_whatever_separates_it(rng, delimiter, decimal, end):
    """Numbers of every form, with names above and before them."""
    values = [
        [f"{v:.{d}f}" for v, d in zip(row, (0, 2, 3, 6), strict=True)] for row in rng.normal(size=(5, 4))
    ]
    for corner, index in ((["name"], [f"img{i}" for i in range(5)]), ([], None)):
        rows = values if index is None else [[i, *row] for i, row in zip(index, values, strict=True)]
        rows = [[*corner, "a", "b", "c", "d"], *rows]
        written = [
            [c.replace(".", decimal) if c[-1].isdigit() and "." in c else c for c in row] for row in rows
        ]
        found = texts.table(end.join(delimiter.join(row) for row in written) + end, "t")
        assert (found.rows, found.delimiter) == (rows, delimiter)
        assert found.numbers == [1, 2, 3, 4, 5, 6]


def test_a_first_line_may_say_what_separates():
    for first in ("sep=;", '"sep=;"', "SEP=;"):
        found = texts.table(f"{first}\r\na;b\r\n1,5;2\r\n", "t")
        assert found.rows == [["a", "b"], ["1.5", "2"]]
        assert found.numbers == [2, 3]
    assert texts.table("sep=|\na|b\n", "t").rows == [["a", "b"]]


def test_quotes_hold_delimiters_and_line_breaks_together():
    found = texts.table('"a, b",2\n"c\nd",3\n\ne,4\n', "t")
    assert found.rows == [["a, b", "2"], ["c\nd", "3"], ["e", "4"]]
    assert found.numbers == [1, 2, 5]
    assert texts.table("a;1,0.25,2\nb;2,0.5,3\n", "t").rows == [["a;1", "0.25", "2"], ["b;2", "0.5", "3"]]


def test_tables_that_cannot_be_told():
    with pytest.raises(DataError, match=r"t has numbers with a comma \(1,5\) and with a point \(2\.5\)"):
        texts.table("a;b\n1,5;2.5\n", "t")
    with pytest.raises(DataError, match="t cannot be read as a table: field larger"):
        texts.table('"' + "a" * 200_000, "t")


@pytest.mark.parametrize("cell", ["", "NA", "n/a", "#N/A", "NaN", "NULL", "None", "-", "."])
def test_what_says_that_a_value_is_missing(cell):
    assert texts.is_missing(cell)
    assert texts.is_number(cell)


def test_what_is_a_number():
    for cell in ("1", "-1.5", "+.5", "3.", "1e-5", "2.5E+10", "inf", "-Infinity"):
        assert texts.is_number(cell)
        assert not texts.is_missing(cell)
        assert np.isreal(float(cell))
    for cell in ("1_000", "٣", "1,5", "0x1", "one", "1 2", "e5", "#REF!"):
        assert not texts.is_number(cell)


@pytest.mark.parametrize("mark", [-99.0, 999.0, -1.0])
def test_numbers_that_mean_none_are_asked_about(mark):
    values = np.array([0.2, 0.5, np.nan, mark, 0.9, mark])
    with pytest.raises(InputError) as refused:
        texts.check_marks(values, "r.csv")
    assert str(refused.value) == (
        f"2 numbers in r.csv are {mark:g}, the others lie between 0.2 and 0.9: if that means that there is "
        "none, leave these cells empty."
    )


def test_numbers_that_lie_among_others_are_numbers():
    texts.check_marks(np.array([1, 50, 99, 120.0]), "r.csv")
    texts.check_marks(np.array([-1, -0.5, 0.2, 1.0]), "r.csv")
    texts.check_marks(np.array([99.0, np.nan]), "r.csv")
    texts.check_marks(np.array([98, 60, 99.0]), "r.csv")
