"""Converts the data passed to `fit` and `evaluate` to batches `(x, y, sample_weight)`.

Arrays stay in memory as tensors, and each training step gathers its rows from them. All other sources become a
`tf.data.Dataset`. `Feed` hides the difference.
"""

import contextlib
import copy
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras.src.trainers.data_adapters import get_data_adapter

from keras_ae.training import roles
from keras_ae.typing import Columns, Rows, Shape
from keras_ae.utils import numbering, validation
from keras_ae.utils import rows as rows_of
from keras_ae.utils.xla import as_it_is

_KEPT_BYTES = 4 << 30  # of a generator whose batches are needed more than once


class Feed:
    """Batches of data, one epoch at a time.

    Attributes:
        checked: `(x, y, sample_weight)` to validate: all rows of arrays, or the first batch of other sources.
        is_whole: bool, whether `checked` holds all rows.
        batch: `(x, y, sample_weight)` with the shape of one batch, to estimate its memory.
        steps: int, training steps per epoch; None if unknown.
        arrays: `(x, y, sample_weight)` as tensors to gather rows from, made on first use, when the rows have been
            validated; None if the data are sparse or not arrays.
    """

    def __init__(
        self,
        checked: Columns,
        make: Callable[..., tuple[Any, tf.Variable | None]],
        steps: int | None,
        *,
        arrays: Callable[[], Columns] | None = None,
        batch: Columns | None = None,
        is_whole: bool = False,
        adapter: Any = None,
        once: "_Once | None" = None,
        raised: Sequence[Exception] = (),
        numbers: Sequence[numbering.Numbers] = (),
    ) -> None:
        self.checked, self.steps, self.is_whole, self._arrays = checked, steps, is_whole, arrays
        self.batch = checked if batch is None else batch
        self._make, self._adapter, self._once, self._raised = make, adapter, once, raised
        self._numbers, self._first = numbers, 0
        self._begun = [each.trained for each in self._numbers]
        self._dataset: Any = None
        self._order: tf.Variable | None = None

    @property
    def arrays(self) -> Columns | None:
        return None if self._arrays is None else self._arrays()

    @contextlib.contextmanager
    def epoch(self) -> Iterator[None]:
        """Context of one epoch. It calls the epoch hooks of a `PyDataset`, and raises what a source raised.

        Call `start` inside it, or continue with the iterator of the previous epoch.
        """
        if self._adapter is not None:
            self._adapter.on_epoch_begin()
        try:
            yield
        except tf.errors.OpError:
            if not self._raised:
                raise
            raise self._raised[-1] from None  # without TensorFlow's error before it
        finally:
            if self._adapter is not None:
                self._adapter.on_epoch_end()
        if self._raised:
            raise self._raised[-1]

    def begin_at(self, epoch: int) -> None:
        """Says that `fit` begins with this epoch; data with numbered epochs may be further, from an earlier `fit`."""
        self._first, self._begun = epoch, [max(each.trained, epoch) for each in self._numbers]

    def go_to(self, epoch: int) -> None:
        """Lets the next iterator read the given epoch of `fit`, if the data have numbered epochs."""
        for begun, each in zip(self._begun, self._numbers, strict=True):
            each.go_to(begun + epoch - self._first)

    def has_read(self, epoch: int | None) -> None:
        """Says that `fit` has read this epoch, or those that the data counted, so that the next `fit` begins after."""
        for begun, each in zip(self._begun, self._numbers, strict=True):
            each.trained = each.upcoming if epoch is None else begun + epoch - self._first + 1

    def start(
        self, strategy: tf.distribute.Strategy, numbers: bool = False, seed: tf.Tensor | None = None
    ) -> Iterator[Any]:
        """Returns an iterator over all batches.

        Args:
            strategy: `tf.distribute.Strategy`.
            numbers: bool, whether to yield row indices into `arrays` instead of rows; for arrays only.
            seed: int32 `(2,)`, seed for shuffling arrays.
        """
        if self._order is not None:
            self._order.assign(seed)
        elif self._dataset is None or (seed is not None and self.is_whole):
            self._dataset, self._order = self._make(strategy, numbers, seed)
        return iter(self._dataset)

    def dataset(self, strategy: tf.distribute.Strategy) -> tf.data.Dataset:
        """Returns the batches of one epoch as a `tf.data.Dataset`."""
        return self._make(strategy, False, None)[0]

    def put_back(self) -> None:
        """Puts batches back that a failed first call of a compiled step has taken; then `start` a new iterator."""
        if self._once is not None:
            self._once.put_back()
        if self._adapter is not None:
            self._adapter.on_epoch_end()
            self._adapter.on_epoch_begin()

    def keep_going(self) -> None:
        """Says that `put_back` will not be called any more, so that batches need not be kept."""
        if self._once is not None:
            self._once.forget()


