"""A trained model, so that a wrong conversion costs accuracy that someone would miss."""

import functools
import itertools

import torch
from torch import nn

from models_zoo import Task, Tensor, model

TEST_EVERY = 4


class DigitsNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.conv2, self.norm2 = nn.Conv2d(8, 12, 3), nn.BatchNorm2d(12)
        self.pool = nn.MaxPool2d(2)
        self.linear = nn.Linear(108, 10)

    def forward(self, image):
        x = torch.relu(self.norm1(self.conv1(image)))
        x = self.pool(torch.relu(self.norm2(self.conv2(x))))
        return self.linear(x.flatten(1))


@functools.lru_cache(maxsize=None)
def dataset():
    """(images, labels) to train with and (images, labels) to test with, as arrays."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    images = (images / 16).astype("float32").reshape(-1, 1, 8, 8)
    test = torch.arange(len(images)).numpy() % TEST_EVERY == 0
    return (images[~test], labels[~test]), (images[test], labels[test])


def adam(parameters, rate):
    """A step of Adam, as a function. torch's own imports torch._dynamo when it is made, which
    takes each process three times as long as all of this training."""
    moments = [(torch.zeros_like(p), torch.zeros_like(p)) for p in parameters]
    counted = itertools.count(1)

    @torch.no_grad()
    def step():
        count = next(counted)
        for parameter, (mean, square) in zip(parameters, moments):
            gradient = parameter.grad
            mean.mul_(0.9).add_(gradient, alpha=0.1)
            square.mul_(0.999).addcmul_(gradient, gradient, value=0.001)
            spread = (square / (1 - 0.999**count)).sqrt_().add_(1e-8)
            parameter.addcdiv_(mean, spread, value=-rate / (1 - 0.9**count))

    return step


@functools.lru_cache(maxsize=None)
def trained_weights(scale=1.0):
    """Six epochs of Adam on images times ``scale``, and one for the statistics alone: the same in
    every process, whatever was drawn before."""
    (images, labels), _ = dataset()
    images, labels = torch.from_numpy(images) * scale, torch.from_numpy(labels)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            torch.manual_seed(0)
            net = DigitsNet().train()
            step = adam(list(net.parameters()), rate=0.01)
            for _ in range(6):
                for batch in torch.randperm(len(images)).split(64):
                    net.zero_grad()
                    loss = nn.functional.cross_entropy(net(images[batch]), labels[batch])
                    loss.backward()
                    step()
            # The statistics lag behind the weights; on faint images by many deviations.
            with torch.no_grad():
                for batch in torch.randperm(len(images)).split(64):
                    net(images[batch])
    finally:
        torch.set_num_threads(threads)
    return net.state_dict()


def test_split(scale=1.0):
    images, labels = dataset()[1]
    return {"image": images * images.dtype.type(scale)}, labels


def scaled(scale):
    """What the digits of every scale have in common, as arguments of ``model``."""
    return dict(
        image=Tensor("batch", 1, 8, 8, range=(0, scale)),
        exercises=("conv2d", "batch_norm", "max_pool2d", "linear"),
        classifier=True,
        needs=("scikit-learn",),
        tags=("mode",),
        trained=True,
        task=Task(examples=functools.partial(test_split, scale)),
    )


def trained(scale=1.0):
    net = DigitsNet()
    net.load_state_dict(trained_weights(scale))
    return net


# BatchNorm's learnt statistics and the order in which 12 channels of 3 by 3 are flattened both
# decide what the last layer reads.
@model(tier="smoke", precisions=("float16", "bfloat16", "float64"), **scaled(1.0))
def digits():
    return trained()


# The same net on fainter images: the first BatchNorm's variances come near epsilon, and an
# epsilon of another framework's default is no longer lost in them.
@model(**scaled(0.1))
def digits_tenth():
    return trained(0.1)


@model(**scaled(0.03))
def digits_thirtieth():
    return trained(0.03)
