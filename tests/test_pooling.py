"""ReLU and max-pooling in one step: torch's own numbers, and the network is the same one."""

import numpy as np
import pytest
import torch
from torch import nn

from rarefire import networks
from rarefire._engine import pooling

TWO_STEPS = nn.Sequential(nn.ReLU(), nn.MaxPool2d(2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(3, 6, 28, 28), (2, 1, 5, 7), (1, 3, 2, 2), (4, 2, 9, 2), (0, 2, 4, 4)])
def test_values_and_gradients_are_torchs(shape, dtype):
    """To the last bit, where there is nothing to round: ties, zeros of both signs, infinities, odd sizes."""
    some = torch.Generator().manual_seed(1)
    x = (torch.randn(shape, generator=some, dtype=dtype) * 2).round() / 2
    x[torch.rand(shape, generator=some) < 0.02] = torch.inf
    x[torch.rand(shape, generator=some) < 0.02] = -torch.inf
    there, here = x.clone().requires_grad_(), x.clone().requires_grad_()
    expected, pooled = TWO_STEPS(there), pooling.ReLUPool()(here)
    assert torch.equal(pooled, expected)
    weights = torch.randn(expected.shape, generator=some, dtype=dtype)
    expected.backward(weights)
    pooled.backward(weights)
    assert torch.equal(here.grad, there.grad)


def test_nan_is_not_pooled_away():
    """Where a training run diverges, its loss must say so."""
    x = torch.tensor([[[[torch.nan, 1.0, 2.0, torch.nan], [3.0, -1.0, -1.0, 0.5]]]])
    assert pooling.ReLUPool()(x).isnan().all()
    assert TWO_STEPS(x).isnan().all()


def test_an_input_that_is_not_contiguous_or_channels_last():
    x = torch.arange(2 * 3 * 4 * 6, dtype=torch.float32).reshape(2, 3, 4, 6).sin()
    for other in (x.to(memory_format=torch.channels_last), x.transpose(2, 3), x[:, ::2]):
        here = other.detach().requires_grad_()
        there = other.detach().clone().requires_grad_()
        out = pooling.ReLUPool()(here)
        assert torch.equal(out, TWO_STEPS(there))
        out.sum().backward()
        TWO_STEPS(there).sum().backward()
        assert torch.equal(here.grad, there.grad)


@pytest.mark.parametrize("name", ["lenet5", "lenet5-wide", "lenet5-batchnorm"])
def test_a_fused_network_is_the_same_network(name, rng):
    network = networks.build(name, input_shape=(1, 32, 32), n_classes=10, mean=(0.3,), std=(0.2,))
    fast = pooling.fused(network)
    assert sum(isinstance(layer, pooling.ReLUPool) for layer in fast) == (1 if name == "lenet5-wide" else 2)
    assert not any(isinstance(layer, nn.MaxPool2d) for layer in fast)
    assert {id(p) for p in fast.parameters()} == {id(p) for p in network.parameters()}
    images = torch.from_numpy(rng.random((5, 1, 32, 32), dtype=np.float32))
    with torch.inference_mode():
        torch.testing.assert_close(fast(networks.normalised(network, images)), network(images))


def test_other_layers_stay_and_other_networks_come_back():
    layers = [nn.MaxPool2d(2), nn.ReLU(), nn.MaxPool2d(3), nn.ReLU(), nn.MaxPool2d(2, stride=1)]
    assert list(pooling.fused(nn.Sequential(*layers))) == layers
    flat = nn.Linear(2, 2)
    assert pooling.fused(flat) is flat
