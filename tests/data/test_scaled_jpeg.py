"""Decoding a part of a JPEG: the pixels of the slow road, or its errors."""

import io
from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image

from visionkit.data.crop_plan import Window, shrinkable
from visionkit.data.image import decode_image
from visionkit.data.random_crops import RandomResizedCrop, ScaleCrop
from visionkit.data.scaled_jpeg import decode_window, plain_jpeg_size, read_window
from visionkit.errors import DataError
from visionkit.ops.resize import resize_image


def photo(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Waves with a little noise: neighbouring pixels are alike, as in a photograph."""
    rows, columns = np.mgrid[:height, :width]
    waves = [127 + 100 * np.sin(rows / (37 + 5 * k) + columns / (53 - 9 * k)) for k in range(3)]
    noise = np.random.default_rng(seed).normal(0, 4, (height, width, 3))
    return np.clip(np.stack(waves, -1) + noise, 0, 255).astype(np.uint8)


def saved(image: Image.Image, kind: str = "JPEG", **settings) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **settings)
    return file.getvalue()


@dataclass
class OnePicture:
    """The `Pictures` of one file, or of no file."""

    data: bytes | None
    image: np.ndarray | None = None

    def encoded(self, i: int) -> bytes | None:
        return self.data

    def read(self, i: int) -> np.ndarray:
        return self.image

    def name(self, i: int) -> str:
        return "some/where.jpg"


JPEGS = {
    "4:4:4": dict(subsampling=0),
    "4:2:2": dict(subsampling=1),
    "4:2:0": dict(subsampling=2),
    "coarse": dict(quality=20),
    "progressive": dict(progressive=True),
    "restart marks": dict(restart_marker_rows=1),
    "coded as RGB": dict(keep_rgb=True, subsampling=0),
}
WINDOWS = [Window(0, 0, 1, 1), Window(0, 0, 101, 133), Window(17, 30, 40, 51), Window(60, 1, 41, 132),
           Window(70, 9, 20, 9), Window(100, 132, 1, 1)]  # fmt: skip


@pytest.mark.parametrize("kind", [*JPEGS, "gray"])
def test_the_same_pixels_as_all_of_the_picture(kind, capfd):
    image = Image.fromarray(photo(101, 133))
    data = saved(image.convert("L")) if kind == "gray" else saved(image, **JPEGS[kind])
    whole = decode_image(data, "x")
    assert plain_jpeg_size(data) == (101, 133)
    for window in WINDOWS:
        part = decode_window(data, (101, 133), window)
        assert part is not None, "taken by the fast road"
        assert np.array_equal(part, window.cut(whole)) and part.flags.c_contiguous
    assert capfd.readouterr().err == "", "the decoder has nothing to complain about"


@pytest.mark.parametrize("kind", [*JPEGS, "gray"])
@pytest.mark.parametrize("shrink", [2, 4, 8])
def test_a_smaller_decoding_shows_the_same_part(kind, shrink):
    image = Image.fromarray(photo(403, 517))  # no multiples of 8
    data = saved(image.convert("L")) if kind == "gray" else saved(image, **JPEGS[kind])
    whole = decode_image(data, "x")
    for top, left, bottom, right in ((0, 0, 400, 512), (64, 40, 400, 360), (8, 136, 320, 512)):
        window = Window(top, left, bottom - top, right - left, shrink)
        part = decode_window(data, (403, 517), window)
        assert part.shape == ((bottom - top) // shrink, (right - left) // shrink, 3)
        side = 32
        fast, slow = resize_image(part, (side, side)), resize_image(window.cut(whole), (side, side))
        assert np.abs(fast.astype(int) - slow).mean() < 1.5
        moved = Window(max(0, top - 2 * shrink), left, bottom - top, right - left)  # two small pixels off are seen
        if top:
            assert np.abs(fast.astype(int) - resize_image(moved.cut(whole), (side, side))).mean() > 1.5


def other_kinds() -> dict[str, bytes]:
    image = Image.fromarray(photo(60, 90))
    turned = Image.Exif()
    turned[0x0112] = 6
    deep = Image.fromarray(photo(60, 90)[..., 0].astype(np.uint16) * 257)
    other = Image.fromarray(photo(60, 90, seed=1))
    return {
        "turned by EXIF": saved(image, exif=turned),
        "CMYK": saved(image.convert("CMYK")),
        "PNG": saved(image, "PNG"),
        "palette": saved(image.convert("P"), "PNG"),
        "16 bits": saved(deep, "PNG"),
        "alpha": saved(image.convert("RGBA"), "PNG"),
        "several pictures": saved(image, "MPO", save_all=True, append_images=[other]),
        "something behind": saved(image) + b"\n",
    }


@pytest.mark.parametrize("kind", other_kinds())
@pytest.mark.parametrize("shrink", [1, 2])
def test_other_kinds_take_the_slow_road(kind, shrink):
    data = other_kinds()[kind]
    whole = decode_image(data, "x")
    window = Window(4, 8, 48, 40, shrink)
    assert plain_jpeg_size(data) is None
    part, size = read_window(OnePicture(data), 0, lambda size: window)
    assert size == whole.shape[:2] == ((90, 60) if kind == "turned by EXIF" else (60, 90))
    assert np.array_equal(part, window.cut(whole))


def test_pictures_that_are_arrays():
    image = photo(60, 90)
    part, size = read_window(OnePicture(None, image), 0, lambda size: Window(1, 2, 30, 40, 2))
    assert size == (60, 90) and np.array_equal(part, image[1:31, 2:42])


@pytest.mark.parametrize("kind", ["4:2:0", "progressive", "restart marks"])
def test_a_file_that_is_cut_off_is_named(kind):
    data = saved(Image.fromarray(photo(101, 133)), **JPEGS[kind])
    for length in (0, 1, 2, 10, 200, len(data) // 3, len(data) // 2, len(data) - 50, len(data) - 2, len(data) - 1):
        with pytest.raises(DataError, match=r"some/where\.jpg"):
            read_window(OnePicture(data[:length]), 0, lambda size: Window(0, 0, 8, 8))


def test_a_file_with_a_hole_gives_what_it_gives_everywhere():
    """What is missing is gray on both roads, and never what lay in memory before."""
    data = saved(Image.fromarray(photo(101, 133)), subsampling=2)
    seen = 0
    for start in range(len(data) // 3, len(data) - 400, 50):
        broken = data[:start] + data[max(start + 300, len(data) * 2 // 3) :]
        try:
            whole = decode_image(broken, "x")
        except DataError:  # the seam happens to look like a mark
            continue
        for window in WINDOWS:
            fast, _ = read_window(OnePicture(broken), 0, lambda size, window=window: window)
            assert np.array_equal(fast, window.cut(whole))
            seen += 1
    assert seen > 50


@pytest.mark.parametrize("crop", [RandomResizedCrop(224), RandomResizedCrop(64), ScaleCrop(48, short=[60, 90])])
def test_photographs(datasets_root, crop):
    """Every eighth ImageNet sample: the same part on both roads; the same pixels where nothing is shrunk."""
    files = sorted((datasets_root / "imagenet_samples").rglob("*.[jJ][pP]*"))[::8]
    assert len(files) > 25
    off, fast_roads, shrunk = [], 0, 0
    for seed, path in enumerate(files):
        data = path.read_bytes()
        whole = decode_image(data, "x")
        window = crop.window(whole.shape[:2], seed)
        part, size = read_window(OnePicture(data), 0, lambda size, seed=seed: crop.window(size, seed))
        assert size == whole.shape[:2]
        fast_roads += plain_jpeg_size(data) is not None
        shrunk += window.shrink > 1
        fast, slow = crop.resized(part), crop.resized(window.cut(whole))
        off.append(np.abs(fast.astype(int) - slow).mean())
        assert window.shrink > 1 or off[-1] == 0
    assert fast_roads == len(files)
    assert np.mean(off) < 2 and max(off) < 6
    assert crop.size == 224 or shrunk > len(files) / 4


def test_a_window_moves_by_half_a_shrink_at_most():
    rng = np.random.default_rng(0)
    shrinks = set()
    for _ in range(2000):
        height, width = rng.integers(1, 2000, 2).tolist()
        top, left = int(rng.integers(height)), int(rng.integers(width))
        given = Window(top, left, int(rng.integers(1, height - top + 1)), int(rng.integers(1, width - left + 1)))
        moved = shrinkable(given, (height, width), 100)
        shrinks.add(s := moved.shrink)
        for first, extent, before, length, limit in (
            (moved.top, moved.height, given.top, given.height, height),
            (moved.left, moved.width, given.left, given.width, width),
        ):
            assert first % s == 0 and extent % s == 0
            assert abs(first - before) <= s / 2
            assert abs(first + extent - before - length) <= s / 2 or first + extent == limit // s * s
            assert 0 <= first < first + extent <= limit
            assert s == 1 or extent >= 100 * s
        if s < 8 and min(given.height, given.width) >= 200 * s + 2 * s:
            raise AssertionError(f"{given} could be decoded smaller")
    assert shrinks == {1, 2, 4, 8}
