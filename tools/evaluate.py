"""Measure a checkpoint on its data set, a published classifier, or a COCO results file without any model.

    python tools/evaluate.py checkpoint=outputs/.../checkpoints/best.pt
    python tools/evaluate.py checkpoint=outputs/.../checkpoints/best.pt data=voc07 split=val
    python tools/evaluate.py checkpoint=outputs/.../checkpoints/best.pt views=ten_crop probabilities=true
    python tools/evaluate.py checkpoint=outputs/.../checkpoints/best.pt views=multi_scale     (of a segmenter)
    python tools/evaluate.py task=classify backbone=resnet18 backbone.weights=imagenet data=imagenet_samples
    python tools/evaluate.py predictions=results.json truth=instances.json iou_type=bbox

Prints a table by class and the headline numbers, and writes metrics.json and predictions.json (of a classifier plots/
and samples/ too) into `output`: by default eval/ of the checkpoint's run, eval_<data>_<split>/ beside it for other
data, and outputs/evaluate/ for published weights.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from visionkit.config import main

CLASSIFIER, SEGMENTER = "ClassificationEvaluator", "SegmentationEvaluator"


@main("evaluate")
def evaluate(config: Any) -> None:
    """Entry point: a model with data, or a file with its truth."""
    from visionkit.errors import ConfigError

    model_given = any(config.get(key) is not None for key in ("task", "backbone"))
    if [config.checkpoint is not None, config.predictions is not None, model_given].count(True) != 1:
        raise ConfigError(
            "give either checkpoint=... or predictions=... with truth=..., and not both; "
            "or published weights: task=classify backbone=... backbone.weights=... data=... ."
        )
    if config.truth is not None and config.predictions is None:
        raise ConfigError("truth=... goes with predictions=...; a checkpoint is measured on data=... .")
    if config.predictions is not None:
        evaluate_file(config)
    else:
        evaluate_model(config)


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


def evaluate_model(config: Any) -> None:
    """A checkpoint on the data it was trained on or on other data with the same class names, or published weights."""
    from visionkit.assemble import build_evaluator, load_data
    from visionkit.config import from_plain, to_plain
    from visionkit.data.index import DetectionIndex
    from visionkit.engine import distributed
    from visionkit.engine.precision import make_deterministic
    from visionkit.evaluation.accuracy import ClassificationReport
    from visionkit.evaluation.counting import CountingReport
    from visionkit.evaluation.mean_iou import SegmentationReport
    from visionkit.evaluation.probabilities import PROBABILITIES, write_probabilities
    from visionkit.given_proposals import with_proposals
    from visionkit.predictor import load, published
    from visionkit.run_folder import usable_folder

    name, folder = names_of(config)
    folder = usable_folder(config.output or folder)
    device = distributed.start(config.device)
    make_deterministic(cuda=device.type == "cuda")
    predictor = published(config, device) if config.checkpoint is None else load(config.checkpoint, device)
    settings = from_plain(evaluation_of(predictor.config, config))
    data = load_data(settings if config.get("data") is None else config)
    index = (data.train if config.split == "train" else data.val).rename(predictor.names)
    if distributed.is_main():
        for line in index.report:
            print(line)
    say = print if distributed.is_main() else str
    if isinstance(index, DetectionIndex):
        index = with_proposals(index, predictor.model, to_plain(config).get("proposals"), config.workers, say)
    evaluator = build_evaluator(settings, index, config.workers)
    report = evaluator(predictor.model, folder)
    if report is not None:
        written = "metrics.json and predictions.json are"
        if isinstance(report, ClassificationReport | CountingReport | SegmentationReport):
            evaluator.draw(folder, predictor, report)
            written = "metrics.json, predictions.json, plots/ and samples/ are"
            if isinstance(report, ClassificationReport) and report.probabilities is not None:
                write_probabilities(folder / PROBABILITIES, probabilities_of(name, index, report.probabilities))
        print(report)
        print(f"{written} in {folder}")
    distributed.barrier()
    distributed.cleanup()


def evaluation_of(trained: Mapping[str, Any], config: Any) -> dict[str, Any]:
    """The configuration that a model came with, evaluated as the command line says."""
    from visionkit.config import to_plain
    from visionkit.errors import ConfigError

    if "evaluation" not in trained:
        raise ConfigError("published weights are measured with task=classify.")
    asked: dict[str, Any] = {"batch_size": config.batch_size}
    if config.iou_type is not None:
        if "iou_types" not in trained["evaluation"]:
            raise ConfigError("iou_type is for detectors; this checkpoint is of another task.")
        asked |= {"iou_types": [config.iou_type], "monitor": "AP"}
    of_classes = {"views": to_plain(config).get("views"), "probabilities": config.probabilities or None}
    takers = {"views": (CLASSIFIER, SEGMENTER), "probabilities": (CLASSIFIER,)}
    for key, value in of_classes.items():
        if value is not None:
            if trained["evaluation"]["_target_"].rpartition(".")[2] not in takers[key]:
                of = "classifiers and segmenters" if len(takers[key]) > 1 else "classifiers"
                raise ConfigError(f"{key} is for {of}; this checkpoint is of another task.")
            asked[key] = value
    return {**trained, "evaluation": {**trained["evaluation"], **asked}}


def probabilities_of(name: str, index: Any, values: Any) -> Any:
    """What tools/ensemble.py reads: the (N, K) probabilities with what they are of."""
    import numpy as np

    from visionkit.evaluation.probabilities import Probabilities

    files = tuple(index.path(i) for i in range(len(index)))
    ids = np.array([index.image_id(i) for i in range(len(index))], np.int64)
    return Probabilities(name, tuple(index.names), files, ids, index.labels, values)


def names_of(config: Any) -> tuple[str, Path]:
    """What the model is called in tables, and its folder unless `output` says otherwise.

    The folder is `eval/` of the checkpoint's run, or of another name for other data and views, so that the run's own
    numbers stay; for published weights one below outputs/evaluate/.
    """
    words = []
    if (data := config.get("data")) is not None:
        words.append(str(data.get("root") or data["_target_"]).rstrip("/").replace(".", "/").rpartition("/")[2])
    if config.split != "val":
        words.append(config.split)
    if (views := config.get("views")) is not None:
        shorts = views.get("shorts")
        sizes = [shorts] if isinstance(shorts, int | float | str) else shorts or ()
        words.append("-".join([views["_target_"].rpartition(".")[2], *map(str, sizes)]))
    if config.checkpoint is None:
        node = config.get("backbone") or {}
        name = str(node.get("model") or node.get("_target_", "model")).rpartition(".")[2]
        return name, Path("outputs") / "evaluate" / "_".join([name, *words])
    checkpoint = Path(config.checkpoint).absolute()
    run = checkpoint.parent.parent if checkpoint.parent.name == "checkpoints" else checkpoint.parent
    return f"{run.parent.name}/{run.name}", run / "_".join(["eval", *words])


if __name__ == "__main__":
    evaluate()
