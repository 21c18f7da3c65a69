"""Networks side by side: what each costs and sees, and how accurate its published weights are."""

import json
import textwrap
from collections.abc import Sequence
from typing import Any

from visionkit.analysis.network import Analysis
from visionkit.analysis.published import published
from visionkit.analysis.report import aligned, csv_text, memory
from visionkit.analysis.trace import BYTES


def rows(analyses: Sequence[Analysis]) -> list[dict[str, Any]]:
    """One record for each network; what is not published or not known is None."""
    records = []
    for analysis in analyses:
        known, last = published().get(analysis.name), analysis.last_map
        records.append(
            {
                "name": analysis.name,
                "image": "x".join(map(str, analysis.image)),
                "parameters": analysis.parameters,
                "bytes": BYTES * analysis.parameters,
                "multiply_adds": analysis.multiply_adds,
                "activation_bytes": analysis.activation_bytes,
                "receptive_field": last and last.receptive_field,
                "stride": last and last.stride,
                "top1": known and known.top1,
                "top5": known and known.top5,
            }
        )
    return records


def report(analyses: Sequence[Analysis]) -> dict[str, str]:
    """The comparison in every format."""
    records = rows(analyses)
    lines: list[Sequence[str]] = [
        ("network", "image", "parameters", "float32", "multiply-adds", "memory", "field", "stride", "top-1", "top-5")
    ]
    for r in records:
        lines.append(
            (
                r["name"],
                r["image"].replace("x", " x "),
                f"{r['parameters']:,}",
                memory(r["bytes"]),
                f"{r['multiply_adds']:,}",
                memory(r["activation_bytes"]),
                *("-" if r[key] is None else f"{r[key]:g}" for key in ("receptive_field", "stride")),
                *("-" if r[key] is None else f"{r[key]:.2f}" for key in ("top1", "top5")),
            )
        )
    told = (
        "Memory: the outputs of all layers for one image. Field and stride: pixels that a cell of the last map sees, "
        "and to the next cell. Top-1 and top-5: per cent right on ImageNet, with torchvision's first weights."
    )
    table = f"{aligned(lines, left=2)}\n\n{textwrap.fill(told, 110)}"
    return {"table": table, "json": json.dumps({"networks": records}, indent=1), "csv": csv_text(records)}
