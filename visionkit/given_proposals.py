"""Proposals for the models that look at given regions (R-CNN, Fast R-CNN): from files, or found once and kept."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from visionkit.data.index import DetectionIndex
from visionkit.data.proposals import find_proposals, proposals_of, read_proposals
from visionkit.engine.distributed import main_first
from visionkit.errors import ConfigError
from visionkit.models.given import Given


def with_proposals(
    index: DetectionIndex, model: Any, files: str | Sequence[str] | None, workers: int, say: Any = print
) -> DetectionIndex:
    """The index with the proposals that the model takes of each picture; as it is where the model finds its own.

    Args:
        files: of tools/propose.py (the key `proposals`), which together have all pictures; None: found by the model's
            own search on first use and kept under datasets/proposals.
        workers: processes that search.
        say: gets one sentence on where they are from.
    Raises:
        ConfigError: files for a model that finds its own regions, or neither files nor a search.
        DataError: a picture without proposals, proposals of other pictures, of other settings than the model's
            search, or with boxes that are outside; no proposals at all.
    """
    propose = getattr(model, "propose", None)
    if not isinstance(propose, Given):
        if files:
            raise ConfigError("proposals=... are for models that look at given regions: task=fast_rcnn or task=rcnn.")
        return index
    if files:
        report: list[str] = []
        paths = [files] if isinstance(files, str) else list(files)
        found = proposals_of(index, [read_proposals(path) for path in paths], propose.search, report)
    elif propose.search is None:
        raise ConfigError("task.proposals=null leaves no search, so the proposals have to come from proposals=FILE.")
    else:
        search, report = propose.search, []
        found = main_first(lambda: find_proposals(index, search, workers))
    for line in report:
        say(line)
    seconds = found.seconds_an_image()
    took = "" if seconds is None else f", {seconds:.3g} s an image to find"
    say(f"{found.best(propose.top).boxes_an_image():.0f} proposals an image ({found.method}{took}): {found.source}")
    return replace(index, proposals=found.best(propose.top))
