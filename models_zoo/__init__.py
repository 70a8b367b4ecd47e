"""The zoo: small PyTorch models, each an entry of parameters and one builder.

>>> from models_zoo import Tensor, model
>>> @model(image=Tensor("batch", 3, "height", "width"), sizes={"height": (32, 40)},
...        exercises=("conv2d", "batch_norm"))
... def tiny_resnet():
...     import torch
...     return torch.nn.Conv2d(3, 4, 3)

One module here is one family of models; files of your own go in with ``--zoo FILE``.
"""

from models_zoo.entry import Model, Task, Tensor, collect, model

__all__ = ["Model", "Task", "Tensor", "collect", "model"]
