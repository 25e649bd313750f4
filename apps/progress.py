"""Progress in one line on standard error."""

import sys

import keras
from tqdm import tqdm


def progress_bar(*args, **kwargs):
    """Like `tqdm.tqdm`, but updates rarely if standard error is a file, which keeps every state of the line."""
    return tqdm(*args, **{"file": sys.stderr, "mininterval": 0.2 if sys.stderr.isatty() else 30.0} | kwargs)


class Progress(keras.callbacks.Callback):
    """Shows training progress and the time left in one line.

    Args:
        budget: `TimeBudget` of the same training run, which may stop it before the last epoch.
    """

    acts_on_every_step = False  # updating once per call of several steps is enough

    def __init__(self, budget):
        super().__init__()
        self.budget, self.bar = budget, None

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch, epochs = epoch, self.params["epochs"]
        description = f"Epoch {epoch + 1} of {epochs}"
        if self.bar is None:
            form = "{desc} {percentage:3.0f}% |{bar:20}| {remaining} left{postfix}"
            # `initial`, because a killed run resumes where it stopped.
            options = {"desc": description, "initial": epoch / epochs, "bar_format": form, "miniters": 0}
            self.bar = progress_bar(total=1.0, **options)
        self.bar.set_description_str(description, refresh=False)

    def on_train_batch_end(self, batch, logs=None):
        steps = self.params["steps"]  # None in the first epoch of a dataset of unknown size
        self._show((self.epoch + ((batch + 1) / steps if steps else 0.0)) / self.params["epochs"])

    def on_epoch_end(self, epoch, logs=None):
        found = ((name, (logs or {}).get(name)) for name in ("loss", "val_loss"))
        self.bar.set_postfix_str(", ".join(f"{name} {x:.4g}" for name, x in found if x is not None), refresh=False)
        self._show((epoch + 1) / self.params["epochs"])

    def on_train_end(self, logs=None):
        if self.bar is not None:
            self.bar.close()

    def _show(self, progress):
        progress = min(1.0, max(progress, self.budget.progress()))
        self.bar.update(max(0.0, progress - self.bar.n))
