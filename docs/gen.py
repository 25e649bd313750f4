"""Generates what MkDocs cannot: result tables, charts, the API reference and pages from outside docs/. Checks the site.

MkDocs calls the `on_...` functions as hooks. Four macros work in every page:

    <!-- results: importance_weighted ^IWAE -->

inserts a table of the rows of `benchmarks/results/importance_weighted.json` whose claim matches the regular expression.

    <!-- chart: iwae Negative log-likelihood against k -->

inserts the chart `iwae` of `charts.py`, drawn from the results, with the rest of the line as its alt text.

    <!-- api: VAE -->

inserts the reference of `keras_ae.VAE`, including inherited methods.

    <!-- figure: digits scatter Codes of the test images -->

inserts the Matplotlib figure `scatter` of the tutorial session `digits`, whose code markdown-exec runs. The rest of the
line is the alt text.

`python docs/gen.py` rewrites the README's table of models.
"""

import ast
import base64
import html
import io
import pathlib
import re
import shutil
import sys
from html.parser import HTMLParser

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "docs")]  # for `benchmarks` and `charts`

import charts  # noqa: E402

from benchmarks import report, results  # noqa: E402

MACRO = re.compile(r"^<!-- (results|chart|api|figure): (.+?) -->$", re.MULTILINE)

# The methods that a model's page documents, own or inherited, in this order.
METHODS = (
    *("fit", "compile", "evaluate", "predict", "encode", "decode", "reconstruct", "sample", "sample_from_seeds"),
    *("log_prob", "score", "score_from_seeds", "squared_error", "predict_proba", "interpolate", "analogy"),
    *("traverse", "complete", "generate"),
    *("sweep_labels", "averages", "posterior", "prior", "conditional_prior", "likelihood", "beta", "capacity", "units"),
    *("features", "deepen", "unfreeze", "infer", "components", "align", "weight", "hessian", "k", "hash"),
    *("instance_noise", "mmd_weight", "gamma", "heads"),
    *("probabilities", "set_thresholds", "dynamics_weight", "denoise", "process"),
    *("objectives", "loss_terms", "discriminate", "generate", "classify", "fit_contrast", "save", "export"),
)

