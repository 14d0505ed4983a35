"""Recording: what a baseline keeps of an audited model, and what an audit takes from a baseline."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxviz.auditing.baseline import ModelRecord, SilentChannels
from onnxviz.auditing.check import UnmeasuredError
from onnxviz.auditing.finding import Finding
from onnxviz.auditing.image_properties import ImageProperties
from onnxviz.auditing.interface import Interface
from onnxviz.auditing.photos import Photos
from onnxviz.auditing.since_baseline import KeptFindings, SinceBaseline
from onnxviz.auditing.subject import Subject
from onnxviz.errors import InputError, OnnxvizError
from onnxviz.messages import printable

MOST_PHOTOS = 256
"""Photos whose properties are measured, spread evenly over the data."""
FEWEST_SAMPLES = 8
"""Samples below which a channel is silent for lack of what it looks for, and photos say nothing of others."""


def record(subject: Subject, head: Mapping[str, Any], findings: Sequence[Finding], ran: frozenset[str]) -> ModelRecord:
    """What a baseline keeps of a model.

    Args:
        subject: the audited model.
        head: its provenance.
        findings: of the audit.
        ran: codes of the checks that ran to their end.

    Raises:
        OnnxvizError: the data cannot be read.
    """
    return ModelRecord(
        subject.model.label,
        head,
        Interface.of(subject.model),
        subject.layer_records,
        KeptFindings(tuple(findings), ran),
        silent_channels(subject),
        image_properties(subject),
    )


def silent_channels(subject: Subject) -> SilentChannels | None:
    """Channels of activations that are 0 throughout the data; None without enough data or convolutions."""
    if subject.extras.data is None:
        return None
    try:
        found = subject.statistics
    except UnmeasuredError:
        return None
    if found.images < FEWEST_SAMPLES:
        return None
    silent = {
        name: (layer.moments.lowest == 0) & (layer.moments.highest == 0) & (layer.count > layer.nonfinite)
        for name, layer in found.items()
    }
    channels = {name: tuple(np.flatnonzero(ones).tolist()) for name, ones in silent.items()}
    return SilentChannels(found.images, channels)


def image_properties(subject: Subject) -> ImageProperties | None:
    """Properties of the photos among the data; None where there are too few."""
    if subject.extras.data is None:
        return None
    try:
        photos = Photos.of(subject, FEWEST_SAMPLES, MOST_PHOTOS)
    except UnmeasuredError:
        return None

    def pictures() -> Iterator[NDArray[Any]]:
        for sample in photos.chosen:
            try:
                yield photos.pixels(sample, None)
            except OnnxvizError:
                continue  # other checks say so

    found = ImageProperties.of(pictures())
    return found if len(found) >= FEWEST_SAMPLES else None


def check_same_model(subject: Subject, released: ModelRecord, path: str) -> None:
    """Refuses a baseline of another model: none of its layers is there, by weights, position or name.

    Args:
        subject: the model.
        released: the baseline's.
        path: of the baseline.

    Raises:
        InputError: it is.
    """
    before, after = released.layers.layers, subject.layer_records.layers
    if before and after and not subject.layer_changes.pairs:
        raise InputError(
            f"{path or 'the baseline'} is of another model, {printable(released.label)}: none of its {len(before)} "
            f"layers is found among the {len(after)} of {subject.model.label}"
        )


def since_baseline(
    subject: Subject, released: ModelRecord, findings: Sequence[Finding], ran: frozenset[str], held: frozenset[str]
) -> tuple[list[Finding], SinceBaseline]:
    """The findings, those that the baseline accepted with its reason; and which are new and gone.

    Args:
        subject: the audited model.
        released: the baseline's.
        findings: of now.
        ran: codes of the checks that ran to their end.
        held: codes of the checks that hold the model against the baseline or golden vectors.
    """
    changes = subject.layer_changes
    kept = released.findings.renamed(changes.names, changes.channel)
    accepted = kept.accepted(findings)
    new, gone = kept.changes(accepted, ran, held)
    return accepted, SinceBaseline(released.label, released.sha256, new, gone)
