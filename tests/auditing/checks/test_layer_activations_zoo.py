"""The zoo as good models: no check of activations or images finds an error, and none fails."""

import numpy as np
import pytest
import zoo
from planted_images import audited

from onnxviz.auditing.finding import Severity


@pytest.mark.parametrize("name", zoo.NAMES)
def test_no_error_in_the_zoo(name):
    proto = zoo.model(name)
    feeds = zoo.feeds(proto, batch=2)
    given = feeds if len(feeds) > 1 else next(iter(feeds.values()))
    if len(feeds) == 1 and not proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value:
        given = np.concatenate([given * np.asarray(k).astype(given.dtype) for k in (1, -1, 2, -2, 3)])
    found = audited(proto, given, "A,I")
    assert not [one for one in found.findings if one.severity is Severity.ERROR]
    assert not [one for one in found.not_run if one.why.startswith("it failed")]
