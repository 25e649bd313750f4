"""Settings of record of audio denoising: what the methods share, and what is each one's own."""

SHARED = {
    "rate": 16_000,  # Hz, of the models and of PESQ's wide band
    "epochs": 200,  # each of `batches`; a falling rate is 0 by their end, or by that of --max_minutes
    "batches": 100,  # of an epoch: mixtures never repeat, so that an epoch is what a log line covers
    "validation": 8,  # batches of fixed mixtures of files that training does not see
}

METHODS = {
    # The default: a recurrent filter of spectra, causal.
    "causal": {
        "generator": "spectral",
        "frame": 512,  # 32 ms
        "hop": 256,  # half of it; a quarter costs twice the time
        "units": 256,  # of each recurrent layer
        "depth": 4,  # better than 320 units and 2, see benchmarks/NOTES.md
        "taps": 3,  # frames that a filter spans: the one before, the frame itself
        "ahead": 1,  # and one after it: an algorithmic delay of 48 ms
        "floor": 0.05,  # noise goes down by 26 dB at most, see benchmarks/NOTES.md
        "critic": False,
        "window": 49_152,  # 3 s, over which the recurrent layers learn what is noise
        "batch_size": 16,
        "optimizer": "Adam",
        "learning_rate": 2e-3,
        "decay": True,  # of the rate, to 0
        "clipnorm": 5.0,
        "arguments": {"l1_weight": 10.0, "spectral_weight": 10.0, "preemphasis": 0.0, "removal": 1.0},
    },
    # The SEGAN of record (Pascual 2017) at a quarter of its width, as its own would take weeks on a CPU.
    "segan": {
        "generator": "waveform",
        "filters": (4, 8, 8, 16, 16, 32, 32, 64, 64, 128, 256),  # there four times as many
        "kernel_size": 31,  # as there
        "critic": True,
        "window": 16_384,  # as there
        "batch_size": 32,  # there 400 on four devices
        "optimizer": "RMSprop",  # as there
        "learning_rate": 2e-4,  # as there
        "decay": False,  # as there
        "clipnorm": None,  # as there
        "arguments": {},  # the class's defaults are the paper's
    },
}

# What a stream and the serving endpoint are tried on when a model is exported.
EXAMPLE_SECONDS = 0.5

# Of the embedded speech and noise.
LICENCE = "keras_ae's own synthetic speech and noise: Apache License 2.0"


def of(method):
    """All settings of a method."""
    return SHARED | METHODS[method]
