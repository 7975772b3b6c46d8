"""How each network is trained: a recipe is a row, and each of its fields is a flag of the same
name.

The paper states the batch, the learning rate and when it falls. It does not state momentum, weight
decay, epochs, or what counts as saturation; 0.9, 1e-4 and the rest below are ours. Nor does it
state augmentation. That is of the authors' other codes, which docs/choices.md names. Each default
means what was done before the field was there, so that runs of older versions go on as they began.
"""
import argparse
import dataclasses
import functools
import json
import math
import re
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Tuple

from .. import flags, known
from ..errors import UserError
from ..flags import option

OPTIMIZERS = ('nag', 'sgd')
DRAWS = 'uniform', 'dpn', 'mfnet'  # see data.TrainTransform (not mfnet), data.TrainClip (not dpn)
STRETCHES = 'both', 'training', 'neither'  # see data.ClipPreprocessing, which has them too
PLATEAU = 'lr_mode', 'plateau'
DETERMINISTIC = {'MXNET_ENFORCE_DETERMINISM': '1', 'MXNET_CUDNN_AUTOTUNE_DEFAULT': '0',
                 'NCCL_ALGO': 'Ring', 'HOROVOD_FUSION_THRESHOLD': '0'}
network, augment, optimize, schedule, regularize = (
    functools.partial(option, group=group) for group in
    ('network', 'augmentation', 'optimization', 'schedule', 'regularization'))


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what a run computes; paths, workers and logging do not belong here.

    `dims` marks the fields of images (2) or of videos (3) alone; `takes` names the field without
    which one has no effect, and which values it must have."""
    model: str = network('a2_resnet50', 'network or gluoncv:NAME (? lists all); its classes')
    classes: int = network(1000, None, low=2)
    embedded: Optional[str] = option(None, 'set of data.EMBEDDED where no data is given',
                                     flag=False)
    association: str = network('left', 'A² by Eq. 6, Eq. 7, or cost',
                               choices=('left', 'right', 'auto'))
    softmax: str = network('both', "A²'s softmaxes",
                           choices=('both', 'gather', 'distribute', 'none'))
    blocks: Optional[str] = network(None, "positions of blocks, instead of the network's own",
                                    metavar='conv3:1,2;conv4:2')
    plug: Optional[str] = network(None, 'puts blocks (a2, nl, se) into a network without',
                                  metavar='KIND[@stage3:1,2;PATH;…]')
    ratio: Optional[int] = network(None, "blocks' inner width: channels / ratio; m, n of A²",
                                   low=1)
    m: Optional[int] = network(None, None, low=1)
    n: Optional[int] = network(None, None, low=1)
    identity: Optional[bool] = network(None, 'blocks start as identities, as with weights')
    last_gamma: bool = network(False, 'zero the last gamma of every branch at the start')
    pretrained: Optional[str] = network(
        None, "initial weights; an image net's; gluoncv: its own", metavar='FILE')
    starts_from: str = network('random', 'weights it starts from', dims=3,
                               choices=('random', 'image', 'video'))

    frames: int = augment(0, 'frames of a clip', low=0, dims=3)
    frame_stride: int = augment(1, "distance of a clip's frames; drawn in training", low=0, dims=3)
    train_strides: Tuple[int, ...] = augment((), None, low=0, metavar='N,…', dims=3)
    views: int = augment(1, 'when scoring: clips of a video; crops of a clip', low=1, dims=3)
    crops: int = augment(1, None, low=1, dims=3)
    mean: Optional[Tuple[float, ...]] = augment(
        None, "of pixels from 0 to 1 or 255; default: the network's", metavar='R,G,B',
        needs=('std', 'pixels'))
    std: Optional[Tuple[float, ...]] = augment(None, None, above=0, metavar='R,G,B',
                                               needs=('mean', 'pixels'))
    pixels: Optional[int] = augment(None, None, choices=(1, 255), needs=('mean', 'std'))
    interpolation: str = augment('bicubic', 'how images are resized',
                                 choices=('bicubic', 'bilinear'))
    # The bounds of these are in data/augment.py and data/preprocess.py, which take them.
    max_scale: float = augment(288 / 224, 'largest short side, over the input size; frames become '
                               f'squares in: {"|".join(STRETCHES)}', dims=3)
    stretch: str = augment('training', None, choices=STRETCHES, dims=3)
    input_size: int = augment(224, 'side of the crop; crop over short side (scoring)', low=1)
    crop_ratio: float = augment(0.875, None)
    min_area: float = augment(0.08, 'area of random crops, as a share', dims=2)
    max_area: float = augment(1.0, None, dims=2)
    min_aspect: float = augment(3 / 4, 'width over height of random crops')
    max_aspect: float = augment(4 / 3, None)
    mirror: bool = augment(True, f'mirror half; distributions: {"|".join(DRAWS)}')
    draws: str = augment('uniform', None, choices=DRAWS)
    hue: int = augment(20, 'largest random shifts of color')
    saturation: int = augment(40, None)
    lightness: int = augment(50, None)

    batch_size: int = optimize(32, 'samples of a device; micro-batches of a step', low=1)
    accumulate: int = optimize(1, None, low=1)
    ranks: int = option(1, 'set by the launcher', low=1, flag=False)
    optimizer: str = optimize('nag', 'Nesterov or plain momentum', choices=OPTIMIZERS)
    lr: float = optimize(0.1, 'learning rate, scaled by global / base batch; --lr without '
                              '--base-batch is not scaled', above=0)
    base_batch: Optional[int] = optimize(None, None, low=1)
    momentum: float = optimize(0.9, 'momentum; weight decay; none of biases, BatchNorm', low=0,
                               below=1)
    wd: float = optimize(1e-4, None, low=0)
    no_wd: bool = optimize(False, None)
    freeze: Tuple[str, ...] = optimize((), 'names of parameters: they stay; rate × FACTOR',
                                       metavar='PATTERN,…')
    lr_mult: Tuple[str, ...] = optimize((), None, metavar='PATTERN=FACTOR,…')
    clip_gradient: float = optimize(0.0, 'largest gradient norm; decay of averaged weights', low=0)
    ema: float = optimize(0.0, None, low=0, below=1)
    dtype: str = optimize('float32', 'bfloat16 on CPUs only',
                          choices=('float32', 'float16', 'bfloat16'))
    compression: str = optimize('none', 'compress gradients of ranks', choices=('none', 'fp16'))
    exact_sums: bool = optimize(False, 'same bits on any number of ranks; on every run')
    deterministic: bool = optimize(False, None)
    # MXNet's generator is seeded with a C int
    seed: int = optimize(0, 'of weights, order, augmentation and dropout', low=0, high=2 ** 31 - 1)

    num_epochs: int = schedule(120, 'epochs at most; steps at most (0: no such limit)', low=1)
    num_steps: int = schedule(0, None, low=0)
    lr_mode: str = schedule('plateau', 'how the rate falls',
                            choices=('plateau', 'step', 'cosine', 'poly'))
    lr_decay: float = schedule(0.1, 'factor (plateau, step); last rate (cosine, poly)', above=0,
                               takes=('lr_mode', 'plateau', 'step'))
    target_lr: float = schedule(0.0, None, low=0, takes=('lr_mode', 'cosine', 'poly'))
    lr_decay_epoch: Tuple[float, ...] = schedule(
        (40, 60), 'when `step` decays: epochs; or steps instead', low=0, takes=('lr_mode', 'step'))
    lr_decay_step: Tuple[float, ...] = schedule((), None, low=0, metavar='S,…',
                                                takes=('lr_mode', 'step'))
    plateau_patience: int = schedule(3, 'epochs to wait for a gain; least gain in accuracy', low=1,
                                     takes=PLATEAU)
    plateau_gain: float = schedule(0.001, None, low=0, takes=PLATEAU)
    plateau_decays: int = schedule(3, 'decays; one more plateau ends training', low=0,
                                   takes=PLATEAU)
    early_stop: int = schedule(0, 'epochs without better validation, at most (0: any)', low=0)
    warmup_epochs: float = schedule(0, 'epochs of linear warm-up; rate it starts at', low=0)
    warmup_lr: float = schedule(0.0, None, low=0, takes=('warmup_epochs',))

    dropout: float = regularize(0.0, 'dropout rate before the classifier', low=0, below=1)
    label_smoothing: float = regularize(0.0, 'share of a label for all classes; 0.1 if not said',
                                        low=0, below=1, const=0.1, metavar='SHARE')
    mixup: bool = regularize(False, 'mix pairs; Beta(α, α); not in so many last epochs')
    mixup_alpha: float = regularize(0.2, None, above=0, takes=('mixup',))
    mixup_off_epoch: int = regularize(0, None, low=0, takes=('mixup',))

    def __post_init__(self) -> None:
        flags.check(self)
        for name in ('lr_decay_epoch', 'lr_decay_step'):
            if sorted(getattr(self, name)) != list(getattr(self, name)):
                raise UserError(f'`{name}` must rise, not be '
                                f'{",".join(format(x, "g") for x in getattr(self, name))}')
        for name in ('mean', 'std'):
            if len(getattr(self, name) or (0,) * 3) != 3:
                raise UserError(f'`{name}` must be three numbers, for R, G and B, not '
                                f'{len(getattr(self, name))}')
        parse_blocks(self.blocks)
        for pattern in (*self.freeze, *(pattern for pattern, _ in self.factors)):
            try:
                re.compile(pattern)
            except re.error as error:
                raise UserError(f'`{"freeze" if pattern in self.freeze else "lr_mult"}` {pattern} '
                                f'is no regular expression ({error}): .* stands for any letters'
                                ) from error
        if self.exact_sums and self.compression != 'none':
            raise UserError('`exact_sums` and `compression` exclude each other: choose one')

    @property
    def space(self) -> Tuple[int, ...]:
        """(height, width) or (frames, height, width) of what the network is fed."""
        return ((self.frames,) if self.frames else ()) + (self.input_size, self.input_size)

    @property
    def weights_dtype(self) -> str:
        """Type of weights and pixels: bfloat16 is what a network casts float32 ones to."""
        return 'float32' if self.dtype == 'bfloat16' else self.dtype

    @property
    def title(self) -> str:
        """The network's name as that of a file: a2_mobilenet0.25 of gluoncv:mobilenet0.25 with
        `plug` a2."""
        return ((f'{self.plug.partition("@")[0]}_' if self.plug else '')
                + self.model[len(known.PREFIX) if known.is_known(self.model) else 0:])

    @property
    def placement(self) -> Optional[Dict[str, Tuple[int, ...]]]:
        """`blocks` as get_model takes it: {'conv3': (1, 2)}, or None."""
        return parse_blocks(self.blocks)

    @property
    def factors(self) -> List[Tuple[str, float]]:
        """`lr_mult` as (pattern, factor) pairs."""
        return list(map(parse_factor, self.lr_mult))

    @property
    def micro_batches(self) -> int:
        """Micro-batches per step, over all ranks."""
        return self.accumulate * self.ranks

    @property
    def global_batch(self) -> int:
        """Images per step, over all ranks and their micro-batches."""
        return self.batch_size * self.micro_batches

    @property
    def effective_lr(self) -> float:
        """The learning rate at this global batch, before any schedule: linear in the batch."""
        return self.lr * self.global_batch / self.base_batch if self.base_batch else self.lr


def parse_blocks(text: Optional[str]) -> Optional[Dict[str, Tuple[int, ...]]]:
    """{'conv3': (1, 2), 'conv4': (2,)} of 'conv3:1,2;conv4:2', counted from 1; None of None."""
    if text is None:
        return None
    if not re.fullmatch(r'(\w+:\d+(,\d+)*)(;\w+:\d+(,\d+)*)*', text):
        raise UserError(f'`blocks` must be like conv3:1,2;conv4:2, not {text!r}')
    stages = (stage.split(':') for stage in text.split(';'))
    return {name: tuple(map(int, units.split(','))) for name, units in stages}


def parse_factor(text: str) -> Tuple[str, float]:
    """('conv', 0.2) of 'conv=0.2'."""
    pattern, _, factor = text.rpartition('=')
    try:
        if pattern and 0 < float(factor) < math.inf:
            return pattern, float(factor)
    except ValueError:
        pass
    raise UserError(f'`lr_mult` must be like conv=0.2, with a factor above 0, not {text!r}; '
                    '`freeze` stops parameters')


# Section 3.3 and Table 4: ImageNet on 64 GPUs with 32 images each. The paper prints 77.0 % top-1
# and 93.5 % top-5. Never run here, so its time is not known. Augmentation: Dual Path Networks.
IMAGENET = Recipe(
    model='a2_resnet50', classes=1000, input_size=224, crop_ratio=0.875,
    min_area=0.08, max_area=1.0, min_aspect=3 / 4, max_aspect=4 / 3, mirror=True,
    draws='dpn', hue=20, saturation=40, lightness=50,
    batch_size=32, lr=math.sqrt(0.1), base_batch=2048,  # 64 GPUs × 32
    optimizer='nag', momentum=0.9, wd=1e-4,
    lr_mode='plateau', lr_decay=0.1, plateau_patience=3, plateau_gain=0.001, plateau_decays=3,
    num_epochs=120)
# What the video recipes share: augmentation and test crops of the authors' PyTorch-MFNet.
VIDEO = Recipe(model='a2_resnet50_3d', classes=400, frames=8, frame_stride=8, views=10,
               interpolation='bilinear', stretch='both', min_aspect=0.64, max_aspect=1.5625,
               draws='mfnet', hue=15, saturation=25, lightness=35)
# Mirrored or small crops of digits are other digits, or move in another direction.
UPRIGHT: Dict[str, Any] = {'input_size': 32, 'crop_ratio': 1.0, 'mirror': False, 'hue': 0,
                           'saturation': 0, 'lightness': 0}
SHORT: Dict[str, Any] = {'lr': 0.05, 'lr_mode': 'cosine', 'warmup_epochs': 1}
FAR = Recipe(model='resnet26', classes=3, embedded='cued digits, far', last_gamma=True,
             min_area=1.0, min_aspect=1.0, max_aspect=1.0, batch_size=16, num_epochs=1, lr=0.01,
             lr_mode='step', lr_decay_step=(380,), warmup_epochs=0.1, **UPRIGHT)

RECIPES: Dict[str, Recipe] = {
    # scikit-learn's handwritten digits.
    'digits': Recipe(model='a2_resnet26', classes=10, min_area=0.6, num_epochs=7, **UPRIGHT,
                     **SHORT),
    # The demo: cued digits, each picture once. One question takes two places, one a single place.
    # Settings: docs/attention.md.
    'far': FAR,
    # Branches that start at zero learn near too slowly.
    'near': replace(FAR, embedded='cued digits, near', last_gamma=False, lr=0.02, num_epochs=2,
                    num_steps=608, lr_decay_step=(500,)),
    'imagenet_a2_resnet50': IMAGENET,
    # The baselines of Table 4: 75.3 / 92.2, 77.0 / 93.3 and 76.7 / 93.4 %. Never run here.
    'imagenet_resnet50': replace(IMAGENET, model='resnet50'),
    'imagenet_resnet152': replace(IMAGENET, model='resnet152'),
    'imagenet_se_resnet50': replace(IMAGENET, model='se_resnet50'),
    # The video demo: which way a digit moves.
    'moving_digits': replace(
        VIDEO, model='a2_resnet26_3d', classes=6, frame_stride=3, views=4, max_scale=1.0,
        min_aspect=1.0, max_aspect=1.0, num_epochs=6, batch_size=8, **UPRIGHT, **SHORT),
    # Section 3.2, Tables 2 and 3: 32 GPUs, from scratch; --model and --blocks give the other rows.
    # The paper prints 53.0 % by clip and 63.5 % by video. Never run here.
    'kinetics_ablation': replace(
        VIDEO, model='a2_resnet26_3d', frames=16, frame_stride=2, train_strides=(1, 2, 2, 3),
        input_size=112, batch_size=16, lr=0.2, base_batch=512, lr_mode='step',
        lr_decay_step=(20000, 30000), num_steps=37000, num_epochs=1000),
    # Section 3.4, Table 5: 64 GPUs, ImageNet weights, the blocks new. The paper prints 74.6 %
    # top-1 and 91.5 % top-5 by video. Never run here.
    'kinetics_a2_resnet50': replace(
        VIDEO, starts_from='image', batch_size=8, lr=0.04, base_batch=512, lr_mode='plateau',
        num_steps=32000, num_epochs=1000),
    # Section 3.4, Table 6: 8 GPUs, Kinetics weights. The paper prints 96.4 %, the average of three
    # splits. Never run here. Factors and dropout: MFNet's code, when it fine-tunes.
    'ucf101': replace(VIDEO, classes=101, starts_from='video', batch_size=13, lr=0.01,
                      base_batch=104, lr_mode='plateau', lr_mult=('.*=0.2', 'classifier=1'),
                      dropout=0.5)}
EMBEDDED = {2: 'digits', 3: 'moving_digits'}  # the recipes of the data that come along
PAPER = {2: 'imagenet_a2_resnet50', 3: 'kinetics_a2_resnet50'}


def environment(recipe: Recipe) -> Dict[str, str]:
    """{variable: value} that MXNet, NCCL and Horovod must find before they are imported."""
    return DETERMINISTIC if recipe.deterministic else {}


def names(dims: int) -> List[str]:
    """The recipes of images (2) or of video (3)."""
    return [name for name, recipe in RECIPES.items() if bool(recipe.frames) == (dims == 3)]


def add_flags(parser: argparse.ArgumentParser, dims: int = 2) -> None:
    """Give `parser` the flags of images (2) or of video (3); the help shows the paper's values."""
    flags.add_flags(parser, Recipe, dims=dims, shown=RECIPES[PAPER[dims]])


