"""Fixtures of files that contain code, and of what was executed."""

import socket

import pytest


@pytest.fixture(scope="module")
def program_of_tensorflow(tmp_path_factory):
    """A SavedModel that writes a file as soon as it is loaded, and that file's path."""
    import tensorflow as tf

    folder = tmp_path_factory.mktemp("program")
    canary = folder / "canary"
    graph = tf.Graph()
    v1 = tf.compat.v1
    with graph.as_default():
        x = v1.placeholder(tf.float32, [None, 6, 6, 4], name="x")
        y = tf.identity(x)
        written = tf.io.write_file(str(canary), "an operator of the file ran")
        with v1.Session() as session:
            builder = v1.saved_model.Builder(str(folder / "saved"))
            signature = v1.saved_model.predict_signature_def({"x": x}, {"y": y})
            builder.add_meta_graph_and_variables(
                session, ["serve"], {"serving_default": signature}, main_op=tf.group(written)
            )
            builder.save()
    return folder / "saved", canary


@pytest.fixture
def watched(monkeypatch, tmp_path, program_of_tensorflow):
    """What was executed or looked up: must stay empty."""
    seen = []

    def refuse(*arguments, **options):
        seen.append(f"looked up {arguments[:2]}")
        raise OSError("no network in this test")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))
    _, canary = program_of_tensorflow
    canary.unlink(missing_ok=True)

    def found():
        there = [str(path) for path in (canary, tmp_path / "home") if path.exists()]
        return seen + there

    return found


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """The members of a good `.keras` file, and its configuration."""
    from keras_code import good_model

    return good_model(tmp_path_factory.mktemp("good"))
