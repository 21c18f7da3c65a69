"""One HTML page with the explanations of many pictures, in a single file that can be sent to somebody."""

import base64
import html
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np

from visionkit.pictures import jpeg

QUALITY = 88  # of the pictures, JPEG
_HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>
:root {{ color-scheme: light dark; --ink: #1c1e21; --paper: #fafafa; --line: #d9dce1; --dim: #5c636e; --card: #fff; }}
@media (prefers-color-scheme: dark) {{ :root {{ --ink: #eceef1; --paper: #16171a; --line: #34373d; --dim: #9aa1ac;
--card: #1f2024; }} }}
body {{ margin: 0 auto; max-width: 1300px; padding: 24px 16px 64px; font: 15px/1.5 system-ui, sans-serif;
color: var(--ink); background: var(--paper); }}
h1 {{ font-size: 22px; margin: 0 0 4px; }} h2 {{ font-size: 16px; margin: 0; overflow-wrap: anywhere; }}
p {{ margin: 4px 0; color: var(--dim); }} dt {{ font-weight: 600; }} dd {{ margin: 0 0 6px; color: var(--dim); }}
section {{ border: 1px solid var(--line); border-radius: 8px; background: var(--card); padding: 12px 14px;
margin-top: 16px; }} img {{ max-width: 100%; height: auto; display: block; margin-top: 8px; border-radius: 4px; }}
details {{ margin-top: 12px; }}
</style></head><body>
<h1>{title}</h1>
"""


class Page:
    """A page that grows picture by picture; nothing of it stays in memory."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self.count = 0

    def add(self, name: str, lines: Sequence[str], picture: np.ndarray) -> None:
        """A section: a heading, lines of text, a picture (H, W, 3) uint8 RGB."""
        self.count += 1
        text = "".join(f"<p>{html.escape(line)}</p>\n" for line in lines)
        about = html.escape(f"{name}: {'; '.join(lines)}", quote=True)
        self._file.write(
            f'<section id="p{self.count}"><h2>{html.escape(name)}</h2>\n{text}'
            f'<img loading="lazy" width="{picture.shape[1]}" height="{picture.shape[0]}" alt="{about}" '
            f'src="data:image/jpeg;base64,{base64.b64encode(jpeg(picture, QUALITY)).decode()}"></section>\n'
        )

    def tell(self, name: str, sentence: str) -> None:
        """A section without a picture: why there is none."""
        self._file.write(f"<section><h2>{html.escape(name)}</h2>\n<p>{html.escape(sentence)}</p></section>\n")


@contextmanager
def page(path: Path, title: str, lines: Sequence[str], notes: dict[str, str]) -> Iterator[Page]:
    """Writes `path`, complete only after the block: a title, lines of text, and notes (a word and what it means)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".tmp")
    try:
        with unfinished.open("w", encoding="utf-8") as file:
            file.write(_HEAD.format(title=html.escape(title)))
            file.write("".join(f"<p>{html.escape(line)}</p>\n" for line in lines))
            words = "".join(f"<dt>{html.escape(k)}</dt><dd>{html.escape(v)}</dd>" for k, v in notes.items())
            if words:
                file.write(f"<details><summary>What the panels show</summary><dl>{words}</dl></details>\n")
            yield Page(file)
            file.write("</body></html>\n")
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
