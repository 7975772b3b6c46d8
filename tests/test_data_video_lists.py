"""Lists of videos in the formats people have them in, and every way to get one wrong."""
import os
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gluon_a2.data import ImageError, VideoError, open_video_source
from gluon_a2.data.video_lists import VideoSource, kinetics_csv, kinetics_folder, read_list, ucf101
from gluon_a2.errors import UserError


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b'video')
    return path


def pairs(source, root):
    return [(path[len(str(root)) + 1:], int(label))
            for path, label in zip(source.paths, source.labels)]


# ---- folders of Kinetics

def test_kinetics_folders_are_alphabetical_from_nought(tmp_path):
    for name in ('zumba/b_000001_000011.mp4', 'abseiling/x y_000000_000010.avi',
                 'abseiling/A_000000_000010.MP4', 'zumba/frames of c/img_00001.jpg',
                 'zumba/notes.txt', '.hidden/a.mp4', 'zumba/.partial.mp4'):
        touch(tmp_path / 'train' / name)
    source = open_video_source(str(tmp_path), 'train')
    assert source.classes == ('abseiling', 'zumba')
    assert pairs(source, tmp_path / 'train') == [
        ('abseiling/A_000000_000010.MP4', 0), ('abseiling/x y_000000_000010.avi', 0),
        ('zumba/b_000001_000011.mp4', 1), ('zumba/frames of c', 1)]
    assert source.labels.dtype == np.int64 and len(source) == 4 and source.split is None
    assert source.read(0) == b'video' == source.read(3)


@pytest.mark.parametrize('made, sentence', [
    ([], 'no train videos in .*: the folder .*/train with class folders does not exist; '
         '`data_dir` is the folder'),
    (['train/readme.txt'], 'train holds no class folders'),
    (['train/a/x.mp4', 'train/b/notes.txt'],
     'the class folder .*/train/b holds no videos: fill or remove it')])
def test_folders_that_are_not_right(tmp_path, made, sentence):
    for name in made:
        touch(tmp_path / name)
    with pytest.raises(UserError, match=sentence):
        kinetics_folder(str(tmp_path), 'train')


def test_what_is_left_out_is_counted_and_named(tmp_path, caplog):
    for name in ('a/x.mp4', 'a/notes.txt', 'a/y.gif', 'stray.mp4', '.hidden.mp4', 'a/._x.mp4'):
        touch(tmp_path / 'train' / name)
    assert len(kinetics_folder(str(tmp_path), 'train')) == 1
    assert 'class folder, 3 in all' in caplog.text and 'notes.txt' in caplog.text
    assert 'hidden' not in caplog.text and '._x' not in caplog.text


def test_links_are_followed_and_a_link_to_nothing_is_a_video_that_is_missing(tmp_path):
    touch(tmp_path / 'elsewhere' / 'x.mp4')
    touch(tmp_path / 'train' / 'b' / 'y.mp4')
    (tmp_path / 'train' / 'a').symlink_to(tmp_path / 'elsewhere')
    (tmp_path / 'train' / 'b' / 'z.mp4').symlink_to(tmp_path / 'gone.mp4')
    source = kinetics_folder(str(tmp_path), 'train')
    assert pairs(source, tmp_path / 'train') == [('a/x.mp4', 0), ('b/y.mp4', 1), ('b/z.mp4', 1)]
    with pytest.raises(VideoError, match='it is missing'):
        source.video(2)


# ---- the official CSV

HEADER = 'label,youtube_id,time_start,time_end,split'


def official(folder, *rows, header=HEADER):
    (folder / 'k.csv').write_text(header + '\n' + ''.join(row + '\n' for row in rows))
    return str(folder / 'k.csv')


def test_the_official_csv(tmp_path):
    path = official(tmp_path, 'riding a bike,-_x9,5,15,train,1', '"abseiling, '
                                                                 'outdoors",abc,120,130,train,0',
                    'riding a bike,def,0,10,validate,0', header=HEADER + ',is_cc')
    source = kinetics_csv(path, str(tmp_path), 'train')
    assert source.classes == ('abseiling, outdoors', 'riding a bike')
    assert pairs(source, tmp_path) == [('riding a bike/-_x9_000005_000015.mp4', 1),
                                       ('abseiling, outdoors/abc_000120_000130.mp4', 0)]
    touch(tmp_path / 'val' / 'riding a bike' / 'def_000000_000010.mp4')
    source = open_video_source(str(tmp_path), 'val', video_list=path, list_format='kinetics-csv')
    assert pairs(source, tmp_path) == [('val/riding a bike/def_000000_000010.mp4', 1)]
    assert source.classes == ('abseiling, outdoors', 'riding a bike')


