"""What MkDocs cannot know by itself: result tables, the API reference, pages from elsewhere, and a check of the site.

MkDocs calls the `on_...` functions as hooks. In a page,

    <!-- results: importance_weighted ^IWAE -->

becomes the table of those rows of `benchmarks/results/importance_weighted.json` whose claim the regular expression
finds, and

    <!-- api: VAE -->

the reference of `keras_ae.VAE` with what it inherits. In a tutorial, whose code markdown-exec runs,

    <!-- figure: digits scatter Codes of the test images -->

shows the Matplotlib figure `scatter` of the session `digits`, with this text for those who do not see it.

`python docs/gen.py` rewrites the README's table of models.
"""

import ast
import pathlib
import re
import shutil
import sys
from html.parser import HTMLParser

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # `mkdocs` starts without it, `python -m mkdocs` with it

from benchmarks import report, results  # noqa: E402

MACRO = re.compile(r"^<!-- (results|api|figure): (.+?) -->$", re.MULTILINE)

# What a model's page shows, in this order, of its own methods and of those it inherits.
METHODS = (
    *("fit", "compile", "evaluate", "encode", "decode", "reconstruct", "sample", "log_prob", "score", "predict_proba"),
    *("interpolate", "traverse", "averages"),
    *("posterior", "prior", "conditional_prior", "likelihood", "beta", "capacity", "units", "features", "deepen"),
    *("unfreeze", "infer", "hash", "probabilities", "set_thresholds", "dynamics_weight", "denoise", "process"),
    *("objectives", "loss_terms", "discriminate", "generate", "save", "export"),
)

# The README's table: a model, its page and paper, and one result by its file, claim and metric, with a remark.
SPEECH = "PESQ, wide"
GAP = "mutual information gap"
FAMILY = (
    ("Autoencoder", "autoencoder", "Hinton 2006", "samples", "^autoencoder, codes of the flow", "Frechet", "by a flow"),
    ("VAE", "vae", "Kingma 2014", "importance_weighted", "^VAE", "NLL", ""),
    ("BetaVAE", "beta_vae", "Higgins 2017", "disentanglement", "^beta-VAE, beta 4$", GAP, ""),
    ("BetaTCVAE", "beta_tcvae", "Chen 2018", "disentanglement", "^beta-TC-VAE, beta 6$", GAP, ""),
    ("IWAE", "iwae", "Burda 2016", "importance_weighted", "^IWAE, k = 50", "NLL", "k = 50"),
    ("CVAE", "cvae", "Sohn 2015", "conditional", "^CVAE, 2 of 4", "conditional NLL", "half of a digit seen"),
    ("M1", "m1", "Kingma 2014", "semi_supervised", "^M1, SVM of labels spread .*, 100", "error", "100 labels"),
    ("M2", "m2", "Kingma 2014", "semi_supervised", "^M2, 100 labels", "error", "100 labels"),
    ("M1M2", "m1m2", "Kingma 2014", "semi_supervised", r"^M1\+M2, 100 labels", "error", "100 labels"),
    (
        *("SemanticHashing", "semantic_hashing", "Shen 2018"),
        *("semantic_hashing", "^semantic hashing, 32", "precision", "32 bits"),
    ),
    ("VDSH", "vdsh", "Chaidaroon 2017", "semantic_hashing", "^vdsh, 32", "precision", "32 bits"),
    (
        *("DynamicAutoencoder", "dynamic_autoencoder", "Mirowski 2010", "dynamic_topics"),
        *("^dynamic autoencoder, 50 codes, trained stage by stage: below LDA", "perplexity of one", "50 codes"),
    ),
    ("SpeechDenoiser", "speech", "Braun 2021", "audio_denoising", "^the default, causal$", SPEECH, ""),
    ("SEGAN", "speech", "Pascual 2017", "audio_denoising", "^SEGAN, a quarter of the paper's width$", SPEECH, "small"),
)


# Hooks of MkDocs


