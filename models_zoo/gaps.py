"""What converters have no operator for, or only half of one."""

import torch
from torch import nn

from models_zoo import Tensor, model


class Spectrum(nn.Module):
    def forward(self, signal):
        spectrum = torch.fft.rfft(signal)
        return spectrum.abs(), torch.view_as_real(spectrum)


class RotatePairs(nn.Module):
    """Rotary positions as published: pairs read as complex numbers and turned."""

    def forward(self, x):
        pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2))
        steps = torch.arange(x.shape[1], device=x.device).unsqueeze(1)
        angles = steps / 10.0 ** torch.arange(x.shape[-1] // 2, device=x.device)
        turned = pairs * torch.polar(torch.ones_like(angles), angles)
        return torch.view_as_real(turned).flatten(-2)


class SmoothStep(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        t = x.clamp(0, 1)
        return t * t * (3 - 2 * t)

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        t = x.clamp(0, 1)
        return gradient * 6 * t * (1 - t)


class FakeQuantize(torch.autograd.Function):
    """Rounding to 4 bits with a straight-through gradient, as in quantisation-aware training."""

    @staticmethod
    def forward(ctx, x):
        scale = max(x.abs().max().item() / 7, 1e-6)
        return torch.round(x / scale) * scale

    @staticmethod
    def backward(ctx, gradient):
        return gradient


class UseFunction(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function
        self.linear = nn.Linear(6, 5)

    def forward(self, x):
        return self.function.apply(self.linear(x))


class UseOperator(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 5)

    def forward(self, x):
        return torch.ops.switchyard.signed_root(self.linear(x))


class DeformableConv(nn.Module):
    """A 3 by 3 convolution whose taps are displaced by what another one says."""

    def __init__(self, channels, filters):
        super().__init__()
        self.offsets = nn.Conv2d(channels, 18, 3, padding=1)
        self.weight = nn.Parameter(torch.randn(filters, channels * 9) * 0.2)

    def forward(self, image):
        batch, channels, height, width = image.shape
        offsets = self.offsets(image).view(batch, 9, 2, height, width)
        tap = torch.arange(9, device=image.device).view(1, 9, 1, 1)
        row = torch.arange(height, device=image.device).view(1, 1, -1, 1)
        column = torch.arange(width, device=image.device).view(1, 1, 1, -1)
        y = row + tap // 3 - 1 + offsets[:, :, 0]
        x = column + tap % 3 - 1 + offsets[:, :, 1]
        columns = bilinear_gather(image, y, x)
        return torch.einsum("ok,bkhw->bohw", self.weight, columns.flatten(1, 2))


def bilinear_gather(image, y, x):
    """(batch, channels, taps, height, width) values at fractional places, zero outside."""
    batch, channels, height, width = image.shape
    flat = image.flatten(2)
    total = 0
    for near_y, near_x in ((0, 0), (0, 1), (1, 0), (1, 1)):
        row, column = y.floor() + near_y, x.floor() + near_x
        weight = (1 - (y - row).abs()) * (1 - (x - column).abs())
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        place = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
        index = place.long().flatten(1).unsqueeze(1).expand(-1, channels, -1)
        values = flat.gather(2, index).view(batch, channels, *y.shape[1:])
        total = total + values * (weight * inside).unsqueeze(1)
    return total


@model(signal=Tensor("batch", 16), exercises=("fft_rfft", "abs", "view_as_real"))
def fft_real():
    # Half a spectrum, complex on the way; its magnitude and its two parts come out.
    return Spectrum()


@model(
    x=Tensor("batch", "length", 6),
    sizes={"length": (5, 8)},
    exercises=("view_as_complex", "polar", "view_as_real"),
)
def rotary_complex():
    return RotatePairs()


@model(x=Tensor("batch", 6), exercises=("autograd_function", "clamp"))
def autograd_function():
    # Only the forward half is wanted; a tracer may stop at the class instead of looking
    # inside.
    return UseFunction(SmoothStep)


@model(x=Tensor("batch", 6), exercises=("autograd_function", "round"))
def fake_quantize():
    # The scale is read out of the tensor as a Python number: a tracer keeps the example's.
    return UseFunction(FakeQuantize)


@model(x=Tensor("batch", 6), exercises=("custom_operator",))
def custom_operator():
    # An operator of our own is opaque by design: refused loudly, one hopes.
    register_signed_root()
    return UseOperator()


def register_signed_root():
    """Once a process: torch refuses to register a name twice."""
    if hasattr(torch.ops.switchyard, "signed_root"):
        return
    if not hasattr(torch.library, "custom_op"):  # before torch 2.4
        library = torch.library.Library("switchyard", "DEF")
        library.define("signed_root(Tensor x) -> Tensor")
        library.impl("signed_root", signed_root, "CompositeExplicitAutograd")
        _libraries.append(library)
        return
    operator = torch.library.custom_op(
        "switchyard::signed_root", signed_root, mutates_args=(), schema="(Tensor x) -> Tensor"
    )
    operator.register_fake(torch.empty_like)


def signed_root(x):
    return x.sign() * x.abs().sqrt()


_libraries: list = []  # an operator lives only as long as its library


@model(
    image=Tensor("batch", 3, "height", "width"),
    sizes={"height": (6, 8), "width": (9, 7)},
    exercises=("gather", "floor", "einsum"),
)
def deformable_conv():
    # Tap offsets come in (y, x) pairs and height differs from width, so that exchanged
    # axes show.
    return DeformableConv(3, 5)


@model(input=Tensor("batch", 3, 7, 9), exercises=("conv2d", "spectral_norm"))
def spectral_norm():
    # In eval mode the stored singular vectors are used as they are; a conversion that
    # runs train mode's power iteration changes the weight.
    return nn.Sequential(
        nn.utils.parametrizations.spectral_norm(nn.Conv2d(3, 5, 3), n_power_iterations=2),
        nn.ReLU(),
        nn.utils.spectral_norm(nn.Conv2d(5, 4, 3)),
    )


@model(input=Tensor("batch", 3, 7, 9), exercises=("conv2d", "weight_norm"))
def weight_norm():
    # Magnitude by filter, direction over the rest: the norm's axes are easy to mistake.
    # torch 2.0 has only the older form, which recomputes the weight in a hook.
    normed = getattr(nn.utils.parametrizations, "weight_norm", nn.utils.weight_norm)
    net = nn.Sequential(normed(nn.Conv2d(3, 5, 3)), nn.Tanh(), normed(nn.Conv2d(5, 4, 2), dim=1))
    for name, magnitude in net.named_parameters():
        if name.endswith(("weight_g", "weight.original0")):
            # as made it is the direction's own norm, and who drops it answers rightly
            magnitude.data.mul_(torch.rand_like(magnitude) + 0.5)
    return net
