"""Visualize what the attention blocks of a network do with a picture or a video.

    %(prog)s docs/digit.png --model runs/digits/export/a2_resnet26
    %(prog)s clip.mp4 --model runs/video --blocks conv4_unit2 --animate
    %(prog)s dog.jpg --model a2_resnet50 --at 120,80 --descriptors 3,17

sheet.png has a row for each block, and for each frame of a video. It shows gathering maps
softmax(θ) of descriptors, what the position --at reads, the descriptor that each position selects
most, and those selected at the position. page.html shows the same for any position that is pointed
at. It is one file, and loads nothing else.
"""
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, List, Optional, Sequence, Tuple

from .. import flags
from ..cli import entry, parser
from ..errors import UserError

TOP = 6  # descriptors of a block on the sheet


@dataclass(frozen=True)
class Choices:
    """What is visualized, and where it goes."""
    file: str = flags.option(flags.REQUIRED, 'a picture, or a video if the network is of video',
                             positional=True)
    model: str = flags.option(flags.REQUIRED, 'prefix of exported files, or the folder of a run',
                              metavar='PREFIX')
    checkpoint: Optional[str] = flags.option(
        None, "of a run: 'last' (the default), 'best' or the path of one")
    blocks: Optional[Tuple[str, ...]] = flags.option(
        None, 'names such as conv3_unit1,conv4_unit1; default: all')
    descriptors: Optional[Tuple[int, ...]] = flags.option(
        None, 'whose maps are on the sheet, such as 3,17; default: the strongest', low=0)
    top: Optional[int] = flags.option(
        None, f'how many of the strongest, which are read most; default: {TOP}, or all', low=1)
    at: str = flags.option('50%,50%', 'the position whose reading is on the sheet: X,Y in pixels '
                           'of the input or in percent of it, X,Y,FRAME in a video')
    animate: bool = flags.option(False, 'of a video also sheet.gif, its frames in time')
    out: str = flags.option('attention', 'folder of the files', metavar='DIR')

    def __post_init__(self) -> None:
        flags.check(self)
        if self.blocks == ():
            raise UserError('`blocks` names no block: give names such as conv3_unit1,conv4_unit1, '
                            'or leave it out for all')


def choose(argv: Optional[Sequence[str]]) -> Choices:
    """The flags; `--at` may begin with a minus, which argparse takes for a flag."""
    words = list(sys.argv[1:] if argv is None else argv)
    if '--at' in words[:-1]:  # argparse would take a word such as -1,20 for a flag
        at = words.index('--at')
        words[at:at + 2] = [f'--at={words[at + 1]}']
    return flags.parse(parser(__doc__), words, Choices)[0]


def point(text: str, shape: Sequence[int]) -> Tuple[int, ...]:
    """(x, y, frame) in pixels that `--at` says, in an input of `shape`, (frames, height, width)."""
    parts, lengths = text.split(','), shape[::-1]
    if len(parts) not in (2, 3) or not all(re.fullmatch(r'\d+|\d+(\.\d+)?%', part)
                                           for part in parts):
        raise UserError(f'`at` {text} is not a position: give X,Y in pixels, such as 12,20, or in '
                        'percent, such as 50%,80%. A video takes X,Y,FRAME')
    found = [int(float(part[:-1]) * length / 100) if part.endswith('%') else int(part)
             for part, length in zip(parts, lengths)]
    for axis, at, length in zip(('X', 'Y', 'FRAME'), found, lengths):
        if at >= length:
            raise UserError(f'`at` {text} is outside: {axis} goes from 0 to {length - 1}, in '
                            'percent to below 100%')
    return (*found, 0)[:3]


def on_sheet(block: Any, given: Optional[Sequence[int]], order: Any,
             top: Optional[int]) -> List[int]:
    """The descriptors of a block whose maps are drawn: those given, or the first of `order`."""
    if top and top > len(order):
        raise UserError(f'`top` must be at most {len(order)}, the {block.noun}s of {block.name}, '
                        f'not {top}')
    for j in given or ():
        if j >= len(order):
            raise UserError(f'{block.name} has no {block.noun} {j}: it has {len(order)}, 0 to '
                            f'{len(order) - 1}')
    return list(dict.fromkeys(given)) if given else order[:top or TOP]


@entry
def main(argv: Optional[Sequence[str]] = None) -> None:
    choices = choose(argv)
    from ..run.load import load
    from ..visualization import attend, draw_animation, draw_sheet, write_page
    attention = attend(load(choices.model, choices.checkpoint), choices.file, choices.blocks)
    if choices.animate and len(attention.frames) == 1:
        raise UserError(f'`animate` is for videos: leave it out for {choices.file}')
    at = point(choices.at, attention.frames.shape[:3])
    orders = [block.order() for block in attention.blocks]
    shown = [on_sheet(block, choices.descriptors, order, choices.top)
             for block, order in zip(attention.blocks, orders)]
    out = Path(choices.out)
    names = ['sheet.png', 'page.html'] + ['sheet.gif'] * choices.animate
    draw_sheet(attention, at, shown, out / names[0])
    write_page(attention, at, orders, choices.top or TOP, out / names[1], Path(choices.file).name)
    if choices.animate:
        draw_animation(attention, at, shown, out / names[2])
    print(', '.join(str(out / name) for name in names))
