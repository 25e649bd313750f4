"""Applications of keras_ae: `keras-ae <app> <verb>`, and in a clone `python -m apps.<app>.<verb>` as well."""

import sys

if sys.argv[:1] == ["-m"]:  # as Python has it while it looks for the program to run: before anyone imports TensorFlow
    import keras_ae_command

    keras_ae_command.import_tensorflow()