def test_a_video_the_disk_lacks_stays_in_the_list(tmp_path):
    source = kinetics_csv(official(tmp_path, 'a,x,0,10,train'), str(tmp_path), 'train')
    assert len(source) == 1
    with pytest.raises(VideoError, match='it is missing'):
        source.video(0)
    with pytest.raises(ImageError, match='it cannot be read: No such file'):
        source.read(0)


@pytest.mark.parametrize('rows, header, sentence', [
    (['a,x,0,10'], 'label,youtube_id,time_start,time_end', 'has no column split: the official CSV '
                                                           'begins with label,'),
    (['a,x,soon,10,train'], HEADER, "k.csv:2 has no times in whole seconds, .*: 'soon' and '10'"),
    (['a,x,0'], HEADER, "k.csv:2 has no times in whole seconds, .*: '0' and None"),
    (['a,x,0,10,train', 'a,x,0,inf,train'], HEADER, "k.csv:3 has no times .*: '0' and 'inf'"),
    (['a,x,nan,10,train'], HEADER, "k.csv:2 has no times .*: 'nan' and '10'"),
    (['a,x,0,10'], HEADER, 'k.csv:2 has no times in whole seconds, or not all columns'),
    (['a,x,0,10,train', 'a' * 131073 + ',x,0,10,train'], HEADER,
     'k.csv:3 is not a line of CSV: field larger than field limit'),
    ([',x,0,10,train'], HEADER, "k.csv: the class name '' is blank"),
    (['a,x,0,10,val'], HEADER, 'lists no train videos: its splits are val')])
def test_a_csv_that_is_not_right(tmp_path, rows, header, sentence):
    with pytest.raises(UserError, match=sentence):
        kinetics_csv(official(tmp_path, *rows, header=header), '', 'train')


def test_a_row_that_is_there_twice_counts_once(tmp_path, caplog):
    """As a doubled line of a list is refused; but the official files are not for users to edit."""
    path = official(tmp_path, 'a,x,0,10,train', 'b,y,0,10,train', 'a,x,0,10,train', 'a,x,5,15,val')
    source = kinetics_csv(path, '', 'train')
    assert pairs(source, '') == [('/x_000000_000010.mp4', 0), ('/y_000000_000010.mp4', 1)]
    assert 'lists 1 of its 3 train videos more than once: each counts once' in caplog.text


# ---- lists

@pytest.mark.parametrize('form, line', [
    ('path-label', 'some folder/my video.mp4 3'), ('path-frames-label', 'some folder/my video.mp4 '
                                                                        '120 3'),
    ('id-label-path', 'v17 3 some folder/my video.mp4')])
def test_the_three_forms_take_paths_with_spaces(tmp_path, form, line):
    (tmp_path / 'list.txt').write_text(f'{line}\n\n')
    source = open_video_source('/data', 'train', video_list=str(tmp_path / 'list.txt'),
                               list_format=form)
    assert (source.paths, source.labels.tolist()) == (['/data/some folder/my video.mp4'], [3])
    assert source.classes == ('0', '1', '2', '3')


NAMES = st.text(st.characters(blacklist_categories=('Cs', 'Cc', 'Zs', 'Zl', 'Zp')), min_size=1,
                max_size=8)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.lists(NAMES, min_size=1, max_size=3).map(' '.join),
                          st.integers(0, 99)),
                min_size=1, max_size=9, unique_by=lambda row: row[0]),
       st.sampled_from(['path-label', 'path-frames-label', 'id-label-path']))
def test_whatever_is_written_is_read(tmp_path_factory, rows, form):
    lines = {'path-label': '{0} {1}', 'path-frames-label': '{0} 7 {1}',
             'id-label-path': 'id {1} {0}'}[form]
    path = tmp_path_factory.mktemp('lists') / 'list.txt'
    path.write_text(''.join(lines.format(*row) + '\n' for row in rows), encoding='utf-8')
    source = read_list(str(path), form, 'root')
    assert source.paths == [f'root/{name}' if name[0] != '/' else name for name, _ in rows]
    assert source.labels.tolist() == [label for _, label in rows]


def test_names_of_classes_stand_beside_the_list(tmp_path):
    (tmp_path / 'list.txt').write_text('a.mp4 1\n')
    (tmp_path / 'classes.txt').write_text('run\nwalk fast\n')
    assert read_list(str(tmp_path / 'list.txt'), 'path-label').classes == ('run', 'walk fast')


