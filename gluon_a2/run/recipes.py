"""How each network is trained: a recipe is a row, and each of its fields is a flag of the same
name.

The paper states the batch, the learning rate and when it falls. Momentum, weight decay, epochs and
what counts as saturation are stated nowhere; 0.9, 1e-4 and the rest below are ours. Nor is the
stride of the 16 frames of the Kinetics ablation: 2 is the interval of the authors' later video code
for as many frames.
"""
import argparse
import dataclasses
import math
import re
import time
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Tuple

from ..errors import UserError

LR_MODES = ('plateau', 'step', 'cosine', 'poly')
OPTIMIZERS = ('nag', 'sgd')
DTYPES = ('float32', 'float16')
COMPRESSIONS = ('none', 'fp16')
STARTS = ('random', 'image', 'video')
DETERMINISTIC = {
    'MXNET_ENFORCE_DETERMINISM': '1', 'MXNET_CUDNN_AUTOTUNE_DEFAULT': '0', 'NCCL_ALGO': 'Ring',
    'HOROVOD_FUSION_THRESHOLD': '0'
}


# fields, what they must fulfil, in words; sizes, crops and model names are checked where they are
# used
RANGES = [
    ('classes batch_size accumulate ranks num_epochs plateau_patience input_size views crops',
     lambda x: x >= 1, '1 or more'),
    ('frames frame_stride num_steps wd momentum warmup_epochs warmup_lr target_lr mixup_off_epoch '
     'plateau_decays seed plateau_gain', lambda x: x >= 0, '0 or more'),
    ('lr lr_decay mixup_alpha crop_ratio', lambda x: x > 0, 'above 0'),
    ('dropout label_smoothing', lambda x: 0 <= x < 1, '0 or more and below 1'),
]


