"""Sequences: a transformer that sees no later token, tasks, training that survives kill -9, errors."""

import dataclasses
import math
import os
import signal
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import wait_until

from rarefire import sequences, training
from rarefire.errors import DataError, InputError, RarefireWarning, UnknownNameError

SIZES = {"width": 16, "depth": 3, "heads": 2, "length": 8}


@pytest.fixture(scope="module")
def network():
    return sequences.Transformer(11, **SIZES, seed=4)


@pytest.fixture
def rows(rng):
    return rng.integers(0, 11, size=(30, 8))


def logits(network, rows):
    with torch.no_grad():
        return network(torch.from_numpy(rows)).numpy()


# --- the network ---------------------------------------------------------------------------------


def test_a_place_sees_itself_and_those_before_it(network, rows):
    whole = logits(network, rows)
    for place in range(8):
        other = rows.copy()
        other[:, place] = (other[:, place] + 1) % 11
        changed = np.abs(logits(network, other) - whole).max(axis=(0, 2))
        assert (changed[:place] < 1e-5).all()
        assert (changed[place:] > 1e-4).all()
    np.testing.assert_allclose(logits(network, rows[:, :5]), whole[:, :5], atol=1e-5)


@pytest.mark.parametrize(("width", "depth", "length"), [(16, 3, 8), (32, 1, 3), (24, 6, 64)])
def test_the_number_of_weights(width, depth, length):
    made = sequences.Transformer(11, width=width, depth=depth, heads=4, length=length)
    found = sum(p.numel() for p in made.parameters())
    assert found == 2 * 11 * width + length * width + depth * (12 * width**2 + 13 * width) + 2 * width


def test_a_block_is_that_of_torch(network, rng):
    """The same weights in ``nn.TransformerEncoderLayer``, with a mask over what comes later."""
    block, theirs = (
        network.blocks[1],
        torch.nn.TransformerEncoderLayer(
            16, 2, dim_feedforward=64, dropout=0.0, batch_first=True, norm_first=True
        ),
    )
    pairs = {
        "self_attn.in_proj_": block.attention.inputs,
        "self_attn.out_proj.": block.attention.outputs,
        "linear1.": block.mlp.hidden[0],
        "linear2.": block.mlp.outputs,
        "norm1.": block.attention.norm,
        "norm2.": block.mlp.norm,
    }
    theirs.load_state_dict({f"{k}{p}": getattr(m, p) for k, m in pairs.items() for p in ("weight", "bias")})
    x = torch.from_numpy(rng.standard_normal((5, 8, 16)).astype(np.float32))
    with torch.no_grad():
        expected = theirs(x, src_mask=torch.nn.Transformer.generate_square_subsequent_mask(8))
        np.testing.assert_allclose(block(x), expected, atol=1e-5)


