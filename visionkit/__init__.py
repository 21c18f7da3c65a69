"""VisionKit: the line from LeNet to Mask R-CNN in one small kit. `import visionkit` itself is cheap: no torch yet."""

from pathlib import Path
from typing import Any

__version__ = "0.1.0"
__all__ = ["__version__", "load"]


def load(path: str | Path, device: str = "cpu") -> Any:
    """The model of a checkpoint, ready for `model.predict(image)`; the checkpoint carries all that it needs.

    Args:
        path: a checkpoint of a run, such as `outputs/quickstart/checkpoints/best.pt`.
        device: "cpu", "cuda", "cuda:1" ...

    Raises:
        ConfigError: the file is missing, broken or no checkpoint of VisionKit.
    """
    from visionkit.predictor import load as load_model  # here: `import visionkit` shall not pay for torch

    return load_model(path, device=device)
