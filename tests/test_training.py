"""Training: repeatable, resumable after kill -9 with the same weights, stacked like apart, errors."""

import dataclasses
import os
import signal
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import wait_until

from rarefire import networks, stimuli, store, training
from rarefire.errors import DataError, InputError, RarefireWarning, UnknownNameError

SHORT = training.Recipe(batch_size=32, max_epochs=3, patience=3)
OPTIONS = {"recipe": SHORT, "progress": False}


@pytest.fixture(scope="module")
def few():
    return stimuli.load("digits", "train").subset(np.arange(300))


def weights(instance):
    return torch.cat([p.flatten() for p in instance.network().state_dict().values()])


@pytest.mark.long
def test_the_same_seed_gives_the_same_weights_in_any_number_of_processes(few, tmp_path):
    apart = training.train(few, seeds=[0, 1, 2], jobs=2, folder=tmp_path / "a", **OPTIONS)
    alone = training.train(few, seeds=[1], jobs=1, folder=tmp_path / "b", **OPTIONS)
    assert torch.equal(weights(apart[1]), weights(alone[0]))
    assert not torch.equal(weights(apart[0]), weights(apart[1]))
    assert [i.seed for i in apart] == [0, 1, 2]
    assert len(apart[0].history["loss"]) == len(apart[0].history["accuracy"]) == 3


def test_training_touches_no_global_generator(few, tmp_path):
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    training.train(few, seeds=[0], folder=tmp_path, **OPTIONS)
    assert torch.equal(before[0], torch.get_rng_state())
    np.testing.assert_array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002


def flat(network):
    return torch.cat([p.detach().flatten().clone() for p in network.parameters()])


def plain_loop(few, make_optimizer, *, epochs, seed, order=(), masks=None, slower=(), each_step=None):
    """The same steps written out once more, without checkpoints, rule or processes.

    Weights and validation accuracy after every epoch.
    """
    aside = stimuli.stratified_mask(few.labels, 0.1, seed=0)
    x, y = torch.from_numpy(few.images[~aside]), torch.from_numpy(few.labels[~aside])
    network = networks.build(
        "lenet5", input_shape=(1, 32, 32), n_classes=10, mean=few.mean, std=few.std, seed=seed
    )

    @torch.no_grad()
    def mask():
        for name, stays in (masks or {}).items():
            network.get_parameter(name).mul_(stays)

    mask()
    optimizer = make_optimizer(network.parameters())
    states, accuracies = [], []
    with training.one_thread():
        for epoch in range(epochs):
            if epoch in slower:
                optimizer.param_groups[0]["lr"] /= 10
            order_seed = int(np.random.SeedSequence([seed, epoch, *order]).generate_state(1)[0])
            shown = torch.randperm(len(x), generator=torch.Generator().manual_seed(order_seed))
            for batch in shown.split(32):
                optimizer.zero_grad()
                F.cross_entropy(network(x[batch]), y[batch]).backward()
                optimizer.step()
                mask()
                if each_step:
                    each_step(network)
            states.append(flat(network))
            with torch.no_grad():
                said = network(torch.from_numpy(few.images[aside])).argmax(1).numpy()
            accuracies.append(float(np.mean(said == few.labels[aside])))
    return states, accuracies


@pytest.mark.parametrize(
    ("changes", "make_optimizer"),
    [
        ({}, lambda p: torch.optim.Adam(p, lr=1e-3)),
        ({"weight_decay": 0.02}, lambda p: torch.optim.Adam(p, lr=1e-3, weight_decay=0.02)),
        (
            {"optimizer": "adamw", "weight_decay": 0.1},
            lambda p: torch.optim.AdamW(p, lr=1e-3, weight_decay=0.1),
        ),
        ({"optimizer": "adamw"}, lambda p: torch.optim.AdamW(p, lr=1e-3, weight_decay=0)),
        (
            {"optimizer": "sgd", "learning_rate": 0.02, "weight_decay": 1e-3},
            lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.9, weight_decay=1e-3),
        ),
    ],
    ids=["adam", "adam-l2", "adamw", "adamw-without-decay", "sgd"],
)
def test_training_equals_a_plain_loop(few, tmp_path, changes, make_optimizer):
    recipe = dataclasses.replace(SHORT, **changes)
    (instance,) = training.train(few, seeds=[5], recipe=recipe, folder=tmp_path, progress=False)
    states, accuracies = plain_loop(few, make_optimizer, epochs=3, seed=5)
    assert instance.history["accuracy"] == pytest.approx(accuracies)
    assert torch.equal(weights(instance), states[instance.best_epoch - 1])


