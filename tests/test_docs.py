"""The code in pages and docstrings runs: the Python blocks of the guides, and every `Example`.

Names that examples assume (`x_train`, `encoder`, `noisy`) are prepared here with small data; `fit` makes one step.
To keep a block of a page from running, put `<!-- not run: reason -->` on the line before it.
"""

import ast
import doctest
import functools
import importlib
import importlib.util
import pathlib
import re
import textwrap

import keras
import numpy as np
import pytest
import sklearn.svm
import soundfile
import tensorflow as tf
import tensorflow_probability as tfp
from sklearn.feature_extraction.text import TfidfVectorizer

import keras_ae as ka
from keras_ae.datasets import speech
from keras_ae.models.base.parts import needs
from keras_ae.training import ObjectiveModel

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = ROOT / "keras_ae"

BLOCK = re.compile(r"^(<!-- not run: [^\n]+ -->\n)?```python[^\n]*\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PAGES = sorted((ROOT / "docs/guides").glob("*.md"))

# Examples that need the user's files or archives only have to compile.
NEEDS_FILES = {
    "keras_ae.datasets.newsgroups.TwentyNewsgroups": "an archive that is downloaded by hand",
    "keras_ae.datasets.noisy_speech.NoisySpeech": "an archive that is downloaded by hand",
    "keras_ae.datasets.sketch_rnn.SketchRnn": "files that are downloaded by hand",
}


# Classes of the package that are no models to choose from.
ABSTRACT = {"AnomalyDetector", "LatentModel", "Objective", "ObjectiveModel"}

# Arguments in examples that are too expensive for a test.
SMALLER = (
    ("num_chains=16, num_temperatures=2000", "num_chains=2, num_temperatures=5"),
    ("negative_log_likelihood(vae, x_test)", "negative_log_likelihood(vae, x_test, num_samples=20)"),
    ("num_samples=5000", "num_samples=50"),
    ("sample(10_000)", "sample(200)"),
    ("/ 255), ka.datasets.Shapes())", "/ 255), ka.datasets.Shapes(), **few)"),
)


@pytest.fixture(autouse=True)
def _small(monkeypatch, tmp_path):
    """Training takes one step, eagerly; files go to a temporary folder."""
    monkeypatch.chdir(tmp_path)
    fit, compile_model = ObjectiveModel.fit, ObjectiveModel.compile

    def short(method):
        def fit(self, x=None, y=None, batch_size=None, epochs=1, verbose="auto", *args, **kwargs):
            if isinstance(x, tf.data.Dataset):
                x, batch_size = x.take(1), None
            else:
                batch_size = 1_000
            return method(self, x, y, batch_size, 1, 0, *args, **kwargs)

        return fit

    def eagerly(self, *args, **kwargs):
        return compile_model(self, *args, **{"run_eagerly": True} | kwargs)

    monkeypatch.setattr(ObjectiveModel, "fit", short(fit))
    monkeypatch.setattr(ObjectiveModel, "compile", eagerly)


# Pages


def blocks(page):
    """The Python blocks of a page that run, as one program with the line numbers of the page."""
    text = page.read_text(encoding="utf-8")
    program = ""
    for match in BLOCK.finditer(text):
        if match[1] is None and 'exec="on"' not in match[0].split("\n", 1)[0]:
            program += "\n" * (text.count("\n", 0, match.start(2)) - program.count("\n")) + match[2]
    return program


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_blocks_of_a_page_run(page, capsys):
    program = blocks(page)
    # A page without a program must have no blocks, or only blocks that are marked.
    text = page.read_text(encoding="utf-8")
    assert program or len(BLOCK.findall(text)) == text.count("```python")
    exec(compile(program, str(page), "exec"), digits())


def test_the_first_page_shows_the_readmes_example():
    # tests/test_package.py runs the README's.
    (example,) = BLOCK.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    assert BLOCK.findall((ROOT / "docs/index.md").read_text(encoding="utf-8")) == [example]


def test_a_block_may_be_left_out(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("```python\na\n```\n\n<!-- not run: no -->\n```python\nb\n```\n\n```python\nc\n```\n")
    assert blocks(page) == "\na\n" + "\n" * 8 + "c\n"


# The generator of pages


@pytest.fixture(scope="module")
def gen():
    spec = importlib.util.spec_from_file_location("gen", ROOT / "docs/gen.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_readmes_table_agrees_with_the_results(gen):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert gen.render_readme(readme) == readme
    # Every model has a row and a page.
    models = {name for name in gen.exported() if isinstance(getattr(ka, name), type)} - ABSTRACT
    assert models == {name for name, *_ in gen.FAMILY} & set(gen.exported())


def test_every_model_page_has_a_figure():
    pages = [page for page in (ROOT / "docs/models").glob("*.md") if page.stem != "index"]
    assert len(pages) > 10
    without = [page.stem for page in pages if not re.search(r"<!-- (chart|figure): |!\[", page.read_text("utf-8"))]
    assert without == []


def test_every_macro_of_a_page_finds_something(gen):
    pages = [path for path in (ROOT / "docs").rglob("*.md") if gen.MACRO.search(path.read_text(encoding="utf-8"))]
    assert len(pages) > 10
    for page in pages:
        made = gen.on_page_markdown(page.read_text(encoding="utf-8"))
        assert not gen.MACRO.search(made) and len(made) > len(page.read_text(encoding="utf-8"))


def test_the_page_of_a_model_documents_every_method_of_users(gen):
    methods = {name for name, method in vars(ka.LatentModel).items() if isinstance(method, needs)}
    assert {"encode", "sample_from_seeds", "sweep_labels"} < methods
    assert methods | {"predict"} <= set(gen.METHODS)


def test_columns_that_no_row_fills_are_left_out(gen):
    table = "| a | b | c |\n| --- | --- | --- |\n| 1 |  | x\\|y |\n| 2 |  | z |\n\nMade.\n"
    assert gen.without_empty_columns(table) == "| a | c |\n| --- | --- |\n| 1 | x\\|y |\n| 2 | z |\n\nMade.\n"


def test_what_pages_load_from_elsewhere_is_found(gen, tmp_path):
    (tmp_path / "a.html").write_text(
        '<link rel="canonical" href="https://a.org/"><script src="https://b.org/x.js"></script><a href="https://c.org">c</a>'
        '<img src="//d.org/x.png"><script src="assets/y.js"></script><img src="data:image/png;base64,AA">'
    )
    (tmp_path / "b.css").write_text("a { background: url('https://e.org/f.woff') } b { background: url(g.svg) }")
    found = [f"a.html: {url}" for url in ("https://b.org/x.js", "//d.org/x.png")]
    assert gen.foreign_assets(tmp_path) == [*found, "b.css: https://e.org/f.woff"]


# Examples of docstrings


def examples():
    """`(name, code)` of every example in the package's docstrings."""
    for path in sorted(PACKAGE.rglob("*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for name, node in [("", tree), *definitions(tree)]:
            for number, code in enumerate(codes(ast.get_docstring(node) or "")):
                yield module + (f".{name}" if name else ""), code, number


def definitions(node, prefix=""):
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef):
            yield prefix + child.name, child
            yield from definitions(child, f"{prefix}{child.name}.")


def codes(docstring):
    """The code of each `Example`: in backticks behind the word, or in the indented or `>>>` lines below it."""
    lines = docstring.split("\n")
    for i, line in enumerate(lines):
        if not line.startswith("Example:"):
            continue
        if line != "Example:":
            yield from re.findall(r"`([^`]+)`", line)
            continue
        section = next((k for k, below in enumerate(lines) if k > i and re.match(r"[^ >]", below)), len(lines))
        below = "\n".join(lines[i + 1 : section])
        if ">>>" in below:
            section = next((k for k, below in enumerate(lines) if k > i and re.match(r"[A-Z]\w+:", below)), len(lines))
            found = doctest.DocTestParser().get_examples("\n".join(lines[i + 1 : section]) + "\n")
            yield "".join(map(_statement, found))
        else:
            yield textwrap.dedent(below).strip("\n")


def _statement(example):
    return f"shows(({example.source.strip()}), {example.want!r})\n" if example.want else example.source


def shows(value, expected):
    """Asserts that Python would show `value` as an example says, up to spaces and "..."."""
    options = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    assert doctest.OutputChecker().check_output(expected, f"{value!r}\n", options), (value, expected)


EXAMPLES = [pytest.param(name, code, id=f"{name}-{number}") for name, code, number in examples()]


@pytest.mark.parametrize(("name", "code"), EXAMPLES)
def test_an_example_runs(name, code):
    assert code
    program = compile(functools.reduce(lambda text, pair: text.replace(*pair), SMALLER, code), name, "exec")
    if name in NEEDS_FILES:
        pytest.skip(NEEDS_FILES[name])
    exec(program, names_for(name, code) | {"shows": shows})


def test_examples_are_found():
    docstring = "Title.\n\nExample:\n\n    a = 1\n\n    b = 2\n\nSource: x.\n"
    assert list(codes(docstring)) == ["a = 1\n\nb = 2"]
    assert list(codes("Title.\n\nExample: `f(1)    # 2`\n\nSee also: `g`.")) == ["f(1)    # 2"]
    assert list(codes("Title.\n\nExample:\n\n>>> a = 1\n>>> a\n1\n\nSource: x.")) == ["a = 1\nshows((a), '1\\n')\n"]
    with pytest.raises(AssertionError):
        shows(2, "1\n")
    assert len(EXAMPLES) > 80


# The names that examples assume


def names_for(name, code):
    """The namespace of an example: its module's names, and those of its subject.

    Networks that its code does not name are not made.
    """
    module = name
    while not (ROOT / (module.replace(".", "/") + ".py")).exists():
        module = module.rpartition(".")[0]
    subject = next(make for prefix, make in SUBJECTS if name.startswith(prefix))
    names = subject() | OWN.get(name, dict)()
    made = {key: make() for key, make in names.items() if isinstance(make, OnDemand) and re.search(rf"\b{key}\b", code)}
    return vars(importlib.import_module(module)) | names | made


class OnDemand(functools.partial):
    """A network that is made if the example needs it."""


def common():
    return {"ka": ka, "np": np, "tf": tf, "keras": keras, "tfp": tfp, "tfd": tfp.distributions, "sklearn": sklearn}


@functools.cache
def _digits():
    (x_train, y_train), (x_test, y_test) = (
        tuple(column[:rows] for column in ka.datasets.arrays(ka.datasets.load("digits", split, labels=True)))
        for split, rows in (("train", 400), ("test", 100))
    )
    return {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}


def digits():
    """The names that the guides assume: digits, and a VAE of them."""
    encoder = ka.networks.mlp_encoder((8, 8, 1), 4, (16,), parameters=2)
    decoder = ka.networks.mlp_decoder(4, (8, 8, 1), (16,))
    vae = ka.VAE(encoder, decoder, seed=0)
    vae.compile("adam")
    return common() | _digits() | {"encoder": encoder, "decoder": decoder, "vae": vae}


@functools.cache
def _binary_images():
    rng = np.random.default_rng(0)
    x = (rng.random((240, 28, 28, 1)) < 0.3).astype("float32")
    y = np.arange(240) % 10
    return {"x": x, "y": y, "labels": y, "x_train": x, "y_train": y, "x_test": x[:120], "y_test": y[:120]}


@functools.cache
def _models():
    """Networks and models for images of 28 x 28, which most examples use."""
    shape = (28, 28, 1)
    vae = ka.VAE(ka.networks.mlp_encoder(shape, 4, (16,), 2), ka.networks.mlp_decoder(4, shape, (16,)), seed=0)
    autoencoder = ka.Autoencoder(ka.networks.mlp_encoder(shape, 2, (16,)), ka.networks.mlp_decoder(2, shape, (16,)))
    for model in (vae, autoencoder):
        model.compile("adam")
    return {"vae": vae, "autoencoder": autoencoder}


def images():
    shape = (28, 28, 1)
    made = {
        "encoder": OnDemand(ka.networks.mlp_encoder, shape, 32, (16,), parameters=2),
        "decoder": OnDemand(ka.networks.mlp_decoder, 32, shape, (16,)),
        "classifier": OnDemand(ka.networks.mlp_encoder, shape, 10, (16,)),
    }
    return common() | _binary_images() | _models() | made


def two_dimensions():
    shape = (28, 28, 1)
    return {
        "encoder": ka.networks.mlp_encoder(shape, 2, (16,), parameters=2),
        "decoder": ka.networks.mlp_decoder(2, shape, (16,)),
    }


def labelled():
    """Networks that take a label as the condition, and a model of them."""
    options = {"hidden": (16,), "condition_shape": (10,)}
    shape = (28, 28, 1)
    encoder = ka.networks.mlp_encoder(shape, 4, parameters=2, **options)
    decoder = ka.networks.mlp_decoder(4, shape, **options)
    model = ka.M2(encoder, decoder, ka.networks.mlp_encoder(shape, 10, (16,)), 10)
    model.compile("adam")
    return {"encoder": encoder, "decoder": decoder, "model": model}


def codes_of_m1():
    shape = (28, 28, 1)
    m1 = ka.M1(ka.networks.mlp_encoder(shape, 4, (16,), parameters=2), ka.networks.mlp_decoder(4, shape, (16,)))
    m1.encoder.layers[-1].kernel.assign(10 * m1.encoder.layers[-1].kernel)  # codes that vary like trained ones
    return {"m1": m1, "y": ka.datasets.keep_labels(_binary_images()["y"], 100)}


@functools.cache
def _shapes():
    x, factors = ka.datasets.Shapes().sample(300, seed=0)
    encoder = ka.networks.mlp_encoder((32, 32, 1), 4, (16,), parameters=2)
    vae = ka.VAE(encoder, ka.networks.mlp_decoder(4, (32, 32, 1), (16,)))
    return {"x": x / 255, "factors": factors, "vae": vae}


def shapes():
    return common() | _shapes()


def texts():
    rng = np.random.default_rng(0)
    x = rng.poisson(0.01, (64, 10_000)).astype("float32")
    documents = [f"the shuttle number {i} reached its orbit again" for i in range(30)]
    return common() | {"x": x, "neighbours_of_x": x[::-1].copy(), "documents": documents}


def weighted_texts():
    """A scikit-learn vectoriser, and a model of its words."""
    made = texts()
    features = TfidfVectorizer().fit(made["documents"])
    words = len(features.vocabulary_)
    model = ka.SemanticHashing(
        ka.networks.mlp_encoder((words,), 8, (16,)), ka.networks.mlp_decoder(8, (words,), hidden=())
    )
    model.compile("adam")
    return made | {"features": features, "model": model}


@functools.cache
def _counts():
    x = np.random.default_rng(0).poisson(0.1, (40, 2_000)).astype("float32")
    model = ka.DynamicAutoencoder(ka.networks.mlp_encoder((2_000,), 5, (8,)), ka.networks.mlp_decoder(5, (2_000,)))
    shares = np.full((40, 2_000), 1 / 2_000)
    halves = {"first_halves": x, "second_halves": x}
    return {"x": x, "model": model, "shares": shares, "z": model.encode(x)} | halves


def counts():
    return common() | _counts()


def packed():
    rng = np.random.default_rng(0)
    bits = rng.integers(2, size=(300, 32))
    labels = rng.integers(3, size=300)
    found = {"queries": np.packbits(bits[:40], axis=1), "codes": np.packbits(bits, axis=1)}
    cosines = rng.random((40, 300))
    return common() | found | {"labels": labels[:40], "database_labels": labels, "cosines": cosines}


@functools.cache
def _recordings():
    speakers, noises = speech.embedded()
    noisy, clean = next(iter(speech.mixtures(speakers, noises, window=16_384, batch_size=2)))
    return noisy.numpy(), clean.numpy()


def waveforms():
    noisy, clean = _recordings()
    return common() | {"noisy": noisy, "clean": clean, "denoised": noisy, "x": noisy, "speech": speech}


def one_recording():
    noisy, clean = _recordings()
    return common() | {"noisy": noisy[0], "clean": clean[0], "denoised": noisy[0]}


def files():
    """Folders of recordings as the readers expect them, and a model to train."""
    from keras_ae.datasets import audio

    noisy, clean = _recordings()
    s, n = clean[0], noisy[0] - clean[0]
    for folder, rows in (
        *(("clean", clean), ("noise", noisy - clean)),
        *(("clean_testset_wav", clean), ("noisy_testset_wav", noisy)),
        *(("clean_trainset_28spk_wav", clean), ("noisy_trainset_28spk_wav", noisy)),
    ):
        for i, name in enumerate(("p226_001.wav", "p226_002.wav", "p227_003.wav", "p227_004.wav")):
            pathlib.Path(folder).mkdir(exist_ok=True)
            audio.write(f"{folder}/{name}", rows[i % 2], 16_000)
    for name in ("speech.flac", "hours.wav"):
        audio.write(name, s, 16_000)
    model = ka.SpeechDenoiser(ka.networks.WaveformGenerator(filters=(4, 4)))
    model.compile("adam")
    return common() | {"s": s, "n": n, "x": s[:, None], "model": model, "audio": audio, "speech": speech}


def vectors():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(64, 2)).astype("float32")
    return common() | {"z": z, "x": rng.normal(size=(4, 784)).astype("float32")}


@functools.cache
def _planar_vae():
    vae = ka.VAE(**two_dimensions())
    vae.compile("adam")
    return vae


def plotted():
    made = images()
    rng = np.random.default_rng(0)
    noisy, clean = _recordings()
    recall = np.linspace(0.1, 1, 10)
    words = [["orbit", "shuttle"], ["eggs", "sugar"]]
    shares = rng.dirichlet([1, 1], 60)
    return made | {
        **{"x": made["x"][:60], "y": made["y"][:60], "labels": made["y"][:60], "pca_images": made["x"][:60]},
        **{"vae": _planar_vae(), "noisy": noisy[0], "denoised": clean[0]},
        **{"recall": recall, "precision": 1 - recall / 2, "days": np.arange(60), "shares": shares, "top_words": words},
        **{
            "bit_balance": importlib.import_module("keras_ae.evaluation.retrieval").bit_balance,
            "codes": packed()["codes"],
        },
    }


@functools.cache
def _letters():
    from keras_ae.datasets import sketch_files, sketches

    short = [each for each in sketch_files.glyphs().drawings if len(each) < 16][:32]
    return {"glyphs": short, "drawings": sketches.to_strokes5(short[:4])}


def audio_files():
    soundfile.write("speech.flac", np.zeros(48_000), 16_000)
    soundfile.write("first.ogg", np.zeros(1_600), 16_000)
    pathlib.Path("first_and_second.ogg").write_bytes(2 * pathlib.Path("first.ogg").read_bytes())
    return {"soundfile": soundfile}


def letters():
    return common() | _letters()


def levels():
    return {"x": (255 * _binary_images()["x"][:4]).astype("uint8")}


def conditional():
    cvae = ka.CVAE(**{name: labelled()[name] for name in ("encoder", "decoder")}, num_classes=10)
    return {"cvae": cvae}


def lazily():
    from keras_ae.utils import lazy

    return {"lazy": lazy}


def many_images():
    x = np.tile(_binary_images()["x"], (3, 1, 1, 1))
    return {"x_train": x[:500]}


def sequences():
    rng = np.random.default_rng(0)
    x, h = rng.normal(size=(4, 12, 3)).astype("float32"), rng.normal(size=(4, 32)).astype("float32")
    return {"x": x, "z": rng.normal(size=(4, 8)).astype("float32"), "h": h}


def spectra():
    stft = importlib.import_module("keras_ae.layers.stft").stft
    return {"X": stft(_recordings()[0], 512, 256)}


def embedded_features():
    return {"features": lambda x: np.asarray(x).reshape(len(x), -1)[:, ::98]}


# By prefix of the example's name; the first match counts.
SUBJECTS = (
    ("keras_ae.datasets.audio", files),
    ("keras_ae.datasets.speech", files),
    ("keras_ae.datasets.neighbours", weighted_texts),
    ("keras_ae.datasets.sketch", letters),
    ("keras_ae.datasets.svg", letters),
    ("keras_ae.models.sequences", letters),
    ("keras_ae.networks.strokes", letters),
    ("keras_ae.plots.drawings", letters),
    ("keras_ae.evaluation.disentanglement", shapes),
    ("keras_ae.evaluation.retrieval", packed),
    ("keras_ae.evaluation.speech", one_recording),
    ("keras_ae.evaluation.topics", counts),
    ("keras_ae.distributions.flows", vectors),
    ("keras_ae.distributions.posteriors", vectors),
    ("keras_ae.layers.tfidf", texts),
    ("keras_ae.layers.stft", waveforms),
    ("keras_ae.losses.spectral", waveforms),
    ("keras_ae.models.adversarial.segan", waveforms),
    ("keras_ae.models.deterministic.speech_denoiser", waveforms),
    ("keras_ae.models.text.dynamic_autoencoder", counts),
    ("keras_ae.models.text", texts),
    ("keras_ae.networks.speech", waveforms),
    ("keras_ae.plots", plotted),
    ("", images),
)

# Additional names of single examples.
OWN = {
    "keras_ae.distributions.priors.Ring": two_dimensions,
    "keras_ae.distributions.priors.SwissRoll": two_dimensions,
    "keras_ae.distributions.priors.VampPrior": many_images,
    "keras_ae.evaluation.disentanglement.factor_vae_score": lambda: {"few": {"votes": 9, "test_votes": 9, "batch": 4}},
    "keras_ae.evaluation.disentanglement.beta_vae_score": lambda: {"few": {"points": 9, "test_points": 9, "batch": 4}},
    "keras_ae.evaluation.likelihood.bits_per_dimension": levels,
    "keras_ae.layers.made.MADE": sequences,
    "keras_ae.models.base.latent_model.LatentModel.sweep_labels": conditional,
    "keras_ae.utils.lazy.attach": lazily,
    "keras_ae.layers.recurrent.QuasiRecurrent": sequences,
    "keras_ae.layers.stft.inverse_stft": spectra,
    "keras_ae.datasets.semi_supervised.semi_supervised": labelled,
    "keras_ae.datasets.sketch_files.glyphs": lambda: {"glyphs": ka.datasets.sketch_files.glyphs},
    "keras_ae.plots.drawings": lambda: {"drawings": ka.plots.drawings},
    "keras_ae.utils.containers.FlacOfLength": audio_files,
    "keras_ae.utils.containers.flac_frames": audio_files,
    "keras_ae.utils.containers.is_chained": audio_files,
    "keras_ae.models.variational.m2.M2": labelled,
    "keras_ae.models.variational.m1m2.M1M2": codes_of_m1,
    "keras_ae.evaluation.samples.precision_recall": embedded_features,
    "keras_ae.evaluation.samples.frechet_distance": embedded_features,
}
