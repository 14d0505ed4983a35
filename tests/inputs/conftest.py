"""A photo to feed."""

import pytest
from fed import PHOTO
from PIL import Image


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(PHOTO).save(path)
    return path
