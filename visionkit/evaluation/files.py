"""Reading and writing JSON without half-written files and without the numbers JSON does not have."""

import json
import os
from pathlib import Path
from typing import Any

from visionkit.errors import DataError


def read_json(path: str | Path) -> Any:
    """The parsed file. DataError in one sentence when it is missing or is not JSON.

    Python's parser takes NaN and Infinity, which JSON does not have; whoever reads numbers checks them and can name
    the entry, which the parser cannot.
    """
    try:
        return json.loads(Path(path).read_bytes())
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}).") from None
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError too
        raise DataError(f"{path}: is not a JSON file ({error}).") from None


def write_json(path: str | Path, value: Any, indent: int | None = None) -> None:
    """Writes atomically: a reader sees the old file or the new one, also after a kill or on a full disk.

    ValueError (and no file) when a NaN or an infinity is among the numbers.
    """
    path = Path(path)
    text = json.dumps(value, allow_nan=False, indent=indent)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
