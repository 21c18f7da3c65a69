"""Running modules on the `meta` device and writing down every layer: no numbers, no memory, milliseconds.

A layer is a module without submodules, or an operation that happens between modules (the sum of a residual block, a
concatenation, a pool in a `forward`). Modules that do nothing, as dropout outside of training, are left out. Operations
are met below autograd, in a dispatch mode, so that nothing of a network escapes and nothing in it has to know.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from visionkit.analysis.receptive_field import Field
from visionkit.analysis.rules import Inputs, multiply_adds, output_field, scales_a_map

BYTES = 4  # of a float32
VIEWS = frozenset(("detach", "alias", "t", "expand", "view", "_unsafe_view", "permute", "transpose", "slice", "split",
                   "split_with_sizes", "select", "squeeze", "unsqueeze", "unbind"))  # fmt: skip


@dataclass(eq=False)
class Layer:
    """One execution of a module or an operation.

    Attributes:
        name: the module's path, or the path of the module around an operation and the operation's name.
        part: what of the network it belongs to ("trunk", "tail", ...).
        kind: the module's class, or the operation.
        output_shape: of its (first) output.
        parameters: those of its own that no layer before it has used.
        multiply_adds: of convolutions and matrix products.
        activation_bytes: memory of its output; 0 where it writes over its input or only looks at it differently.
        field: what the output's cells see; None where that is not known.
    """

    name: str
    part: str
    kind: str
    output_shape: tuple[int, ...] = ()
    parameters: int = 0
    multiply_adds: int = 0
    activation_bytes: int = 0
    field: Field | None = None

    @property
    def receptive_field(self) -> int | None:
        """Side in pixels of what a cell sees; the longer one of a rectangle."""
        return None if self.field is None else max(self.field.size)

    @property
    def stride(self) -> int | float | None:
        """Pixels from one cell to the next; the larger one where height and width differ."""
        return None if self.field is None else plain(max(self.field.stride))


@torch.no_grad()
def traced(module: nn.Module, *shape: int) -> tuple[Layer, ...]:
    """The layers of a module on the meta device, run on one image or map of this shape (channels, height, width)."""
    with Trace() as trace, trace.part("module"):
        trace.watch(module.eval())
        module(trace.start(torch.empty(1, *shape, device="meta"), Field()))
    return tuple(trace.layers)


def plain(number: Fraction) -> int | float:
    return number.numerator if number.denominator == 1 else float(number)


class Trace(TorchDispatchMode):
    """Context in which modules are run; `layers` grows.

    Attributes:
        scaled: whether maps were multiplied by vectors of the whole image (squeeze and excitation): what the layers
            after them see is then told without these vectors.
    """

    def __init__(self) -> None:
        super().__init__()
        self.layers: list[Layer] = []
        self.scaled = False
        self._part = ""
        self._known: dict[int, tuple[Tensor, Field | None]] = {}  # by id; the tensor is kept so that ids stay unique
        self._counted: set[int] = set()  # parameters
        self._paths: list[str] = []
        self._open: Layer | None = None  # the module without submodules that is running ...
        self._idle = True  # ... and whether it has done nothing yet
        self._hooks: list[Any] = []

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        for hook in self._hooks:
            hook.remove()
        times: dict[str, int] = {}
        for layer in self.layers:  # one that ran several times is told apart
            times[layer.name] = times.get(layer.name, 0) + 1
            if times[layer.name] > 1:
                layer.name = f"{layer.name} ({times[layer.name]})"

    def watch(self, module: nn.Module, prefix: str = "") -> None:
        """Layers of the module are written down from now on, named by their paths in it."""
        for path, inner in module.named_modules():
            name = ".".join(part for part in (prefix, path) if part)
            self._hooks.append(inner.register_forward_pre_hook(lambda m, _, name=name: self._enter(m, name)))
            self._hooks.append(inner.register_forward_hook(lambda m, given, out, name=name: self._leave(m, given, out)))

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """What runs inside belongs to this part."""
        before, self._part = self._part, name
        yield
        self._part = before

    def start(self, tensor: Tensor, field: Field | None) -> Tensor:
        """Follow what is made from this tensor: an image (`Field()`), or windows of maps (None)."""
        self._known[id(tensor)] = (tensor, field)
        return tensor

    def note(self, layer: Layer) -> None:
        """Adds a layer that is not run."""
        self.layers.append(layer)

    def _enter(self, module: nn.Module, name: str) -> None:
        self._paths.append(name)
        if self._open is None and next(module.children(), None) is None:
            self._open = Layer(name, self._part, type(module).__name__)
            self._open.parameters = self._uncounted(module.parameters())
            self._idle = True
            self.layers.append(self._open)

    def _leave(self, module: nn.Module, given: Any, out: Any) -> None:
        name = self._paths.pop()
        if self._open is None or self._open.name != name:
            return
        layer, self._open = self._open, None
        tensor = _first_tensor(out)
        if self._idle or tensor is None or id(tensor) not in self._known:  # dropout, when nothing is dropped
            self.layers.remove(layer)
            return
        self._finish(layer, tensor, _tensors(given))

    def _finish(self, layer: Layer, out: Tensor, inputs: Sequence[Tensor]) -> None:
        layer.output_shape = tuple(out.shape)
        layer.field = self._known[id(out)][1]
        if not any(_same_memory(out, tensor) for tensor in inputs):
            layer.activation_bytes = BYTES * out.numel()

    def _uncounted(self, parameters: Any) -> int:
        new = [p for p in parameters if id(p) not in self._counted]
        self._counted.update(id(p) for p in new)
        return sum(p.numel() for p in new)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        given = _tensors(args)
        inputs: Inputs = [self._known[id(t)] for t in given if id(t) in self._known]
        if not inputs:
            return out
        packet = func.overloadpacket
        outputs = out if isinstance(out, list) else [_first_tensor(out)]  # other outputs of a tuple are statistics
        for tensor in outputs:
            if tensor is not None:
                self._known[id(tensor)] = (tensor, output_field(packet, args, inputs, tensor))
        self.scaled |= scales_a_map(inputs)
        first = outputs[0]
        if first is None:
            return out
        count = multiply_adds(packet, args, first)
        if self._open is not None:
            self._open.multiply_adds += count
            self._idle = False
        elif packet.__name__ not in VIEWS:
            self._add_operation(packet.__name__, count, first, given)
        return out

    def _add_operation(self, name: str, count: int, out: Tensor, given: Sequence[Tensor]) -> None:
        kind = _PLAIN_NAMES.get(name, name.strip("_"))
        place = self._paths[-1] if self._paths and self._paths[-1] else self._part
        layer = Layer(f"{place}.{kind}", self._part, kind, multiply_adds=count)
        layer.parameters = self._uncounted(t for t in given if isinstance(t, nn.Parameter))
        self._finish(layer, out, given)
        self.layers.append(layer)


_PLAIN_NAMES = {
    "max_pool2d_with_indices": "max_pool2d",
    "_adaptive_avg_pool2d": "adaptive_avg_pool2d",
    "convolution": "conv2d",
    "addmm": "linear",
    "mm": "linear",
    "clone": "copy",
    "native_batch_norm": "batch_norm",
    "native_group_norm": "group_norm",
    "native_layer_norm": "layer_norm",
    "constant_pad_nd": "pad",
    "upsample_nearest2d": "upsample",
}


def _tensors(values: Any) -> list[Tensor]:
    if isinstance(values, Tensor):
        return [values]
    if isinstance(values, dict):
        return _tensors(list(values.values()))
    return [t for value in values for t in _tensors(value)] if isinstance(values, list | tuple) else []


def _first_tensor(values: Any) -> Tensor | None:
    return next(iter(_tensors(values)), None)


def _same_memory(a: Tensor, b: Tensor) -> bool:
    return a.untyped_storage()._cdata == b.untyped_storage()._cdata
