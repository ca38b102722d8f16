"""Find out what a pickle of `torch.save` describes and what loading it would cost, without building any of it.

`torch.load(weights_only=True)` runs no code from a file, but it trusts every number in it. A file of one kilobyte may
demand a tensor of 300 GB, a tuple so deep that hashing it overflows the stack, or a million empty sets. `Scan` reads
the same operations as torch's reader but only adds up sizes. If it accepts a file, torch loads that file within these
limits.
"""

import math
import struct
from collections.abc import Callable, Mapping, Sequence
from pickle import decode_long
from typing import IO, Any

import torch
from torch import Tensor

from tensortrain.errors import TensorTrainError

MOST_MEMORY = 2**28  # estimated bytes of Python objects; a checkpoint of a thousand tensors needs a few million
DEEPEST = 64  # levels of lists, tuples and dicts inside each other
MOST_ITEMS = 2**24  # items in one object; an item that appears several times counts several times
LONGEST_KEY = 64  # items in a tuple that is the key of a dict
SHARED = 16  # tensors that share storages, as tied weights do, may have this multiple of the file's size in all
FREE = 2**25  # bytes that are allowed in addition, for small tensors such as expanded masks

ITEM_SIZES = {
    "UntypedStorage": 1, "BoolStorage": 1, "ByteStorage": 1, "CharStorage": 1, "ShortStorage": 2, "IntStorage": 4,
    "LongStorage": 8, "HalfStorage": 2, "BFloat16Storage": 2, "FloatStorage": 4, "DoubleStorage": 8,
    "ComplexFloatStorage": 8, "ComplexDoubleStorage": 16, "QInt8Storage": 1, "QUInt8Storage": 1, "QInt32Storage": 4,
}  # fmt: skip


_TENSOR_TYPES = ("torch.Tensor", "torch.nn.parameter.Parameter")


class _Global(str):
    """The full name of a class or function; nothing is imported."""