def choose(name: str, given: Mapping[str, Any], dims: Optional[int] = None,
           earlier: Optional[Recipe] = None) -> Recipe:
    """The recipe `name`, or that of an `earlier` run, with the fields `given` replaced. A rate
    given without `base_batch` is absolute; a `frame_stride` without `train_strides` holds in
    training, too. UserError for an unknown recipe, or one not of images (`dims` 2) or videos
    (3)."""
    known = names(dims) if dims else list(RECIPES)
    if name not in known and earlier is None:
        what = f'{name} is a recipe of {"videos" if dims == 2 else "images"}'
        raise UserError(f'{what if name in RECIPES else f"unknown recipe {name!r}"}: choose one of '
                        f'{", ".join(known)}')
    implied: Dict[str, Any] = {'base_batch': None} if 'lr' in given else {}
    if 'frame_stride' in given:
        implied['train_strides'] = ()
    recipe = replace(earlier or RECIPES[name], **{**implied, **_brought(given), **given})
    batch = earlier.global_batch if earlier else RECIPES[name].base_batch
    recipe = _keep_batch('the earlier run' if earlier else name, batch, recipe, given)
    for field in flags.options(Recipe):
        other, *values = field.metadata.get('takes', ('model',))
        said = getattr(recipe, other)
        if field.name in given and (said not in values if values else not said):
            needed = ' '.join(filter(None, (f'`{other}`', ' or '.join(values))))
            raise UserError(f'`{field.name}` has no effect without {needed}: add that, or leave it '
                            'out')
    return recipe