def _flag(default, text, choices=None, dims=None):
    """A field that is a flag; `dims` 2 or 3 where it is of images or of video only."""
    return dataclasses.field(default=default, metadata={
        'help': text, 'choices': choices, 'dims': dims
    })


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what a run computes; paths, workers and logging do not belong
    here."""
    model: str = _flag('a2_resnet50', 'network of the zoo; an unknown one lists them all')
    classes: int = _flag(1000, 'number of classes')
    association: str = _flag('left', 'of the A² blocks: Eq. 6 (left), Eq. 7 (right) or the cheaper '
                                     '(auto)',
                             ('left', 'right', 'auto'))
    blocks: Optional[str] = _flag(None, "where the extra blocks go instead of the network's own "
                                        'places, such as conv3:1,2;conv4:2 for units 1 and 2 of '
                                        'conv3 and unit 2 of conv4')
    dropout: float = _flag(0.0, 'dropout rate in front of the classifier')
    last_gamma: bool = _flag(False, 'start every residual branch at zero')
    pretrained: Optional[str] = _flag(None, 'weights to start from, a .params file of the same '
                                            'network; for video also of the image network '
                                            '(inflated), or for other classes')
    starts_from: str = _flag('random', 'what --pretrained must be given for: weights of the image '
                                       'or of a video network', STARTS, dims=3)

    frames: int = _flag(0, 'frames of a clip; 0 for images', dims=3)
    frame_stride: int = _flag(1, 'from one frame of a clip to the next; 0 repeats a single frame',
                              dims=3)
    views: int = _flag(1, 'test: clips of each video, spread evenly over it', dims=3)
    crops: int = _flag(1, 'test: windows of each clip, spread along its long side', dims=3)
    max_scale: float = _flag(288 / 224, 'training: the short side is 1 to this many times the '
                                        'input size', dims=3)
    input_size: int = _flag(224, 'side of the training and validation crops, pixels')
    crop_ratio: float = _flag(0.875, 'validation: side of the crop over the resized short side')
    min_area: float = _flag(0.08, 'smallest random crop, as a share of the image', dims=2)
    max_area: float = _flag(1.0, 'largest random crop, as a share of the image', dims=2)
    min_aspect: float = _flag(3 / 4, 'narrowest random crop, width over height')
    max_aspect: float = _flag(4 / 3, 'widest random crop, width over height')
    mirror: bool = _flag(True, 'mirror half of the images')
    hue: float = _flag(20, 'largest random shift of hue')
    saturation: float = _flag(40, 'largest random shift of saturation')
    lightness: float = _flag(50, 'largest random shift of lightness')

    batch_size: int = _flag(32, 'images per device and micro-batch')
    accumulate: int = _flag(1, 'micro-batches per step')
    ranks: int = dataclasses.field(default=1, metadata={
        'help': None, 'choices': None, 'dims': None
    })  # the launcher's
    compression: str = _flag('none', 'how gradients travel between ranks: fp16 sends half the '
                                     'bytes', COMPRESSIONS)
    exact_sums: bool = _flag(False, 'sum gradients in float64: the same bits on any number of '
                                    'ranks, for twice the bytes between them')
    deterministic: bool = _flag(False, 'ask for the same bits on every repeat, on as many ranks '
                                       'and threads: no tuning of kernels by their speed, sums in '
                                       'a fixed order (on GPUs not seen yet)')
    num_epochs: int = _flag(120, 'at most this many passes over the data')
    num_steps: int = _flag(0, 'at most this many steps, whatever the epochs; 0 sets no such limit')
    optimizer: str = _flag('nag', 'SGD with Nesterov (nag) or plain (sgd) momentum', OPTIMIZERS)
    lr: float = _flag(math.sqrt(0.1), 'learning rate; given as a flag it is absolute, whatever the '
                                      'batch')
    base_batch: Optional[int] = _flag(2048, 'global batch the learning rate is for; other batches '
                                            'scale it linearly')
    momentum: float = _flag(0.9, 'momentum')
    wd: float = _flag(1e-4, 'weight decay')
    no_wd: bool = _flag(False, 'no weight decay on biases and BatchNorm')

    lr_mode: str = _flag('plateau', 'plateau is of the training accuracy, the rule of the paper',
                         LR_MODES)
    lr_decay: float = _flag(0.1, 'factor of each decay (plateau, step)')
    lr_decay_epoch: Tuple[float, ...] = _flag((40, 60), 'epochs of the decays (step)')
    lr_decay_step: Tuple[float, ...] = _flag((), 'steps of the decays, instead of epochs (step)')
    plateau_patience: int = _flag(3, 'epochs without a gain that count as saturated (plateau)')
    plateau_gain: float = _flag(0.001, 'smallest rise of training accuracy that counts as a gain '
                                       '(plateau)')
    plateau_decays: int = _flag(3, 'decays before the next saturation ends the run (plateau)')
    target_lr: float = _flag(0.0, 'learning rate at the end (cosine, poly)')
    warmup_epochs: float = _flag(0, 'epochs of linear warm-up')
    warmup_lr: float = _flag(0.0, 'learning rate at the start of the warm-up')

    label_smoothing: float = _flag(0.0, 'share of the target spread over all classes; the bare '
                                        'flag means 0.1')
    mixup: bool = _flag(False, 'train on mixed pairs of images')
    mixup_alpha: float = _flag(0.2, 'parameter of the Beta distribution of the mixing share')
    mixup_off_epoch: int = _flag(0, 'last epochs without mixup')
    dtype: str = _flag('float32', 'float16 needs a GPU; the loss is then scaled dynamically',
                       DTYPES)
    seed: int = _flag(0, 'seed of weights, order, augmentation and dropout')

    def __post_init__(self):
        for field in dataclasses.fields(self):
            choices, value = field.metadata['choices'], getattr(self, field.name)
            if choices and value not in choices:
                raise UserError(f'{flag_name(field)} must be one of {", ".join(choices)}, not '
                                f'{value!r}')
            if isinstance(value, (int, float)) and not math.isfinite(value):
                raise UserError(f'{flag_name(field)} must be a finite number, not {value}')
        for names, allowed, what in RANGES:
            for name in names.split():
                if not allowed(getattr(self, name)):
                    raise UserError(f'--{name.replace("_", "-")} must be {what}, not '
                                    f'{getattr(self, name)}')
        self.placement  # noqa: B018 (raises where it cannot be read)
        if self.exact_sums and self.compression != 'none':
            raise UserError('--exact-sums and --compression fp16 exclude each other: choose one')

    @property
    def space(self):
        """(height, width) or (frames, height, width) of what the network is fed."""
        return ((self.frames,) if self.frames else ()) + (self.input_size, self.input_size)

    @property
    def placement(self):
        """`blocks` as get_model takes it: {'conv3': (1, 2)}, or None."""
        if self.blocks is None:
            return None
        if not re.fullmatch(r'(\w+:\d+(,\d+)*)(;\w+:\d+(,\d+)*)*', self.blocks):
            raise UserError(f'--blocks must be like conv3:1,2;conv4:2, not {self.blocks!r}')
        stages = (stage.split(':') for stage in self.blocks.split(';'))
        return {name: tuple(map(int, units.split(','))) for name, units in stages}

    @property
    def global_batch(self):
        """Images per step, over all ranks and their micro-batches."""
        return self.batch_size * self.micro_batches

    @property
    def micro_batches(self):
        """Micro-batches per step, over all ranks."""
        return self.accumulate * self.ranks

    @property
    def effective_lr(self):
        """The learning rate at this global batch, before any schedule."""
        return self.lr * self.global_batch / self.base_batch if self.base_batch else self.lr


IMAGENET = Recipe()
VIDEO = Recipe(  # augmentation and test crops of the authors' video code
    model='a2_resnet50_3d', classes=400, frames=8, frame_stride=8, views=10, min_aspect=0.64,
    max_aspect=1.5625, hue=15, saturation=25, lightness=35)

RECIPES = {
    # The demo: scikit-learn's handwritten digits. Mirrored or small crops of digits are other
    # digits.
    'digits': Recipe(
        model='a2_resnet26', classes=10, input_size=32, crop_ratio=1.0, min_area=0.6, mirror=False,
        hue=0, saturation=0, lightness=0, num_epochs=7, lr=0.05, base_batch=None,
        lr_mode='cosine', warmup_epochs=1),
    # Section 3.3 and Table 4.
    'imagenet_a2_resnet50': IMAGENET,
    'imagenet_resnet50': dataclasses.replace(IMAGENET, model='resnet50'),
    'imagenet_resnet152': dataclasses.replace(IMAGENET, model='resnet152'),
    'imagenet_se_resnet50': dataclasses.replace(IMAGENET, model='se_resnet50'),
    # The video demo: which way a digit moves. Mirrored, or in part, it would move otherwise.
    'moving_digits': dataclasses.replace(
        VIDEO, model='a2_resnet26_3d', classes=6, frames=8, frame_stride=3, views=4, input_size=32, crop_ratio=1.0,
        max_scale=1.0, min_aspect=1.0, max_aspect=1.0, mirror=False, hue=0, saturation=0, lightness=0, num_epochs=6,
        batch_size=8, lr=0.05, base_batch=None, lr_mode='cosine', warmup_epochs=1),
    # Section 3.2, Tables 2 and 3: 32 GPUs, from scratch. --model and --blocks give the other rows.
    'kinetics_ablation': dataclasses.replace(
        VIDEO, model='a2_resnet26_3d', frames=16, frame_stride=2, input_size=112, batch_size=16, base_batch=512, lr=0.2,
        lr_mode='step', lr_decay_step=(20000, 30000), num_steps=37000, num_epochs=1000),
    # Section 3.4, Table 5: 64 GPUs, ImageNet weights, the blocks new.
    'kinetics_a2_resnet50': dataclasses.replace(
        VIDEO, starts_from='image', batch_size=8, base_batch=512, lr=0.04, num_steps=32000, num_epochs=1000),
    # Section 3.4, Table 6: 8 GPUs; the average of three splits is the result.
    'ucf101': dataclasses.replace(
        VIDEO, classes=101, starts_from='video', batch_size=13, base_batch=104, lr=0.01),
}


def environment(recipe):
    """{variable: value} that MXNet, NCCL and Horovod must find before they are imported."""
    return DETERMINISTIC if recipe.deterministic else {}


def flag_name(field):
    """`--lr-decay-epoch` for the field lr_decay_epoch."""
    return '--' + field.name.replace('_', '-')


def names(dims):
    """The recipes of images (2) or of video (3)."""
    return [name for name, recipe in RECIPES.items() if bool(recipe.frames) == (dims == 3)]


def add_flags(parser, dims=2):
    """Give `parser` one flag for each field of `Recipe` that images (2) or video (3) have; flags
    not given are absent from its result."""
    group = parser.add_argument_group('recipe (the defaults are those of the recipe)')
    types = typing.get_type_hints(Recipe)
    for field in dataclasses.fields(Recipe):
        if field.metadata['help'] is None or field.metadata['dims'] not in (None, dims):
            continue
        shown = ', '.join(f'{name} {getattr(RECIPES[name], field.name)}'
                          for name in names(dims)[:2])
        text = f'{field.metadata["help"]} [{shown}]'.replace('%', '%%')
        kind, common = types[field.name], {
            'dest': field.name, 'default': argparse.SUPPRESS, 'help': text
        }
        if kind is bool:
            group.add_argument(flag_name(field), action='store_true', **common)
            if not field.name.startswith('no_'):
                group.add_argument('--no-' + flag_name(field)[2:], action='store_false',
                                   dest=field.name, default=argparse.SUPPRESS,
                                   help=argparse.SUPPRESS)
        elif field.name == 'label_smoothing':  # a bare flag in GluonCV
            group.add_argument(flag_name(field), type=float, nargs='?', const=0.1, metavar='SHARE',
                               **common)
        elif kind == Tuple[float, ...]:
            group.add_argument(flag_name(field), type=_numbers, metavar='E,E,…', **common)
        else:
            plain = next(t for t in typing.get_args(kind) or (kind,) if t is not type(None))
            group.add_argument(
                flag_name(field), type=plain, **common,
                metavar='|'.join(field.metadata['choices'] or [plain.__name__.upper()]))


def _numbers(text):
    return tuple(float(number) for number in text.split(',') if number)


def choose(name, flags, dims=None):
    """The recipe `name` with `flags` ({field: value}) replaced; a learning rate given as a flag is
    absolute.

    UserError for an unknown recipe, or where `dims` is given for one of images (2) or video (3)
    that is of the other.
    """
    if name not in RECIPES:
        raise UserError(f'unknown recipe {name!r}: choose one of '
                        f'{", ".join(names(dims) if dims else RECIPES)}')
    if dims and name not in names(dims):
        script = 'train_video.py' if dims == 2 else 'train_imagenet.py'
        raise UserError(f'{name} is a recipe of scripts/{script}: choose one of '
                        f'{", ".join(names(dims))}')
    if 'lr' in flags and 'base_batch' not in flags:
        flags = {**flags, 'base_batch': None}
    return dataclasses.replace(RECIPES[name], **flags)


def default_folder(recipe):
    """runs/<model>-<date>-<time>."""
    return Path('runs') / f'{recipe.model}-{time.strftime("%Y%m%d-%H%M%S")}'


def to_json(recipe):
    """A recipe as plain values."""
    return dataclasses.asdict(recipe)


def from_json(values):
    """The recipe `to_json` was given."""
    lists = {name: tuple(values.get(name, ())) for name in ('lr_decay_epoch', 'lr_decay_step')}
    return Recipe(**{**values, **lists})
