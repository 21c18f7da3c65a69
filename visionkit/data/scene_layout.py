"""Which pixels of which object are seen, and where a further object may go without hiding too much."""

import numpy as np

from visionkit.data.scene_settings import SceneSettings

_TRIES = 30  # places tried for one shape
# A new object lies at most half over any one earlier object. A disc in the middle of a disc would look like a ring.
_MOST_OVER_ANOTHER = 0.5


class Layout:
    """The objects of one picture in drawing order; each later one hides what it covers of the earlier ones."""

    def __init__(self, settings: SceneSettings, height: int, width: int) -> None:
        self.settings, self.height, self.width = settings, height, width
        self.masks: list[np.ndarray] = []  # (H, W) bool, visible pixels
        self.boxes: list[np.ndarray] = []  # (4,) int64 x1 y1 x2 y2, tight around them
        self.full_areas: list[int] = []  # pixels before anything was hidden

    def add(self, solid: np.ndarray, top: int, left: int) -> None:
        """Puts an object with the pixels `solid`, bool (h, w), in front of all others, its corner at (top, left)."""
        mask = np.zeros((self.height, self.width), bool)
        mask[top : top + solid.shape[0], left : left + solid.shape[1]] = solid
        for number, earlier in enumerate(self.masks):
            if (earlier & mask).any():
                self.masks[number] = earlier & ~mask
                self.boxes[number] = tight_box(self.masks[number])
        self.masks.append(mask)
        self.boxes.append(tight_box(mask))
        self.full_areas.append(int(solid.sum()))

    def find_place(self, rng: np.random.Generator, solid: np.ndarray, apart: bool) -> tuple[int, int] | None:
        """A random (top, left) at which `solid` may be added; None if the shape is out of size or no try succeeded.

        apart: no pixel of an earlier object may be hidden.
        """
        least, most = self.settings.object_size
        if not least <= longer_side(tight_box(solid)) <= most:
            return None
        for _ in range(_TRIES):
            top, left = random_corner(rng, solid, self.height, self.width)
            if all(self._may_hide(number, solid, top, left, apart) for number in range(len(self.masks))):
                return top, left
        return None

    def _may_hide(self, number: int, solid: np.ndarray, top: int, left: int, apart: bool) -> bool:
        """Whether object `number` stays legible: visible fraction, size, and no object lies in its middle."""
        x1, y1, x2, y2 = self.boxes[number]
        height, width = solid.shape
        if left >= x2 or top >= y2 or left + width <= x1 or top + height <= y1:
            return True
        seen = self.masks[number]
        covered = seen[top : top + height, left : left + width] & solid
        hidden = int(covered.sum())
        if hidden == 0:
            return True
        if apart or int(seen.sum()) - hidden < (1 - self.settings.occlusion) * self.full_areas[number]:
            return False
        if hidden > _MOST_OVER_ANOTHER * int(solid.sum()):
            return False
        rest = seen.copy()
        rest[top : top + height, left : left + width] &= ~solid
        return longer_side(tight_box(rest)) >= self.settings.object_size[0]


def tight_box(mask: np.ndarray) -> np.ndarray:
    """Box (4,) int64 `x1 y1 x2 y2` around the true pixels of a mask (H, W) that has at least one."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])


def longer_side(box: np.ndarray) -> int:
    """The longer side of a box (4,), px."""
    return int(max(box[2] - box[0], box[3] - box[1]))


def random_corner(rng: np.random.Generator, shape: np.ndarray, height: int, width: int) -> tuple[int, int]:
    """A (top, left) at which the whole shape (h, w) lies inside the picture."""
    return int(rng.integers(height - shape.shape[0] + 1)), int(rng.integers(width - shape.shape[1] + 1))
