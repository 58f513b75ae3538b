"""Records: every answer found or computed once, kept as soon as it is there; what is said of its source."""

import subprocess
import sys

import numpy as np
import pytest
from conftest import wait_until

from rarefire import stimuli, store
from rarefire.errors import InputError, UnknownNameError
from rarefire.records import record
from rarefire.records.record import (
    Array,
    Record,
    Stack,
    answer_each,
    answer_one,
    by_seed,
    each_apart,
    source,
)

SHARED = {"network": "lenet5", "stimuli": "digits"}


@pytest.fixture(autouse=True)
def shelf(own_cache, tmp_path, monkeypatch):
    """Where results would be shipped; nothing is, and nothing is cached."""
    monkeypatch.setattr(store, "data_dir", lambda: tmp_path / "data")
    return tmp_path / "data" / "results"


def squares(asked, *, order=list, stop_at=None, error=RuntimeError):
    """Computes the square of each number; what it is asked for goes on a list, it may stop half-way."""

    def compute(missing):
        asked.append(missing)
        for n in order(missing):
            if n == stop_at:
                raise error(f"at {n}")
            yield n, {"square": np.asarray(n**2), "sides": np.full(n, n)}

    return compute


def ask(numbers, compute, **options):
    return answer_each("square", SHARED, by_seed(numbers), compute, **options)


def sources(answers):
    return {n: answer.source for n, answer in answers.items()}


def fail(*_):
    raise AssertionError("this should not have been computed")


# --- one answer for each of several things ----------------------------------------------------------


def test_shipped_else_cached_else_computed(shelf, own_cache):
    asked = []
    (shipped,) = ask([1], squares(asked)).values()
    store.pack(shelf / "squares.npz", [shipped])
    (cached,) = (own_cache / "results").glob("*.npz")
    cached.unlink()
    ask([2], squares(asked))
    mixed = ask([4, 1, 3, 2], squares(asked))
    assert sources(mixed) == {4: "computed", 1: "shipped", 3: "computed", 2: "cache"}
    assert list(mixed) == [4, 1, 3, 2]
    assert {n: int(a.arrays["square"]) for n, a in mixed.items()} == {4: 16, 1: 1, 3: 9, 2: 4}
    # What is missing, and nothing else, is asked for at once: what all of it needs is prepared once.
    assert asked == [[1], [2], [4, 3]]
    assert sources(ask([3, 1, 4], fail)) == {3: "cache", 1: "shipped", 4: "cache"}
    own = ask([1, 2], squares(asked), use_shipped=False)
    assert sources(own) == {1: "computed", 2: "cache"}
    assert sources(ask([1], fail, use_shipped=False)) == {1: "cache"}
    assert sources(ask([1], fail)) == {1: "shipped"}  # what is shipped goes first
    assert sources(ask([2, 2, 1], fail)) == {2: "cache", 1: "shipped"}


def test_answers_in_any_order_belong_to_what_they_answer():
    found = ask([2, 5, 3], squares([], order=sorted))
    assert list(found) == [2, 5, 3]
    again = ask([5, 3, 2], fail)
    assert list(again) == [5, 3, 2]
    for answers in (found, again):
        for n, answer in answers.items():
            assert answer.arrays["square"] == n**2
            assert answer.arrays["sides"].tolist() == [n] * n
            assert answer.provenance["question"] == "square"
            assert answer.provenance["facts"] == {**SHARED, "seed": n}


def test_facts_of_its_own_go_before_the_shared_ones():
    found = answer_each("square", {"seed": 3, "of": "all"}, {"a": {"seed": 4}, "b": {}}, lambda things: ())
    assert found == {}
    each = answer_each(
        "square", {"seed": 3}, {"a": {"seed": 4}, "b": {}}, lambda t: ((x, {"name": np.array(x)}) for x in t)
    )
    assert [each[x].provenance["facts"]["seed"] for x in "ab"] == [4, 3]
    assert store.recall("square", {"seed": 4}).arrays["name"] == "a"
    assert store.recall("square", {"seed": 3}).arrays["name"] == "b"
    assert store.recall("cube", {"seed": 3}) is None


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_what_was_finished_is_kept_where_the_rest_fails(error):
    asked = []
    with pytest.raises(error, match="at 3"):
        ask([1, 2, 3, 4], squares(asked, stop_at=3, error=error))
    assert sources(ask([1, 2, 3, 4], None)) == {1: "cache", 2: "cache"}
    found = ask([1, 2, 3, 4], squares(asked))
    assert sources(found) == {1: "cache", 2: "cache", 3: "computed", 4: "computed"}
    assert asked == [[1, 2, 3, 4], [3, 4]]


