"""Faster detection from a trained Fast or Faster R-CNN: its fully connected layers through truncated SVD.

    python tools/compress.py checkpoint=outputs/.../checkpoints/best.pt
    python tools/compress.py checkpoint=outputs/.../checkpoints/best.pt ranks=[1024,256] output=small.pt

The new checkpoint goes wherever the old one went: tools/evaluate.py says what the compression costs.
"""

from pathlib import Path
from typing import Any

from visionkit.config import main


@main("compress")
def compress(config: Any) -> None:
    """Entry point: load, factorise, save, print."""
    from visionkit.config import to_plain
    from visionkit.errors import ConfigError

    if config.checkpoint is None:
        raise ConfigError("checkpoint=... is wanted: that of a trained Fast or Faster R-CNN.")
    ranks = to_plain(config)["ranks"]
    if ranks is not None and not isinstance(ranks, list):
        raise ConfigError(f"ranks={ranks}: a list with a rank for each fully connected layer is wanted.")
    output = Path(config.output or Path(config.checkpoint).with_name("compressed.pt")).absolute()
    if output.is_dir():
        raise ConfigError(f"output={output} is a folder; the name of a checkpoint is wanted.")

    from visionkit import compress as work
    from visionkit.run_folder import usable_folder

    usable_folder(output.parent).mkdir(parents=True, exist_ok=True)
    for line in work.compress(config.checkpoint, ranks, output):
        print(line)
    print(f"written to {output}")


if __name__ == "__main__":
    compress()
