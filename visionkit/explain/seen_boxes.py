"""Where the boxes of a picture are in what the network sees of it: resizing moves them, and the cut-out middle cuts."""

from torch import Tensor, minimum

from visionkit.ops.center_crop import CenterCrop, middle
from visionkit.ops.square_resize import SquareResize


def seen_boxes(resize: CenterCrop | SquareResize, size: tuple[int, int], boxes: Tensor) -> Tensor:
    """Boxes in a picture as they lie in the network's image.

    Args:
        resize: the network's rule.
        size: (height, width) of the picture.
        boxes: (N, 4) in pixels of the picture.
    Returns:
        (N, 4) float32 in pixels of the network's image, cut at its border; one that is wholly outside has no extent.
    """
    height, width = resize.canvas(size)
    moved = boxes.float()
    if isinstance(resize, CenterCrop):
        x1, y1, x2, y2 = middle(size)
        whole = resize.shape((y2 - y1, x2 - x1))
        top, left = resize.corner(whole)
        moved = (moved - moved.new_tensor([x1, y1, x1, y1])) * moved.new_tensor(
            [whole[1] / (x2 - x1), whole[0] / (y2 - y1)] * 2
        )
        moved = moved - moved.new_tensor([left, top, left, top])
    else:
        moved = moved * moved.new_tensor([width / size[1], height / size[0]] * 2)
    return minimum(moved.clamp(min=0), moved.new_tensor([width, height, width, height]))  # (N, 4)
