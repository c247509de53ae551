"""Packs a model's linear layers for the CPU (engine `packed`), and chooses between the engines of our loop.

Plain torch lays the weights out for oneDNN again in every call; for one token that costs as much as the product
itself. Packing keeps the laid-out copy instead, through the operators that torch's own inductor uses. Layers that a
forward gives the same input (queries, keys and values; gate and up) become one product: a small one costs more to
start than to compute. Which layers share an input is found by running one forward. The loaded module is transformed;
the modelling code stays transformers'.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable

import torch
from torch import nn

from longspec.core.errors import UserError
from longspec.models.attention.on_device import HAS_TRITON

INVARIANT_ROWS = (33, 16, 15, 9, 8, 4, 3, 2, 1)
"""Numbers of rows whose results are compared, most first."""
PROBE_RESULTS = 165 * 576
"""Least results that a layer is tried on (of noise): enough that a difference in one of 5,000 shows in each layer."""
PROBE_ROWS = (36, 165)
"""Bounds of the rows that a layer is tried on; layers with many features, which take long, get few."""
INVARIANT_AT_MOST = 4
"""Most rows that are computed in place of one for the sake of invariance."""
ROWS = 16
"""Rows that oneDNN optimises the layout for; more or fewer may come. Without the hint float32 is a quarter slower."""
LAST_RESORTS = ("stock", "branches")
"""Engines that `auto` takes where no other computes what transformers does, in this order."""


class PackedLinear(nn.Module):
    """Compute one or more nn.Linear layers as one product: x [..., rows, in_features] to [..., rows, out_features].

    The layers' outputs are concatenated. `least_rows`: fewer rows are padded to it with zeros, so that a row's result
    does not depend on the number of rows: oneDNN sums a lone row of many features in another order than two.
    """

    def __init__(self, *linears: nn.Linear) -> None:
        super().__init__()
        weight = torch.cat([linear.weight.detach() for linear in linears])
        self.packed = torch.ops.mkldnn._reorder_linear_weight(weight, ROWS)
        self.bias: torch.Tensor | None = None
        if any(linear.bias is not None for linear in linears):
            self.bias = torch.cat([_bias(linear) for linear in linears])
        self.least_rows = 1

    def __deepcopy__(self, memo: dict[int, object]) -> PackedLinear:
        """Return the layer itself: calls do not change it, and copies of a model share their weights (shared.py)."""
        return self

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map x [..., rows, in_features] to [..., rows, out_features]."""
        rows = x.shape[-2]
        if rows >= self.least_rows:
            return self._product(x)
        return self._product(nn.functional.pad(x, (0, 0, 0, self.least_rows - rows)))[..., :rows, :]

    def _product(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x, self.packed, self.bias, "none", [], "")
        return result

    def invariant_from(self, x: torch.Tensor) -> int | None:
        """Find the fewest rows from which on a row's result is the same bits, tried on `x` [rows, in_features].

        None where more than `INVARIANT_AT_MOST` rows would be needed."""

        def by(rows: int) -> torch.Tensor:
            return torch.cat([self._product(part) for part in x.split(rows)])

        reference, equal_from = by(len(x)), len(x)
        for rows in INVARIANT_ROWS:
            if not torch.equal(by(rows), reference):
                break
            equal_from = rows
        return equal_from if equal_from <= INVARIANT_AT_MOST else None


def _bias(linear: nn.Linear) -> torch.Tensor:
    return linear.weight.new_zeros(linear.out_features) if linear.bias is None else linear.bias.detach()


class SharedProduct:
    """Compute layers that get the same input together, when the first of them is called."""

    def __init__(self, linears: list[nn.Linear]) -> None:
        self.product = PackedLinear(*linears)
        self._sizes = [linear.out_features for linear in linears]
        self._input: torch.Tensor | None = None
        self._left: dict[int, torch.Tensor] = {}

    def part(self, number: int, x: torch.Tensor) -> torch.Tensor:
        """Return the output of layer `number`; outputs of the other layers are kept until each is asked for once."""
        if x is not self._input or number not in self._left:
            self._input, self._left = x, dict(enumerate(self.product(x).split(self._sizes, dim=-1)))
        output = self._left.pop(number)
        if not self._left:
            self._input = None
        return output


