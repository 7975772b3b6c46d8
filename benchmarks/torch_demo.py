#!/usr/bin/env python3
"""Train the recipe digits in PyTorch: the same network, images, augmentation and settings as
`train_imagenet.py` has, and back into files that MXNet loads.

    python benchmarks/torch_demo.py --out runs/torch

Training reads by `gluon_a2.data`, and computes in PyTorch alone. What came of it is exported as
`<out>/a2_resnet26` with `--pretrained`, and scored by MXNet, too.
"""
from pathlib import Path

import bench  # noqa: F401 (it makes gluon_a2 importable)
from bench import at_least

from gluon_a2 import data
from gluon_a2.cli import entry, parser


def accuracy(net, source, prepared):
    """Top-1 on all images, in PyTorch."""
    import torch
    net.eval()
    with torch.inference_mode(), data.Loader(source, prepared, workers=0) as loader:
        return sum(int((net(torch.from_numpy(batch.images)).argmax(1).numpy()
                        == batch.labels).sum()) for batch in loader.load(
                            data.batches(range(len(source)), 64), 0)) / len(source)


def train(net, recipe, source, transform, epochs, device='cpu'):
    """Train by a recipe's rate, momentum and decay; prints the loss of each epoch."""
    import torch

    from gluon_a2.train.schedule import Plateau, Schedule
    count = len(source) // recipe.batch_size
    schedule = Schedule(recipe, count, Plateau())
    update = torch.optim.SGD(net.parameters(), recipe.lr, recipe.momentum,
                             weight_decay=recipe.wd, nesterov=True)
    net.to(device).train()
    with data.Loader(source, transform, workers=0, seed=recipe.seed) as loader:
        for epoch in range(epochs):
            order = data.epoch_order(len(source), recipe.seed, epoch)[:count * recipe.batch_size]
            batches = loader.load(data.batches(order, recipe.batch_size), epoch)
            for step, batch in enumerate(batches, epoch * count):
                update.param_groups[0]['lr'] = schedule.lr(step)
                loss = torch.nn.functional.cross_entropy(
                    net(torch.from_numpy(batch.images).to(device)),
                    torch.from_numpy(batch.labels).to(device))
                update.zero_grad()
                loss.backward()
                update.step()
            print(f'epoch {epoch}: loss {loss.item():.4f}', flush=True)


@entry
def main(argv=None):
    """Train, save, export back, score on both sides."""
    flags = parser(__doc__)
    flags.add_argument('--out', type=Path, default=Path('runs/torch'), metavar='DIR')
    flags.add_argument('--epochs', type=at_least(1), help='by default those of the recipe')
    args = flags.parse_args(argv)
    import torch
    from torch_steps import a2_torch

    from gluon_a2.deploy import Classifier, write_bundle
    from gluon_a2.run.network import from_zoo, with_weights
    from gluon_a2.run.recipes import RECIPES
    from gluon_a2.train.datasets import eval_transform, train_transform
    recipe = RECIPES['digits']
    source, held_out = (data.open_source(data.digits_folder(), part) for part in ('train', 'val'))
    prepared = eval_transform(recipe)
    torch.manual_seed(recipe.seed)
    net = a2_torch.network(recipe.model, recipe.classes)
    train(net, recipe, source, train_transform(recipe), args.epochs or recipe.num_epochs)
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / f'{recipe.model}.safetensors'
    a2_torch.save(net, path, {})
    bundle = from_zoo(recipe.model, class_names=source.classes, input_size=recipe.input_size)
    bundle = with_weights(bundle, str(path))
    bundle.meta.update(prepared.to_meta())
    write_bundle(bundle, args.out / recipe.model)
    there, here = accuracy(net, held_out, prepared), Classifier(bundle).score(held_out)
    print(f'{100 * there:.2f} % top-1 in PyTorch, {100 * here.accuracy:.2f} % in MXNet, of '
          f'{here.images} images')


if __name__ == '__main__':
    main()
