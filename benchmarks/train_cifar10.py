#!/usr/bin/env python3
r"""Train a network of the paper on CIFAR-10 in PyTorch, on a GPU where there is one.

    python benchmarks/train_cifar10.py --model a2_resnet26 --data-dir cifar/classes \
        --save-dir runs/cifar

`cifar10.py` makes the data. The network is that of `gluon_a2/pytorch/a2_torch.py`, and what came of
it is exported as MXNet's files to `<save-dir>/export/`. Every picture is enlarged by two, so that
the stem of stride 2 leaves 32×32 positions. Training pictures are cropped after a reflected margin
of 4 pixels, and flipped; the seed draws weights, order, crops and flips. On a GPU activations are
bfloat16 in training; validation is float32. Log and files are as `train_imagenet.py` has them.
"""
import json
import os
import sys
import time
from pathlib import Path

import bench  # noqa: F401 (it makes gluon_a2 importable)
import numpy as np
from bench import at_least
from cifar10 import CLASSES, SIDE, read

from gluon_a2.cli import entry, parser
from gluon_a2.errors import UserError
from gluon_a2.known import IMAGENET

MARGIN = 4  # pixels
ENLARGED = 2


class Pictures:
    """A part of CIFAR-10 on a device, from which batches are drawn."""

    def __init__(self, folder, part, device):
        import torch
        images, labels = read(folder, part)                           # N×3×32×32 uint8
        margin = ((0, 0), (0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN))
        self.padded = torch.from_numpy(np.pad(images, margin, 'reflect')).to(device)
        self.labels = torch.from_numpy(labels.astype(np.int64)).to(device)
        self.mean, self.std = (255 * torch.tensor(IMAGENET[name], device=device).view(3, 1, 1)
                               for name in ('mean', 'std'))

    def __len__(self):
        return len(self.labels)

    def cut(self, at, top, left, flip):
        """float32 B×3×64×64 and labels: pictures `at`, cut from their margin and flipped."""
        import torch
        side = torch.arange(SIDE, device=at.device)
        across = torch.where(flip[:, None], side.flip(0), side)       # B×32
        cut = self.padded[at[:, None, None], :, (top[:, None] + side)[:, :, None],
                          (left[:, None] + across)[:, None, :]]       # B×32×32×3
        pixels = (cut.permute(0, 3, 1, 2).float() - self.mean) / self.std
        return torch.nn.functional.interpolate(
            pixels, scale_factor=ENLARGED, mode='bilinear'), self.labels[at]

    def whole(self, at):
        """The same of validation pictures, uncut."""
        import torch
        centre = torch.full_like(at, MARGIN)
        return self.cut(at, centre, centre, torch.zeros_like(at, dtype=torch.bool))

    def epoch(self, batch_size, draw):
        """Batches of one epoch by the generator `draw`; a last one that is not full is left out."""
        import torch
        device = draw.device
        order = torch.randperm(len(self), generator=draw, device=device)
        for at in order.split(batch_size)[:len(self) // batch_size]:
            top, left = (torch.randint(2 * MARGIN + 1, at.shape, generator=draw, device=device)
                         for _ in range(2))
            flip = torch.randint(2, at.shape, generator=draw, device=device).bool()
            yield self.cut(at, top, left, flip)


def accuracy(net, pictures, batch_size=1000):
    """Top-1 in evaluation mode, in float32."""
    import torch
    net.eval()
    right = 0
    with torch.inference_mode():
        for at in torch.arange(len(pictures), device=pictures.labels.device).split(batch_size):
            images, labels = pictures.whole(at)
            right += (net(images).argmax(1) == labels).sum()
    return int(right) / len(pictures)


def train(net, train_set, val_set, args, log):
    """Train by one cycle of the rate: up to `lr` in the warm-up, then down by a cosine."""
    import torch
    device, steps = train_set.labels.device, len(train_set) // args.batch_size
    decayed, others = ([weight for weight in net.parameters() if (weight.dim() > 1) == is_decayed]
                       for is_decayed in (True, False))
    update = torch.optim.SGD([{'params': decayed, 'weight_decay': args.wd}, {'params': others}],
                             args.lr, momentum=0.9, nesterov=True)
    rate = torch.optim.lr_scheduler.OneCycleLR(
        update, args.lr, args.num_epochs * steps, cycle_momentum=False,
        pct_start=args.warmup_epochs / args.num_epochs)
    draw = torch.Generator(device).manual_seed(args.seed)
    for epoch in range(args.num_epochs):
        begun, right = time.monotonic(), torch.zeros((), dtype=torch.int64, device=device)
        net.train()
        for images, labels in train_set.epoch(args.batch_size, draw):
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == 'cuda'):
                scores = net(images.contiguous(memory_format=torch.channels_last))
            loss = torch.nn.functional.cross_entropy(scores.float(), labels)
            update.zero_grad()
            loss.backward()
            update.step()
            rate.step()
            right += (scores.argmax(1) == labels).sum()
        if not torch.isfinite(loss):
            raise UserError(f'the loss is not finite after epoch {epoch}: choose a smaller --lr')
        line = {'epoch': epoch, 'train_top1': int(right) / (steps * args.batch_size),
                'seconds': round(time.monotonic() - begun, 2),
                'val_top1': accuracy(net, val_set)}
        print(line, flush=True)
        log.write(json.dumps(line) + '\n')
        log.flush()


