import pytest
import torch
from torch import nn

from visionkit.backbones import nin
from visionkit.backbones.contract import assert_compiles, assert_exports, assert_is_backbone
from visionkit.errors import ConfigError


def narrow(norm: str = "none") -> nin.NiN:
    return nin.NiN((8, 8, 16, 24), norm)


def test_parameters_and_maps_are_those_of_the_authors_model():
    with torch.device("meta"):
        net = nin.nin()
        head = net.new_classifier(1000)
        maps = net(torch.rand(1, 3, 224, 224), tuple(net.stages))
    # Their Caffe model for 224 pixels: conv1, cccp1 and cccp2, pool (rounded up), ...; 29 MiB of float32.
    assert [tuple(m.shape[1:]) for m in maps.values()] == [(96, 54, 54), (256, 27, 27), (384, 13, 13), (1024, 6, 6)]
    size = sum(p.numel() for module in (net, head) for p in module.parameters())
    blocks = ((3 * 121, 96, 2), (96 * 25, 256, 2), (256 * 9, 384, 2), (384 * 9, 1024, 1))
    expected = sum((inputs + 1) * out + more * (out + 1) * out for inputs, out, more in blocks) + 1025 * 1000
    assert size == expected == 7_595_176
    assert round(4 * size / 2**20) == 29


@torch.no_grad()
def test_equals_the_layers_written_one_after_another():
    net = narrow().eval()
    head = net.new_classifier(5).eval()
    convs = [layer for layer in net.modules() if isinstance(layer, nn.Conv2d)]
    assert [conv.kernel_size[0] for conv in convs] == [11, 1, 1, 5, 1, 1, 3, 1, 1, 3, 1]
    images = torch.randn(2, 3, 100, 120)
    x = images
    for i, conv in enumerate((*convs, head.conv)):
        if i in (3, 6, 9):
            x = nn.functional.max_pool2d(x, 3, 2, ceil_mode=True)
        stride, pad = (4, 0) if i == 0 else (1, conv.kernel_size[0] // 2)
        x = nn.functional.conv2d(x, conv.weight, conv.bias, stride, pad).relu()
    found = head(net.tail_maps(net.pool(net(images, ("c5",))["c5"])))
    torch.testing.assert_close(found, x.mean(dim=(2, 3)), atol=1e-6, rtol=1e-5)


def test_the_classifier_averages_after_its_relu():
    head = nin.conv_classifier(2, 1)
    with torch.no_grad():
        head.conv.weight.copy_(torch.tensor([1.0, 0.0])[None, :, None, None])
    maps = torch.zeros(1, 2, 1, 2)
    maps[0, 0, 0] = torch.tensor([3.0, -1.0])
    assert head(maps).item() == pytest.approx(1.5)  # not 1.0


@pytest.mark.parametrize("norm", ["none", "batch", "frozen", "group"])
def test_contract_of_a_narrow_one(norm):
    assert_is_backbone(narrow(norm))


def test_contract():
    assert_is_backbone(nin.nin())


def test_one_pixel_less_than_the_least_is_too_few():
    net = narrow()
    net.min_size = 1
    with pytest.raises(RuntimeError, match="too small"):
        net(torch.rand(1, 3, 38, 38), ("c5",))


def test_compiles_and_exports():
    assert_compiles(narrow())
    assert_exports(narrow())


def test_initial_weights():
    net = nin.NiN((16, 32, 32, 32))
    weight = net.block2[0].weight
    assert weight.var().item() == pytest.approx(2 / (16 * 25), rel=0.1)
    assert net.new_classifier(200).conv.weight.std().item() == pytest.approx(0.01, rel=0.1)


def test_dropout_sits_before_the_last_block():
    net = nin.NiN((8, 8, 16, 24), dropout=1.0).train()
    maps = net(torch.rand(1, 3, 64, 64), ("c4", "c5"))
    assert maps["c4"].std() > 0
    assert maps["c5"].abs().max() == 0  # with biases of zero, nothing is left
    assert not any(isinstance(layer, nn.Dropout) for layer in net.new_classifier(3))


def test_an_unknown_norm():
    with pytest.raises(ConfigError, match="norm must be one of batch, frozen, group, none, not 'layer'"):
        nin.nin(norm="layer")
