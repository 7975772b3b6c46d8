"""A video training job of seconds: 12 + 6 real video files of digits in motion, clips of
4×16×16."""
import dataclasses

import numpy as np

from gluon_a2.data import moving_digits
from gluon_a2.run.options import Options
from gluon_a2.run.recipes import RECIPES
from gluon_a2.train.loop import train

# Everything that draws at random is on, and batches divide nothing.
RECIPE = dataclasses.replace(RECIPES['moving_digits'], model='a2_tiny_3d', frames=4,
                             frame_stride=3, views=2, input_size=16, batch_size=2, accumulate=2,
                             num_epochs=2, dropout=0.3, mirror=True, hue=5, saturation=5,
                             lightness=5, max_scale=1.3, min_aspect=0.8, max_aspect=1.25,
                             warmup_epochs=0.5, lr=0.02)
# The same as flags on top of moving_digits.
FLAGS = ['--recipe', 'moving_digits', '--model', 'a2_tiny_3d', '--frames', '4', '--frame-stride',
         '3', '--views', '2', '--input-size', '16', '--batch-size', '2', '--accumulate', '2',
         '--num-epochs', '2', '--dropout', '0.3', '--mirror', '--hue', '5', '--saturation', '5',
         '--lightness', '5', '--max-scale', '1.3', '--min-aspect', '0.8', '--max-aspect', '1.25',
         '--warmup-epochs', '0.5', '--lr', '0.02', '--log-interval', '1', '--save-steps', '1']


def write_data(folder, train_videos=11, val_videos=7):
    """Kinetics folders train/<class>/ and val/<class>/ of H.264 and MPEG-4 files."""
    images, _ = moving_digits.load_digits()
    for number, (part, count) in enumerate((('train', train_videos), ('val', val_videos))):
        rng = np.random.default_rng(number)
        for i in range(count):
            motion = moving_digits.CLASSES[i % 6]
            ending, codec, options = moving_digits.FORMATS[i // 6 % 2]
            path = folder / part / motion / f'{i:03d}{ending}'
            path.parent.mkdir(parents=True, exist_ok=True)
            moving_digits.write_video(str(path), moving_digits.frames_of(images[i], motion, rng),
                                      codec, options)
    return folder


def run(folder, data_dir, recipe=RECIPE, **options):
    """Train; (run folder, validation sums)."""
    return train(recipe, Options(save_dir=str(folder), data_dir=data_dir and str(data_dir),
                                 log_interval=1,
                                 **{'num_data_workers': 0, 'save_steps': 1, **options}))