def test_the_best_or_the_last_weights_are_kept(few, tmp_path):
    """Of six epochs of which the last is not the best; the rule about stopping is the same."""
    recipe = training.Recipe(
        batch_size=32, max_epochs=6, patience=6, optimizer="sgd", learning_rate=0.1, weight_decay=1e-3
    )

    def plain(seed):
        return plain_loop(
            few, lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=1e-3), epochs=6, seed=seed
        )

    # Training amplifies rounding: which epoch is the best differs from processor to processor.
    for seed in range(20):
        states, accuracies = plain(seed)
        best = int(np.argmax(accuracies))
        if best < 5:
            break
    assert best < 5, "choose another recipe: its last epoch is always the best"
    kept = {}
    for keep in ("best", "last"):
        chosen = dataclasses.replace(recipe, keep=keep)
        options = {"recipe": chosen, "folder": tmp_path / keep, "progress": False}
        (kept[keep],) = training.train(few, seeds=[seed], **options)
    for instance in kept.values():
        assert instance.history["accuracy"] == pytest.approx(accuracies)
    assert torch.equal(weights(kept["best"]), states[best])
    assert torch.equal(weights(kept["last"]), states[5])
    assert kept["best"].best_epoch == best + 1


def test_patience_ends_a_run_that_keeps_the_last_weights(few, tmp_path):
    """No rise is possible after the first epoch here: nothing is learnt at this rate."""
    recipe = training.Recipe(batch_size=270, max_epochs=9, patience=2, learning_rate=1e-9, keep="last")
    (instance,) = training.train(few, seeds=[0], recipe=recipe, folder=tmp_path, progress=False)
    assert len(instance.history["accuracy"]) == 3


def test_the_rule_stops_after_patience_and_keeps_the_best(few, tmp_path):
    recipe = training.Recipe(batch_size=32, max_epochs=30, patience=2)
    (instance,) = training.train(few, seeds=[0], recipe=recipe, folder=tmp_path, progress=False)
    accuracies = instance.history["accuracy"]
    assert len(accuracies) == instance.best_epoch + 2 < 30
    assert int(np.argmax(accuracies)) + 1 == instance.best_epoch
    aside = stimuli.stratified_mask(few.labels, 0.1, seed=0)
    assert training.accuracy(instance.network(), few.subset(aside)) == pytest.approx(max(accuracies))


def test_a_finished_run_is_read_not_repeated(few, tmp_path):
    (first,) = training.train(few, seeds=[0], folder=tmp_path, **OPTIONS)
    written = first.path.stat().st_mtime_ns
    (again,) = training.train(few, seeds=[0], folder=tmp_path, **OPTIONS)
    assert again.path.stat().st_mtime_ns == written
    assert torch.equal(weights(first), weights(again))


# --- fit: from given weights, with masks ------------------------------------------------------------


def built(few, seed=5, network="lenet5"):
    return networks.build(
        network, input_shape=few.input_shape, n_classes=10, mean=few.mean, std=few.std, seed=seed
    )


def drawn_masks(network, share=0.4, seed=0):
    """A part of the weights of every layer, and of the biases of one."""
    rng = torch.Generator().manual_seed(seed)
    shapes = {n: p.shape for n, p in network.named_parameters() if n.endswith("weight") or n == "fc1.bias"}
    return {name: torch.rand(shape, generator=rng) > share for name, shape in shapes.items()}


def same(first, second):
    return list(first) == list(second) and all(torch.equal(first[k], second[k]) for k in first)


@pytest.mark.parametrize("network", ["lenet5", "lenet5-batchnorm"])
def test_fit_without_masks_is_plain_training(few, tmp_path, network):
    """And with masks of ones, bit for bit."""
    options = {"seeds": [5], "recipe": SHORT, "jobs": 1, "device": "cpu", "progress": False}
    (instance,) = training.train(few, network, folder=tmp_path, **options)
    ones = {name: torch.ones_like(p) for name, p in built(few, 5, network).named_parameters()}
    for masks in (None, ones):
        model = built(few, 5, network)
        path = tmp_path / f"{masks is None}.pt"
        found = training.fit(model, few, path=path, recipe=SHORT, seed=5, masks=masks)
        assert same(found.weights, instance.network().state_dict())
        assert same(model.state_dict(), found.weights)
        assert not model.training
        assert found.history == instance.history | {"validation_loss": []}
        assert found.best_epoch == instance.best_epoch
        assert (found.masks is None) == (masks is None)


