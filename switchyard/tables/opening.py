"""The table that a word on the command line means: a run's folder, a CSV, or a set's name."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from switchyard.tables import reading, schema, whole_runs, writing
from switchyard.tables.reading import DamagedTable, MissingTable
from switchyard.vocabulary import TIERS

if TYPE_CHECKING:
    import pandas

#: Launches read from parquet at a time: each holds about a thousand durations.
BATCH = 4096


@dataclasses.dataclass(frozen=True)
class Found:
    """What a word meant. ``folder`` is None for a CSV without its run; ``only_set`` is the
    set that is meant, since a run may hold others too; ``newest`` says that the run was found by
    that set's name."""

    path: Path
    folder: Path | None
    only_set: str = ""
    newest: bool = False

    def about(self) -> dict[str, Any] | None:
        return reading.read_about(self.folder) if self.folder else None

    def cells(self) -> pandas.DataFrame:
        frame = reading.read_cells(self.folder or self.path)
        if self.only_set:
            frame = frame[frame["version_set"] == self.only_set].reset_index(drop=True)
        return frame


def find(
    word: str, results: str | Path, tier: str = "", device: str = "", not_tier: str = ""
) -> Found:
    """A path where there is one, else a run of that name in ``results`` or its ``runs``, else a
    version set's newest whole run under ``results``.

    A ``cells.csv`` beside its ``run.json`` means the whole folder. ``tier``, ``device`` and
    ``not_tier`` say which runs of a set, as for ``newest_whole_run``. Raises MissingTable.
    """
    path = Path(word)
    if path.is_dir():
        return Found(path, path)
    if path.exists():
        beside = (
            path.name == writing.CELLS_NAME and (path.parent / writing.PROVENANCE_NAME).exists()
        )
        return Found(path, path.parent if beside else None)
    if len(path.parts) > 1 or path.suffix == ".csv" or not word:
        raise MissingTable(
            f"{word or 'an empty name'} does not exist; give a run's folder, a "
            f"{writing.CELLS_NAME} or a version set's name"
        )
    for parent in (Path(results), Path(results) / "runs"):
        if (parent / word).is_dir():
            return Found(parent / word, parent / word)
    folder = whole_runs.newest_whole_run(
        results, word, tier=tier, device=device, not_tier=not_tier
    )
    return Found(folder, folder, word, newest=True)


def both_sets(word: str, results: str | Path) -> list[Found]:
    """The two version sets of one run, in the order in which it was asked for them.

    Raises MissingTable where it is not of two.
    """
    each = by_set(find(word, results))
    if len(each) != 2:
        of = " and ".join(_sets(each[0]) if len(each) == 1 else [one.only_set for one in each])
        raise MissingTable(
            f"{word} alone is compared where it is a run of two version sets, each with the other; "
            f"it is of {of}: name the table to compare it with"
        )
    return each


def by_set(one: Found) -> list[Found]:
    """A table of several version sets as one of each, in the order in which its run was asked for
    them; any other as it is."""
    sets = _sets(one)
    return [dataclasses.replace(one, only_set=name) for name in sets] if len(sets) > 1 else [one]


def _sets(one: Found) -> list[str]:
    if one.only_set:
        return [one.only_set]
    sets = (one.about() or {}).get("version_sets") or one.cells()["version_set"].unique()
    return [str(name) for name in sets]


