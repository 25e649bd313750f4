"""Reference settings of audio denoising: shared defaults, and the settings of each method."""

SHARED = {
    "rate": 16_000,  # Hz, of the models and of wideband PESQ
    "epochs": 200,  # of `batches` each; a decaying learning rate reaches 0 at the end of these, or of --max_minutes
    "batches": 100,  # per epoch: mixtures never repeat, so an epoch is just the interval of log lines
    "validation": 8,  # batches of fixed mixtures of held-out files
}

METHODS = {
    # The default: a causal recurrent filter of spectra.
    "causal": {
        "generator": "spectral",
        "frame": 512,  # 32 ms
        "hop": 256,  # half a frame; a quarter takes twice the time
        "units": 256,  # per recurrent layer
        "depth": 4,  # better than 320 units with depth 2, see benchmarks/NOTES.md
        "taps": 3,  # frames that a filter spans: the previous frame, the frame itself
        "ahead": 1,  # and the next frame: an algorithmic delay of 48 ms
        "floor": 0.05,  # reduces noise by at most 26 dB, see benchmarks/NOTES.md
        "critic": False,
        "window": 49_152,  # 3 s, long enough for the recurrent layers to learn what is noise
        "batch_size": 16,
        "optimizer": "Adam",
        "learning_rate": 2e-3,
        "decay": True,  # of the learning rate, to 0
        "clipnorm": 5.0,
        "arguments": {"l1_weight": 10.0, "spectral_weight": 10.0, "preemphasis": 0.0, "removal": 1.0},
    },
    # The published SEGAN (Pascual 2017) at a quarter of its width; full width would take weeks on a CPU.
    "segan": {
        "generator": "waveform",
        "filters": (4, 8, 8, 16, 16, 32, 32, 64, 64, 128, 256),  # paper: four times as many
        "kernel_size": 31,  # as in the paper
        "critic": True,
        "window": 16_384,  # as in the paper
        "batch_size": 32,  # paper: 400 on four devices
        "optimizer": "RMSprop",  # as in the paper
        "learning_rate": 2e-4,  # as in the paper
        "decay": False,  # as in the paper
        "clipnorm": None,  # as in the paper
        "arguments": {},  # the class defaults are the paper's
    },
}

# Length of the example input of the stream and serving endpoints when a model is exported.
EXAMPLE_SECONDS = 0.5

# Licence of the embedded speech and noise.
LICENCE = "keras_ae's own synthetic speech and noise: Apache License 2.0"


def of(method):
    """Returns the settings of a method."""
    return SHARED | METHODS[method]