OPTIMIZERS = {
    "adam": ({}, lambda p: torch.optim.Adam(p, lr=1e-3)),
    "adamw": (
        {"optimizer": "adamw", "weight_decay": 0.1},
        lambda p: torch.optim.AdamW(p, lr=1e-3, weight_decay=0.1),
    ),
    "sgd": (
        {"optimizer": "sgd", "learning_rate": 0.02, "weight_decay": 1e-3},
        lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.9, weight_decay=1e-3),
    ),
}


@pytest.mark.parametrize(("changes", "make_optimizer"), OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_masks_hold_after_every_step_and_epoch(few, tmp_path, changes, make_optimizer):
    """As a plain loop that multiplies by them after every step; counted in the checkpoint of each epoch."""
    recipe = dataclasses.replace(SHORT, keep="last", **changes)
    network, path = built(few), tmp_path / "fit.pt"
    masks, counts = drawn_masks(network), []

    def count(epoch, accuracy, done):
        state = training._read(path)
        weights = state["best"] if done else state["model"]
        counts.append({name: int((weights[name] != 0).sum()) for name in masks})
        assert state["epoch"] == epoch
        assert done == (epoch == 3)

    options = {"recipe": recipe, "seed": 5, "masks": masks, "report": count}
    found = training.fit(network, few, path=path, **options)
    assert counts == 3 * [{name: int(mask.sum()) for name, mask in masks.items()}]
    states, accuracies = plain_loop(few, make_optimizer, epochs=3, seed=5, masks=masks)
    assert torch.equal(flat(network), states[-1])
    assert found.history["accuracy"] == pytest.approx(accuracies)
    assert same(found.masks, masks)


@pytest.mark.parametrize("make", [o for _, o in OPTIMIZERS.values()], ids=OPTIMIZERS)
def test_a_gradient_of_0_does_not_hold_a_weight(make):
    """Why weights are masked and not gradients: what the optimiser remembers moves them."""
    weight = torch.ones(6, requires_grad=True)
    optimizer, mask = make([weight]), torch.tensor([1.0, 0, 1, 0, 1, 0])
    for step in range(6):
        optimizer.zero_grad()
        (weight * torch.arange(1.0, 7)).sum().backward()
        if step >= 3:
            weight.grad.mul_(mask)
        optimizer.step()
        if step == 2:
            with torch.no_grad():
                weight.mul_(mask)
            assert torch.count_nonzero(weight) == 3
    assert torch.count_nonzero(weight) == 6


def test_the_order_of_the_images_is_a_rounds_own(few, tmp_path):
    network = built(few)
    training.fit(network, few, path=tmp_path / "3.pt", recipe=SHORT, seed=5, order=3)
    states, accuracies = plain_loop(few, OPTIMIZERS["adam"][1], epochs=3, seed=5, order=(3,))
    assert torch.equal(flat(network), states[int(np.argmax(accuracies))])
    plain, _ = plain_loop(few, OPTIMIZERS["adam"][1], epochs=1, seed=5)
    assert not torch.equal(plain[0], states[0])


def test_milestones_divide_the_rate_by_ten(few, tmp_path):
    recipe = training.Recipe(
        **{"optimizer": "sgd", "learning_rate": 0.02, "batch_size": 32, "max_epochs": 3, "keep": "last"},
        milestones=(1, 2),
    )
    (instance,) = training.train(few, seeds=[5], recipe=recipe, folder=tmp_path, progress=False)
    options = {"epochs": 3, "seed": 5, "slower": (1, 2)}
    states, _ = plain_loop(few, lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.9), **options)
    torch.testing.assert_close(weights(instance), states[-1], rtol=1e-5, atol=1e-6)


def test_the_check_with_the_least_loss_is_kept(few, tmp_path):
    """At a rate at which it rises again; checks go on from one epoch to the next: 9 steps are in each."""
    changes = {"optimizer": "sgd", "learning_rate": 0.1, "keep": "least-loss", "check_every": 4}
    recipe = dataclasses.replace(SHORT, max_epochs=4, patience=4, **changes)
    aside = stimuli.stratified_mask(few.labels, 0.1, seed=0)
    x, y = torch.from_numpy(few.images[aside]), torch.from_numpy(few.labels[aside])
    steps, losses = [], []

    def each_step(network):
        steps.append(flat(network))
        with torch.no_grad():
            losses.append(float(F.cross_entropy(network(x), y)))

    def make(p):
        return torch.optim.SGD(p, lr=0.1, momentum=0.9)

    for seed in range(20):  # rounding decides where the least is
        steps.clear()
        losses.clear()
        plain_loop(few, make, epochs=4, seed=seed, each_step=each_step)
        checks = losses[3::4]
        best = int(np.argmin(checks))
        if best < len(checks) - 1:
            break
    assert len(steps) == 36
    assert best < len(checks) - 1
    network = built(few, seed)
    found = training.fit(network, few, path=tmp_path / "fit.pt", recipe=recipe, seed=seed)
    assert found.history["validation_loss"] == pytest.approx(checks, rel=1e-4)
    assert torch.equal(flat(network), steps[4 * best + 3])


