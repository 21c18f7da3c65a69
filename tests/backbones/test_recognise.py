"""A file of another network is refused with the name of the network that it fits."""

import pytest
import torch

from visionkit.backbones import densenet, resnet, vgg
from visionkit.backbones.pretrained import load_weights
from visionkit.backbones.recognise import recognise
from visionkit.backbones.shufflenet_v2 import shufflenet_v2_x0_5
from visionkit.errors import ConfigError


@pytest.mark.parametrize(
    ("name", "file"),
    [("resnet34", "x.pth"), ("resnet34", "resnet18.pth"), ("vgg11_bn", "a.pth"), ("densenet121", "d.pth")],
)
def test_torchvisions_files_are_recognised_whatever_they_are_called(name, file, tmp_path):
    from torchvision import models

    with torch.device("meta"):
        state = models.get_model(name, weights=None).state_dict()
    assert recognise(state, tmp_path / file) == name


def test_a_file_of_nobody_is_not():
    assert recognise({"weight": torch.zeros(3)}, __import__("pathlib").Path("x.pth")) is None


def test_the_sentence_of_a_refused_file_says_what_it_fits(tmp_path):
    path = tmp_path / "mine.pth"
    torch.save(shufflenet_v2_x0_5().state_dict(), path)
    with pytest.raises(ConfigError, match=r"mine\.pth .*this ResNet.*; it fits shufflenet_v2_x0_5$"):
        load_weights(resnet.basic_resnet(), path)
    torch.save(resnet.resnet18().state_dict(), path)
    with pytest.raises(ConfigError, match=r"mine\.pth .* VGG.*; it fits resnet18$"):
        load_weights(vgg.VGG((1, 1, 1, 1, 1), widths=(8, 8, 8, 8, 8), hidden=8), path)
    with pytest.raises(ConfigError, match=r"; it fits resnet18$"):
        load_weights(resnet.basic_resnet((64, 128, 256, 512)), path)  # all it needs is there, and more
    assert densenet.DenseNet.renamed_keys
