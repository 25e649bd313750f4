"""The keras_ae apps: run `keras-ae <app> <verb>` or, in a clone, `python -m apps.<app>.<verb>`."""

import sys

if sys.argv[:1] == ["-m"]:  # Python's value while it locates the program to run, before anything imports TensorFlow
    import keras_ae_command

    keras_ae_command.import_tensorflow()