def interrupted(few, path, **options):
    """After the first epoch, by an error where it is reported."""

    def stop(*_):
        raise Stop

    with pytest.raises(Stop):
        training.fit(built(few), few, path=path, report=stop, **options)


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": "sgd", "learning_rate": 0.02, "milestones": (1,), "keep": "last"},
        {"keep": "least-loss", "check_every": 4},
    ],
    ids=["sgd-milestones", "adam-checks"],
)
def test_an_interrupted_fit_resumes_to_the_same_bits(few, tmp_path, changes):
    recipe = dataclasses.replace(SHORT, **changes)
    options = {"recipe": recipe, "seed": 5, "masks": drawn_masks(built(few))}
    whole = training.fit(built(few), few, path=tmp_path / "whole.pt", **options)
    for epoch in (1, 2):
        interrupted(few, tmp_path / "cut.pt", **options)
        assert training._read(tmp_path / "cut.pt")["epoch"] == epoch
        with pytest.raises(DataError, match="there is no finished training at .*cut.pt"):
            training.fitted(tmp_path / "cut.pt")
    resumed = training.fit(built(few), few, path=tmp_path / "cut.pt", **options)
    assert same(resumed.weights, whole.weights)
    assert resumed.history == whole.history


def test_a_finished_fit_is_read(few, tmp_path):
    options = {"path": tmp_path / "fit.pt", "recipe": SHORT, "seed": 5}
    first = training.fit(built(few), few, **options)
    written = options["path"].stat().st_mtime_ns
    model = built(few, seed=6)
    again = training.fit(model, few, report=lambda *_: pytest.fail("it trains"), **options)
    assert options["path"].stat().st_mtime_ns == written
    assert same(again.weights, first.weights)
    assert same(model.state_dict(), first.weights)
    assert same(training.fitted(options["path"]).weights, first.weights)
    options["path"].write_bytes(b"PK damaged")
    with pytest.warns(RarefireWarning, match="is damaged"):
        again = training.fit(built(few), few, **options)
    assert same(again.weights, first.weights)
    with pytest.raises(DataError, match="no finished training at .*none.pt"):
        training.fitted(tmp_path / "none.pt")


def test_masks_that_fit_no_parameter(few, tmp_path):
    options = {"path": tmp_path / "fit.pt", "recipe": SHORT, "seed": 5}
    with pytest.raises(UnknownNameError, match="no parameter 'fc9.weight'. There are: .*fc1.weight"):
        training.fit(built(few), few, masks={"fc9.weight": torch.ones(1)}, **options)
    with pytest.raises(InputError, match=r"fc3.weight must have its shape \(10, 84\); got \(84, 10\)"):
        training.fit(built(few), few, masks={"fc3.weight": torch.ones(84, 10)}, **options)
    assert not options["path"].exists()


def test_images_set_aside_are_the_same_for_every_seed(few):
    found = training.validation_images(few, recipe=SHORT)
    aside = stimuli.stratified_mask(few.labels, 0.1, seed=0)
    np.testing.assert_array_equal(found.images, few.images[aside])
    np.testing.assert_array_equal(found.labels, few.labels[aside])
    half = training.validation_images(few, recipe=dataclasses.replace(SHORT, validation=0.5))
    assert len(half) == pytest.approx(150, abs=5)


def test_checks_that_would_never_come(few, tmp_path):
    with pytest.raises(InputError, match="keep='least-loss' needs check_every="):
        training.Recipe(keep="least-loss")
    recipe = dataclasses.replace(SHORT, keep="least-loss", check_every=10)
    with pytest.raises(InputError, match="check_every=10, but an epoch has 9 steps"):
        training.fit(built(few), few, path=tmp_path / "fit.pt", recipe=recipe, seed=5)


@pytest.mark.parametrize("changes", [{"milestones": (1,)}, {"check_every": 4}])
def test_what_is_not_stacked(few, tmp_path, changes):
    recipe = dataclasses.replace(SHORT, **changes)
    with pytest.raises(
        InputError, match="not stacked for recipes with milestones or checks: use device='cpu'"
    ):
        training.train(few, seeds=[0], recipe=recipe, device="stacked-cpu", folder=tmp_path, progress=False)


