"""Train a model under a configuration: data, backbone, task, optimizer and schedule are chosen by name.

    python tools/train.py experiment=quickstart
    python tools/train.py task=faster_rcnn backbone=resnet18_fpn data=voc07 trainer.epochs=12
    python tools/train.py task=classify backbone=resnet18 backbone.weights=imagenet data=folder data.root=PICTURES
    torchrun --nproc-per-node 2 tools/train.py experiment=faster_rcnn_bccd

Writes outputs/<experiment>/<time>/ (or `output`): checkpoints/, metrics.jsonl, eval/, plots/, samples/.
Started again with the same `output`, it goes on where it stopped, bit for bit.
"""

from typing import Any

from visionkit.config import main


@main("train")
def train(config: Any) -> None:
    """Entry point: compose, build, loop, print."""
    from visionkit.anchor_report import anchor_report
    from visionkit.assemble import (
        build_evaluator,
        build_model,
        check_classes,
        check_phases,
        compile_model,
        describe,
        fit_settings,
        freeze_model,
        load_data,
        proposed_data,
        resume_point,
        steps_of,
        train_loader,
    )
    from visionkit.config import to_plain
    from visionkit.engine import distributed
    from visionkit.engine.fit import fit
    from visionkit.engine.precision import make_deterministic, precision_lines, seed_everything
    from visionkit.phases import build_phases, never_trained, trainable_parameters
    from visionkit.pictures import training_samples, write_image
    from visionkit.predictor import load
    from visionkit.run_folder import log_lines, new_run_folder, write_summary
    from visionkit.start_from import in_the_order_of, start_from
    from visionkit.timing import test_seconds

    device = distributed.start(config.trainer.device)
    told: list[str] = []  # goes into log.txt, once there is a folder

    def say(line: object) -> None:
        told.append(str(line))
        if distributed.is_main():
            print(line, flush=True)

    if config.trainer.deterministic:
        make_deterministic(config.trainer.threads, cuda=device.type == "cuda")
    resume = resume_point(config)
    data = load_data(config)
    for line in dict.fromkeys((*data.train.report, *data.val.report)):
        say(line)
    if config.start_from is not None:
        data = in_the_order_of(resume or config.start_from, data)  # a resumed run holds all it took over
    check_classes(resume, data.names)

    seed_everything(config.seed)
    model = build_model(config, len(data.names), pretrained=resume is None and config.start_from is None)
    taken = [] if config.start_from is None or resume is not None else start_from(config.start_from, model, data.names)
    frozen = freeze_model(model, config.trainer.freeze)
    data = proposed_data(config, data, model, say)
    loader = train_loader(config, data, model, device)
    phases, sentence = build_phases(config, model, data, steps_of(config, loader))
    check_phases(phases, model, config, device)
    if config.trainer.compile:
        compile_model(model)
    evaluator = build_evaluator(config, data.val, config.trainer.workers)
    colors = getattr(data.train, "colors", None)  # of label maps
    samples = training_samples(loader, data.names, colors) if distributed.is_main() else None  # reads the first images
    folder = new_run_folder(config, distributed.rank(), distributed.world_size(), starts_over=resume is None)
    say(f"{len(data.train)} training and {len(data.val)} validation images, {len(data.names)} classes")
    warnings = (
        *anchor_report(model, data.train),
        *never_trained(phases, model),
        *precision_lines(config.trainer.precision, device),
    )
    for line in (*taken, *describe(model, frozen), *warnings, sentence):
        say(line)
    say(f"writing to {folder}")
    if distributed.is_main():
        log_lines(folder, told)
    if samples is not None:
        write_image(folder / "samples" / "training.jpg", samples)

    result = fit(
        model,
        phases,
        loader=lambda _: loader,
        validate=lambda _, step: evaluator.metrics(model),  # the same model, without a wrapper
        monitor=config.evaluation.monitor,
        folder=folder,
        meta={"config": to_plain(config), "names": list(data.names)},
        settings=fit_settings(config, loader, device),
        resume=resume,
    )
    minutes, seconds = divmod(round(result.seconds), 60)
    distributed.barrier()  # best.pt is complete
    best = load(folder / "checkpoints" / "best.pt", device)
    report = evaluator(best.model, folder / "eval")
    if report is not None:
        evaluator.draw(folder, best, report)
        times = test_seconds(best.model, data.val)
        write_summary(folder, best.model, trainable_parameters(phases, model), result.seconds, times)
        say(report)
        say(f"trained in {minutes} min {seconds} s, evaluations included; best at step {result.best.get('step')}")
        say(f"everything is in {folder}")
    distributed.barrier()  # rank 0 draws; a process that ends meanwhile would end the run
    distributed.cleanup()


if __name__ == "__main__":
    train()
