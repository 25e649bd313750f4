"""SVG files: what is drawn, the way there and back, and what is refused."""

import itertools

import numpy as np
import pytest
import scipy.spatial

from keras_ae.datasets import sketches, svg

pytest.importorskip("defusedxml")
pytest.importorskip("fontTools")

HEAD = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">'


def written(tmp_path, body, head=HEAD):
    path = tmp_path / "a.svg"
    path.write_text(f"{head}{body}</svg>")
    return path


def lines(path, **options):
    return [line.tolist() for line in sketches.to_lines(svg.read(path, **{"size": None, "epsilon": 0.0} | options))]


def dense(drawing, gap=0.004):
    """Points along the lines of a drawing, `gap` apart, from the corner of its box, in units of its larger side."""
    lines = [np.asarray(line, "float64") for line in sketches.to_lines(drawing)]
    side, points = np.ptp(np.concatenate(lines), axis=0).max(), []
    for a, b in (pair for line in lines for pair in itertools.pairwise(line / side)):
        points.append(a + (b - a) * np.linspace(0, 1, 2 + int(np.linalg.norm(b - a) / gap))[:, None])
    points = np.concatenate(points)
    return points - points.min(axis=0)


def test_shapes_and_paths_are_drawn_in_order_with_their_transforms(tmp_path):
    path = written(
        tmp_path,
        '<defs><path d="M0 0L9 9"/></defs><g transform="translate(10) scale(2, 3)"><line x1="0" y1="0" x2="1" y2="2"/>'
        '<g transform="rotate(90)"><polyline points="0,0 1,0"/></g></g><path d="M20 0h3v4z"/>'
        '<path style="display: none" d="M0 0L99 0"/><rect width="2" height="1" transform="matrix(1 0 0 1 5 5)"/>',
    )
    found = lines(path)
    expected = [
        [[0, 0], [2, 6]],
        [[0, 0], [0, 3]],
        [[10, 0], [13, 0], [13, 4], [10, 0]],
        [[-5, 5], [-3, 5], [-3, 6], [-5, 6], [-5, 5]],
    ]
    assert len(found) == 4
    for one, two in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5)


def test_curves_become_lines_that_follow_them(tmp_path):
    circle = svg.read(written(tmp_path, '<circle cx="7" cy="5" r="3"/>'))
    points = np.concatenate(sketches.to_lines(circle))
    radius = np.linalg.norm(points - (points.max(axis=0) + points.min(axis=0)) / 2, axis=1)
    assert np.all(np.abs(radius - 127.5) < 2.0) and 8 < len(points) < 40
    quadratic = lines(written(tmp_path, '<path d="M0 0Q1 2 2 0T4 0"/>'))[0]
    t = np.linspace(0, 1, 25)
    np.testing.assert_allclose(quadratic[:25], np.stack([2 * t, 4 * t * (1 - t)], axis=1), atol=1e-5)
    cubic = lines(written(tmp_path, '<path d="M0 0C0 1 1 1 1 0A1 1 0 0 1 3 0"/>'))[0]
    assert np.max(cubic, axis=0)[1] == pytest.approx(0.75, abs=1e-3) and cubic[-1] == pytest.approx([3, 0], abs=1e-5)


def test_twenty_drawings_come_back_from_svg(tmp_path, rng):
    for i in range(20):
        t = np.linspace(0, 1, 60)[:, None]
        wave = rng.normal(size=(3, 2)) * 40
        curves = [sum(np.sin(k * 3 * t + rng.normal()) * wave[k] for k in range(3)) + 90 * j for j in range(3)]
        given = sketches.in_box(curves, epsilon=0.0)
        svg.write(tmp_path / f"{i}.svg", given)
        again = svg.read(tmp_path / f"{i}.svg")
        assert len(again) < len(given)
        a, b = dense(given), dense(again)
        ways = [scipy.spatial.distance.directed_hausdorff(*pair)[0] for pair in ((a, b), (b, a))]
        assert max(ways) < 0.02


