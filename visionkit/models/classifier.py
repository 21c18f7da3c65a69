"""Image classification: trunk, pool, tail and the network's own head."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visionkit.backbones.base import Backbone
from visionkit.models.pixels import Normalize, batch_of
from visionkit.ops.center_crop import CenterCrop
from visionkit.ops.reduce import across_processes
from visionkit.structures import Batch, Classification, Targets


class Classifier(nn.Module):
    """One class for each image.

    Args:
        backbone: trunk and tail; of several region stages (a pyramid) the mean of their tail maps is taken.
        head: tail maps to logits (B, K): what `backbone.new_classifier(K)` gives.
        normalize: pixels to network input.
        resize: how `predict` brings an image to the size of the network.
        aux: auxiliary heads on inner stages, by stage name (GoogLeNet, sec. 5); of use in training only.
        aux_weight: their share of the loss.
        label_smoothing: share of every label that is spread over all classes, 0 ... 1 (Szegedy et al. 2015, sec. 7).
    """

    def __init__(
        self,
        backbone: Backbone,
        head: nn.Module,
        normalize: Normalize,
        resize: CenterCrop,
        aux: nn.ModuleDict | None = None,
        aux_weight: float = 0.3,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.aux = nn.ModuleDict() if aux is None else aux
        self.normalize = normalize
        self.resize = resize
        self.aux_weight = aux_weight
        self.label_smoothing = label_smoothing

    @property
    def loss_names(self) -> tuple[str, ...]:
        return ("loss_class", "loss_aux") if len(self.aux) else ("loss_class",)

    class_layers = ("head", "aux")  # what has outputs of its own for each class

    def logits(self, batch: Batch) -> Tensor:
        """Images of one size -> (B, K) float32."""
        return self.scores(self.normalize(batch))

    def scores(self, images: Tensor) -> Tensor:
        """Normalised images of one size (B, C, H, W) -> logits (B, K) float32."""
        return self._classify(self.backbone(images, self.backbone.region_stages))

    def forward(self, batch: Batch, targets: Targets) -> dict[str, Tensor]:
        """Named scalar losses, in training and in evaluation mode alike: `loss_class`, and `loss_aux` if there are
        auxiliary heads. Means over the images of all processes' batches."""
        if targets.image_labels is None:
            raise ValueError("a classifier learns from Targets.image_labels")
        names = tuple(dict.fromkeys((*self.aux, *self.backbone.region_stages)))
        maps = self.backbone(self.normalize(batch), names)
        losses = {"loss_class": self._loss(self._classify(maps), targets)}
        if len(self.aux):
            extra = [self._loss(head(maps[stage]).float(), targets) for stage, head in self.aux.items()]
            losses["loss_aux"] = self.aux_weight * torch.stack(extra).sum()
        return losses

    def features(self, batch: Batch) -> Tensor:
        """Images of one size -> the vectors that the head would classify, (B, backbone.out_channels) float32."""
        return self.backbone.reduce(self._tail_maps(self.backbone(self.normalize(batch), self.backbone.region_stages)))

    def dense_logits(self, batch: Batch) -> Tensor:
        """Images of one size, at least the network's -> (B, K) float32: the tail runs over the whole map, and the class
        scores are averaged over its positions (VGG, sec. 3.2)."""
        net = self.backbone
        maps = net(self.normalize(batch), net.region_stages)
        found = [self.head(net.dense_tail(maps[name])) for name in net.region_stages]
        return torch.stack(found).mean(dim=0).float()  # (B, K)

    def _tail_maps(self, maps: dict[str, Tensor]) -> Tensor:
        net = self.backbone
        found = [net.tail_maps(net.pool(maps[name])) for name in net.region_stages]  # (B, C, h, w) each
        return found[0] if len(found) == 1 else torch.stack(found).mean(dim=0)

    def _classify(self, maps: dict[str, Tensor]) -> Tensor:
        return self.head(self._tail_maps(maps)).float()  # (B, K)

    def _loss(self, logits: Tensor, targets: Targets) -> Tensor:
        assert targets.image_labels is not None
        each = self._cross_entropy(logits, targets.image_labels)  # (B,)
        if targets.mixed_labels is not None and targets.mixed_shares is not None:
            # Two pictures in one: both classes count, by their shares (Zhang et al. 2018, eq. 1).
            other = self._cross_entropy(logits, targets.mixed_labels)
            each = each + targets.mixed_shares * (other - each)
        count = torch.tensor(float(len(each)), device=each.device)
        return each.sum() / across_processes(count).clamp(min=1)

    def _cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits, labels, reduction="none", label_smoothing=self.label_smoothing)  # (B,)

    def classify(self, batch: Batch) -> Tensor:
        """Images of one size -> (B, K) float32, log-probabilities, as the network is after training."""
        was_training = self.training
        self.eval()
        try:
            with torch.inference_mode():
                return self.logits(batch).log_softmax(dim=1)
        finally:
            self.train(was_training)

    def predict(self, images: Sequence[np.ndarray]) -> list[Classification]:
        """RGB images (H, W, 3) uint8 of any sizes -> the probability of every class, each image by itself."""
        device = next(self.parameters()).device
        batches = (batch_of(image, self.resize).to(device) for image in images)
        return [Classification(self.classify(batch)[0].exp().cpu()) for batch in batches]
