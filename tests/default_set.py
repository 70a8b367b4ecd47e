"""Scripts in the default set's core environment: for what needs the real frameworks."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from switchyard.runner import environments, staging
from switchyard.runner.options import DEFAULT_SET


def said_by(code: str, folder: Path, *arguments: str) -> Any:
    """What a script says in JSON on its last line, run in ``folder`` on a worker's path."""
    environment = environments.provision(DEFAULT_SET, "core", lambda line: None)
    kept = {n: v for n, v in os.environ.items() if not n.startswith("PYTHON")}
    done = subprocess.run(
        [environment.python, "-c", code, *arguments],
        capture_output=True, text=True, cwd=folder, timeout=300,
        env={**kept, "PYTHONPATH": str(staging.stage(folder / "cache").path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
