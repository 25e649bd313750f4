"""Files appear whole or not at all."""

import pytest

from keras_ae.utils import files


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "folder" / "report.json"
    files.write_text(path, "old")
    with pytest.raises(UnicodeEncodeError):
        files.write_text(path, "\ud800")
    assert path.read_text() == "old"
    files.write_text(path, "new")
    assert path.read_text() == "new" and list(path.parent.iterdir()) == [path]


def test_the_temporary_name_keeps_the_suffixes_that_keras_reads(tmp_path):
    for name in ("m.keras", "m.weights.h5"):
        with files.replacing(tmp_path / name) as beside:
            assert beside.name.endswith(name[1:])
            beside.touch()


def test_a_long_name_with_dots_can_be_written(tmp_path):
    path = tmp_path / ("1. " + 110 * "я" + ".wav")
    files.write_text(path, "new")
    assert path.read_text() == "new" and len(list(tmp_path.iterdir())) == 1


def test_suffixes_are_counted_the_most_frequent_first():
    names = ["a.mp3", "b.MP3", "c.aif", "README", "d.tar.gz", "e.gz", "f.gz"]
    assert files.count_suffixes(names) == "3 .gz, 2 .mp3, 1 .aif, 1 without suffix"
    assert files.count_suffixes([]) == ""
