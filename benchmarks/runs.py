"""Finished runs are kept in files, so that a command of hours goes on after a kill."""

import datetime
import json
import pathlib
import shutil

from apps import common
from benchmarks import results
from keras_ae import files


def kept(folder, name, make, settings):
    """What `make(folder/name)` returned when this was first asked for with these settings, from `folder/name.json`.

    Args:
        folder: path.
        name: str, of the run.
        make: function of the run's own folder, in which it may go on where it was killed; returns a dict.
        settings: dict of JSON values, what the outcome depends on. With others the run is made again, from the start.

    Returns:
        the dict, and in it the `date` and `versions` of the run, as `results.row` takes them.
    """
    path, own = pathlib.Path(folder) / f"{name}.json", pathlib.Path(folder) / name
    settings = json.loads(json.dumps(common.plain(settings)))
    started = own / "settings.json"
    if path.exists() and (found := json.loads(path.read_text()))["settings"] == settings:
        return found["made"]
    if own.exists() and not (started.exists() and json.loads(started.read_text()) == settings):
        shutil.rmtree(own)
    files.write_text(started, json.dumps(settings))
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    made = common.plain(make(own)) | {"date": today, "versions": results.versions()}
    files.write_text(path, json.dumps({"settings": settings, "made": made}, indent=2))
    return made
