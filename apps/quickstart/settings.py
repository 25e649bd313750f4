"""Reference settings of the quickstart, by dataset."""

DIGITS = {
    "size": None,  # original 8 x 8
    "network": "mlp",  # 64 pixels have no structure that only convolutions would find
    "likelihood": "bernoulli",  # dark strokes on a light ground
    "hidden": (256, 128),  # small enough to train in 20 seconds
    "activation": "relu",  # the usual choice
    "latent_dim": 4,  # 40 % lower squared error than PCA; benchmarks/NOTES.md compares 2, 6 and 8
    "batch_size": 50,  # 30 steps per epoch on these 1,500 images
    "learning_rate": 1e-3,  # Adam's default
    "epochs": 300,  # the loss still falls a little, and the whole run takes less than a minute
    "images": None,  # all
    "nll_samples": 1_000,  # enough in four dimensions
    "licence": "Optical Recognition of Handwritten Digits, UCI (Alpaydin & Kaynak 1998), CC BY 4.0",
}

MNIST = {
    "size": None,  # original 28 x 28
    "network": "mlp",  # Burda 2016, section 5, one stochastic layer, but wider: the paper has 784-200-200-50
    "likelihood": "bernoulli",  # as in the paper
    "hidden": (300, 300),  # 0.14 nats better in the same time on held-out training images, see benchmarks/NOTES.md
    "activation": "tanh",  # as in the paper
    "latent_dim": 50,  # as in the paper
    "batch_size": 128,  # paper: 20; larger batches keep two cores busy
    "learning_rate": 2e-3,  # paper: 1e-3 to 1e-4 in eight stages; here cosine decay to 0
    "epochs": 440,  # paper: 3,280; this takes 20 minutes on two cores
    "images": None,  # all
    "nll_samples": 5_000,  # as in the paper's table 1
    "licence": "MNIST (LeCun, Cortes, Burges), CC BY-SA 3.0",
}

# Same size, number and kind of images as MNIST.
FASHION_MNIST = MNIST | {"licence": "Fashion-MNIST (Zalando), MIT"}

OTHER = {
    "size": (32, 32),  # so that photographs of any size train within minutes on a CPU
    "network": "conv",  # neighbouring pixels matter in larger images
    "likelihood": "gaussian_learned_scale",  # Bernoulli draws of photographs teach a VAE an average picture
    "hidden": (256,),  # between the last feature map and the code, which depends on the whole image
    "filters": (32, 64),  # of the encoder; the decoder mirrors these
    "activation": "relu",  # the usual choice
    "latent_dim": 32,  # enough for recognisable images, few enough to compress
    "batch_size": 128,  # keeps two cores busy
    "learning_rate": 1e-3,  # Adam's default
    "epochs": 20,  # a first impression
    "images": 10_000,  # per split in memory, for PCA and evaluation; training streams all images
    "nll_samples": 500,  # convolutions are slow
    "licence": "not known to this program: the terms of the data's owner apply",
}

SETTINGS = {"digits": DIGITS, "mnist": MNIST, "fashion_mnist": FASHION_MNIST}


def of(dataset):
    """Returns a dataset's settings by its name; `OTHER` for datasets without settings here."""
    return SETTINGS.get(dataset, OTHER)