def on_config(config):
    """Adds the generated pages to the navigation."""
    modules = {}
    for name in public_modules():
        folder, *rest = name.split(".")[1:]
        modules.setdefault(folder, []).append({".".join(rest) or folder: f"reference/{name}.md"})
    sections = [pages[0] if list(pages[0]) == [folder] else {folder: pages} for folder, pages in modules.items()]
    config.nav = [
        *(_with_notes(section) for section in config.nav),
        {"Reference": ["reference/index.md", *sections]},
        {"Changelog": "changelog.md"},
    ]
    return config


def on_pre_build(config):
    """Makes the empty folder that tutorials write their files to."""
    folder = ROOT / "build/tutorials"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def on_files(files, config):
    """Adds the API reference, the changelog and the notes on the benchmarks."""
    from mkdocs.structure.files import File

    pages = {
        "changelog.md": (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"),
        "benchmarks/notes.md": (ROOT / "benchmarks/NOTES.md").read_text(encoding="utf-8"),
        "reference/index.md": reference_index(),
        **{f"reference/{name}.md": f"# {name}\n\n::: {name}\n{_MODULE_OPTIONS}" for name in public_modules()},
    }
    for path, text in pages.items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown, **_):
    """Puts tables and references where a page asks for them."""
    made = {"results": table_of, "api": api_of, "figure": figure_of}
    return MACRO.sub(lambda match: made[match[1]](*match[2].split()), markdown)


def on_post_build(config):
    """Fails where a built page loads a script, a style, a font or an image from elsewhere."""
    found = foreign_assets(pathlib.Path(config.site_dir))
    if found:
        from mkdocs.exceptions import PluginError

        raise PluginError("These pages load from elsewhere:\n" + "\n".join(found))


# Tables


def table_of(name, *claims):
    """The table of a result file's rows whose claim the regular expression `claims`, given in words, finds.

    Raises:
        ValueError: if there is no such row.
    """
    claims = " ".join(claims)
    rows = [row for row in results.read(name) if re.search(claims, row["claim"])]
    if not rows:
        raise ValueError(f"benchmarks/results/{name}.json has no claim that {claims!r} finds.")
    return without_empty_columns(report.table(rows))


def without_empty_columns(table):
    """The Markdown table with the columns left out that no row fills."""
    lines = table.split("\n")
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines if line.startswith("|")]
    kept = [column for column in zip(*rows, strict=True) if any(cell.strip() for cell in column[2:])]
    made = ["|" + "|".join(row) + "|" for row in zip(*kept, strict=True)]
    return "\n".join([*made, *lines[len(rows) :]])


def figure_of(session, name, *alt):
    """A block for markdown-exec that puts the figure `name` of a tutorial's session into the page."""
    return f"""```python exec="on" html="on" session="{session}"
import base64, io

png = io.BytesIO()
{name}.savefig(png, dpi=100)
print('<img alt="{" ".join(alt)}" src="data:image/png;base64,' + base64.b64encode(png.getvalue()).decode() + '">')
```"""


def family():
    """The README's table: each model, its paper, and one result beside the paper's."""
    lines = ["| model | paper | measured | paper's | ours |", "|---|---|---|---:|---:|"]
    for name, page, source, *result, note in FAMILY:
        if name in exported():
            cells = _cells(*result)
            what = ", ".join(each for each in (cells["data"].split(",")[0], note, cells["metric"]) if each)
            row = (f"[`{name}`](docs/models/{page}.md)", source, what, cells["paper"], cells["ours ± s.e."])
            lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


def render_readme(text):
    """Returns the README with the table between its markers made anew."""
    before, _, rest = text.partition("<!-- family -->\n")
    _, marker, after = rest.partition("<!-- end: family -->")
    if not marker:
        raise ValueError("README.md: expected `<!-- family -->` and, further down, `<!-- end: family -->`.")
    return f"{before}<!-- family -->\n\n{family()}\n\n{marker}{after}"


