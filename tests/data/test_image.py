import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from visionkit.data.image import image_size, read_image
from visionkit.errors import DataError

QUADRANTS = np.zeros((20, 30, 3), np.uint8)  # four colours, so that any turn shows
QUADRANTS[:10, :15], QUADRANTS[:10, 15:] = (255, 0, 0), (0, 255, 0)
QUADRANTS[10:, :15], QUADRANTS[10:, 15:] = (0, 0, 255), (255, 255, 255)


def saved(folder: Path, image: Image.Image, suffix: str, **options) -> Path:
    path = folder / f"picture{suffix}"
    image.save(path, **options)
    return path


def check(path: Path, expected: np.ndarray, tolerance: int = 0) -> None:
    image = read_image(path)
    assert image.dtype == np.uint8 and image.flags.writeable and image.flags.c_contiguous
    assert image.shape == expected.shape == (*image_size(path), 3)
    assert np.abs(image.astype(int) - expected.astype(int)).max() <= tolerance


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".jpg", ".webp"])
def test_rgb(tmp_path: Path, suffix: str) -> None:
    options = {"lossless": True} if suffix == ".webp" else {}
    ramp = np.broadcast_to(np.linspace(0, 255, 32, dtype=np.uint8)[:, None, None], (32, 48, 3))
    check(saved(tmp_path, Image.fromarray(ramp.copy()), suffix, **options), ramp, 2 if suffix == ".jpg" else 0)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_gray(tmp_path: Path, suffix: str) -> None:
    gray = np.tile(np.arange(0, 250, 10, dtype=np.uint8), (16, 1))
    check(
        saved(tmp_path, Image.fromarray(gray), suffix), np.repeat(gray[..., None], 3, 2), 3 if suffix == ".jpg" else 0
    )


def test_palette_with_and_without_transparency(tmp_path: Path) -> None:
    palette = Image.fromarray(QUADRANTS).quantize(4)
    check(saved(tmp_path, palette, ".png"), QUADRANTS)
    check(saved(tmp_path, palette, ".gif"), QUADRANTS)
    check(saved(tmp_path, palette, ".png", transparency=0), QUADRANTS)
    check(saved(tmp_path, palette, ".png", transparency=bytes([0, 128, 255, 10])), QUADRANTS)


def test_alpha_is_dropped(tmp_path: Path) -> None:
    alpha = np.full((20, 30, 1), 7, np.uint8)
    check(saved(tmp_path, Image.fromarray(np.concatenate([QUADRANTS, alpha], 2)), ".png"), QUADRANTS)
    gray = np.full((20, 30, 1), 90, np.uint8)
    check(saved(tmp_path, Image.fromarray(np.concatenate([gray, alpha], 2)), ".png"), np.repeat(gray, 3, 2))


def test_cmyk(tmp_path: Path) -> None:
    image = Image.fromarray(QUADRANTS).resize((60, 40), Image.Resampling.NEAREST).convert("CMYK")
    image_rgb = np.asarray(Image.fromarray(QUADRANTS).resize((60, 40), Image.Resampling.NEAREST))
    found = read_image(saved(tmp_path, image, ".jpg", quality=98))
    for y, x in ((5, 5), (5, 50), (35, 5), (35, 50)):
        assert np.abs(found[y, x].astype(int) - image_rgb[y, x].astype(int)).max() < 25
    check(saved(tmp_path, image, ".tif"), image_rgb)


def test_one_bit(tmp_path: Path) -> None:
    bits = np.indices((20, 30)).sum(0) % 2 == 0
    check(saved(tmp_path, Image.fromarray(bits), ".png"), np.repeat((bits * 255).astype(np.uint8)[..., None], 3, 2))


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_are_scaled_not_clipped(tmp_path: Path, suffix: str) -> None:
    deep = np.array([[0, 128, 129, 257, 32768, 65535]] * 4, np.uint16)
    expected = np.array([[0, 0, 1, 1, 128, 255]] * 4, np.uint8)
    check(saved(tmp_path, Image.fromarray(deep), suffix), np.repeat(expected[..., None], 3, 2))


def test_big_endian_sixteen_bits(tmp_path: Path) -> None:
    deep = np.array([[0, 257, 65535]], ">u2")
    image = Image.frombytes("I;16B", (3, 1), deep.tobytes())
    check(saved(tmp_path, image, ".tif"), np.repeat(np.array([[0, 1, 255]], np.uint8)[..., None], 3, 2))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_the_picture_upright(tmp_path: Path, orientation: int, suffix: str) -> None:
    """Stored turned by the inverse, so that every one must come out as the upright picture."""
    inverse = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # PIL's Transpose numbers
    stored = Image.fromarray(QUADRANTS)
    if orientation > 1:
        stored = stored.transpose(Image.Transpose(inverse[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = (
        {"lossless": True} if suffix == ".webp" else {"quality": 100, "subsampling": 0} if suffix == ".jpg" else {}
    )
    path = saved(tmp_path, stored, suffix, exif=exif, **options)
    image = read_image(path)
    assert image.shape == (20, 30, 3) and image_size(path) == (20, 30)
    for y, x in ((3, 3), (3, 26), (16, 3), (16, 26)):
        assert np.abs(image[y, x].astype(int) - QUADRANTS[y, x].astype(int)).max() < 12


def test_nonsense_orientation_is_ignored(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 77
    check(saved(tmp_path, Image.fromarray(QUADRANTS), ".png", exif=exif), QUADRANTS)


def test_broken_exif_does_not_matter(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.fromarray(QUADRANTS), ".jpg", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\0\0")
    assert read_image(path).shape == (20, 30, 3)


def test_first_frame_of_a_film(tmp_path: Path) -> None:
    frames = [Image.fromarray(QUADRANTS).quantize(4), Image.new("P", (30, 20))]
    check(saved(tmp_path, frames[0], ".gif", save_all=True, append_images=frames[1:]), QUADRANTS)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_truncated(tmp_path: Path, share: float, suffix: str) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    path = saved(tmp_path, Image.fromarray(noise), suffix)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(DataError, match=rf"image .*picture\{suffix} cannot be read: .*\.$"):
        read_image(path)


def test_corrupt_png(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.fromarray(QUADRANTS), ".png")
    data = bytearray(path.read_bytes())
    data[60:70] = b"\xff" * 10
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"picture\.png cannot be read"):
        read_image(path)


def test_no_picture(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.jpg does not exist"):
        read_image(tmp_path / "none.jpg")
    with pytest.raises(DataError, match="cannot be read"):
        read_image(tmp_path)
    for content in (b"", b"no picture at all"):
        (tmp_path / "text.jpg").write_bytes(content)
        with pytest.raises(DataError, match=r"text\.jpg cannot be read: not an image in a known format"):
            read_image(tmp_path / "text.jpg")
        with pytest.raises(DataError, match=r"text\.jpg cannot be read"):
            image_size(tmp_path / "text.jpg")


def test_float_pixels_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.fromarray(np.ones((4, 4), np.float32)), ".tif")
    with pytest.raises(DataError, match="pixels are floats"):
        read_image(path)


def test_every_real_picture_reads(datasets_root: Path) -> None:
    folder = datasets_root / "raccoon" / "JPEGImages"
    if not folder.is_dir():
        pytest.skip("no raccoon among the data sets")
    gray = 0
    for path in sorted(folder.iterdir()):
        image = read_image(path)
        assert image.shape == (*image_size(path), 3)
        with Image.open(io.BytesIO(path.read_bytes())) as opened:
            gray += opened.mode == "L"
    assert gray == 3
