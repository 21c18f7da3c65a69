"""Making maps larger: bilinear kernels for transposed convolutions, and resizing of class scores."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def bilinear_kernel(factor: int) -> Tensor:
    """The kernel with which a transposed convolution of stride `factor` interpolates linearly, (2f, 2f) or for an odd
    factor (2f - 1, 2f - 1) float32 (FCN, sec. 3.3: "initialized to bilinear interpolation").

    Raises ValueError for a factor below 1.
    """
    if factor < 1:
        raise ValueError(f"a factor of at least 1 is wanted, not {factor}")
    side = 2 * factor - factor % 2
    center = factor - 1 if side % 2 else factor - 0.5
    line = 1 - (torch.arange(side, dtype=torch.float32) - center).abs() / factor  # (side,)
    return line[:, None] * line[None, :]


class BilinearUpsampling(nn.ConvTranspose2d):
    """A transposed convolution (B, channels, h, w) -> (B, channels, h * factor, w * factor) that begins as bilinear
    interpolation of each channel by itself, equal to `resize_maps`, and learns from there; without a bias.

    The border is repeated around the map before: with zeros there, scores would fade towards the picture's border, by
    two thirds in its corners after two doublings.
    """

    def __init__(self, channels: int, factor: int) -> None:
        side = 2 * factor - factor % 2
        padding = (side - factor + 1) // 2
        super().__init__(channels, channels, side, stride=factor, padding=padding, bias=False)
        self.factor = factor
        with torch.no_grad():
            self.weight.zero_()
            self.weight[range(channels), range(channels)] = bilinear_kernel(factor)

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        enlarged = super().forward(repeat_border(input))  # (B, C, (h + 2) * factor, (w + 2) * factor)
        rim = self.factor
        return enlarged[:, :, rim:-rim, rim:-rim]


def repeat_border(maps: Tensor) -> Tensor:
    """One more cell on every side, equal to its neighbour: (B, C, h, w) -> (B, C, h + 2, w + 2). Its gradient repeats
    bit for bit on a GPU too, which that of `F.pad` does not."""
    wide = torch.cat((maps[..., :1], maps, maps[..., -1:]), dim=3)
    return torch.cat((wide[:, :, :1], wide, wide[:, :, -1:]), dim=2)


def resize_maps(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear, by pixel centres: (B, C, h, w) -> (B, C, *size); the maps themselves where they have that size."""
    if maps.shape[-2:] == torch.Size(size):
        return maps
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)


def stamp_counts(size: tuple[int, int], kernel: int) -> Tensor:
    """How many stamps of a transposed convolution of stride 1 meet in each output pixel.

    Args:
        size: of its output, at least the kernel's.
        kernel: its side, pixels.
    Returns:
        (*size) float32, from 1 in the corners to kernel * kernel far from them.
    """
    height, width = (_stamps_on_line(side, kernel) for side in size)
    return height[:, None] * width[None, :]


def _stamps_on_line(length: int, kernel: int) -> Tensor:
    place = torch.arange(length)
    nearer = torch.minimum(place, length - 1 - place) + 1  # stamps that begin, or end, no further than here
    return nearer.clamp(max=min(kernel, length - kernel + 1)).to(torch.float32)  # (length,)


def transposed_convolution(x: Tensor, weight: Tensor, stride: int, padding: int = 0) -> Tensor:
    """`F.conv_transpose2d` as one would draw it: every input value stamps the kernel, times itself, onto the output,
    and where stamps overlap they add up. For reading and for tests; slow.

    Args:
        x: (B, C, h, w).
        weight: (C, C', k, l).
        stride: output pixels from one stamp to the next.
        padding: pixels cut off at each border.
    Returns:
        (B, C', (h - 1) * stride + k - 2 * padding, (w - 1) * stride + l - 2 * padding).
    Raises:
        ValueError: channels that differ, a stride below 1, or a padding below 0 or one that cuts everything off.
    """
    (batch, channels, height, width), (wanted, out, down, across) = x.shape, weight.shape
    if channels != wanted:
        raise ValueError(f"maps of {channels} channels and a kernel for {wanted}")
    if stride < 1 or padding < 0:
        raise ValueError(f"a stride of at least 1 and a padding of at least 0 are wanted, not {stride} and {padding}")
    whole = (height - 1) * stride + down, (width - 1) * stride + across
    if min(whole) <= 2 * padding:
        raise ValueError(f"a padding of {padding} leaves nothing of {whole[0]} x {whole[1]}")
    canvas = x.new_zeros(batch, out, *whole)
    for i in range(height):
        for j in range(width):
            stamp = torch.einsum("bc,cokl->bokl", x[:, :, i, j], weight)  # (B, C', k, l)
            canvas[:, :, i * stride : i * stride + down, j * stride : j * stride + across] += stamp
    return canvas[:, :, padding : whole[0] - padding, padding : whole[1] - padding]


def resize_scores(scores: Tensor, size: tuple[int, int]) -> Tensor:
    """`resize_maps` in float32 at least: near scores decide which class is the best."""
    return resize_maps(scores.to(torch.promote_types(scores.dtype, torch.float32)), size)