def export(net, args):
    """Write MXNet's files of the network, which say how its pictures were preprocessed."""
    from gluon_a2.data.preprocess import Preprocessing, of_bytes
    from gluon_a2.deploy.bundle import write_bundle
    from gluon_a2.pytorch import a2_torch
    from gluon_a2.run import network
    weights = args.save_dir / f'{args.model}.safetensors'
    a2_torch.save(net.cpu(), weights)
    bundle = network.from_zoo(args.model, weights, CLASSES, ENLARGED * SIDE)
    mean, scale = of_bytes(IMAGENET['mean'], [1 / std for std in IMAGENET['std']], 1)
    pixels = Preprocessing(ENLARGED * SIDE, 1.0, mean, scale, 'bilinear').to_meta()
    write_bundle(bundle._replace(meta={**bundle.meta, **pixels, 'training': {'data': 'CIFAR-10'}}),
                 args.save_dir / 'export' / args.model)


@entry
def main(argv=None):
    """Train and export."""
    flags = parser(__doc__)
    flags.add_argument('--model', required=True, help='a name of a2_torch.network')
    flags.add_argument('--identity', action='store_true', help='blocks start as identities')
    flags.add_argument('--data-dir', type=Path, required=True, help='what cifar10.py made')
    flags.add_argument('--save-dir', type=Path, required=True, help='folder of log and files')
    flags.add_argument('--overwrite', action='store_true', help='also where it exists')
    flags.add_argument('--batch-size', type=at_least(1), default=512, help='%(default)s')
    flags.add_argument('--num-epochs', type=at_least(1), default=20, help='%(default)s')
    flags.add_argument('--warmup-epochs', type=float, default=5, help='%(default)s')
    flags.add_argument('--lr', type=float, default=0.2, help='the highest rate (%(default)s)')
    flags.add_argument('--wd', type=float, default=5e-4, help='weight decay, but of BatchNorms and '
                       'biases (%(default)s)')
    flags.add_argument('--seed', type=at_least(0), default=0)
    args = flags.parse_args(argv)
    os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')  # without it sums differ by run
    import torch

    from gluon_a2.pytorch import a2_torch
    if args.save_dir.exists() and not args.overwrite:
        raise UserError(f'{args.save_dir} exists: choose another --save-dir, or say --overwrite')
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.allow_tf32 = False
    torch.manual_seed(args.seed)
    try:
        net = a2_torch.network(args.model, len(CLASSES), identity=args.identity)
    except ValueError as error:
        raise UserError(f'--model: {error}') from error
    net.to(device, memory_format=torch.channels_last)
    train_set, val_set = (Pictures(args.data_dir, part, device) for part in ('train', 'val'))
    if args.batch_size > len(train_set):
        raise UserError(f'--batch-size is {args.batch_size}: choose {len(train_set)} at most, '
                        'which is all pictures')
    steps = len(train_set) // args.batch_size
    warmup = args.warmup_epochs * steps
    if warmup and not 1 < warmup < args.num_epochs * steps:
        raise UserError(f'--warmup-epochs is {args.warmup_epochs:g}, {warmup:g} steps: choose 0, '
                        f'or more than one step and less than --num-epochs, {args.num_epochs}')
    args.save_dir.mkdir(parents=True, exist_ok=True)
    with open(args.save_dir / 'log.jsonl', 'w') as log:
        train(net, train_set, val_set, args, log)
    export(net, args)


if __name__ == '__main__':
    sys.exit(main())
