"""Count a network layer by layer: shapes, parameters, memory, multiply-adds, receptive fields. Nothing is computed.

    python tools/analyze.py backbone=vgg16                      # size=224 or size=[320,416], format=table|json|csv
    python tools/analyze.py task=faster_rcnn backbone=resnet50_fpn size=[800,800] classes=80
    python tools/analyze.py compare=[alexnet,vgg16,googlenet,resnet50]
    python tools/analyze.py lecture=true                        # the lectures' figures, each beside the computed one
    python tools/analyze.py pictures=true                       # the drawings of docs/lecture_figures.md

A network is counted with its own classifier, auxiliary heads apart. `compare` also draws accuracy against
multiply-adds, from torchvision's published figures. With output=FOLDER the same is written there in every format.
"""

import sys
from pathlib import Path
from typing import Any

from visionkit.config import main


@main("analyze")
def analyze(config: Any) -> None:
    """Entry point: one network or detector, several networks, the lectures' figures, or drawings."""
    from visionkit.analysis.options import checked_count, checked_format, checked_mode, checked_names, checked_size
    from visionkit.run_folder import usable_folder

    checked_format(config.format)
    size, names = checked_size(config.size), checked_names(config.compare)
    classes, regions = (checked_count(key, config[key]) for key in ("classes", "regions"))
    one = any(config.get(key) is not None for key in ("backbone", "task"))
    mode = checked_mode(one, compare=config.compare, lecture=config.lecture, pictures=config.pictures)
    default = f"outputs/analyze/{mode}" if mode in ("compare", "pictures") else None
    output: Any = config.output or default
    folder: Any = None if output is None else usable_folder(output)

    if mode == "pictures":
        from visionkit.analysis.pictures import draw_all

        print(*draw_all(folder), sep="\n")
        return
    if mode == "compare":
        report = compared(names, size, classes, folder)
    elif mode == "lecture":
        from visionkit.analysis.lecture import report as lecture_report

        report = lecture_report()
    else:
        from visionkit.analysis.report import report as analysis_report

        task = config.get("task") is not None
        found = detector(config, size, classes, regions) if task else network(config, config.experiment, size, classes)
        report = analysis_report(found)
    print(report[config.format])
    if folder is not None:
        write(folder, mode or "analysis", report)


def network(config: Any, name: str, size: Any, classes: int | None) -> Any:
    """A backbone with its own classifier, counted."""
    from visionkit.analysis.network import analyze_network

    return analyze_network(empty_backbone(config), name, size, classes)


def detector(config: Any, size: Any, classes: int | None, regions: int | None) -> Any:
    """A detector of the chosen task, counted."""
    import torch

    from visionkit.analysis.network import COCO_CLASSES, analyze_detector
    from visionkit.config import instantiate
    from visionkit.errors import ConfigError
    from visionkit.instantiate import refusals
    from visionkit.models.region_detector import RegionDetector

    missing = [key for key in ("task", "backbone") if "_target_" not in (config.get(key) or {})]
    if missing:
        named = "task=faster_rcnn backbone=NAME"
        raise ConfigError(f"{' and '.join(missing)} missing: a detector is counted as {named}, an experiment's too.")
    backbone = empty_backbone(config)
    with torch.device("meta"), refusals("task"):
        model = instantiate(config.task)(backbone=backbone, num_classes=classes or COCO_CLASSES)
    if not isinstance(model, RegionDetector):
        raise ConfigError("detectors are counted with their task, networks with their own classifier without: no task.")
    return analyze_detector(model, config.experiment, size, regions or 1000)


def compared(names: Any, size: Any, classes: int | None, folder: Any) -> dict[str, str]:
    """Networks by name, side by side, and the picture of the published ones."""
    from visionkit.analysis.accuracy_plot import plot_accuracy
    from visionkit.analysis.compare import report
    from visionkit.config import compose

    configs = {name: compose("analyze", [f"backbone={name}"]) for name in names}  # all names before any network
    found = report([network(config, name, size, classes) for name, config in configs.items()])
    print(f"the picture is {plot_accuracy(folder / 'accuracy.png', names)}", file=sys.stderr)
    return found


def empty_backbone(config: Any) -> Any:
    """The backbone without numbers in it; no weights file is read."""
    import torch

    from visionkit.config import instantiate

    with torch.device("meta"):
        return instantiate(config.backbone, weights=None)


def write(folder: Path, stem: str, report: dict[str, str]) -> None:
    """STEM.txt, STEM.json and STEM.csv; where they are is told on standard error, so that JSON stays alone."""
    folder.mkdir(parents=True, exist_ok=True)
    for form, text in report.items():
        (folder / f"{stem}.{'txt' if form == 'table' else form}").write_text(text + "\n", encoding="utf-8")
    print(f"{stem}.txt, {stem}.json and {stem}.csv are in {folder}", file=sys.stderr)


if __name__ == "__main__":
    analyze()