def test_each_is_kept_before_the_next_is_computed():
    def compute(missing):
        for i, n in enumerate(missing):
            assert list(ask(missing, None)) == missing[:i]
            yield n, {"square": np.asarray(n**2)}

    assert list(ask([7, 5, 6], compute)) == [7, 5, 6]


def test_what_is_known_or_cannot_be_computed_is_found_at_once_and_nothing_written(own_cache, monkeypatch):
    assert ask([1, 2], None) == {}
    assert list(own_cache.rglob("*")) == []
    ask([2], squares([]))
    before = sorted(own_cache.rglob("*"))
    monkeypatch.setattr(store, "alone", fail)  # nobody waits for a process that computes others
    assert sources(ask([1, 2], None)) == {2: "cache"}
    assert sources(ask([2], fail)) == {2: "cache"}
    assert sorted(own_cache.rglob("*")) == before


ANOTHER = """
import sys, time
from pathlib import Path
import numpy as np
from rarefire.records.record import answer_each, by_seed

started, go = map(Path, sys.argv[1:])

def compute(missing):
    started.touch()
    while not go.exists():
        time.sleep(0.01)
    for n in missing:
        yield n, {"square": np.asarray(n**2)}

found = answer_each("square", {"network": "lenet5", "stimuli": "digits"}, by_seed([1, 2]), compute)
print(*(a.source for a in found.values()))
"""


@pytest.mark.parametrize(("numbers", "missing"), [([2, 1], []), ([2, 1, 3], [[3]])])
def test_of_two_processes_that_ask_at_once_one_computes(tmp_path, monkeypatch, in_time, numbers, missing):
    started, go, said = tmp_path / "started", tmp_path / "go", []
    other = subprocess.Popen(
        [sys.executable, "-c", ANOTHER, str(started), str(go)], stdout=subprocess.PIPE, text=True
    )
    wait_until(started.exists, alive=lambda: other.poll() is None)

    def waits(text, **_):
        said.append(text)
        go.touch()

    monkeypatch.setattr(store.tqdm, "write", waits)
    asked = []
    found = ask(numbers, squares(asked), what="squares")
    assert other.communicate()[0].split() == ["computed", "computed"]
    assert said == ["waiting for another process that computes squares"]
    assert sources(found) == {n: "computed" if n == 3 else "cache" for n in numbers}
    assert asked == missing


# --- one answer -------------------------------------------------------------------------------------


def test_a_single_question_is_a_record(shelf):
    calls = []

    def compute():
        calls.append(1)
        return {"half": np.array([0.5, 1.5])}

    assert answer_one("half", SHARED, None) is None
    first, again = (answer_one("half", SHARED, compute) for _ in range(2))
    assert len(calls) == 1
    assert [r.answers[0].source for r in (first, again)] == ["computed", "cache"]
    assert (again.network, again.about, again.facts, again.recorded) == ("lenet5", "digits", SHARED, False)
    assert again["half"].tolist() == again.arrays["half"].tolist() == [0.5, 1.5]
    assert repr(again) == f"<Record: {source(again)}>"
    with pytest.raises(KeyError, match="third"):
        again["third"]
    assert again.ship(shelf / "half.npz") == shelf / "half.npz"
    assert answer_one("half", SHARED, fail).recorded
    assert not answer_one("half", SHARED, fail, use_shipped=False).recorded


