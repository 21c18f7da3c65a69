"""Every figure of the lectures, as numbers of its own; where slide and code differ, both are held."""

import pytest

from visionkit.analysis.lecture import lecture_figures, number, output_size, parsed, report
from visionkit.analysis.trace import traced


@pytest.fixture(scope="module")
def figures():
    return lecture_figures()


@pytest.fixture(scope="module")
def computed(figures):
    """By topic's first word and what it is: what the code gives, as it is printed."""
    return {(figure.topic.split()[0].rstrip(":,"), figure.what): figure.computed for figure in figures}


def test_only_these_differ(figures):
    differing = [(figure.topic.split(",")[0], figure.lecture) for figure in figures if figure.verdict == "differs"]
    assert differing == [
        ("VGG-16", "24M"),
        ("VGG-16", "24M"),
        ("VGG-16", "96 MB"),
        ("VGG-16", "96 MB"),
        ("Inception module on 28x28x256: 128 1x1", "358M"),
        ("GoogLeNet", "5M"),
    ]
    assert {figure.verdict for figure in figures} == {"equal", "rounded", "differs"}


def test_output_sizes(computed):
    import torch
    from torch import nn

    assert computed["Output", "32x32x3, ten 5x5 filters, padding 2"] == "32x32x10"
    assert computed["Output", "their parameters, 10 (75 + 1)"] == "760"
    for n in (5, 7, 12, 224):
        for k in (1, 2, 3, 5):
            for s in (1, 2, 3):
                for p in (0, 1, 2):
                    layer = nn.Conv2d(1, 1, k, s, p, device="meta")
                    assert layer(torch.empty(1, 1, n, n, device="meta")).shape[2] == output_size(n, k, s, p)


def test_alexnet(figures):
    rows = [(f.what.split(":")[0], f.computed) for f in figures if f.topic.startswith("AlexNet")]
    assert rows == [
        ("CONV1", "55x55x96"),
        ("CONV1 weights, 11*11*3*96", "34,848"),
        ("the same, as the slide rounds it", "34,848"),
        ("CONV2", "27x27x256"),
        ("CONV3", "13x13x384"),
        ("CONV4", "13x13x384"),
        ("CONV5", "13x13x256"),
        ("POOL1", "27x27x96"),
        ("POOL2", "13x13x256"),
        ("POOL3", "6x6x256"),
        ("FC of 4096", "4,096"),
        ("FC of 4096", "4,096"),
        ("FC of 1000", "1,000"),
        ("layers split into two streams", "2, 4, 5"),
        ("response norm a / (k + alpha sum a^2)^beta", "k 2, n 5, alpha 0.0001, beta 0.75"),
    ]


def test_zfnet(computed):
    assert computed["ZFNet", "CONV1"] == "96 7x7, stride 2"
    assert computed["ZFNet", "CONV2"] == "256 5x5, stride 2"
    assert computed["ZFNet", "filters of CONV3, 4, 5"] == "512, 1024, 512"