def open_feed(
    x: Rows,
    y: Rows | None = None,
    sample_weight: Rows | None = None,
    *,
    role: roles.Role,
    batch_size: int | None = None,
    shuffle: bool = False,
    class_weight: Mapping[int, float] | None = None,
    moves: int = 1,
) -> Feed:
    """Returns the `Feed` for data passed to `fit` or `evaluate`.

    Args:
        x: rows as accepted by `utils.rows.to_rows`, or a source of batches as defined by `utils.rows.is_source`.
        y, sample_weight: rows, or None; must be None for a source, which yields them itself.
        role: `training.roles.Role`, what y means to the model.
        batch_size: int, or None for 32; ignored for a source, which is already batched.
        shuffle: bool, for arrays and `PyDataset`s.
        class_weight: `{label: weight}` or None.
        moves: int, number of batches per training step.

    Raises:
        ValueError: if the data cannot be converted to rows; the message says how to fix it.
    """
    if x is None:
        raise ValueError("x: expected rows or a source of batches; received None.")
    if rows_of.is_source(x):
        if y is not None or sample_weight is not None:
            raise ValueError("y and sample_weight: expected none, as x yields them: (x, y) or (x, y, sample_weight).")
        return _of_source(x, role, class_weight, shuffle, moves)
    x, y, sample_weight = weighed(standard_rows(x, y, sample_weight, role), role, class_weight)
    return _of_rows(x, y, sample_weight, batch_size or 32, shuffle, moves)


def weighed(columns: Columns, role: roles.Role, class_weight: Mapping[int, float] | None) -> Columns:
    """Returns `(x, y, sample_weight)` with class weights multiplied into the sample weights."""
    x, y, sample_weight = columns
    if class_weight is None:
        return columns
    weights = role.class_weights(y, class_weight)
    return x, y, weights if sample_weight is None else weights * sample_weight


def standard_rows(x: Rows, y: Rows | None, sample_weight: Rows | None, role: roles.Role) -> Columns:
    """Converts `(x, y, sample_weight)` to rows, with y in the role's standard form and weights `(B,)`."""
    x, y = rows_of.to_rows("x", x), rows_of.to_rows("y", y)
    y = role.standard(y.numpy() if isinstance(y, tf.Tensor) and role.conditional else y)
    if sample_weight is not None:
        count: Any = x.shape[0] if hasattr(x, "shape") else None
        sample_weight = validation.check_weights(rows_of.to_rows("sample_weight", sample_weight), count)
    return x, y, sample_weight


def split(x: Rows, y: Rows | None, sample_weight: Rows | None, share: float, role: roles.Role) -> list[Columns]:
    """Splits off the last `share` of the rows for validation; returns `(x, y, sample_weight)` of both parts.

    Raises:
        ValueError: if x is not an array, or one part would be empty.
    """
    if rows_of.is_source(x):
        raise ValueError("validation_split: expected x to be an array; with a data set, pass validation_data.")
    columns = standard_rows(x, y, sample_weight, role)
    count = columns[0].shape[0]
    edge = int(count * (1.0 - share))
    if not 0 < edge < count:
        raise ValueError(f"validation_split: {share} of {count} rows leaves none for training or for validation.")
    parts = (slice(None, edge), slice(edge, None))
    return [tuple(None if column is None else column[part] for column in columns) for part in parts]