class Stop(Exception):
    pass


# --- killed and resumed -----------------------------------------------------------------------------


RUN = """
import os, sys, time, numpy as np
from rarefire import stimuli, training
if __name__ == "__main__":
    few = stimuli.load("digits", "train").subset(np.arange(600))
    folder, (jobs, writes, epochs) = sys.argv[1], map(int, sys.argv[2:])
    recipe = training.Recipe(batch_size=8, max_epochs=epochs, patience=epochs)
    replace = os.replace
    def hold(*names):  # stops for good where a checkpoint is written, but not yet in its place
        global writes
        writes -= 1
        while not writes:
            time.sleep(1)
        replace(*names)
    os.replace = hold
    training.train(few, seeds=[0, 1], recipe=recipe, jobs=jobs, folder=folder, progress=False)
"""


EPOCHS = 12


def start(folder, jobs, *, writes=-1, epochs=EPOCHS):
    """Start a run; in one process, it stops where it has written so many checkpoints."""
    numbers = [str(number) for number in (jobs, writes, epochs)]
    return subprocess.Popen([sys.executable, "-c", RUN, str(folder), *numbers], start_new_session=True)


def epochs_on_disk(folder):
    found = 0
    for path in folder.glob("*.pt"):
        found += training._read(path)["epoch"]
    return found


def clear(folder):
    """Remove what a killed run was writing."""
    for path in folder.glob(".*.tmp"):
        path.unlink()


def final(folder):
    return [training._read(folder / f"seed-000{s}.pt") for s in (0, 1)]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    assert start(folder, 1).wait() == 0
    return final(folder)


def killed_when(moment, folder, jobs, **options):
    """Start a run, and kill -9 its whole process group at the moment."""
    run = start(folder, jobs, **options)
    wait_until(moment, alive=lambda: run.poll() is None)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()


def processes(session):
    """Living processes of a session."""
    listed = subprocess.run(["ps", "-o", "pid=", "-s", str(session)], capture_output=True, text=True)
    return listed.stdout.split()


@pytest.mark.long
@pytest.mark.parametrize("jobs", [1, 2])
def test_killed_and_resumed_to_the_same_bits(undisturbed, tmp_path, jobs):
    """Between two checkpoints; in one process also while the first, and while another is being written."""

    def writing():
        return any(tmp_path.glob(".*.tmp"))

    if jobs == 1:
        killed_when(writing, tmp_path, jobs, writes=1)
        assert epochs_on_disk(tmp_path) == 0
    killed_when(lambda: epochs_on_disk(tmp_path) >= 3, tmp_path, jobs)
    assert 3 <= epochs_on_disk(tmp_path) < 2 * EPOCHS
    if jobs == 1:
        before = epochs_on_disk(tmp_path)
        clear(tmp_path)
        killed_when(lambda: epochs_on_disk(tmp_path) > before and writing(), tmp_path, jobs, writes=2)
        assert epochs_on_disk(tmp_path) == before + 1
    assert epochs_on_disk(tmp_path) < 2 * EPOCHS
    assert start(tmp_path, jobs).wait() == 0
    for resumed, whole in zip(final(tmp_path), undisturbed, strict=True):
        assert resumed["accuracies"] == whole["accuracies"]
        assert resumed["losses"] == whole["losses"]
        assert all(torch.equal(resumed["best"][k], whole["best"][k]) for k in whole["best"])


@pytest.mark.long
def test_workers_do_not_outlive_a_killed_run(tmp_path):
    """Those who work, and those who wait for work; the epochs are so many that they cannot have done it."""
    run = start(tmp_path, 2, epochs=2000)
    wait_until(lambda: epochs_on_disk(tmp_path) >= 2, alive=lambda: run.poll() is None)
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    wait_until(lambda: not processes(run.pid))
    assert epochs_on_disk(tmp_path) < 4000


