"""Mix the probabilities of several classifiers, and say whether the mixture is better than the best of them.

    python tools/evaluate.py checkpoint=RUN/checkpoints/best.pt probabilities=true     # of each member, once
    python tools/ensemble.py "members=[RUN,RUN,FOLDER/probabilities.npz]"

Prints top-1, top-5, loss and calibration error of each member and of the mean of their probabilities, with a paired
bootstrap of the differences, and writes table.md and metrics.json (the ensemble's numbers) into `output`.
"""

from typing import Any

from visionkit.config import main


@main("ensemble")
def ensemble(config: Any) -> None:
    """Entry point: read, join, mix, compare, print."""
    from visionkit.config import to_plain
    from visionkit.ensemble import best_of, comparisons, measured, mixed, read_members, tables
    from visionkit.evaluation.report import write_metrics
    from visionkit.run_folder import usable_folder

    plain = to_plain(config)
    folder = usable_folder(config.output)
    members = read_members(plain["members"])
    together = measured(mixed(members, plain["weights"]))
    rows = [measured(member) for member in members]
    compared = comparisons(rows, together, config.resamples, config.seed)
    text = tables([*rows, together], compared, int(config.resamples), len(together.hits))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "table.md").write_text(text + "\n", encoding="utf-8")
    best = {"best_member": rows[best_of(rows)].name, **compared[0][2]._asdict()}
    write_metrics(folder / "metrics.json", together.metrics | best)
    print(text)
    print(f"table.md and metrics.json are in {folder}")


if __name__ == "__main__":
    ensemble()
