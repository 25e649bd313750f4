"""Hashes of names that never change, so that splits of data can depend on them."""

import hashlib


def of_name(name: str) -> int:
    """Hashes a name: `int(sha1(name)[:8 hex digits], 16)`, an int of 32 bits.

    Unlike `hash`, it is the same in every process. The name is hashed as UTF-8, or as its bytes if it is a file name
    that is not UTF-8.

    Example:

    >>> from keras_ae.utils.digests import of_name
    >>> of_name("p226_001.wav")
    1102634380

    See also: `datasets.text.is_query` and `datasets.speech.is_validation`, which use it.
    """
    digest = hashlib.sha1(name.encode("utf-8", "surrogateescape"), usedforsecurity=False).hexdigest()
    return int(digest[:8], 16)
