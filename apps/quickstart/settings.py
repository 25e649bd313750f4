"""Settings of record of the quickstart, by data set."""

DIGITS = {
    "size": None,  # 8 x 8, as they are
    "network": "mlp",  # 64 pixels hold no structure that convolutions would find and a dense layer not
    "hidden": (256, 128),  # 0.6 nats better than (128,), on 300 training images held out once
    "activation": "relu",  # the usual choice
    "latent_dim": 4,  # 40 % below PCA's squared error; 8 would gain 0.3 nats, 2 lose 0.8
    "batch_size": 50,  # 30 steps an epoch of these 1,500 images
    "learning_rate": 1e-3,  # Adam's default
    "epochs": 300,  # the bound still falls a little, and the whole run stays under a minute
    "images": None,  # all
    "nll_samples": 1_000,  # with four dimensions more change nothing visible
    "licence": "Optical Recognition of Handwritten Digits, UCI (Alpaydin & Kaynak 1998), CC BY 4.0",
}

MNIST = {
    "size": None,  # 28 x 28, as they are
    "network": "mlp",  # the one-layer network of Burda 2016, section 5: 784-200-200-50
    "hidden": (200, 200),
    "activation": "tanh",  # as there
    "latent_dim": 50,  # as there
    "batch_size": 128,  # there 20; larger batches keep two cores busy
    "learning_rate": 1e-3,  # there from 1e-3 down to 1e-4 in eight stages; here down to 0 in a cosine
    "epochs": 800,  # there 3,280; the bound still falls slowly after a few hundred
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
    "batch_size": 128,  # Keras's and PyTorch's examples alike
    "learning_rate": 1e-3,  # Adam's default
    "epochs": 20,  # a first impression
    "images": 10_000,  # of each split are held in memory, for PCA and evaluation; training streams them all
    "nll_samples": 500,  # within a nat of thousands, and convolutions are slow
    "licence": "not known to this program: the terms of the data's owner apply",
}

SETTINGS = {"digits": DIGITS, "mnist": MNIST, "fashion_mnist": FASHION_MNIST}


def of(dataset):
    """The settings for a data set's name; those of `OTHER` where it has none of its own."""
    return SETTINGS.get(dataset, OTHER)
