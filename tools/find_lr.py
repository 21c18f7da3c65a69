"""Find a learning rate: raise it from step to step, and see where the loss falls fastest (Smith 2017, sec. 3.3).

    python tools/find_lr.py experiment=quickstart
    python tools/find_lr.py task=classify backbone=resnet20 data=cifar10 augment=cifar trainer.batch_size=128
    python tools/find_lr.py experiment=quickstart low=1e-5 high=0.1 steps=200 smooth=0.95

Takes every key of tools/train.py. The steps are those of the run's first phase, with its data, batch and optimizer,
from `low` to `high` in equal factors; they end early when the loss has risen to four times its least value or is not
finite. Prints a table and a suggestion for optim.lr, and writes lr_finder.json and lr_finder.png. What is trained is
thrown away.
"""

from typing import Any

from visionkit.config import main


@main("find_lr")
def find_lr(config: Any) -> None:
    """Entry point: compose, build, sweep, print."""
    from pathlib import Path

    from visionkit.lr_finder import checked_range, sentences, suggest, table, write_json
    from visionkit.run_folder import usable_folder

    low, high, steps, smooth = checked_range(config.low, config.high, config.steps, config.smooth)
    folder = usable_folder(config.output or Path("outputs/find_lr") / str(config.experiment))

    from visionkit.engine import distributed
    from visionkit.viz.lr_plot import plot_lr

    found, images = swept(config, low, high, steps, smooth)
    if distributed.is_main():
        best = suggest(found.points)
        print(table(found))
        print(found.ended)
        print(*sentences(best, images, config.trainer.base_batch), sep="\n")
        settings = {"low": low, "high": high, "steps": steps, "smooth": smooth, "images_per_step": images}
        write_json(folder / "lr_finder.json", found, best, settings)
        marks = [("suggestion", best.rate), ("least loss / 10", best.least_tenth)]
        plot_lr(
            [point.rate for point in found.points],
            [point.loss for point in found.points],
            [point.smoothed for point in found.points],
            folder / "lr_finder.png",
            [(name, rate) for name, rate in marks if rate is not None],
        )
        print(f"lr_finder.json and lr_finder.png are in {folder}")
    distributed.barrier()
    distributed.cleanup()


def swept(config: Any, low: float, high: float, steps: int, smooth: float) -> Any:
    """The sweep, and the images of a step, on a model that is thrown away."""
    import torch

    from visionkit.assemble import (
        build_model,
        check_phases,
        compile_model,
        freeze_model,
        load_data,
        proposed_data,
        train_loader,
    )
    from visionkit.engine import distributed
    from visionkit.engine.optim import linear_scale
    from visionkit.engine.phases import Phase, set_trainable, training_mode
    from visionkit.engine.precision import Precision, make_deterministic, seed_everything
    from visionkit.engine.train import train_steps
    from visionkit.errors import ConfigError
    from visionkit.lr_finder import Exponential, sweep
    from visionkit.phases import build_phases
    from visionkit.start_from import in_the_order_of, start_from

    trainer = config.trainer
    device = distributed.start(trainer.device)
    if trainer.deterministic:
        make_deterministic(trainer.threads, cuda=device.type == "cuda")
    data = load_data(config)
    if config.start_from is not None:
        data = in_the_order_of(config.start_from, data)
    seed_everything(config.seed)
    model = build_model(config, len(data.names), pretrained=config.start_from is None)
    if config.start_from is not None:
        start_from(config.start_from, model, data.names)
    freeze_model(model, trainer.freeze)
    data = proposed_data(config, data, model, print if distributed.is_main() else str)
    loader = train_loader(config, data, model, device)
    phases, _ = build_phases(config, model, data, max(steps, len(config.phases)))
    phase = next((phase for phase in phases if isinstance(phase, Phase)), None)
    if phase is None:
        raise ConfigError("phases: no phase of the run takes steps, so there is no learning rate to find.")
    check_phases([phase], model, config, device)
    if trainer.compile:
        compile_model(model)

    model.to(device)
    if trainer.channels_last:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # its stub knows tensors only
    set_trainable(model, phase, {name: p.requires_grad for name, p in model.named_parameters()})
    training_mode(model)
    images = trainer.batch_size * trainer.accumulate * distributed.world_size()
    schedule = Exponential(low, high, linear_scale(config.optim.lr, trainer.base_batch, images)[0])
    batches = loader.batches(0)
    taken = train_steps(
        distributed.wrap(model),
        batches,
        phase.optimizer(phase.groups(model)),
        schedule,
        start=0,
        stop=steps,
        seed=config.seed,
        device=device,
        precision=Precision(trainer.precision, device),
        accumulate=trainer.accumulate,
        clip_norm=trainer.clip_norm,
        channels_last=trainer.channels_last,
        losses=phase.losses,
    )
    try:
        return sweep(taken, lambda step: schedule.rate(step, steps), smooth), images
    finally:
        for generator in (taken, batches):
            getattr(generator, "close", bool)()  # ends the loader's workers


if __name__ == "__main__":
    find_lr()