class _Node:
    """A container or object, with its total size and its depth, but without its content.

    Attributes:
        kind: the type, such as `"list"`, or the name of the class.
        parts: the items of a tuple, or the keys of a dict.
        weight: number of items inside; an item that appears several times counts several times.
        depth: number of levels of containers inside each other.
        inside: whether the object is part of another one, so that it must not change any more.
    """

    __slots__ = ("depth", "inside", "kind", "parts", "weight")

    def __init__(self, kind: str, parts: Sequence[Any] = ()) -> None:
        self.kind, self.parts = kind, parts
        self.weight, self.depth, self.inside = 1, 1, False

    def put(self, value: object) -> None:
        """Count a value that becomes part of this object."""
        if self.inside or value is self:
            raise TensorTrainError(
                "it holds an object that contains itself, or that changes after it became part of another object"
            )
        if isinstance(value, _Node):
            value.inside = True
            self.weight += value.weight
            self.depth = max(self.depth, value.depth + 1)
        else:
            self.weight += 1 + (len(value) // 32 if isinstance(value, str | bytes) else 0)
        if self.depth > DEEPEST or self.weight > MOST_ITEMS:
            raise TensorTrainError(
                f"it holds objects that are more than {DEEPEST} levels deep or have more than {MOST_ITEMS} items"
            )


class _Storage:
    """The memory of tensors: the number of entries, and the bytes of each entry."""

    __slots__ = ("entries", "item_size")

    def __init__(self, entries: int, item_size: int) -> None:
        self.entries, self.item_size = entries, item_size


class Scan:
    """Reads one pickle after the other, and adds up what all of them would cost.

    Args:
        file: the file from which the pickles are read.
        size: size of the whole file in bytes.
        records: the sizes in bytes of the storages in the file by key, or None if only the pickles state them.
    """

    def __init__(self, file: IO[bytes], size: int, records: Mapping[str, int] | None) -> None:
        self._file, self._size, self._records = file, size, records
        self._memory = 0  # bytes of Python objects
        self._tensors = 0  # bytes of all tensors, including those that share storages
        self._storages: dict[str, int] = {}
        self._unread = size  # bytes of the file that are left for further storages
        self._stack: list[Any] = []
        self._outer: list[list[Any]] = []
        self._memo: dict[int, Any] = {}

    def read(self) -> object:
        """Read one pickle, refuse it if it costs too much, and return its value or its size.

        Returns:
            The value if it is a number, a string or None; otherwise a `_Node` with its size.

        Raises:
            TensorTrainError: torch would refuse the pickle, or would need far more memory or time than the size of the
                file justifies.
        """
        self._stack, self._outer, self._memo = [], [], {}
        try:
            while (operation := self._bytes(1)) != b".":
                self._charge(64)
                step = _OPERATIONS.get(operation)
                if step is None:
                    raise TensorTrainError(
                        f"it is damaged, or saved with another pickle protocol than torch's own (operation"
                        f" {operation!r}): save it again with torch.save and no pickle_protocol"
                    )
                step(self)
            return self._stack.pop()
        except TensorTrainError:
            raise
        except (IndexError, KeyError, TypeError, ValueError, AttributeError, struct.error):
            raise TensorTrainError("its pickle is damaged") from None

    # ---- reading ---------------------------------------------------------------------------------------------

    def _bytes(self, count: int) -> bytes:
        """Return the next bytes of the file."""
        if count > self._size:
            raise TensorTrainError("truncated: it ends within its pickle")
        value = self._file.read(count)
        if len(value) < count:
            raise TensorTrainError("truncated: it ends within its pickle")
        return value

    def _unpack(self, layout: str) -> Any:
        """Return the next number of the file."""
        return struct.unpack(layout, self._bytes(struct.calcsize(layout)))[0]

    def _charge(self, memory: int) -> None:
        """Add memory of Python objects, and refuse the file if the sum is too large."""
        self._memory += memory
        if self._memory > MOST_MEMORY:
            raise TensorTrainError(f"its content without the tensors would need more than {MOST_MEMORY // 2**20} MB")

    # ---- operations ------------------------------------------------------------------------------------------

    def _constant(self, layout: str) -> None:
        """Push a number of fixed size."""
        self._stack.append(self._unpack(layout))

    def _long(self) -> None:
        """Push an integer of any size."""
        self._stack.append(decode_long(self._bytes(self._unpack("<B"))))

    def _text(self, layout: str, encoding: str, errors: str) -> None:
        """Push a text."""
        text = self._bytes(self._unpack(layout))
        self._charge(4 * len(text))
        self._stack.append(str(text, encoding, errors))

    def _empty(self, kind: str) -> None:
        """Push an empty container."""
        self._charge(256)
        self._stack.append(_Node(kind))

    def _mark(self) -> None:
        """Begin a group of items on the stack."""
        self._charge(128)
        self._outer.append(self._stack)
        self._stack = []

    def _marked(self) -> list[Any]:
        """Return the items of the group that was begun last."""
        items, self._stack = self._stack, self._outer.pop()
        return items

    def _tuple(self, length: int | None) -> None:
        """Push a tuple of the last `length` items, or of the last group."""
        items = self._marked() if length is None else [self._stack.pop() for _ in range(length)][::-1]
        node = _Node("tuple", items)
        for item in items:
            node.put(item)
        self._stack.append(node)

    def _append(self, items: list[Any]) -> None:
        """Add items to the list on top of the stack."""
        target = self._stack[-1]
        if target.kind != "list":
            raise TensorTrainError("its pickle is damaged")
        for item in items:
            target.put(item)

    def _set(self, items: list[Any]) -> None:
        """Add pairs of keys and values to the dict on top of the stack."""
        target = self._stack[-1]
        if target.kind not in ("dict", "collections.OrderedDict", "collections.Counter"):
            raise TensorTrainError("its pickle is damaged")
        keys = target.parts = target.parts or []  # the same list from now on
        for key, value in zip(items[::2], items[1::2], strict=True):
            if isinstance(key, _Node) and key.weight > LONGEST_KEY:
                raise TensorTrainError(f"it holds a dict with a key of more than {LONGEST_KEY} items")
            target.put(key)
            target.put(value)
            keys.append(key)

    def _global(self) -> None:
        """Push the name of a class or function, if it is one that torch accepts."""
        module, name = (self._file.readline(1024)[:-1].decode() for _ in range(2))
        full = f"{'builtins' if module == '__builtin__' else module}.{name}"
        if full not in _BUILDERS and not _is_value(full):
            shown = full.removeprefix("builtins.")
            raise TensorTrainError(
                f"it holds more than tensors: {shown}, which only an unsafe load would read; save model.state_dict()"
                " instead"
            )
        self._stack.append(_Global(full))

    def _storage(self) -> None:
        """Push a storage whose size the file can hold."""
        mark, kind, key, _, entries, *view = self._stack.pop().parts
        item_size = ITEM_SIZES[kind.removeprefix("torch.").removeprefix("storage.")]
        if mark != "storage" or type(key) not in (str, int) or not _is_count(entries):
            raise TensorTrainError("its pickle is damaged")
        self._check_storage(str(key), entries * item_size)
        if view and view[0] is not None:
            _, offset, length = view[0].parts
            if not _is_count(offset) or not _is_count(length) or offset + length > entries:
                raise TensorTrainError(f"damaged: a view of storage {key!r} is larger than the storage")
            entries = length
        self._stack.append(_Storage(entries, item_size))

    def _check_storage(self, key: str, size: int) -> None:
        """Refuse a storage that the file does not hold with this size."""
        if self._records is None and key not in self._storages:
            self._storages[key] = size
            self._unread -= size
        actual = (self._storages if self._records is None else self._records).get(key)
        if actual != size or self._unread < 0:
            raise TensorTrainError(f"truncated or damaged: it does not hold the {size} bytes of storage {key!r}")

    def _new(self) -> None:
        """Push a new object of a class."""
        arguments, kind = self._stack.pop(), self._stack.pop()
        if kind != "argparse.Namespace" or arguments.parts:
            raise TensorTrainError(f"it creates an object of {kind} in a way that torch.save does not")
        self._stack.append(_Node(kind))

    def _build(self) -> None:
        """Set the state of the object on top of the stack."""
        state, target = self._stack.pop(), self._stack[-1]
        metadata = target.kind == "collections.OrderedDict" and list(state.parts) == ["_metadata"]
        options = target.kind == "argparse.Namespace" and all(isinstance(key, str) for key in state.parts)
        if not metadata and not options:
            raise TensorTrainError(f"it changes a {target.kind} in a way that torch.save does not")
        target.put(state)

    def _call(self) -> None:
        """Push the result of a call of a function."""
        arguments, function = self._stack.pop(), self._stack.pop()
        self._charge(640 + 64 * arguments.weight)
        self._stack.append(_BUILDERS[function](self, *arguments.parts))

    # ---- functions that a pickle calls -------------------------------------------------------------------------

    def _tensor(self, storage: _Storage, offset: int, size: _Node, stride: _Node, *rest: Any) -> _Node:
        """Return the size of a tensor whose storage has a type."""
        return self._view(storage.entries, storage.item_size, offset, size, stride)

    def _typed_tensor(
        self,
        storage: _Storage,
        offset: int,
        size: _Node,
        stride: _Node,
        _grad: bool,
        _hooks: Any,
        dtype: str,
        *rest: Any,
    ) -> _Node:
        """Return the size of a tensor whose storage consists of bytes."""
        item_size = getattr(torch, dtype.removeprefix("torch.")).itemsize
        return self._view(storage.entries * storage.item_size // item_size, item_size, offset, size, stride)

    def _view(self, entries: int, item_size: int, offset: int, size: _Node, stride: _Node) -> _Node:
        """Return the size of a tensor that is a view of a storage with this number of entries."""
        sizes, strides = size.parts, stride.parts
        if not all(map(_is_count, (offset, *sizes, *strides))):
            raise TensorTrainError("damaged: a tensor has a negative shape, stride or offset")
        numel = math.prod(sizes)
        last = offset + sum((n - 1) * step for n, step in zip(sizes, strides, strict=True))
        if numel and last >= entries:
            raise TensorTrainError(
                f"damaged: a tensor of shape {tuple(sizes)} reads entry {last} of a storage with {entries} entries"
            )
        self._tensors += numel * item_size
        if self._tensors > SHARED * self._size + FREE:
            raise TensorTrainError(
                f"its tensors have {self._tensors} bytes in all, the file {self._size}: they are expanded or share"
                " their memory; save contiguous copies: tensor.contiguous().clone()"
            )
        return _Node("tensor")

    def _parameter(self, tensor: _Node, _grad: bool, _hooks: Any, state: Any = None) -> _Node:
        """Return the size of a parameter."""
        return _with_state(tensor, state)

    def _subclass(self, function: str, kind: str, arguments: _Node, state: Any) -> _Node:
        """Return the size of a tensor that was saved with attributes of its own."""
        if kind not in _TENSOR_TYPES or function == "torch._tensor._rebuild_from_type_v2":
            raise TensorTrainError(f"it holds tensors of the type {kind}; save model.state_dict() instead")
        return _with_state(_BUILDERS[function](self, *arguments.parts), state)

    def _encode(self, text: str, encoding: str) -> bytes:
        """Return the bytes that a text encodes."""
        if encoding != "latin1":
            raise TensorTrainError(f"it encodes a text as {encoding!r}, which torch.save does not")
        self._charge(len(text))
        return text.encode(encoding)

    def _bytearray(self, content: Any = b"", encoding: str = "latin-1") -> _Node:
        """Return the size of a bytearray."""
        if not isinstance(content, str | bytes) or encoding != "latin-1":
            raise TensorTrainError("it creates a bytearray in a way that torch.save does not")
        self._charge(len(content))
        return _Node("bytearray")

    def _size_of(self, sizes: _Node) -> _Node:
        """Return the size of a `torch.Size`."""
        node = _Node("tuple", sizes.parts)
        node.put(sizes)
        return node


def _is_count(value: object) -> bool:
    """Return whether a value is a non-negative integer of at most 63 bits."""
    return type(value) is int and 0 <= value < 2**63


def _is_value(name: str) -> bool:
    """Return whether a name is that of a dtype, a storage, a quantisation scheme or a class of tensors."""
    if name in _TENSOR_TYPES:
        return True
    if not name.startswith("torch."):
        return False
    short = name.removeprefix("torch.").removeprefix("storage.")
    return short in ITEM_SIZES or isinstance(getattr(torch, short, None), torch.dtype | torch.qscheme)


def _with_state(tensor: _Node, state: Any) -> _Node:
    """Return the size of a tensor with further attributes, but refuse attributes that every tensor has."""
    tables = state.parts if isinstance(state, _Node) and state.kind == "tuple" else [state]
    keys = [key for table in tables if table is not None for key in table.parts]
    if not all(isinstance(key, str) and not hasattr(Tensor, key) for key in keys):
        raise TensorTrainError("it changes attributes that every tensor has")
    return _object("tensor")(None, tensor, state)


def _object(kind: str) -> Callable[..., _Node]:
    """Return a function that counts an object with its arguments."""

    def build(_scan: Scan | None, *arguments: Any) -> _Node:
        """Return the size of the object with these arguments."""
        node = _Node(kind)
        for argument in arguments:
            node.put(argument)
        return node

    return build


_BUILDERS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _object("collections.OrderedDict"),
    "collections.Counter": _object("collections.Counter"),
    "builtins.set": _object("set"),
    "builtins.complex": _object("complex"),
    "builtins.bytearray": Scan._bytearray,
    "_codecs.encode": Scan._encode,
    "argparse.Namespace": _object("argparse.Namespace"),
    "torch.Size": Scan._size_of,
    "torch.device": _object("device"),
    "torch.serialization._get_layout": _object("layout"),
    "torch._utils._rebuild_tensor": Scan._tensor,
    "torch._utils._rebuild_tensor_v2": Scan._tensor,
    "torch._utils._rebuild_tensor_v3": Scan._typed_tensor,
    "torch._utils._rebuild_qtensor": Scan._tensor,
    "torch._utils._rebuild_sparse_tensor": _object("tensor"),
    "torch._utils._rebuild_meta_tensor_no_storage": _object("tensor"),
    "torch._utils._rebuild_parameter": Scan._parameter,
    "torch._utils._rebuild_parameter_with_state": Scan._parameter,
    "torch._tensor._rebuild_from_type_v2": Scan._subclass,
}

_OPERATIONS: dict[bytes, Callable[[Scan], None]] = {
    b"\x80": lambda scan: scan._unpack("<B"),  # PROTO
    b"N": lambda scan: scan._stack.append(None),
    b"\x88": lambda scan: scan._stack.append(True),
    b"\x89": lambda scan: scan._stack.append(False),
    b"J": lambda scan: scan._constant("<i"),
    b"K": lambda scan: scan._constant("<B"),
    b"M": lambda scan: scan._constant("<H"),
    b"G": lambda scan: scan._constant(">d"),
    b"\x8a": Scan._long,
    b"X": lambda scan: scan._text("<I", "utf-8", "surrogatepass"),
    b"U": lambda scan: scan._text("<B", "utf-8", "strict"),
    b"]": lambda scan: scan._empty("list"),
    b"}": lambda scan: scan._empty("dict"),
    b"\x8f": lambda scan: scan._empty("set"),
    b")": lambda scan: scan._tuple(0),
    b"\x85": lambda scan: scan._tuple(1),
    b"\x86": lambda scan: scan._tuple(2),
    b"\x87": lambda scan: scan._tuple(3),
    b"t": lambda scan: scan._tuple(None),
    b"(": Scan._mark,
    b"a": lambda scan: scan._append([scan._stack.pop()]),
    b"e": lambda scan: scan._append(scan._marked()),
    b"s": lambda scan: scan._set([scan._stack.pop() for _ in range(2)][::-1]),
    b"u": lambda scan: scan._set(scan._marked()),
    b"c": Scan._global,
    b"Q": Scan._storage,
    b"\x81": Scan._new,
    b"R": Scan._call,
    b"b": Scan._build,
    b"q": lambda scan: scan._memo.__setitem__(scan._unpack("<B"), scan._stack[-1]),
    b"r": lambda scan: scan._memo.__setitem__(scan._unpack("<I"), scan._stack[-1]),
    b"h": lambda scan: scan._stack.append(scan._memo[scan._unpack("<B")]),
    b"j": lambda scan: scan._stack.append(scan._memo[scan._unpack("<I")]),
}