@pytest.mark.parametrize('form, text, sentence', [
    ('path-label', 'a.mp4\n', r'list.txt:1 is not "path label": \'a.mp4\''),
    ('path-label', 'a.mp4 1\nmy video.mp4\n', "list.txt:2 has no whole number, 0 or more, as its "
                                              "label, but 'video"),
    ('path-label', 'a.mp4 -1\n', "list.txt:1 has no whole number, 0 or more, as its label, but "
                                 "'-1'"),
    ('path-label', 'a.mp4 1.5\n', "as its label, but '1.5'"),
    ('path-label', 'a.mp4 ²\n', "as its label, but '²'"),
    ('path-label', f'a.mp4 {"9" * 5000}\n', "as its label, but '9999"),
    ('path-label', 'a.mp4 2\n', 'list.txt:1 has the label 2, and there are 2 classes: labels are '
                                '0…1'),
    ('path-label', 'a.mp4 1\nb.mp4 0\na.mp4 0\n', 'list.txt:3 lists a.mp4 again, after .*:1: '
                                                  'remove one'),
    ('path-frames-label', 'a.mp4 1\n', 'is not "path frames label"'),
    ('path-frames-label', 'a.mp4 x 1\n', "list.txt:1 has no whole number, 0 or more, as its number "
                                         "of frames, but 'x'"),
    ('id-label-path', 'v1 1\n', 'is not "id label path"'),
    ('path-label', '\n\n', 'lists no videos'),
    ('label-path', 'a 1\n', '`list_format` must be one of path-label, path-frames-label, '
                            'id-label-path, kinetics-csv')])
def test_a_list_that_is_not_right(tmp_path, form, text, sentence):
    (tmp_path / 'list.txt').write_text(text)
    (tmp_path / 'classes.txt').write_text('run\nwalk\n')
    with pytest.raises(UserError, match=sentence):
        read_list(str(tmp_path / 'list.txt'), form)


def test_counts_are_believed_of_folders_and_not_of_files(tmp_path):
    import cv2
    import numbered
    (tmp_path / 'frames').mkdir()
    for i, picture in enumerate(numbered.frames(3), 1):
        cv2.imwrite(str(tmp_path / 'frames' / f'img_{i:05d}.jpg'), picture)
    numbered.write(tmp_path / 'a.mp4', numbered.frames(3))
    (tmp_path / 'list.txt').write_text('frames 4 0\na.mp4 99 0\n')
    source = read_list(str(tmp_path / 'list.txt'), 'path-frames-label', str(tmp_path))
    with pytest.raises(VideoError, match='it holds 3 frames, and the list says 4'):
        source.video(0)
    assert len(source.video(1)) == 3


def test_a_label_too_large_for_classes_without_names_is_refused_at_once(tmp_path):
    (tmp_path / 'list.txt').write_text('a.mp4 1500000000\n')
    with pytest.raises(UserError, match='a.mp4 has the label 1500000000, and classes are fewer'):
        read_list(str(tmp_path / 'list.txt'), 'path-label')


def test_a_byte_order_mark_is_no_part_of_what_follows_it(tmp_path):
    (tmp_path / 'list.txt').write_text('a.mp4 1\n', encoding='utf-8-sig')
    (tmp_path / 'classes.txt').write_text('run\nwalk\n', encoding='utf-8-sig')
    source = read_list(str(tmp_path / 'list.txt'), 'path-label')
    assert (source.paths, source.classes) == (['a.mp4'], ('run', 'walk'))
    (tmp_path / 'k.csv').write_text(f'{HEADER}\na,x,0,10,train\n', encoding='utf-8-sig')
    assert kinetics_csv(str(tmp_path / 'k.csv'), '', 'train').classes == ('a',)
    folder = ucf(tmp_path / 'ucf')
    for path in (tmp_path / 'ucf' / 'ucfTrainTestlist').iterdir():
        path.write_text(path.read_text(), encoding='utf-8-sig')
    assert len(ucf101(folder, None, 2, 'train')) == 2 and len(ucf101(folder, None, 2, 'val')) == 1


def test_names_that_are_not_utf8_are_refused_as_classes_and_kept_as_paths(tmp_path):
    (tmp_path / 'list.txt').write_bytes(b'caf\xe9.mp4 0\n')
    source = read_list(str(tmp_path / 'list.txt'), 'path-label', str(tmp_path))
    (tmp_path / os.fsdecode(b'caf\xe9.mp4')).write_bytes(b'video')
    assert source.read(0) == b'video' and source.name(0) == f'{tmp_path}/caf\\xe9.mp4'
    (tmp_path / 'k.csv').write_bytes(HEADER.encode() + b'\ncaf\xe9,x,0,10,train\n')
    with pytest.raises(UserError, match=r"k.csv: the class name 'caf\\xe9' is not UTF-8"):
        kinetics_csv(str(tmp_path / 'k.csv'), '', 'train')
    touch(tmp_path / 'train' / os.fsdecode(b'caf\xe9') / 'a.mp4')
    with pytest.raises(UserError, match=r"'caf\\xe9' is not UTF-8"):
        kinetics_folder(str(tmp_path), 'train')


