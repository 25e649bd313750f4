"""A disk that is full when a certain file is written: a limit on the size of files, which needs no special rights."""

import contextlib
import pathlib
import resource
import signal
import unittest.mock

from keras_ae.utils import files


@contextlib.contextmanager
def when_written(name):
    """Context manager in which no file can grow from the moment that the file `name` is about to be written.

    Raises:
        AssertionError: if no file of that name was written.
    """
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    naming, seen = files.naming, []

    @contextlib.contextmanager
    def limited(path, *arguments):
        with naming(path, *arguments):
            if pathlib.Path(path).name == name:
                seen.append(path)
                resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
            yield

    try:
        with unittest.mock.patch.object(files, "naming", limited):
            yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert seen, f"{name} was not written"
