"""The report as one HTML page that needs no other file and no network."""

import base64
import html
import io
import shlex

from keras_ae.utils import files

from .. import common
from . import drawings, settings, source

MEANING = {
    "test_squared_error": (
        "Squared error",
        "Sum over a row of the squared difference to its reconstruction, mean over test rows; pixels in [0, 1], tables "
        "and series standardised. Lower is better.",
    ),
    "test_pca_squared_error": (
        "Squared error of PCA",
        "The same of the best linear code of this size, computed from the same training rows.",
    ),
    "ratio_to_pca": ("Ratio to PCA", "Below 1, the model retains more than PCA in as many numbers."),
    "train_squared_error": (
        "Squared error, training",
        "On rows that training saw. If it is much lower than on test rows, the model knows them by heart, and more "
        "data would help.",
    ),
    "active_units": ("Live dimensions", "Numbers of the code that vary between rows (variance above 0.01)."),
    "elbo": ("ELBO, nats", "Lower bound on the mean log density of a test row."),
    "kl": ("KL, nats", "What a code says about its row."),
    "bits_per_dimension": (
        "Bits per dimension",
        "What a pixel value would take to store with this model, at most; 8 without a model.",
    ),
    "threshold": ("Threshold of anomalies", "Squared error that 1 % of held-out rows exceed."),
    "train_seconds": ("Training, seconds", ""),
}

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:62rem;padding:0 1rem;color:#222}
h1{font-size:1.6rem}h2{font-size:1.2rem;margin-top:2rem}img{max-width:100%;height:auto}
table{border-collapse:collapse;width:100%}
td,th{border-bottom:1px solid #ddd;padding:.3rem .6rem;text-align:left;vertical-align:top}
td.number{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
pre{background:#f5f5f5;padding:.8rem;overflow-x:auto}.note{background:#fff7e0;padding:.6rem 1rem}
.small{color:#666;font-size:.9rem}
"""


def write(path, figures, pictures, rows, facts):
    """Writes the page; returns its path.

    Args:
        path: `pathlib.Path`.
        figures: dict, the JSON report.
        pictures: `{title: matplotlib figure}`, with titles of `drawings.ABOUT`.
        rows: `source.Rows`.
        facts: dict of the flags, the history and the settings.
    """
    files.write_text(path, page(figures, pictures, rows, facts))
    return path


def page(figures, pictures, rows, facts):
    """Returns the HTML of the page."""
    e = html.escape
    title = f"{facts['kind']} of {facts['data']}"
    parts = ["<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"]
    parts.append(f"<title>{e(title)}</title><style>{_STYLE}</style><h1>{e(title)}</h1>")
    parts += [f"<p class=note>{e(line)}</p>" for line in advice(figures, rows)]
    parts.append("<h2>Numbers</h2><table>")
    for key, (name, meaning) in MEANING.items():
        if figures.get(key) is not None:
            parts.append(f"<tr><th>{e(name)}<td class=number>{figures[key]:,.4g}<td class=small>{e(meaning)}")
    for name, score in figures["samplers"].items():
        meaning = "Mean log density, in nats, of the codes of held-out rows; the highest is the best sampler."
        parts.append(f"<tr><th>Sampler: {e(name)}<td class=number>{score:,.4g}<td class=small>{e(meaning)}")
    parts.append("</table>")
    for name, about in drawings.ABOUT.items():
        if name in pictures:
            image = f"<img alt='{e(name)}' src='{_embedded(pictures[name])}'>"
            parts.append(f"<h2>{e(name)}</h2><p>{e(about)}</p>{image}")
    if figures["worst"]:
        parts.append("<h2>Rows with the largest error</h2><table><tr><th>Row<th>Squared error")
        parts += [f"<tr><td>{e(each['id'])}<td class=number>{each['score']:,.4g}" for each in figures["worst"]]
        parts.append("</table>")
    parts.append("<h2>Data</h2>" + _data(figures, rows))
    parts.append(f"<h2>How to use the model</h2><pre>{e(_use(figures, rows))}</pre>")
    parts.append(f"<h2>How it was made</h2><pre>{e(common.command())}</pre>")
    parts.append(
        f"<p class=small>Settings: {e(', '.join(f'{k} = {v}' for k, v in facts['settings'].items()))}</p></html>"
    )
    return "\n".join(parts) + "\n"


def advice(figures, rows):
    """Returns sentences on what would make the model better; empty if nothing stands out."""
    lines = []
    noun = {"pictures": "pictures", "table": "rows", "series": "windows"}[rows.schema["kind"]]
    if figures["train"] < settings.USABLE:
        lines.append(
            f"{figures['train']} {noun} are few. They may train a usable autoencoder, but expect larger errors on new "
            f"{noun} and poor samples; more data helps most."
        )
    if figures["train_squared_error"] and figures["test_squared_error"] > 1.5 * figures["train_squared_error"]:
        lines.append(
            "The error on new rows is much larger than on training rows: more data, or a smaller --latent_dim, would "
            "help more than more time."
        )
    ratio = figures["ratio_to_pca"]
    if ratio is not None and ratio > 1:
        lines.append(f"PCA of this size is better (ratio {ratio:.2f}): give it more minutes, or more data.")
    return lines


def _data(figures, rows):
    e = html.escape
    lines = [
        f"{figures['rows']:,} rows: {figures['train']:,} to train, {figures['validation']:,} to choose the weights "
        f"that are kept, {figures['test']:,} that no training saw."
    ]
    if figures["duplicates"]:
        lines.append(f"{figures['duplicates']:,} are copies of another one, and were kept.")
    lines += [f"Left out: {source.described({reason: names})}." for reason, names in rows.left_out.items()]
    made = "".join(f"<p>{e(line)}</p>" for line in lines)
    if figures["classes"]:
        made += (
            "<table><tr><th>Class<th>Rows"
            + "".join(f"<tr><td>{e(name)}<td class=number>{count:,}" for name, count in figures["classes"].items())
            + "</table>"
        )
    return made


def _use(figures, rows):
    folder = shlex.quote(figures["export"].rpartition("/")[0])
    sample = "sample" if figures["best_sampler"] in ("prior", None) else "sample_best"
    return f"""keras-ae encode --model={folder} --data=<more data> --output=codes.parquet
keras-ae score --model={folder} --data=<more data> --output=scores.csv
keras-ae reconstruct --model={folder} --data=<more data> --output=reconstructions.npz
keras-ae sample --model={folder} --output=samples.npz

# In Python, without keras_ae:
import tensorflow as tf
served = tf.saved_model.load({figures["export"]!r})
z = served.signatures["encode"](x=x)["z"]    # x float32 (B, {", ".join(map(str, rows.x.shape[1:]))})

# In TensorFlow Serving:
tensorflow_model_server --rest_api_port=8501 --model_name=mine --model_base_path=$(realpath {folder})
curl -d '{{"signature_name": "{sample}", "inputs": {{"seed": [1, 2]}}}}' localhost:8501/v1/models/mine:predict"""


def _embedded(figure):
    """Returns a figure as a data URL."""
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=150)
    return "data:image/png;base64," + base64.b64encode(png.getvalue()).decode()