def test_a_grid_has_every_drawing_and_dots_are_visible(tmp_path):
    square = [[0, 0, 0], [9, 0, 0], [0, 9, 1]]
    text = svg.text([square, np.zeros((0, 3)), [[0, 0, 1]]], columns=2)
    assert text.count("<path") == 2 and 'viewBox="0 0 200 200"' in text
    svg.write(tmp_path / "grid.svg", [square] * 3)
    assert len(lines(tmp_path / "grid.svg")) == 3


BOMB = '<!DOCTYPE svg [<!ENTITY a "aaaaaaaaaa">' + "".join(
    f'<!ENTITY {y} "{f"&{x};" * 10}">' for x, y in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB + f"]>{HEAD}<desc>&i;</desc></svg>", "entities are refused"),
        (
            f'<!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/passwd">]>{HEAD}<desc>&x;</desc></svg>',
            "entities are refused",
        ),
        (f"{HEAD}<script>alert(1)</script></svg>", "scripts are refused"),
        (f'{HEAD}<path d="M0 0L1 1" onclick="alert(1)"/></svg>', "scripts are refused"),
        (f'{HEAD}<foreignObject/><path d="M0 0L1 1"/></svg>', "scripts are refused"),
        (f'{HEAD}<image xlink:href="http://localhost/a.png"/></svg>', "references are refused"),
        (f'{HEAD}<a href="file:///etc/passwd"><path d="M0 0L1 1"/></a></svg>', "references are refused"),
        (f'{HEAD}<path style="fill: url( http://localhost/a )" d="M0 0L1 1"/></svg>', "references are refused"),
        (f'{HEAD}<g id="a"><path d="M0 0L1 1"/></g><use xlink:href="#a"/></svg>', "copies of other elements"),
        (HEAD + "<g>" * 200 + "</g>" * 200 + "</svg>", "100 inside each other"),
        (HEAD + "<g/>" * 500 + "</svg>", "more than 500 elements"),
        (f"{HEAD}</svg>", "it has no lines. Convert text"),
        (f"{HEAD}<text>a</text></svg>", "it has no lines"),
        ("not xml", "it is no SVG file"),
        (f'{HEAD}<path d="M0 0L1 1"/>', "it is no SVG file"),
        ("<html><body/></html>", "expected an svg element first"),
        (f'{HEAD}<path d="L1 1"/></svg>', "a path cannot be read"),
        (f'{HEAD}<path d="M0 0L1"/></svg>', "a path cannot be read"),
        (f'{HEAD}<rect width="10cm" height="2"/></svg>', "a rect cannot be read"),
        (f'{HEAD}<path d="M0 0L1e400 1"/></svg>', "NaN or infinity"),
        (f'{HEAD}<path d="M0 0L1 1" transform="spin(3)"/></svg>', "transform 'spin' is unknown"),
        (f'{HEAD}<path d="M0 0L1 1" transform="matrix(3)"/></svg>', "transform matrix has 1 numbers"),
    ],
)
def test_hostile_and_broken_files_are_refused(tmp_path, monkeypatch, text, message):
    monkeypatch.setattr(svg, "MAX_ELEMENTS", 500)
    path = tmp_path / "a.svg"
    path.write_text(text)
    with pytest.raises(ValueError, match=f"a.svg': {message}|a.svg': .*{message}"):
        svg.read(path)


def test_sizes_are_bounded(tmp_path, monkeypatch):
    path = written(tmp_path, '<path d="M0 0' + "L1 1" * 100 + '"/>')
    monkeypatch.setattr(svg, "MAX_POINTS", 50)
    with pytest.raises(ValueError, match="more than 50 points"):
        svg.read(path)
    monkeypatch.setattr(svg, "MAX_BYTES", 100)
    with pytest.raises(ValueError, match="expected at most 100"):
        svg.read(path)


def test_a_plain_doctype_and_references_inside_the_file_are_fine(tmp_path):
    head = '<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd">' + HEAD
    path = written(tmp_path, '<path style="fill: url(#a)" d="M0 0L1 1"/>', head)
    assert len(lines(path)) == 1
