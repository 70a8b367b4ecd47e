"""A version set's whole runs: those that nothing narrowed and whose every cell came to its end."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Collection, Iterator, Mapping

from switchyard.tables import reading, writing
from switchyard.vocabulary import by_version


def newest_whole_run(
    results: str | Path, set_name: str, *, tier: str = "", device: str = "", not_tier: str = ""
) -> Path:
    """The folder of the set's newest run that was whole, by the time it started.

    Whole: nothing narrowed the selection and every cell came to its end. ``tier`` and
    ``device`` narrow the search; ``not_tier`` leaves a tier out where there is any other.
    Raises MissingTable, which says what there is instead.
    """
    found: list[tuple[bool, str, Path]] = []
    sets: set[str] = set()
    partial = 0
    for path in sorted(Path(results).glob(f"**/{writing.PROVENANCE_NAME}")):
        try:
            about = reading.read_about(path.parent)
        except reading.NewerSchema:
            raise  # the newest run may well be this one; an older answer would be wrong
        except reading.TableError:
            continue
        sets.update(about.get("version_sets", ()))
        if not _matches(about, set_name, tier, device):
            continue
        if _is_whole(about):
            wanted = not not_tier or about.get("tier") != not_tier
            found.append((wanted, str(about.get("started", "")), path.parent))
        else:
            partial += 1
    if found:
        return max(found)[-1]
    if partial:
        reason = f"{partial} of its runs are there, none of them whole"
    else:
        reason = "sets with runs: " + (", ".join(sorted(sets)) or "none")
    wanted = " ".join(filter(None, (set_name, tier, device)))
    raise reading.MissingTable(
        f"no whole run of {wanted} under {results} ({reason}); run it, or name a folder"
    )


def newer_partial_runs(results: str | Path, set_name: str, folder: Path) -> list[tuple[Path, str]]:
    """The set's runs on the devices of the run in ``folder`` that started after it and are not
    whole, each with why, the newest first; what cannot be read is passed over."""
    chosen = reading.read_about(folder)
    found = []
    for path in Path(results).glob(f"**/{writing.PROVENANCE_NAME}"):
        try:
            about = reading.read_about(path.parent)
        except reading.TableError:
            continue
        started = str(about.get("started", ""))
        shared = any(_matches(about, set_name, "", one) for one in chosen.get("devices", ()))
        if shared and not _is_whole(about) and started > str(chosen.get("started", "")):
            found.append((started, path.parent, _why_partial(about)))
    return [(path, why) for _, path, why in sorted(found, reverse=True)]


def _is_whole(about: Mapping[str, Any]) -> bool:
    return about["state"] == "done" and about.get("whole") is True


def _why_partial(about: Mapping[str, Any]) -> str:
    if about["state"] == "running":
        return "has not ended"
    said = []
    if about.get("unfinished"):
        said.append(f"left {about['unfinished']} of its cells unfinished")
    if about.get("whole_selection") is False:
        said.append("was asked for a part of its tier")
    return " and ".join(said) or "was broken off"


def sets_with_whole_runs(results: str | Path) -> list[str]:
    """The version sets that ``newest_whole_run`` finds something for, oldest first."""
    found = {name for about, _ in _whole(results) for name in about.get("version_sets", ())}
    return sorted(found, key=by_version)


def newest_in_turn(
    results: str | Path, names: Collection[str], tier: str, devices: Collection[str]
) -> Path | None:
    """The folder of the newest whole run of that tier, and of all ``devices``, in which the
    launches of all ``names`` took turns; None where there is none."""
    found = [
        (str(about.get("started", "")), folder)
        for about, folder in _whole(results)
        if set(names) <= set(about.get("version_sets", ()))
        and about.get("sets_in_turn") is True
        and about.get("tier") == tier
        and set(devices) <= set(about.get("devices", ()))
    ]
    return max(found)[-1] if found else None


def _whole(results: str | Path) -> Iterator[tuple[Mapping[str, Any], Path]]:
    """What every whole run says of itself, with its folder; what cannot be read is passed over."""
    for path in Path(results).glob(f"**/{writing.PROVENANCE_NAME}"):
        try:
            about = reading.read_about(path.parent)
        except reading.TableError:
            continue
        if _is_whole(about):
            yield about, path.parent


def _matches(about: Mapping[str, Any], set_name: str, tier: str, device: str) -> bool:
    return (
        set_name in about.get("version_sets", ())
        and tier in ("", about.get("tier"))
        and (not device or device in about.get("devices", ()))
    )
