"""torchvision's FCN on a dilated ResNet: keys renamed; the classes are VOC's with background first, as here."""

from collections.abc import Mapping

from torch import Tensor

from visionkit.errors import ConfigError
from visionkit.models.imported import Imported, depth_of, renamed

# torchvision's key -> ours; the auxiliary head looks at the map before the last.
KEYS = (
    (r"^backbone\.", "backbone."),
    (r"^classifier\.", "decoder.head."),
    (r"^aux_classifier\.", "aux.c4."),
)
SCORES = "classifier.4.weight"


def is_torchvision_fcn(state: Mapping[str, Tensor]) -> bool:
    """Whether the keys are those of torchvision's `fcn_resnet50` or `fcn_resnet101`."""
    return SCORES in state and "backbone.layer4.0.conv1.weight" in state and "classifier.0.weight" in state


def segmenter_from_torchvision(state: Mapping[str, Tensor]) -> Imported:
    """A whole state dict of `fcn_resnet50` or `fcn_resnet101`, with the auxiliary head or without.

    Raises:
        ConfigError: another model's file (DeepLab's, for one); the sentence names a key of it.
    """
    if not is_torchvision_fcn(state):
        raise ConfigError(f"no class scores of an FCN ({SCORES}) on a ResNet")
    if state["classifier.0.weight"].ndim != 4 or state["classifier.0.weight"].shape[-1] != 3:
        raise ConfigError("its classifier does not begin with a 3x3 convolution, as an FCN's does")
    depth = depth_of(state, "backbone.layer3.")
    aux = any(key.startswith("aux_classifier.") for key in state)
    settings: dict[str, object] = {"backbone.output_stride": 8}
    if not aux:
        settings["task.aux_weight"] = 0
    return Imported(
        renamed(state, KEYS, "torchvision"),
        num_classes=len(state[SCORES]),
        task="dilated_fcn",
        backbone=f"resnet{depth}",
        settings=settings,
        notes=(f"torchvision's FCN on a ResNet-{depth}, {'with' if aux else 'without'} its auxiliary head",),
    )
