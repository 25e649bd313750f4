"""Finished runs are kept in files, so that a command of hours goes on after a kill."""

import json
import pathlib

from apps import common
from keras_ae import files


def kept(folder, name, make):
    """What `make(folder/name)` returned when this was first asked for, as JSON values; kept in `folder/name.json`."""
    path = pathlib.Path(folder) / f"{name}.json"
    if not path.exists():
        made = common.plain(make(path.parent / name))
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_text(path, json.dumps(made, indent=2))
    return json.loads(path.read_text())
