"""What nobuco stands on, made ready by importing this module, and not nobuco itself: as that is
imported it replaces torch's functions and ``nn.Module.__new__``, so a hop imports it once its
model is built.

nobuco 0.17 is written for Keras 2 under the name ``keras``, which is Keras 3 since TensorFlow 2.16;
then Keras 2 is ``tf_keras``. It imports torchvision, whose own operators are compiled against one
build of torch: beside another it dies at import over two that it describes to torch. No model of
the zoo uses them, so they are declared and left without a kernel.

Raises ModuleNotFoundError where nobuco or Keras 2 is missing.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.metadata
import importlib.util
import os
import sys
from typing import Any, Optional

_OPERATORS = ("nms", "qnms")
_SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


class _Keras2(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds ``keras`` and all below it in ``tf_keras``."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Optional[Any]:
        if fullname == "keras" or fullname.startswith("keras."):
            return importlib.util.spec_from_loader(fullname, self)
        return None

    def create_module(self, spec: Any) -> Any:
        return importlib.import_module(f"tf_{spec.name}")

    def exec_module(self, module: Any) -> None:
        """It has been executed under its own name."""


def keras_is_2() -> None:
    """Let ``import keras`` be Keras 2 from here on. Raises RuntimeError where it is too late."""
    if importlib.metadata.version("keras").startswith("2."):
        return
    if "keras" in sys.modules and not sys.modules["keras"].__name__.startswith("tf_keras"):
        raise RuntimeError("Keras 3 has been imported already: nobuco needs a process of its own")
    os.environ["TF_USE_LEGACY_KERAS"] = "1"  # for tf.keras
    importlib.import_module("tf_keras")
    if not any(isinstance(finder, _Keras2) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Keras2())


#: Kept, since what a library has declared goes with it.
_declared: Any = None


def torchvision_imports() -> None:
    """Import torchvision, with its operators declared where its own library does not load."""
    global _declared
    try:
        import torchvision  # noqa: F401

        return
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
    import torch

    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    _declared = torch.library.Library("torchvision", "DEF")
    for operator in _OPERATORS:
        _declared.define(operator + _SIGNATURE)
    import torchvision  # noqa: F401, F811


def _ready() -> None:
    if importlib.util.find_spec("nobuco") is None:
        raise ModuleNotFoundError("No module named 'nobuco'", name="nobuco")
    # In this order: in the oldest set torch's import ends the process once TensorFlow is there, and
    # TensorFlow brings in Keras 3 unless told before.
    import torch  # noqa: F401

    keras_is_2()
    import tensorflow  # noqa: F401

    torchvision_imports()


_ready()
