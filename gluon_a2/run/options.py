"""What a run needs but does not compute with: data, folder, how often it logs and saves."""
import functools
from dataclasses import dataclass
from typing import Any, Dict, Optional

from ..flags import check, option

PLACE = 'save_dir', 'resume', 'overwrite'
run, data = functools.partial(option, group='run'), functools.partial(option, group='data')


@dataclass(frozen=True)
class Options:
    """Paths, workers and logging of a run; `dims` marks those of images (2) or of videos (3)."""
    save_dir: Optional[str] = run(None, 'the run folder, runs/<model>-<date>-<time>', metavar='DIR')
    resume: bool = run(False, 'continue the run in that folder; or replace it',
                       needs=['save_dir'], excludes=['overwrite'])
    overwrite: bool = run(False, None)
    num_gpus: int = run(0, '0: train on the CPU; 1: this process trains on a GPU', low=0, high=1)
    num_data_workers: int = run(2, 'processes that decode and augment samples', short='-j', low=0)
    save_frequency: int = run(1, 'save every so many epochs; and steps (0: never)', low=1)
    save_steps: int = run(0, None, low=0)
    log_interval: int = run(50, 'steps between log lines; file instead of train.log', low=1)
    logging_file: Optional[str] = run(None, None, metavar='FILE')
    max_damaged: Optional[int] = run(None, 'unreadable samples to skip, at most; default 1 %',
                                     low=0, metavar='N')
    rank_timeout: float = run(20, 'seconds after which a silent rank counts as failed', low=1)
    test_io: Optional[int] = run(None, 'no training: time the reading; try ranks and a sum', low=0,
                                 const=0, metavar='N')
    check: Optional[float] = run(None, None, above=0, const=100, metavar='MB', excludes=['test_io'])

    data_dir: Optional[str] = data(None, 'folder of train.rec and val.rec, or train/ and val/',
                                   metavar='DIR')
    rec_train: Optional[str] = data(None, 'RecordIO files instead, and their index files',
                                    metavar='FILE', dims=2, needs=['rec_val'],
                                    excludes=['data_dir'])
    rec_val: Optional[str] = data(None, None, metavar='FILE', dims=2, needs=['rec_train'])
    rec_train_idx: Optional[str] = data(None, None, metavar='FILE', dims=2, needs=['rec_train'])
    rec_val_idx: Optional[str] = data(None, None, metavar='FILE', dims=2, needs=['rec_val'])
    list_train: Optional[str] = data(None, 'lists of videos, whose paths start at --data-dir',
                                     metavar='FILE', dims=3, needs=['list_val', 'list_format'],
                                     excludes=['split'])
    list_val: Optional[str] = data(None, None, metavar='FILE', dims=3, needs=['list_train'])
    list_format: Optional[str] = data(None, 'path-label, path-frames-label, id-label-path or '
                                            'kinetics-csv', metavar='FORM', dims=3,
                                      needs=['list_train'])
    split: Optional[int] = data(None, 'split 1, 2 or 3 of UCF-101; folder of its lists', low=1,
                                high=3, dims=3, needs=['data_dir'])
    splits: Optional[str] = data(None, None, metavar='DIR', dims=3, needs=['split'])
    synthetic_data: Optional[int] = data(None, 'train on random pixels, STEPS (100) an epoch',
                                         low=1, const=100, metavar='STEPS',
                                         excludes=['data_dir', 'rec_train', 'list_train',
                                                   'test_io'])

    def __post_init__(self) -> None:
        check(self)

    def to_json(self) -> Dict[str, Any]:
        """What another run is given to do the same elsewhere."""
        return {name: value for name, value in vars(self).items()
                if value is not None and name not in (*PLACE, 'logging_file')}

    @property
    def data(self) -> Optional[str]:
        """What is trained on, for the record: 'synthetic', a path, or None for the embedded set."""
        if self.synthetic_data:
            return 'synthetic'
        return self.rec_train or self.list_train or self.data_dir
