"""Reference settings of semantic hashing: shared defaults, and the settings of each method."""

SHARED = {
    "documents": 50_000,  # larger corpora are sampled, because every document is compared with every other
    "max_words": 20_000,  # names and products rank below the usual 10,000; 30,000 gave no better neighbour agreement
    "min_df": 3,  # rarer words do not connect documents
    "dimensions": 256,  # of LSA, the fixed first layer; 128 gave lower agreement
    "word_dropout": 0.1,  # of the LSA dimensions; 0.2 and 0.3 gave lower agreement
    "hidden": (2048,),  # one wide layer gave higher agreement than one or two narrow ones
    "dropout": 0.3,  # in the hidden layers; 0.5 needs more epochs
    "batch_size": 512,  # the contrastive loss tells this many neighbours apart
    "learning_rate": 3e-3,  # cosine decay to 0; 1e-3 needs twice the epochs
    "epochs": 60,  # 1,620 steps on 20 Newsgroups; half as many gave slightly lower agreement
    "neighbours": 0,  # 0: each document is its own target
    "activation": "relu",
    "prior": None,  # fair coins
    "mirrored": False,  # whether the decoder mirrors the encoder's layers; otherwise it is linear in the bits
    "pretrain": 0,  # epochs per stage of layer-wise pretraining
    "arguments": {},  # constructor arguments of the model class
}

# The networks of NASH and VDSH, which take all words, for the published methods.
_PUBLISHED = {
    "max_words": 10_000,  # about as in the papers
    "dimensions": 0,  # no LSA
    "word_dropout": 0.0,
    "hidden": (500, 500),  # as in the papers
    "dropout": 0.1,  # about as in the papers
    "batch_size": 64,  # as in the papers
    "learning_rate": 1e-3,  # as in the papers
    "epochs": 30,  # a tenth of the papers', five minutes
}

METHODS = {
    # The default: highest agreement with TF-IDF neighbours, see benchmarks/semantic_hashing.py.
    "semantic_hashing": {"model": "SemanticHashing", "neighbours": 10},
    # The code predicts the words of a neighbour, but need not identify it (Hansen 2020, PairRec).
    "pairrec": _PUBLISHED | {"model": "SemanticHashing", "neighbours": 10, "arguments": {"contrast_weight": 0.0}},
    # A learned mixture prior instead of fair coins (Dong 2019).
    "bmsh": _PUBLISHED | {"model": "SemanticHashing", "prior": "mixture", "arguments": {"contrast_weight": 0.0}},
    # The variational code alone (Shen 2018).
    "nash": _PUBLISHED | {"model": "SemanticHashing", "arguments": {"contrast_weight": 0.0}},
    # Gaussian codes, thresholded at the medians (Chaidaroon & Fang 2017).
    "vdsh": _PUBLISHED | {"model": "VDSH", "annealed": 0.5},  # the KL weight rises over half of the steps
    # Deep autoencoder, 2,000 words, noise of standard deviation 4 added to the code, no prior (Salakhutdinov & Hinton
    # 2009). The stages are pretrained as autoencoders; the paper uses Boltzmann machines.
    "salakhutdinov_hinton": {
        "model": "SemanticHashing",
        "max_words": 2_000,  # as in the paper
        "dimensions": 0,  # no LSA
        "word_dropout": 0.0,  # as in the paper
        "hidden": (500, 500),  # as in the paper
        "activation": "sigmoid",  # as in the paper
        "dropout": 0.0,  # as in the paper
        "batch_size": 100,  # as in the paper's pretraining
        "learning_rate": 1e-3,  # Adam's default; the paper uses conjugate gradients
        "epochs": 50,  # as in the paper
        "mirrored": True,  # as in the paper
        "pretrain": 20,  # epochs per stage; paper: 50
        "arguments": {"contrast_weight": 0.0, "beta": 0.0, "relaxation": "noisy"},
    },
}


def of(method, **changes):
    """Returns the settings of a method with `changes` applied; `arguments` is merged entry by entry."""
    chosen = SHARED | METHODS[method]
    arguments = chosen["arguments"] | changes.pop("arguments", {})
    return chosen | changes | {"arguments": arguments}


LICENCES = {
    "docstrings": "Python's documentation: PSF License Version 2",
    "20_newsgroups": "20 Newsgroups (Lang 1995): Usenet postings of 1993, their authors' own; for research",
}


def licence(source):
    """Returns the licence note for models trained on a corpus, given its name."""
    return LICENCES.get(source.split(".")[0], "not known to this program: the terms of the data's owner apply")
