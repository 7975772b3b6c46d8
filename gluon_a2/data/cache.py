"""Where things made once and used again are kept."""
import os
import tempfile


def cache_folder():
    """The environment variable GLUON_A2_CACHE, or ~/.cache/gluon_a2."""
    return os.environ.get('GLUON_A2_CACHE') or os.path.join(os.path.expanduser('~'), '.cache',
                                                            'gluon_a2')


def made_once(name, make, cache=None):
    """Path of the folder `name` inside `cache` (`cache_folder()` where not given), filled by
    `make(folder)` if new.

    Processes may call this at the same time: each writes beside the final place and renames, so
    nobody sees half of it.
    """
    cache = cache or cache_folder()
    folder = os.path.join(cache, name)
    if os.path.exists(folder):
        return folder
    os.makedirs(cache, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f'.{name}-', dir=cache) as draft:
        content = os.path.join(draft, name)
        os.mkdir(content)
        make(content)
        try:
            os.rename(content, folder)
        except OSError:
            # otherwise another process was first: its work is as good
            if not os.path.exists(folder):
                raise
    return folder
