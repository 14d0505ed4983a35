"""Side by side: maps of several classes beside the one photo, on one scale."""

import numpy as np
import pytest
from figures import facts, rendered, words
from protos import classifier_proto, normal

from onnxviz import InputError, explain, plot_explanation

X = np.abs(normal(1, 3, 16, 12))


def test_classes_of_one_photo_stand_beside_it_on_one_scale():
    found = [explain(classifier_proto(), X, class_=number, method="occlusion") for number in (0, 2)]
    figure = plot_explanation(found)
    photo, *heats, _bar = figure.axes[0].images
    assert len(heats) == 2
    assert [image.get_extent()[2:] for image in heats] == [photo.get_extent()[2:]] * 2
    assert [image.get_extent()[0] for image in (photo, *heats)] == sorted({i.get_extent()[0] for i in (photo, *heats)})
    titles = [one.title for one in found]
    assert {"input", *titles} <= set(words(figure))
    assert "2 classes, one scale" in facts(figure)
    assert "occlusion" in facts(figure)
    assert not any(f"score {one.score:.4g}".replace("-", "−") in facts(figure) for one in found)
    most = max(np.abs(one.map).max() for one in found)
    assert f"{most:.3g}" in " ".join(words(figure))
    rendered(figure)


def test_what_does_not_belong_on_one_scale_or_photo_is_refused():
    proto = classifier_proto()
    one, other = (explain(proto, x, class_=0, method="occlusion") for x in (X, X + 1))
    with pytest.raises(InputError, match="are of several"):
        plot_explanation([one, other])
    with pytest.raises(InputError, match="of one method"):
        plot_explanation([one, explain(proto, X, class_=0, method="saliency")])
    with pytest.raises(InputError, match="no explanation"):
        plot_explanation([])
