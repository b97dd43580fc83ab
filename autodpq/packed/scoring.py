"""This project's click-through models outside training, from embeddings to logits (numpy only).

Each takes the weights that its torch model has, by their names there, and gives logits within rounding of its.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from autodpq.errors import AutoDPQError
from autodpq.models.sizes import N_CROSS_LAYERS, n_heads
from autodpq.packed.file import PackedFile

Floats = npt.NDArray[np.float32]
Function = Callable[[Floats], Floats]

_EPSILON = 1e-5  # of torch's BatchNorm1d


class Weights:
    """The dense weights of a network, each checked when it is taken.

    Args:
        packed: The file.
        hidden: Widths of the MLP's blocks.
        n_fields: Number of fields.
        dim: X.
    """

    def __init__(self, packed: PackedFile, hidden: tuple[int, ...], n_fields: int, dim: int) -> None:
        self._packed, self._hidden = packed, hidden
        self.n_fields, self.width = n_fields, n_fields * dim

    def take(self, name: str, *shape: int) -> Floats:
        """A weight by its torch name.

        Raises:
            AutoDPQError: It is missing, or of another type or shape.
        """
        array = self._packed.dense.get(name)
        if array is None:
            raise AutoDPQError(f"{self._packed.path}: the weight {name!r} of its model is missing; export it again")
        if array.dtype == np.float16:
            array = array.astype(np.float32)
        if array.dtype != np.float32 or array.shape != shape:
            raise AutoDPQError(
                f"{self._packed.path}: the weight {name!r} of its model is {array.dtype} {list(array.shape)}, "
                f"float32 {list(shape)} is needed; export it again"
            )
        return array

    def mlp(self, n_inputs: int, name: str = "mlp") -> tuple[Function, int]:
        """An MLP's blocks, BatchNorm folded into the linear layers, and the width of what comes out."""
        blocks = []
        for number, n_outputs in enumerate(self._hidden):
            linear, norm = f"{name}.layers.{4 * number}", f"{name}.layers.{4 * number + 1}"
            variance = self.take(f"{norm}.running_var", n_outputs).astype(np.float64)
            scale = self.take(f"{norm}.weight", n_outputs) / np.sqrt(variance + _EPSILON)
            matrix = self.take(f"{linear}.weight", n_outputs, n_inputs).T * scale
            offset = (self.take(f"{linear}.bias", n_outputs) - self.take(f"{norm}.running_mean", n_outputs)) * scale
            offset += self.take(f"{norm}.bias", n_outputs)
            blocks.append((np.ascontiguousarray(matrix, np.float32), offset.astype(np.float32)))
            n_inputs = n_outputs

        def outputs(inputs: Floats) -> Floats:
            for matrix, offset in blocks:
                inputs = inputs @ matrix
                inputs += offset
                np.maximum(inputs, 0, out=inputs)
            return inputs

        return outputs, n_inputs

    def output(self, n_inputs: int) -> tuple[Floats, Floats]:
        """The last layer: weights [n_inputs] and bias [1]."""
        return self.take("output.weight", 1, n_inputs)[0], self.take("output.bias", 1)


def _deepfm(weights: Weights) -> Function:
    mlp, n_outputs = weights.mlp(weights.width)
    output, bias = weights.output(n_outputs)

    def logits(embeddings: Floats) -> Floats:
        flat, total = embeddings.reshape(-1, weights.width), np.einsum("bfx->bx", embeddings)
        pairs: Floats = np.einsum("bx,bx->b", total, total) - np.einsum("bx,bx->b", flat, flat)
        return mlp(flat) @ output + bias + np.float32(0.5) * pairs

    return logits


def _pnn(weights: Weights) -> Function:
    rows, columns = np.triu_indices(weights.n_fields, 1)
    pairs = rows * weights.n_fields + columns
    mlp, n_outputs = weights.mlp(weights.width + len(pairs))
    output, bias = weights.output(n_outputs)

    def logits(embeddings: Floats) -> Floats:
        n = len(embeddings)
        products = (embeddings @ embeddings.transpose(0, 2, 1)).reshape(n, -1).take(pairs, 1)
        return mlp(np.concatenate([embeddings.reshape(n, -1), products], 1)) @ output + bias

    return logits


