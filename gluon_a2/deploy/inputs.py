"""From what a user names to the files that are meant: files, folders, and patterns such as
'photos/*.jpg'."""
import glob
import os

from ..data.sources import EXTENSIONS as IMAGES
from ..data.video_lists import EXTENSIONS as VIDEOS
from ..errors import UserError


def expand(words, videos=False):
    """The paths that `words` stand for, in their order: a folder for all images (or videos) in and
    below it, a pattern for what it matches (** goes into folders), both sorted; anything else for
    itself. A folder of frames is one video.

    UserError for a folder or a pattern in which there is nothing of the kind.
    """
    endings, paths = VIDEOS if videos else IMAGES, []
    for word in words:
        if os.path.isdir(word) and not (videos and _holds_frames(word)):
            found = _inside(word, endings, videos)
        elif os.path.exists(word) or not glob.has_magic(word):
            found = [word]
        else:
            found = [path for path in glob.glob(word, recursive=True)
                     if path.lower().endswith(endings) or videos and _holds_frames(path)]
        if not found:
            kind = 'videos' if videos else 'images'
            raise UserError(f'{word} holds no {kind} ({" ".join(endings)}): name other files')
        paths += sorted(found)
    return paths


def _inside(folder, endings, videos):
    found = []
    for path, folders, files in os.walk(folder):
        if videos:
            frames = [name for name in folders if _holds_frames(os.path.join(path, name))]
            found += [os.path.join(path, name) for name in frames]
            folders[:] = [name for name in folders if name not in frames]
        found += [os.path.join(path, name) for name in files
                  if name.lower().endswith(endings) and not name.startswith('.')]
    return found


def _holds_frames(path):
    """Whether `path` is a folder of frames, img_00001.jpg and so on."""
    return os.path.isdir(path) and any(name.startswith('img_') for name in os.listdir(path))
