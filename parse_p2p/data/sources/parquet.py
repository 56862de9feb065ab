"""Columns of a Parquet file, or of all ``*.parquet`` files of a folder, read by pyarrow."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import Field

from parse_p2p.core.errors import ConfigError, cause
from parse_p2p.data.base import Dataset
from parse_p2p.data.sources.tables import Part, TableOptions, from_parts, needed, pyarrow


class Options(TableOptions):
    """Where the columns are, and what they are."""

    path: Path = Field(description="the .parquet file, or a folder of them; ~ is the home directory")


def recognises(path: Path) -> bool:
    """Whether this is such a file, by its name, or a folder with such files."""
    try:
        return path.suffix.lower() in (".parquet", ".pq") or any(path.glob("*.parquet"))
    except (OSError, ValueError):
        return False


def open(options: Options, seed: int) -> Dataset:
    """The rows in the order of the files' names; named after the file or folder. The seed is not used.

    Raises ConfigError, naming file, column and row, for anything a model could not learn from.
    """
    parquet, path = pyarrow("pyarrow.parquet", "parquet"), options.path.expanduser()
    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    if not files or not files[0].exists():
        raise ConfigError(f"there is no Parquet file at {path}; correct the path or save the table there")
    return from_parts(_parts(parquet, files, options), path, options)


def _parts(parquet: Any, files: list[Path], options: Options) -> Iterator[Part]:
    for path in files:
        try:
            with parquet.ParquetFile(path) as file:
                columns = needed(path, file.schema_arrow.names, options)
                yield Part(path, file.read(columns=columns))
        except (OSError, ValueError, NotImplementedError) as error:  # pyarrow's own are derived from these
            raise ConfigError(
                f"{path} cannot be read as a whole Parquet file ({cause(error)}); save it again"
            ) from error
