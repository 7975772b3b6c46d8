"""Reading without training: every image once, and the damaged named."""
import pytest
import tiny

from gluon_a2 import data
from gluon_a2.errors import UserError
from gluon_a2.run.options import Options
from gluon_a2.train.reading import measure


@pytest.mark.parametrize('images, read', [(0, 18), (5, 5), (99, 18)])
def test_counts_what_is_read_and_names_what_is_damaged(tmp_path, caplog, images, read):
    source = data.open_source(data.digits_folder(), 'train')
    first = data.epoch_order(20, tiny.RECIPE.seed, 0)[:5]
    bad = [i for i in range(20) if i not in first][:2]
    for split, damaged in (('train', bad), ('val', [])):
        with data.RecordWriter(tmp_path / f'{split}.rec') as writer:
            for i in range(20):
                writer.write(b'no image' if i in damaged else source.read(i), int(source.labels[i]))
    count, damaged, seconds = measure(tiny.RECIPE, Options(data_dir=str(tmp_path),
                                                           num_data_workers=0, test_io=images))
    assert (count, damaged) == (read, 2 if read == 18 else 0) and seconds > 0
    assert all((f'damaged: {tmp_path}/train.rec#{i}' in caplog.text) == (read == 18) for i in bad)


@pytest.mark.parametrize('options, sentence', [
    ({'test_io': 0, 'synthetic_data': 3}, '^`synthetic_data` and `test_io` exclude each other'),
    ({'test_io': -1}, '^`test_io` must be 0 or more, not -1$')])
def test_what_cannot_be_read(options, sentence):
    with pytest.raises(UserError, match=sentence):
        Options(**options)
