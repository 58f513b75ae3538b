"""Two books are the same, or the number that moved is named."""

import copy
import json

import pandas as pd
import pytest
from same_book import differences, main

from rarefire.page import frame, plots


@pytest.fixture
def page():
    panel, axes = plots.panel()
    axes.plot([1, 2], [0.25, 0.5])
    figure = frame.show(
        panel,
        name="one",
        alt="A line.",
        caption="It rises to 0.50.",
        numbers=pd.DataFrame({"y": [0.25, 0.5]}),
    )
    widget = {"state": {"fraction": 0.8, "caption": "words"}, "buffers": []}
    cells = [
        {"cell_type": "markdown", "source": "3 words"},
        {"cell_type": "code", "outputs": [{"data": {"text/html": [figure.data]}}]},
        {"cell_type": "code", "outputs": [{"name": "stdout", "text": ["R² = 0.998 of 84\n"]}]},
        {"cell_type": "code", "outputs": [{"name": "stderr", "text": ["12 seconds"]}]},
    ]
    return {"cells": cells, "metadata": {"widgets": {"x": {"state": {"a": widget}}}}}


def test_the_same_page_is_the_same(page):
    other = copy.deepcopy(page)
    other["cells"][0]["source"] = "4 words"  # not computed
    page["cells"][2]["outputs"][0]["text"] = ["84 features (rarefire 0.1.0, torch 2.13.0, 2026-11-25)."]
    other["cells"][2]["outputs"][0]["text"] = ["84 features (rarefire 0.2.0, torch 2.14.1, 2026-12-01)."]
    other["cells"][3]["outputs"][0]["text"] = ["13 seconds"]
    other["metadata"]["widgets"]["x"]["state"]["a"]["state"]["caption"] = "others"
    assert differences(page, other) == {}


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("numbers", lambda p: p["cells"][2]["outputs"][0].update(text=["R² = 0.997 of 84\n"])),
        ("widgets", lambda p: p["metadata"]["widgets"]["x"]["state"]["a"]["state"].update(fraction=0.7)),
        ("tables", lambda p: p["cells"][1]["outputs"].clear()),
    ],
)
def test_what_moved_is_named(page, kind, change):
    other = copy.deepcopy(page)
    change(other)
    moved = differences(page, other)
    assert moved[kind]
    assert kind == "tables" or set(moved) == {kind}
    if kind == "numbers":
        assert moved[kind] == ["-0.998", "+0.997"]


def test_two_books(page, tmp_path, capsys):
    for name, shown in (("a", page), ("b", page), ("c", {**page, "cells": page["cells"][:2]})):
        (tmp_path / name).mkdir()
        (tmp_path / name / "index.ipynb").write_text(json.dumps(shown))
    assert main(tmp_path / "a", tmp_path / "b") == 0
    assert "index.ipynb: the same (1 tables, 1 drawings, 3 numbers, 1 widgets)" in capsys.readouterr().out
    assert main(tmp_path / "a", tmp_path / "c") == 1
    assert "index.ipynb: different" in capsys.readouterr().out
