"""From a job's words to a session: what every process that runs a model does first."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Callable, Dict, Mapping, Optional

if TYPE_CHECKING:
    import numpy as np

    from switchyard.worker.building import BuiltModel

from switchyard import runtimes
from switchyard.manifest import Artefact, Manifest


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A session that takes and gives the model's own paths. ``model`` is there where torch has it
    in this process, ``artefact`` and its ``manifest`` where something was converted."""

    session: runtimes.Session
    model: Optional[BuiltModel] = None
    artefact: Optional[Artefact] = None
    manifest: Optional[Manifest] = None

    def run(self, inputs: Mapping[str, np.ndarray]) -> Dict[str, np.ndarray]:
        if self.manifest is None:
            return self.session.run(inputs)
        return self.manifest.results(self.session.run(self.feeds(inputs)))

    def feeds(self, inputs: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """The inputs under the session's own names and in its layout."""
        return inputs if self.manifest is None else self.manifest.feeds(inputs)


def load(
    runtime: runtimes.Runtime, job: Mapping[str, Any], built: Callable[[], None] = lambda: None
) -> Loaded:
    """``job``: ``file`` and ``model`` for torch, else the folder ``artefact``; and what
    ``Target.of_job`` takes. ``built`` is called once a model has been built here, before it is
    loaded. Raises what building or loading raises."""
    target = runtimes.Target.of_job(job)
    if runtime.format == "torch":
        recipe = runtimes.Recipe(job["file"], job["model"], job.get("precision", ""))
        if runtime.apart:
            return Loaded(runtimes.loaded(runtime, None, recipe, target))
        from switchyard.worker.building import build

        model = build(recipe.file, recipe.model, recipe.precision)
        built()
        return Loaded(runtimes.loaded(runtime, None, model, target), model=model)
    artefact = Artefact.read(job["artefact"])
    session = runtimes.loaded(runtime, artefact, None, target)
    manifest = artefact.manifest.for_format(runtime.format)
    return Loaded(session, artefact=artefact, manifest=manifest)
