"""An analysis as text: a table for people, JSON or CSV for programs."""

import csv
import io
import json
import textwrap
from collections.abc import Sequence
from typing import Any

from visionkit.analysis.network import Analysis
from visionkit.analysis.trace import BYTES, Layer

COLUMNS = ("name", "part", "kind", "output_shape", "parameters", "multiply_adds", "activation_bytes",
           "receptive_field", "stride")  # fmt: skip


def report(analysis: Analysis) -> dict[str, str]:
    """The analysis in every format, by name."""
    return {"table": as_table(analysis), "json": as_json(analysis), "csv": as_csv(analysis)}


def as_json(analysis: Analysis) -> str:
    """One object."""
    last = analysis.last_map
    content = {
        "name": analysis.name,
        "image": list(analysis.image),
        "classes": analysis.classes,
        "parameters": analysis.parameters,
        "multiply_adds": analysis.multiply_adds,
        "activation_bytes": analysis.activation_bytes,
        "receptive_field": last and last.receptive_field,
        "stride": last and last.stride,
        "auxiliary": {key: value for key, value in vars(analysis.auxiliary).items() if key != "name"},
        "parts": [vars(part) for part in analysis.parts],
        "layers": [_record(layer) for layer in analysis.layers],
        "notes": list(analysis.notes),
    }
    return json.dumps(content, indent=1)


def as_csv(analysis: Analysis) -> str:
    """A line of names, then one for each layer; a shape is written 1x64x112x112."""
    return csv_text([{**_record(layer), "output_shape": _times(layer.output_shape, "x")} for layer in analysis.layers])


def as_table(analysis: Analysis) -> str:
    """Layers by part of the network, then the sums."""
    heading = ("layer", "kind", "output", "parameters", "multiply-adds", "memory", "field", "stride")
    rows: list[Sequence[str]] = [heading]
    for part in analysis.parts:
        rows += [(), (f"[{part.name}]",)]
        rows += [_row(layer) for layer in analysis.layers if layer.part == part.name]
    return f"{_title(analysis)}\n\n{aligned(rows, left=3)}\n\n{totals(analysis)}"


def totals(analysis: Analysis) -> str:
    """The sums by part and over all, and what is to be known about them."""
    rows: list[Sequence[str]] = [("", "parameters", "multiply-adds", "memory")]
    rows += [(p.name, f"{p.parameters:,}", f"{p.multiply_adds:,}", memory(p.activation_bytes)) for p in analysis.parts]
    total = (f"{analysis.parameters:,}", f"{analysis.multiply_adds:,}", memory(analysis.activation_bytes))
    rows += [("total", *total)]
    if analysis.auxiliary.parameters:
        aux = analysis.auxiliary
        rows += [(aux.name, f"{aux.parameters:,}", f"{aux.multiply_adds:,}", memory(aux.activation_bytes))]
    told = [
        f"Parameters take {memory(BYTES * analysis.parameters)} as float32. A multiply-add is two floating-point "
        "operations; those of convolutions and matrix products are counted. Memory is that of every layer's output for "
        "one image, as float32; a layer that writes over its input adds none."
    ]
    if (last := analysis.last_map) is not None and last.field is not None:
        cells = _times(last.field.extents(last.output_shape), " x ")
        told.append(
            f"A cell of the last map ({last.name}, {cells} cells) sees {last.receptive_field} pixels a side; "
            f"the next one sees what is {last.stride} pixels further on."
        )
    told += [f"Note: {note}." for note in analysis.notes]
    return "\n".join([aligned(rows, left=1), "", *(textwrap.fill(text, 110) for text in told)])


def csv_text(records: Sequence[dict[str, Any]]) -> str:
    """Lines of CSV without the last line's end; what is None stays empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue().rstrip("\n")


def aligned(rows: Sequence[Sequence[str]], left: int) -> str:
    """Columns of text, the first `left` of them aligned to the left and the others to the right."""
    full = [row for row in rows if len(row) > 1]
    widths = [max(len(cell) for cell in column) for column in zip(*full, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=False))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def memory(count: int) -> str:
    """Bytes as 12.8 MB, in powers of ten."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B" if count else "-"


def _title(analysis: Analysis) -> str:
    return f"{analysis.name}: image of {_times(analysis.image, ' x ')}, {analysis.classes} classes"


def _record(layer: Layer) -> dict[str, Any]:
    return {key: getattr(layer, key) for key in COLUMNS}


def _row(layer: Layer) -> tuple[str, ...]:
    shape = layer.output_shape if layer.output_shape[0] > 1 else layer.output_shape[1:]
    return (
        layer.name,
        layer.kind,
        _times(shape, " x "),
        f"{layer.parameters:,}" if layer.parameters else "-",
        f"{layer.multiply_adds:,}" if layer.multiply_adds else "-",
        memory(layer.activation_bytes),
        "-" if layer.field is None else _sides(layer.field.size),
        "-" if layer.field is None else _sides(layer.field.stride),
    )


def _sides(sides: Sequence[Any]) -> str:
    """One number of a square, both of a rectangle (height x width)."""
    return f"{sides[0]}" if sides[0] == sides[1] else f"{sides[0]} x {sides[1]}"


def _times(numbers: Sequence[Any] | None, sign: str) -> str:
    return sign.join(map(str, numbers or ()))
