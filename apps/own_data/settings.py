"""Settings of the models for one's own data, and the rules that choose between them."""

PICTURES = {
    "size": 64,  # pixels a side; archives of arrays keep their own
    "patch": 4,  # of pictures of 64 x 64: a map of 16 x 16
    "filters": (48, 96, 160),  # at 16 x 16, 8 x 8 and 4 x 4
    "blocks": 1,  # residual blocks a stage
    "activation": "swish",  # smooth, so that a few thousand steps suffice
    "batch_size": 64,  # many steps in the time; there is no normalisation that needs more
    "learning_rate": 1e-3,  # warms up, then decays along a cosine to 0
    "latent_dims": (8, 16, 32, 64),  # of which `auto` takes the first that keeps `kept` of the variance
    "kept": 0.9,  # of the variance, by PCA
    "passes": 200,  # over the pictures at most: more would learn the few by heart
}
SMALL_PICTURES = PICTURES | {
    "filters": (24, 48, 80),  # 2,000 pictures cannot determine more
    "passes": 400,  # a pass is short
}
TABLE = {
    "hidden": (128, 64),  # a table of tens of columns has no more structure
    "activation": "swish",  # as above
    "batch_size": 64,  # as above
    "learning_rate": 1e-3,  # Adam's default
    "latent_dims": (2, 4, 8, 16, 32),  # as above
    "kept": 0.9,  # as above
    "passes": 300,  # seconds to a minute
}
SERIES = TABLE | {
    "window": 128,  # steps of a window, if the series is longer; `--size` sets it
    "filters": (32, 48, 64),  # three stages of stride 2
}
WARM_UP = 100  # steps
AVERAGE = 0.99  # momentum of the moving average of weights: 0.999 would remember the start of short trainings
VALIDATION = 20  # one training row in 20 chooses the weights that are kept, and at most:
VALIDATION_ROWS = 500
STEPS_PER_EPOCH = 100  # at least, so that few rows are not validated all the time
FEW = 2_000  # pictures, below which the small networks are used
USABLE = 1_000  # rows, below which the report says what more would bring


def for_pictures(rows, side, minutes):
    """Returns the settings for so many pictures of a side in pixels, trained for some minutes (None: no limit)."""
    chosen = SMALL_PICTURES if rows < FEW or (minutes is not None and minutes < 2) else PICTURES
    return chosen | {"patch": max(1, round(side / 16))}


def latent_dim(shares, chosen):
    """Returns the first of the sizes whose axes keep the share of the variance, else the last that is possible.

    Args:
        shares: shares of the variance that 1, 2, ... axes keep together.
        chosen: dict of the settings.
    """
    possible = [k for k in chosen["latent_dims"] if k <= len(shares)] or [len(shares)]
    return next((k for k in possible if shares[k - 1] >= chosen["kept"]), possible[-1])
