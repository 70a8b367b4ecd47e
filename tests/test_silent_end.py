"""What the exit status of a process means that said nothing."""

import signal

import pytest

from switchyard.vocabulary import silent_end


@pytest.mark.parametrize("status, kind, said", [
    (-signal.SIGKILL, "host-oom", "killed from outside"),
    (-signal.SIGSEGV, "crash", "ended by SIGSEGV"),
    (-(signal.SIGRTMIN + 1), "crash", f"ended by signal {signal.SIGRTMIN + 1}"),
    (0, "no-result", "exit 0"),
    (3, "no-result", "exit 3"),
])  # fmt: skip
def test_each_has_a_kind_and_a_sentence(status, kind, said):
    found, message = silent_end(status)
    assert found == kind and said in message
