"""Windows of series, standardised by channel."""

import pathlib

import numpy as np

from . import settings, source, tables


def read(data, folder, *, size=None, labels=None, schema=None):
    """Reads windows; see `source.read`. The schema has the keys "kind", "window", "mean" and "deviation".

    A `.npy` file holds one series, (T,) or (T, C), or several, (N, T, C). A CSV file holds one, with a column for each
    channel. Windows overlap by half. Of several series, the hash of the number decides which are of the test; of one,
    the last tenth of its windows is, without those that overlap with training.
    """
    path = pathlib.Path(data)
    series, left_out = _series(path)
    channels = series[0].shape[1]
    length = max(len(each) for each in series)
    window = schema["window"] if schema is not None else size or min(settings.SERIES["window"], max(8, length // 4))
    if schema is not None and len(schema["mean"]) != channels:
        raise ValueError(f"--data: expected {len(schema['mean'])} channels; {str(path)!r} has {channels}.")
    step, ids, windows, test = max(1, window // 2), [], [], []
    for number, each in enumerate(series):
        if len(each) < window:
            left_out.setdefault(f"series shorter than the window of {window} steps", []).append(str(number))
            continue
        starts = range(0, len(each) - window + 1, step)
        for place, start in enumerate(starts):
            cut = each[start : start + window]
            name = f"{number}:{start}"
            if not np.isfinite(cut).all():
                left_out.setdefault("window with a missing or infinite value", []).append(name)
                continue
            last = place >= 0.9 * len(starts)
            if len(series) == 1 and not last and start + window > starts[0] + 0.9 * len(starts) * step:
                continue  # overlaps with the test
            ids.append(name)
            windows.append(cut)
            test.append(last if len(series) == 1 else source.is_test(str(number)))
    if not windows:
        return source.Rows([], np.zeros((0, window, channels), "float32"), None, [], np.zeros(0, bool), left_out, {})
    x, test = np.stack(windows), source.split(test, ids)
    if schema is None:
        rows = x[~test] if not test.all() else x
        deviation = rows.std(axis=(0, 1))
        constant = [str(i) for i in np.flatnonzero(deviation == 0)]
        if constant:
            left_out["channel that is constant, kept as 0"] = constant
        schema = {"kind": "series", "window": window, "mean": rows.mean(axis=(0, 1)).tolist(), "classes": []}
        schema["deviation"] = np.where(deviation > 0, deviation, 1.0).tolist()
    x = ((x - np.array(schema["mean"])) / np.array(schema["deviation"])).astype("float32")
    return source.Rows(ids, x, None, [], test, left_out, schema)


def _series(path):
    """Returns a list of float64 arrays (T, C), and what was left out."""
    if path.suffix.lower() == ".npy":
        x = np.load(path, allow_pickle=False, mmap_mode="r")
        if x.ndim not in (1, 2, 3) or x.dtype.kind not in "iuf" or not x.size:
            raise ValueError(f"--data: expected numbers (T,), (T, C) or (N, T, C); received {x.dtype} {x.shape}.")
        x = x[:, None] if x.ndim == 1 else x
        return [np.asarray(each, "float64") for each in (x if x.ndim == 3 else [x])], {}
    names, cells = tables.columns_of(path)
    left_out, columns = {}, []
    for name, column in zip(names, cells, strict=True):
        numbers = [tables.number_of(cell) for cell in column]
        if sum(number is not None for number in numbers) < tables.NUMBERS * len(numbers):
            left_out.setdefault("column that is not of numbers", []).append(name)
        else:
            columns.append([float("nan") if number is None else number for number in numbers])
    if not columns or not columns[0]:
        raise ValueError(f"--data: {str(path)!r} has no column of numbers.")
    return [np.array(columns, "float64").T], left_out
