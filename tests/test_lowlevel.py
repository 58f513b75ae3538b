"""Low-level properties: images made to have them, naive loops over windows, receptive fields by formula."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from rarefire import embeddings, lowlevel, networks, stimuli, units
from rarefire.errors import InputError, UnknownNameError

ROUNDING = 1e-12
ENERGIES = [f"energy_{angle}" for angle in (0, 45, 90, 135)]
GREY = [0.299, 0.587, 0.114]


def grating(angle, *, side=64, period=8):
    """Stripes at `angle` degrees, counter-clockwise from horizontal as one looks at them."""
    down, across = np.mgrid[:side, :side]
    turned = np.deg2rad(angle)
    step = across * np.sin(turned) + down * np.cos(turned)  # across the stripes; rows count downwards
    return 0.5 + 0.4 * np.sin(2 * np.pi * step / period)[None, None]


def noise(rng, exponent, *, n=20, shape=(64, 64)):
    """Amplitude exactly 1/f^exponent, phases by chance; n images with grey levels in [0, 1]."""
    f = np.hypot(*np.meshgrid(*map(np.fft.fftfreq, shape), indexing="ij"))
    f[0, 0] = np.inf
    phases = np.fft.fft2(rng.normal(size=(n, *shape)))
    images = np.fft.ifft2(phases / np.abs(phases) / f**exponent).real
    return (0.5 + 0.5 * images / np.abs(images).max(axis=(1, 2), keepdims=True))[:, None]


def naive_windows(images, size, stride, padding, positions=None):
    """Rows and columns of each window, and what of the images is in it."""
    sides = images.shape[2:]
    counts = positions or [
        (s + 2 * p - k) // t + 1 for s, k, t, p in zip(sides, size, stride, padding, strict=True)
    ]
    for i in range(counts[0]):
        for j in range(counts[1]):
            top, left = i * stride[0] - padding[0], j * stride[1] - padding[1]
            rows, columns = range(top, top + size[0]), range(left, left + size[1])
            rows = [r for r in rows if 0 <= r < sides[0]]
            columns = [c for c in columns if 0 <= c < sides[1]]
            yield i, j, images[:, :, rows][:, :, :, columns]


def test_uniform_images_have_luminance_alone():
    images = np.ones((4, 3, 16, 20)) * np.array([0, 0.3, 0.7, 1]).reshape(4, 1, 1, 1)
    found = lowlevel.properties(images)
    assert tuple(found) == lowlevel.NAMES
    np.testing.assert_allclose(found["luminance"], [0, 0.3, 0.7, 1], rtol=ROUNDING)
    for name in ("contrast", *ENERGIES, "red_green"):
        assert found[name].tolist() == [0] * 4
    np.testing.assert_allclose(found["blue_yellow"], 0, atol=ROUNDING)
    assert np.isnan(found["spectral_slope"]).all()
    grey = lowlevel.properties(images[:, :1].astype(np.float32))
    assert tuple(grey) == lowlevel.NAMES[:-2]
    np.testing.assert_allclose(grey["luminance"], found["luminance"], rtol=1e-7)
    # Neither do windows of a uniform part have contrast by rounding.
    images[:, :, :8] = 0.1
    windows = lowlevel.windowed(images, size=5, names=["contrast"])["contrast"]
    assert (windows[:, 8:] == 0).all()
    assert (windows[:, :4] == 0).all()
    assert (windows[1:, 4:8] > 0.01).all()


def test_colours():
    pure = np.eye(3).reshape(3, 3, 1, 1) * np.ones((1, 1, 8, 8))
    found = lowlevel.properties(np.concatenate([pure, pure[:1] + pure[1:2]]))  # red, green, blue, yellow
    np.testing.assert_allclose(found["luminance"], [*GREY, GREY[0] + GREY[1]], rtol=ROUNDING)
    assert found["red_green"].tolist() == [1, -1, 0, 0]
    assert found["blue_yellow"].tolist() == [-0.5, -0.5, 1, -1]


def test_contrast_is_the_standard_deviation(rng):
    images = rng.random((5, 3, 9, 12))
    found = lowlevel.properties(images)
    grey = np.einsum("nchw,c->nhw", images, GREY)
    np.testing.assert_allclose(found["contrast"], grey.std(axis=(1, 2)), rtol=ROUNDING)
    half = np.zeros((1, 1, 10, 10))
    half[..., :5] = 1
    assert lowlevel.properties(half)["contrast"].tolist() == [0.5]


@pytest.mark.parametrize("k", range(4))
def test_a_grating_has_its_energy_in_its_orientation(k):
    for turn in (0, -12, 12):
        found = lowlevel.properties(grating(45 * k + turn))
        energy = np.concatenate([found[name] for name in ENERGIES])
        assert energy[k] > 0.95 * energy.sum()
    down, across = np.gradient(grating(45 * k)[0, 0])
    straight = lowlevel.properties(grating(45 * k))
    total = sum(straight[name][0] for name in ENERGIES)
    assert total == pytest.approx((down**2 + across**2).mean(), rel=1e-9)
    # In a picture: the first row is at the top, and "/" rises.
    rising = np.eye(8)[::-1][None, None]
    assert lowlevel.properties(rising)["energy_45"] > lowlevel.properties(rising)["energy_135"]


@pytest.mark.parametrize("exponent", [0, 0.5, 1, 1.5])
def test_noise_has_the_slope_it_was_made_with(rng, exponent):
    """Power falls with twice the exponent of amplitude."""
    for shape in ((64, 64), (48, 96)):
        found = lowlevel.properties(noise(rng, exponent, shape=shape), names=["spectral_slope"])
        assert found["spectral_slope"].mean() == pytest.approx(-2 * exponent, abs=0.1)


def test_slope_is_of_images_that_have_power_at_all_frequencies(rng):
    images = noise(rng, 1)
    wanted = {"names": ["spectral_slope"]}
    slope = lowlevel.properties(images, **wanted)["spectral_slope"]
    for same in (images / 3, 1 - images, images.transpose(0, 1, 3, 2)):
        np.testing.assert_allclose(lowlevel.properties(same, **wanted)["spectral_slope"], slope, rtol=1e-9)
    assert np.isnan(lowlevel.properties(images[..., :7], **wanted)["spectral_slope"]).all()
    assert np.isfinite(lowlevel.properties(images[..., :8], **wanted)["spectral_slope"]).all()


@pytest.mark.parametrize(
    ("size", "stride", "padding", "positions"),
    [((5, 5), (1, 1), (0, 0), None), ((9, 8), (3, 2), (4, 3), None), ((11, 11), (4, 4), (2, 2), (5, 6))],
)
def test_windows_equal_a_naive_loop(rng, monkeypatch, size, stride, padding, positions):
    images = rng.random((6, 3, 18, 23))
    monkeypatch.setattr(lowlevel, "_CHUNK", 1000)  # images in parts
    found = lowlevel.windowed(images, size=size, stride=stride, padding=padding, positions=positions)
    grey = np.einsum("nchw,c->nhw", images, GREY)[:, None]
    down, across = np.gradient(grey, axis=(2, 3))
    angle = np.rad2deg(np.arctan2(-down, across)) + 90
    seen = 0
    for i, j, part in naive_windows(images, size, stride, padding, positions):
        alone = lowlevel.properties(part)
        for name in ("luminance", "contrast", "spectral_slope", "red_green", "blue_yellow"):
            np.testing.assert_allclose(found[name][:, i, j], alone[name], rtol=1e-9, atol=ROUNDING)
        seen += 1
    assert found["luminance"].shape[1] * found["luminance"].shape[2] == seen
    for k, name in enumerate(ENERGIES):
        apart = np.abs((angle - 45 * k + 90) % 180 - 90)
        own = np.where(apart < 22.5, down**2 + across**2, 0)
        for i, j, part in naive_windows(own, size, stride, padding, positions):
            np.testing.assert_allclose(
                found[name][:, i, j], part.mean(axis=(1, 2, 3)), rtol=1e-9, atol=ROUNDING
            )


def field(size, stride, padding, positions):
    return lowlevel.ReceptiveField(*((each, each) for each in (size, stride, padding, positions)))


def stacked(*layers):
    """Size, stride and padding of a stack of (kernel, stride, padding), by the usual formula."""
    size, jump, out = 1, 1, 0
    for kernel, stride, padding in layers:
        size, out, jump = size + (kernel - 1) * jump, out + padding * jump, jump * stride
    return size, jump, out


def test_receptive_fields_of_lenet():
    classic = networks.lenet5((1, 28, 28))
    for layer, stack, positions in (
        ("conv1", [(5, 1, 2)], 28),
        ("relu1", [(5, 1, 2)], 28),
        ("pool1", [(5, 1, 2), (2, 2, 0)], 14),
        ("relu2", [(5, 1, 2), (2, 2, 0), (5, 1, 0)], 10),
        ("pool2", [(5, 1, 2), (2, 2, 0), (5, 1, 0), (2, 2, 0)], 5),
    ):
        found = lowlevel.receptive_field(classic, layer, (1, 28, 28))
        assert found == field(*stacked(*stack), positions)
    assert found.size == (16, 16)
    assert classic.training
    assert next(classic.parameters()).dtype == torch.float32


def test_receptive_fields_of_other_layers():
    """AlexNet's stack, whose last field is nearly its images; oblong, dilated, with ceilings; branches."""
    stack = [(11, 4, 2), (3, 2, 0), (5, 1, 2), (3, 2, 0), (3, 1, 1), (3, 1, 1), (3, 1, 1), (3, 2, 0)]
    alexnet = nn.Sequential()
    for i, (kernel, stride, padding) in enumerate(stack):
        pools = i in (1, 3, 7)
        alexnet.append(nn.MaxPool2d(kernel, stride) if pools else nn.Conv2d(2, 2, kernel, stride, padding))
        alexnet.append(nn.Identity() if pools else nn.ReLU(inplace=True))
    shape = (2, 224, 224)
    assert lowlevel.receptive_field(alexnet, "2", shape) == field(19, 8, 2, 27)
    assert lowlevel.receptive_field(alexnet, "15", shape) == field(*stacked(*stack), 6)
    assert stacked(*stack) == (195, 32, 66)

    oblong = nn.Sequential(
        nn.Conv2d(1, 1, (3, 5), padding=(1, 0), stride=(1, 2)),
        nn.AvgPool2d((2, 3), stride=(2, 1)),
        nn.Conv2d(1, 1, 3, dilation=2),
        nn.MaxPool2d(3, 2, ceil_mode=True),
    )
    found = lowlevel.receptive_field(oblong, "3", (1, 30, 41))
    assert found == lowlevel.ReceptiveField((16, 21), (4, 4), (1, 0), (5, 6))

    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.small, self.large = (
                nn.Conv2d(1, 2, 3, 2),
                nn.Conv2d(2, 2, 1),
                nn.Conv2d(2, 2, 5, 1, 2),
            )
            self.out = nn.Identity()

        def forward(self, x):
            x = torch.relu(self.first(x))
            x = torch.nn.functional.max_pool2d(x, 3, 2)
            return self.out(torch.cat([self.small(x) + x, self.large(x)], dim=1)).mean()

    assert lowlevel.receptive_field(Branches(), "out", (1, 33, 33)) == field(7 + 4 * 4, 4, 8, 7)