def test_weights_are_the_seeds_and_leave_global_generators_alone():
    before = torch.get_rng_state()
    one, same, other = (sequences.Transformer(11, **SIZES, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    flat = [torch.cat([p.flatten() for p in n.parameters()]) for n in (one, same, other)]
    assert torch.equal(flat[0], flat[1])
    assert not torch.equal(flat[0], flat[2])
    weight = sequences.Transformer(500, width=64, depth=1, heads=1, length=2).outputs.weight
    assert float(weight.detach().std()) == pytest.approx(0.5 / 8, rel=0.02)


def test_the_states_are_those_of_the_forward_pass(network, rows):
    """Against hooks on the modules, at every place, in uneven batches."""
    caught = {}
    modules = {"embedding": network.embedding, "norm": network.norm, "outputs": network.outputs}
    for i, block in enumerate(network.blocks):
        modules |= {f"attention {i}": block.attention, f"hidden {i}": block.mlp.hidden, f"mlp {i}": block.mlp}
    hooks = [
        module.register_forward_hook(lambda _m, _x, out, name=name: caught.update({name: out.numpy()}))
        for name, module in modules.items()
    ]
    logits(network, rows)
    for hook in hooks:
        hook.remove()
    for place in (0, 3, -1):
        found = sequences.states(network, rows, position=place, hidden=True, batch_size=7)
        assert list(found) == [
            "embedding",
            *(f"{part} {i}" for i in range(3) for part in ("attention", "hidden", "mlp")),
            "norm",
            "outputs",
        ]
        for name, values in found.items():
            assert values.dtype == np.float32
            np.testing.assert_allclose(values, caught[name][:, place], atol=1e-5)
        assert found["hidden 0"].shape == (30, 64)
        assert found["hidden 0"].min() == 0
    few = sequences.states(network, rows)
    assert "hidden 0" not in few
    assert few["mlp 2"].shape == (30, 16)


@pytest.mark.parametrize("block", [0, 1, 2])
def test_a_block_that_is_skipped_is_the_identity(network, rows, block):
    without = sequences.skipped(network, block)
    assert len(without.blocks) == 2
    assert len(network.blocks) == 3
    same = sequences.Transformer(11, **SIZES, seed=4)
    with torch.no_grad():  # a block that adds nothing
        for module in (same.blocks[block].attention.outputs, same.blocks[block].mlp.outputs):
            module.weight.zero_()
            module.bias.zero_()
    np.testing.assert_array_equal(logits(without, rows), logits(same, rows))
    assert np.abs(logits(without, rows) - logits(network, rows)).max() > 1e-3


# --- tasks ---------------------------------------------------------------------------------------


def test_addition_is_all_pairs_parted_with_their_mirrored_ones():
    data = sequences.addition(13, share=0.6, seed=3)
    assert data.n_tokens == 14
    assert data.length == 3
    parts = [{(a, b) for a, b, *_ in rows.tolist()} for rows in (data.train, data.test)]
    assert not parts[0] & parts[1]
    assert parts[0] | parts[1] == {(a, b) for a in range(13) for b in range(13)}
    assert len(data.train) + len(data.test) == 169
    for part, rows in zip(parts, (data.train, data.test), strict=True):
        assert part == {(b, a) for a, b in part}
        assert all((a + b) % 13 == c and equals == 13 for a, b, equals, c in rows.tolist())
    assert sum(a <= b for a, b in parts[0]) == round(0.6 * 91)
    same, other = (sequences.addition(13, share=0.6, seed=seed) for seed in (3, 4))
    assert same.facts() == data.facts()
    assert other.facts() != data.facts()


def test_the_docstrings_are_text_of_the_standard_library():
    data = sequences.docstrings(length=32)
    assert data.n_tokens == len(sequences.ALPHABET) == 96
    assert data.train.shape[1] == data.test.shape[1] == 33
    assert data.scored == data.length == 32
    characters = np.array(list(sequences.ALPHABET))
    read, held = "".join(characters[data.train[:, 0]]), "".join(characters[data.test[:, :-1].ravel()])
    assert "Insert item x in list a, and keep it sorted assuming a is sorted." in read  # bisect
    assert "Text wrapping and filling." in held  # textwrap, one of those held out
    assert "Text wrapping and filling." not in read
    assert "textwrap" in data.facts()["held_out"]
    assert len(read) > 500_000
    assert len(held) > 30_000
    assert (data.train[1:6, :-1] == data.train[:5, 1:]).all()  # from every character
    assert data.facts()["python"] == f"{sys.version_info.major}.{sys.version_info.minor}"


def test_baselines_count():
    """A text of a known chain, and the same counts by hand."""
    text = np.array([0, 1, 0, 1, 0, 2, 0, 1, 0, 1, 1], dtype=np.uint8)
    rows = np.lib.stride_tricks.sliding_window_view(text, 4)
    data = sequences.Sequences("text", 3, rows, np.array([[0, 1, 0, 2]]), 3, {})
    pairs = [(0, 1), (1, 0), (0, 2), (2, 0), (0, 1), (1, 0), (0, 1), (1, 1)]  # at the ends of rows
    both = Counter(pairs)
    ends = Counter(b for _, b in pairs)
    starts = Counter(a for a, _ in pairs)
    told = [(0, 1), (1, 0), (0, 2)]
    bigram = [(both[pair] + 1) / (starts[pair[0]] + 3) for pair in told]
    unigram = [(ends[b] + 3) / (len(pairs) + 9) for _, b in told]
    found = sequences.baselines(data)
    assert found["bigram"] == pytest.approx(-np.mean(np.log2(bigram)))
    assert found["unigram"] == pytest.approx(-np.mean(np.log2(unigram)))


def test_in_addition_pairs_tell_nothing():
    """The token before the last is always ``=``, and all sums are about as frequent."""
    found = sequences.baselines(sequences.addition(31))
    assert math.log2(31) < found["bigram"] < math.log2(31) + 0.2


# --- training ------------------------------------------------------------------------------------

SHORT = sequences.Recipe(learning_rate=3e-3, weight_decay=1.0, steps=40, goal=None, warmup=5)


def small(seed=0, p=11, depth=1):
    return sequences.Transformer(p + 1, width=32, depth=depth, heads=2, length=3, seed=seed)


def flat(network):
    return torch.cat([p.detach().flatten().clone() for p in network.parameters()])


def test_accuracy_and_bits_are_torchs(network, rows):
    data = sequences.Sequences("random", 11, rows, rows[:13], 5, {})
    out = torch.from_numpy(logits(network, rows[:13, :-1]))[:, -5:].reshape(-1, 11)
    told = torch.from_numpy(rows[:13, -5:]).flatten()
    assert sequences.bits(network, data) == pytest.approx(float(F.cross_entropy(out, told)) / math.log(2))
    assert sequences.accuracy(network, data) == pytest.approx(float((out.argmax(1) == told).float().mean()))
    uneven = sequences.bits(network, data, part="train", batch_size=7)
    assert uneven == pytest.approx(sequences.bits(network, data, part="train"), rel=1e-5)
    with pytest.raises(UnknownNameError, match="no part 'all'. There are: train, test"):
        sequences.accuracy(network, data, part="all")


@pytest.mark.parametrize("batch_size", [0, 16])
def test_training_equals_a_plain_loop(tmp_path, batch_size):
    data, made = sequences.addition(11), small()
    recipe = dataclasses.replace(SHORT, batch_size=batch_size, decay=True)
    before = torch.get_rng_state()
    found = sequences.fit(made, data, path=tmp_path / "x.pt", recipe=recipe, seed=7)
    assert torch.equal(before, torch.get_rng_state())
    plain = small()
    assert all(torch.equal(v, found.weights["untrained"][k]) for k, v in plain.state_dict().items())
    optimizer = torch.optim.AdamW(plain.parameters(), lr=1, weight_decay=1.0, betas=(0.9, 0.98), fused=True)
    with training.one_thread():  # as many threads, as many orders of summing
        for step in range(40):
            rows = data.train
            if batch_size:
                rows = rows[np.random.default_rng([7, step]).integers(len(rows), size=16)]
            rows = torch.from_numpy(rows)
            optimizer.param_groups[0]["lr"] = 3e-3 * min((step + 1) / 5, 1, (40 - step) / 35)
            optimizer.zero_grad()
            F.cross_entropy(plain(rows[:, :3])[:, -1], rows[:, 3]).backward()
            optimizer.step()
    assert torch.equal(flat(made), flat(plain))
    assert found.steps == {"untrained": 0, "after": 40}
    assert found.history["step"] == [0, 10, 20, 30, 40]
    assert found.history["test_bits"][-1] == pytest.approx(sequences.bits(made, data))
    assert found.history["train_accuracy"][0] < 0.3
    assert not found.generalised


def test_the_rule_of_addition_is_found_after_the_rows_are_known(tmp_path):
    data, made = sequences.addition(23, share=0.85), small(p=23)
    recipe = sequences.Recipe(
        learning_rate=5e-3, weight_decay=1.0, steps=1500, batch_size=256, goal=0.9, held=3
    )
    seen = []
    path = tmp_path / "x.pt"
    found = sequences.fit(
        made, data, path=path, recipe=recipe, seed=0, report=lambda *news: seen.append(news)
    )
    assert found.generalised
    assert sequences.accuracy(made, data) >= 0.9
    known = small(p=23)
    known.load_state_dict(found.weights["before"])
    assert sequences.accuracy(known, data, part="train") >= 0.99
    assert sequences.accuracy(known, data) < 0.5
    assert 0 < found.steps["before"] < found.steps["after"] < 1500
    assert [step for step, _, _ in seen] == found.history["step"]
    assert [done for _, _, done in seen] == [False] * (len(seen) - 1) + [True]
    assert min(accuracy for _, accuracy, _ in seen[-3:]) >= 0.9
    again = small(p=23)
    sequences.fit(again, data, path=path, recipe=recipe, seed=0, report=lambda *_: pytest.fail("trained"))
    assert torch.equal(flat(again), flat(made))


LONGER = dataclasses.replace(SHORT, steps=400, batch_size=16, check_every=5)
RUN = """
import sys
from test_sequences import LONGER, sequences, small
sequences.fit(small(), sequences.addition(11), path=sys.argv[1], recipe=LONGER, seed=3)
"""


def test_killed_and_resumed_to_the_same_bits(tmp_path):
    path, data = tmp_path / "killed.pt", sequences.addition(11)

    def step():
        return torch.load(path, weights_only=True)["step"] if path.exists() else 0

    run = subprocess.Popen([sys.executable, "-c", RUN, str(path)], cwd=os.path.dirname(__file__))
    wait_until(lambda: step() >= 100, alive=lambda: run.poll() is None)
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    assert 100 <= step() < 400
    seen, resumed, whole = [], small(), small()
    killed = sequences.fit(
        resumed, data, path=path, recipe=LONGER, seed=3, report=lambda step, *_: seen.append(step)
    )
    assert seen[0] >= 100
    never = sequences.fit(whole, data, path=tmp_path / "whole.pt", recipe=LONGER, seed=3)
    assert torch.equal(flat(resumed), flat(whole))
    assert killed.history == never.history
    assert killed.steps == never.steps
    for name, weights in never.weights.items():
        assert all(torch.equal(weights[k], killed.weights[name][k]) for k in weights)


def test_a_damaged_checkpoint_is_trained_again(tmp_path):
    path, made, again = tmp_path / "x.pt", small(), small()
    data = sequences.addition(11)
    sequences.fit(made, data, path=path, recipe=SHORT, seed=0)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.warns(RarefireWarning, match="is damaged .* trained again from the start"):
        sequences.fit(again, data, path=path, recipe=SHORT, seed=0)
    assert torch.equal(flat(again), flat(made))


def test_a_text_is_learnt_beyond_its_pairs(tmp_path):
    """Words in a fixed order: what follows a letter depends on the one before it."""
    text = np.tile(np.array([0, 1, 0, 2, 0, 3], dtype=np.uint8), 80)
    rows = np.lib.stride_tricks.sliding_window_view(text, 9)
    data = sequences.Sequences("text", 4, rows, rows[:6], 8, {})
    recipe = sequences.Recipe(
        learning_rate=5e-3, weight_decay=0.1, steps=150, batch_size=16, goal=None, check_every=50
    )
    made = sequences.Transformer(4, width=32, depth=2, heads=2, length=8)
    sequences.fit(made, data, path=tmp_path / "x.pt", recipe=recipe, seed=0)
    pairs = sequences.baselines(data)["bigram"]
    assert pairs == pytest.approx(np.log2(3) / 2, abs=0.05)
    assert sequences.bits(made, data) < pairs / 2


def test_every_task_has_a_recipe():
    assert list(sequences.TASKS) == ["addition", "docstrings"]
    recipe = sequences.TASKS["docstrings"]
    assert recipe.rate(0) == pytest.approx(recipe.learning_rate / recipe.warmup)
    assert recipe.rate(recipe.warmup) == recipe.learning_rate
    assert recipe.rate(recipe.steps) == 0
    assert sequences.TASKS["addition"].rate(2000) == sequences.TASKS["addition"].learning_rate


# --- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ask", "sentence"),
    [
        (lambda: sequences.Transformer(5, width=8, depth=0, heads=2, length=3), "depth must be at least 1"),
        (lambda: sequences.Transformer(5, width=9, depth=1, heads=2, length=3), "width=9, heads=2"),
        (lambda: sequences.skipped(small(), 1), r"block must be in 0–0, of 1 blocks; got 1"),
        (lambda: sequences.states(small(), np.zeros((2, 4), int)), r"\(n, at most 3\); got int64 \(2, 4\)"),
        (lambda: sequences.states(small(), np.zeros((2, 3))), "whole numbers.* got float64"),
        (lambda: sequences.states(small(), np.full((2, 3), 12)), "numbers in 0–11; got 12 to 12"),
        (lambda: sequences.states(small(), np.zeros((0, 3), int)), "at least one row .* got none"),
        (lambda: sequences.states(small(), np.zeros((2, 3), int), position=3), "within the 3 tokens.* got 3"),
        (lambda: sequences.addition(1), "p must be at least 2"),
        (lambda: sequences.addition(11, share=1.0), "share=1.0"),
        (lambda: sequences.addition(3, share=0.01), "share=0.01 of 6 pairs leaves none to train on"),
        (lambda: sequences.docstrings(length=0), "length must be at least 1 .* got 0"),
        (lambda: dataclasses.replace(SHORT, steps=0), "steps must be at least 1; got 0"),
    ],
)
def test_what_cannot_be(ask, sentence):
    with pytest.raises(InputError, match=sentence):
        ask()


def test_what_cannot_be_trained(tmp_path):
    path, data = tmp_path / "x.pt", sequences.addition(11)
    with pytest.raises(InputError, match="addition has 14 tokens, in rows of 3; the network is for 12"):
        sequences.fit(small(), sequences.addition(13), path=path, seed=0)
    with pytest.raises(UnknownNameError, match="no recipe for the task 'other'.* Give one as recipe="):
        sequences.fit(small(), dataclasses.replace(data, name="other"), path=path, seed=0)
    assert not any(tmp_path.iterdir())
    sequences.fit(small(), data, path=path, recipe=SHORT, seed=0)
    kept = path.read_bytes()
    for made, options in (
        (small(1), {"recipe": SHORT, "seed": 0}),
        (small(), {"recipe": SHORT, "seed": 1}),
        (small(), {"recipe": dataclasses.replace(SHORT, steps=50), "seed": 0}),
    ):
        with pytest.raises(DataError, match="is the checkpoint of another training"):
            sequences.fit(made, data, path=path, **options)
    assert path.read_bytes() == kept


def test_a_python_without_its_sources(tmp_path, monkeypatch):
    sequences._texts.cache_clear()
    monkeypatch.setattr(sequences.sysconfig, "get_path", lambda _: str(tmp_path))
    with pytest.raises(DataError, match="has the sources of 0 of .* modules: use a Python"):
        sequences.docstrings()
