"""``pynvml`` for a whole run: one card, all quiet, unless ``FAKE_FOREIGN`` names a process."""

import os

from fake_nvml import Cards

_CARDS = Cards(processes=[(int(pid), 2**29) for pid in os.environ.get("FAKE_FOREIGN", "").split()])


def __getattr__(name):
    return getattr(_CARDS, name)
