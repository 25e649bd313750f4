"""Metadata and dependencies of keras_ae: the single place for both."""

import pathlib

from setuptools import find_packages, setup

# The lower bounds are the versions tested together; the upper bounds are the next, untested, minor versions.
REQUIRED = [
    "tensorflow>=2.21,<2.22",
    "keras>=3.15,<3.16",
    "tensorflow-probability>=0.25,<0.26",
    "tf-keras>=2.21,<2.22",  # imported by TensorFlow Probability, not by keras_ae
    "tensorflow-datasets>=4.9.10,<5",
    "importlib-resources>=6",  # imported by tensorflow-datasets, which does not declare it
    "absl-py>=2.1,<3",
    "psutil>=5.9,<8",
    "scikit-learn>=1.6,<2",
    "scipy>=1.14,<2",
    "tqdm>=4.66,<5",
]
EXTRAS = {
    "apps": ["matplotlib>=3.9,<4", "pillow>=10,<13", "faiss-cpu>=1.11,<2"],
    "audio": [
        "soundfile>=0.13,<1",
        "soxr>=1.0,<2",
        "pesq>=0.0.4,<0.1",  # compiled during installation, so it needs a C compiler
        "pystoi>=0.4.1,<0.5",
        "noisereduce>=3.0.3,<4",
    ],
    "beam": ["apache-beam>=2.70,<3"],
    "diagrams": ["pydot>=3,<5"],  # keras.utils.plot_model
    "tables": ["pyarrow>=16,<26"],  # Parquet files
    # TensorFlow Serving's messages, for warm-up requests; the rest is for `keras-ae serve`.
    "serving": [
        "tensorflow-serving-api>=2.21,<2.22",
        "grpcio>=1.71,<2",
        "httptools>=0.6.4,<1",
        "orjson>=3.10,<4",
        "prometheus_client>=0.21,<1",
        "starlette>=0.45,<2",
        "uvicorn>=0.34,<1",
        "uvloop>=0.21,<1",
    ],
    "sketch": ["matplotlib>=3.9,<4", "fonttools>=4.50,<5", "defusedxml>=0.7.1,<1"],  # SVG files, figures
    "test": [
        "bandit>=1.9,<2",
        "dill>=0.3.8,<1",
        "mypy>=1.15,<3",
        "pandas>=2.2,<4",
        "pytest>=8,<10",
        "pytest-cov>=6,<8",
        "pytest-xdist>=3.6,<4",
        "requests>=2.32,<3",
        "ruff>=0.14,<1",
        "tensorboard>=2.19,<3",
    ],
    # markdown-exec runs the tutorials, which plot figures.
    "docs": [
        "mkdocs>=1.6,<2",
        "mkdocs-material>=9.8,<10",
        "mkdocstrings[python]>=1,<2",
        "markdown-exec>=1.12,<2",
        "matplotlib>=3.9,<4",
    ],
    "bench": ["torch==2.13.0", "pythae==0.1.2", "pyod>=2,<4"],
}

ROOT = pathlib.Path(__file__).parent
# In the wheel, the apps and the models are inside the package; in a clone, they are next to it.
APPS = ["keras_ae.apps", *(f"keras_ae.apps.{name}" for name in find_packages("apps"))]
MODELS = "keras_ae.pretrained"

setup(
    name="keras_ae",
    version="0.1.0",
    description=(
        "Autoencoders of every kind as Keras models that share one design: fit them, compare them with their papers, "
        "and serve them."
    ),
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11,<3.14",
    packages=[*find_packages(include=["keras_ae", "keras_ae.*"]), *APPS, MODELS],
    package_dir={"keras_ae.apps": "apps", MODELS: "saved_models"},
    package_data={"keras_ae.datasets": ["speech_sample/*", "speech_sample/*/*.ogg"], MODELS: ["**/*"]},
    py_modules=["keras_ae_command"],
    entry_points={"console_scripts": ["keras-ae=keras_ae_command:main"]},
    install_requires=REQUIRED,
    extras_require=EXTRAS,
)
