"""Every file of shipped results, opened as the book opens it: no data, no network, no cache."""

import json
import re

import numpy as np
import pytest

from rarefire import judgments, networks, stimuli, store
from rarefire.records import (
    block_tests,
    dimension,
    ensembles,
    error_rates,
    ghosts,
    ghosts_by_class,
    gradient,
    information,
    layer_choice,
    people,
    people_across,
    people_by_class,
    people_orders,
    pruned,
    rank,
    recipes,
    sequence_maps,
    subnetworks,
)
from rarefire.records.record import VERSIONS, Array, Record, Stack, source

RESULTS = store.data_dir() / "results"


def excerpts(images):
    return [ensembles.excerpt(images, seed=seed) for seed in range(ensembles.SAMPLED)]


def weights(images):
    """Of the networks that :func:`ensembles.trained` builds."""
    return [Record((store.recall("weights", ensembles._weights_facts(images, "lenet5", 0)),))]


#: File of shipped results -> the question, and what finds its records.
FOUND = {
    "cifar10-jpg-lenet5": ("instance", lambda: [ensembles.known("cifar10-jpg")]),
    "cifar10-jpg-lenet5-cifar10h": ("class-level", lambda: [people_by_class.known("cifar10h")]),
    "cifar10-jpg-lenet5-ghosts": ("ghosts", lambda: [ghosts_by_class.known("cifar10-jpg")]),
    "cifar10-jpg-lenet5-sample": ("sample", lambda: excerpts("cifar10-jpg")),
    "cifar10-jpg-lenet5-variations": ("variation", lambda: [*recipes.known("cifar10-jpg").values()]),
    "cifar10-jpg-lenet5-weights": ("weights", lambda: weights("cifar10-jpg")),
    "digits-lenet5-variations": ("variation", lambda: [*recipes.known("digits").values()]),
    "error-rates": ("error-rate", lambda: [error_rates.known()]),
    "mnist-lenet5": ("instance", lambda: [ensembles.known("mnist")]),
    "mnist-lenet5-ghosts": ("ghosts", lambda: [ghosts_by_class.known("mnist")]),
    "mnist-lenet5-sample": ("sample", lambda: excerpts("mnist")),
    "mnist-lenet5-variations": ("variation", lambda: [*recipes.known("mnist").values()]),
    "mnist-lenet5-weights": ("weights", lambda: weights("mnist")),
    "mnist-lenet5-wide": ("instance", lambda: [ensembles.wide()]),
    "mur-squeezenet": ("prediction", lambda: people.known("mur")),
    "mur-squeezenet-sample": ("prediction-sample", lambda: [people.known_excerpt("mur")]),
    "people-across": ("across", lambda: [people_across.known()]),
    "people-gaps": ("across-gaps", lambda: [people_across.known_gaps()]),
    "people-orders": ("people-orders", lambda: [people_orders.known()]),
    "photographs-squeezenet-ghosts": ("reading", ghosts.known),
    "pruned-cifar10-jpg": ("pruned", lambda: [pruned.known("cifar10-jpg")]),
    "pruned-cifar10-jpg-sample": ("pruned-sample", lambda: [pruned.sample("cifar10-jpg")]),
    "pruned-cifar10-jpg-units": ("units", lambda: [pruned.known_units("cifar10-jpg")]),
    "pruned-halves": ("pruned", lambda: [pruned.known("halves")]),
    "pruned-mnist": ("pruned", lambda: [pruned.known("mnist")]),
    "pruned-mnist-sample": ("pruned-sample", lambda: [pruned.sample("mnist")]),
    "pruned-mnist-units": ("units", lambda: [pruned.known_units("mnist")]),
    "pruned-tickets": ("pruned", lambda: [pruned.known("tickets")]),
    "relu6": ("capped", lambda: [people_across.known_capped()]),
    "gradient-mnist": ("gradient", lambda: [gradient.known("mnist")]),
    **{
        f"{question}-{images}": (question, lambda module=module, images=images: [module.known(images)])
        for question, module in (("dimension", dimension), ("information", information), ("rank", rank))
        for images in ("mnist", "cifar10-jpg")
    },
    **{
        f"{question}-{name}": (question, lambda module=module, name=name: [module.known_network(name)])
        for question, module in (("dimension", dimension), ("information", information))
        for name in people_across.NETWORKS
    },
    **{
        f"information-{name}-units": ("information-units", lambda name=name: [information.sample(name)])
        for name in information.SHOWN
    },
    "blocks": ("blocks", lambda: [block_tests.known()]),
    "blocks-studies": ("block-studies", lambda: [block_tests.known_studies()]),
    **{
        f"subnetworks-{name}": ("subnetworks", lambda known=known, name=name: [*known(name).values()])
        for known, names in (
            (subnetworks.known, ("mnist", "cifar10-jpg")),
            (subnetworks.known_network, people_across.NETWORKS),
        )
        for name in names
    },
    **{
        f"layer-choice-{name}": ("layer-choice", lambda name=name: [layer_choice.known_network(name)])
        for name in people_across.NETWORKS
    },
    **{
        f"sequences-{name}": ("sequences", lambda name=name: [*sequence_maps.known(name).values()])
        for name in sequence_maps.SETTINGS
    },
    **{
        f"{question}-{name}-shown": (
            f"{question}-shown",
            lambda module=module, name=name: [module.known_shown_record(name)],
        )
        for question, module in (("subnetworks", subnetworks), ("sequences", sequence_maps))
        for name in module.SHOWN
    },
}


