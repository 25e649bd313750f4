"""Settings of record of semantic hashing: what the methods share, and what is each one's own."""

SHARED = {
    "documents": 50_000,  # a random sample of a larger corpus: every document is compared with every other
    "max_words": 20_000,  # names and products lie beyond the usual 10,000; 30,000 agreed no better with neighbours
    "min_df": 3,  # rarer words connect no documents
    "dimensions": 256,  # of LSA, the fixed first layer; 128 agreed less
    "word_dropout": 0.1,  # of those dimensions; 0.2 and 0.3 agreed less
    "hidden": (2048,),  # one wide layer agreed better than a narrow one or two
    "dropout": 0.3,  # of the hidden layers; 0.5 needs more epochs
    "batch_size": 512,  # so many neighbours are told apart
    "learning_rate": 3e-3,  # down to 0 in a cosine; 1e-3 needs twice the epochs
    "epochs": 60,  # 1,620 steps on 20 Newsgroups; half of them agreed a little less
    "neighbours": 0,  # 0: a document is its own target
    "activation": "relu",
    "prior": None,  # fair coins
    "mirrored": False,  # whether the decoder has the encoder's layers, too; otherwise each bit adds logits to the words
    "pretrain": 0,  # epochs a stage, of a network and its mirror
    "arguments": {},  # of the model class
}

# The networks of NASH and VDSH, which see all words, for the published methods.
_PUBLISHED = {
    "max_words": 10_000,  # as there, about
    "dimensions": 0,  # no LSA
    "word_dropout": 0.0,
    "hidden": (500, 500),  # as there
    "dropout": 0.1,  # as there, about
    "batch_size": 64,  # as there
    "learning_rate": 1e-3,  # as there
    "epochs": 30,  # a tenth of theirs, five minutes
}

METHODS = {
    # The default: the best by agreement with TF-IDF neighbours, see benchmarks/semantic_hashing.py.
    "semantic_hashing": {"model": "SemanticHashing", "neighbours": 10},
    # Its code tells the words of a neighbour, but need not find it (Hansen 2020, PairRec).
    "pairrec": _PUBLISHED | {"model": "SemanticHashing", "neighbours": 10, "arguments": {"contrast_weight": 0.0}},
    # A learned mixture of codes in the place of fair coins (Dong 2019).
    "bmsh": _PUBLISHED | {"model": "SemanticHashing", "prior": "mixture", "arguments": {"contrast_weight": 0.0}},
    # The variational code by itself (Shen 2018).
    "nash": _PUBLISHED | {"model": "SemanticHashing", "arguments": {"contrast_weight": 0.0}},
    # Gaussian, cut at the medians (Chaidaroon & Fang 2017).
    "vdsh": _PUBLISHED | {"model": "VDSH", "annealed": 0.5},  # the KL's weight rises over half of the steps
    # Deep autoencoder, 2,000 words, noise of deviation 4 into the code, no prior (Salakhutdinov & Hinton 2009); the
    # stages are pretrained as autoencoders, there as Boltzmann machines.
    "salakhutdinov_hinton": {
        "model": "SemanticHashing",
        "max_words": 2_000,  # as there
        "dimensions": 0,  # no LSA
        "word_dropout": 0.0,  # as there
        "hidden": (500, 500),  # as there
        "activation": "sigmoid",  # as there
        "dropout": 0.0,  # as there
        "batch_size": 100,  # as there, in pretraining
        "learning_rate": 1e-3,  # Adam's default, for there conjugate gradients
        "epochs": 50,  # as there
        "mirrored": True,  # as there
        "pretrain": 20,  # epochs a stage; there 50
        "arguments": {"contrast_weight": 0.0, "beta": 0.0, "relaxation": "noisy"},
    },
}


def of(method, **changes):
    """All settings of a method, some of them changed; `arguments` are changed one by one."""
    chosen = SHARED | METHODS[method]
    arguments = chosen["arguments"] | changes.pop("arguments", {})
    return chosen | changes | {"arguments": arguments}


LICENCES = {
    "docstrings": "Python's documentation: PSF License Version 2",
    "20_newsgroups": "20 Newsgroups (Lang 1995): Usenet postings of 1993, their authors' own; for research",
}


def licence(source):
    """What a model trained on a corpus, by its name, has to say about it."""
    return LICENCES.get(source.split(".")[0], "not known to this program: the terms of the data's owner apply")