# Rows of the README's table: model, page, paper, then the result file, a regular expression for the claim, the start of
# the metric, and a note. A model without a result yet has none of these.
SPEECH = "PESQ, wide"
GAP = "mutual information gap"
FAMILY = (
    (
        "Autoencoder",
        "autoencoder",
        "Hinton 2006",
        "samples",
        "^autoencoder, codes of the flow",
        "Frechet",
        "codes from a flow",
    ),
    (
        *("LinearAutoencoder", "linear_autoencoder", "Baldi 1989", "dimension_reduction"),
        *("^linear autoencoder, untied, 32", "largest principal angle", "32 codes"),
    ),
    ("DenoisingAutoencoder", "denoising_autoencoder", "Vincent 2010"),
    ("SparseAutoencoder", "sparse_autoencoder", "Makhzani 2014"),
    ("ContractiveAutoencoder", "contractive_autoencoder", "Rifai 2011"),
    ("VAE", "vae", "Kingma 2014, measured by Burda 2016", "importance_weighted", "^VAE", "NLL", ""),
    ("BetaVAE", "beta_vae", "Higgins 2017", "disentanglement", "^beta-VAE, beta 4$", GAP, ""),
    ("BetaTCVAE", "beta_tcvae", "Chen 2018", "disentanglement", "^beta-TC-VAE, beta 6$", GAP, ""),
    ("FactorVAE", "factor_vae", "Kim 2018"),
    ("InfoVAE", "info_vae", "Zhao 2019"),
    ("IWAE", "iwae", "Burda 2016", "importance_weighted", "^IWAE, k = 50", "NLL", "k = 50"),
    ("CVAE", "cvae", "Sohn 2015", "conditional", "^CVAE, 2 of 4", "conditional NLL", "half of each digit given"),
    ("M1", "m1", "Kingma 2014", "semi_supervised", "^M1, SVM of labels spread .*, 100", "error", "100 labels"),
    ("M2", "m2", "Kingma 2014", "semi_supervised", "^M2, 100 labels", "error", "100 labels"),
    ("M1M2", "m1m2", "Kingma 2014", "semi_supervised", r"^M1\+M2, 100 labels", "error", "100 labels"),
    ("AAE", "aae", "Makhzani 2015"),
    ("ConditionalAAE", "conditional_aae", "Makhzani 2015"),
    ("SemiSupervisedAAE", "semi_supervised_aae", "Makhzani 2015"),
    ("ClusterHeadAAE", "semi_supervised_aae", "Makhzani 2015"),
    ("WAE", "wae", "Tolstikhin 2018"),
    ("AVB", "avb", "Mescheder 2017"),
    (
        *("SemanticHashing", "semantic_hashing", "Shen 2018"),
        *("semantic_hashing", "^semantic hashing, 32", "precision", "32 bits"),
    ),
    ("VDSH", "vdsh", "Chaidaroon 2017", "semantic_hashing", "^vdsh, 32", "precision", "32 bits"),
    (
        *("DynamicAutoencoder", "dynamic_autoencoder", "Mirowski 2010", "dynamic_topics"),
        *("^dynamic autoencoder, 50 codes, trained stage by stage, compared with LDA", "perplexity of one", "50 codes"),
    ),
    ("SketchVAE", "sketch_vae", "Ha 2017"),
    ("SpeechDenoiser", "speech", "Braun 2021", "audio_denoising", "^the default, causal$", SPEECH, ""),
    ("SEGAN", "speech", "Pascual 2017", "audio_denoising", "^SEGAN, a quarter of the paper's width$", SPEECH, "small"),
)


# Published results that are stored in another row: SemanticHashing extends NASH, the method of its paper.
PUBLISHED = {"SemanticHashing": ("semantic_hashing", "^nash, 32", "precision")}


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
    """Creates the empty folder that tutorials write to."""
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
    """Replaces the macros of a page."""
    made = {"results": table_of, "chart": chart_of, "api": api_of, "figure": figure_of}
    return MACRO.sub(lambda match: made[match[1]](*match[2].split()), markdown)


def on_post_build(config):
    """Raises an error if a built page loads a script, a style, a font or an image from another host."""
    found = foreign_assets(pathlib.Path(config.site_dir))
    if found:
        from mkdocs.exceptions import PluginError

        raise PluginError("These pages load files from other hosts:\n" + "\n".join(found))


# Tables and figures


def table_of(name, *claims):
    """Returns the table of the rows whose claim matches the regular expression `claims`, given as separate words.

    Raises:
        ValueError: if no row matches.
    """
    claims = " ".join(claims)
    rows = [row for row in results.read(name) if re.search(claims, row["claim"])]
    if not rows:
        raise ValueError(f"benchmarks/results/{name}.json has no claim that matches {claims!r}.")
    return without_empty_columns(report.table(rows))


def without_empty_columns(table):
    """Returns the Markdown table without the columns that are empty in every row."""
    lines = table.split("\n")
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines if line.startswith("|")]
    kept = [column for column in zip(*rows, strict=True) if any(cell.strip() for cell in column[2:])]
    made = ["|" + "|".join(row) + "|" for row in zip(*kept, strict=True)]
    return "\n".join([*made, *lines[len(rows) :]])


def chart_of(name, *alt):
    """Returns the chart `name` as HTML, with the image inside the page.

    Raises:
        ValueError: if there is no such chart.
    """
    if name not in charts.CHARTS:
        raise ValueError(f"docs/charts.py has no chart {name!r}; it has {', '.join(charts.CHARTS)}.")
    png = io.BytesIO()
    charts.CHARTS[name]().savefig(png, format="png", dpi=150)
    data = base64.b64encode(png.getvalue()).decode()
    return f'<p><img alt="{html.escape(" ".join(alt))}" src="data:image/png;base64,{data}"></p>'


