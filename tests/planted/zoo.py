"""Small honest models to plant faults in, and two whose reference is unusable."""

import torch
from torch import nn

from models_zoo import Tensor, model
from models_zoo.twins import twin
from models_zoo.twins.weights import conv2d, linear

IMAGE = Tensor("batch", 3, 8, 6)


class ConvBn(nn.Module):
    """Two convolutions with BatchNorm, so that a fault in one is mixed by what follows."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)
        self.conv2, self.bn2 = nn.Conv2d(8, 5, 3), nn.BatchNorm2d(5)
        self.head = nn.Linear(5, 4)
        for bn in (self.bn1, self.bn2):
            # Not the initial ones, so that they stay. Both above zero: swapped, a mean below would
            # be a NaN, which anybody sees.
            nn.init.uniform_(bn.running_mean, 0.2, 0.4)
            nn.init.uniform_(bn.running_var, 0.5, 2.0)
            nn.init.uniform_(bn.weight, 0.5, 1.5)
            nn.init.uniform_(bn.bias, -0.5, 0.5)

    def forward(self, image):
        x = torch.relu(self.bn1(self.conv1(image)))
        x = torch.relu(self.bn2(self.conv2(x)))
        return self.head(x.mean(dim=(2, 3)))


class Flattened(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.flatten = nn.Conv2d(3, 4, 3), nn.Flatten()
        self.linear, self.head = nn.Linear(4 * 6 * 4, 16), nn.Linear(16, 5)

    def forward(self, image):
        return self.head(torch.relu(self.linear(self.flatten(torch.relu(self.conv(image))))))


class TwoOutputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(6, 5), nn.Linear(6, 5)

    def forward(self, x):
        return self.first(x), torch.tanh(self.second(x))


class Branch(nn.Module):
    def __init__(self):
        super().__init__()
        self.calm, self.wild = nn.Linear(6, 4), nn.Linear(6, 4)

    def forward(self, x):
        if bool(x.mean() > 3):
            y = self.wild(x) * 10
        else:
            y = self.calm(x)
        return y


class Repeated(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 6)

    def forward(self, x, times):
        # type: (torch.Tensor, torch.Tensor) -> torch.Tensor
        assert times.dim() == 0, "a scalar arrives as a scalar"
        for _ in range(int(times)):
            x = torch.tanh(self.linear(x)) * 2
        return x


def mlp_of(dtype):
    return nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 4)).to(dtype)


class Masked(nn.Module):
    def forward(self, x, mask):
        return 2 * x - mask


class MaskedByName(nn.Module):
    def forward(self, x, *, mask):
        return 2 * x - mask


@model(image=IMAGE)
def conv_bn():
    return ConvBn()


@model(image=IMAGE)
def flattened():
    return Flattened()


@model(x=Tensor("batch", 6))
def two_outputs():
    return TwoOutputs()


# Not in the order of forward's arguments, and of one shape, so that only values tell them apart.
@model(mask=Tensor("batch", 8), x=Tensor("batch", 8), tags=("mode",))
def masked():
    return Masked()


# A tracer gives every argument by its place, and forward takes this one by its name alone.
@model(x=Tensor("batch", 8), mask=Tensor("batch", 8), tags=("mode",))
def masked_by_name():
    return MaskedByName()


@model(x=Tensor("batch", 6), probes={"other_branch": {"x": Tensor("batch", 6, range=(4, 6))}})
def branch():
    return Branch()


@model(
    x=Tensor("batch", 6),
    times=Tensor(dtype="int64", range=(2, 3)),
    probes={"longer": {"times": 7}},
)
def loop():
    return Repeated()


@model(input=Tensor("batch", 6))
def mlp():
    return mlp_of(torch.float32)


# Neither a clip at 6 nor the eps of its norm shows at the size of what is drawn.
@model(input=Tensor("batch", 6))
def clipped():
    return nn.Sequential(nn.ReLU6(), nn.Linear(6, 4))


@model(input=Tensor("batch", 12))
def normed():
    return nn.Sequential(nn.LayerNorm(12, eps=1e-5), nn.Linear(12, 4))


@model(input=Tensor("batch", 6, dtype="float64"), precision="float64")
def mlp64():
    return mlp_of(torch.float64)


class NotANumber(nn.Module):
    def forward(self, x):
        return torch.log(x - x.abs() - 1)


class Restless(nn.Module):
    def forward(self, x):
        return x + torch.rand_like(x)


@model(x=Tensor("batch", 6))
def nan_reference():
    return NotANumber()


@model(x=Tensor("batch", 6))
def restless_reference():
    return Restless()


# Faults behind what the harness undoes are planted in these (undone.py), two with their twins.


class LastStep(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(6, 4, batch_first=True)

    def forward(self, sequence):
        return self.lstm(sequence)[0][:, -1]


@model(sequence=Tensor("batch", "length", 6), sizes={"length": (5, 8)})
def last_step():
    return LastStep()


# Of height and width alike, an exchange of both shows in values alone.
@model(input=Tensor("batch", 3, 8, 8))
def square_image():
    return nn.Conv2d(3, 5, 3, bias=False)


@model(input=IMAGE)
def oblong_image():
    return nn.Conv2d(3, 5, 3, bias=False)


def convolved(height, width):
    import keras
    from keras import layers

    image = keras.Input((height, width, 3), name="input")
    x = layers.Conv2D(5, 3, use_bias=False, name="conv")(image)
    return keras.Model(image, x), [conv2d("", "conv")]


@twin("square_image", channels_last=("input", "output"))
def square_image_of_keras():
    return convolved(8, 8)


@twin("oblong_image", channels_last=("input", "output"))
def oblong_image_of_keras():
    return convolved(8, 6)


@model(input=Tensor("batch", 6))
def square_kernel():
    return nn.Linear(6, 6)


@twin("square_kernel")
def square_kernel_of_keras():
    import keras
    from keras import layers

    x = keras.Input((6,), name="input")
    return keras.Model(x, layers.Dense(6, name="dense")(x)), [linear("", "dense")]