def test_a_damaged_checkpoint_is_trained_again(few, tmp_path):
    (first,) = training.train(few, seeds=[0], folder=tmp_path, **OPTIONS)
    good = weights(first)
    first.path.write_bytes(first.path.read_bytes()[:1000])
    with pytest.warns(RarefireWarning, match="is damaged .* trained again from the start"):
        (again,) = training.train(few, seeds=[0], folder=tmp_path, **OPTIONS)
    assert torch.equal(weights(again), good)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path, held: flip(path),
        lambda path, held: torch.save({}, path),
        lambda path, held: torch.save([1, 2], path),
        lambda path, held: torch.save({**held, "best": {}}, path),
        lambda path, held: torch.save({**held, "epoch": 2}, path),
        lambda path, held: torch.save({**held, "done": False}, path),
        lambda path, held: torch.save({**held, "more": 1}, path),
        lambda path, held: path.write_bytes(b""),
        lambda path, held: (path.unlink(), path.mkdir()),
    ],
    ids=["bit", "empty", "list", "no weights", "epochs", "no state", "more", "nothing", "folder"],
)
def test_what_is_no_whole_checkpoint_is_trained_again(few, own_cache, spoil):
    """With the same weights; a single flipped bit is seen, which torch would read as another weight."""
    (first,) = training.train(few, seeds=[0], jobs=1, **OPTIONS)
    good = weights(first)
    spoil(first.path, torch.load(first.path, weights_only=True))
    said = rf"the checkpoint {first.path} is damaged \(.+\); this network is trained again from the start\."
    with pytest.warns(RarefireWarning, match=said):
        (again,) = training.train(few, seeds=[0], jobs=1, **OPTIONS)
    assert torch.equal(weights(again), good)


def flip(path):
    """A bit in the middle of the longest tensor."""
    content = bytearray(path.read_bytes())
    longest = max(zipfile.ZipFile(path).infolist(), key=lambda member: member.file_size)
    content[longest.header_offset + longest.file_size // 2] ^= 1
    path.write_bytes(content)
    torch.load(path, weights_only=True)  # sees nothing


def test_what_is_no_file_is_refused_before_the_training(few, tmp_path):
    (tmp_path / "fit.pt").mkdir()
    options = {"path": tmp_path / "fit.pt", "recipe": SHORT, "seed": 5}
    with (
        pytest.warns(RarefireWarning, match=r"fit\.pt is damaged \(.* is a folder, not a file"),
        pytest.raises(DataError, match=r"could not write .*fit\.pt: it is a folder; name a file"),
    ):
        training.fit(built(few), few, report=lambda *_: pytest.fail("it trains"), **options)
    assert os.listdir(tmp_path) == ["fit.pt"]


@pytest.mark.long
@pytest.mark.parametrize(
    "changes",
    [{}, {"optimizer": "adamw", "weight_decay": 0.1}, {"optimizer": "sgd", "learning_rate": 0.02}],
    ids=["adam", "adamw", "sgd"],
)
def test_stacked_instances_are_trained_like_single_ones(few, tmp_path, changes):
    """The same start, order and steps: equal up to rounding after one epoch."""
    recipe = training.Recipe(batch_size=32, max_epochs=1, **changes)
    options = {"seeds": [0, 1, 2], "recipe": recipe, "progress": False}
    apart = training.train(few, device="cpu", folder=tmp_path / "a", **options)
    stacked = training.train(few, device="stacked-cpu", folder=tmp_path / "s", **options)
    for one, other in zip(apart, stacked, strict=True):
        # Adam divides small gradients by their size: up to 1e-5 after nine steps of 1e-3, measured.
        torch.testing.assert_close(weights(one), weights(other), atol=2e-4, rtol=0)
        assert one.history["loss"] == pytest.approx(other.history["loss"], abs=1e-4)


def cut_after(reports, few, folder, **options):
    """Stop a run after so many reports as an interrupt would: their checkpoints are written."""
    seen = []
    original = training._Bar.epoch

    def stop(self, *news):
        original(self, *news)
        seen.append(news)
        if len(seen) == reports:
            raise Stop

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training._Bar, "epoch", stop)
        with pytest.raises(Stop):
            training.train(few, folder=folder, **options)


SGD = {"optimizer": "sgd", "learning_rate": 0.02, "weight_decay": 1e-3}


@pytest.mark.long
@pytest.mark.parametrize("changes", [{}, {**SGD, "keep": "last"}], ids=["adam", "sgd-last"])
def test_a_stacked_run_resumes_to_the_same_bits(few, tmp_path, changes):
    recipe = dataclasses.replace(SHORT, **changes)
    options = {"seeds": [0, 1], "device": "stacked-cpu", "progress": False, "recipe": recipe}
    whole = training.train(few, folder=tmp_path / "whole", **options)
    cut_after(2, few, tmp_path / "cut", **options)
    assert epochs_on_disk(tmp_path / "cut") == 2
    resumed = training.train(few, folder=tmp_path / "cut", **options)
    for one, other in zip(whole, resumed, strict=True):
        assert torch.equal(weights(one), weights(other))
        assert one.history == other.history