def figure_of(session, name, *alt):
    """Returns a block for markdown-exec that shows the figure `name` of a tutorial's session."""
    return f"""```python exec="on" html="on" session="{session}"
import base64, io

png = io.BytesIO()
{name}.savefig(png, dpi=100)
print('<img alt="{" ".join(alt)}" src="data:image/png;base64,' + base64.b64encode(png.getvalue()).decode() + '">')
```"""


def family():
    """Returns the README's table: each model, its paper, and one result with the published one."""
    lines = ["| model | paper | measured | published | ours |", "|---|---|---|---:|---:|"]
    for name, page, source, *measured in FAMILY:
        if name in exported() and not measured:
            lines.append(f"| [`{name}`](docs/models/{page}.md) | {source} | - | - | - |")
        elif name in exported():
            *result, note = measured
            cells = _cells(*result)
            what = ", ".join(each for each in (cells["data"].split(",")[0], note, cells["metric"]) if each)
            published = cells["paper"] or (_cells(*PUBLISHED[name])["paper"] if name in PUBLISHED else "-")
            row = (f"[`{name}`](docs/models/{page}.md)", source, what, published, cells["ours ± s.e."])
            lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


def render_readme(text):
    """Returns the README with a new table between its markers."""
    before, _, rest = text.partition("<!-- family -->\n")
    _, marker, after = rest.partition("<!-- end: family -->")
    if not marker:
        raise ValueError("README.md: expected `<!-- family -->` followed by `<!-- end: family -->`.")
    return f"{before}<!-- family -->\n\n{family()}\n\n{marker}{after}"


def _cells(file, claims, metric):
    """Returns `{column: cell}` of the only row that the claim and the start of the metric match."""
    rows = [r for r in results.read(file) if re.search(claims, r["claim"]) and r["metric"].startswith(metric)]
    if len(rows) != 1:
        raise ValueError(f"benchmarks/results/{file}.json: {claims!r} and {metric!r} match {len(rows)} rows, not one.")
    lines = report.table(rows).split("\n")
    header, _, row = ([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[:3])
    return dict(zip(header, row, strict=True))


# The API reference


_MODULE_OPTIONS = (
    "    options:\n      heading_level: 2\n      show_root_heading: false\n      show_root_toc_entry: false\n"
)


def public_modules():
    """Returns the names of the modules that define something public, in order."""
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
    """Returns `keras_ae.__all__` without importing the package."""
    tree = ast.parse((ROOT / "keras_ae/__init__.py").read_text(encoding="utf-8"))
    assigned = {_name(node): node.value for node in tree.body if isinstance(node, ast.Assign)}
    return ast.literal_eval(assigned["__all__"])


def api_of(*names):
    """Returns the references of those classes in `names` that the package exports, with inherited methods."""
    members = "".join(f"\n        - {method}" for method in METHODS)
    options = f"    options:\n      inherited_members: true\n      show_source: true\n      members:{members}\n"
    return "\n\n".join(f"::: keras_ae.{name}\n{options}" for name in names if name in exported())


def reference_index():
    """Returns the page that lists the names of `import keras_ae as ka` and all modules."""
    lines = ["# API reference\n", "Names in `import keras_ae as ka`:\n"]
    names = ", ".join(f"`ka.{name}`" for name in exported())
    pages = "\n".join(f"- [{name}]({name}.md): {_summary(name)}" for name in public_modules())
    return "\n".join([*lines, names + ".\n", "Modules:\n", pages, ""])


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
    """Collects the URLs that a browser loads for a page."""

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
    """Returns what the pages and style sheets in `folder` load from other hosts: `["page: URL"]`."""
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
