"""Tables in Parquet that hold no image bytes, such as Hugging Face's metadata.parquet."""

from __future__ import annotations

from collections.abc import Generator
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from stores.sources.fields.problems import Problems
from stores.sources.paths import SourceError

# What pyarrow raises on damaged files; text that is not UTF-8 shows only when a value becomes a Python object.
DAMAGE = (pa.ArrowException, OSError, UnicodeDecodeError)


def read_parquet(
    file: IO[bytes], where: str, problems: Problems
) -> Generator[tuple[str, dict[str, object]], None, None]:
    """Yield each row; a struct with a path, as an image without its bytes has, is that path.

    Raises:
        SourceError: no Parquet file, or a damaged one.
    """
    del problems
    number = 0
    try:
        with pq.ParquetFile(file) as table:
            for batch in table.iter_batches():
                for record in batch.to_pylist():
                    yield f"{where}, row {number}", {name: _plain(value) for name, value in record.items()}
                    number += 1
    except DAMAGE as error:
        shown = " ".join(str(error).split())[:300]
        raise SourceError(f"{where}: expected a Parquet file; received: {shown}; fetch it again") from error


def _plain(value: object) -> object:
    return value["path"] if isinstance(value, dict) and isinstance(value.get("path"), str) else value
