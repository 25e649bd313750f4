"""The counts of the benchmark of code size."""

import textwrap

from benchmarks import house

SOURCE = '''
"""Docstring
of the module."""

import math  # a comment


@decorated
def root(x):
    """Docstring."""
    # A comment.

    if (
        x < 0
        or math.isnan(x)
    ):
        message = "no"
        raise ValueError(
            message
        )
    if x > 9:
        x = 9
        raise OverflowError
    elif x == 5:
        print("five")
        return 1
    else:
        raise ValueError
    try:
        return math.sqrt(x)
    except OSError as error:
        raise ValueError from error
'''


def test_statements_and_those_that_only_defend_are_counted_by_line():
    statements, defence = house.statement_lines(SOURCE)
    lines = SOURCE.splitlines()
    assert [lines[i - 1].strip() for i in sorted(statements - defence)] == [
        *("import math  # a comment", "@decorated", "def root(x):"),
        *("elif x == 5:", 'print("five")', "return 1", "try:", "return math.sqrt(x)"),
    ]
    assert len(defence) == 8 + 3 + 1 + 2 and not defence - statements


def test_the_share_and_the_counts_are_those_of_all_files(tmp_path):
    package = tmp_path / "keras_ae"
    (package / "training").mkdir(parents=True)
    (package / "a.py").write_text("x = 1\n\n\ny = 2\n")
    (package / "training" / "b.py").write_text("if x:\n    raise ValueError\n")
    assert house.defence_share(package) == 0.5
    assert house.training_lines(package) == 2
    (tmp_path / "test_a.py").write_text(
        textwrap.dedent("""
            def test_one(): pass
            def helper(): pass
            class TestOther:
                def test_two(self): pass
        """)
    )
    assert house.count_tests(tmp_path) == 2


def test_figures_of_two_checkouts_stand_side_by_side():
    before, after = {("tests", "functions"): 3}, {("tests", "functions"): 5, ("README.md", "lines"): 40}
    assert "| tests | functions | 3 | 5 |" in house.table(after, before)
    assert "| README.md | lines |  | 40 |" in house.table(after, before)
    made = house.rows(after, before, 1.0)
    assert [(row["ours"], row["better"]) for row in made] == [(5, "higher"), (40, "lower"), (3, "higher")]
    assert "earlier" in made[-1]["data"] and "--before" in made[0]["command"]