def _keep_batch(name: str, batch: Optional[int], recipe: Recipe,
                given: Mapping[str, Any]) -> Recipe:
    """A recipe that counts steps, with micro-batches that make up the batch its steps are of."""
    steps = recipe.num_steps
    if not batch or not steps or 'num_steps' in given:
        return recipe
    if 'accumulate' not in given:
        recipe = replace(recipe, accumulate=max(1, batch // (recipe.batch_size * recipe.ranks)))
    if recipe.global_batch != batch:
        raise UserError(
            f'{name} takes {steps} steps of {batch} samples, not of {recipe.global_batch} '
            f'(`batch_size` {recipe.batch_size} × `accumulate` {recipe.accumulate} × '
            f'{recipe.ranks} rank{"s" * (recipe.ranks > 1)}). Choose a `batch_size` that makes '
            f'{batch}, or say how many steps (`num_steps` {steps * batch // recipe.global_batch} '
            'see as many samples)')
    return recipe


def read_run(path: str, dims: int) -> Tuple[Recipe, Dict[str, Any]]:
    """(recipe, {option: value}) that an earlier run wrote into its run.json, which `path`, or the
    folder `path`, is. UserError unless it is a run of images (`dims` 2) or of videos (3)."""
    file = Path(path, 'run.json') if Path(path).is_dir() else Path(path)
    try:
        made = json.loads(file.read_bytes())
        recipe, given = from_json(made['recipe']), made.get('options')
    except OSError as error:
        raise UserError(f'{file} cannot be read: {error.strerror}; give the run.json of an earlier '
                        'run as `config`') from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f'{file} is not the run.json of a run: give one as `config`') from error
    if bool(recipe.frames) != (dims == 3):
        wanted = 'images' if dims == 2 else 'videos'
        raise UserError(f'{file} is not of a run on {wanted}: use the other training command')
    if not isinstance(given, dict):
        raise UserError(f'{file} is of an older version, and does not say its data: give the flags '
                        'that stand in its command')
    return recipe, {name: tuple(value) if isinstance(value, list) else value
                    for name, value in given.items()}


def _brought(given):
    """The fields that the network brings; mean, std and pixels are given together or not at all."""
    pixels = ('mean', 'std', 'pixels')
    dropped = pixels if any(name in given for name in pixels) else ()
    return {name: value for name, value in known.brought(given.get('model', '')).items()
            if name not in dropped}


def default_folder(recipe: Recipe) -> Path:
    """runs/<network>-<date>-<time>."""
    return Path('runs') / f'{recipe.title}-{time.strftime("%Y%m%d-%H%M%S")}'


def to_json(recipe: Recipe) -> Dict[str, Any]:
    """The fields of a recipe as run.json keeps them; `from_json` reads them."""
    return dataclasses.asdict(recipe)


def from_json(values: Mapping[str, Any]) -> Recipe:
    """The recipe `to_json` was given; fields that it did not have yet are at their defaults."""
    unknown = sorted(values.keys() - Recipe.__dataclass_fields__.keys())
    if unknown:
        raise UserError(f'the recipe has a field {unknown[0]!r} that this version of gluon_a2 does '
                        'not know: use the version that wrote it')
    fields: Dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value
                              for name, value in values.items()}
    for name in ('hue', 'saturation', 'lightness'):  # older versions wrote --hue 5 as 5.0
        if isinstance(fields.get(name), float):
            fields[name] = round(fields[name])
    return Recipe(**fields)
