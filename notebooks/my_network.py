"""A network that the book did not train. Replace it by yours.

`rarefire` asks for a function that returns a `torch.nn.Module`, no more: ``my_network.py:convnet``.
This one learns handwritten digits in some seconds, by no recipe of the book's. Yours will load its weights.
"""

import torch
from torch import nn

from rarefire import stimuli

EPOCHS, BATCH = 8, 64


def convnet() -> nn.Module:
    """Three convolutions and two hidden layers for grey pictures of 32 × 32 pixels in [0, 1]."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        network = nn.Sequential(
            *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten()),
            *(nn.Linear(1024, 256), nn.ReLU()),
            *(nn.Linear(256, 128), nn.ReLU()),
            nn.Linear(128, 10),
        )
        learn(network)
    return network.eval()


def learn(network: nn.Module) -> None:
    """Adam on the training digits."""
    train = stimuli.load("digits", "train")
    images, labels = torch.from_numpy(train.images), torch.from_numpy(train.labels)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(images)).split(BATCH):
            loss = nn.functional.cross_entropy(network(images[rows]), labels[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