# ---- UCF-101

CLASSES = ('ApplyEyeMakeup', 'Archery', 'YoYo')


def ucf(folder, train='Archery/v_Archery_g08_c01.avi 2\r\nYoYo/v_YoYo_g09_c02.avi 3\r\n',
        test='YoYo/v_YoYo_g01_c01.avi\r\n', names=CLASSES, videos='UCF-101'):
    (folder / 'ucfTrainTestlist').mkdir(parents=True)
    (folder / 'ucfTrainTestlist' / 'classInd.txt').write_text(
        ''.join(f'{i} {name}\r\n' for i, name in enumerate(names, 1)) + '\r\n')
    (folder / 'ucfTrainTestlist' / 'trainlist02.txt').write_text(train)
    (folder / 'ucfTrainTestlist' / 'testlist02.txt').write_text(test)
    (folder / videos).mkdir(exist_ok=True)
    return str(folder)


def test_the_split_files_of_ucf101(tmp_path):
    folder = ucf(tmp_path)
    train = open_video_source(folder, 'train', split=2)
    test = open_video_source(folder, 'val', split=2)
    assert pairs(train, tmp_path / 'UCF-101') == [('Archery/v_Archery_g08_c01.avi', 1),
                                                  ('YoYo/v_YoYo_g09_c02.avi', 2)]
    assert pairs(test, tmp_path / 'UCF-101') == [('YoYo/v_YoYo_g01_c01.avi', 2)]
    assert train.classes == test.classes == CLASSES and train.split == test.split == 2


def test_the_class_folders_may_be_named_themselves_and_the_lists_be_elsewhere(tmp_path):
    folder = ucf(tmp_path)
    found = ucf101(str(tmp_path / 'UCF-101'), None, 2, 'train').paths
    assert found[0].startswith(str(tmp_path / 'UCF-101' / 'Archery'))
    (tmp_path / 'ucfTrainTestlist').rename(tmp_path / 'lists')
    assert len(ucf101(folder, str(tmp_path / 'lists'), 2, 'train')) == 2


@pytest.mark.parametrize('files, split, sentence', [
    ({}, 4, '`split` must be 1, 2 or 3, not 4'), ({}, 3, 'trainlist03.txt cannot be read: No such '
                                                         'file'),
    ({'train': 'Archery/v_Archery_g08_c01.avi\n'}, 2,
     r'trainlist02.txt:1 has the label \(none\), and Archery is 2'),
    ({'train': 'Archery/v_Archery_g08_c01.avi 1\n'}, 2, 'trainlist02.txt:1 has the label 1, and '
                                                        'Archery is 2 in'),
    ({'train': 'Surfing/v_Surfing_g08_c01.avi 2\n'}, 2, 'trainlist02.txt:1 is not '
                                                        '<Class>/<clip>.avi of a class in'),
    ({'names': ('A B', 'C')}, 2, 'classInd.txt does not number the classes')])
def test_split_files_that_are_not_right(tmp_path, files, split, sentence):
    folder = ucf(tmp_path, **files)
    with pytest.raises(UserError, match=sentence):
        ucf101(folder, None, split, 'train')


def test_split_files_that_are_not_there(tmp_path):
    with pytest.raises(UserError, match='no folder ucfTrainTestlist in .* or beside it: give it as '
                                        '`splits`'):
        ucf101(str(tmp_path), None, 1, 'train')
    with pytest.raises(UserError, match='`splits` nowhere is no folder'):
        ucf101(str(tmp_path), 'nowhere', 1, 'train')


# ---- any of them

def test_what_is_asked_for_must_make_sense(tmp_path):
    with pytest.raises(UserError, match='`list_format` needs a list'):
        open_video_source(str(tmp_path), 'train', list_format='path-label')
    with pytest.raises(UserError, match='`data_dir` is missing'):
        open_video_source(None, 'train')
    with pytest.raises(UserError, match='nowhere.txt cannot be read: No such file'):
        open_video_source(None, 'train', video_list='nowhere.txt', list_format='path-label')


def test_workers_get_a_copy():
    source = VideoSource(['a.mp4'], [0], ['x'], split=1)
    copy = pickle.loads(pickle.dumps(source))
    assert (copy.paths, copy.labels.tolist(), copy.classes, copy.split) == (['a.mp4'], [0], ('x', ),
                                                                            1)
