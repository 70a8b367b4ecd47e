"""Reading tables back, and refusing what cannot be trusted.

A table that is read is whole, ours, of this schema (or migrated to it), with one row a
cell. Anything else is a ``TableError`` whose message says what is wrong, with which file,
and what to do. pandas and pyarrow are imported inside the functions.
"""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

from switchyard.tables import journal, schema, writing
from switchyard.vocabulary import UnknownName, stage_base

if TYPE_CHECKING:
    import pandas

#: From a version to the next: a function from a frame of texts to a frame of texts, each
#: cell as it stands in the CSV. A column that is new is empty without being added here.
MIGRATIONS: dict[int, Callable[["pandas.DataFrame"], "pandas.DataFrame"]] = {
    1: lambda frame: frame,  # 2 added what is asked of a GPU, which 1 never ran on
    # 3 added preprocessing, precision, batches, training and what an export changes, none of
    # which was measured before
    2: lambda frame: frame,
    3: lambda frame: frame,  # 4 added CUDA graphs
    4: lambda frame: frame,  # 5 added memory without the pages of program files
    5: lambda frame: frame,  # 6 added why another size does not work
    6: lambda frame: frame,  # 7 added the cores that timed calls keep busy
    7: lambda frame: frame,  # 8 added the clock of a card's memory (no table of 7 is of one)
}


class TableError(Exception):
    """A table cannot be used. The message names the file and what to do."""


class MissingTable(TableError):
    """There is no table at that place, or no whole run of that set."""


class ForeignTable(TableError):
    """The file is no table of cells, or of another tool."""


class NewerSchema(TableError):
    """Written by a later Switchyard."""


class OlderSchema(TableError):
    """Written by an earlier Switchyard, and no migration leads here."""


class TruncatedTable(TableError):
    """The end of the table is missing."""


class DamagedTable(TableError):
    """The table holds what no writer wrote: a text for a number, a broken run.json."""


class DuplicateCells(TableError):
    """Some cell has more than one row."""


def read_cells(path: str | Path) -> "pandas.DataFrame":
    """The cells of a run folder or of a lone CSV, every column of the schema in its order.

    Texts are ``str`` with "" for empty, floats ``float64`` with NaN for empty, integers
    ``Int64`` with <NA>. The folder of a run that was killed is read from its journal,
    which can be ahead of its CSV. A CSV that was cut exactly between two lines can be told
    only where ``run.json`` stands beside it.
    """
    path = Path(path)
    if path.is_dir():
        return _read_folder(path)
    if not path.exists():
        raise MissingTable(f"{path} does not exist; give a run's folder or a cells.csv")
    return _read_csv(path)


def _read_folder(folder: Path) -> "pandas.DataFrame":
    about = read_about(folder)
    if about["state"] == "running" and (folder / journal.JOURNAL_NAME).exists():
        return _checked_frame(_from_journal(folder), folder / journal.JOURNAL_NAME)
    table = folder / writing.CELLS_NAME
    if not table.exists():
        raise MissingTable(f"{folder} holds no {writing.CELLS_NAME}: restore it, or run again")
    frame = _read_csv(table)
    if "rows" in about and about["rows"] != len(frame):
        raise TruncatedTable(
            f"{table} has {len(frame)} rows where {writing.PROVENANCE_NAME} beside it says "
            f"{about['rows']}: copy the whole file again, or run again"
        )
    return frame


def read_about(folder: str | Path) -> dict[str, Any]:
    """What ``run.json`` of a run folder says, refused where it is not ours or newer."""
    path = Path(folder) / writing.PROVENANCE_NAME
    try:
        about = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise MissingTable(
            f"{folder} holds no {writing.PROVENANCE_NAME}, so it is no run's folder; "
            f"give the folder that holds it, or a {writing.CELLS_NAME} itself"
        ) from None
    except (ValueError, OSError) as error:
        raise DamagedTable(f"{path} cannot be read ({error}): restore it, or run again") from None
    if not isinstance(about, dict) or "schema_version" not in about or "state" not in about:
        raise ForeignTable(f"{path} was not written by Switchyard: give a run's folder")
    _refuse_newer(about["schema_version"], path)
    return about


def _from_journal(folder: Path) -> "pandas.DataFrame":
    import pandas

    try:
        rows = journal.replay(folder, series=False).ledger.rows.values()
    except journal.JournalDamaged as error:
        raise DamagedTable(str(error)) from error
    texts = {
        name: ["" if row.get(name) is None else str(row[name]) for row in rows]
        for name in schema.NAMES
    }
    return _typed(pandas.DataFrame(texts, dtype=str), folder / journal.JOURNAL_NAME)


