"""Settings of record of the quickstart, by data set."""

DIGITS = {
    "size": None,  # 8 x 8, as they are
    "network": "mlp",  # 64 pixels hold no structure that convolutions would find and a dense layer not
    "hidden": (256, 128),  # small enough to train in 20 seconds
    "activation": "relu",  # the usual choice
    "latent_dim": 4,  # 40 % below PCA's squared error; benchmarks/NOTES.md has 2, 6 and 8 beside it
    "batch_size": 50,  # 30 steps an epoch of these 1,500 images
    "learning_rate": 1e-3,  # Adam's default
    "epochs": 300,  # the bound still falls a little, and the whole run stays under a minute
    "images": None,  # all
    "nll_samples": 1_000,  # more are not needed in four dimensions
    "licence": "Optical Recognition of Handwritten Digits, UCI (Alpaydin & Kaynak 1998), CC BY 4.0",
}

MNIST = {
    "size": None,  # 28 x 28, as they are
    "network": "mlp",  # Burda 2016, section 5, with one stochastic layer, but wider: there 784-200-200-50
    "hidden": (300, 300),  # in equal time 0.14 nats better on held-out training images, see benchmarks/NOTES.md
    "activation": "tanh",  # as there
    "latent_dim": 50,  # as there
    "batch_size": 128,  # there 20; larger batches keep two cores busy
    "learning_rate": 2e-3,  # there from 1e-3 down to 1e-4 in eight stages; here down to 0 in a cosine
    "epochs": 440,  # there 3,280; these fill 20 minutes on two cores
    "images": None,  # all
    "nll_samples": 5_000,  # as there, table 1
    "licence": "MNIST (LeCun, Cortes, Burges), CC BY-SA 3.0",
}

# The same size, number and kind of images.
FASHION_MNIST = MNIST | {"licence": "Fashion-MNIST (Zalando), MIT"}

OTHER = {
    "size": (32, 32),  # photographs of any size then train within minutes on a CPU
    "network": "conv",  # larger images, where neighbouring pixels matter
    "hidden": (256,),  # between the last image and the code, which it must see whole
    "filters": (32, 64),  # of the encoder; the decoder mirrors them
    "activation": "relu",  # the usual choice
    "latent_dim": 32,  # enough for recognisable images, few enough to compress
    "batch_size": 128,  # keeps two cores busy
    "learning_rate": 1e-3,  # Adam's default
    "epochs": 20,  # a first impression
    "images": 10_000,  # of each split are held in memory, for PCA and evaluation; training streams them all
    "nll_samples": 500,  # convolutions are slow
    "licence": "not known to this program: the terms of the data's owner apply",
}

SETTINGS = {"digits": DIGITS, "mnist": MNIST, "fashion_mnist": FASHION_MNIST}


def of(dataset):
    """The settings for a data set's name; those of `OTHER` where it has none of its own."""
    return SETTINGS.get(dataset, OTHER)