def _cells(file, claims, metric):
    """The cells, by column, of the one row of a result file that the claim and the beginning of the metric find."""
    rows = [r for r in results.read(file) if re.search(claims, r["claim"]) and r["metric"].startswith(metric)]
    if len(rows) != 1:
        raise ValueError(f"benchmarks/results/{file}.json: {claims!r}, {metric!r} find {len(rows)} rows, not one.")
    lines = report.table(rows).split("\n")
    header, _, row = ([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[:3])
    return dict(zip(header, row, strict=True))


# The API reference


_MODULE_OPTIONS = (
    "    options:\n      heading_level: 2\n      show_root_heading: false\n      show_root_toc_entry: false\n"
)


def public_modules():
    """Names of the package's modules that define something for users, in order."""
    names = []
    for path in sorted((ROOT / "keras_ae").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        has_code = any(
            isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Assign) and not _name(node).startswith("_")
            for node in ast.parse(path.read_text(encoding="utf-8")).body
        )
        if path.name != "__init__.py" and has_code and not {"speech_sample", "utils"} & set(parts):
            names.append(".".join(parts))
    return names


def exported():
    """`keras_ae.__all__`, read without importing the package."""
    tree = ast.parse((ROOT / "keras_ae/__init__.py").read_text(encoding="utf-8"))
    assigned = {_name(node): node.value for node in tree.body if isinstance(node, ast.Assign)}
    return ast.literal_eval(assigned["__all__"])


def api_of(*names):
    """References of those of the classes `names` that the package has, with what they inherit."""
    members = "".join(f"\n        - {method}" for method in METHODS)
    options = f"    options:\n      inherited_members: true\n      show_source: true\n      members:{members}\n"
    return "\n\n".join(f"::: keras_ae.{name}\n{options}" for name in names if name in exported())


def reference_index():
    """A page that says where the names of `import keras_ae as ka` are documented."""
    lines = ["# API reference\n", "`import keras_ae as ka` gives these names:\n"]
    names = ", ".join(f"`ka.{name}`" for name in exported())
    pages = "\n".join(f"- [{name}]({name}.md): {_summary(name)}" for name in public_modules())
    return "\n".join([*lines, names + ".\n", "The modules:\n", pages, ""])


def _summary(module):
    path = ROOT / (module.replace(".", "/") + ".py")
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split("\n\n")[0].replace("\n", " ")


def _name(node):
    return node.name if hasattr(node, "name") else getattr(node.targets[0], "id", "_")


def _with_notes(section):
    pages = section.get("Benchmarks")
    return section if pages is None else {"Benchmarks": [*pages, {"Notes": "benchmarks/notes.md"}]}


# The check of the site


class _Assets(HTMLParser):
    """Collects what a page makes a browser load."""

    def __init__(self):
        super().__init__()
        self.urls = []

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag == "link" and attrs.get("rel") in ("canonical", "alternate", "prev", "next"):
            return
        if tag in ("script", "img", "iframe", "source", "video", "audio", "embed"):
            self.urls.append(attrs.get("src"))
        if tag in ("link", "use"):
            self.urls.append(attrs.get("href"))


def foreign_assets(folder):
    """What the pages and styles below `folder` load from other hosts: `["page: URL"]`."""
    found = []
    for path in sorted(folder.rglob("*")):
        if path.suffix == ".html":
            parser = _Assets()
            parser.feed(path.read_text(encoding="utf-8"))
            urls = parser.urls
        elif path.suffix == ".css":
            text = path.read_text(encoding="utf-8")
            urls = re.findall(r"url\(\s*[\"']?([^)\"']+)|@import\s+[\"']([^\"']+)", text)
            urls = [a or b for a, b in urls]
        else:
            continue
        found += [f"{path.relative_to(folder)}: {url}" for url in urls if url and re.match(r"(https?:)?//", url)]
    return found


def main():
    readme = ROOT / "README.md"
    readme.write_text(render_readme(readme.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
