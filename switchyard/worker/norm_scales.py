"""The statistics of a model's norms, put on the scale of what reaches them.

Statistics drawn without regard to that let each layer of a deep net pass on less of its input than
the one before, in front of biases that stay: an answer then hangs on its input by 1e-4 of itself or
less, and what a converter breaks in the first layers is lost before the last. In a trained net
every norm sees about the mean and the variance that it has learnt.
"""

from __future__ import annotations

import functools
from typing import Any, Callable, Sequence


def scale(layers: Sequence[Any], forward: Callable[[], Any]) -> None:
    """Make the drawn statistics of ``layers`` relative to what each is given in one ``forward``:
    means in standard deviations from the channel's own mean, variances as shares of the layer's
    (the mean of its channels', since two images leave a channel of one place hardly any).

    ``forward`` calls the model on its example once, in the mode in which it is asked. Each layer
    is scaled before it answers, so that those behind it see what they will see. Where the model
    cannot be called, which whoever asks it will hear of, they stay as drawn.
    """
    import torch

    handles = [
        layer.register_forward_pre_hook(functools.partial(_scale, set())) for layer in layers
    ]
    try:
        with torch.no_grad():
            forward()
    except Exception:
        pass
    finally:
        for handle in handles:
            handle.remove()


def _scale(done: set, layer: Any, given: tuple) -> None:
    """Once a layer, at its first call: ``given`` is (batch, channels, ...)."""
    import torch

    if done or not given or not torch.is_tensor(given[0]) or not given[0].is_floating_point():
        return
    channels = layer.running_mean.numel()
    if given[0].dim() < 2 or given[0].shape[1] != channels:
        return
    done.add(True)
    values = given[0].detach().double().transpose(0, 1).reshape(channels, -1)
    variance = float(values.var(dim=1, unbiased=False).mean())
    if not 0 < variance < float("inf"):
        return
    mean, share = layer.running_mean, layer.running_var
    mean.copy_(values.mean(dim=1) + mean.double().reshape(-1) * variance**0.5)
    share.copy_(share.double() * variance)
