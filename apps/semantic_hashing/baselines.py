"""Baselines for semantic hashing: TF-IDF, LSA, and codes from hyperplanes in LSA space.

All are fitted on the database only. If a small corpus has fewer terms, dimensions or bits than requested, each function
uses as many as there are; the shapes of the results show how many.
"""

import numpy as np
from absl import logging
from scipy.linalg import orthogonal_procrustes
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import normalize

TERMS = 10_000
DIMENSIONS = 128
# Terms in fewer documents say little about the rest; they are used only if there are no others.
_MIN_DOCUMENTS = 3
# As in the paper; on 20 Newsgroups the quantisation error converges well before that.
_ITQ_ITERATIONS = 50


def tfidf(database, queries):
    """Computes TF-IDF with logarithmic term frequency of the 10,000 most frequent terms, without English stop words.

        x[t] = (1 + log tf[t]) (1 + log((1 + N) / (1 + df[t]))),    then x / |x|

    Only terms in at least 3 documents of the database are used, or all terms if there are none.

    Args:
        database: iterable of N str, iterated up to twice.
        queries: iterable of str.

    Returns:
        sparse float32 matrices, `(N, terms)` and `(Q, terms)`, rows of unit L2 norm, or zero rows if no term is known.

    Raises:
        ValueError: if the database has fewer than two terms.
    """
    options = {"max_features": TERMS, "stop_words": "english", "sublinear_tf": True, "dtype": np.float32}
    try:
        vectorizer = TfidfVectorizer(min_df=_MIN_DOCUMENTS, **options)
        features = vectorizer.fit_transform(database)
    except ValueError as error:
        if "min_df" not in str(error):  # such as a database of stop words alone
            raise
        logging.warning("No term is in %d documents: TF-IDF uses all terms.", _MIN_DOCUMENTS)
        vectorizer = TfidfVectorizer(min_df=1, **options)
        features = vectorizer.fit_transform(database)
    if features.shape[1] < 2:
        raise ValueError("TF-IDF: expected at least two terms in the database, besides stop words; received one.")
    return features, vectorizer.transform(queries)


def lsa(database, queries, seed):
    """Computes latent semantic analysis: projections on the 128 leading singular directions of the database's TF-IDF.

        z = x V / |x V|,    X = U S V^T

    Args:
        database: `(N, terms)`, from `tfidf`.
        queries: `(Q, terms)`.
        seed: int, seed of the randomised SVD.

    Returns:
        float32 arrays `(N, dimensions)` and `(Q, dimensions)`, rows of unit L2 norm or zero.
    """
    svd = TruncatedSVD(min(DIMENSIONS, *database.shape), random_state=seed)
    return normalize(svd.fit_transform(database)), normalize(svd.transform(queries))


def random_hyperplanes(database, queries, bits, seed):
    """Computes codes from random hyperplanes through the origin: the side on which each row lies (Charikar 2002).

        b = [z W > 0],    W[i, j] ~ N(0, 1)

    A bit differs between two rows with probability (angle between them) / pi, so Hamming distance estimates the angle.

    Args:
        database: `(N, D)` rows, from `lsa`.
        queries: `(Q, D)` rows.
        bits: int.
        seed: int.

    Returns:
        packed codes `(N, bytes)` and `(Q, bytes)`, uint8.
    """
    normals = np.random.default_rng(seed).normal(size=(database.shape[1], bits))
    return _signs(database @ normals), _signs(queries @ normals)


def itq(database, queries, bits, seed):
    """Computes ITQ codes: signs of PCA components, rotated to minimise quantisation error (Gong and Lazebnik 2011).

        minimise |B - V R|^2 over B in {-1, 1} and rotations R alternately,    V = PCA(z)

    Unlike in `random_hyperplanes`, the hyperplanes are orthogonal, pass through the mean, and are fitted. The FAISS
    rotation (`ITQMatrix`, 1.15) loses 3 to 5 points of precision on 20 Newsgroups and would be too weak a baseline.

    Args:
        database: `(N, D)` rows, from `lsa`.
        queries: `(Q, D)` rows.
        bits: int, limited to the number of dimensions and documents, because there are no more components.
        seed: int, seed of the initial rotation.

    Returns:
        packed codes `(N, bytes)` and `(Q, bytes)`, uint8, padded with zero bits; and the number of bits.
    """
    bits = min(bits, *database.shape)
    pca = PCA(bits, random_state=seed)
    v = pca.fit_transform(database)
    rotation, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(bits, bits)))
    for _ in range(_ITQ_ITERATIONS):
        rotation, _ = orthogonal_procrustes(v, np.where(v @ rotation > 0, 1.0, -1.0))
    return _signs(v @ rotation), _signs(pca.transform(queries) @ rotation), bits


def cosine_distances(queries, database):
    """Returns negated cosines of rows of unit norm, `(Q, N)`: smaller is nearer.

    Args:
        queries: `(Q, D)`, dense or sparse.
        database: `(N, D)`, of the same kind.
    """
    products = database @ queries.T  # (N, Q)
    return -(products.toarray() if hasattr(products, "toarray") else products).T


def _signs(scores):
    return np.packbits(scores > 0, axis=1)
