import numpy as np
from PIL import Image

from visionkit.viz.proposal_plots import plot_recall

COUNTS = np.array([0, 1, 10, 100])


def test_two_panels_with_two_methods(tmp_path):
    curves = {"ours": (COUNTS, np.array([0, 0.1, 0.5, 0.9])), "theirs": (COUNTS, np.array([0, 0.2, 0.3, 0.4]))}
    two = plot_recall({"IoU 0.5": curves, "IoU 0.7": curves}, tmp_path / "new" / "recall.png")
    one = plot_recall({"IoU 0.5": curves}, tmp_path / "one.png")
    first, second = (np.asarray(Image.open(path).convert("RGB")) for path in (two, one))
    assert first.shape[0] == 2 * second.shape[0]
    other = plot_recall({"IoU 0.5": {"ours": curves["ours"]}}, tmp_path / "other.png")
    assert (np.asarray(Image.open(other).convert("RGB")) != second).any()


def test_nothing_to_draw(tmp_path):
    nothing = {"none": (np.zeros(1), np.full(1, np.nan))}
    for k, panels in enumerate(({"IoU 0.5": nothing}, {"IoU 0.5": {}})):
        assert plot_recall(panels, tmp_path / f"{k}.png").stat().st_size > 1000
