"""What a run's cells are made from: code, zoo, packages, machine, card and the user's settings. A
run that goes on with another must not differ in it, since finished cells and new ones would not
belong together."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Dict

from switchyard.compare.circumstances import MACHINE
from switchyard.runner import environments, variables, version_sets
from switchyard.runner.artefacts import entry_key
from switchyard.runner.staging import PROJECT
from switchyard.tables import provenance

if TYPE_CHECKING:
    from switchyard.runner.session import Run

#: The runner's own code that decides what the columns of a row mean, by module: a worker's is
#: staged.
MEASURING = (
    "compare.statistics",
    "runner.arrangements",
    "runner.device_rows",
    "runner.launches",
    "runner.measurements",
    "runner.nvml",
    "runner.on_device",
    "runner.rows",
    "runner.sharing",
    "runner.standby",
    "runner.training",
    "runner.variables",
    "runner.warming",
)

#: What of a card decides how a cell fares.
CARD = ("name", "memory_mib", "driver")


def of(run: Run) -> Dict[str, Any]:
    """All that is known when the run begins; side environments are not, see ``lock_of``."""
    found: Dict[str, Any] = {
        "staged": run.staged.path.name,
        "measuring": measuring(),
        "zoo": entry_key(
            digests=sorted(
                digest
                for zoo in run.zoos.values()
                for model in zoo.models.values()
                for digest in model["sources"].values()
            )
        ),
        "device": run.device,
        "machine": {
            name: value for name, value in provenance.machine().items() if name in MACHINE
        },
        # Tables are published, and these are more than ``run.json`` shows: what differs is named.
        "environment variables": {
            name: entry_key(value=value) for name, value in variables.shaping().items()
        },
        "hops": [hashlib.sha256(path.read_bytes()).hexdigest() for path in run.hop_files],
        "environments": {
            f"{one.version_set}/{one.name}": one.fingerprint for one in run.crew.known()
        },
    }
    if run.card is not None:
        about = run.card.about()
        found["card"] = {name: about[name] for name in CARD}
    return found


def measuring() -> str:
    """The hash of ``MEASURING``."""
    found = hashlib.sha256()
    for module in MEASURING:
        path = PROJECT / "switchyard" / f"{module.replace('.', '/')}.py"
        found.update(path.read_bytes())
    return found.hexdigest()


def lock_of(run: Run, version_set: str, environment: str) -> str:
    """The hash of an environment's lock as it is now; "" of one that has none committed, whose
    core's packages, which are compared as well, hold what makes it differ from its base."""
    set_ = version_sets.find(version_set)
    if set_.folder is None or set_.base or not set_.fixed:
        return ""
    if environment not in set_.environments:
        return ""
    return environments.home_of(set_, environment, run.crew.flavour_of(environment))[1]
