"""Sanity checks for saliency maps: a map must depend on what the model has learnt, and the score on what it shows.

(Adebayo et al., Sanity Checks for Saliency Maps, NeurIPS 2018, arXiv 1810.03292: cascading randomisation. Petsiuk et
al., RISE, 2018, arXiv 1806.07421, section 4.3: deletion and insertion.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, numpy_helper

from onnxviz.arguments import typed
from onnxviz.errors import InputError, ModelError
from onnxviz.explanations.case import Case
from onnxviz.explanations.explanation import Explanation
from onnxviz.explanations.faithfulness import Faithfulness, explain_faithfulness
from onnxviz.explanations.map_similarity import rank_correlation, structural_similarity
from onnxviz.explanations.probe import Probe
from onnxviz.inputs.failures import Progress
from onnxviz.model.graph.operators import Family, belongs
from onnxviz.model.model import Model, load
from onnxviz.model.writing import whole_model

# Operators whose constant inputs are what training found.
_LEARNT = Family.CONVOLUTION | Family.MATRIX
# Between a stored weight and the operator that uses it.
_CARRIERS = Family.ARRANGING | Family.IDENTITY | Family.QUANTISING | Family.DEQUANTISING
# From this rank correlation on, a map of random weights is still much like the true one. Adebayo et al. set no limit;
# here gradients and Grad-CAM fall well below it within half of the layers, guided backpropagation stays above.
ALIKE = 0.5


@dataclass(frozen=True, kw_only=True)
class Stage:
    """The maps after the weights from the top down to one layer were randomised.

    Attributes:
        layer: the last layer that was.
        randomised: how many layers were.
        rank_correlation: Spearman's ρ between its map and the true one, of sizes.
        ssim: structural similarity of both.
        map: the map at the input's size.
    """

    layer: str
    randomised: int
    rank_correlation: float
    ssim: float
    map: NDArray[Any]


@dataclass(frozen=True, eq=False, kw_only=True)
class Sanity:
    """How a map changes while the model forgets, and how the score follows the map.

    A map can fail either way: it may not depend on the weights, or the score may not depend on the pixels it shows.

    Attributes:
        method: the method.
        stages: one for each step of the cascade, from the top layer down.
        layers: how many layers there are to randomise.
        seed: of the random weights.
        true: the map of the model as it is, at the input's size.
        faithfulness: deletion and insertion curves of that map.
    """

    method: str
    stages: tuple[Stage, ...]
    layers: int
    seed: int
    true: NDArray[Any]
    faithfulness: Faithfulness

    def __repr__(self) -> str:
        return f"Sanity({self.verdict})"

    @property
    def half(self) -> Stage:
        """The first stage with at least half of the layers random."""
        return next(stage for stage in self.stages if 2 * stage.randomised >= self.layers)

    @property
    def depends_on_weights(self) -> bool:
        """Whether the map is another one when half of the layers are random, and when all are.

        What the upper layers have learnt is what tells classes apart; a map that does not need them shows edges.
        """
        return all(abs(stage.rank_correlation) < ALIKE for stage in (self.half, self.stages[-1]))

    @property
    def passed(self) -> bool:
        """Whether it depends on the weights, and a random order of the pixels is no better than the map's."""
        return self.depends_on_weights and not self.faithfulness.worse_than_random

    @property
    def findings(self) -> tuple[str, ...]:
        """What was found, a sentence each way.

        The first begins with "passed", with "failed" where the map does not depend on the weights, or with "doubtful"
        where it does and yet a random order of the pixels is better.
        """
        half, last = self.half, self.stages[-1]
        what = (
            f"the map's rank correlation with itself is {half.rank_correlation:.2f} with {half.randomised} of "
            f"{self.layers} layers random, {last.rank_correlation:.2f} with all"
        )
        if not self.depends_on_weights:
            return (f"failed: {what}, so it hardly depends on what the model has learnt",)
        learnt = f"{what}, so it depends on what the model has learnt"
        worse = self.faithfulness.worse_than_random
        return (f"doubtful: {learnt}", f"but {worse}") if worse else (f"passed: {learnt}",)

    @property
    def verdict(self) -> str:
        """The findings in one line."""
        return ", ".join(self.findings)

    def as_dict(self) -> dict[str, Any]:
        """All of it as JSON types, without the maps."""
        return {
            "passed": self.passed,
            "depends_on_weights": self.depends_on_weights,
            "worse_than_random": self.faithfulness.worse_than_random or None,
            "verdict": self.verdict,
            "layers": self.layers,
            "seed": self.seed,
            "stages": [
                {
                    "layer": stage.layer,
                    "randomised": stage.randomised,
                    "rank_correlation": stage.rank_correlation,
                    "ssim": stage.ssim,
                }
                for stage in self.stages
            ],
        }


