#!/usr/bin/env python3
"""Train the demo's networks in PyTorch from many starts: which settings learn the question?

    python benchmarks/demo_starts.py --starts 24
    python benchmarks/demo_starts.py --starts 12 model=resnet26
    python benchmarks/demo_starts.py --starts 12 m=32 last_gamma=0 lr=0.02 steps=608 fall=500

A start is other weights and another order of the pictures. Settings that are not named are the
demo's; m=0 and n=0 are a quarter of the channels. The networks are those of
`a2_torch.py`, on the GPU where there is one. `benchmarks/demo_starts.csv` has all that was tried.
"""
import json
import math
from pathlib import Path

from bench import at_least, keep

from gluon_a2.cli import entry, parser
from gluon_a2.errors import UserError

DEMO = {'model': 'a2_resnet26', 'blocks': 'conv2:2', 'm': 128, 'n': 32, 'softmax': 'both',
        'identity': 0, 'last_gamma': 1, 'input_size': 32, 'square': 6, 'pictures': 7200,
        'batch': 16, 'steps': 450, 'warmup': 45, 'lr': 0.01, 'fall': 380, 'momentum': 0.9,
        'wd': 1e-4, 'smoothing': 0.0, 'clip': 0.0}
LEARNED = 0.8  # of the last 20 steps' pictures right, which the plateau does not reach


def pictures(setting):
    """{part: (uint8 N×side×side×3, int64 N)} of the question far."""
    import numpy as np

    from gluon_a2.data import Preprocessing, cued_digits
    cued_digits.SQUARE = setting['square']
    side, found = setting['input_size'], {}
    for part, count in (('train', setting['pictures']), ('val', 900)):
        drawn = list(cued_digits.embedded_pictures(part, count))
        found[part] = (np.stack([Preprocessing(side).resize(picture, side, side)
                                 for picture, *_ in drawn]), np.array([far for _, far, _ in drawn]))
    return found


def network(setting):
    """A new network of PyTorch by a setting."""
    import torch

    from gluon_a2.pytorch import a2_torch
    from gluon_a2.run.recipes import parse_blocks
    options = {name: setting[name] or None for name in ('m', 'n', 'softmax', 'identity')}
    net = a2_torch.network(setting['model'], classes=3, **(
        {'blocks': parse_blocks(setting['blocks']), **options}
        if setting['model'].startswith('a2') else {}))
    if setting['last_gamma']:
        for name, weight in net.named_parameters():
            if name.endswith('.conv3.conv.weight'):
                torch.nn.init.zeros_(weight)
    return net


def rate(setting, step):
    """The learning rate of a step: warm-up, then a tenth from step `fall` on; a cosine if that is
    0."""
    if step < setting['warmup']:
        return setting['lr'] * step / setting['warmup']
    if setting['fall']:
        return setting['lr'] * (0.1 if step >= setting['fall'] else 1)
    done = (step - setting['warmup']) / (setting['steps'] - setting['warmup'])
    return setting['lr'] * (1 + math.cos(math.pi * done)) / 2


def train(setting, seed, data, device):
    """(share of the held-out pictures that is right, step at which most were, or -1)."""
    import numpy as np
    import torch

    from gluon_a2.data.preprocess import MEAN, SCALE
    torch.manual_seed(seed)
    net = network(setting).to(device).train()
    mean = torch.tensor(MEAN, device=device, dtype=torch.float32).view(1, 3, 1, 1)
    (images, labels), (held, answers) = (
        [torch.from_numpy(array).to(device) for array in data[part]] for part in ('train', 'val'))

    def say(chosen):
        return net((chosen.permute(0, 3, 1, 2).float() - mean) * SCALE)

    count, rng = setting['steps'] * setting['batch'], np.random.default_rng(seed)
    order = np.concatenate([rng.permutation(len(images))
                            for _ in range(-(-count // len(images)))])[:count]
    update = torch.optim.SGD(net.parameters(), 0.0, setting['momentum'],
                             weight_decay=setting['wd'], nesterov=True)
    right = []
    for step, numbers in enumerate(torch.from_numpy(order).to(device).split(setting['batch'])):
        update.param_groups[0]['lr'] = rate(setting, step)
        logits = say(images[numbers])
        loss = torch.nn.functional.cross_entropy(logits, labels[numbers],
                                                 label_smoothing=setting['smoothing'])
        update.zero_grad()
        loss.backward()
        if setting['clip']:
            torch.nn.utils.clip_grad_norm_(net.parameters(), setting['clip'])
        update.step()
        right.append((logits.argmax(1) == labels[numbers]).float().mean())
    recent = np.convolve(torch.stack(right).cpu().numpy(), np.ones(20) / 20, 'valid')
    learned = np.flatnonzero(recent > LEARNED)
    net.eval()
    with torch.inference_mode():
        said = torch.cat([say(part).argmax(1) for part in held.split(300)])
    return (float((said == answers).float().mean()), int(learned[0]) + 20 if len(learned) else -1)


def parse(words):
    """The demo's settings with those of ['lr=0.02', …] in their place."""
    setting = dict(DEMO)
    for word in words:
        name, equals, text = word.partition('=')
        if not equals or name not in DEMO:
            raise UserError(f'a setting is one of {", ".join(DEMO)} with = and its value, not '
                            f'{word!r}')
        usual = DEMO[name]
        setting[name] = text if isinstance(usual, str) else type(usual)(json.loads(text))
    return setting


@entry
def main(argv=None):
    """Train from each start, and keep what came of it."""
    flags = parser(__doc__)
    flags.add_argument('settings', nargs='*', metavar='NAME=VALUE', help="in place of the demo's")
    flags.add_argument('--starts', type=at_least(1), default=12, help='how many')
    flags.add_argument('--csv', type=Path, default=Path('demo_starts.csv'), help='file to write')
    args = flags.parse_args(argv)
    import torch
    setting = parse(args.settings)
    data, device = pictures(setting), 'cuda' if torch.cuda.is_available() else 'cpu'
    rows = []
    for seed in range(args.starts):
        top1, learned = train(setting, seed, data, device)
        print(f'start {seed}: {100 * top1:.1f} %', flush=True)
        rows.append({**setting, 'start': seed, 'top1': f'{top1:.3f}', 'learned_at': learned})
    keep(rows, args.csv, show=False)


if __name__ == '__main__':
    main()