def _read_csv(path: Path) -> "pandas.DataFrame":
    header = _header(path)
    with path.open("rb") as file:
        file.seek(-1, 2)
        if file.read(1) != b"\n":
            raise TruncatedTable(
                f"{path} ends in the middle of a line: copy the whole file again, or run again"
            )
    missing = [name for name in schema.NAMES if name not in header]
    unknown = [name for name in header if name not in schema.BY_NAME]
    version = _version(path, header)
    if version is None:  # no row says which columns the table had to have
        strange = unknown or len(set(header)) != len(header)
        version = schema.SCHEMA_VERSION if strange or not missing else min(MIGRATIONS)
    if version < schema.SCHEMA_VERSION:
        return _checked_frame(_migrated(path, version), path)
    if missing or unknown or len(header) != len(schema.NAMES):
        raise ForeignTable(
            f"{path} says schema {version} but has not its columns (missing: "
            f"{', '.join(missing) or 'none'}; unknown or doubled: {', '.join(unknown) or 'none'}): "
            "take columns of your own out, or use the file as the run wrote it"
        )
    frame = _parsed(path, typed=True)[list(schema.NAMES)]
    for column in schema.COLUMNS:
        if column.dtype == "text":
            frame[column.name] = _unguarded(frame[column.name])
    return _checked_frame(frame, path)


def _header(path: Path) -> list[str]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            header = next(csv.reader(file), [])
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        raise ForeignTable(f"{path} is no CSV of cells ({error})") from None
    if not header:
        raise TruncatedTable(f"{path} is empty: copy the file again, or run again")
    absent = [name for name in ("schema", *schema.KEY) if name not in header]
    if absent:
        raise ForeignTable(
            f"{path} is not a table of Switchyard's cells (no column {', '.join(absent)}): "
            f"give a run's folder or its {writing.CELLS_NAME}"
        )
    return header


def _version(path: Path, header: list[str]) -> int | None:
    """The one schema version of all rows; None of a table without rows."""
    place = header.index("schema")
    found: set[str] = set()
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file)
        next(reader)
        for row in reader:
            # the first row decides how the rest is read; the whole column is checked later
            found.add(row[place] if len(row) > place else "")
            break
    if not found:
        return None
    text = found.pop()
    if not text.isdecimal():
        raise DamagedTable(f"{path}: column schema holds {text!r}, no version: restore the file")
    _refuse_newer(int(text), path)
    return int(text)


def _refuse_newer(version: Any, path: Path) -> None:
    if not isinstance(version, int) or isinstance(version, bool):
        raise DamagedTable(f"{path}: schema version {version!r} is no number: restore the file")
    if version > schema.SCHEMA_VERSION:
        raise NewerSchema(
            f"{path} has schema {version}, this Switchyard reads up to "
            f"{schema.SCHEMA_VERSION}: update Switchyard"
        )


def _parsed(path: Path, typed: bool) -> "pandas.DataFrame":
    """The CSV by Arrow's reader, which refuses short and long lines and wrong types."""
    import pandas
    import pyarrow
    import pyarrow.csv

    kinds = {"text": pyarrow.string(), "float": pyarrow.float64(), "integer": pyarrow.int64()}
    types = {column.name: kinds[column.dtype] for column in schema.COLUMNS} if typed else {}
    if not typed:
        types = dict.fromkeys(_header(path), pyarrow.string())
    convert = pyarrow.csv.ConvertOptions(
        column_types=types, null_values=[""], strings_can_be_null=False
    )
    try:
        table = pyarrow.csv.read_csv(path, convert_options=convert)
    except pyarrow.ArrowInvalid as error:
        short = "Expected" in str(error) and "columns" in str(error)
        if short:
            raise TruncatedTable(
                f"{path} has a line that is cut or joined ({error}): copy the whole file "
                "again, or run again"
            ) from None
        raise DamagedTable(f"{path} cannot be read ({error}): restore the file") from None
    integers = {pyarrow.int64(): pandas.Int64Dtype()}
    return table.to_pandas(types_mapper=integers.get)


def _migrated(path: Path, version: int) -> "pandas.DataFrame":
    frame = _parsed(path, typed=False)
    _refuse_columns(frame, path)
    for name in frame.columns:
        frame[name] = _unguarded(frame[name])
    while version < schema.SCHEMA_VERSION:
        if version not in MIGRATIONS:
            raise OlderSchema(
                f"{path} has schema {version} and nothing leads from there to "
                f"{schema.SCHEMA_VERSION}: read it with the Switchyard of its run.json's commit"
            )
        frame = MIGRATIONS[version](frame)
        version += 1
    frame["schema"] = str(schema.SCHEMA_VERSION)
    for name in schema.NAMES:
        if name not in frame:
            frame[name] = ""
    return _typed(frame[list(schema.NAMES)], path)


