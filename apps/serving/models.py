"""The models of a server: named exports, each with its newest version loaded. Nothing here depends on the transport."""

import contextlib
import dataclasses
import logging
import os
import pathlib
import sys
import threading

import tensorflow as tf

from keras_ae import serving

from .failures import Failure
from .versions import Version, names

_MESSAGE = 500  # characters of an error of loading
_LOG = logging.getLogger("keras_ae")


@dataclasses.dataclass
class Status:
    """State of a version ("LOADING", "AVAILABLE", "UNLOADING" or "END"), with an error's code and message."""

    state: str
    code: str = "OK"
    message: str = ""


class Model:
    """The newest version of one export folder, replaced while requests go on.

    Args:
        name: str, the name in requests.
        folder: path of the export folder.

    Attributes:
        statuses: `{version: Status}` of all versions that were ever loaded or tried.
    """

    def __init__(self, name, folder):
        self.name, self.folder = name, pathlib.Path(folder)
        self.statuses = {}
        self._current, self._changed = None, threading.Condition()
        self._failed = {}  # state of the files of versions that could not be loaded

    @property
    def number(self):
        """The loaded version, an int; None if none is."""
        current = self._current
        return None if current is None else current.number

    @contextlib.contextmanager
    def version(self, number=None):
        """Context manager with the loaded `Version`, which stays loaded inside it.

        Args:
            number: int, the version to expect; None for the newest.

        Raises:
            Failure: if it is not loaded.
        """
        with self._changed:
            version = self._current
            if version is None:
                raise Failure("NOT_FOUND", f"Model {self.name!r} has no version that can be loaded; see its status.")
            if number not in (None, version.number):
                raise Failure(
                    "NOT_FOUND", f"Model {self.name!r}: expected version {version.number}, received {number}."
                )
            version.users += 1
        try:
            yield version
        finally:
            with self._changed:
                version.users -= 1
                self._changed.notify_all()

    def update(self):
        """Loads the newest version in the folder, unless it is loaded; the one before is freed once it is not in use.

        A version that cannot be loaded leaves the loaded one in place. It is tried again when its files change.
        """
        found = serving.numbered(self.folder)
        for number in sorted(found, reverse=True):
            if number == self.number:
                return
            state = _state_of_files(found[number])
            if self._failed.get(number) == state:
                continue
            self.statuses[number] = Status("LOADING")
            try:
                version = Version(found[number], number)
                try:
                    version.warm_up()
                except BaseException:
                    version.close()
                    raise
            except (OSError, ValueError, KeyError, RuntimeError, Failure, tf.errors.OpError) as error:
                self._failed[number] = state
                message = " ".join(str(error).split())[:_MESSAGE]
                self.statuses[number] = Status("END", getattr(error, "code", "UNKNOWN"), message)
                print(f"{self.name}: version {number} cannot be loaded: {message}", file=sys.stderr)
                continue
            self._failed.pop(number, None)
            self._replace(version)
            return

    def _replace(self, version):
        with self._changed:
            before, self._current = self._current, version
            self.statuses[version.number] = Status("AVAILABLE")
        if before is not None:
            self._free(before)

    def _free(self, version):
        self.statuses[version.number] = Status("UNLOADING")
        with self._changed:
            self._changed.wait_for(lambda: version.users == 0)
        version.close()
        self.statuses[version.number] = Status("END")

    def close(self):
        """Frees the loaded version once it is not in use."""
        with self._changed:
            version, self._current = self._current, None
        if version is not None:
            self._free(version)


def _state_of_files(path):
    files = [os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names]
    found = []
    for file in sorted(files):
        with contextlib.suppress(OSError):  # deleted meanwhile
            stat = os.stat(file)
            found.append((file, stat.st_size, stat.st_mtime_ns))
    return found


class Models:
    """All models of a server; a thread looks for new versions and new models.

    Args:
        folders: list of str: an export folder, a folder of export folders, or one of them as `name=folder`.
        poll_seconds: float, time between two looks.

    Raises:
        ValueError: if a folder does not exist or two models have one name.

    Example:

        models = Models(["exports"], poll_seconds=1.0)
        with models.get("digits").version() as version:
            version.predict("encode", {"x": x}, seconds=1.0)["z"]
    """

    def __init__(self, folders, poll_seconds):
        self._folders, self._poll_seconds = folders, poll_seconds
        self._models, self._stop = {}, threading.Event()
        self.update()
        self._watcher = threading.Thread(target=self._watch, name="versions", daemon=True)
        self._watcher.start()

    def __iter__(self):
        return iter(list(self._models.values()))

    def get(self, name):
        """Returns a `Model`; raises a `Failure` if there is none of that name."""
        if name not in self._models:
            raise Failure("NOT_FOUND", f"There is no model {name!r}; the server has {names(self._models)}.")
        return self._models[name]

    def update(self):
        """Loads the models and versions that are new."""
        for name, folder in named_exports(self._folders).items():
            if name not in self._models:
                self._models[name] = Model(name, folder)
        for model in self:
            model.update()

    def _watch(self):
        while not self._stop.wait(self._poll_seconds):
            try:
                self.update()
            except Exception as error:  # whatever is in the folders, the loaded versions go on
                _LOG.warning("Looking for new versions failed: %s", error)

    def close(self):
        """Stops the thread and frees all versions."""
        self._stop.set()
        self._watcher.join()
        for model in self:
            model.close()


def named_exports(folders):
    """Returns `{name: folder}` of the exports in folders, given as for `Models`."""
    found = {}
    for given in folders:
        name, equals, path = given.rpartition("=")
        folder = pathlib.Path(path)
        if not folder.is_dir():
            raise ValueError(f"--models: {str(folder)!r} is no folder.")
        if serving.versions(folder) or equals:
            exports = {name or folder.resolve().name: folder}
        else:
            exports = {each.name: each for each in sorted(folder.iterdir()) if serving.versions(each)}
        for name, folder in exports.items():
            if found.setdefault(name, folder) != folder:
                raise ValueError(
                    f"--models: {str(found[name])!r} and {str(folder)!r} are both named {name!r}; rename one: "
                    f"another_name={folder}."
                )
    return found
