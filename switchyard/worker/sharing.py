"""A process in which one framework or two hold a model each on one CUDA device, in turn.

It answers as ``measuring`` does: ``enter`` loads the tenants, ``turns`` asks them one after the
other, ``memory`` says what each framework's allocator holds.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import time
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence

from switchyard.worker import measuring


class Tenant(NamedTuple):
    """``feeds``: the example's and, where the model declares one, another size's."""

    runtime: Any
    session: Any
    feeds: List[Mapping[str, Any]]


class Tenants:
    """What the process holds between frames. ``on_device`` decides how errors are told."""

    on_device = True

    def __init__(self) -> None:
        self._tenants: Dict[str, Tenant] = {}
        self._short = False
        self._held: Dict[str, Any] = {}

    def enter(self, job: Mapping[str, Any]) -> Dict[str, Any]:
        """Load ``tenants``: runtime -> what ``measuring`` is given to load it, with its limit.
        ``short``: the card's memory was limited on purpose, or taken by another."""
        from switchyard.worker.server import import_in_order

        import_in_order()
        self._short = bool(job.get("short"))
        for name, load in job["tenants"].items():
            self._tenants[name] = entered(name, load)
        return {}

    def rules(self) -> Sequence[Any]:
        """What errors mean here beside what they mean everywhere."""
        from switchyard.worker.blame import ON_DEVICE_RULES, SHORT_RULES

        return (*ON_DEVICE_RULES, *(SHORT_RULES if self._short else ()))

    def turns(self, job: Mapping[str, Any]) -> Dict[str, Any]:
        """``n`` times every tenant in turn, each at all its sizes. Seconds of the turns that
        were finished, and what stopped the rest, with what each framework held then.

        A tenant's outputs are kept until its own next turn, as a variable of a serving loop
        keeps them. ``between``: ``deleted`` lets them go, and collects, before the other
        framework is called, ``emptied`` also gives back what the framework caches.
        """
        seconds: List[float] = []
        stopped: Optional[Dict[str, Any]] = None
        held: Dict[str, Any] = {}
        try:
            for _ in range(job["n"]):
                began = time.perf_counter()
                for name, tenant in self._tenants.items():
                    self._turn(name, tenant, job.get("between", ""))
                seconds.append(time.perf_counter() - began)
        except Exception as error:
            from switchyard.worker.blame import outcome_of

            stopped = outcome_of(error, "run", self.rules()).as_dict()
            # As long as the error lives, so does what its frames had on the card.
            for name, tenant in self._tenants.items():
                with contextlib.suppress(Exception):  # of a process that can do nothing any more
                    held[name] = tenant.runtime.device_memory()
        return {"seconds": seconds, "outcome": stopped, "device": held}

    def _turn(self, name: str, tenant: Tenant, between: str) -> None:
        for feeds in tenant.feeds:
            self._held[name] = tenant.session.outputs(feeds)
        if between:
            del self._held[name]
            gc.collect()
        if between == "emptied":
            tenant.runtime.empty_cache()

    def memory(self, job: Mapping[str, Any]) -> Dict[str, Any]:
        """What each framework says, behind one more turn of it where there is room for one."""
        found = {}
        for name, tenant in self._tenants.items():
            call = functools.partial(tenant.session.outputs, tenant.feeds[-1])
            found[name], _ = measuring.memory_after(tenant.runtime, call)
        return {"device": found}


def entered(name: str, job: Mapping[str, Any]) -> Tenant:
    """What ``loading.load`` raises, and where a package of the runtime is missing."""
    from switchyard import hops, runtimes
    from switchyard.worker import loading
    from switchyard.worker.drawing import RESIZED
    from switchyard.worker.reference import Reference

    runtime = runtimes.builtin()[name]
    for package in runtime.requires:
        hops.import_required(package)
    loaded, reference = loading.load(runtime, job), Reference.read(job["reference"])
    # An artefact that fixed its sizes has the example's alone.
    facts = loaded.manifest.facts if loaded.manifest else {}
    free = facts.get("dynamic", "declared") == "declared"
    probes = ["example", *([RESIZED] if free and RESIZED in reference.probes else [])]
    feeds = [loaded.feeds(reference.inputs(probe)) for probe in probes]
    return Tenant(runtime, loaded.session, feeds)


if __name__ == "__main__":
    measuring.serve(Tenants(), "switchyard.worker.sharing")
