"""Search for a cell: a controller learns to write cells whose networks learn fast, beside a search by chance.

    python tools/search.py
    python tools/search.py method=random samples=80 output=outputs/search/chance
    python tools/search.py seeds=[0,1,2] output=outputs/search/three     # three searches, one table with a spread

Each sampled cell is trained briefly; its accuracy on half of the validation pictures is the reward. At the end the
found cells and cells drawn by chance are trained for longer, with a new seed, and measured on the other half.
Writes search.jsonl, reward.png, cell.png, comparison.md and found/backbone/found_cell.yaml. Started again with the same
`output`, it goes on where it stopped.
"""

from typing import Any

from visionkit.config import main


@main("search")
def search(config: Any) -> None:
    """Entry point: read pictures, search, compare, draw."""
    import shlex
    import time
    from pathlib import Path

    from visionkit.config import to_plain
    from visionkit.run_folder import new_run_folder, usable_folder
    from visionkit.search.settings import checked_search

    settings = checked_search(to_plain(config))
    config.output = str(usable_folder(config.output or Path("outputs/search") / time.strftime("%Y-%m-%d_%H-%M-%S")))
    refuse_another_search(Path(config.output), config)

    from visionkit.assemble import load_data
    from visionkit.engine.distributed import start
    from visionkit.engine.precision import make_deterministic
    from visionkit.search.cell_space import CellSpace, cell_text
    from visionkit.search.drive import Drive
    from visionkit.search.journal import Journal
    from visionkit.search.report import FOUND, comparison_table, found_yaml, reward_table, verdicts
    from visionkit.search.search import best_of
    from visionkit.search.trainer import CellTrainer, load_split
    from visionkit.viz.cell import draw_cell, plot_rewards

    space = CellSpace(settings.nodes, settings.operations)
    device = start(config.device)
    make_deterministic(settings.threads, cuda=device.type == "cuda")
    data = load_data(config)
    split = load_split(data, settings.pictures, settings.size, device)
    trainer = CellTrainer(split.train, len(data.names), settings.width, settings.cells, settings.size,
                          settings.batch_size, settings.lr)  # fmt: skip
    folder = new_run_folder(config)
    for line in dict.fromkeys((*data.train.report, *data.val.report)):
        print(line)
    print(f"{len(split.train)} pictures to learn from, {len(split.reward)} for rewards, {len(split.test)} for the end")
    print(f"{space.size:,} rows of choices; writing to {folder}", flush=True)

    drive = Drive(settings, space, trainer, split, Journal(folder / "search.jsonl"))
    trials = drive.searches()
    plot_rewards({m: [[t.reward for t in run] for run in runs] for m, runs in trials.items()}, folder / "reward.png")
    print(reward_table(trials))
    each = [(m, s, best_of(run)) for m, runs in trials.items() for s, run in zip(settings.seeds, runs, strict=True)]
    method, seed, found = max(each, key=lambda one: one[2].reward)
    words = f"{FOUND[method]}: reward {found.reward:.3f} (sample {found.step} of seed {seed})"
    draw_cell(found.cell, folder / "cell.png", words)
    print(f"{words}\n{cell_text(found.cell)}")
    file = folder / "found" / "backbone" / "found_cell.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(found_yaml(found.cell, settings.width, settings.cells, f"{words[0].upper()}{words[1:]}."))

    if settings.final_steps:
        accuracies, parameters = drive.comparison(trials)
        table = "\n".join([comparison_table(accuracies, parameters), "", *verdicts(accuracies)])
        (folder / "comparison.md").write_text(table + "\n")
        print(table)
    print("to train the found cell like any other backbone, with the data= of this search:")
    command = (
        f"python tools/train.py --config-dir {shlex.quote(str(file.parents[1]))} backbone=found_cell task=classify"
    )
    print(f"  {command} optim=adamw optim.lr=0.01 trainer.batch_size=64 data=...")


def refuse_another_search(folder: Any, config: Any) -> None:
    """ConfigError when the folder holds a search with other settings, whose rewards are not this one's."""
    import yaml

    from visionkit.config import differences, to_plain
    from visionkit.errors import ConfigError

    if not (folder / "search.jsonl").exists():
        return
    file = folder / "config.yaml"
    old = (yaml.safe_load(file.read_text(encoding="utf-8")) if file.exists() else None) or {}
    may_differ = ("output", "method", "samples", "seed", "seeds", "random_cells")
    changed = differences(old, to_plain(config), ignore=may_differ)
    if changed:
        raise ConfigError(
            f"{folder} holds a search with other settings ({'; '.join(changed[:5])}"
            f"{f' and {len(changed) - 5} more' if len(changed) > 5 else ''}): restore them, or choose another output."
        )


if __name__ == "__main__":
    search()
