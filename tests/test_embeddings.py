"""Embeddings: hooks that in-place ReLUs cannot fool, streaming, error messages."""

import numpy as np
import pytest
import torch
from torch import nn

from rarefire import embeddings, poz, stimuli
from rarefire.errors import InputError, UnknownNameError


@pytest.fixture
def images(rng):
    return rng.normal(size=(11, 1, 4, 4)).astype(np.float32)


def network(*, inplace):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 3, 3),
            nn.ReLU(inplace=inplace),
            nn.Flatten(),
            nn.Linear(12, 6),
            nn.ReLU(inplace=inplace),
            nn.Dropout(),
            nn.Linear(6, 2),
        )


@pytest.mark.parametrize("layer", ["0", "1", "2", "3", "4", embeddings.PENULTIMATE])
def test_in_place_relu_changes_nothing_that_was_recorded(images, layer):
    safe = embeddings.extract(network(inplace=False), images, layer=layer)
    risky = embeddings.extract(network(inplace=True), images, layer=layer)
    np.testing.assert_array_equal(safe, risky)
    if layer in ("0", "3"):
        assert safe.min() < 0  # before the ReLU


def test_an_unprotected_hook_would_be_fooled(images):
    """The trap is real: without the copy, the in-place ReLU overwrites the convolution's output."""
    kept = []
    model = network(inplace=True).eval()
    model[0].register_forward_hook(lambda _, __, output: kept.append(output))
    with torch.no_grad():
        model(torch.from_numpy(images))
    assert kept[0].min() == 0


def test_embedding_equals_the_arithmetic_spelt_out(images):
    model = network(inplace=True).eval()
    with torch.no_grad():
        hidden = torch.relu(model[0](torch.from_numpy(images))).flatten(1)
        expected = torch.relu(model[3](hidden)).numpy()
    np.testing.assert_allclose(embeddings.extract(model, images), expected, atol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 4, 11, 100])
def test_batches_do_not_matter(images, batch_size):
    model = network(inplace=True)
    whole = embeddings.extract(model, images)
    np.testing.assert_allclose(embeddings.extract(model, images, batch_size=batch_size), whole, atol=1e-6)


def test_any_iterable_of_batches_streams(images):
    model = network(inplace=True)
    pulled = []

    def batches():
        for start in range(0, 11, 4):
            pulled.append(start)
            yield torch.from_numpy(images[start : start + 4])

    stream = embeddings.stream(model, batches(), layer="1", spatial="keep")
    assert next(stream).shape == (4, 3, 2, 2)
    assert pulled == [0]
    counter = poz.PozCounter()
    for batch in embeddings.stream(model, batches(), layer="1", spatial="keep"):
        counter.update(batch)
    whole = embeddings.extract(model, images, layer="1", spatial="keep")
    np.testing.assert_allclose(counter.result(), (whole == 0).mean(axis=(0, 2, 3)))


def test_positions_flattened_averaged_or_kept(images):
    model = network(inplace=True)
    kept = embeddings.extract(model, images, layer="1", spatial="keep")
    assert kept.shape == (11, 3, 2, 2)
    np.testing.assert_array_equal(embeddings.extract(model, images, layer="1"), kept.reshape(11, 12))
    mean = embeddings.extract(model, images, layer="1", spatial="mean")
    np.testing.assert_allclose(mean, kept.mean(axis=(2, 3)), atol=1e-6)


def test_the_network_is_left_as_it_was(images):
    model = network(inplace=True).train()
    model[5].eval()
    modes = [m.training for m in model.modules()]
    embeddings.extract(model, images)
    assert [m.training for m in model.modules()] == modes
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_dropout_is_off(images):
    model = network(inplace=True).train()
    np.testing.assert_array_equal(embeddings.extract(model, images), embeddings.extract(model, images))


def test_read_only_images_and_stimuli(images):
    images.flags.writeable = False
    assert embeddings.extract(network(inplace=True), images).shape == (11, 6)
    digits = stimuli.load("digits").subset(np.arange(5))
    model = nn.Sequential(nn.Flatten(), nn.Linear(1024, 3), nn.ReLU(), nn.Linear(3, 2))
    assert embeddings.extract(model, digits).shape == (5, 3)


def test_layers_lists_names_in_order():
    assert embeddings.layers(network(inplace=True)) == list("0123456")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"layer": "relu4"}, UnknownNameError, "no layer 'relu4'. There are: penultimate, 0, 1, 2"),
        ({"spatial": "max"}, InputError, "'flatten', 'mean' or 'keep'; got 'max'"),
    ],
)
def test_errors(images, options, error, message):
    with pytest.raises(error, match=message):
        embeddings.extract(network(inplace=True), images, **options)


def test_nan_activations_are_counted_and_located(images):
    images[6] = np.nan
    with pytest.raises(
        InputError, match=r"NaN or infinite for 1 of 4 images .* starts at image 4 \(first: image 6\)"
    ):
        embeddings.extract(network(inplace=True), images, batch_size=4)


def test_more_errors(images):
    with pytest.raises(InputError, match="got none to embed"):
        embeddings.extract(network(inplace=True), images[:0])
    with pytest.raises(InputError, match=r"\(n, c, h, w\); got \(11, 16\)"):
        embeddings.extract(network(inplace=True), images.reshape(11, 16))
    with pytest.raises(InputError, match="no linear or convolutional layer"):
        embeddings.extract(nn.Sequential(nn.ReLU()), images)
    with pytest.raises(InputError, match="returns a tuple, not one tensor"):
        embeddings.extract(Recurrent(), images, layer="rnn")
    with pytest.raises(InputError, match="'spare' exists but is not used"):
        embeddings.extract(Recurrent(), images, layer="spare")


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn, self.spare = nn.RNN(4, 3, batch_first=True), nn.Linear(2, 2)

    def forward(self, x):
        return self.rnn(x[:, 0])[0]
