"""Find region proposals without a network, store them, and measure how well they cover the objects.

    python tools/propose.py data=scenes
    python tools/propose.py data=coco_mini search=selective_search_quality splits=val
    python tools/propose.py data=coco_mini splits=val compare=[selective_search,windows] checkpoint=RUN.pt
    python tools/propose.py data=voc07 splits=val import=voc_2007_test.mat format=selective_search

Each split's proposals are found once and kept in one file under datasets/proposals, where tools/train.py finds them
again; proposals=FILE names one to it. A file of others is turned into ours the same way. Prints the boxes an image, the
seconds an image, and recall, average recall (AR) and mean average best overlap (MABO) against the truth, and writes
recall_SPLIT.json and recall_SPLIT.png into `output`.
"""

from pathlib import Path
from typing import Any

from visionkit.config import main

SPLITS = ("train", "val")


@main("propose")
def propose(config: Any) -> None:
    """Entry point: find or read the proposals of each split, then measure them."""
    splits = checked_splits(config)

    from visionkit.assemble import load_data
    from visionkit.data.sources import DetectionData
    from visionkit.errors import ConfigError
    from visionkit.evaluation.proposal_recall import class_coverage_table, coverage_table
    from visionkit.proposals import write
    from visionkit.run_folder import usable_folder

    output = usable_folder(config.output)
    sources = chosen(config)
    data = load_data(config)
    if not isinstance(data, DetectionData):
        raise ConfigError("proposals are measured on objects: choose data with boxes, such as data=scenes.")
    for split in splits:
        index = data.train if split == "train" else data.val
        for line in index.report:
            print(line)
        measured = of_split(config, sources, split, index)
        rows = {name: (one.coverage, one.proposals.seconds_an_image()) for name, one in measured.items()}
        print(f"\n{split}: {len(index)} pictures, {objects(measured)} objects{larger(config)}")
        print(coverage_table(rows))
        if len(index.names) > 1:
            print("\n" + class_coverage_table({name: one.coverage for name, one in measured.items()}))
        written = write(measured, output, split)
        print(f"{written[0].name} and {written[1].name} are in {output}", flush=True)


def of_split(config: Any, sources: dict[str, Any], split: str, index: Any) -> dict[str, Any]:
    """Method -> what was found and measured, each with a line on the way."""
    from visionkit.engine.distributed import start
    from visionkit.proposals import found_by, imported, measure, network_proposals

    measured = {}
    if config["import"] is not None:
        found, path = imported(config["import"], index, config.format, config.folder)
        measured[found.method] = measure(index, found, config.smallest)
        say(split, found.method, found, path)
    for name, search in sources.items():
        found, place = found_by(index, name, search, config.workers, config.folder)
        label = name if search is not None else label_of(found, measured)
        measured[label] = measure(index, found, config.smallest)
        say(split, label, found, place)
    if config.checkpoint is not None:
        found = network_proposals(config.checkpoint, index, start(config.device))
        measured["rpn"] = measure(index, found, config.smallest)
        say(split, "rpn", found, config.checkpoint)
    return measured


def label_of(found: Any, taken: dict[str, Any]) -> str:
    """A file's row in the table: its method, or its name where there is such a row already."""
    return found.method if found.method not in taken else Path(found.source).stem


def chosen(config: Any) -> dict[str, Any]:
    """Name -> search (None = a file): those of `compare`, else the one of `search`, none beside an import."""
    from visionkit.config import instantiate, to_plain
    from visionkit.proposals import searches

    if config.compare is not None:
        names = to_plain(config)["compare"]
        return searches(names if isinstance(names, list) else [names], config.search)
    if config["import"] is not None:
        return {}
    search = instantiate(config.search)
    return {search.method: search}


def checked_splits(config: Any) -> list[str]:
    """ConfigError for other words than train and val, for an import of both at once, and for a format without one."""
    from visionkit.errors import ConfigError

    splits = [config.splits] if isinstance(config.splits, str) else list(config.splits or ())
    if not splits or set(splits) - set(SPLITS):
        raise ConfigError(f"splits={config.splits}: train, val or [train,val] is wanted.")
    if config["import"] is None and config.format is not None:
        raise ConfigError("format=... goes with import=FILE.")
    if config["import"] is not None and len(splits) > 1:
        raise ConfigError("import=... is for the pictures of one split: say splits=train or splits=val.")
    return splits


def say(split: str, name: str, found: Any, path: Any) -> None:
    """One line: how many, how fast, where."""
    seconds = found.seconds_an_image()
    took = "" if seconds is None else f", {seconds:.3f} s an image"
    total = len(found.scores)
    print(f"{split}, {name}: {total:,} boxes, {found.boxes_an_image():.0f} an image{took}: {path}", flush=True)


def objects(measured: dict[str, Any]) -> int:
    return len(next(iter(measured.values())).coverage.labels)


def larger(config: Any) -> str:
    return f" larger than {config.smallest:g} x {config.smallest:g} pixels" if config.smallest else ""


if __name__ == "__main__":
    propose()