def read(name):
    """Arrays and stamp of a file, by numpy alone."""
    with np.load(RESULTS / f"{name}.npz") as archive:
        arrays = {key: archive[key] for key in archive.files}
    return arrays, json.loads(arrays.pop("provenance").tobytes())


def test_there_is_a_way_to_every_file():
    assert {path.stem for path in RESULTS.iterdir()} == set(FOUND)


@pytest.mark.parametrize("name", FOUND)
def test_every_answer_of_a_file_is_reached_once(own_cache, name):
    arrays, stamp = read(name)
    question, found = FOUND[name][0], FOUND[name][1]()
    reached = [answer for record in found for answer in record.answers]
    assert stamp["question"] == question
    assert {answer.source for answer in reached} == {"shipped"}
    facts = [answer.provenance["facts"] for answer in reached]
    assert facts == stamp["facts"]
    # Each is kept under the key of its facts; those that a module makes itself are these.
    assert [store.key(question=question, **each) for each in facts] == stamp["keys"]
    assert len(set(stamp["keys"])) == len(reached)
    for row, answer in enumerate(reached):
        assert {**answer.provenance, "facts": None} == {
            **{key: value for key, value in stamp.items() if key != "keys"},
            "facts": None,
        }
        assert set(answer.arrays) == set(arrays)
        for array, values in arrays.items():
            np.testing.assert_array_equal(answer.arrays[array], values[row], err_msg=array)
    assert all(record.recorded for record in found)
    assert re.fullmatch(
        r"Source: .+ on .+recorded run.*; rarefire \S+, torch \S+, 20[0-9-]+\.", source(*found)
    )
    assert list(own_cache.rglob("*")) == []


def test_no_answer_is_in_two_files():
    keys = [key for name in FOUND for key in read(name)[1]["keys"]]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("name", FOUND)
def test_every_field_is_in_the_file_in_the_shape_that_is_written_there(own_cache, name):
    """Letters stand for one length in all of a record's fields, and numbers for themselves."""
    for record in FOUND[name][1]():
        fields = {k: v for k, v in vars(type(record)).items() if isinstance(v, Array)}
        assert bool(fields) == (type(record) is not Record)
        lengths = {"I": len(record), "T": len(record)} if isinstance(record, Stack) else {}
        for field, array in fields.items():
            sizes = [size.strip() for size in array.shape.split(",") if size.strip()]
            shape = getattr(record, field).shape
            assert len(shape) == len(sizes), field
            for size, length in zip(sizes, shape, strict=True):
                if size.startswith("n ≤ "):
                    assert 1 <= length <= int(size.removeprefix("n ≤ ")), field
                else:
                    expected = int(size) if size.isdecimal() else lengths.setdefault(size, length)
                    assert length == expected, (field, size)