def find_all(words: Sequence[str], results: str | Path) -> list[Found]:
    """The same for several that are to be compared, so that a set's name means a run of the others'
    tier and devices.

    Where a place is given its tier decides; of names alone, the tier that all have a whole run of:
    that of the last one's newest run, else of the one before it, and so on, else the largest.
    Where there is none, the tiers differ.
    """
    newest = [find(word, results) for word in words]
    named = [bool(one.only_set) for one in newest]
    names = [word for word, is_name in zip(words, named) if is_name]
    for word in names:
        if names.count(word) > 1:
            raise MissingTable(
                f"{word} twice is one run: name the older one's folder to compare its newest with"
            )
    if not names:
        return newest
    abouts = [one.about() or {} for one in newest]
    fixed = [about for about, is_name in zip(abouts, named) if not is_name]
    tiers = [about.get("tier") or "" for about in reversed(fixed or abouts)]
    if not fixed:
        tiers += [tier for tier in reversed(TIERS) if tier not in tiers]
    common = [
        device
        for device in _devices((fixed or abouts)[-1])
        if all(device in _devices(about) for about in fixed or abouts)
    ]
    devices = common if fixed else [*common[:1], ""]
    for tier in dict.fromkeys(filter(None, tiers)):
        for device in devices or [""]:
            try:
                return [
                    find(word, results, tier, device) if is_name else one
                    for word, is_name, one in zip(words, named, newest)
                ]
            except MissingTable:
                continue
    return newest


def better_in_turn(before: Found, after: Found, results: str | Path) -> Path | None:
    """A whole run in which both version sets took turns, where ``before`` and ``after`` are two
    runs that were found by the sets' names; None where there is no such run."""
    if not (before.newest and after.newest) or before.folder == after.folder:
        return None
    tiers = [str((one.about() or {}).get("tier") or "") for one in (before, after)]
    if tiers[0] != tiers[1]:
        return None
    devices = [_devices(one.about() or {}) for one in (before, after)]
    both = [device for device in devices[0] if device in devices[1]]
    names = (before.only_set, after.only_set)
    return whole_runs.newest_in_turn(results, names, tiers[0], both)


def _devices(about: dict[str, Any]) -> list[str]:
    return [str(device) for device in about.get("devices", ())]


def launch_medians(folder: Path) -> pandas.DataFrame:
    """The median duration of every launch of a run: the cell's columns, ``launch``, ``median_s``.

    Read some thousand launches at a time: a run of 100,000 cells holds more durations than
    fit into memory at once. Raises MissingTable, DamagedTable.
    """
    import numpy
    import pandas
    import pyarrow
    import pyarrow.parquet

    if reading.read_about(folder)["state"] == "running":
        samples = reading.read_samples(folder)
        medians = [numpy.median(one) if len(one) else numpy.nan for one in samples["durations_s"]]
        kept = samples[[*schema.KEY, "launch"]]
        return kept.assign(median_s=numpy.array(medians, float))
    path = folder / writing.SAMPLES_NAME
    columns = [*schema.KEY, "launch", "durations_s"]
    parts = []
    try:
        with pyarrow.parquet.ParquetFile(path, pre_buffer=False) as file:
            for batch in file.iter_batches(BATCH, columns=columns, use_threads=False):
                frame = batch.select(columns[:-1]).to_pandas()
                parts.append(frame.assign(median_s=_medians(batch.column("durations_s"))))
    except FileNotFoundError:
        raise MissingTable(f"{folder} holds no {path.name}: restore it, or run again") from None
    except (pyarrow.ArrowInvalid, KeyError, OSError) as error:
        raise DamagedTable(f"{path} cannot be read ({error}): restore the file") from None
    if not parts:
        return pandas.DataFrame({name: [] for name in (*columns[:-1], "median_s")})
    return pandas.concat(parts, ignore_index=True)


def _medians(lists: Any) -> Any:
    """The median of each list of a pyarrow list array; NaN of an empty one."""
    import numpy

    # combined, since offsets of a slice of an array count from the whole array's start
    offsets = lists.offsets.to_numpy(zero_copy_only=False)
    values = lists.values.to_numpy(zero_copy_only=False)
    lengths = numpy.diff(offsets)
    found = numpy.full(len(lengths), numpy.nan)
    for length in numpy.unique(lengths[lengths > 0]):
        own = numpy.flatnonzero(lengths == length)
        rows = values[offsets[own][:, None] + numpy.arange(length)]
        found[own] = numpy.median(rows, axis=1)
    return found
