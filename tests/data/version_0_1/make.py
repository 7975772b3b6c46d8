"""Makes files.tar.xz, with the version before the redesign: see README.md."""
import dataclasses
import json
import os
import shutil
import tarfile
from pathlib import Path

import numpy as np
import tiny
import tiny_video

from gluon_a2 import data
from gluon_a2.deploy.classify import Classifier
from gluon_a2.deploy.export import Wanted, export
from gluon_a2.models import table
from gluon_a2.train import loop, network


class Cut(BaseException):
    """Ends a run as a lost machine does."""


def add_tiny_rows():
    """The zoo's tiny networks: a2_tiny, of images, and a2_tiny_3d, of video."""
    stage = table.Stage(2, 1, (3,), (1, 2, 2))
    row = table.Backbone(table.Stem((3, 5, 5), 4, (1, 2, 2)), stage._replace(stride=(2, 1, 1)),
                         stage, stage._replace(width=4, units=2), stage._replace(width=4), frames=4,
                         size=16, blocks={'conv3': (1,), 'conv4': (1, 2)}, ratio=2)
    for dims, ending in ((2, ''), (3, '_3d')):
        name = f'a2_tiny{ending}'
        table.BACKBONES['tiny'] = row
        table.ZOO[name] = table.Row(name, 'tiny', dims, 'a2', row.blocks)


def cut_at(step, run, *args):
    """Train until before `step`."""
    original = loop.Loop.train_step

    def train_step(self, batches, lr):
        if self.at.step == step:
            self._writer.wait()
            raise Cut
        return original(self, batches, lr)

    loop.Loop.train_step = train_step
    try:
        run(*args)
    except Cut:
        pass
    finally:
        loop.Loop.train_step = original


def tidy(folder):
    """Remove what nobody reads of a run."""
    for path in folder.iterdir():
        if path.name.startswith(('events', 'lock', 'train.log', 'clips.png', 'curve.png')):
            path.unlink()


def score(prefix, folder, video=False, engine=None):
    """What the old version says of exported files."""
    net = Classifier(prefix, engine=engine)
    source = data.open_video_source(folder, 'val') if video else data.open_source(folder, 'val')
    scores = net.score(source, 5, 0)
    found = {name: getattr(scores, name) for name in ('top1', 'top5')}
    if not video:
        pixels = np.stack([net.preprocess(source.read(i)) for i in range(3)])
        found['logits'] = net.logits(pixels).tolist()
    return found


def main(images='data/images', videos='data/videos'):
    """Make all of them in the working directory."""
    add_tiny_rows()
    Path(images).mkdir(parents=True)
    tiny.write_data(Path(images))
    tiny_video.write_data(Path(videos), 6, 4)
    recipe = dataclasses.replace(tiny.RECIPE, model='a2_tiny', dropout=0.1)
    clips = dataclasses.replace(tiny_video.RECIPE, model='a2_tiny_3d', dropout=0.1, batch_size=1)
    expected = {}
    for kind, make, folder, row in (('image', tiny, images, recipe),
                                    ('video', tiny_video, videos, clips)):
        whole, part = Path(f'{kind}_whole'), Path(f'{kind}_run')
        make.run(whole, folder, row)
        cut_at(3, make.run, part, folder, row)
        prefix = whole / 'export' / row.model
        shutil.copytree(whole / 'export', f'{kind}_export')
        np.savez(f'{kind}_final.npz', **{
            name: np.frombuffer(value, np.float32)
            for name, value in tiny.final_tensors(whole)[0].items()})
        expected[kind] = score(str(prefix), folder, kind == 'video')
        shutil.rmtree(whole)
        tidy(part)
    wanted = Wanted(onnx=True, int8=True, calibration_samples=8, data_dir=images, workers=0)
    list(export(network.load('image_export/a2_tiny'), 'image_forms/a2_tiny', wanted))
    for engine in ('mxnet', 'mxnet-int8', 'onnxruntime'):
        expected[engine] = score('image_forms/a2_tiny', images, engine=engine)
    Path('expected.json').write_text(json.dumps(expected, indent=1))
    with tarfile.open(Path(__file__).with_name('files.tar.xz'), 'w:xz', preset=9) as tar:
        for path in sorted(os.listdir()):
            tar.add(path)


if __name__ == '__main__':
    main()
