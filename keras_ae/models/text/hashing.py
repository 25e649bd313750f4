"""What models with binary codes share."""

from collections.abc import Callable
from typing import Any

import numpy as np

from keras_ae.distributions import relaxed_bits
from keras_ae.typing import Rows
from keras_ae.utils.batching import in_batches


class Hashing:
    """Mixin for models with binary codes: `hash` thresholds their `probabilities`.

        code_j = [p_j > 1/2]

    See also: `SemanticHashing` and `VDSH`, which use it and have an example.
    """

    probabilities: Callable[..., Any]

    @in_batches
    def hash(self, x: Rows) -> np.ndarray:
        """Codes of x, `(B, ceil(bits / 8))` uint8: the more probable value of each bit, most significant bit first."""
        return relaxed_bits.pack(self.probabilities(x) > 0.5)
