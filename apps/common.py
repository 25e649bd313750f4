"""Code shared by all apps: flags, training that stops cleanly, the report, user errors."""

import contextlib
import importlib.util
import json
import math
import os
import pathlib
import shlex
import signal
import sys
import time

import keras
import tensorflow as tf
from absl import app, flags, logging

from keras_ae.training import distribute
from keras_ae.utils import files, plain
from keras_ae.utils.extras import EXTRAS

from .progress import Progress

# Flags defined by the functions below then count as the app's own, so its --help shows them.
flags.disclaim_key_flags()

STRATEGIES = ("default", "mirrored", "multi_worker")


class UserError(Exception):
    """The user's input cannot be used; `main` prints the message on one line."""

    exit_code = 1


class SomeFailed(UserError):
    """Part of the user's input was processed; the message says what could not be."""

    exit_code = 2


def define_data(help):
    return flags.DEFINE_string("data", None, help)


def define_model(use):
    return flags.DEFINE_string(
        "model",
        None,
        f"Export folder of the model {use}; its newest version is used. Default: keras_ae's own model.",
    )


def define_export_dir(default):
    return flags.DEFINE_string(
        "export_dir",
        default,
        "Where to export the model, in TensorFlow Serving's layout: each run adds the next integer version. "
        "The report and figures go to the parent folder, so that the server sees only models.",
    )


def define_seed():
    return flags.DEFINE_integer(
        "seed",
        0,
        "Seed of weights, data order and noise: the same seed repeats a run on one machine; several show the spread.",
        lower_bound=0,
        upper_bound=2**32 - 1,  # NumPy's limit
    )


def define_max_minutes():
    return flags.DEFINE_float(
        "max_minutes",
        None,
        "Stops training after this many minutes, to fit a time limit; evaluation and export still run, and do "
        "not count. By default, training runs for the planned number of epochs.",
        lower_bound=0.0,
    )


def define_strategy():
    return flags.DEFINE_enum(
        "strategy",
        "default",
        STRATEGIES,
        "Where to train: on one device, on all devices of this machine, or on the workers listed in TF_CONFIG. "
        "It depends on the hardware, not on the model, so it is not part of the settings.",
    )


def define_checkpoint_dir():
    return flags.DEFINE_string(
        "checkpoint_dir",
        None,
        "Where to save the training state after each epoch, for long runs that may be killed: the same command "
        "resumes from it, with the time that was left, and ends with the same weights. Removed when the model is "
        "exported; if --max_minutes stopped the training, the same command trains for that long again.",
    )


def main(function):
    """Parses the flags and runs `function()`; a user error prints one line and exits with its exit code."""
    # Belongs to no script, so only --helpfull shows it; `keras_ae_command` looks for it before flags are defined.
    flags.DEFINE_bool("verbose", False, "Show what TensorFlow and Keras print.", module_name=__name__)

    def run(arguments):
        if len(arguments) > 1:
            raise app.UsageError(f"Expected flags only, received {shlex.join(arguments[1:])}.")
        if not _verbose():
            _quiet()
        try:
            function()
            sys.stdout.flush()
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(error.exit_code)
        except OSError as error:
            # All files are named where they are written.
            name = "standard output: " if error.errno and not error.filename else ""
            print(f"error: {name}{' '.join(str(error).split())}", file=sys.stderr)
            _drop_output()
            sys.exit(1)
        except KeyboardInterrupt:
            sys.exit("Interrupted.")

    # Raise an exception, so that no unfinished file stays behind.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit("Terminated."))
    app.run(run)