def _dcn(weights: Weights) -> Function:
    layers = [weights.take(f"cross.{layer}.weight", 1, weights.width)[0] for layer in range(N_CROSS_LAYERS)]

    def mix(inputs: Floats, state: Floats, layer: int, bias: Floats) -> Floats:
        crossed: Floats = state @ layers[layer]
        return inputs * crossed[:, None] + bias

    return _crossed(weights, mix)


def _dcnv2(weights: Weights) -> Function:
    layers = _matrices(weights, "cross")

    def mix(inputs: Floats, state: Floats, layer: int, bias: Floats) -> Floats:
        return inputs * (state @ layers[layer] + bias)

    return _crossed(weights, mix)


def _gdcn(weights: Weights) -> Function:
    layers, gates = _matrices(weights, "cross"), _matrices(weights, "gates")

    def mix(inputs: Floats, state: Floats, layer: int, bias: Floats) -> Floats:
        return inputs * (state @ layers[layer] + bias) * _sigmoid(state @ gates[layer])

    return _crossed(weights, mix)


def _matrices(weights: Weights, name: str) -> list[Floats]:
    """The square matrices of cross layers, each [in, out]."""
    width = weights.width
    return [weights.take(f"{name}.{layer}.weight", width, width).T for layer in range(N_CROSS_LAYERS)]


def _crossed(weights: Weights, mix: Callable[[Floats, Floats, int, Floats], Floats]) -> Function:
    """Cross layers beside an MLP; ``mix`` is one layer's update, without the residual."""
    biases = weights.take("biases", N_CROSS_LAYERS, weights.width)
    mlp, n_outputs = weights.mlp(weights.width)
    output, last_bias = weights.output(weights.width + n_outputs)

    def logits(embeddings: Floats) -> Floats:
        inputs = state = embeddings.reshape(-1, weights.width)
        for layer, bias in enumerate(biases):
            state = mix(inputs, state, layer, bias) + state
        return state @ output[: weights.width] + mlp(inputs) @ output[weights.width :] + last_bias

    return logits


def _finalmlp(weights: Weights) -> Function:
    gates = 2 * _sigmoid(weights.take("gates", 2, weights.width))
    (first, n_outputs), (second, _) = (weights.mlp(weights.width, f"streams.{number}") for number in range(2))
    heads = n_heads(n_outputs)
    width = n_outputs // heads
    bilinear = weights.take("bilinear", heads, width, width)
    output, bias = weights.output(2 * n_outputs)

    def logits(embeddings: Floats) -> Floats:
        flat = embeddings.reshape(-1, weights.width)
        a, b = first(flat * gates[0]), second(flat * gates[1])
        result: Floats = a @ output[:n_outputs] + b @ output[n_outputs:] + bias
        for head, matrix in enumerate(bilinear):
            part = slice(head * width, (head + 1) * width)
            result += np.einsum("bx,bx->b", a[:, part] @ matrix, b[:, part])
        return result

    return logits


def _sigmoid(inputs: Floats) -> Floats:
    """The logistic function, in 32 bits; by the hyperbolic tangent, which no input is too large for."""
    result: Floats = np.float32(0.5) * np.tanh(np.float32(0.5) * inputs) + np.float32(0.5)
    return result


SCORERS: dict[str, Callable[[Weights], Function]] = {
    "deepfm": _deepfm,
    "pnn": _pnn,
    "dcn": _dcn,
    "dcnv2": _dcnv2,
    "finalmlp": _finalmlp,
    "gdcn": _gdcn,
}
"""What numpy can score, by the names in the registry of models."""


def probabilities(logits: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """The logistic function, in 64 bits."""
    result: npt.NDArray[np.float64] = np.exp(-np.logaddexp(0, -logits.astype(np.float64)))
    return result
