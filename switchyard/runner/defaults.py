"""What a run is given where nothing is said. No imports: also what only reads tables asks."""

DEFAULT_SET = "torch2.13-tf2.21"

#: Bounds of one stage of one cell: seconds of wall time, MiB of private memory.
STAGE_TIMEOUT_SECONDS = 300.0
MEMORY_LIMIT_MIB = 8192.0