def test_judgments_are_what_a_record_is_about_without_stimuli():
    record = answer_one("half", {"network": "vgg19", "judgments": "mur"}, lambda: {"half": np.zeros(1)})
    assert record.about == "mur"


# --- several instances ------------------------------------------------------------------------------


def test_facts_of_instances_can_be_written_down():
    assert by_seed(np.arange(2, 4)) == {2: {"seed": 2}, 3: {"seed": 3}}
    for seed, facts in by_seed(np.arange(2)).items():
        assert type(seed) is type(facts["seed"]) is int


def test_a_stack_has_the_instance_first(rng):
    found = Stack(tuple(ask([3, 1], lambda ns: ((n, {"x": np.full((2, 4), n)}) for n in ns)).values()))
    assert (len(found), found.seeds, found["x"].shape) == (2, (3, 1), (2, 2, 4))
    assert found["x"][:, 0, 0].tolist() == [3, 1]
    assert (found.network, found.about, found.facts["seed"]) == ("lenet5", "digits", 3)


def test_a_stack_of_numbers_that_are_here_already(rng):
    given = {"accuracy": [0.5, 0.75, 1.0], "rates": rng.random((3, 4))}
    found = Stack.of(given, stimuli="mnist", network="lenet5")
    assert (len(found), found.seeds, found.about, found.network) == (3, (0, 1, 2), "mnist", "lenet5")
    assert not found.recorded
    for name, values in given.items():
        np.testing.assert_array_equal(found[name], values)


@pytest.mark.parametrize(
    ("arrays", "got"),
    [
        ({"a": np.zeros((3, 2)), "b": np.zeros(2)}, r"\{'a': \(3,\), 'b': \(2,\)\}"),
        ({"a": [1, 2], "b": 0.5}, r"\{'a': \(2,\), 'b': \(\)\}"),
        ({"a": 0.5}, r"\{'a': \(\)\}"),
        ({}, r"\{\}"),
    ],
)
def test_a_stack_of_arrays_of_other_lengths(arrays, got):
    with pytest.raises(InputError, match=f"arrays must have one first axis, the instances; got {got}"):
        Stack.of(arrays, stimuli="mnist", network="lenet5")


# --- fields -----------------------------------------------------------------------------------------


class Measured(Stack):
    width = Array("I, F", "widths in mm")


def test_a_field_is_an_array_of_the_record_and_says_of_the_class_what_it_holds():
    assert isinstance(Measured.width, Array)
    assert (Measured.width.name, Measured.width.shape, Measured.width.what) == (
        "width",
        "I, F",
        "widths in mm",
    )
    assert Measured.width.__doc__ == "``(I, F)``, widths in mm"
    given = np.arange(6).reshape(3, 2)
    np.testing.assert_array_equal(Measured.of({"width": given}, stimuli="x", network="y").width, given)
    with pytest.raises(KeyError, match="width"):
        _ = Measured.of({"depth": given}, stimuli="x", network="y").width


# --- where numbers come from ------------------------------------------------------------------------

VERSIONS = {"rarefire": "1.2", "torch": "2.3"}


def answer(*, network="lenet5", stimuli="mnist", seed=0, at="shipped", date="2026-01-02", **more):
    facts = {"network": network, "stimuli": stimuli, "seed": seed, **more}
    return store.Answer({}, {"facts": facts, "versions": VERSIONS, "date": date}, at)


def stack(*kinds, **options):
    return Stack(tuple(answer(seed=i, at=at, **options) for i, at in enumerate(kinds)))


MADE = "rarefire 1.2, torch 2.3, 2026-01-02"
LATER = "rarefire 1.2, torch 2.3, 2026-02-03"


