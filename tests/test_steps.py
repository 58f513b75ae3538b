"""A network's steps, from the outside in."""

import numpy as np
from torch import nn

from rarefire import steps


def test_steps_run_one_after_the_other(monkeypatch):
    stem = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    inner = nn.Sequential(nn.Conv2d(4, 6, 3), nn.ReLU(), nn.Identity(), nn.MaxPool2d(2))
    network = nn.Sequential(stem, inner, nn.Flatten(), nn.Linear(6 * 4, 5)).eval()
    images = np.random.default_rng(0).uniform(size=(2, 3, 8, 8)).astype(np.float32)
    # Neither what comes before an activation nor what changes nothing.
    assert steps.find(network, images) == (["0.2", "1.1", "1.3", "3"], [])
    monkeypatch.setattr(steps, "WIDEST", 90)
    assert steps.find(network, images) == (["1.3", "3"], ["0.2", "1.1"])