@typed
def explain_sanity(
    explanation: Explanation,
    *,
    stages: int = 8,
    seed: int = 0,
    baseline: float | None = None,
    progress: Progress | None = None,
) -> Sanity:
    """How the map changes while the model's weights are randomised from the top layer down, and how the score follows.

    The class, the layer and the region stay those of the explanation. (Adebayo et al. 2018, arXiv 1810.03292: a map
    that hardly changes does not show what the model has learnt. Petsiuk et al. 2018, RISE: a score that follows
    pixels in a random order sooner than in the map's does not depend on what the map shows.)

    Args:
        explanation: what `explain` gave.
        stages: at how many points of the cascade a map is made, the last with all layers random.
        seed: of the random weights.
        baseline: of the curves; see `explain_faithfulness`.
        progress: called with (stages done, stages in all).

    Raises:
        InputError: there are no stages, or the map is zero everywhere.
        ModelError: the model has no weights before the target, or they cannot be replaced.
    """
    if stages < 1:
        raise InputError(f"{stages} stages show nothing; give 1 or more")
    case, model = explanation.case, explanation.provenance.model
    layers = learnt_layers(model, case.probe.target)
    if not layers:
        raise ModelError(f"{model.label} has no stored weights before '{explanation.target}' that could be randomised")
    if not explanation.map.any():
        raise InputError("the map is zero everywhere: there is nothing that random weights could change")
    forgetful = RandomizedModel(model, seed)
    true = explanation.upsampled()
    found = []
    counts = cascade(len(layers), stages)
    for done, count in enumerate(counts, 1):
        tensors = {name for _, names in layers[:count] for name in names}
        heat = _again(explanation, case, forgetful.without(tensors).SerializeToString())
        found.append(
            Stage(
                layer=layers[count - 1][0],
                randomised=count,
                rank_correlation=rank_correlation(np.abs(heat), np.abs(true)),
                ssim=structural_similarity(np.abs(heat), np.abs(true)),
                map=heat,
            )
        )
        if progress is not None:
            progress(done, len(counts))
    return Sanity(
        method=explanation.method,
        stages=tuple(found),
        layers=len(layers),
        seed=seed,
        true=true,
        faithfulness=explain_faithfulness(explanation, baseline=baseline),
    )


def _again(explanation: Explanation, case: Case, model: bytes) -> NDArray[Any]:
    """The map of another model for the same sample, score and layer, at the input's size."""
    opened = load(model).with_axes(case.probe.model.said_axes)
    probe = Probe(opened, case.probe.target, case.probe.port.name, case.probe.options)
    found = explanation.settings(Case(probe, case.feeds, case.target))
    return (found.axes or case.axes).over(found.map.astype(np.float32), explanation.size, case.axes)


def learnt_layers(model: Model, target: str) -> list[tuple[str, tuple[str, ...]]]:
    """(name, stored weights) of the layers that `target` depends on, from the top down.

    A layer's name is its node's output; of stored tensors those with more than one element that are initializers of
    the main graph or Constant nodes.
    """
    found = []
    for node in reversed(model.scope.ancestors([target]).nodes):
        if belongs(node, _LEARNT):
            weights = [name for name in (_stored(model, tensor) for tensor in node.input[1:]) if name]
            if weights:
                found.append((_name(model, node), tuple(dict.fromkeys(weights))))
    return found


def _name(model: Model, node: NodeProto) -> str:
    named = {layer.taps["conv"]: layer.name for layer in model.all_layers if not layer.graph_scope.name}
    return named.get(node.output[0], node.name or node.output[0])


def _stored(model: Model, tensor: str) -> str:
    """The stored tensor that an operand comes from, "" if it depends on the input."""
    scope = model.scope
    while tensor not in scope.initializers:
        node = scope.producers.get(tensor)
        if node is None or not node.input:
            return tensor if node is not None and node.op_type == "Constant" else ""
        if not belongs(node, _CARRIERS):
            return ""
        tensor = node.input[0]
    return tensor


class RandomizedModel:
    """A model whose weights can be replaced by random ones.

    Args:
        model: the model; it is not changed.
        seed: of the random weights; each layer's are the same whatever else is randomised.

    Raises:
        ModelError: it changed since it was opened, or is too large for one file.
    """

    def __init__(self, model: Model, seed: int) -> None:
        model.check_unchanged()
        self._proto = whole_model(model.proto, model.constants.file.bytes_of, model.label, "randomise")
        self._seed = seed

    def without(self, tensors: set[str]) -> onnx.ModelProto:
        """The model with these stored tensors random.

        Floats are drawn from a normal distribution about 0 as wide as the weights' own; integers (quantised weights)
        are shuffled.
        """
        proto = onnx.ModelProto()
        proto.CopyFrom(self._proto)
        for tensor in proto.graph.initializer:
            if tensor.name in tensors:
                tensor.CopyFrom(self._random(tensor, tensor.name))
        for node in proto.graph.node:
            if node.op_type == "Constant" and node.output[0] in tensors:
                for attribute in node.attribute:
                    if attribute.name == "value":
                        attribute.t.CopyFrom(self._random(attribute.t, node.output[0]))
        return proto

    def _random(self, tensor: TensorProto, name: str) -> TensorProto:
        values = numpy_helper.to_array(tensor)
        rng = np.random.default_rng([self._seed, *name.encode("utf-8", "surrogatepass")])
        if values.dtype.kind == "f":
            wide = values.astype(np.float64)
            drawn = rng.normal(0, float(np.sqrt((wide**2).mean())) or 1.0, values.shape)
            return numpy_helper.from_array(drawn.astype(values.dtype), tensor.name)
        return numpy_helper.from_array(rng.permutation(values.reshape(-1)).reshape(values.shape), tensor.name)


def cascade(count: int, stages: int) -> list[int]:
    """How many layers are random at each stage: up to `stages` numbers from 1 to `count`, evenly spaced."""
    return sorted({round(place) for place in np.linspace(1, count, min(stages, count))})
