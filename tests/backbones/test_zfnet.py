import pytest
import torch
from torch import nn

from visionkit.backbones import zfnet
from visionkit.backbones.contract import assert_compiles, assert_is_backbone
from visionkit.errors import ConfigError

WIDTHS = (8, 8, 16, 16, 16)


def narrow(norm: str = "none") -> zfnet.ZFNet:
    return zfnet.ZFNet(zfnet.zfnet_blocks(WIDTHS, norm), 63, hidden=(20, 24))


def narrow_zf(norm: str = "none", ceil_mode: bool = False) -> zfnet.ZFNet:
    return zfnet.ZFNet(zfnet.zf_blocks(WIDTHS, norm, ceil_mode), 33, hidden=(20, 24))


def whole_size(net: zfnet.ZFNet) -> int:
    return sum(p.numel() for module in (net, net.new_classifier(1000)) for p in module.parameters())


def sides_and_sizes(net: zfnet.ZFNet) -> tuple[list[int], int]:
    maps = net(torch.rand(1, 3, 224, 224), tuple(net.stages))
    assert {m.shape[2] - m.shape[3] for m in maps.values()} == {0}
    return [m.shape[2] for m in maps.values()], whole_size(net)


def test_zfnet_has_the_papers_maps():
    with torch.device("meta"):
        sides, size = sides_and_sizes(net := zfnet.zfnet())
        maps = net(torch.rand(1, 3, 224, 224), ("conv3", "conv4", "c4"))
    assert sides == [110, 55, 26, 13, 13, 13, 6]  # fig. 3
    assert [m.shape[1] for m in maps.values()] == [512, 1024, 512]
    convs = 96 * 3 * 49 + 256 * 96 * 25 + 9 * (512 * 256 + 1024 * 512 + 512 * 1024) + 96 + 256 + 512 + 1024 + 512
    assert size == convs + (36 * 512 + 1) * 4096 + 4097 * 4096 + 4097 * 1000 == 107_627_624


def test_zf_has_the_caffe_models_maps():
    with torch.device("meta"):
        sides, size = sides_and_sizes(zfnet.zf())
        assert sides == [112, 56, 28, 14, 14, 14, 6]
        rounded_up, same = sides_and_sizes(zfnet.zf(ceil_mode=True))
    # Caffe, for a pool over n: ceil((n + 2 * 1 - 3) / 2) + 1; a convolution: floor((n + 2 * 2 - 5) / 2) + 1.
    assert rounded_up == [112, 57, 29, 15, 15, 15, 7]
    # 14,208 + 614,656 + 885,120 + 1,327,488 + 884,992 of the convolutions; fc6, fc7, fc8.
    assert size == same == 3_726_464 + 37_752_832 + 16_781_312 + 4_097_000


@torch.no_grad()
def test_rounding_up_adds_cells_beyond_the_image_only():
    floor, ceil = narrow_zf().eval(), narrow_zf(ceil_mode=True).eval()
    ceil.load_state_dict(floor.state_dict())
    images = torch.rand(1, 3, 128, 160)
    found, expected = (net(images, ("c2", "c4")) for net in (floor, ceil))
    assert found["c2"].shape[2:] == (32, 40)
    assert expected["c2"].shape[2:] == (33, 41)
    assert torch.equal(found["c2"], expected["c2"][:, :, :32, :40])
    assert expected["c4"].shape[2:] == (9, 11)
    torch.testing.assert_close(found["c4"][:, :, :4, :6], expected["c4"][:, :, :4, :6])  # away from the new border


def test_within_channel_norm_is_caffes():
    x = torch.randn(2, 3, 5, 6) * 200
    found = zfnet.WithinChannelNorm()(x)
    padded = nn.functional.pad(x, (1, 1, 1, 1))
    for i in range(5):
        for j in range(6):
            energy = padded[:, :, i : i + 3, j : j + 3].square().sum(dim=(2, 3)) / 9
            torch.testing.assert_close(found[:, :, i, j], x[:, :, i, j] * (1 + 5e-5 * energy) ** -0.75)
    assert (found / x).min() < 0.6


def test_cells_are_centred_at_multiples_of_the_stride():
    net = narrow_zf().eval()
    image = torch.rand(1, 3, 160, 160, requires_grad=True)
    net(image, ("c4",))["c4"][0, :, 5, 5].sum().backward()
    rows = image.grad.abs().sum(dim=(0, 1, 3)).nonzero().flatten()
    assert (rows.min() + rows.max()).item() / 2 == 5 * 16


@pytest.mark.parametrize("norm", ["none", "batch", "frozen", "group"])
@pytest.mark.parametrize("make", [narrow, narrow_zf])
def test_contract_of_a_narrow_one(make, norm):
    assert_is_backbone(make(norm))


def test_contract_of_caffes_rounding_where_it_adds_no_cell():
    assert_is_backbone(narrow_zf(ceil_mode=True), sizes=((65, 81), (86, 69)))


@pytest.mark.parametrize("make", [narrow, narrow_zf])
def test_one_pixel_less_than_the_least_is_too_few(make):
    net = make()
    side, net.min_size = net.min_size - 1, 1
    with pytest.raises(RuntimeError, match="too small|smaller than"):
        net(torch.rand(1, 3, side, side), ("c5",))


@pytest.mark.parametrize("make", [narrow, narrow_zf])
def test_compiles(make):
    assert_compiles(make(), (80, 96))


def test_initial_weights():
    net = zfnet.ZFNet(zfnet.zf_blocks(WIDTHS, "none", False), 33, hidden=(20, 24), initial_std=0.01)
    assert net.features[0].weight.std().item() == pytest.approx(0.01, rel=0.1)
    assert not net.features[0].bias.any()
    with torch.device("meta"):
        assert zfnet.zfnet().initial_std == zfnet.zf().initial_std == 0.01


@pytest.mark.parametrize("name", ["zfnet", "zf"])
def test_an_unknown_norm(name):
    with pytest.raises(ConfigError, match="norm must be one of batch, frozen, group, none, not 'layer'"):
        getattr(zfnet, name)(norm="layer")
