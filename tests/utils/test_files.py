"""Files appear whole or not at all, keep modes and links, and leftovers of killed writers go."""

import errno
import os
import stat
import time

import keras
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


def mode_of(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o400, 0o666])
def test_a_file_keeps_its_mode_and_nobody_else_reads_what_replaces_it(tmp_path, mode):
    path = tmp_path / "report.json"
    path.write_text("old")
    path.chmod(mode)
    with files.replacing(path) as beside:
        assert mode_of(beside) == mode | stat.S_IWUSR
        beside.write_text("new")
    assert path.read_text() == "new" and mode_of(path) == mode


def test_a_saved_model_keeps_its_mode_and_a_new_file_has_the_usual_one(tmp_path):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    (tmp_path / "usual").touch()
    for mode in (mode_of(tmp_path / "usual"), 0o600):
        with files.replacing(tmp_path / "model.keras") as beside:
            model.save(beside)
        assert mode_of(tmp_path / "model.keras") == mode
        (tmp_path / "model.keras").chmod(0o600)


def test_a_link_stays_and_its_target_is_written(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    target, link, longer = tmp_path / "elsewhere" / "model", tmp_path / "best.keras", tmp_path / "newest.keras"
    link.symlink_to("elsewhere/model")  # of a file that does not exist yet
    longer.symlink_to(link)
    for path in (link, longer):
        with files.replacing(path) as beside:
            assert beside.suffix == ".keras" and beside.parent == target.parent
            beside.write_text(path.name)
        assert link.is_symlink() and longer.is_symlink() and not target.is_symlink()
        assert target.read_text() == path.name
    assert os.listdir(target.parent) == ["model"]


def test_links_to_themselves_devices_and_pipes_are_refused(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "null").symlink_to("/dev/null")
    for name, message in (("loop", "back to itself"), ("pipe", "regular file"), ("null", "regular file")):
        with pytest.raises(OSError, match=message):
            files.write_text(tmp_path / name, "new")
    assert sorted(os.listdir(tmp_path)) == ["loop", "null", "pipe"] and stat.S_ISFIFO(
        os.stat(tmp_path / "pipe").st_mode
    )


def made(path, age):
    path.parent.mkdir(exist_ok=True)
    path.touch()
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_old_leftovers_go_and_young_and_foreign_ones_stay(tmp_path):
    target = tmp_path / "report.json"
    old, young = made(files.hidden(target), files.OLD + 60), made(files.hidden(target), 0)
    export, busy = files.hidden(tmp_path / "version"), files.hidden(tmp_path / "version")
    made(export / "saved_model.pb", files.OLD + 60)
    made(busy / "saved_model.pb", 0)
    for folder in (export, busy):
        os.utime(folder, (time.time() - files.OLD - 60,) * 2)
    foreign = [made(tmp_path / name, 1e6) for name in (".keras_ae-notes", ".hidden", "x.json")]
    files.write_text(target, "new")
    assert not old.exists() and not export.exists()
    assert young.exists() and busy.exists() and all(each.exists() for each in foreign)
    later = made(files.hidden(target), files.OLD + 60)
    files.write_text(target, "newer")  # the folder is not listed for each of many files
    assert later.exists()
    files.sweep(tmp_path)
    assert not later.exists()
    files.sweep(tmp_path, older_than=0)
    assert not young.exists() and not busy.exists()


def test_suffixes_are_counted_the_most_frequent_first():
    names = ["a.mp3", "b.MP3", "c.aif", "README", "d.tar.gz", "e.gz", "f.gz"]
    assert files.count_suffixes(names) == "3 .gz, 2 .mp3, 1 .aif, 1 without suffix"
    assert files.count_suffixes([]) == ""


# Writing to a full disk, and reading what strangers made.


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_named_with_the_file(tmp_path, number):
    with (
        pytest.raises(OSError, match=r"Free some space.*report\.json'") as caught,
        files.replacing(tmp_path / "report.json"),
    ):
        raise OSError(number, os.strerror(number))
    assert caught.value.errno == number and not list(tmp_path.iterdir())


def test_errors_without_a_number_or_of_the_temporary_file_are_named(tmp_path):
    with pytest.raises(OSError, match=r"x\.npy' could not be written: 9 requested and 0 written \(is the disk full"):  # noqa: SIM117
        with files.naming(tmp_path / "x.npy"):
            raise OSError("9 requested and 0 written")
    with (
        pytest.raises(PermissionError, match=r"Permission denied: '.*x\.npy'"),
        files.replacing(tmp_path / "x.npy") as beside,
    ):
        raise PermissionError(errno.EACCES, "Permission denied", str(beside))
    with pytest.raises(FileNotFoundError, match="another"), files.replacing(tmp_path / "x.npy"):
        raise FileNotFoundError(errno.ENOENT, "No such file", "another")


def test_only_files_of_disks_are_regular(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").touch()
    for name, target in (
        ("link", "file"),
        ("kernel", "/proc/self/status"),
        ("device", "/dev/zero"),
        ("none", "nothing"),
    ):
        (tmp_path / name).symlink_to(target)
    found = [
        name for name in ("file", "link", "kernel", "device", "none", "pipe", ".") if files.is_regular(tmp_path / name)
    ]
    assert found == ["file", "link"] and not files.is_regular("a\0b")


@pytest.mark.parametrize("text", ["", "{", "[]", "1", "[" * 10**5, '{"a": ' * 10**5, "\udcff", "NaN"])
def test_a_file_that_holds_no_object_is_named(tmp_path, text):
    (tmp_path / "card.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ValueError, match=r"card\.json' is damaged: expected"):
        files.read_json(tmp_path / "card.json")


def test_json_files_are_bounded(tmp_path, monkeypatch):
    (tmp_path / "card.json").write_text('{"a": 1}')
    assert files.read_json(tmp_path / "card.json") == {"a": 1}
    monkeypatch.setattr(files, "_MAX_JSON_BYTES", 7)
    with pytest.raises(ValueError, match="more than 7 bytes"):
        files.read_json(tmp_path / "card.json")
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(ValueError, match="expected a regular file"):
        files.read_json(tmp_path / "pipe.json")
