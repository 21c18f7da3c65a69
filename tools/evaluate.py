"""Measure a checkpoint on its data set, or a COCO results file without any model.

    python tools/evaluate.py checkpoint=outputs/.../checkpoints/best.pt
    python tools/evaluate.py checkpoint=outputs/.../checkpoints/best.pt data=voc07 split=val
    python tools/evaluate.py predictions=results.json truth=instances.json iou_type=bbox

Prints a table by class and the headline numbers, and writes metrics.json (and predictions.json) into `output`: by
default eval/ of the checkpoint's run, and eval_<data>_<split>/ beside it for other data.
"""

from typing import Any

from visionkit.config import main


@main("evaluate")
def evaluate(config: Any) -> None:
    """Entry point: a model with data, or a file with its truth."""
    from visionkit.errors import ConfigError

    if (config.checkpoint is None) == (config.predictions is None):
        raise ConfigError("give either checkpoint=... or predictions=... with truth=..., and not both.")
    if config.truth is not None and config.predictions is None:
        raise ConfigError("truth=... goes with predictions=...; a checkpoint is measured on data=... .")
    if config.predictions is not None:
        evaluate_file(config)
    else:
        evaluate_checkpoint(config)


def evaluate_file(config: Any) -> None:
    """A COCO results file against its annotations."""
    from visionkit.errors import ConfigError
    from visionkit.evaluation.evaluate import evaluate_detections
    from visionkit.evaluation.predictions import read_predictions
    from visionkit.evaluation.report import write_metrics
    from visionkit.evaluation.truth import TruthTable
    from visionkit.run_folder import usable_folder

    if config.truth is None:
        raise ConfigError("predictions=... needs truth=..., the COCO annotations of the same images.")
    folder = None if config.output is None else usable_folder(config.output)
    truth = TruthTable.from_coco_json(config.truth)
    predictions = read_predictions(config.predictions, truth)
    iou_type = config.iou_type or ("segm" if not predictions.has_box.all() else "bbox")
    report = evaluate_detections(truth, predictions, (iou_type,))
    print(report)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        write_metrics(folder / "metrics.json", report.metrics)
        print(f"metrics.json is in {folder}")


def evaluate_checkpoint(config: Any) -> None:
    """A model of the kit on the data it was trained on, or on other data with the same class names."""
    from pathlib import Path

    from omegaconf import OmegaConf

    from visionkit.assemble import build_evaluator, load_data
    from visionkit.config import from_plain
    from visionkit.engine import distributed
    from visionkit.engine.precision import make_deterministic
    from visionkit.errors import ConfigError
    from visionkit.predictor import load
    from visionkit.run_folder import usable_folder

    checkpoint = Path(config.checkpoint)
    folder = usable_folder(config.output or default_folder(checkpoint, config))
    device = distributed.start(config.device)
    make_deterministic(cuda=device.type == "cuda")
    predictor = load(config.checkpoint, device)
    trained = from_plain(predictor.config)
    given = config.get("data")
    data = load_data(trained if given is None else OmegaConf.create({"data": given}))
    index = (data.train if config.split == "train" else data.val).rename(predictor.names)
    if distributed.is_main():
        for line in index.report:
            print(line)
    trained.evaluation.batch_size = config.batch_size
    if config.iou_type is not None:
        if "iou_types" not in trained.evaluation:
            raise ConfigError("iou_type is for detectors; this checkpoint is a classifier's.")
        trained.evaluation.iou_types = [config.iou_type]
    evaluator = build_evaluator(trained, index, config.workers)
    report = evaluator(predictor.model, folder)
    if report is not None:
        print(report)
        print(f"metrics.json and predictions.json are in {folder}")
    distributed.barrier()
    distributed.cleanup()


def default_folder(checkpoint: Any, config: Any) -> Any:
    """`eval/` of the checkpoint's run; another name for other data, so that the run's own numbers stay."""
    run = checkpoint.parent.parent if checkpoint.parent.name == "checkpoints" else checkpoint.parent
    names = ["eval"]
    if (data := config.get("data")) is not None:
        names.append(str(data.get("root") or data["_target_"]).rstrip("/").replace(".", "/").rpartition("/")[2])
    if config.split != "val":
        names.append(config.split)
    return run / "_".join(names)


if __name__ == "__main__":
    evaluate()