def _drop_output():
    """Lets Python end without an error of its own if standard output is full or closed."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _verbose():
    """Returns whether the program was called with --verbose."""
    return "verbose" in flags.FLAGS and flags.FLAGS.is_parsed() and flags.FLAGS.verbose


def _quiet():
    if not flags.FLAGS["verbosity"].present:  # absl's default would show TensorFlow's messages about saving
        logging.set_verbosity(logging.WARNING)


def require(*modules):
    """Raises a `UserError` that names the extras to install if any of `modules` is missing; call before any work."""
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        extras = ",".join(sorted({EXTRAS[name] for name in missing}))
        raise UserError(
            f"This needs {' and '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed: "
            f'pip install "keras_ae[{extras}]", or in a clone pip install -e ".[{extras}]".'
        )


@contextlib.contextmanager
def user_input():
    """Converts errors in the block to `UserError`: they tell the user what to change, so no traceback is shown."""
    try:
        yield
    except (ValueError, OSError, ImportError, FloatingPointError) as error:
        raise UserError(" ".join(str(error).split())) from error


def command():
    """Returns the command line that repeats this run."""
    module = (getattr(sys.modules["__main__"].__spec__, "name", None) or "").removesuffix(".__main__")
    program = f"python -m {module}" if module else f"python {shlex.quote(sys.argv[0])}"
    if module.startswith("keras_ae.apps."):
        program = " ".join(["keras-ae", *module.split(".")[2:]])
    return f"{program} {shlex.join(sys.argv[1:])}".rstrip()


def strategy(name):
    """Returns the `tf.distribute` strategy for a name in `STRATEGIES`."""
    with user_input():
        return distribute.get(name)


def writable(folder):
    """Creates `folder` and returns its path; raises now if it is not writable, rather than after training."""
    with user_input():
        folder = pathlib.Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        probe = files.hidden(folder / "probe")
        with files.naming(folder, probe):
            probe.touch()
            probe.unlink(missing_ok=True)
    return folder


class TimeBudget(keras.callbacks.Callback):
    """Stops training at the end of a batch once `max_minutes` of wall-clock time have passed since it started.

    Args:
        max_minutes: float, or None for no limit.

    Attributes:
        ran_out: bool, whether it stopped the training.
    """

    acts_on_every_step = False  # once per call of several steps is enough
    clock = staticmethod(time.monotonic)  # seconds

    def __init__(self, max_minutes):
        super().__init__()
        self.max_minutes = max_minutes

    def on_train_begin(self, logs=None):
        self.start, self.ran_out = self.clock(), False

    def on_train_batch_end(self, batch, logs=None):
        if self.max_minutes is not None and self._minutes() >= self.max_minutes:
            self.model.stop_training = self.ran_out = True

    def seconds(self):
        """Returns the seconds since training started, including those of a killed run that it resumes."""
        return self.clock() - self.start

    def resume(self, seconds):
        """Counts the `seconds` of a killed run as already spent."""
        self.start -= seconds

    def progress(self):
        """Returns the fraction of `max_minutes` that has passed; 0 without a limit."""
        return 0.0 if self.max_minutes is None else self._minutes() / max(self.max_minutes, 1e-9)

    def _minutes(self):
        minutes = self.seconds() / 60
        strategy = self.model.distribute_strategy
        if distribute.spans_workers(strategy):
            # If a worker stopped by its own clock, the others would wait forever, so all use the mean.
            return mean_over_workers(strategy, minutes)
        return minutes


class CosineDecay(TimeBudget):
    """Decays the learning rate to 0 along a cosine, by the last step or the end of the budget, whichever is first.

        rate = learning_rate * (1 + cos(pi progress)) / 2,    progress = max(step / steps, minutes / max_minutes)

    An optimizer schedule would be cut off when time runs out, at a learning rate that is still noisy.

    Args:
        learning_rate: float, initial learning rate of the model's optimizers; each multiplies it by its factor in the
            model's `relative_rates`.
        steps: int, training steps in the planned epochs.
        max_minutes: float, or None for no limit.
        warm_up: int, steps in which the rate also rises from 0 along a line.
    """

    def __init__(self, learning_rate, steps, max_minutes, warm_up=0):
        super().__init__(max_minutes)
        self.learning_rate, self.steps, self.warm_up = learning_rate, steps, warm_up

    def on_train_batch_begin(self, batch, logs=None):
        step = int(self.model.optimizer.iterations.numpy())
        progress = max(step / self.steps, self.progress())
        rate = self.learning_rate * (1 + math.cos(math.pi * min(progress, 1.0))) / 2
        if step < self.warm_up:
            rate *= (step + 1) / self.warm_up
        for player, optimizer in self.model.optimizers.items():
            optimizer.learning_rate = rate * self.model.relative_rates.get(player, 1.0)


def fit(model, *args, budget, checkpoint=None, callbacks=(), verbose=None, **kwargs):
    """Runs `model.fit` with a `TimeBudget` and a checkpoint; Ctrl-C stops it with the best weights so far.

    The best weights are those of an `EarlyStopping(restore_best_weights=True)` among the callbacks, or the last
    weights if there is none.

    Args:
        budget: `TimeBudget`.
        checkpoint: `checkpoints.Checkpoint` to resume from, and to save to after each epoch; or None.
        verbose: as in Keras. The default is a single progress line, or one line per epoch with the flag --verbose.

    Returns:
        float, seconds of training by the budget's clock, including those of killed runs that it resumed.
    """
    own, callbacks = callbacks, [*callbacks, budget]
    progress = Progress(budget)
    if verbose is None:
        verbose = 2 if _verbose() else 0
        callbacks += [] if verbose else [progress]
    if checkpoint is not None:
        callbacks.append(checkpoint.saver(budget, own))  # the last, so that it saves what the others did in an epoch
    try:
        with user_input():
            model.fit(*args, callbacks=callbacks, verbose=verbose, **kwargs)
    except KeyboardInterrupt:
        progress.on_train_end()
        print("\nTraining was interrupted; continuing with the weights so far.", file=sys.stderr)
        for callback in callbacks:
            if getattr(callback, "best_weights", None) is not None:
                model.set_weights(callback.best_weights)
    return budget.seconds()


def report(figures, folder):
    """Writes `figures` to `folder/report.json`, atomically, and prints them as one line of JSON.

    Args:
        figures: dict of JSON values; may contain NumPy scalars and arrays.
        folder: path of an existing folder.
    """
    keep(figures, folder)
    printed(figures)


def printed(figures):
    """Prints `figures` as one line of JSON, the last line of an app's output."""
    print(json.dumps(plain.json_values(figures)), flush=True)


def keep(figures, folder):
    """Writes `figures` as `report` does, before steps that may fail (such as plotting), so that they are not lost."""
    files.write_text(pathlib.Path(folder) / "report.json", json.dumps(plain.json_values(figures), indent=2) + "\n")


def save_figure(figure, path):
    """Writes a Matplotlib figure to a file, atomically."""
    with files.replacing(path) as beside:
        figure.savefig(beside)


def hint(command):
    """Prints the suggested next command to standard error."""
    print(f"Next: {command}", file=sys.stderr)


def mean_over_workers(strategy, value):
    """Returns the mean of all workers' values, a float; waits for all workers."""
    values = strategy.run(lambda: tf.distribute.get_replica_context().all_reduce("SUM", tf.constant(value)))
    return float(strategy.experimental_local_results(values)[0] / strategy.num_replicas_in_sync)