@pytest.mark.parametrize(
    ("records", "said"),
    [
        ([Record((answer(),))], "lenet5 on MNIST (recorded run)"),
        ([Record((answer(at="cache"),))], "lenet5 on MNIST (computed on this machine)"),
        ([Record((answer(at="computed"),))], "lenet5 on MNIST (computed on this machine)"),
        ([Record((answer(stimuli="folder:mine"),))], "lenet5 on folder:mine (recorded run)"),
        ([stack(*["shipped"] * 3)], "lenet5 on MNIST (3 instances, recorded runs)"),
        ([stack("cache", "computed")], "lenet5 on MNIST (2 instances, computed on this machine)"),
        (
            [stack("shipped", "shipped", "cache", "computed", "cache")],
            "lenet5 on MNIST (5 instances: 2 recorded runs, 3 computed on this machine)",
        ),
        # One network on several sets of images; the same said twice is said once.
        (
            [stack("cache", "cache", stimuli="digits"), *[stack("shipped", "shipped")] * 2],
            "lenet5 on digits (2 instances, computed on this machine), MNIST (2 instances, recorded runs)",
        ),
        # Networks on the same images together, on others apart.
        (
            [stack("shipped", "shipped"), stack("shipped", "shipped", network="lenet5-wide")],
            "lenet5, lenet5-wide on MNIST (2 instances, recorded runs)",
        ),
        (
            [stack("shipped", "shipped"), stack("shipped", network="lenet5-wide", stimuli="digits")],
            "lenet5 on MNIST (2 instances, recorded runs); lenet5-wide on digits (1 instance, recorded run)",
        ),
    ],
)
def test_the_source_of_records(records, said):
    assert source(*records) == f"Source: {said}; {MADE}."


def test_a_stack_is_recorded_where_all_of_it_is():
    assert stack("shipped", "shipped").recorded
    assert not stack("shipped", "cache").recorded
    assert not stack("computed").recorded


def test_the_source_names_every_version_and_date_once():
    records = [stack("shipped", date="2026-02-03"), *[stack("shipped", stimuli="digits")] * 2]
    assert source(*records) == (
        "Source: lenet5 on MNIST (1 instance, recorded run), digits (1 instance, recorded run); "
        f"{MADE}; {LATER}."
    )


@pytest.mark.parametrize("jobs", [1, 2])
def test_tasks_apart_give_what_they_give_here(jobs, capsys):
    arguments = [(n, 7) for n in range(20, 24)]
    found = each_apart(divmod, arguments, jobs=jobs, what="division", progress=True)
    assert sorted(found) == [divmod(*own) for own in arguments]
    assert "division: 100%" in capsys.readouterr().err


# --- LeNets ---------------------------------------------------------------------------------------


def _parity(seed, train, test, images):
    return seed, {"found": np.array([seed, len(train), len(test), len(images)])}


def test_lenets_are_measured_where_they_are_not_known(own_cache):
    options = {"about": "parity", "jobs": 1, "use_shipped": True, "progress": False}
    assert record.known_lenets("square", "digits", lambda name: {"of": name}, seeds=[3, 1]) == ()
    answers = record.measured_lenets("square", "digits", {"of": "digits"}, _parity, seeds=[3, 1], **options)
    sizes = [len(stimuli.load("digits", split)) for split in ("train", "test")]
    assert [each.arrays["found"].tolist() for each in answers] == [[3, *sizes, 6], [1, *sizes, 6]]
    again = record.known_lenets("square", "digits", lambda name: {"of": name}, seeds=[1])
    assert [each.arrays["found"][0] for each in again] == [1]
    assert record.known_lenets("square", "folder:/nowhere", lambda name: {"of": name}, seeds=[1]) == ()


def test_a_chapter_computes_digits_and_shows_what_is_known_of_others():
    asked = []

    def measure(name, **options):
        asked.append((name, options))
        return name

    chosen = {"names": ("digits", "mnist", "moon"), "measure": measure, "known": {"mnist": "shipped"}.get}
    found = record.by_images(**chosen, profile="default", instances=2)
    assert found == {"digits": "digits", "mnist": "shipped"}
    assert asked == [("digits", {"seeds": range(2)})]
    assert record.by_images(**chosen, profile="full", instances=2)["moon"] == "moon"
    assert asked[-1] == ("moon", {"use_shipped": False})
    with pytest.raises(UnknownNameError, match="no profile 'half'. There are: default, full"):
        record.by_images(**chosen, profile="half", instances=2)
