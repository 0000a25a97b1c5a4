"""The linear layers of a network in the form that oneDNN computes with on CPUs, for bfloat16 and float32.

torch stores weights row by row, puts them into blocks again on every call, and adds the bias in a pass of its own. For
a batch of short texts in bfloat16 that is half of the time of a forward pass, in float32 an eighth (all-MiniLM-L6-v2,
two AVX2 cores: 311 short texts a second became 354, 25 of 150 tokens became 27). `torch.compile` packs them once in the
same way, by the same operators, but needs a compiler where the server runs.
"""

from __future__ import annotations

import torch

from server.scripting import scripted

__all__ = ["PackedLinear", "pack"]


class PackedLinear(torch.nn.Module):
    """What a torch.nn.Linear computes."""

    def __init__(self, linear: torch.nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.register_buffer("_packed", torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach()))
        self.register_buffer("_bias", None if linear.bias is None else linear.bias.detach())
        # Networks ask it for its type and device; the numbers are in the packed form alone, for they are gigabytes.
        self.weight = torch.nn.Parameter(linear.weight.new_empty(0), requires_grad=False)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """(…, in_features) to (…, out_features)."""
        result: torch.Tensor = packed_linear(values, self._packed, self._bias)
        return result


def _packed_linear(values: torch.Tensor, packed: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    result: torch.Tensor = torch.ops.mkldnn._linear_pointwise(values, packed, bias, "none", [], "")
    return result


def pack(network: torch.nn.Module) -> None:
    """Packs every linear layer, in place, where this torch has the operators for it and the CPU the instructions."""
    available = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if not (available and hasattr(torch.ops.mkldnn, "_linear_pointwise")):
        return
    packable = {torch.float32}
    if torch.ops.mkldnn._is_mkldnn_bf16_supported():  # else it can be had still, slowly, by who asks for it
        packable.add(torch.bfloat16)
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if type(child) is torch.nn.Linear and child.weight.dtype in packable:
                setattr(module, name, PackedLinear(child))


packed_linear = scripted(_packed_linear)  # or it could not be recorded
