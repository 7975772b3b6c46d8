"""A training job of seconds: 40 + 13 pictures of digits, 16×16, through the whole pipeline."""
import dataclasses

import numpy as np

from gluon_a2.run.options import Options
from gluon_a2.run.recipes import RECIPES
from gluon_a2.train.loop import train

# Everything that draws at random is on, and batches divide nothing.
RECIPE = dataclasses.replace(RECIPES['digits'], model='a2_tiny', input_size=16, batch_size=7,
                             accumulate=2, num_epochs=2, dropout=0.3, mixup=True,
                             label_smoothing=0.1, mirror=True, hue=5, saturation=5, lightness=5,
                             warmup_epochs=0.5, lr=0.02)


def run(folder, data_dir, recipe=RECIPE, **options):
    """Train; (run folder, validation sums)."""
    return train(recipe, Options(save_dir=str(folder), data_dir=data_dir and str(data_dir),
                                 log_interval=1,
                                 **{'num_data_workers': 0, 'save_steps': 1, **options}))


def final_tensors(folder):
    """{name: bytes} of everything in the last checkpoint."""
    from gluon_a2.run import checkpoint
    found = checkpoint.find(folder / 'checkpoints', 'last')
    return {name: array.tobytes() for name, array in found.tensors.items()}, found.state


def accuracy_of(labels, scores):
    """Share of rows whose highest score is the label's."""
    return float(np.mean(np.argmax(scores, axis=1) == labels))