def held_out(validation_data: Any, row_shape: Shape | None) -> Columns:
    """Returns `(x, y, sample_weight)` of the argument `validation_data`: a tuple of these parts, or x alone.

    A list can be either. It is x, as in `fit`, if it has more than three elements, or its first one has `row_shape`.

    Raises:
        ValueError: for a tuple that does not have one to three parts, or an empty list.
    """
    if not isinstance(validation_data, list | tuple):
        return validation_data, None, None
    if isinstance(validation_data, list) and (len(validation_data) > 3 or _starts_with_row(validation_data, row_shape)):
        return validation_data, None, None
    if not 1 <= len(validation_data) <= 3:
        raise ValueError(
            f"validation_data: expected x, (x, y) or (x, y, sample_weight); received {len(validation_data)} parts. "
            "Pass rows as an array or a list."
        )
    return *validation_data, *(None,) * (3 - len(validation_data))


def _starts_with_row(rows, row_shape):
    try:
        return bool(rows) and row_shape is not None and validation.fits(np.shape(rows[0]), row_shape)
    except ValueError:  # lists of different lengths have no shape
        return False


def unpack(data: Any) -> Columns:
    """Unpacks a batch to `(x, y, sample_weight)`, with weights `(B,)`.

    Raises:
        ValueError: if there is not exactly one weight per row.
    """
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    if sample_weight is None or sample_weight.shape.rank == 1:
        return x, y, sample_weight
    if sample_weight.shape.rank == 2 and sample_weight.shape[1] == 1:
        return x, y, sample_weight[:, 0]
    raise ValueError(
        f"sample_weight: expected one number per row, shape (B,); received batches of shape {sample_weight.shape}."
    )


# Arrays