def test_receptive_field_where_a_step_leaves_the_last_pixels_to_no_unit():
    """Of 24 pixels, 23 are seen; units that reach beyond the image at that side still count as cut."""
    stack = [(5, 2, 0), (2, 2, 0), (3, 1, 1), (3, 1, 1)]
    network = nn.Sequential(
        *(nn.MaxPool2d(2) if i == 1 else nn.Conv2d(1, 1, *each) for i, each in enumerate(stack))
    )
    assert stacked(*stack) == (23, 4, 8)
    assert lowlevel.receptive_field(network, "3", (1, 24, 24)) == field(23, 4, 8, 5)


def test_receptive_field_where_rows_are_padded_as_columns_are():
    """TensorFlow's padding as some write it, for square images: of rows too it asks how wide the image is."""

    class Same(nn.Conv2d):
        def forward(self, x):
            total = max((-(-x.shape[-1] // 2) - 1) * 2 + 3 - x.shape[-1], 0)
            return super().forward(nn.functional.pad(x, (total // 2, total - total // 2) * 2))

    network = nn.Sequential(*(Same(1, 1, 3, stride=2) for _ in range(3)))
    assert lowlevel.receptive_field(network, "2", (1, 24, 24)) == field(*stacked(*[(3, 2, 0)] * 3), 3)
    oblong = lowlevel.receptive_field(nn.Sequential(Same(1, 1, 3, stride=2)), "0", (1, 24, 25))
    assert oblong == lowlevel.ReceptiveField((3, 3), (2, 2), (1, 1), (12, 13))


def test_receptive_field_of_squeezenet():
    network = networks.build("squeezenet1_0", input_shape=(3, 224, 224), n_classes=5)
    stack = [(7, 2, 0), (3, 2, 0), (3, 1, 1), (3, 1, 1), (3, 1, 1), (3, 2, 0), (3, 1, 1)]
    assert lowlevel.receptive_field(network, "features.7", (3, 224, 224)) == field(*stacked(*stack), 27)


def test_a_unit_sees_its_window_and_no_more(rng):
    """What changes when a pixel does is the units whose window has it."""
    network, shape = networks.lenet5((1, 28, 28)).eval(), (1, 28, 28)
    found = lowlevel.receptive_field(network, "pool2", shape)
    images = np.zeros((2, *shape), dtype=np.float32)
    images[1, 0, 13, 6] = 1
    with torch.no_grad():
        for layer in network:
            (nn.init.ones_(layer.weight), nn.init.zeros_(layer.bias)) if hasattr(layer, "weight") else None
    before, after = embeddings.extract(network, images, layer="pool2", spatial="keep")
    windows = lowlevel.windowed(images, **dataclasses.asdict(found), names=["luminance"])["luminance"]
    np.testing.assert_array_equal((after != before).all(axis=0), windows[1] > 0)


def test_samples_pair_answers_with_what_is_there(rng):
    activation = np.arange(5 * 3 * 4 * 6).reshape(5, 3, 4, 6)
    there = {"place": activation[:, 1] * 2.0}
    answers, found = lowlevel.samples(activation, there, n_samples=1000, rng=rng)
    assert answers.shape == (5 * 24, 3)
    assert len({*answers[:, 0]}) == 120
    for n_samples in (1, 4, 5, 13, 119):
        answers, found = lowlevel.samples(activation, there, n_samples=n_samples, rng=rng)
        assert answers.shape == (n_samples, 3)
        np.testing.assert_array_equal(answers[:, 1] * 2, found["place"])
        np.testing.assert_array_equal(answers[:, 0] + 24, answers[:, 1])
        assert len({*answers[:, 0]}) == n_samples
        images = np.bincount(answers[:, 0] // 72, minlength=5)
        assert images.max() - images.min() <= 1
    # Any position, of any image.
    some = [lowlevel.samples(activation, there, n_samples=1, rng=rng)[0][0, 0] for _ in range(1500)]
    assert len({*some}) == 120
    again = [
        lowlevel.samples(activation, there, n_samples=9, rng=np.random.default_rng(3))[0] for _ in range(2)
    ]
    np.testing.assert_array_equal(*again)


def test_a_unit_that_answers_to_light_knows_it(trained, rng):
    """From images to bits: a channel that is a window's mean, one of noise, and those of LeNet-5."""
    network, test = trained
    shape = test.images.shape[1:]
    fields = lowlevel.receptive_field(network, "relu1", shape)
    windows = lowlevel.windowed(test.images, **dataclasses.asdict(fields), names=["luminance", "contrast"])
    own = embeddings.extract(network, test, layer="relu1", spatial="keep")
    light = windows["luminance"][:, None]
    activation = np.concatenate([light, rng.random(light.shape), own], axis=1)
    answers, there = lowlevel.samples(activation, windows, n_samples=5000, rng=rng)
    said, most = units.responses(answers), units.entropy(units.responses(answers))
    bits = units.information(said, units.bins(there["luminance"]))
    assert bits[0] > 0.9 * most[0]
    assert abs(bits[1]) < 0.01
    assert bits[2:].max() > 0.2


def test_real_photographs(mirror):
    """CIFAR-10 has its published mean and more that is horizontal or vertical; digits are white on black."""
    photographs = stimuli.load("cifar10", "test").images[::10]
    found = {name: values.mean() for name, values in lowlevel.properties(photographs).items()}
    assert found["luminance"] == pytest.approx(np.dot(GREY, [0.4914, 0.4822, 0.4465]), abs=0.01)
    cardinal, oblique = (found[a] + found[b] for a, b in (ENERGIES[::2], ENERGIES[1::2]))
    assert cardinal > 1.2 * oblique
    assert -4 < found["spectral_slope"] < -2
    digits = lowlevel.properties(stimuli.load("digits", "test").images)
    assert digits["luminance"].mean() < found["luminance"]
    assert digits["contrast"].mean() > found["contrast"]


def test_wrong_images(rng):
    images = rng.random((2, 3, 16, 16))
    for wrong in (images[0], images[:, :2], images[:0]):
        with pytest.raises(
            InputError, match=r"images must be \(n, c, h, w\), one at least, of one channel or"
        ):
            lowlevel.properties(wrong)
    for wrong in (images * 255, images - 1, images * np.nan, (images * 255).astype(np.uint8)):
        with pytest.raises(InputError, match=r"images must hold numbers in \[0, 1\]; got"):
            lowlevel.properties(wrong)
    with pytest.raises(InputError, match="red_green is of images in colour; these have one channel"):
        lowlevel.properties(images[:, :1], names=["red_green"])
    with pytest.raises(UnknownNameError, match="there is no property 'colour'"):
        lowlevel.properties(images, names=["colour"])


def test_wrong_windows_and_samples(rng):
    images = rng.random((2, 1, 16, 16))
    for wrong in ({"size": 0}, {"size": (3, 3, 3)}, {"size": 3, "stride": 0}, {"size": 2.5}):
        with pytest.raises(
            InputError, match=r"must be one or two whole numbers \(height, width\), at least 1"
        ):
            lowlevel.windowed(images, **wrong)
    with pytest.raises(InputError, match="padding must be one or two whole numbers.*at least 0; got -1"):
        lowlevel.windowed(images, size=3, padding=-1)
    for wrong in ({"size": 17}, {"size": 3, "padding": 3}, {"size": 3, "positions": (14, 17)}):
        with pytest.raises(InputError, match=r"must each have pixels of the images, which have \(16, 16\)"):
            lowlevel.windowed(images, **wrong)
    activation, windows = rng.random((2, 3, 4, 4)), {"contrast": rng.random((2, 4, 4))}
    with pytest.raises(
        InputError, match=r"activation must be \(n_images, n_channels, h, w\); got \(2, 3, 4\)"
    ):
        lowlevel.samples(activation[..., 0], windows, n_samples=3, rng=rng)
    with pytest.raises(
        InputError, match=r"contrast must be \(2, 4, 4\), as the activation is; got \(2, 4, 3\)"
    ):
        lowlevel.samples(activation, {"contrast": windows["contrast"][..., :3]}, n_samples=3, rng=rng)
    with pytest.raises(InputError, match="n_samples must be a whole number, at least 1; got 0"):
        lowlevel.samples(activation, windows, n_samples=0, rng=rng)
    with pytest.raises(InputError, match=r"rng is a numpy.random.Generator; got int"):
        lowlevel.samples(activation, windows, n_samples=3, rng=1)


def test_wrong_layers():
    network, shape = networks.lenet5((1, 28, 28)), (1, 28, 28)
    with pytest.raises(UnknownNameError, match="there is no layer 'conv9'.*conv1"):
        lowlevel.receptive_field(network, "conv9", shape)
    with pytest.raises(InputError, match=r"'fc1' has no positions: expected \(n, c, h, w\), got \(1, 120\)"):
        lowlevel.receptive_field(network, "fc1", shape)
    pooled = nn.Sequential(nn.Conv2d(1, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Conv2d(2, 2, 1))
    with pytest.raises(InputError, match="'2' see the whole image, also one of 16 times the size"):
        lowlevel.receptive_field(pooled, "2", (1, 12, 12))
    adaptive = nn.Sequential(nn.AdaptiveAvgPool2d(7), nn.Conv2d(1, 2, 3))
    with pytest.raises(InputError, match="'1' do not see windows of a fixed size and step"):
        lowlevel.receptive_field(adaptive, "1", (1, 17, 17))
    unused = nn.Sequential(nn.Conv2d(1, 2, 3))
    unused.add_module("more", nn.ModuleList([nn.Conv2d(2, 2, 1)]))
    unused.forward = lambda x: nn.Conv2d(1, 2, 3)(x.float())
    with pytest.raises(InputError, match="the network does not use its layer 'more.0'"):
        lowlevel.receptive_field(unused, "more.0", (1, 12, 12))
