"""Reference settings of the networks."""

SETTINGS = {
    "size": None,  # original size
    "hidden": (512, 256),  # wide enough to fold ten classes into a plane
    "activation": "relu",  # the usual choice
    "likelihood": "bernoulli",  # grey levels in [0, 1]; sharper than Gaussian for strokes
    "corruption": 0.25,  # share of masked pixels of the DAE: the middle of Vincent 2010's 10, 25 and 40 %
    "batch_size": 50,  # 30 steps per epoch on 1,500 images
    "learning_rate": 1e-3,  # Adam's default; cosine decay to 0
    "epochs": 200,  # the loss is flat by then
}
# Folders and TFDS data sets may hold photographs of any size.
OTHER = SETTINGS | {"size": (32, 32)}
STEPS = 9  # images of a walk, ends included
PAIRS = 100  # pairs of images whose middles are measured


def of(dataset):
    """Returns the settings for a data set's name."""
    return SETTINGS if dataset in ("digits", "mnist", "fashion_mnist") else OTHER
