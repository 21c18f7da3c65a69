"""Semantic segmentation one patch at a time: a network says what the middle of a patch shows, for every pixel anew.

What came before fully convolutional networks (Ciresan et al., "Deep Neural Networks Segment Neuronal Membranes in
Electron Microscopy Images", 2012; the "patchwise training" and testing that FCN, 2015, sec. 3.4, does away with).
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visionkit.backbones.base import Backbone
from visionkit.errors import ConfigError
from visionkit.models.dense_tail import region_stage
from visionkit.models.pixels import Normalize, batch_of
from visionkit.models.segmenter import segmentation
from visionkit.models.sliding_windows import network_view
from visionkit.models.whole_image import dense_tail_side
from visionkit.ops.hashing import random_keys
from visionkit.ops.keep_size import KeepSize
from visionkit.ops.losses import pixel_cross_entropy
from visionkit.ops.offset_pool import at_every_offset
from visionkit.ops.pixel_sampling import sample_pixels
from visionkit.ops.reduce import across_processes
from visionkit.ops.resize import TestResize
from visionkit.ops.upsample import resize_maps
from visionkit.structures import Batch, Segmentation, Targets

SALT = 0x9A7C  # the patches' random keys are their own


class PatchSegmenter(nn.Module):
    """One class for each pixel, that of the patch around it, with zeros around the picture.

    Learns from single patches. When it predicts, patches of neighbouring pixels, which are nearly the same, are
    computed one by one, or with what they have in common computed once (`sharing`). On a network without padding both
    give the same scores; one that pads sees the border of each patch, and of the shared map only that of the whole.

    Args:
        backbone: trunk and tail, with one region stage.
        head: tail maps of patches to class scores (R, K): what `backbone.new_classifier(K)` gives.
        normalize: pixels to network input.
        resize: how `predict` brings an image to the size of the network.
        num_classes: K.
        patch: side of a patch, pixels; None = what the network sees (`sliding_windows.network_view`).
        patches: of each picture in training.
        balanced: as many of each class that a picture has; else as many as it has pixels of it.
        step: pixels from one prediction to the next; between them class scores are interpolated.
        sharing: the trunk runs over the picture, shifted where `step` is less than its stride, and the tail densely
            over its maps.
        chunk: patches that go through the network at a time in prediction.
    Raises:
        ConfigError: a step, a patch or a backbone that does not go with the rest.
    """

    class_weights: Tensor  # (K,) float32, of each class in the loss; 1 unless `fit_class_weights` set them
    loss_names = ("loss_class",)
    class_layers = ("head", "class_weights")  # what has outputs of its own for each class

    def __init__(
        self,
        backbone: Backbone,
        head: nn.Module,
        normalize: Normalize,
        resize: TestResize | KeepSize,
        num_classes: int,
        *,
        patch: int | None = None,
        patches: int = 64,
        balanced: bool = False,
        step: int = 8,
        sharing: bool = False,
        chunk: int = 64,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.normalize = normalize
        self.resize = resize
        self.num_classes = num_classes
        self.register_buffer("class_weights", torch.ones(num_classes))
        self.stage = region_stage(backbone)
        self.patch = network_view(backbone) if patch is None else patch
        self.patches, self.balanced, self.step, self.sharing, self.chunk = patches, balanced, step, sharing, chunk
        if self.patch < backbone.min_size:
            raise ConfigError(
                f"task.patch={self.patch}: the network takes patches of at least {backbone.min_size} pixels."
            )
        if step > self.patch:
            raise ConfigError(
                f"task.step={step} leaves pixels out between patches of {self.patch}: {self.patch} at most."
            )
        if sharing:
            self._require_shareable()
            self._extent = dense_tail_side(backbone)  # cells of the dense tail that make up one window

    def logits(self, batch: Batch) -> Tensor:
        """Images of any size -> class scores (B, K, H, W) float32 of every pixel of the canvas."""
        return self.scores(self.normalize(batch))

    def forward(self, batch: Batch, targets: Targets) -> dict[str, Tensor]:
        """`loss_class`, a scalar, in training and in evaluation mode alike: the mean over the drawn patches of all
        processes' batches, each weighted by its class; 0 where no pixel is labelled. Which patches is a function of
        `Batch.seeds`."""
        if targets.semantic is None:
            raise ValueError("a segmenter learns from Targets.semantic")
        images, semantic = self.normalize(batch), targets.semantic
        height, width = semantic.shape[1:]
        keys = random_keys(batch.seeds + SALT, height * width)
        places, labels = sample_pixels(semantic, keys, self.patches, self.balanced)  # (B, N) each
        scores = self.class_scores(self._patches_at(images, places // width, places % width))  # (B * N, K)
        total, weight = pixel_cross_entropy(
            scores[:, :, None, None].float(), labels.flatten()[:, None, None], self.class_weights
        )
        whole = across_processes(weight)
        return {"loss_class": total / whole.clamp(min=torch.finfo(whole.dtype).tiny)}

    def segment(self, batch: Batch, originals: Sequence[tuple[int, int]]) -> list[Segmentation]:
        """The class of each pixel, at the sizes (height, width) of the original images; as after training."""
        return [segmentation(scores) for scores in self.probabilities(batch, originals)]

    def probabilities(self, batch: Batch, originals: Sequence[tuple[int, int]]) -> list[Tensor]:
        """The probability of every class, (K, H, W) float32 for each image, at the sizes of the originals. Scores are
        interpolated before the softmax. Each image goes through by itself, so the canvas around it is of no account."""
        was_training = self.training
        self.eval()
        try:
            with torch.inference_mode():
                images, found = self.normalize(batch), []
                for own, (height, width), original in zip(images, batch.sizes.tolist(), originals, strict=True):
                    scores = self.scores(own[None, :, :height, :width])  # (1, K, height, width)
                    found.append(resize_maps(scores, (original[0], original[1]))[0].softmax(dim=0))
                return found
        finally:
            self.train(was_training)

    def predict(self, images: Sequence[np.ndarray]) -> list[Segmentation]:
        """RGB images (H, W, 3) uint8 of any sizes -> the class of every pixel, each image by itself; on the CPU."""
        device = next(self.parameters()).device
        found = []
        for image in images:
            original = (image.shape[0], image.shape[1])
            found += [one.to("cpu") for one in self.segment(batch_of(image, self.resize).to(device), [original])]
        return found

    def scores(self, images: Tensor) -> Tensor:
        """Normalised images of one size (B, C, H, W) -> class scores (B, K, H, W) float32."""
        height, width = images.shape[-2:]
        grid = self.grid_scores(images)  # (B, K, rows, columns)
        size = (grid.shape[2] * self.step, grid.shape[3] * self.step)
        return resize_maps(grid, size)[:, :, :height, :width]

    def grid_scores(self, images: Tensor) -> Tensor:
        """Normalised images of one size (B, C, H, W) -> class scores (B, K, ceil(H / step), ceil(W / step)) float32.

        Cell (i, j) is pixel (i * step + step // 2, j * step + step // 2), so that it stands in the middle of its block;
        at the right and the bottom that may be in the zeros around the picture.
        """
        rows, columns = (-(-side // self.step) for side in images.shape[-2:])
        if self.sharing:
            return self._shared(images, rows, columns)
        padded = self._padded(images, rows, columns)
        return self._each_window(padded, self.patch, self.step, self.class_scores)

    def class_scores(self, patches: Tensor) -> Tensor:
        """Normalised patches (R, C, patch, patch), each by itself -> class scores (R, K) of their middle pixels."""
        net = self.backbone
        scores: Tensor = self.head(net.tail_maps(net.pool(net(patches, (self.stage,))[self.stage])))
        return scores

    def _shared(self, images: Tensor, rows: int, columns: int) -> Tensor:
        """The trunk over the whole picture: once where its stride is the step; else on the picture shifted by every
        multiple of the step below the stride, and the results interlaced ("shift-and-stitch": FCN, sec. 3.2)."""
        net, step = self.backbone, self.step
        coarse = net.stages[self.stage].stride * net.dense_stride
        pitch = step if step == coarse else net.stages[self.stage].stride  # of what one pass gives
        shifts = pitch // step
        high, wide = -(-rows // shifts), -(-columns // shifts)  # cells of one pass
        padded = self._padded(images, high * shifts, wide * shifts)

        def dense_scores(region_map: Tensor) -> Tensor:
            return self._each_window(net.dense_tail(region_map), self._extent, 1, self.head)

        found = []
        for y in range(0, pitch, step):
            for x in range(0, pitch, step):
                reach = (y + self.patch + (high - 1) * pitch, x + self.patch + (wide - 1) * pitch)
                region_map = net(padded[:, :, y : reach[0], x : reach[1]], (self.stage,))[self.stage]
                if step == coarse:
                    found.append(dense_scores(region_map))
                else:
                    found.append(at_every_offset(dense_scores, region_map, net.dense_window, net.dense_stride))
        scores = torch.stack(found).unflatten(0, (shifts, shifts))  # (S, S, B, K, high, wide)
        scores = scores.permute(2, 3, 4, 0, 5, 1).flatten(4).flatten(2, 3)  # (B, K, high * S, wide * S)
        return scores[:, :, :rows, :columns]

    def _padded(self, images: Tensor, rows: int, columns: int) -> Tensor:
        """The images with as many zeros around them as the patches of a grid need: the first begins in the corner."""
        before = self.patch // 2 - self.step // 2
        down, right = (
            (count - 1) * self.step + self.patch - before - side
            for count, side in zip((rows, columns), images.shape[-2:], strict=True)
        )
        return F.pad(images, (before, right, before, down))

    def _patches_at(self, images: Tensor, y: Tensor, x: Tensor) -> Tensor:
        """Images (B, C, H, W), pixels (B, N) -> the patches around them (B * N, C, patch, patch)."""
        before, after = self.patch // 2, self.patch - 1 - self.patch // 2
        padded = F.pad(images, (before, after, before, after))
        windows = padded.unfold(2, self.patch, 1).unfold(3, self.patch, 1)  # (B, C, H, W, patch, patch), a view
        image = torch.arange(len(images), device=images.device)[:, None].expand_as(y)
        return windows[image.flatten(), :, y.flatten(), x.flatten()].contiguous(memory_format=torch.channels_last)

    def _each_window(self, maps: Tensor, side: int, step: int, network: Callable[[Tensor], Tensor]) -> Tensor:
        """Maps (B, C, h, w) -> what the network says of each of their windows, (B, K, rows, columns) float32."""
        windows = maps.unfold(2, side, step).unfold(3, side, step).permute(0, 2, 3, 1, 4, 5)  # (B, rows, columns, ...)
        grid = windows.shape[:3]
        places = torch.unravel_index(torch.arange(grid.numel(), device=maps.device), grid)
        chunks = zip(*(place.split(self.chunk) for place in places), strict=True)
        found = [network(windows[chunk].contiguous(memory_format=torch.channels_last)).float() for chunk in chunks]
        return torch.cat(found).unflatten(0, grid).permute(0, 3, 1, 2)

    def _require_shareable(self) -> None:
        net, stride = self.backbone, self.backbone.stages[self.stage].stride
        coarse, view = stride * net.dense_stride, network_view(net)
        if not net.dense_exact:
            raise ConfigError(
                f"task.sharing=true: the tail of {type(net).__name__} sees the border of its patch, so it is something "
                "else over a whole picture; choose a network with fully connected layers (vgg11_bn, alexnet, lenet)."
            )
        if self.patch != view:
            raise ConfigError(
                f"task.sharing=true wants the patch that the network was made for, task.patch={view} or null."
            )
        if self.step != coarse and stride % self.step:
            raise ConfigError(
                f"task.step={self.step}: with task.sharing=true it is {coarse}, or a number that divides {stride}."
            )
