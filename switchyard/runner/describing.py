"""What the zoo holds, as each version set sees it: asked of a worker, cached by content."""

from __future__ import annotations

import hashlib
import pathlib
from typing import Callable, Dict, List, Sequence, Set

from models_zoo.entry import NO_FAMILIES
from switchyard.runner import options
from switchyard.runner.artefacts import ArtefactStore, entry_key
from switchyard.runner.options import BUILTIN
from switchyard.runner.plan import Zoo
from switchyard.runner.staging import Staged, shown
from switchyard.vocabulary import NotUsable, Outcome


class ZooFileMissing(NotUsable):
    """A ``--zoo`` path at which no file lies."""


def zoo_files(chosen: Sequence[str], staged: Staged) -> List[pathlib.Path]:
    """The files of the zoo: the built-in families, or those of ``--zoo``."""
    files: List[pathlib.Path] = []
    for name in chosen or [BUILTIN]:
        if name == BUILTIN:
            families = sorted(
                relative for relative in staged.digests
                if relative.startswith("models_zoo/") and relative.count("/") == 1
                and pathlib.PurePath(relative).stem not in NO_FAMILIES
            )  # fmt: skip
            files.extend(staged.file(relative) for relative in families)
            continue
        path = pathlib.Path(name).resolve()
        if not path.is_file():
            raise ZooFileMissing(f"--zoo {name}: there is no such file (or say builtin)")
        files.append(path)
    return files


def describe(
    files: Sequence[pathlib.Path],
    environment,
    staged: Staged,
    store: ArtefactStore,
    ask: Callable[[dict], dict],
) -> Zoo:
    """Every file's entries in ``environment``; ``ask`` runs one describe job in its worker
    and is not called for what the store already knows."""
    models: Dict[str, dict] = {}
    errors = {}
    owners: Dict[str, str] = {}
    for file in files:
        key = entry_key(
            do="describe",
            machinery=staged.machinery,
            entry=[staged.digests[f"models_zoo/{name}.py"] for name in ("entry", "preprocessing")],
            environment=environment.fingerprint,
            name=shown(str(file)),
            content=hashlib.sha256(file.read_bytes()).hexdigest(),
        )
        with store.alone(key):
            found = store.find(key)
            if found is not None:
                record = found.record
            else:
                record = ask({"do": "describe", "file": str(file)})
                if record["ok"]:
                    record["sources"] = relative(record["sources"])
                    store.keep(key, store.workplace(key), record)
        if not record["ok"]:
            where = record.get("where", str(file))
            errors[str(file)] = (Outcome.from_dict(record["outcome"]), _where(where))
            continue
        if not record["models"]:
            outcome = Outcome(
                stage="import",
                verdict="void",
                kind="bad-fixture",
                message="no model is declared in it: put @models_zoo.model(...) before a function "
                "that builds one",
                signature="no model is declared in a file",
            )
            errors[str(file)] = (outcome, _where(str(file)))
            continue
        for description in record["models"]:
            name = description["name"]
            if name in models:
                outcome = Outcome(
                    stage="import",
                    verdict="void",
                    kind="bad-fixture",
                    message=f"model {name!r} is also declared in {shown(owners[name])}",
                    signature="model is also declared in another file",
                )
                errors[str(file)] = (outcome, _where(f"{file}:{description['line']}"))
                continue
            owners[name] = str(file)
            description["file"] = str(file)
            description["sources"] = record["sources"]
            models[name] = description
    return Zoo(models, errors)


def own_models(zoo: Zoo, staged: Staged) -> Set[str]:
    """The models that are not of the built-in zoo, which may have one of the same name."""
    builtin = {str(file) for file in zoo_files([BUILTIN], staged)}
    return {name for name, model in zoo.models.items()
            if model["file"] not in builtin and options.is_own(model["file"])}  # fmt: skip



def relative(sources: Dict[str, str]) -> Dict[str, str]:
    """Staged files by their place in the project, since where they are staged changes."""
    return {shown(path) if "worker-path" in path else path: digest
            for path, digest in sources.items()}  # fmt: skip


def _where(where: str) -> str:
    file, colon, line = where.rpartition(":")
    return f"{shown(file)}:{line}" if colon and line.isdigit() else shown(where)