def _of_rows(x, y, sample_weight, batch_size, shuffle, moves):
    first, count = (x, y, sample_weight), x.shape[0]
    batches = -(-count // batch_size)
    steps = max(1, batches // moves)
    example = tuple(None if a is None else _example(a, batch_size) for a in first) if count else first
    sparse = any(map(rows_of.is_sparse, first))
    arrays = None if sparse or not count else functools.cache(lambda: tensors(first))

    def make(strategy, numbers, seed):
        order = seed if shuffle else None
        if order is not None and not _spans_devices(strategy):
            order = tf.Variable(order)  # lets all epochs use one data set and one graph
        dataset = _row_numbers(count, batch_size, batches, steps, moves, order)
        if not numbers:
            of_rows = gatherer(first) if arrays is None else functools.partial(gather, arrays())
            dataset = dataset.map(as_it_is(of_rows if moves == 1 else lambda *rows: tuple(map(of_rows, rows))))
        return _distributed(dataset, strategy), order if isinstance(order, tf.Variable) else None

    return Feed(first, make, steps, arrays=arrays, batch=example, is_whole=True)


def gather(arrays: Columns, rows: tf.Tensor) -> Columns:
    """Gathers rows of each array; an absent array stays None."""
    return tuple(None if array is None else tf.gather(array, rows) for array in arrays)


def _row_numbers(count, batch_size, batches, steps, moves, seed):
    """Returns a data set of row indices 0 to `count - 1`, with `moves` batches per element, shuffled with `seed`.

    It runs on its own thread: Keras's pipeline for arrays takes threads away from the step, see benchmarks/NOTES.md.
    """

    @as_it_is
    def epoch(_):
        order = tf.range(count)
        if seed is not None:
            order = tf.random.experimental.stateless_shuffle(order, tf.convert_to_tensor(seed))

        def batch(step, move):
            i = (step * moves + move) % batches  # with fewer batches than moves, some are used twice
            return order[i * batch_size : (i + 1) * batch_size]

        def step(i):
            return batch(i, 0) if moves == 1 else tuple(batch(i, move) for move in range(moves))

        return tf.data.Dataset.range(steps, output_type=tf.int32).map(step)

    options = tf.data.Options()
    options.autotune.enabled = False
    options.threading.private_threadpool_size = 1
    made = tf.data.Dataset.range(1).flat_map(epoch).with_options(options)
    return made.apply(tf.data.experimental.assert_cardinality(steps))


def gatherer(columns: Iterable[Any]) -> Callable[[tf.Tensor], Columns]:
    """Returns a function that gathers the columns' rows by index and densifies sparse columns."""
    stored = [each if rows_of.is_sparse(each) else _tensor(each) for each in columns]

    def column(each, rows):
        if not rows_of.is_sparse(each):
            return None if each is None else tf.gather(each, rows)
        dtype = rows_of.dense(each[:1]).dtype
        made = tf.numpy_function(lambda rows: rows_of.dense(each[rows]).astype(dtype), [rows], dtype)
        return tf.ensure_shape(made, [None, each.shape[1]])

    return lambda rows: tuple(column(each, rows) for each in stored)


def dense_batches(columns: Columns, batch_size: int) -> tf.data.Dataset:
    """Returns a data set of tuples of dense batches, in order, from columns of which some are sparse matrices."""
    count = columns[0].shape[0]
    batches = -(-count // batch_size)
    return _row_numbers(count, batch_size, batches, batches, 1, None).map(as_it_is(gatherer(columns)))


def tensors(columns: Iterable[Any]) -> Columns:
    """Converts columns to dense tensors; absent ones stay None, and float64 becomes float32, as elsewhere in Keras."""
    return tuple(_tensor(column) for column in columns)


def _tensor(column):
    return None if column is None else tf.convert_to_tensor(_single(rows_of.dense(column)))


def _example(array, batch_size):
    row = rows_of.dense(array[:1])
    return np.broadcast_to(row.numpy() if tf.is_tensor(row) else row, (batch_size, *array.shape[1:]))


def _distributed(dataset, strategy):
    """Distributes the data set. Distributed batches cannot contain None, so x serves as its own target."""
    if not _spans_devices(strategy):
        return dataset

    def whole(x, y, sample_weight):
        return (x,) if y is None and sample_weight is None else _present((x, x if y is None else y, sample_weight))

    @as_it_is
    def without_none(*batch):
        several = isinstance(batch[0], tuple)
        return tuple(whole(*_columns(each)) for each in batch) if several else whole(*_columns(batch))

    return strategy.experimental_distribute_dataset(dataset.map(without_none))


def _spans_devices(strategy):
    return strategy.num_replicas_in_sync > 1 or strategy.extended._in_multi_worker_mode()


# Sources of batches


def _of_source(x, role, class_weight, shuffle, moves):
    if isinstance(x, tf.data.Dataset):
        return _of_tf_data(x, role, class_weight, moves)

    def prepared(batch):
        columns = weighed(standard_rows(*_columns(batch), role), role, class_weight)
        return tuple(_single(rows_of.dense(column)) for column in columns)

    raised = []  # errors inside a data set, which TensorFlow would replace by its own, and log with a traceback

    if isinstance(x, keras.utils.PyDataset):
        first = prepared(x[0])
        batches = _Prepared(x, prepared, first, raised)
        adapter = get_data_adapter(batches, shuffle=shuffle and x.num_batches is not None)
        dataset = _with_absent(adapter.get_tf_dataset(), first)
        return _of_dataset(dataset, first, x.num_batches, moves, adapter, raised=raised)
    iterator = iter(x)
    first = next(iterator, None)
    if first is None:
        raise ValueError("x is empty: expected at least one batch.")
    first = prepared(first)
    # A generator runs only once, so the first batch is put back; a loader restarts in each epoch.
    once = _Once(itertools.chain([first], map(prepared, iterator))) if iterator is x else None
    specs = tuple(tf.TensorSpec([None, *each.shape[1:]], each.dtype) for each in first if each is not None)

    def generate():
        try:
            for batch in once or map(prepared, x):
                _check_parts(batch, first)
                _check_shapes(batch, first)
                yield _present(batch)
        except Exception as error:
            raised.append(error)  # the epoch ends here, and raises it

    dataset = _with_absent(tf.data.Dataset.from_generator(generate, output_signature=specs), first)
    batches = len(x) if hasattr(x, "__len__") else None
    return _of_dataset(dataset, first, batches, moves, once=once, raised=raised)


_PARTS = ("x", "y", "sample_weight")


def _check_parts(batch, first):
    """Raises a `ValueError` unless a batch has the same parts as the first one."""
    for name, part, of_first in zip(_PARTS, batch, first, strict=True):
        if (part is None) != (of_first is None):
            there, other = ("has none", "has it") if of_first is None else ("has it", "has none")
            raise ValueError(f"{name}: the first batch {there}, a later one {other}. Yield the same parts in all.")


def _check_shapes(batch, first):
    """Raises a `ValueError` unless the rows of a batch have the shapes of those of the first one."""
    for name, part, of_first in zip(_PARTS, batch, first, strict=True):
        if part is not None and part.shape[1:] != of_first.shape[1:]:
            raise ValueError(
                f"{name}: expected rows of shape {tuple(of_first.shape[1:])}, as in the first batch; received "
                f"{tuple(part.shape[1:])} in a later one. Pad or crop them to one shape."
            )


class _Once:
    """The batches of a generator, which runs only once; those of the first call are kept, to be put back."""

    def __init__(self, batches):
        self._batches, self._taken = batches, []

    def __iter__(self):
        return self

    def __next__(self):
        batch = next(self._batches)
        if self._taken is not None:
            self._taken.append(batch)
        return batch

    def put_back(self):
        self._batches, self._taken = itertools.chain(self._taken or (), self._batches), []

    def forget(self):
        self._taken = None


def repeatable(name: str, x: Rows, steps: int | None = None) -> Rows:
    """Returns a source that can be read repeatedly. A generator runs only once, so its batches are kept in memory.

    Args:
        name: the argument's name, for the error message.
        x: rows or a source of batches; everything but a generator is returned unchanged.
        steps: int, the number of batches to keep, or None for all.

    Raises:
        ValueError: if the batches of a generator take more than `_KEPT_BYTES`; it may be endless.
    """
    once = rows_of.is_source(x) and not isinstance(x, tf.data.Dataset | keras.utils.PyDataset) and iter(x) is x
    if not once:
        return x
    kept, size = [], 0
    for batch in itertools.islice(x, steps):
        kept.append(copy.deepcopy(batch))  # a generator may yield the same array again with other values
        size += sum(getattr(leaf, "nbytes", 0) for leaf in keras.tree.flatten(batch))
        if size > _KEPT_BYTES:
            fewer = "fewer validation_steps, or " if name == "validation_data" else ""
            raise ValueError(
                f"{name}: the generator yields more than {_KEPT_BYTES >> 30} GB, which would all be kept in memory. "
                f"Pass {fewer}a tf.data.Dataset."
            )
    return _Kept(kept)


class _Kept:
    """The batches of a generator, as a loader."""

    def __init__(self, batches):
        self.batches = batches

    def __iter__(self):
        return iter(self.batches)

    def __len__(self):
        return len(self.batches)


def _of_tf_data(source, role, class_weight, moves):
    _check_spec(source.element_spec)

    @as_it_is
    def standard(*batch):
        return weighed(_standard_tensors(*_columns(batch), role), role, class_weight)

    converted = source.map(standard, tf.data.AUTOTUNE)
    is_standard = class_weight is None and _columns(source.element_spec) == converted.element_spec
    dataset = source if is_standard else converted
    with numbering.looking(source):
        # Before the conversion, whose threads would draw more batches than the first.
        first = next(iter(source.take(1).map(standard)), None)
    if first is None:
        raise ValueError("The data set x is empty: expected at least one batch.")
    batches = int(dataset.cardinality())
    numbers = numbering.of(source)
    return _of_dataset(dataset, _columns(first), batches if batches >= 0 else None, moves, numbers=numbers)


def _of_dataset(dataset, first, batches, moves, adapter=None, **options):
    steps = None if batches is None else max(1, batches // moves)
    if moves > 1:
        # With fewer batches than moves, some are used twice.
        dataset = _grouped(dataset.repeat().take(moves) if batches is not None and batches < moves else dataset, moves)

    def make(strategy, numbers, seed):
        return _distributed(dataset, strategy), None

    return Feed(first, make, steps, adapter=adapter, **options)


def _grouped(dataset, moves):
    """Groups the data set into elements of `moves` batches and drops the remainder."""
    specs = _columns(dataset.element_spec)
    present = [not isinstance(spec, tf.NoneTensorSpec) and spec is not None for spec in specs]
    packed = dataset.map(as_it_is(lambda *batch: _present(_columns(batch))))

    @as_it_is
    def group(*columns):
        batches = tf.data.Dataset.zip(columns)
        picked = (batches.skip(i).take(1).get_single_element() for i in range(moves))
        return tuple(_with_none(batch, present) for batch in picked)

    return packed.window(moves, drop_remainder=True).map(group)


def _present(columns):
    return tuple(column for column in columns if column is not None)


def _with_absent(dataset, first):
    """Restores None where the first batch has it, because generators cannot yield None."""
    present = [column is not None for column in first]
    return dataset.map(as_it_is(lambda *columns: _with_none(columns, present)))


def _with_none(columns, present):
    columns = iter(columns)
    return tuple(next(columns) if there else None for there in present)


def _columns(batch):
    """Returns a batch as `(x, y, sample_weight)`, with None for absent parts."""
    rows_of.check_batch(batch)
    batch = tuple(batch) if isinstance(batch, tuple | list) else (batch,)
    if not 1 <= len(batch) <= 3:
        raise ValueError(f"x: expected batches of x, (x, y) or (x, y, sample_weight); received {len(batch)} parts.")
    return *batch, *(None,) * (3 - len(batch))


def _check_spec(spec):
    for part in _columns(spec):
        if isinstance(part, tf.RaggedTensorSpec):
            raise ValueError("x: received ragged batches. Pad them: data.map(lambda x: x.to_tensor()).")
        if isinstance(part, tuple | list):
            raise ValueError(
                f"x: expected batches of x, (x, y) or (x, y, sample_weight); received a tuple of {len(part)} inside "
                "one of them. Concatenate its tensors, or pass one of them as y."
            )


def _standard_tensors(x, y, sample_weight, role):
    x, y = (tf.sparse.to_dense(each) if isinstance(each, tf.SparseTensor) else each for each in (x, y))
    return unpack((_single(x), role.standard(_single(y)), _single(sample_weight)))


def _single(rows):
    """Rows of float32 where they were float64 or bfloat16, as elsewhere in Keras."""
    if rows is None or rows.dtype not in (np.float64, tf.bfloat16):
        return rows
    with np.errstate(over="ignore"):  # `validation.check_array` refuses values beyond the range of float32
        return tf.cast(rows, tf.float32) if tf.is_tensor(rows) else rows.astype("float32")


class _Prepared(keras.utils.PyDataset):
    """A `PyDataset` whose batches are converted by `standard_rows`."""

    def __init__(self, inner, prepared, first, raised):
        super().__init__(inner.workers, inner.use_multiprocessing, inner.max_queue_size)
        self.inner, self.prepared, self.first, self.raised = inner, prepared, first, raised

    @property
    def num_batches(self):
        return self.inner.num_batches

    def __getitem__(self, index):
        try:
            batch = self.prepared(self.inner[index])
            _check_parts(batch, self.first)
        except Exception as error:
            self.raised.append(error)
            raise
        return _present(batch)

    def on_epoch_begin(self):
        self.inner.on_epoch_begin()

    def on_epoch_end(self):
        self.inner.on_epoch_end()
