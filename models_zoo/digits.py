"""A trained model, so that a wrong conversion costs accuracy that someone would miss."""

import functools

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
        # The statistics are learnt: they are the point, and must not be drawn anew.
        self.norm1.trained = self.norm2.trained = True

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


@functools.lru_cache(maxsize=None)
def trained_weights():
    """Six epochs of Adam: the same in every process, whatever was drawn before."""
    (images, labels), _ = dataset()
    images, labels = torch.from_numpy(images), torch.from_numpy(labels)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            torch.manual_seed(0)
            net = DigitsNet().train()
            optimiser = torch.optim.Adam(net.parameters(), lr=0.01)
            for _ in range(6):
                for batch in torch.randperm(len(images)).split(64):
                    optimiser.zero_grad()
                    loss = nn.functional.cross_entropy(net(images[batch]), labels[batch])
                    loss.backward()
                    optimiser.step()
    finally:
        torch.set_num_threads(threads)
    return net.state_dict()


def test_split():
    images, labels = dataset()[1]
    return {"image": images}, labels


@model(
    image=Tensor("batch", 1, 8, 8, range=(0, 1)),
    exercises=("conv2d", "batch_norm", "max_pool2d", "linear"),
    tier="smoke",
    classifier=True,
    needs=("scikit-learn",),
    task=Task(examples=test_split),
    precisions=("float16", "bfloat16", "float64"),
)
def digits():
    # BatchNorm's learnt statistics and the order in which 12 channels of 3 by 3 are
    # flattened both decide what the last layer reads.
    net = DigitsNet()
    net.load_state_dict(trained_weights())
    return net
