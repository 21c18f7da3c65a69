"""What a search found, in words: rewards over time, the comparison's table, the found cell as a configuration."""

import math
import statistics
from collections.abc import Mapping, Sequence

from visionkit.search.cell_space import Cell
from visionkit.search.search import Trial, best_of

Trials = Mapping[str, Sequence[Sequence[Trial]]]  # method -> each seed's trials
Accuracies = Mapping[str, Sequence[Sequence[float]]]  # group of cells -> each seed's accuracies

FOUND = {"controller": "found by the controller", "random": "found by random search"}
UNIFORM = "random cells"


def reward_table(trials: Trials, parts: int = 4) -> str:
    """For each method the mean reward of each part of its samples, and the best reward up to its end, over seeds."""
    count = min(len(run) for runs in trials.values() for run in runs)
    ends = [round(count * (i + 1) / min(parts, count)) for i in range(min(parts, count))]
    lines = ["| samples | " + " | ".join(f"{m}: mean reward | best so far" for m in trials) + " |"]
    lines.append("|" + "---|" * (1 + 2 * len(trials)))
    for start, end in zip([0, *ends], ends, strict=False):
        row = [f"{start + 1} to {end}"]
        for runs in trials.values():
            row.append(_mean([t.reward for run in runs for t in run[start:end]]))
            row.append(_mean([best_of(run[:end]).reward for run in runs]))
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


def comparison_table(accuracies: Accuracies, parameters: Mapping[str, Sequence[int]]) -> str:
    """Accuracy of each group: mean and standard deviation over seeds (of each seed's mean), and the seeds."""
    lines = ["| cells | accuracy | spread over seeds | by seed | networks | parameters, mean |"]
    lines.append("|---|---|---|---|---|---|")
    for group, seeds in accuracies.items():
        means = [statistics.fmean(seed) for seed in seeds]
        spread = f"{statistics.stdev(means):.3f}" if len(means) > 1 else "n/a"
        each = " ".join(f"{mean:.3f}" for mean in means)
        count, size = sum(map(len, seeds)), round(statistics.fmean(parameters[group]))
        lines.append(f"| {group} | {statistics.fmean(means):.3f} | {spread} | {each} | {count} | {size:,} |")
    return "\n".join(lines)


def verdicts(accuracies: Accuracies) -> list[str]:
    """Whether the first group is better than each other one: a sentence for each, seed by seed, with its error."""
    (first, firsts), *others = accuracies.items()
    lines = []
    for group, seconds in others:
        gaps = [statistics.fmean(a) - statistics.fmean(b) for a, b in zip(firsts, seconds, strict=True)]
        gap, count = statistics.fmean(gaps), len(gaps)
        word = "higher" if gap > 0 else "not higher"
        seeds = "with one seed, which tells little"
        if count > 1:
            error, above = statistics.stdev(gaps) / math.sqrt(count), sum(one > 0 for one in gaps)
            seeds = f"over {count} seeds (standard error {error:.3f}, above 0 with {above} of them)"
            word += ", within the noise" if abs(gap) < 2 * error else ""
        lines.append(f"{first} minus {group}: {gap:+.3f} {seeds}: {word}.")
    return lines


def found_yaml(cell: Cell, width: int, cells: int, comment: str) -> str:
    """The found cell as a configuration of the group `backbone`."""
    nodes = ", ".join("[" + ", ".join(map(str, node)) + "]" for node in cell)
    return (
        f"# {comment}\n"
        "_target_: visionkit.backbones.cell_network.cell_network\n"
        f"cell: [{nodes}]\n"
        "weights: null\n"
        "norm: batch\n"
        f"width: {width}  # channels of a node in the first group, as in the search\n"
        f"cells: {cells}  # cells in each of the three groups, as in the search\n"
    )


def _mean(values: Sequence[float]) -> str:
    return f"{statistics.fmean(values):.3f}"
