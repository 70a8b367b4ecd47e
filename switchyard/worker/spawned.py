"""One job in a fresh interpreter: what a forked child does, where none may be forked.

Given the job's frame in a file, and the result pipe and log that a forked child would have.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any, Dict

from switchyard import wire


def become(message: Dict[str, Any], result: int, log: int, server: int) -> None:
    """Replace this process, a child of ``server``, by a new interpreter that does ``message``'s
    job. Never returns."""
    try:
        frame = os.memfd_create("job")
        os.write(frame, wire.pack(message))
        os.lseek(frame, 0, os.SEEK_SET)
        for descriptor in (frame, result, log):
            os.set_inheritable(descriptor, True)
        given = map(str, (frame, result, log, server))
        os.execv(sys.executable, [sys.executable, "-m", "switchyard.worker.spawned", *given])
    finally:
        os._exit(127)


def main() -> None:
    parser = argparse.ArgumentParser(prog="switchyard.worker.spawned")
    for name in ("frame", "result", "log", "server"):
        parser.add_argument(name, type=int)
    given = parser.parse_args()
    message = wire.receive(given.frame)
    os.close(given.frame)
    for descriptor in (given.result, given.log):  # what the job starts has no use for them
        os.set_inheritable(descriptor, False)
    from switchyard.worker.server import import_in_order, run_child

    import_in_order()
    run_child(message, given.result, given.log, given.server)


if __name__ == "__main__":
    main()
