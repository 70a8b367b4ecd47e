"""What of the version sets is there: state, size on disk, age of the lock. Installs nothing."""

from __future__ import annotations

import dataclasses
import datetime
import os
import re
from pathlib import Path

from switchyard.runner.environments import cache_root, home_of
from switchyard.runner.installation import MARKER
from switchyard.runner.version_sets import VersionSet, version_sets

_MADE = re.compile(r"^# Made on (\d{4}-\d\d-\d\d)\b")


@dataclasses.dataclass(frozen=True)
class Entry:
    """One set. Sizes in bytes as the disk counts them, a file with several names once; None
    where nothing is there. ``other_bytes`` is of environments from the set's older locks and of
    those derived from it. ``age_days``: since the oldest of its locks was made."""

    name: str
    state: str
    size_bytes: int | None
    age_days: int | None
    other_bytes: int | None


def inventory(
    flavour: str = "cpu", folder: Path | None = None, today: datetime.date | None = None
) -> list[Entry]:
    """Every set, ``current`` first. Raises BadSet."""
    seen: set[tuple[int, int]] = set()
    homes = {path.name: path for path in there()}
    sets = version_sets(folder)
    entries = []
    for set_ in sets.values():
        own, state = _state(set_, flavour)
        named = (f"{set_.name}-{environment}-" for environment in set_.environments)
        names = tuple(named) if set_.folder else ()
        others = [path for name, path in homes.items() if names and name.startswith(names)]
        entries.append(
            Entry(
                set_.name,
                state,
                size(own, seen),
                _age(set_, flavour, today or datetime.date.today()),
                size([path for path in others if path not in own], seen),
            )
        )
    return entries


def there() -> list[Path]:
    """The folders of all environments, whole or not, in order of their names."""
    folder = cache_root() / "environments"
    return [path for path in sorted(folder.glob("*")) if path.is_dir()]


def _state(set_: VersionSet, flavour: str) -> tuple[list[Path], str]:
    """The set's environments that are installed, and the word for it."""
    if set_.folder is None:
        return [], "this interpreter"
    if not set_.fixed:
        return [], "resolved at each run"
    if not all(set_.lock(one, flavour).exists() for one in set_.environments):
        return [], "no lock"
    homes = [home_of(set_, one, flavour)[0] for one in set_.environments]
    installed = [home for home in homes if (home / MARKER).exists()]
    if not installed:
        return [], "not installed"
    if len(installed) < len(homes):
        return installed, f"{len(installed)} of {len(homes)} installed"
    return installed, "installed"


def size(folders: list[Path], seen: set[tuple[int, int]]) -> int | None:
    """Bytes that the folders hold on disk beyond what was ``seen``; None where there are none."""
    total = 0
    waiting = [str(folder) for folder in folders]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    about = entry.stat(follow_symlinks=False)
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    elif (about.st_dev, about.st_ino) not in seen:
                        seen.add((about.st_dev, about.st_ino))
                        total += about.st_blocks * 512
        except OSError:  # another run is removing it
            continue
    return total if folders else None


def _age(set_: VersionSet, flavour: str, today: datetime.date) -> int | None:
    """Days since the oldest of the set's locks was made, as their first lines say."""
    if set_.folder is None:
        return None
    ages = []
    for environment in set_.environments:
        path = set_.lock(environment, flavour)
        if path.exists() and (made := _MADE.match(path.read_text("utf-8"))):
            ages.append((today - datetime.date.fromisoformat(made[1])).days)
    return max(ages, default=None)
