import numpy as np
import pytest

from keras_ae.utils import validation


@pytest.mark.parametrize("value", [3, 3.0, np.int8(3), np.float32(3)])
def test_a_whole_number_becomes_an_int(value):
    found = validation.positive_int("n", value)
    assert found == 3 and type(found) is int


def test_seeds_may_be_longer_than_64_bits():
    assert validation.positive_int("seed", 2**128 - 1, at_least=0) == 2**128 - 1


@pytest.mark.parametrize("value", [0, -1, 2.5, True, np.True_, "3", None, float("nan"), float("inf"), 3j, [3]])
def test_what_is_no_number_of_things_is_refused(value):
    with pytest.raises(ValueError, match="n: expected a whole number, 1 or more; received"):
        validation.positive_int("n", value)


@pytest.mark.parametrize("value", [1, 9])
def test_the_message_names_both_limits(value):
    assert validation.positive_int("n", 2, at_least=2, at_most=8) == 2
    with pytest.raises(ValueError, match=f"n: expected a whole number, 2 to 8; received {value}"):
        validation.positive_int("n", value, at_least=2, at_most=8)
