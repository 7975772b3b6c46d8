"""Name what is in images or videos, from exported files or a run's checkpoint.

    %(prog)s --model runs/digits/export/a2_resnet26 docs/digit.png
    %(prog)s --model exported/a2_resnet50.onnx photos/ '**/*.jpg' --format json

Files, folders and patterns, in any mixture. Exit code 1: some could not be read; they are named,
and the others done.
"""
import json
import sys
from dataclasses import dataclass
from typing import Any, Dict, Iterable, Optional, Sequence, Tuple

from ..cli import entry, parser, show_table
from ..engines import ENGINES
from ..flags import REQUIRED, check, option, parse


@dataclass(frozen=True)
class Options:
    """What is read, by which network, and how the answer is printed."""
    inputs: Tuple[str, ...] = option(REQUIRED, 'images, or videos where the network is of video',
                                     positional=True, metavar='FILE|FOLDER|PATTERN')
    model: str = option(REQUIRED, 'prefix of exported files, an .onnx file, or the folder of a run',
                        metavar='PREFIX')
    checkpoint: Optional[str] = option(None, "of a run: 'last' (by default), 'best' or a path")
    engine: Optional[str] = option(None, 'of exported files; by default the fastest exact one',
                                   choices=ENGINES)
    top: int = option(5, 'classes to print for each file', low=1)
    format: str = option('table', 'json is a list, an object a file', choices=('table', 'json'))
    views: Optional[int] = option(None, "clips of each video; by default the network's own number",
                                  low=1)
    crops: Optional[int] = option(None, 'windows of each clip, likewise', low=1)
    batch_size: int = option(32, 'images, or clips, at a time', low=1)
    num_data_workers: int = option(2, 'threads that decode', low=1, short='-j')

    def __post_init__(self) -> None:
        check(self)


def show_json(predictions: Iterable) -> None:
    """Print a list of {path, predictions} or {path, error}, an object a line, each as soon as it is
    known. A class that is a wnid of ImageNet has its English name beside it."""
    from ..data.imagenet import english
    separator = '['
    for prediction in predictions:
        said: Dict[str, Any] = {'path': str(prediction.source)}
        if prediction.error:
            said['error'] = prediction.error
        else:
            said['predictions'] = [
                {'class': name, **({'name': english(name)} if english(name) else {}),
                 'probability': share} for name, share in prediction.guesses]
        print(f'{separator}\n{json.dumps(said, ensure_ascii=False)}', end='', flush=True)
        separator = ','
    print('\n]')


def show_rows(predictions: Iterable) -> None:
    """Print a table, a row for each file that could be read."""
    from ..data.imagenet import shown
    rows = [[str(prediction.source), *(f'{shown(name)} {100 * share:.2f} %'
                                       for name, share in prediction.guesses)]
            for prediction in predictions if not prediction.error]
    if rows:
        show_table([['file', *(f'guess {i}' for i in range(1, len(rows[0])))], *rows])


@entry
def main(argv: Optional[Sequence[str]] = None) -> int:
    """Print the most probable classes of each file; exit code 1 if any could not be read."""
    flags = parser(__doc__)
    from ..run.load import Stated, classifier
    options, stated = parse(flags, argv, Options, (Stated, 'crop'))
    from tqdm import tqdm

    from ..deploy.inputs import expand
    net = classifier(options.model, options.checkpoint, stated, options.engine,
                     views=options.views, crops=options.crops)
    paths, failed = expand(options.inputs, bool(net.frames)), []
    answers = net.stream(paths, options.top, options.batch_size, options.num_data_workers)
    with tqdm(answers, total=len(paths), unit='file', leave=False, disable=None) as predictions:
        def watched():
            for prediction in predictions:
                if prediction.error:
                    failed.append(prediction.source)
                    tqdm.write(f'error: {prediction.error}', file=sys.stderr)
                yield prediction
        (show_json if options.format == 'json' else show_rows)(watched())
    if failed:
        print(f'{len(failed)} of {len(paths)} could not be read', file=sys.stderr)
    return 1 if failed else 0