def test_the_same_is_enough_wherever_a_curve_is_read():
    """In an ensemble, a recipe, of people and of classes: r counts where half of the images have one."""
    counted = np.full(20, 40)
    counted[2:5] = 19, 20, 21
    arrays = {"low": np.linspace(1, 0.05, 20), "n_images_low": counted}
    r = np.where(np.arange(20) == 2, np.nan, arrays["low"])
    given = {"stimuli": "digits", "network": "lenet5"}
    stacked = {name: values[None] for name, values in arrays.items()}
    one = people.Prediction((store.Answer(arrays, {"facts": given}, "computed"),))
    varied = recipes.Varied.of(stacked, **given)
    np.testing.assert_array_equal(ensembles.Ensemble.of(stacked, **given).r2("low"), [r**2])
    np.testing.assert_array_equal([varied.r2("low", share)[0] for share in recipes.SHARES], r**2)
    np.testing.assert_array_equal(people_by_class.ClassLevel.of(stacked, **given).r("low"), [r])
    np.testing.assert_array_equal(one.r("low"), r)


@pytest.mark.parametrize("images", ["mnist", "cifar10-jpg"])
def test_a_shipped_network_has_the_weights_of_the_file(own_cache, images):
    arrays, _ = read(f"{images}-lenet5-weights")
    state = ensembles.trained(images).state_dict()
    assert {"input_shape", "n_classes", *(name for name in state if name in arrays)} == set(arrays)
    for name in arrays.keys() & state.keys():
        np.testing.assert_array_equal(state[name].numpy(), arrays[name][0])


def test_what_needs_data_to_be_asked_for_is_recorded_for_the_present_data(own_cache):
    """Of the facts of people's and photographs' records, those that can be had without any of both."""
    found = people_by_class.known("cifar10h").facts
    assert ensembles.embedded_facts("cifar10-jpg", "lenet5").items() <= found.items()
    for question, found in (("prediction", people.known("mur")), ("reading", ghosts.known())):
        assert found
        assert all(VERSIONS[question].items() <= record.facts.items() for record in found)


def fail(*_, **__):
    raise AssertionError("this should not have been computed")


def test_with_the_data_at_hand_what_is_shipped_is_what_is_asked_for(mirror, monkeypatch):
    """Every digest, of images, judgments and weights, is that of the real ones."""
    monkeypatch.setenv("RAREFIRE_MIRROR", str(mirror))
    for module, computes in (
        (people, "measure_view"),
        (people_by_class, "embedded"),
        (ghosts, "_reading"),
    ):
        monkeypatch.setattr(module, computes, fail)
    photographs = judgments.load("mur", size=227)
    network = networks.build(
        "squeezenet1_0", input_shape=(3, 227, 227), weights=networks.local_weights("squeezenet1_0")
    )
    seen = {"name": "squeezenet1_0", "layer": "features", "progress": False}
    cifar10h = judgments.load("cifar10h")
    for asked, known in (
        (people.measure(photographs, network, **seen), people.known("mur")),
        (
            [people.excerpt(photographs, network, name=seen["name"], layer="features")],
            [people.known_excerpt("mur")],
        ),
        (
            [people_by_class.measure("cifar10-jpg", cifar10h, seeds=range(50))],
            [people_by_class.known("cifar10h")],
        ),
        (ghosts.measure(photographs, stimuli.gallery(size=227), network, **seen), ghosts.known()),
    ):
        assert [record.recorded for record in asked] == [True] * len(known)
        assert [record.facts for record in asked] == [record.facts for record in known]