class SharedPart(nn.Module):
    """Stand in for one nn.Linear layer of a SharedProduct."""

    def __init__(self, product: SharedProduct, number: int) -> None:
        super().__init__()
        self._shared = product
        self._number = number

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map x [..., rows, in_features] to [..., rows, out_features]."""
        return self._shared.part(self._number, x)


def resolve(wanted: str, device: torch.device, dtype: torch.dtype) -> str:
    """Name the engine that is wanted; for `auto`, graphs on a GPU, packed weights on a CPU that has them, else eager.

    UserError when something is asked for where it isn't possible. `stock` (attention/stock.py), `branches`
    (cache/branches.py) and `static` (tests only) are possible anywhere.
    """
    if wanted in ("static", *LAST_RESORTS):
        return wanted
    graphs = device.type == "cuda" and HAS_TRITON
    if wanted == "graphs" and not graphs:
        raise UserError("engine", f"graphs, but there is no GPU with Triton here ({device.type})", "auto or eager")
    if graphs and wanted in ("auto", "graphs"):
        return "graphs"
    possible = device.type == "cpu" and _packs(dtype)
    if wanted == "packed" and not possible:
        name = str(dtype).removeprefix("torch.")
        raise UserError("engine", f"packed, but {name} weights cannot be packed on {device.type} here", "eager")
    return "packed" if possible and wanted != "eager" else "eager"


def not_invariant(engine: str, device: torch.device, dtype: torch.dtype) -> UserError:
    """Make the error for invariant numerics that an engine does not have here."""
    return UserError(
        "numerics",
        f"invariant, but engine {engine} in {str(dtype).removeprefix('torch.')} on {device.type} gives a token other "
        "logits when it is run together with others",
        "auto or fast here",
    )


@functools.cache
def _packs(dtype: torch.dtype) -> bool:
    """Tell if torch has the packing operators and this processor runs them in `dtype`, by trying a small layer."""
    linear = nn.Linear(32, 32, dtype=dtype)
    try:
        with torch.inference_mode():
            PackedLinear(linear)(torch.ones(1, 32, dtype=dtype))
    except (AttributeError, RuntimeError):  # no such operator; NotImplementedError is a RuntimeError
        return False
    return True


def pack(model: nn.Module, run: Callable[[], object]) -> None:
    """Replace every plain linear layer of `model` by a packed one; tied embeddings keep their own, unpacked weights.

    `run` runs one forward of the model.
    """
    replaced: dict[nn.Module, nn.Module] = {}
    for group in _sharing(model, run):
        product = SharedProduct(group)
        replaced |= {linear: SharedPart(product, number) for number, linear in enumerate(group)}
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.Linear:
                setattr(parent, name, replaced.get(child) or PackedLinear(child))


@torch.inference_mode()
def make_invariant(model: nn.Module) -> bool:
    """Make each packed layer's results independent of the number of rows; returns false where a layer cannot be.

    `CausalLM` then tries the whole model."""
    found: dict[torch.Size, int] = {}
    layers = sorted(_packed(model), key=lambda layer: layer.packed.shape[0])  # the quickest to try come first
    for layer in layers:
        shape = layer.packed.shape
        if shape not in found:
            fewest, most = PROBE_ROWS
            rows = max(fewest, min(most, PROBE_RESULTS // shape[0]))
            generator = torch.Generator().manual_seed(0)
            least = layer.invariant_from(torch.randn(rows, shape[1], generator=generator).to(layer.packed.dtype))
            if least is None:
                return False
            found[shape] = least
    for layer in layers:
        layer.least_rows = found[layer.packed.shape]
    return True


def fills_rows(model: nn.Module) -> bool:
    """Tell if any packed layer pads its rows for the sake of invariance."""
    return any(layer.least_rows > 1 for layer in _packed(model))


def _packed(model: nn.Module) -> list[PackedLinear]:
    shared = {part._shared.product: None for part in model.modules() if isinstance(part, SharedPart)}
    return [*shared, *(layer for layer in model.modules() if isinstance(layer, PackedLinear))]


def _sharing(model: nn.Module, run: Callable[[], object]) -> list[list[nn.Linear]]:
    """Find groups of two or more linear layers that one forward gives the same tensor object."""
    calls: list[tuple[nn.Linear, torch.Tensor]] = []  # keeps the inputs alive, so that no id() is reused
    hooks = [
        module.register_forward_pre_hook(lambda linear, args: calls.append((linear, args[0])))
        for module in model.modules()
        if type(module) is nn.Linear
    ]
    run()
    for hook in hooks:
        hook.remove()
    groups: dict[int, list[nn.Linear]] = {}
    for linear, x in calls:
        groups.setdefault(id(x), []).append(linear)
    times = Counter(linear for linear, _ in calls)
    return [group for group in groups.values() if len(group) > 1 and all(times[linear] == 1 for linear in group)]
