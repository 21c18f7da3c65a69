"""Measure a checkpoint on its data set, or a COCO results file without any model.

    python tools/evaluate.py checkpoint=outputs/.../checkpoints/best.pt
    python tools/evaluate.py checkpoint=outputs/.../checkpoints/best.pt data=voc07 split=val
    python tools/evaluate.py predictions=results.json truth=instances.json iou_type=bbox

Prints a table by class and the headline numbers, and writes metrics.json (and predictions.json) into `output`.
"""

from typing import Any

from visionkit.config import main


@main("evaluate")
def evaluate(config: Any) -> None:
    """Entry point: a model with data, or a file with its truth."""
    from visionkit.errors import ConfigError

    if (config.checkpoint is None) == (config.predictions is None):
        raise ConfigError("give either checkpoint=... or predictions=... with truth=..., and not both.")
    if config.predictions is not None:
        evaluate_file(config)
    else:
        evaluate_checkpoint(config)


def evaluate_file(config: Any) -> None:
    """A COCO results file against its annotations."""
    from pathlib import Path

    from visionkit.errors import ConfigError
    from visionkit.evaluation.evaluate import evaluate_detections
    from visionkit.evaluation.predictions import read_predictions
    from visionkit.evaluation.report import write_metrics
    from visionkit.evaluation.truth import TruthTable

    if config.truth is None:
        raise ConfigError("predictions=... needs truth=..., the COCO annotations of the same images.")
    truth = TruthTable.from_coco_json(config.truth)
    predictions = read_predictions(config.predictions, truth)
    iou_type = config.iou_type or ("segm" if not predictions.has_box.all() else "bbox")
    report = evaluate_detections(truth, predictions, (iou_type,))
    print(report)
    if config.output is not None:
        folder = Path(config.output)
        folder.mkdir(parents=True, exist_ok=True)
        write_metrics(folder / "metrics.json", report.metrics)
        print(f"metrics.json is in {folder}")


def evaluate_checkpoint(config: Any) -> None:
    """A model of the kit on the data it was trained on, or on other data with the same class names."""
    from pathlib import Path

    from omegaconf import OmegaConf

    from visionkit.assemble import load_data
    from visionkit.config import from_plain, instantiate
    from visionkit.engine import distributed
    from visionkit.engine.precision import make_deterministic
    from visionkit.predictor import load

    device = distributed.start(config.device)
    make_deterministic(cuda=device.type == "cuda")
    predictor = load(config.checkpoint, device)
    trained = from_plain(predictor.config)
    given = config.get("data")
    data = load_data(trained if given is None else OmegaConf.create({"data": given}))
    index = (data.train if config.split == "train" else data.val).rename(predictor.names)
    settings = OmegaConf.merge(trained.evaluation, {"batch_size": config.batch_size})
    if config.iou_type is not None:
        settings.iou_types = [config.iou_type]
    evaluator = instantiate(settings)(index=index, workers=config.workers)
    checkpoint = Path(config.checkpoint)
    folder = Path(config.output) if config.output is not None else checkpoint.parent.parent / "eval"
    report = evaluator(predictor.model, folder)
    if report is not None:
        print(report)
        print(f"metrics.json and predictions.json are in {folder}")
    distributed.cleanup()


if __name__ == "__main__":
    evaluate()
