"""Every training region through the network once, onto the disk: the stage between R-CNN's network and its fits."""

import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import torch

from visionkit.data.loaders import test_batches
from visionkit.data.progress import Progress
from visionkit.data.ragged import to_offsets
from visionkit.engine.distributed import barrier, broadcast_object, is_main, rank, share_buffers, world_size
from visionkit.errors import ConfigError, NonFiniteLossError, VisionKitError
from visionkit.feature_store import FeatureStore, Layout, digest_of, gigabytes, writable
from visionkit.models.region_detector import RegionDetector
from visionkit.ops.boxes import scale
from visionkit.training_regions import TrainingRegions

T = TypeVar("T")


def region_features(
    model: RegionDetector,
    regions: TrainingRegions,
    window_channels: int,
    folder: str | os.PathLike[str] | None = None,
    dtype: str = "float16",
    workers: int = 0,
) -> FeatureStore:
    """The features of all regions by the model as it stands, in evaluation mode; written unless they are there.

    What they take of the disk is said before it begins, and refused where there is not the room. An image is encoded by
    itself, so its numbers do not depend on how many are done at a time.

    Args:
        window_channels: D: the last so many numbers of a region's vector are kept as windows, of pairs alone.
        folder: where stores are kept, a folder for each; None = datasets/features.
        dtype: "float16" or "float32".
        workers: loading processes.
    Raises:
        ConfigError: the folder cannot be written or the disk is too small, or another `dtype`.
        DataError: a picture cannot be read, or the store is damaged.
        NonFiniteLossError: a vector has values that are no numbers, or too large for `dtype`.
    """
    if dtype not in ("float16", "float32"):
        raise ConfigError(f"dtype={dtype}: features are kept as float16 or float32.")
    counts = [(len(one.boxes), len(one.pairs(regions.pair_overlap))) for one in regions]
    layout = Layout(
        to_offsets(np.array([count for count, _ in counts], np.int64)),
        to_offsets(np.array([pairs for _, pairs in counts], np.int64)),
        model.backbone.out_channels,
        window_channels,
        dtype,
    )
    share_buffers(model)  # the running statistics of rank 0 count, which the checkpoint has

    def create() -> tuple[Path, list[int]]:
        about = _about(model, regions, layout)
        store = FeatureStore.create(writable(folder) / about["digest"], layout, about)
        return store.folder, store.missing()

    place, missing = by_the_first(create)
    store = FeatureStore(place, layout)
    if is_main():
        have = len(regions) - len(missing)
        say(
            f"features of {counts_text(layout, len(regions))} take {gigabytes(layout.bytes)} of the disk, in {place}"
            + (f"; {have} images are there already." if have else ".")
        )
    _write(model, regions, store, missing, workers)
    barrier()
    return store


def by_the_first(work: Callable[[], T]) -> T:
    """Rank 0's result on every rank, and its refusal too."""
    result: T | None = None
    refusal: VisionKitError | None = None
    if is_main():
        try:
            result = work()
        except VisionKitError as error:
            refusal = error
    refusal = broadcast_object(refusal)
    if refusal is not None:
        raise refusal
    return cast(T, broadcast_object(result))


def say(sentence: str) -> None:
    """To the person, beside the progress lines."""
    if is_main():
        print(sentence, file=sys.stderr, flush=True)


def counts_text(layout: Layout, images: int) -> str:
    return f"{int(layout.offsets[-1]):,} regions in {images:,} images"


def _about(model: RegionDetector, regions: TrainingRegions, layout: Layout) -> dict[str, Any]:
    """What the features depend on: plain values, and a digest of all the numbers too."""
    index, encode = regions.index, model.encode
    assert index.proposals is not None
    plain = {
        "encode": type(encode).__name__,
        "settings": _settings(encode),
        "resize": asdict(model.resize),
        "device": next(model.parameters()).device.type,
        "channels": layout.channels,
        "window_channels": layout.window_channels,
        "dtype": layout.dtype,
        "top": regions.top,
        "pair_overlap": regions.pair_overlap,
        "images": len(index),
        "regions": int(layout.offsets[-1]),
        "pairs": int(layout.pair_offsets[-1]),
    }
    weights = [value.detach().cpu().contiguous().view(-1).numpy() for value in encode.state_dict().values()]  # type: ignore[attr-defined]
    paths = "\n".join(index.path(i) for i in range(len(index))).encode()
    truth = [index.sizes, index.offsets, index.boxes, index.labels, index.crowd, index.difficult]
    given = [index.proposals.digests, index.proposals.offsets, index.proposals.boxes]
    return plain | {"digest": digest_of(plain, paths, *truth, *given, *weights)}


def _settings(encode: Any) -> dict[str, Any]:
    """The plain values among a module's attributes."""
    plain = {name: value for name, value in vars(encode).items() if isinstance(value, str | int | float)}
    return {name: value for name, value in plain.items() if name != "training" and not name.startswith("_")}


def _write(
    model: RegionDetector, regions: TrainingRegions, store: FeatureStore, missing: list[int], workers: int
) -> None:
    """This process's share of the missing images."""
    layout, index = store.layout, regions.index
    mine = missing[rank() :: world_size()]
    if not mine:
        return
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    try:
        with torch.inference_mode(), Progress("features of the training regions", len(mine), "images") as progress:
            for (position,), batch, originals in test_batches(index.select(mine), model.resize, 1, workers):
                i = mine[position]
                one, moved = regions[i], batch.to(device)
                factors = [new / old for new, old in zip(batch.sizes[0].tolist(), originals[0], strict=True)]
                boxes = scale(torch.from_numpy(one.boxes), factors).to(device)  # (R, 4)
                zeros = torch.zeros(len(boxes), dtype=torch.int64, device=device)
                found = model.encode(moved, model.encode.maps(moved), boxes, zeros).float().cpu().numpy()
                vectors, windows = found[:, : layout.channels], found[:, found.shape[1] - layout.window_channels :]
                lengths = [float(np.linalg.norm(part, axis=1).sum(dtype=np.float64)) for part in (vectors, windows)]
                kept = vectors.astype(layout.dtype), windows[one.pairs(regions.pair_overlap)].astype(layout.dtype)
                if not all(np.isfinite(part).all() for part in kept):
                    raise NonFiniteLossError(
                        f"the network's vectors for {index.path(i)} have values that are no numbers, or too large for "
                        f"{layout.dtype}."
                    )
                store.write(i, *kept, (lengths[0], lengths[1]))
                progress.advance()
    finally:
        model.train(was_training)
