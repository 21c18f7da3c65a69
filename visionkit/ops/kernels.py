"""The way to torchvision's compiled kernels, taken only when one is needed: importing torchvision costs seconds."""

from functools import cache
from types import ModuleType


@cache
def torchvision_ops() -> ModuleType | None:
    """`torchvision.ops`, or None where torchvision is missing or was built for another torch; then references serve."""
    try:
        import torchvision.ops as ops
        from torchvision.extension import _has_ops
    except (ImportError, RuntimeError):  # a mismatched wheel: "operator torchvision::nms does not exist"
        return None
    return ops if _has_ops() else None
