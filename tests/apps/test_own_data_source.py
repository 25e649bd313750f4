"""Readers of one's own data: what is used, in which form, and what is left out with which reason."""

import csv
import hashlib
import io
import tarfile

import numpy as np
import pytest
from PIL import Image

from apps import common
from apps.own_data import models, run, series, settings, source, tables


def picture(path, size=(10, 8), mode="RGB", seed=0, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3)).astype("uint8")
    image = Image.fromarray(pixels).convert("L" if mode == "I;16" else mode)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image).astype("uint16") * 257)
    image.save(path, **options)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures of all kinds, two classes, copies, and files that are none."""
    root = tmp_path_factory.mktemp("pictures")
    for i in range(12):
        picture(root / "cats" / f"{i}.png", seed=i)
    picture(root / "dogs" / "grey.png", (6, 6), "L", 20)
    picture(root / "dogs" / "deep.png", (6, 6), "I;16", 21)
    picture(root / "dogs" / "clear.png", (20, 9), "RGBA", 22)
    picture(root / "dogs" / "print.jpg", (9, 20), "CMYK", 23)
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(root / "dogs" / "turned.jpg", (16, 8), seed=24, exif=exif)
    frames = [Image.fromarray(np.full((8, 8), i, "uint8")) for i in range(3)]
    frames[0].save(root / "dogs" / "moving.gif", save_all=True, append_images=frames[1:])
    (root / "dogs" / "copy.png").write_bytes((root / "cats" / "0.png").read_bytes())
    (root / "dogs" / "cut.jpg").write_bytes((root / "dogs" / "print.jpg").read_bytes()[:100])
    (root / "dogs" / "text.png").write_text("no picture")
    (root / "notes.txt").write_text("nothing")
    (root / ".hidden.png").write_bytes(b"")
    return root


def test_a_folder_of_anything_is_read_or_left_out_with_a_reason(folder, tmp_path):
    rows = source.read(folder, tmp_path, size=8)
    assert rows.x.shape == (19, 8, 8, 3) and rows.x.dtype == np.uint8
    assert rows.left_out == {"not an image, or damaged": ["dogs/cut.jpg", "dogs/text.png"]}
    assert source.class_counts(rows) == {"cats": 12, "dogs": 7}
    assert rows.x.attributes["duplicates"] == 1
    assert source.described(rows.left_out) == "2 not an image, or damaged (dogs/cut.jpg, dogs/text.png)"
    first = np.asarray(Image.open(folder / "cats/0.png").resize((8, 8), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(rows.x[rows.ids.index("cats/0.png")], first)
    for name, test in zip(rows.ids, rows.test, strict=True):
        assert test == (int(hashlib.sha1(name.encode()).hexdigest()[:8], 16) % 10 == 0)


def test_a_tar_is_read_as_its_folder(folder, tmp_path):
    path = tmp_path / "all.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder, arcname="pictures")
    of_folder, of_tar = source.read(folder, tmp_path, size=8), source.read(path, tmp_path, size=8)
    assert sorted(of_tar.ids) == sorted(of_folder.ids)
    order = [of_tar.ids.index(name) for name in of_folder.ids]
    np.testing.assert_array_equal(of_tar.x[order], of_folder.x[:])
    np.testing.assert_array_equal(of_tar.labels[order], of_folder.labels)
    np.testing.assert_array_equal(of_tar.test[order], of_folder.test)


def test_a_tar_cannot_write_outside(tmp_path):
    path, data = tmp_path / "bad.tar", io.BytesIO()
    Image.new("RGB", (8, 8)).save(data, "png")
    with tarfile.open(path, "w") as archive:
        for name in ("../../outside.png", "/outside.png", "a.png"):
            info = tarfile.TarInfo(name)
            info.size = len(data.getvalue())
            archive.addfile(info, io.BytesIO(data.getvalue()))
    rows = source.read(path, tmp_path / "cache", size=8)
    assert len(rows.x) == 3 and not list(tmp_path.parent.glob("outside*"))


def test_a_csv_names_pictures_and_labels(folder, tmp_path):
    path = folder / "list.csv"
    with open(path, "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerows([("file", "kind"), ("cats/1.png", "cat"), ("dogs/clear.png", "dog"), ("gone.png", "dog")])
        rows.writerow(("cats/2.png", ""))
    try:
        rows = source.read(path, tmp_path, size=8, labels="kind")
        assert rows.ids == ["cats/1.png", "dogs/clear.png", "cats/2.png"] and rows.labels.tolist() == [0, 1, -1]
        assert rows.left_out == {"named, but there is no such file": ["gone.png"]}
        with pytest.raises(common.UserError, match="has no column 'colour'; it has file, kind"):
            source.read(path, tmp_path, size=8, labels="colour")
    finally:
        path.unlink()


def test_arrays_keep_their_size_and_split(tmp_path):
    x, y = np.arange(12 * 36).reshape(12, 6, 6).astype("uint8"), np.arange(12) % 3
    np.savez(tmp_path / "some.npz", x_train=x[:8], y_train=y[:8], x_test=x[8:], y_test=y[8:])
    rows = source.read(str(tmp_path / "some.npz"), tmp_path)
    np.testing.assert_array_equal(rows.x[:][..., 0], x)
    assert rows.labels.tolist() == y.tolist() and rows.test.tolist() == [False] * 8 + [True] * 4
    assert rows.schema == {"kind": "pictures", "size": [6, 6], "channels": 1, "classes": ["0", "1", "2"]}


def test_grey_pictures_have_one_channel_and_new_ones_take_the_form_of_the_model(folder, tmp_path):
    for i in range(4):
        picture(tmp_path / "grey" / f"{i}.png", (7, 7), "L", i)
    grey = source.read(tmp_path / "grey", tmp_path, size=8)
    assert grey.x.shape == (4, 8, 8, 1) and grey.labels is None
    again = source.read(folder, tmp_path, schema=grey.schema)
    assert again.x.shape == (19, 8, 8, 1)
    pixels = Image.fromarray(source.read(folder, tmp_path, size=8).x[0])
    np.testing.assert_array_equal(again.x[0][..., 0], np.asarray(pixels.convert("L")))
    colour = source.read(tmp_path / "grey", tmp_path, schema=grey.schema | {"channels": 3})
    assert colour.x[[0, 1]].shape == (2, 8, 8, 3)


def test_a_table_of_numbers_categories_and_gaps(tmp_path):
    path = tmp_path / "table.csv"
    lines = ["size,colour,empty,same,mixed,id,label"]
    lines += [f"{i},{'red' if i % 2 else 'blue'},,7,{i if i else 'many'},name{i},{'ab'[i % 2]}" for i in range(80)]
    lines[5] = "inf,,,7,3,name4,a"
    path.write_text("\n".join(lines))
    rows = source.read(path, tmp_path)
    assert rows.left_out["column that is empty"] == ["empty"]
    assert rows.left_out["column that is constant"] == ["same"]
    assert rows.left_out["column of more than 50 different texts"] == ["id"]
    assert rows.left_out["infinite number, taken as missing"] == ["size[4]"]
    assert rows.left_out["text in a column of numbers, taken as missing"] == ["mixed[0]"]
    assert [each["name"] for each in rows.schema["columns"]] == ["size", "colour", "mixed"]
    assert rows.classes == ["a", "b"] and rows.labels.tolist() == [i % 2 for i in range(80)]
    train = ~rows.test & (np.arange(80) != 4)
    np.testing.assert_allclose([rows.x[train, 0].mean(), rows.x[train, 0].std()], [0, 1], atol=1e-5)
    assert rows.x[4, 0] == 0 and rows.x[4, 1] == 1  # missing, and marked so
    assert rows.x[4, 2:4].tolist() == [0, 0]  # a category that is missing
    new = tmp_path / "new.csv"
    new.write_text("colour,size,mixed\ngreen,3,1\n")
    again = source.read(new, tmp_path, schema=rows.schema)
    assert again.left_out == {"value of colour that training did not see": ["green"]}
    assert again.x[0, 0] == pytest.approx(rows.x[3, 0])
    new.write_text("size\n3\n")
    with pytest.raises(common.UserError, match="lacks the columns colour, mixed"):
        source.read(new, tmp_path, schema=rows.schema)


def test_parquet_is_read_as_the_same_csv(tmp_path):
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    columns = {"a": [1.5, None, 3.0, 4.0] * 5, "b": ["x", "y", None, "x"] * 5}
    parquet.write_table(pyarrow.table(columns), tmp_path / "t.parquet")
    text = "".join(f"{a or ''},{b or ''}\n" for a, b in zip(*columns.values(), strict=True))
    (tmp_path / "t.csv").write_text("a,b\n" + text)
    made = [source.read(tmp_path / name, tmp_path) for name in ("t.parquet", "t.csv")]
    np.testing.assert_array_equal(made[0].x, made[1].x)


def test_huge_numbers_do_not_overflow():
    facts = tables.described("a", [1e308, -1e308, 5e307], np.ones(3, bool), {})
    made = tables.encoded(facts, [1e308, -1e308, 5e307], {})
    assert np.isfinite(made).all() and made.std() == pytest.approx(1, rel=1e-3)


def test_windows_of_a_series_do_not_overlap_between_training_and_test(tmp_path):
    np.save(tmp_path / "s.npy", np.arange(400.0))
    rows = source.read(tmp_path / "s.npy", tmp_path, size=20)
    assert rows.x.shape[1:] == (20, 1)
    starts = np.array([int(name.split(":")[1]) for name in rows.ids])
    assert rows.test.any() and starts[~rows.test].max() + 20 <= starts[rows.test].min()
    x = rows.x[~rows.test]
    np.testing.assert_allclose([x.mean(), x.std()], [0, 1], atol=1e-5)


def test_short_series_and_gaps_are_left_out(tmp_path):
    several = np.random.default_rng(0).normal(size=(12, 30, 2))
    several[3, 5, 1] = np.nan
    np.save(tmp_path / "s.npy", several)
    rows = source.read(tmp_path / "s.npy", tmp_path, size=30)
    assert rows.left_out == {"window with a missing or infinite value": ["3:0"]} and len(rows.x) == 11
    with pytest.raises(common.UserError, match="12 series shorter than the window of 31 steps"):
        source.read(tmp_path / "s.npy", tmp_path, size=31)
    (tmp_path / "s.csv").write_text("t,a\n" + "".join(f"word,{i}\n" for i in range(50)))
    rows = source.read(tmp_path / "s.csv", tmp_path, size=10)
    assert rows.x.shape[1:] == (10, 1) and rows.schema["kind"] == "series"
    assert series.read(tmp_path / "s.csv", tmp_path, schema=rows.schema).x.shape == rows.x.shape


def test_every_pass_has_every_row_once_and_is_mirrored_at_random():
    x = np.arange(7 * 8, dtype="uint8").reshape(7, 2, 2, 2)
    rows = source.Rows(list("abcdefg"), x, None, [], np.zeros(7, bool), {}, {"kind": "pictures"})
    chosen = {"batch_size": 3, "flips": True}

    def numbers(**options):
        data = run.batches(rows, np.arange(7), chosen, 0, 4, False)
        return [batch.numpy() for _ in range(options["epochs"]) for batch in data]

    once = numbers(epochs=2)
    assert len(once) == 8 and once[0].shape == (3, 2, 2, 2)
    seen = np.rint(np.concatenate(once)[:21] * 255)
    left, right = seen[:, 0, 0, 0], seen[:, 0, 1, 0]
    rows_seen = np.minimum(left, right) // 8
    for one_pass in range(3):  # each pass has every row once
        assert sorted(rows_seen[7 * one_pass : 7 * one_pass + 7]) == list(range(7))
    assert 0 < (left > right).sum() < 21  # some are mirrored
    np.testing.assert_array_equal(np.concatenate(numbers(epochs=2)), np.concatenate(once))


def test_flips_are_on_for_data_that_look_like_their_mirror_images(capsys):
    rng = np.random.default_rng(0)
    ramp = np.linspace(0, 200, 8)[None, None, :, None] * rng.uniform(0.2, 1, (100, 1, 1, 1))
    one_sided = (ramp + np.zeros((1, 8, 1, 1))).astype("uint8")
    both = np.concatenate([one_sided, one_sided[:, :, ::-1]])
    for x, expected in ((one_sided, False), (both, True)):
        every = np.arange(len(x))
        rows = source.Rows([str(i) for i in every], x, None, [], np.zeros(len(x), bool), {}, {"kind": "pictures"})
        parts = run.Parts(every, every, every)
        assert run.mirrors(rows, parts, models.axes_of(x, parts.train, 1, 0)) is expected
    assert "Flips are off" in capsys.readouterr().err


def test_the_code_is_as_small_as_keeps_the_variance():
    chosen = {"latent_dims": (2, 4, 8), "kept": 0.9}
    assert settings.latent_dim(np.array([0.5, 0.95]), chosen) == 2
    assert settings.latent_dim(np.array([0.5, 0.6, 0.7, 0.8, 0.9, 0.91, 0.92, 0.93]), chosen) == 8
    assert settings.latent_dim(np.array([0.2]), chosen) == 1
    assert settings.for_pictures(10_000, 64, 20)["patch"] == 4 and settings.for_pictures(10_000, 28, 20)["patch"] == 2


def test_what_is_no_data_says_what_to_do(tmp_path):
    (tmp_path / "a.doc").write_text("")
    with pytest.raises(common.UserError, match="expected a folder or tar of pictures"):
        source.kind_of(tmp_path / "a.doc")
    (tmp_path / "empty").mkdir()
    with pytest.raises(common.UserError, match=r"nothing in .* can be used: empty"):
        source.read(tmp_path / "empty", tmp_path)
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(common.UserError, match=r"nothing in .* can be used: 1 table without rows"):
        source.read(tmp_path / "empty.csv", tmp_path)
