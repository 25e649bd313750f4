"""Methods that exist only on models with the parts they need."""

import functools
import types


class needs:
    """Decorator for methods that exist only on models with all the given parts, named as in `model.parts`.

    On other models `hasattr` is False, and the AttributeError names the missing part.

        @needs("prior", "decoder")
        def sample(self, n): ...
    """

    def __init__(self, *parts: str) -> None:
        self.parts = parts

    def __call__(self, method):
        functools.update_wrapper(self, method)
        return self

    def __get__(self, model, owner=None):
        if model is None:
            return self.__wrapped__
        missing = [part for part in self.parts if part not in model.parts]
        if missing:
            raise AttributeError(f"{type(model).__name__} has no {self.__name__}(), which needs {_WORDS[missing[0]]}.")
        return types.MethodType(self.__wrapped__, model)


_WORDS = {
    "encoder": "an encoder",
    "decoder": "a decoder",
    "prior": "a prior over codes",
    "density": "a posterior that is a distribution, and a prior",
    "reconstruction": "an encoder and a decoder of rows of x's shape",
    "labels": "integer labels as its condition",
    "classifier": "a classifier of x",
}
