"""Mistakes with a model's mode at export, made on purpose, so that what each costs is a figure.

All of them start from a module that should have been put into eval mode and was not, or ask the
exporter for training. Only models tagged ``mode`` are sent through them.
https://docs.pytorch.org/docs/stable/onnx_torchscript.html
"""

from __future__ import annotations

import dataclasses
from typing import Any, Dict, Mapping

from switchyard.hops import Conversion, Refusal
from switchyard.hops.torch_onnx import Dynamo, TorchScript, exporter_takes
from switchyard.hops.torch_program import argument_order
from switchyard.manifest import Manifest


def is_for_mode(model: Mapping[str, Any]) -> bool:
    """Whether a model's description says that it goes through the mistakes."""
    return "mode" in model.get("tags", ())


class DynamoLeftInTrain(Dynamo):
    """``model.eval()`` forgotten, and exported as ever."""

    name = "dynamo_left_in_train"
    tier = "quick"

    def takes(self, model: Mapping[str, Any]) -> bool:
        return is_for_mode(model)

    def prepare(self, module: Any) -> None:
        module.train()


class TorchScriptMistake(TorchScript):
    """``mode``: of ``torch.onnx.TrainingMode``, or empty for the exporter's own; ``train``:
    whether the module is in train mode when the exporter gets it."""

    def __init__(self, name: str, mode: str = "", train: bool = True):
        super().__init__()
        self.name, self.tier = name, "quick"
        self.mode, self.train = mode, train

    @property
    def options(self) -> Dict[str, Any]:
        return {**super().options, "mode": self.mode, "train": self.train}

    def takes(self, model: Mapping[str, Any]) -> bool:
        return is_for_mode(model)

    def prepare(self, module: Any) -> None:
        module.train(self.train)

    def asked(self, torch: Any) -> Dict[str, Any]:
        """Raises Refusal (``removed-api``) where this torch's exporter takes no mode."""
        if not self.mode:
            return {}
        modes = getattr(torch.onnx, "TrainingMode", None)
        if not hasattr(modes, self.mode) or not exporter_takes("training"):
            said = f"torch {torch.__version__} exports in no TrainingMode.{self.mode}"
            raise Refusal("removed-api", said)
        return {"training": getattr(modes, self.mode)}


class TracedInTrain(TorchScriptMistake):
    """``torch.jit.trace`` of a module in train mode, and the trace exported: the mode is a
    constant in it, which no later ``eval()`` reaches."""

    def convert(self, job: Conversion) -> Manifest:
        import warnings

        import torch

        from switchyard.worker.building import by_place

        args, kwargs = job.model.arguments(job.example)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = by_place(job.model.module, len(args), list(kwargs))
            traced = torch.jit.trace(module, (*args, *kwargs.values()))
        # A trace names none of its arguments: they stand in the order of the module's.
        order = argument_order(job.model.module.forward, list(job.example))
        declared = job.model.entry.inputs
        entry = dataclasses.replace(job.model.entry, inputs={n: declared[n] for n in order})
        model = dataclasses.replace(job.model, module=traced, entry=entry)
        example = {name: job.example[name] for name in order}
        return super().convert(dataclasses.replace(job, model=model, example=example))


HOPS = (
    DynamoLeftInTrain(),
    TorchScriptMistake("torchscript_left_in_train"),
    TorchScriptMistake("torchscript_preserve_train", mode="PRESERVE"),
    TorchScriptMistake("torchscript_training", mode="TRAINING", train=False),
    TracedInTrain("traced_in_train"),
)
