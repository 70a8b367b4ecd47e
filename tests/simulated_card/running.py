"""A version set's runs of ``bench/`` on the simulated card."""

from __future__ import annotations

import pathlib
import shutil

import pytest

import simulated_card
from switchyard.runner import environments, version_sets

PLANTED = simulated_card.HERE.parent / "planted"

#: MiB that a context takes of the card, by the card's own setting.
CONTEXT = 400


def installed(name: str) -> pathlib.Path:
    """Where the set's CUDA lock is installed. Skips where it is not."""
    home, _ = environments.home_of(version_sets.find(name), "core", "cuda")
    if not list(home.glob("lib/python*/site-packages")):
        pytest.skip(f"switchyard install {name} --flavour cuda")
    return home


class OnCard:
    """Each run on a card that is new, with the settings given. Skips where it cannot be built."""

    def __init__(self, bench, name: str, tmp_path_factory):
        home = installed(name)
        if shutil.which("gcc") is None:
            pytest.skip("no gcc, with which the card is built")
        (packages,) = home.glob("lib/python*/site-packages")
        self._bench, self._name, self._made = bench, name, tmp_path_factory
        self._variables = simulated_card.build(packages, tmp_path_factory.mktemp("card"))

    def __call__(self, *arguments, **settings):
        ledger = self._made.mktemp("ledger") / "ledger"
        return self._bench(
            "--gpu", "--version-set", self._name, "--zoo", PLANTED / "products.py",
            "--hop", PLANTED / "products_hop.py", *arguments, files=["bench/"],
            **{**self._variables, "SIMULATED_CARD_LEDGER": str(ledger), **settings},
        )  # fmt: skip
