"""What is left of a network's answers when layers are deleted: one by one, and in groups."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from visionkit.viz.figure import curve_color, new_figure, save

Single = tuple[str, float, bool]  # name, accuracy, whether what is left of it is the identity


def plot_lesions(
    whole: Mapping[str, float],
    singles: Mapping[str, Sequence[Single]],
    groups: Mapping[str, Sequence[tuple[int, float]]],
    path: str | Path,
    chance: float | None = None,
    label: str = "accuracy",
) -> Path:
    """Left the accuracy without each part, from the first layer to the last: filled where what is left of it is the
    identity, hollow where it is a projection or a subsampling. Right groups of parts: every draw, and their mean.

    Args:
        whole: of each network, the accuracy with everything, 0 ... 1; a dashed line.
        singles: of each network, its parts in the order of execution.
        groups: of each network, the size of a group and the accuracy without it; 0 for the whole network.
        chance: accuracy of guessing, a dotted line.
        label: what is measured.
    """
    longest = max((len(parts) for parts in singles.values()), default=1)
    figure, _ = new_figure((min(16.0, 6 + 0.22 * longest + 4.2), 4.6))
    figure.clear()
    left, right = figure.subplots(1, 2, width_ratios=(1.5, 1), sharey=True)
    for k, name in enumerate(whole):
        color, parts = curve_color(k), singles.get(name, ())
        left.plot(range(1, len(parts) + 1), [part[1] for part in parts], color=color, linewidth=1, alpha=0.6)
        for keeps in (True, False):
            chosen = [(i, part[1]) for i, part in enumerate(parts, 1) if part[2] == keeps]
            face = color if keeps else "white"
            left.scatter([i for i, _ in chosen], [y for _, y in chosen], color=face, edgecolor=color, s=28, zorder=3)
        left.axhline(whole[name], color=color, linestyle="--", linewidth=1)
        drawn = groups.get(name, ())
        right.scatter([size for size, _ in drawn], [y for _, y in drawn], color=color, s=12, alpha=0.4)
        sizes = sorted({size for size, _ in drawn})
        means = [sum(y for size, y in drawn if size == s) / sum(size == s for size, _ in drawn) for s in sizes]
        right.plot(sizes, means, color=color, marker="o", label=name)
    for axis in (left, right):
        axis.grid(alpha=0.3)
        if chance is not None:
            axis.axhline(chance, color="#888888", linestyle=":")
    left.set(
        xlabel="deleted part, from the first to the last (hollow: changes the shape)", ylabel=label, ylim=(0, 1.02)
    )
    if longest <= 20 and len(whole) == 1:
        left.set_xticks(range(1, longest + 1), [part[0] for part in next(iter(singles.values()))], rotation=90)
        left.set_xlabel("deleted part (hollow: changes the shape)")
    right.set(xlabel="parts deleted together: none, each by itself, groups drawn by chance")
    if whole:
        right.legend(fontsize="small")
    return save(figure, path)
