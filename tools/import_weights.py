"""Bring somebody else's trained model in: torchvision's and detectron2's Faster and Mask R-CNN, torchvision's FCN.

    python tools/import_weights.py file=fasterrcnn_resnet50_fpn_coco-258fb6c6.pth output=frcnn.pt
    python tools/import_weights.py file=model_final_280758.pkl kind=detectron2 output=frcnn_d2.pt
    python tools/import_weights.py file=fcn_resnet50_coco-1167a1af.pth output=fcn.pt
    python tools/evaluate.py checkpoint=frcnn.pt data=coco
    python tools/demo.py checkpoint=frcnn.pt source=PICTURES

Which model the file holds is told by its keys. The checkpoint has its configuration inside, preprocessing included; a
.pkl is read without running anything that it names. docs/import.md says what was done to the weights, and why.
"""

from pathlib import Path
from typing import Any

from visionkit.config import main


@main("import_weights")
def import_weights(config: Any) -> None:
    """Entry point: read, rename, save, print."""
    from visionkit.config import to_plain
    from visionkit.errors import ConfigError

    settings = to_plain(config)
    output = Path(settings["output"]).absolute()
    if output.is_dir():
        raise ConfigError(f"output={output} is a folder; the name of a checkpoint is wanted.")
    if output == Path(settings["file"]).absolute():
        raise ConfigError(f"output={output} is the file itself; choose another name.")

    from visionkit import import_weights as work
    from visionkit.run_folder import usable_folder

    usable_folder(output.parent).mkdir(parents=True, exist_ok=True)
    for line in work.import_weights(**settings):
        print(line)
    print(f"written to {output}; for example: python tools/demo.py checkpoint={output} source=PICTURES")


if __name__ == "__main__":
    import_weights()
