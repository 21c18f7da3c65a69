"""The wiring of what came before fully convolutional networks: patch by patch, on several scales, recurrently.

Builders take a finished backbone and plain numbers. Hydra's task files (`configs/task/`) name them as `_target_`.
"""

from visionkit.backbones.base import Backbone
from visionkit.backbones.more_inputs import add_inputs
from visionkit.backbones.multi_scale import MultiScale
from visionkit.errors import ConfigError
from visionkit.heads.pixel_classifier import PixelClassifier
from visionkit.models.dense_sizes import check_dense_ranges, dense_resize
from visionkit.models.dense_tail import require_known
from visionkit.models.patch_segmenter import PatchSegmenter
from visionkit.models.pixels import Normalize
from visionkit.models.recurrent_cnn import RecurrentCNN
from visionkit.models.segmenter import Segmenter

FARABET_STRIDE = 4  # of the maps of both papers, pixels: two pools


def patches(
    backbone: Backbone,
    num_classes: int,
    *,
    patch: int | None = None,
    patches: int = 64,
    balanced: bool = False,
    step: int = 8,
    sharing: bool = False,
    chunk: int = 64,
    short: int | None = None,
    long: int | None = None,
) -> PatchSegmenter:
    """A classifier of the patch around each pixel, on any backbone without a pyramid; see `PatchSegmenter`.

    Args:
        short, long: sides that pictures are resized to, pixels (see `TestResize`); null leaves them as they are.
    Raises:
        ConfigError: a setting out of its range, or one that does not go with the backbone.
    """
    check_dense_ranges(locals())
    return PatchSegmenter(
        backbone,
        backbone.new_classifier(num_classes),
        Normalize(backbone.mean, backbone.std),
        dense_resize(short, long),
        num_classes,
        patch=patch,
        patches=patches,
        balanced=balanced,
        step=step,
        sharing=sharing,
        chunk=chunk,
    )


def farabet(
    backbone: Backbone,
    num_classes: int,
    *,
    stage: str | None = None,
    levels: int = 3,
    hidden: int = 256,
    short: int | None = None,
    long: int | None = None,
) -> Segmenter:
    """One trunk on several scales, and a two-layer classifier of each pixel (Farabet et al. 2013); see `MultiScale`.

    Args:
        stage: whose maps are taken; null = the last one of stride 4, which is the paper's. Later layers are deleted.
        levels: scales, each half as large as the one before.
        hidden: units of the classifier.
        short, long: see `patches`.
    Raises:
        ConfigError: a setting out of its range, or no such stage.
    """
    check_dense_ranges(locals())
    trunk = MultiScale(backbone, _stage(backbone, stage), levels)
    channels, stride = trunk.stages["scales"]
    decoder = PixelClassifier("scales", channels, hidden, num_classes, stride << (levels - 1), trunk.min_size)
    return Segmenter(trunk, decoder, Normalize(trunk.mean, trunk.std), dense_resize(short, long), num_classes)


def recurrent_cnn(
    backbone: Backbone,
    num_classes: int,
    *,
    stage: str | None = None,
    instances: int = 2,
    short: int | None = None,
    long: int | None = None,
) -> RecurrentCNN:
    """A trunk that looks at the picture and at its own class scores (Pinheiro and Collobert 2014); see `RecurrentCNN`.

    The backbone up to `stage` is the paper's small network; its first layer gets an input channel for every class.

    Args:
        stage: whose maps are classified; null = the last one of stride 4. Later layers are deleted.
        instances: how often the network is applied; each shrinks the picture by the stage's stride.
        short, long: see `patches`.
    Raises:
        ConfigError: a setting out of its range, no such stage, or a backbone whose first layer is no plain convolution.
    """
    check_dense_ranges(locals())
    stage = _stage(backbone, stage)
    widened = add_inputs(backbone, num_classes)
    backbone.drop_tail((stage,))
    channels, stride = backbone.stages[stage]
    decoder = PixelClassifier(stage, channels, 0, num_classes, stride, backbone.min_size)
    normalize = Normalize(backbone.mean, backbone.std)
    return RecurrentCNN(backbone, decoder, normalize, dense_resize(short, long), num_classes, instances, widened)


def _stage(backbone: Backbone, name: str | None) -> str:
    """The named stage, or the last one of stride 4 of a network without a pyramid."""
    if backbone.innermost() is not backbone:
        raise ConfigError(
            f"{type(backbone).__name__} wraps a network, and here its own maps are wanted: choose the network in "
            "it (backbone=resnet18, vgg16)."
        )
    if name is not None:
        require_known(backbone, [name])
        return name
    fitting = [known for known, stage in backbone.stages.items() if stage.stride == FARABET_STRIDE]
    if not fitting:
        raise ConfigError(
            f"the backbone has no map of stride {FARABET_STRIDE}: name one as task.stage, of "
            f"{', '.join(backbone.stages)}."
        )
    return fitting[-1]