def _refuse_columns(frame: "pandas.DataFrame", path: Path) -> None:
    """What no earlier Switchyard wrote: a column twice, none to know a cell by, or rows of other
    schemas than the first one's."""
    doubled = sorted(set(frame.columns[frame.columns.duplicated()]))
    if doubled:
        raise DamagedTable(f"{path} has twice the column {', '.join(doubled)}: restore the file")
    needed = ("schema", *schema.KEY, "state", "verdict")
    lacking = [name for name in needed if name not in frame]
    if lacking:
        raise DamagedTable(f"{path} lacks the columns {', '.join(lacking)}: restore the file")
    versions = sorted(set(frame["schema"]))
    if len(versions) > 1:
        raise DamagedTable(
            f"{path} mixes rows of schemas {', '.join(versions)}: read the tables it was made from "
            "one by one"
        )


def _typed(frame: "pandas.DataFrame", path: Path) -> "pandas.DataFrame":
    """A frame of texts with the schema's types; "" becomes the type's empty."""
    import pandas

    for column in schema.COLUMNS:
        if column.dtype == "text":
            frame[column.name] = frame[column.name].astype(str)
            continue
        texts = frame[column.name].tolist()
        try:
            # Python's own conversion, since a large integer must not pass through a float
            if column.dtype == "integer":
                whole = [int(text) if text else None for text in texts]
                frame[column.name] = pandas.array(whole, dtype="Int64")
            else:
                floats = [float(text) if text else math.nan for text in texts]
                frame[column.name] = pandas.array(floats, dtype="float64")
        except (ValueError, OverflowError) as error:
            raise DamagedTable(
                f"{path}: column {column.name} does not hold numbers alone ({error})"
            ) from None
    return frame


def _unguarded(texts: "pandas.Series") -> "pandas.Series":
    """Take the apostrophes off that ``writing.guarded`` put before a formula's sign."""
    guarded = texts.str.startswith("'")
    if guarded.any():
        texts = texts.mask(guarded, texts[guarded].map(writing.unguarded))
    return texts


def _checked_frame(frame: "pandas.DataFrame", path: Path) -> "pandas.DataFrame":
    versions = {int(version) for version in frame["schema"].dropna().unique()}
    versions.discard(schema.SCHEMA_VERSION)
    if versions or frame["schema"].isna().any():
        raise DamagedTable(
            f"{path} mixes rows of schemas {sorted(versions | {schema.SCHEMA_VERSION})}: "
            "read the tables it was made from one by one"
        )
    _refuse_unknown_words(frame, path)
    doubled = frame[frame.duplicated(list(schema.KEY))]
    if len(doubled):
        named = [schema.cell_of(row).id for row in doubled.head(3).to_dict("records")]
        raise DuplicateCells(
            f"{path} has {len(doubled)} rows too many, among them of {', '.join(named)}: "
            "two tables were joined into one; give them one by one"
        )
    return frame


def _refuse_unknown_words(frame: "pandas.DataFrame", path: Path) -> None:
    """Raises DamagedTable for a word that a closed column does not know: counted as anything it
    would be counted as something else."""
    for column in schema.COLUMNS:
        if not column.values and column.name != "stage":
            continue
        for word in frame[column.name].unique():
            try:
                if column.name == "stage":
                    word and stage_base(word)
                elif word and word not in column.values:
                    raise UnknownName(column.name, word, column.values)
            except UnknownName as error:
                raise DamagedTable(
                    f"{path}: {error} (restore the file, or read it with the Switchyard of its "
                    "run.json's commit)"
                ) from None


def read_figures(folder: str | Path) -> "pandas.DataFrame":
    """The figures of a run: cell, probe or condition, metric, value, unit."""
    return _read_series(Path(folder), writing.FIGURES_NAME, writing.figures_table)


def read_samples(folder: str | Path) -> "pandas.DataFrame":
    """The durations of a run: a row a launch, ``durations_s`` in seconds, in order."""
    return _read_series(Path(folder), writing.SAMPLES_NAME, writing.samples_table)


def _read_series(folder: Path, name: str, from_ledger: Callable) -> "pandas.DataFrame":
    import pyarrow
    import pyarrow.parquet

    about = read_about(folder)
    if about["state"] == "running" and (folder / journal.JOURNAL_NAME).exists():
        return from_ledger(journal.replay(folder).ledger).to_pandas()
    try:
        return pyarrow.parquet.read_table(folder / name).to_pandas()
    except FileNotFoundError:
        raise MissingTable(f"{folder} holds no {name}: restore it, or run again") from None
    except pyarrow.ArrowInvalid as error:
        raise DamagedTable(f"{folder / name} cannot be read ({error}): restore the file") from None


def rows_of(frame: "pandas.DataFrame") -> list[dict[str, Any]]:
    """The rows of a frame that ``read_cells`` gave, as ``switchyard.compare`` takes them: Python's
    own values, None where nothing is known.

    Texts lose control characters, which a table of somebody else's may hold.
    """
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return [
        {
            name: (schema.one_line(value) or None) if isinstance(value, str) else value
            for name, value in row.items()
        }
        for row in rows
    ]
