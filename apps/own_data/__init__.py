"""Your own pictures, tables and series: trains a model worth having, reports on it, and uses it."""

from absl import flags

flags.disclaim_key_flags()  # flags defined below count as those of the script


def define_model():
    return flags.DEFINE_string(
        "model",
        "runs/own_data/export",
        "Export folder of the model, by default that of keras-ae train; its newest version is used.",
    )
