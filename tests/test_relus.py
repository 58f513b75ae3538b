"""ReLUs found where they run, and counted as a loop over all activations counts them."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from rarefire import relus
from rarefire.errors import InputError


class Many(nn.Module):
    """Modules, functions and methods; one that runs twice, one in place, and what is none."""

    def __init__(self):
        super().__init__()
        self.conv, self.act = nn.Conv2d(3, 5, 3), nn.ReLU(inplace=True)
        self.six, self.smooth, self.last = nn.ReLU6(), nn.SiLU(), nn.Linear(5, 4)
        self.seen = []

    def keep(self, values):
        self.seen.append(values.detach().clone().numpy())
        return values

    def forward(self, x):
        x = x.clamp(0, 1)  # of pictures; no activation
        x = self.keep(self.act(self.conv(x) - 0.1))
        x = self.keep(self.act(x - 0.2))
        x = self.keep(self.six(8 * x - 2))
        x = self.smooth(x)
        x = self.keep(F.relu(self.last(x.mean((2, 3)))))
        return self.keep((x - 0.01).clamp(min=0))


NAMES = ["act", "act (call 2)", "six", "the network", "the network (call 2)"]


@pytest.fixture
def network():
    torch.manual_seed(0)
    return Many()


@pytest.fixture
def images(rng):
    return rng.uniform(size=(7, 3, 8, 8)).astype(np.float32)


def test_every_relu_is_counted(network, images):
    network.train()
    found = relus.count(network, images, batch_size=3)
    assert network.training
    assert [one.name for one in found] == NAMES
    assert [one.function for one in found] == ["ReLU", "ReLU", "ReLU6", "ReLU", "clamp"]
    seen = [np.concatenate(network.seen[i::5]) for i in range(5)]
    for one, values in zip(found, seen, strict=True):
        positions = tuple(range(2, values.ndim))
        assert one.n_images == 7
        assert one.positions == np.prod(values.shape[2:], dtype=int)
        np.testing.assert_allclose(one.apoz, (values == 0).mean(axis=(0, *positions)))
        np.testing.assert_allclose(one.pooled, (values == 0).all(axis=positions).mean(axis=0))
        assert (one.pooled <= one.apoz).all()
    row = found[0].row(rare=0.5)
    assert row["rare"] == pytest.approx((found[0].apoz > 0.5).mean())
    assert row["dead"] == pytest.approx((found[0].pooled == 1).mean())


def test_what_is_no_relu_is_named(network, images):
    with relus.watched(network) as seen, torch.inference_mode():
        network(torch.from_numpy(images[:2]))
        network(torch.from_numpy(images))
    assert seen.others == {"SiLU": 1}
    assert [len(passed) for _, passed in seen.passes] == [5, 5]
    assert [one.n_images for one in seen.of(7)] == [7] * 5
    assert seen.of(3) == []
    assert not network._forward_hooks
    assert not network.act._forward_hooks


def test_tokens_have_their_features_last(rng):
    network = nn.Sequential(nn.Linear(4, 6), nn.ReLU())
    x = torch.from_numpy(rng.normal(size=(5, 3, 4)).astype(np.float32))
    with relus.watched(network) as seen, torch.inference_mode():
        values = network(x).numpy()
    (one,) = seen.of(5)
    assert one.positions == 3
    np.testing.assert_allclose(one.apoz, (values == 0).mean(axis=(0, 1)))


def test_what_cannot_be_counted_is_refused(network, images):
    with pytest.raises(InputError, match=r"images must be \(n, c, h, w\), at least one; got \(0, 3, 8, 8\)"):
        relus.count(network, images[:0])
    found = relus.count(network, images)
    with pytest.raises(InputError, match="depends on the images"):
        relus.added([found, found[1:]])
