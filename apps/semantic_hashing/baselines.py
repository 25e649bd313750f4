"""What semantic hashing is measured beside: TF-IDF, LSA, and codes that hyperplanes cut out of LSA.

All are fitted on the database alone. A small corpus has fewer terms, dimensions or bits than asked for: each
function then takes as many as there are, and the shapes of what it returns tell how many.
"""

import numpy as np
from absl import logging
from scipy.linalg import orthogonal_procrustes
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import normalize

TERMS = 10_000
DIMENSIONS = 128
# A term of fewer documents says nothing about the others, as long as there are terms of more.
_MIN_DOCUMENTS = 3
# As in the paper; on 20 Newsgroups the quantisation error has long settled by then.
_ITQ_ITERATIONS = 50


def tfidf(database, queries):
    """TF-IDF with logarithmic term frequency, of the 10,000 most frequent terms without English stop words.

        x[t] = (1 + log tf[t]) (1 + log((1 + N) / (1 + df[t]))),    then x / |x|

    Terms are in at least 3 documents of the database; if none is, in one.

    Args:
        database: iterable of N str, which can be iterated twice.
        queries: iterable of str.

    Returns:
        sparse float32 matrices, `(N, terms)` and `(Q, terms)`, rows of unit L2 norm; zero rows where no term is known.

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
        logging.warning("No term is in %d documents: TF-IDF takes all terms.", _MIN_DOCUMENTS)
        vectorizer = TfidfVectorizer(min_df=1, **options)
        features = vectorizer.fit_transform(database)
    if features.shape[1] < 2:
        raise ValueError("TF-IDF: the database has one term, stop words aside; expected at least two.")
    return features, vectorizer.transform(queries)


def lsa(database, queries, seed):
    """Latent semantic analysis: the 128 leading singular directions of the database's TF-IDF.

        z = x V / |x V|,    X = U S V^T

    Args:
        database: `(N, terms)`, of `tfidf`.
        queries: `(Q, terms)`.
        seed: int, of the randomised SVD.

    Returns:
        float32 arrays `(N, dimensions)` and `(Q, dimensions)`, rows of unit L2 norm or zero.
    """
    svd = TruncatedSVD(min(DIMENSIONS, *database.shape), random_state=seed)
    return normalize(svd.fit_transform(database)), normalize(svd.transform(queries))


def random_hyperplanes(database, queries, bits, seed):
    """The sides of random hyperplanes through the origin on which a row lies (Charikar 2002).

        b = [z W > 0],    W[i, j] ~ N(0, 1)

    Two bits differ with probability (angle between the rows) / pi, so that Hamming distance estimates the angle.

    Args:
        database: `(N, D)` rows, of `lsa`.
        queries: `(Q, D)` rows.
        bits: int.
        seed: int.

    Returns:
        packed codes `(N, bytes)` and `(Q, bytes)`, uint8.
    """
    normals = np.random.default_rng(seed).normal(size=(database.shape[1], bits))
    return _signs(database @ normals), _signs(queries @ normals)


def itq(database, queries, bits, seed):
    """Iterative quantisation: principal components, rotated so that their signs lose least (Gong and Lazebnik 2011).

        minimise |B - V R|^2 over B in {-1, 1} and rotations R in turns,    V = PCA(z)

    Hyperplanes as of `random_hyperplanes`, but orthogonal, through the mean, and fitted. The rotation of FAISS
    (`ITQMatrix`, 1.15) is 3 to 5 points of precision worse on 20 Newsgroups, which would flatter what is compared.

    Args:
        database: `(N, D)` rows, of `lsa`.
        queries: `(Q, D)` rows.
        bits: int; as there are no more components than dimensions or documents, codes have at most so many bits.
        seed: int, of the first rotation.

    Returns:
        packed codes `(N, bytes)` and `(Q, bytes)`, uint8, zeros after the last bit; and the number of bits.
    """
    bits = min(bits, *database.shape)
    pca = PCA(bits, random_state=seed)
    v = pca.fit_transform(database)
    rotation, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(bits, bits)))
    for _ in range(_ITQ_ITERATIONS):
        rotation, _ = orthogonal_procrustes(v, np.where(v @ rotation > 0, 1.0, -1.0))
    return _signs(v @ rotation), _signs(pca.transform(queries) @ rotation), bits


def cosine_distances(queries, database):
    """Cosines, negated so that small is near, of rows of unit norm: `(Q, N)`.

    Args:
        queries: `(Q, D)`, dense or sparse.
        database: `(N, D)`, of the same kind.
    """
    products = database @ queries.T  # (N, Q)
    return -(products.toarray() if hasattr(products, "toarray") else products).T


def _signs(scores):
    return np.packbits(scores > 0, axis=1)
