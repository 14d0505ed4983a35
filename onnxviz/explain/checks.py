"""How far an explanation can be trusted: does it depend on the weights, does the score follow it."""

from __future__ import annotations

import numpy as np

from onnxviz.errors import InputError, ModelError
from onnxviz.explain.faithfulness import Faithfulness, faithfulness
from onnxviz.explain.likeness import rank_correlation, structural_similarity
from onnxviz.explain.methods import METHODS
from onnxviz.explain.probe import Case, Probe
from onnxviz.explain.resize import resized
from onnxviz.explain.result import Explanation
from onnxviz.explain.sanity import Forgetful, Sanity, Stage, cascade, learnt_layers
from onnxviz.failures import Progress
from onnxviz.model import load
from onnxviz.weights import Array


def explain_sanity(
    explanation: Explanation, *, stages: int = 8, seed: int = 0, progress: Progress | None = None
) -> Sanity:
    """How the map changes while the model's weights are randomised from the top layer down.

    The class, the layer and the region stay those of the explanation. (Adebayo et al. 2018, arXiv 1810.03292: a map
    that hardly changes does not show what the model has learnt.)

    Args:
        explanation: what `explain` gave.
        stages: at how many points of the cascade a map is made, the last with all layers random.
        seed: of the random weights.
        progress: called with (stages done, stages in all).

    Raises:
        InputError: there are no stages, or the map is zero everywhere.
        ModelError: the model has no weights before the target, or they cannot be replaced.
    """
    if stages < 1:
        raise InputError(f"{stages} stages show nothing; give 1 or more")
    case, model = explanation.case, explanation.provenance.model
    layers = learnt_layers(model, explanation.target)
    if not layers:
        raise ModelError(f"{model.label} has no stored weights before '{explanation.target}' that could be randomised")
    if not explanation.map.any():
        raise InputError("the map is zero everywhere: there is nothing that random weights could change")
    forgetful = Forgetful(model, seed)
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
    return Sanity(method=explanation.method, stages=tuple(found), layers=len(layers), seed=seed, true=true)


def _again(explanation: Explanation, case: Case, model: bytes) -> Array:
    """The map of another model for the same sample, score and layer, at the input's size."""
    opened = load(model)
    probe = Probe(opened, explanation.target, case.probe.port.name, case.probe.options)
    other = Case(probe, case.feeds, case.aim)
    heat = METHODS[explanation.method].run(other, explanation.settings, explanation.tensor).map
    return resized(heat.astype(np.float32), explanation.size)


def explain_faithfulness(explanation: Explanation, *, steps: int = 56, seed: int = 0) -> Faithfulness:
    """Whether the class's probability follows the map: deletion and insertion curves (Petsiuk et al. 2018, RISE).

    Args:
        explanation: what `explain` gave.
        steps: in how many equal parts pixels are changed.
        seed: of the random order that the map's is compared with.

    Raises:
        InputError: the model cannot be run on changed inputs, or there are no steps.
    """
    return faithfulness(
        explanation.case, explanation.upsampled(), steps=steps, baseline=explanation.settings.baseline, seed=seed
    )
