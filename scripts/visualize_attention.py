#!/usr/bin/env python
"""See what the attention blocks of a network do with a picture or a video: a sheet, and a page to
point at places in.

    python scripts/visualize_attention.py docs/digit.png --model runs/demo/export/a2_resnet26 python
    scripts/visualize_attention.py clip.mp4 --model runs/video --blocks conv4_unit2 --animate python
    scripts/visualize_attention.py dog.jpg --model a2_resnet50 --at 120,80 --descriptors 3,17 --out
    seen/dog

sheet.png has a row for each block, and for each frame of a video: gathering maps softmax(θ) of
descriptors, what the place --at reads, the descriptor that each place selects most, and those
selected at the place. page.html shows the same for any place that is pointed at; it is one file and
loads nothing else.
"""
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gluon_a2.cli import entry, parser
from gluon_a2.errors import UserError


def arguments(argv):
    """The parsed command line."""
    flags = parser(__doc__)
    flags.add_argument('file', metavar='FILE', help='a picture, or a video where the network is of '
                                                    'video')
    flags.add_argument('--model', required=True, help='prefix of exported files, or the folder of '
                                                      'a run')
    flags.add_argument('--checkpoint', help="of a run: 'last' (where not given), 'best' or the "
                                            "path of one")
    flags.add_argument('--blocks', help='names such as conv3_unit1,conv4_unit1; all where not '
                                        'given')
    flags.add_argument('--descriptors', default='strongest', help='whose maps are on the sheet: '
                                                                  'numbers such as 3,17, or '
                                                                  "'strongest'")
    flags.add_argument(
        '--order', default='selected', choices=('selected', 'sharpest'), help='what '
        'the '
        'strongest '
        'are: '
        'those '
        'that '
        'places '
        'read '
        'most, '
        'or '
        'those '
        'whose '
        'maps '
        'have '
        'the '
        'largest '
        'peaks')
    flags.add_argument('--top', type=int, default=6, help='how many of the strongest')
    flags.add_argument('--at', default='50%,50%', metavar='X,Y', help='the place whose reading is '
                                                                      'on the sheet, in pixels of '
                                                                      'the picture as the network '
                                                                      'sees it or in percent of '
                                                                      'it; X,Y,FRAME in a video')
    flags.add_argument('--animate', action='store_true', help='of a video also sheet.gif, its '
                                                              'frames in time')
    flags.add_argument('--out', default='attention', metavar='DIR', help='folder of the files')
    return flags.parse_args(argv)


def names(text):
    """The blocks that `--blocks` names, each once."""
    found = list(dict.fromkeys(name.strip() for name in text.split(',') if name.strip()))
    if not found:
        raise UserError('--blocks names no block: give names such as conv3_unit1,conv4_unit1, or '
                        'leave it out for all')
    return found


def point(text, shape):
    """(x, y, frame) in pixels that `--at` says, in an input of `shape`, (frames, height, width)."""
    parts, lengths = text.split(','), shape[::-1]
    if len(parts) not in (2,
                          3) or not all(re.fullmatch(r'\d+|\d+(\.\d+)?%', part) for part in parts):
        raise UserError(f'--at {text} is not a place: give X,Y in pixels, such as 12,20, or in '
                        'percent, such as 50%,80%, and in a video X,Y,FRAME')
    found = [int(float(part[:-1]) * length / 100) if part.endswith('%') else int(part)
             for part, length in zip(parts, lengths)]
    for axis, at, length in zip(('X', 'Y', 'FRAME'), found, lengths):
        if at >= length:
            raise UserError(f'--at {text} is outside: {axis} goes from 0 to {length - 1}, in '
                            'percent to below 100%')
    return (*found, 0)[:3]


def on_sheet(block, text, order, top):
    """The descriptors of a block whose maps are drawn: those that `--descriptors` names, or the
    first of `order`."""
    if text != 'strongest' and not re.fullmatch(r'\d+(,\d+)*', text):
        raise UserError(f"--descriptors {text} is no list of descriptors: give numbers such as "
                        "3,17, or 'strongest'")
    if not 1 <= top <= len(order):
        raise UserError(f'--top must lie between 1 and {len(order)}, the descriptors of '
                        f'{block.name}, not {top}')
    chosen = order[:top] if text == 'strongest' else list(dict.fromkeys(map(int, text.split(','))))
    for j in chosen:
        if j >= len(order):
            raise UserError(f'{block.name} has no descriptor {j}: it has {len(order)}, 0 to '
                            f'{len(order) - 1}')
    return chosen


@entry
def main(argv=None):
    """Parse, look, draw, name the files."""
    args = arguments(argv)
    from gluon_a2.run.load import load
    from gluon_a2.visualization import draw_animation, draw_sheet, see, write_page
    seen = see(load(args.model, args.checkpoint), args.file,
               None if args.blocks is None else names(args.blocks))
    if args.animate and len(seen.frames) == 1:
        raise UserError(f'--animate is for videos: leave it out for {args.file}')
    at = point(args.at, seen.frames.shape[:3])
    orders = [block.order(args.order) for block in seen.blocks]
    chosen = [
        on_sheet(block, args.descriptors, order, args.top)
        for block, order in zip(seen.blocks, orders)
    ]
    out = Path(args.out)
    draw_sheet(seen, at, chosen, out / 'sheet.png')
    write_page(seen, at, orders, args.top, out / 'page.html', Path(args.file).name)
    if args.animate:
        draw_animation(seen, at, chosen, out / 'sheet.gif')
    print(f'{out / "sheet.png"}, {out / "page.html"}'
          + (f', {out / "sheet.gif"}' if args.animate else ''))


if __name__ == '__main__':
    main()