@pytest.mark.parametrize(
    ("network", "changes"),
    [
        ("lenet5", SGD),
        ("lenet5", {"optimizer": "adamw", "weight_decay": 0.1, "keep": "last"}),
        ("lenet5-batchnorm", {}),
        ("lenet5-batchnorm", {**SGD, "keep": "last"}),
    ],
    ids=["sgd", "adamw-last", "batchnorm", "batchnorm-sgd-last"],
)
def test_an_interrupted_variation_resumes_to_the_same_bits(few, tmp_path, network, changes):
    """Momentum and running averages are in the checkpoint, and those of the kept epoch in the network."""
    recipe = dataclasses.replace(SHORT, **changes)
    options = {"network": network, "seeds": [0], "jobs": 1, "device": "cpu"}
    options |= {"recipe": recipe, "progress": False}
    (whole,) = training.train(few, folder=tmp_path / "whole", **options)
    for reports in (1, 1):  # after its first epoch, and again after its second
        cut_after(reports, few, tmp_path / "cut", **options)
    assert epochs_on_disk(tmp_path / "cut") == 2
    (resumed,) = training.train(few, folder=tmp_path / "cut", **options)
    assert whole.history == resumed.history
    assert len(whole.history["loss"]) == 3
    assert torch.equal(weights(whole), weights(resumed))
    if network == "lenet5-batchnorm":
        steps = -(-270 // 32) * (3 if recipe.keep == "last" else whole.best_epoch)
        assert whole.network().norm1.num_batches_tracked == steps


def test_a_checkpoint_from_before_all_weights_were_one_vector(few, tmp_path):
    """Of an earlier version, in the middle of a run: the same run again from the start."""
    options = {"seeds": [0], "jobs": 1, "device": "cpu", **OPTIONS}
    (whole,) = training.train(few, folder=tmp_path / "whole", **options)
    cut_after(1, few, tmp_path / "cut", **options)
    (path,) = (tmp_path / "cut").glob("*.pt")
    state = training._read(path)
    assert state["optimizer"]["param_groups"][0]["params"] == [0]
    state["optimizer"]["param_groups"][0]["params"] = list(range(10))
    torch.save(state, path)
    (again,) = training.train(few, folder=tmp_path / "cut", **options)
    assert again.history == whole.history
    assert torch.equal(weights(again), weights(whole))


@pytest.mark.long
def test_two_processes_train_an_instance_once(tmp_path):
    """The one that comes later waits, and finds it trained."""
    with store.alone(tmp_path / "training"):
        other = start(tmp_path, 1)  # waits
        assert other.poll() is None
        recipe = training.Recipe(batch_size=8, max_epochs=EPOCHS, patience=EPOCHS)
        data = stimuli.load("digits", "train").subset(np.arange(600))
        tasks = [training._Task(data, "lenet5", recipe, s, tmp_path / f"seed-000{s}.pt") for s in (0, 1)]
        training._train(tasks, device="cpu", jobs=1, progress=False)
        written = [task.path.stat().st_mtime_ns for task in tasks]
    assert other.wait() == 0
    assert [task.path.stat().st_mtime_ns for task in tasks] == written


def test_an_atypical_instance_is_reported(few, tmp_path):
    recipe = training.Recipe(batch_size=300, max_epochs=1, typical=0.99)
    with pytest.warns(RarefireWarning, match=r"1 of 1 instances stayed below .* 99.0%.*seeds \[7\]"):
        training.train(few, seeds=[7], recipe=recipe, folder=tmp_path, progress=False)


@pytest.mark.long
def test_progress_shows_accuracy_and_time_left(few, tmp_path, capfd):
    training.train(few, seeds=[0, 1], jobs=2, recipe=SHORT, folder=tmp_path)
    shown = capfd.readouterr().err
    assert "digits, lenet5" in shown
    assert "2/2 done, accuracy" in shown
    assert "<" in shown  # tqdm's elapsed<left


def test_identity_names_everything_but_the_seed():
    facts = training.identity("digits")
    assert facts["train_digest"] == stimuli.load("digits", "train").digest
    assert facts["recipe"] == training.RECIPES["digits"].facts()
    assert facts["network"] == "lenet5"
    assert training.recipe_for("folder:x") == training.Recipe()


def test_recorded_runs_keep_their_keys():
    """Keys as they were before recipes had an optimiser and a way to keep weights."""
    recorded = {
        ("mnist", "lenet5"): "13ca12011dd789004bd3",
        ("mnist", "lenet5-wide"): "9720c584e19c72cb086e",
        ("cifar10-jpg", "lenet5"): "b544c1a47be4bd80faf4",
    }
    for (images, network), key in recorded.items():
        assert store.key(**training.identity(images, network)) == key
    other = dataclasses.replace(training.RECIPES["mnist"], keep="last")
    assert store.key(**training.identity("mnist", recipe=other)) not in recorded.values()


def test_facts_of_a_recipe_name_later_fields_only_where_they_differ():
    first = {
        "learning_rate": 1e-3,
        "weight_decay": 0.0,
        "batch_size": 128,
        "max_epochs": 40,
        "patience": 5,
        "validation": 0.1,
        "typical": 0.0,
    }
    assert training.Recipe().facts() == first
    assert list(training.Recipe().facts()) == list(first)
    assert training.Recipe(optimizer="adam", keep="best", patience=7).facts() == first | {"patience": 7}
    assert training.Recipe(optimizer="sgd").facts() == first | {"optimizer": "sgd"}
    assert training.Recipe(keep="last").facts() == first | {"keep": "last"}
    assert training.Recipe(milestones=(2,)).facts() == first | {"milestones": (2,)}
    assert training.Recipe(check_every=5).facts() == first | {"check_every": 5}
    both = training.Recipe(optimizer="adamw", keep="last").facts()
    assert both == first | {"optimizer": "adamw", "keep": "last"}
    for images, recipe in training.RECIPES.items():
        assert set(recipe.facts()) == set(first), images


@pytest.mark.parametrize("batch_size", [269, 1])
def test_batch_norm_refuses_a_batch_of_one_image(few, tmp_path, batch_size):
    assert (~stimuli.stratified_mask(few.labels, 0.1, seed=0)).sum() == 270
    recipe = dataclasses.replace(SHORT, batch_size=batch_size)
    options = {"seeds": [0], "recipe": recipe, "folder": tmp_path, "jobs": 1, "progress": False}
    with pytest.raises(InputError, match=f"270 images to train on, in batches of {batch_size}, leave one"):
        training.train(few, "lenet5-batchnorm", **options)


def test_unknown_parts_of_a_recipe():
    with pytest.raises(UnknownNameError, match=r"no optimizer 'adma'. There are: adam, adamw, sgd\."):
        training.Recipe(optimizer="adma")
    with pytest.raises(UnknownNameError, match=r"no way to keep weights 'first'. There are: .*last"):
        training.Recipe(keep="first")
    with pytest.raises(UnknownNameError, match="no optimizer 'SGD'"):
        dataclasses.replace(training.RECIPES["digits"], optimizer="SGD")


def test_accuracy_counted_by_hand(few):
    class Always(torch.nn.Module):
        def forward(self, x):
            return torch.nn.functional.one_hot(torch.full((len(x),), 4), 10).float()

    assert training.accuracy(Always(), few) == np.mean(few.labels == 4)


@pytest.mark.long
def test_mnist_reaches_typical_accuracy(mirror, own_cache, monkeypatch):
    """Real MNIST: 12,000 images and three epochs already give 95 %; the chapter trains to 98.5 %."""
    monkeypatch.setenv("RAREFIRE_MIRROR", str(mirror))
    data = stimuli.load("mnist", "train").subset(np.arange(12_000))
    recipe = training.Recipe(batch_size=64, max_epochs=3)
    (instance,) = training.train(data, seeds=[0], recipe=recipe, progress=False)
    assert training.accuracy(instance.network(), stimuli.load("mnist", "test")) > 0.95


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"seeds": []}, InputError, "at least one; got \\[\\]"),
        ({"seeds": [1, 1]}, InputError, "distinct"),
        ({"seeds": [1], "network": "lenet6"}, UnknownNameError, "no network 'lenet6'. There are: lenet5"),
    ],
)
def test_errors(few, options, error, message):
    with pytest.raises(error, match=message):
        training.train(few, **options)


@pytest.mark.parametrize("network", ["resnet18", "lenet5-batchnorm"])
def test_networks_with_batch_norm_are_not_stacked(tmp_path, network):
    digits = stimuli.load("digits", "train").subset(np.arange(40))
    colour = dataclasses.replace(digits, images=digits.images.repeat(3, axis=1), name="folder:colour")
    with pytest.raises(InputError, match="batch norm.* use device='cpu'"):
        training.train(
            colour,
            network,
            seeds=[0],
            recipe=training.Recipe(max_epochs=1, validation=0.5),
            device="stacked-cpu",
            folder=tmp_path,
            progress=False,
        )