def test_vgg16_layer_by_layer(figures):
    rows = [f for f in figures if f.topic == "VGG-16, image of 224x224x3"]
    values = [int(f.computed.replace(",", "")) for f in rows if f.what.endswith("values")]
    weights = [int(f.computed.replace(",", "")) for f in rows if f.what.endswith("weights")]
    maps = {64: 224, 128: 112, 256: 56, 512: 28}
    expected = [150_528]
    for convolutions, width in ((2, 64), (2, 128), (3, 256), (3, 512)):
        expected += [width * maps[width] ** 2] * convolutions + [width * maps[width] ** 2 // 4]
    expected += [100_352] * 3 + [25_088, 4096, 4096, 1000]
    assert values == expected
    assert weights == [1_728, 36_864, 73_728, 147_456, 294_912, 589_824, 589_824, 1_179_648, 2_359_296, 2_359_296,
                       2_359_296, 2_359_296, 2_359_296, 102_760_448, 16_777_216, 4_096_000]  # fmt: skip
    assert rows[-1].computed == "138,357,544" and rows[-1].lecture == "138M"


def test_vgg16_memory(computed):
    """The slide says 24M values and 96 MB; its column has 15.2M, and 28.8M with every ReLU's output."""
    assert computed["VGG-16", "24M values at 4 bytes, the slide's arithmetic"] == "96.0 MB"
    assert computed["VGG-16", "sum of the slide's column, values"] == "15,237,608"
    assert computed["VGG-16", "the same with every ReLU's output, values"] == "28,793,320"
    assert computed["VGG-16", "sum of the slide's column"] == "61.0 MB"
    assert computed["VGG-16", "the same with every ReLU's output"] == "115.2 MB"
    convolutions = 2 * 3_211_264 + 2 * 1_605_632 + 3 * 802_816 + 3 * 401_408 + 3 * 100_352
    pools = 802_816 + 401_408 + 200_704 + 100_352 + 25_088
    assert 150_528 + convolutions + pools + 9192 == 15_237_608
    assert 15_237_608 + convolutions + 8192 == 28_793_320


def test_three_small_filters_see_what_a_large_one_does(computed):
    assert computed["Three", "receptive field of three 3x3"] == computed["Three", "receptive field of one 7x7"] == "7"
    assert computed["Three", "weights of three 3x3, 3 (9 C^2)"] == f"{27 * 64 * 64:,}"
    assert computed["Three", "weights of one 7x7, 49 C^2"] == f"{49 * 64 * 64:,}"


def test_inception(computed):
    cells = 28 * 28
    naive = cells * 256 * (128 + 192 * 9 + 96 * 25)
    slim = cells * (256 * (64 + 64 + 128 + 64) + 64 * 192 * 9 + 64 * 96 * 25)
    assert computed["Inception", "naive, output"] == "28x28x672"
    assert computed["Inception", "naive, multiply-adds"] == f"{naive:,}" == "854,196,224"
    assert computed["Inception", "with 1x1 bottlenecks of 64, output"] == "28x28x480"
    assert computed["Inception", "with 1x1 bottlenecks of 64, multiply-adds"] == f"{slim:,}" == "271,351,808"
    twice = computed["Inception", "the same with its 3x3 convolution twice"]
    assert twice == f"{slim + cells * 64 * 192 * 9:,}" == "358,055,936"


def test_googlenet(computed):
    assert computed["GoogLeNet", "weighted layers, one after the other"] == "22"
    assert computed["GoogLeNet", "fully connected layers but the classifier"] == "0"
    assert computed["GoogLeNet", "parameters without auxiliary heads"] == "6,998,552"


def test_cheaper_filters(computed):
    assert computed["Cheaper", "5x5x96 to 256, weights"] == f"{25 * 96 * 256:,}"
    assert computed["Cheaper", "the same after 32 1x1 filters, weights"] == f"{25 * 32 * 256:,}"
    assert computed["Cheaper", "how many times fewer"] == "3"
    assert computed["Cheaper", "3x3 filters, C = 128, H = W = 28: 9 C^2 H W"] == f"{9 * 128**2 * 784:,}"
    separable = computed["Cheaper", "depthwise separable, C = 128, H = W = 28: 9 C H W + C^2 H W"]
    assert separable == f"{9 * 128 * 784 + 128**2 * 784:,}"


def test_verdicts():
    assert number("", "", "35K", 34_848).verdict == "rounded"
    assert number("", "", "35K", 34_600).verdict == "differs"
    assert number("", "", "35K", 35_000).verdict == "equal"
    assert number("", "", "3", 2.96).computed == "2.96"
    assert (parsed("34,848"), parsed("3.2M"), parsed("800K"), parsed("96 MB")) == (34_848, 3.2e6, 8e5, 9.6e7)


def test_report_tells_every_figure_and_why_some_differ(figures):
    texts = report()
    for figure in figures:
        assert figure.computed in texts["table"] and figure.what in texts["table"]
    assert "has 15,237,608 values" in texts["table"].replace("\n", " ")
    assert len(texts["csv"].splitlines()) == len(figures) + 1


def test_a_naive_module_next_to_a_count_by_hand():
    """The pool keeps all 256 channels, which is why the output is so wide."""
    import torch

    from visionkit.backbones.inception import NaiveInception

    with torch.device("meta"):
        layers = traced(NaiveInception(256, 128, 192, 96), 256, 28, 28)
    assert layers[-1].kind == "cat" and layers[-1].output_shape == (1, 672, 28, 28)
    assert layers[-1].receptive_field == 5
