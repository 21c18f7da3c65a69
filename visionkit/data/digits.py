"""The 1,797 handwritten digits of 8 x 8 pixels inside scikit-learn: real data that need no download.

The test set of "Optical Recognition of Handwritten Digits" (Alpaydin and Kaynak 1998, UCI repository).
"""

import numpy as np

from visionkit.data.array_pictures import ArrayPictures
from visionkit.data.held_out import hold_out
from visionkit.data.labelled import LabelledData, LabelledIndex
from visionkit.errors import ConfigError
from visionkit.ops.resize import resize_image

SOURCE = "scikit-learn's digits"
WHITE = 16  # of the pictures as they come


def digits(side: int = 32, val_fraction: float = 0.2, seed: int = 0) -> LabelledData:
    """The target of configs/data/digits.yaml: white strokes on black, in both splits the zeros first, the nines last.

    Args:
        side: the pictures are enlarged to this, bilinearly, pixels.
        val_fraction: share of each digit that is held out.
        seed: decides which ones those are.
    Raises:
        ConfigError: scikit-learn is not installed, a side below 8, or a share that is not between 0 and 1.
    """
    if isinstance(side, bool) or not isinstance(side, int) or side < 8:
        raise ConfigError(f"data.side={side}: the digits are 8 pixels a side; a whole number of at least 8 is wanted.")
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ConfigError(
            "data=digits reads pictures that come with scikit-learn: pip install visionkit[svm]"
        ) from error
    pixels, labels = load_digits(return_X_y=True)  # (1797, 64) 0 ... 16, (1797,)
    order = np.argsort(labels, kind="stable")  # by class: without shuffling, training sees one digit after the other
    small = np.round(pixels[order].reshape(-1, 8, 8, 1) * (255 / WHITE)).astype(np.uint8).repeat(3, axis=3)
    images = np.stack([resize_image(image, (side, side)) for image in small])  # (1797, side, side, 3)
    pictures = ArrayPictures.join([images], [SOURCE])
    names = tuple(str(digit) for digit in range(10))
    index = LabelledIndex(names, SOURCE, [], pictures, labels[order].astype(np.int32))
    return hold_out(index, val_fraction, seed)
