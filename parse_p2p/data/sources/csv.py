"""Columns of a CSV file whose first line names them, read by pyarrow."""

import csv as plain_csv
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

from pydantic import Field

from parse_p2p.core.errors import ConfigError, cause
from parse_p2p.data.base import Dataset
from parse_p2p.data.sources.tables import TEXT, WHOLE, Part, TableOptions, from_parts, needed, pyarrow

BLOCK = 1 << 26  # bytes that pyarrow reads at once, of which a row has to be fewer


class Options(TableOptions):
    """Where the columns are, how they are written, and what they are."""

    path: Path = Field(description="the .csv or .tsv file; ~ is the home directory")
    delimiter: str | None = Field(
        None, min_length=1, max_length=1, description="what stands between cells (default: a comma, or a tab in .tsv)"
    )
    encoding: str = Field("utf-8", description="the encoding of the text")


def recognises(path: Path) -> bool:
    """Whether this is the path of such a file, by its name."""
    return path.suffix.lower() in (".csv", ".tsv")


def whole(path: Path) -> bool:
    """Whether the last line of a file has an end: one that is cut off may hold half a number, which is one too."""
    if not path.is_file():
        return True  # which reading it tells of
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 1))
        return file.read(1) in (b"\n", b"\r", b"")


def open(options: Options, seed: int) -> Dataset:
    """The rows of the file, after which it is named. The seed is not used.

    Raises ConfigError, naming file, column and line, for anything a model could not learn from.
    """
    csv, path = pyarrow("pyarrow.csv", "csv"), options.path.expanduser()
    text = _text(path, options.encoding)
    delimiter = options.delimiter or ("\t" if path.suffix.lower() == ".tsv" else ",")
    lines = _lines(text, delimiter)
    table = _table(csv, path, text, delimiter, lines)
    needed(path, table.column_names, options)
    for name in filter(None, (*(() if options.solved.numbers else options.targets), options.group)):
        if str(table.column(name).type) in WHOLE:  # 01 is another label than 1
            table = _with_text(table, _table(csv, path, text, delimiter, lines, name), name)
    for m in options.text:
        [name] = options.inputs[m]
        if str(table.column(name).type) not in TEXT:  # such as a number, a date or a yes and no
            table = _with_text(table, _table(csv, path, text, delimiter, lines, name), name)
    return from_parts([Part(path, table, lines[1:])], path, options)


def _with_text(table: Any, other: Any, name: str) -> Any:
    return table.set_column(table.column_names.index(name), name, other.column(name))


def _lines(text: str, delimiter: str) -> list[int]:
    """The line that each row begins on; pyarrow skips empty ones."""
    if '"' not in text:
        return [number for number, line in enumerate(text.split("\n"), 1) if line]
    found, begins = [], 1
    reader = plain_csv.reader(StringIO(text, newline=""), delimiter=delimiter)
    for row in reader:
        found += [begins] if row else []
        begins = reader.line_num + 1
    return found


def _text(path: Path, encoding: str) -> str:
    try:
        data = path.read_bytes()
        text = data.decode(encoding).replace("\r\n", "\n").replace("\r", "\n")
    except OSError as error:
        raise ConfigError(f"data file {path} cannot be read ({error.strerror}); correct the path") from None
    except LookupError:
        raise ConfigError(f"data.encoding: there is no encoding {encoding!r}; write such as utf-8 or latin-1") from None
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"line {line} of {path} is not {encoding}; give its encoding as data.encoding") from None
    except UnicodeError:
        raise ConfigError(f"{path} is not {encoding}; give its encoding as data.encoding") from None
    if not text.strip():
        raise ConfigError(f"data file {path} is empty; its first line names the columns")
    return text if text.endswith("\n") else f"{text}\n"  # pyarrow takes one line without an end for an empty file


def _table(csv: Any, path: Path, text: str, delimiter: str, lines: list[int], only: str = "") -> Any:
    """The columns, each of the type that its cells have; or ``only`` one, as text."""
    ragged: list[Any] = []
    chosen = {"column_types": {only: "string"}, "include_columns": [only]} if only else {}

    def keep(row: Any) -> str:
        ragged.append(row)
        return "skip"

    try:
        table = csv.read_csv(
            BytesIO(text.encode()),
            # with threads it does not count lines, and a block is to hold at least one
            read_options=csv.ReadOptions(use_threads=False, block_size=BLOCK),
            parse_options=csv.ParseOptions(
                delimiter=delimiter,
                invalid_row_handler=keep,
                newlines_in_values='"' in text,  # else a block may end within a cell
            ),
            # what is empty is missing, and what is called NA is text
            convert_options=csv.ConvertOptions(null_values=[""], strings_can_be_null=True, **chosen),
        )
    except ValueError as error:  # of which ArrowInvalid is one
        raise ConfigError(f"{path} cannot be read as CSV ({cause(error)}); correct it") from error
    for row in ragged:
        raise ConfigError(
            f"line {lines[row.number - 1]} of {path} has {row.actual_columns} cells, but its first line "
            f"{row.expected_columns}; give every line as many, with data.delimiter between them"
        )
    return table
