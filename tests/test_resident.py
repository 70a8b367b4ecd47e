"""What of a process's memory is the program's pages, and what is its own."""

from __future__ import annotations

import mmap
import os
import shutil
import subprocess
import sys

import pytest

from switchyard.worker.resident import memory_now, program_mib

SMAPS = """\
7f10-7f20 r--p 00000000 fe:00 11    /site-packages/a name.so
Rss:                2048 kB
Pss:                1024 kB
Anonymous:             0 kB
7f20-7f30 r-xp 00100000 fe:00 11    /site-packages/a name.so
Rss:                4096 kB
Anonymous:             0 kB
7f30-7f40 rw-p 00200000 fe:00 11    /site-packages/a name.so
Rss:                1024 kB
Anonymous:          1024 kB
7f40-7f50 r--s 00000000 fe:00 12    /models/weights.tflite
Rss:                8192 kB
Anonymous:             0 kB
7f50-7f60 rw-p 00000000 00:00 0
Rss:               16384 kB
Anonymous:         16384 kB
7f60-7f70 r-xp 00000000 00:00 0     [vdso]
Rss:                   4 kB
Anonymous:             0 kB
VmFlags: rd ex mr mw me de sd
"""


def test_a_program_files_pages_are_those_that_it_has_not_written_to():
    assert program_mib(SMAPS.splitlines(keepends=True)) == 6.0


def test_of_a_process_without_program_files_nothing_is_program():
    assert program_mib([]) == 0.0


def test_a_mapped_file_of_weights_is_the_models_own(tmp_path):
    weights = tmp_path / "weights"
    weights.write_bytes(os.urandom(1 << 20) * 32)
    before = memory_now()
    with weights.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as held:
        assert sum(held[:: mmap.PAGESIZE]) > 0
        after = memory_now()
    grew = {name: after[name] - before[name] for name in ("rss_mib", "program_mib")}
    assert grew["rss_mib"] >= 30 and grew["program_mib"] < 5
    assert 0 < after["program_mib"] < after["rss_mib"] <= after["peak_mib"]


LOADS = """
import ctypes, sys
from switchyard.worker.resident import memory_now
def data():
    now = memory_now()
    return now["rss_mib"] - now["program_mib"], now["program_mib"]
before = data()
library = ctypes.CDLL(sys.argv[1])
for line in open("/proc/self/maps"):
    if sys.argv[1] in line and " r-xp " in line:
        low, high = (int(end, 16) for end in line.split()[0].split("-"))
        for page in range(low, high, 4096):
            ctypes.c_char.from_address(page).value
after = data()
print(after[0] - before[0], after[1] - before[1])
"""


@pytest.fixture
def library(tmp_path):
    """A shared library with 16 MiB of code."""
    source = tmp_path / "large.c"
    source.write_text('__asm__(".text\\nlarge: .fill 16777216, 1, 0x90\\n");\n')
    built = tmp_path / "large.so"
    subprocess.run(["gcc", "-shared", "-o", built, source], check=True, timeout=60)
    return built


@pytest.mark.skipif(not shutil.which("gcc"), reason="there is no gcc to make a library with")
def test_a_librarys_code_that_was_touched_is_no_data(library):
    asked = [sys.executable, "-c", LOADS, str(library)]
    done = subprocess.run(asked, check=True, timeout=60, capture_output=True, text=True)
    data, program = map(float, done.stdout.split())
    assert program > 15 and data < 4
