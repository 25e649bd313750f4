"""The tables in the documentation agree with the committed results, and rows are validated."""

import datetime
import json

import numpy as np
import pytest

from benchmarks import report, results

FIELDS = {
    "claim": "reconstructs",
    "data": "digits",
    "metric": "nats",
    "better": "lower",
    "ours": 12.3456,
    "seeds": [0],
    "seconds": 1.5,
    "command": "python -m benchmarks.toy",
}


def test_pages_agree_with_the_results():
    pages = report.pages()
    assert len(pages) > 5
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert report.render(text) == text
    assert report.FIGURES.read_text(encoding="utf-8") == report.figures()


def test_a_page_has_marked_rows_and_what_stands_beside_them(tmp_path):
    beside, other = FIELDS | {"claim": "beside"}, FIELDS | {"claim": "other", "metric": "seconds"}
    rows = [results.row(**FIELDS, required=13.0), results.row(**beside), results.row(**other)]
    assert [row["claim"] for row in report.marked(rows)] == ["reconstructs", "beside"]
    assert report.marked(rows[1:]) == rows[1:]
    results.write("toy_rows", rows, tmp_path)
    page = report.figures(tmp_path)
    assert "## Toy rows\n" in page and all(f"| {row['claim']} |" in page for row in rows)


def test_row_has_every_key_in_order():
    row = results.row(**FIELDS)
    assert tuple(row) == results.KEYS
    assert row["paper"] is row["required"] is row["target"] is row["standard_error"] is None


@pytest.mark.parametrize("key", results.REQUIRED)
def test_row_without_a_required_key_raises(key):
    fields = {name: value for name, value in FIELDS.items() if name != key}
    with pytest.raises(ValueError, match=key):
        results.row(**fields)


def test_row_with_an_unknown_key_raises():
    with pytest.raises(ValueError, match="colour"):
        results.row(**FIELDS, colour="red")


@pytest.mark.parametrize(
    "change",
    [{"better": "smaller"}, {"ours": float("nan")}, {"ours": "12"}, {"ours": None}, {"required": float("inf")}],
)
def test_row_with_a_bad_value_raises(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        results.row(**FIELDS | change)


@pytest.mark.parametrize("key", results.KEYS)
def test_write_refuses_a_row_without_a_key(tmp_path, key):
    row = results.row(**FIELDS)
    del row[key]
    with pytest.raises(ValueError, match=key):
        results.write("toy", [row], tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("better", "ours", "expected"),
    [
        *(("lower", 0.5, "target met"), ("lower", 1.0, "target met"), ("lower", 1.5, "met")),
        *(("lower", 2.0, "met"), ("lower", 2.5, "missed")),
        *(("higher", 2.5, "target met"), ("higher", 1.5, "missed")),
    ],
)
def test_outcome(better, ours, expected):
    target = 1.0 if better == "lower" else 2.0
    row = results.row(**FIELDS | {"better": better, "ours": ours, "required": 2.0, "target": target})
    assert results.outcome(row) == expected


def test_outcome_between_required_and_target_when_higher_is_better():
    row = results.row(**FIELDS | {"better": "higher", "ours": 1.1, "required": 1.0, "target": 1.15})
    assert results.outcome(row) == "met"


def test_outcome_without_a_target_or_a_required_value():
    assert results.outcome(results.row(**FIELDS, required=13.0)) == "met"
    assert results.outcome(results.row(**FIELDS, target=13.0)) == "measured"


def test_write_fills_versions_and_date_and_leaves_no_temporary_file(tmp_path):
    path = results.write("toy", [results.row(**FIELDS | {"ours": np.float32(0.5)})], tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == ["toy.json"]
    (row,) = json.loads(path.read_text(encoding="utf-8"))
    assert row["ours"] == 0.5
    assert {"python", "tensorflow", "keras", "tensorflow_probability", "numpy"} <= set(row["versions"])
    assert datetime.date.fromisoformat(row["date"])
    assert results.read("toy", tmp_path) == [row]


def test_a_failed_write_keeps_the_old_file_and_leaves_no_temporary_file(tmp_path, monkeypatch):
    path = results.write("toy", [results.row(**FIELDS)], tmp_path)
    old = path.read_bytes()

    def full_disk(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr("os.replace", full_disk)
    with pytest.raises(OSError, match="No space"):
        results.write("toy", [results.row(**FIELDS | {"ours": 1.0})], tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == ["toy.json"]
    assert path.read_bytes() == old


def test_read_of_missing_results_names_the_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"toy\.json"):
        results.read("toy", tmp_path)


def test_table():
    rows = [
        results.row(**FIELDS, paper=12.1, required=13.0, target=12.0, standard_error=0.0234),
        results.row(**FIELDS | {"claim": "a|b", "better": "higher", "ours": 25512.3, "required": 30000}),
        results.row(**FIELDS | {"ours": 0.0001234, "paper": "about 0"}),
    ]
    assert report.table(rows) == (
        "| claim | data | metric | paper | required | target | ours ± s.e. | result |\n"
        "| --- | --- | --- | ---: | ---: | ---: | ---: | --- |\n"
        "| reconstructs | digits | nats | 12.1 | ≤ 13.0 | ≤ 12.0 | 12.346 ± 0.023 | met |\n"
        "| a\\|b | digits | nats |  | ≥ 30,000 |  | 25,512 | **missed** |\n"
        "| reconstructs | digits | nats | about 0 |  |  | 0.0001234 | measured |\n"
        "\n"
        "Made by `python -m benchmarks.toy`.\n"
    )


def test_render_replaces_only_the_regions_and_is_idempotent(tmp_path):
    results.write("toy", [results.row(**FIELDS)], tmp_path)
    text = "# Title\n\n<!-- table: toy -->\nold\n<!-- end: toy -->\n\nafter\n"
    rendered = report.render(text, tmp_path)
    table = report.table(results.read("toy", tmp_path))
    assert rendered == f"# Title\n\n<!-- table: toy -->\n\n{table}\n<!-- end: toy -->\n\nafter\n"
    assert report.render(rendered, tmp_path) == rendered


def test_render_names_the_missing_results(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.json"):
        report.render("<!-- table: absent -->\n<!-- end: absent -->\n", tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "<!-- table: toy -->\n",
        "<!-- end: toy -->\n",
        "<!-- table: toy -->\n<!-- end: other -->\n",
        "<!-- table: a -->\n<!-- table: b -->\n<!-- end: b -->\n<!-- end: a -->\n",
    ],
)
def test_render_refuses_unpaired_markers(tmp_path, text):
    with pytest.raises(ValueError, match="needs its"):
        report.render(text, tmp_path)
