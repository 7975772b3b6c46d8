"""What is timed of the PyTorch form, `a2_torch`: a step of training. Needs PyTorch and nothing of
ours."""
import sys
from pathlib import Path

import torch
from torch import nn

sys.path.append(str(Path(__file__).resolve().parents[1] / 'gluon_a2' / 'pytorch'))

import a2_torch  # noqa: E402, F401


def training(net, inputs, rate, momentum, bf16=False):
    """A function that takes one step: forward, backward, update with Nesterov's momentum."""
    update = torch.optim.SGD(net.parameters(), rate, momentum, nesterov=True)
    labels, criterion = torch.zeros(len(inputs), dtype=torch.long), nn.CrossEntropyLoss()

    def step():
        update.zero_grad()
        with torch.autocast('cpu', torch.bfloat16, enabled=bf16):
            loss = criterion(net(inputs), labels)
        loss.backward()
        update.step()
    return step
