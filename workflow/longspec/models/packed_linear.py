"""How a model is run: as written (`eager`), with weights packed once for the CPU (`packed`), or as CUDA graphs.

Plain torch lays the weights out for oneDNN again in every call; for one token that costs as much as the product
itself. Packing keeps the laid-out copy instead, through the operators that torch's own inductor uses. Layers that a
forward gives the same input (queries, keys and values; gate and up) become one product: a small one costs more to
start than to compute. It is a transformation of the loaded module: the modelling code stays transformers'. This
module does not know models; which layers share an input it sees by running one forward.
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
"""Numbers of rows that are compared, most first."""
PROBE_RESULTS = 165 * 576
"""Results of noise that a layer is tried on, at least: enough that a difference in one of 5,000 shows in each layer."""
PROBE_ROWS = (36, 165)
"""Within these bounds: few rows of a layer of many features, whose products take long."""
INVARIANT_AT_MOST = 4
"""More rows than these are not computed for the sake of one."""
ROWS = 16
"""Rows that oneDNN optimises the layout for; more or fewer may come. Without the hint float32 is a quarter slower."""
LAST_RESORTS = ("stock", "branches")
"""Engines that `auto` takes where no other computes what transformers does, in this order."""


class PackedLinear(nn.Module):
    """x [..., rows, in_features] -> [..., rows, out_features], like the nn.Linear layers that it is made from, one
    after another.

    `least_rows`: fewer rows are filled up to it with zeros, so that a row's result does not depend on how many it
    comes with: oneDNN computes a lone row of many features in another order than two.
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
        """Itself: use changes nothing in it, and copies of a model share their weights (shared.py)."""
        return self

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = x.shape[-2]
        if rows >= self.least_rows:
            return self._product(x)
        return self._product(nn.functional.pad(x, (0, 0, 0, self.least_rows - rows)))[..., :rows, :]

    def _product(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x, self.packed, self.bias, "none", [], "")
        return result

    def invariant_from(self, x: torch.Tensor) -> int | None:
        """The fewest rows from which on all results are bit for bit the same; tried on `x` [rows, in_features]. None
        where they are too many."""

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
    """Layers that get the same input, computed together when the first of them is asked."""

    def __init__(self, linears: list[nn.Linear]) -> None:
        self.product = PackedLinear(*linears)
        self._sizes = [linear.out_features for linear in linears]
        self._input: torch.Tensor | None = None
        self._left: dict[int, torch.Tensor] = {}

    def part(self, number: int, x: torch.Tensor) -> torch.Tensor:
        """The output of layer `number`: what was kept of the same input, and each kept output is given once."""
        if x is not self._input or number not in self._left:
            self._input, self._left = x, dict(enumerate(self.product(x).split(self._sizes, dim=-1)))
        output = self._left.pop(number)
        if not self._left:
            self._input = None
        return output


class SharedPart(nn.Module):
    """One of the layers of a SharedProduct, standing where the nn.Linear stood."""

    def __init__(self, product: SharedProduct, number: int) -> None:
        super().__init__()
        self._shared = product
        self._number = number

    def forward(self, x: torch.Tensor) -> torch.Tensor:
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
    """Say that invariant numerics cannot be had by an engine here."""
    return UserError(
        "numerics",
        f"invariant, but engine {engine} in {str(dtype).removeprefix('torch.')} on {device.type} gives a token other "
        "logits when others are run with it",
        "auto or fast here",
    )


@functools.cache
def _packs(dtype: torch.dtype) -> bool:
    """Whether torch was built with the operators, and this processor runs them in `dtype`: tried on a small layer."""
    linear = nn.Linear(32, 32, dtype=dtype)
    try:
        with torch.inference_mode():
            PackedLinear(linear)(torch.ones(1, 32, dtype=dtype))
    except (AttributeError, RuntimeError):  # no such operator; NotImplementedError is a RuntimeError
        return False
    return True


def pack(model: nn.Module, run: Callable[[], object]) -> None:
    """Replace every plain linear layer of `model`. Tied embeddings keep their own, unpacked weights.

    `run` makes the model do one forward.
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
    """Let each row's result be the same however many rows come with it, and tell whether the packed layers can;
    `CausalLM` tries the whole model."""
    found: dict[torch.Size, int] = {}
    layers = sorted(_packed(model), key=lambda layer: layer.packed.shape[0])  # those that are tried soonest come first
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
    """Whether any packed layer is given more rows than were asked for, for the sake of invariance."""
    return any(layer.least_rows > 1 for layer in _packed(model))


def _packed(model: nn.Module) -> list[PackedLinear]:
    shared = {part._shared.product: None for part in model.modules() if isinstance(part, SharedPart)}
    return [*shared, *(layer for layer in model.modules() if isinstance(layer, PackedLinear))]


def _sharing(model: nn.Module, run: Callable[[], object]) -> list[list[nn.Linear]]:
    """Groups of two or more linear layers that one forward gives the very same tensor."""
    calls: list[tuple[nn.Linear, torch.Tensor]] = []  # holds the inputs, so that no identity is used twice
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
