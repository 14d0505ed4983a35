"""`.keras` and `.h5` files that carry code: none runs, nothing is fetched, no file appears, and the place is named."""

import contextlib
import copy
import importlib
import inspect
import json
import socket
import zipfile

import pytest
from command_line import program
from keras_checks import conversion, keras, layers, sequential
from onnxviz_converters import keras_archive
from onnxviz_converters.keras_allowed import CLASSES, FUNCTIONS
from onnxviz_converters.keras_config import code_in, parsed

import onnxviz
from onnxviz import CodeExecution, ConversionError

# Keras calls .h5 legacy, and uses what numpy deprecates.
pytestmark = pytest.mark.filterwarnings("ignore")
h5py = pytest.importorskip("h5py")


# ------------------------------------------------------------------------------------------------------ the oracle


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


# ------------------------------------------------------------------------------------------------------ generators


def named(module, name):
    """A reference to a function, as Keras 3 writes it."""
    return {"module": module, "class_name": "function", "config": name, "registered_name": name}


def instance(module, name, registered=None, /, **config):
    return {"module": module, "class_name": name, "config": {"name": "own", **config}, "registered_name": registered}


LAMBDA = {"class_name": "__lambda__", "config": {"code": "4wAAAAA=", "defaults": None, "closure": None}}
FUNCTIONS_THAT_ACT = {
    f"{module}.{name}": named(module, name)
    for module, names in {
        "keras.datasets.mnist": ["load_data"],
        "keras.datasets.cifar10": ["load_data"],
        "keras.datasets.imdb": ["load_data", "get_word_index"],
        "keras.applications": ["VGG16", "ResNet50"],
        "keras.applications.vgg16": ["VGG16", "decode_predictions"],
        "keras.utils": ["get_file", "image_dataset_from_directory", "load_img", "plot_model", "set_random_seed"],
        "keras.models": ["load_model", "clone_model", "model_from_json", "save_model"],
        "keras.saving": ["load_model", "deserialize_keras_object"],
        "keras.layers": ["TFSMLayer", "deserialize", "Lambda"],
        "keras.ops": ["cond", "map", "switch", "scan", "while_loop", "fori_loop", "vectorized_map", "custom_gradient"],
        "keras.config": ["enable_unsafe_deserialization", "set_backend"],
        "keras.activations": ["get", "deserialize"],
        "builtins": ["eval", "exec", "print", "get"],
        "os": ["system"],
        "keras.src.utils.file_utils": ["get_file"],
        "keras_hub.models": ["Backbone"],
    }.items()
    for name in names
}
CLASSES_THAT_ACT = {
    "Lambda": instance("keras.layers", "Lambda", function=named("keras.ops", "relu")),
    "TFSMLayer": instance("keras.layers", "TFSMLayer", filepath="gs://nowhere-at-all/saved"),
    "TorchModuleWrapper": instance("keras.layers", "TorchModuleWrapper", module="AAAA"),
    "JaxLayer": instance("keras.layers", "JaxLayer", call_fn=LAMBDA),
    "FlaxLayer": instance("keras.layers", "FlaxLayer", module=LAMBDA),
    "a vocabulary": instance("keras.layers", "StringLookup", vocabulary="gs://nowhere-at-all/words.txt"),
    "integers": instance("keras.layers", "IntegerLookup", vocabulary="/etc/passwd"),
    "text": instance("keras.layers", "TextVectorization", vocabulary="/etc/passwd"),
    "a class of its own": instance("mine", "Own", "mine>Own"),
    "registered for another": instance(None, "Own", "mine>Own"),
    "a hub": instance("keras_hub.layers", "Own"),
    "inside Keras": instance("keras.src.utils.jax_layer", "JaxLayer"),
    "a layer in another place": instance("keras.src.legacy.layers", "Conv2D"),
    "a model of code": instance("keras.models", "Own"),
    "an operation that calls": instance("keras.src.ops.core", "Map", function=LAMBDA),
    "a loop": instance("keras.src.ops.core", "WhileLoop", cond=LAMBDA, body=LAMBDA),
    "a condition": instance("keras.src.ops.core", "Cond"),
    "no name": {"class_name": None, "config": {}},
    "a list for a name": {"class_name": ["Conv2D"], "config": {}},
    "a list for a module": {"class_name": "Conv2D", "module": ["keras.layers"], "config": {}},
    "a lambda": LAMBDA,
    "a type": {"class_name": "__typespec__", "spec_name": "TensorSpec", "module": "tensorflow", "config": []},
    "a type of Keras 2": {"class_name": "TypeSpec", "type_spec": "tf.TensorSpec", "serialized": []},
    "without a module": {"class_name": "TFSMLayer", "config": {"filepath": "saved"}},
}
THAT_ACT = {**FUNCTIONS_THAT_ACT, **CLASSES_THAT_ACT}


def under(*path):
    """What puts a payload there in the configuration of layer `c1`, the second of the model."""

    def put(config, payload):
        target = config["config"]["layers"][1]
        for key in path[:-1]:
            target = target.setdefault(key, {}) if isinstance(target, dict) else target[key]
        target[path[-1]] = payload

    return put


def beside(make):
    """What adds a layer that carries the payload."""

    def put(config, payload):
        config["config"]["layers"].append({**make(payload), "name": "own", "inbound_nodes": []})

    return put


def at_top(key):
    def put(config, payload):
        config[key] = payload

    return put


def deep(config, payload):
    for _ in range(40):
        payload = [{"some": payload}]
    config["config"]["layers"][1]["config"]["notes"] = payload


def nested(payload):
    inner = copy.deepcopy(BASE)
    inner["config"]["layers"][1]["config"]["activation"] = payload
    return inner


PLACES = {
    "a Lambda's function": beside(lambda one: instance("keras.layers", "Lambda", function=one)),
    "a Lambda's output shape": beside(
        lambda one: instance("keras.layers", "Lambda", function=named("keras.ops", "relu"), output_shape=one)
    ),
    "an activation": under("config", "activation"),
    "an initialiser": under("config", "kernel_initializer"),
    "a regulariser": under("config", "kernel_regularizer"),
    "a constraint": under("config", "bias_constraint"),
    "a type": under("config", "dtype"),
    "an argument": under("inbound_nodes", 0, "args", 0),
    "a named argument": under("inbound_nodes", 0, "kwargs", "mask"),
    "a layer": beside(lambda one: one if isinstance(one.get("config"), dict) else instance("m", "n", f=one)),
    "a layer in a layer": beside(lambda one: instance("keras.layers", "TimeDistributed", layer=one)),
    "a cell": beside(lambda one: instance("keras.layers", "RNN", cell=one)),
    "a list of layers": beside(lambda one: instance("keras.layers", "Pipeline", layers=[one])),
    "a model in the model": beside(nested),
    "a loss of a model in the model": beside(lambda one: {**copy.deepcopy(BASE), "compile_config": {"loss": one}}),
    "how it was built": at_top("build_config"),
    "deep inside": deep,
}
BASE: dict = {}


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """The members of a good `.keras` file, and its configuration."""
    path = tmp_path_factory.mktemp("good") / "m.keras"
    image = keras.Input((8, 8, 3))
    model = keras.Model(image, layers.Conv2D(4, 3, name="c1", activation="relu")(image))
    model.save(path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    BASE.update(json.loads(members["config.json"]))
    model.save(path.with_suffix(".h5"))
    return members, path.with_suffix(".h5").read_bytes()


def archived(members, path, **changed):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in {**members, **changed}.items():
            archive.writestr(name, data)
    return path


def written(parts, path, config):
    """The good model's file with another configuration, in the form that the path's ending says."""
    members, legacy = parts
    if path.suffix == ".keras":
        return archived(members, path, **{"config.json": json.dumps(config)})
    path.write_bytes(legacy)
    with h5py.File(path, "r+") as file:
        file.attrs["model_config"] = json.dumps(config)
    return path


# ------------------------------------------------------------------------------------------------------ refused


def refused(path, watched):
    with pytest.raises(CodeExecution) as caught:
        onnxviz.convert(path)
    text = str(caught.value)
    assert text.startswith(f"{path} contains code, ")
    assert "--allow-code-execution" in text
    assert text.isprintable()
    assert watched() == []
    return text


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("payload", THAT_ACT)
def test_code_of_every_kind(parts, tmp_path, watched, suffix, payload):
    """As a Lambda's function, and as a layer or an activation."""
    for place in ("a Lambda's function", "a layer", "an activation"):
        config = copy.deepcopy(BASE)
        PLACES[place](config, copy.deepcopy(THAT_ACT[payload]))
        refused(written(parts, tmp_path / f"m{suffix}", config), watched)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("place", PLACES)
def test_code_in_every_place(parts, tmp_path, watched, suffix, place):
    for payload in ("keras.datasets.mnist.load_data", "keras.ops.cond", "TFSMLayer", "a class of its own", "a lambda"):
        config = copy.deepcopy(BASE)
        PLACES[place](config, copy.deepcopy(THAT_ACT[payload]))
        refused(written(parts, tmp_path / f"m{suffix}", config), watched)


def test_the_place_is_named(parts, tmp_path, watched):
    config = copy.deepcopy(BASE)
    PLACES["a Lambda's function"](config, named("keras.layers", "TFSMLayer"))
    text = refused(written(parts, tmp_path / "m.keras", config), watched)
    assert "contains code, layer 'own' of config.json: Lambda with keras.layers.TFSMLayer: " in text
    config = copy.deepcopy(BASE)
    PLACES["an activation"](config, named("keras.datasets.mnist", "load_data"))
    text = refused(written(parts, tmp_path / "m.h5", config), watched)
    assert "layer 'c1' of model_config: activation is keras.datasets.mnist.load_data: " in text
    config["config"]["layers"][1]["config"]["name"] = config["config"]["layers"][1]["name"] = "\x1b[31m" + "n" * 9999
    assert len(refused(written(parts, tmp_path / "m.h5", config), watched)) < 1500


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_how_the_model_was_compiled(parts, tmp_path, watched, suffix):
    """It is not read, so that a loss of one's own does no harm; a symbol of Keras that is none is refused."""
    for payload in ("keras.datasets.mnist.load_data", "keras.layers.TFSMLayer", "keras.ops.cond", "TFSMLayer"):
        config = {**copy.deepcopy(BASE), "compile_config": {"loss": THAT_ACT[payload]}}
        refused(written(parts, tmp_path / f"m{suffix}", config), watched)
    for own in (LAMBDA, named("builtins", "my_loss"), instance("__main__", "MyLoss", "MyLoss")):
        config = {**copy.deepcopy(BASE), "compile_config": {"loss": own}}
        assert len(onnxviz.convert(written(parts, tmp_path / f"m{suffix}", config)).layers) == 1
    assert watched() == []


def test_what_was_compiled_in_a_legacy_file(parts, tmp_path, watched):
    path = written(parts, tmp_path / "m.h5", BASE)
    with h5py.File(path, "r+") as file:
        file.attrs["training_config"] = json.dumps({"loss": named("keras.datasets.mnist", "load_data")})
    assert "training_config: loss is keras.datasets" in refused(path, watched)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_the_command_line(parts, tmp_path, watched, program_of_tensorflow, suffix):
    config = copy.deepcopy(BASE)
    own = instance("keras.layers", "Lambda", function=named("keras.layers", "TFSMLayer"))
    own["config"]["arguments"] = {"call_endpoint": "serving_default"}
    nodes = [{"args": [], "kwargs": {"inputs": str(program_of_tensorflow[0])}}]
    config["config"]["layers"].append({**own, "name": "own", "inbound_nodes": nodes})
    path = written(parts, tmp_path / f"m{suffix}", config)
    done = program("convert", path.name, "-o", "m.onnx", cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    assert done.stderr.count("\n") == 1
    assert "Lambda with keras.layers.TFSMLayer" in done.stderr
    assert watched() == []
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


def test_the_oracle_is_awake(parts, tmp_path, watched, program_of_tensorflow):
    """With permission the same file does what it is refused for."""
    config = copy.deepcopy(BASE)
    own = instance("keras.layers", "Lambda", function=named("keras.layers", "TFSMLayer"))
    own["config"]["arguments"] = {"call_endpoint": "serving_default"}
    nodes = [{"args": [], "kwargs": {"inputs": str(program_of_tensorflow[0])}}]
    config["config"]["layers"].append({**own, "name": "own", "inbound_nodes": nodes})
    path = written(parts, tmp_path / "m.keras", config)
    with contextlib.suppress(onnxviz.OnnxvizError):
        onnxviz.convert(path, allow_code_execution=True)
    assert any("canary" in one for one in watched())


# ------------------------------------------------------------------------------------------------------ harmless


# What is left out of the allow-list, and why.
LEFT_OUT = {
    "keras.layers": {
        "Lambda": "calls what it is given",
        "TFSMLayer": "loads a program",
        "TorchModuleWrapper": "unpickles",
        "JaxLayer": "calls what it is given",
        "FlaxLayer": "calls what it is given",
        "StringLookup": "may read a file, and text is no input of a network of numbers",
        "IntegerLookup": "may read a file",
        "TextVectorization": "may read a file",
        "Layer": "does nothing by itself",
        "InputSpec": "is never saved",
    },
    "keras.initializers": {"Initializer": "is abstract"},
    "keras.regularizers": {"Regularizer": "is abstract"},
    "keras.constraints": {"Constraint": "is abstract"},
    "keras.losses": {"Loss": "is abstract"},
    "keras.metrics": {"Metric": "is abstract"},
    "keras.optimizers": {"Optimizer": "is abstract", "OptimizerMap": "holds optimizers by variable"},
    "keras.optimizers.schedules": {"LearningRateSchedule": "is abstract"},
    "keras.quantizers": {
        "Quantizer": "is abstract",
        "AWQConfig": "takes a data set and a tokenizer",
        "GPTQConfig": "takes a data set and a tokenizer",
    },
    "keras.src.ops.core": {
        **dict.fromkeys(("Map", "Scan", "AssociativeScan", "VectorizedMap"), "calls what it is given"),
        **dict.fromkeys(("Cond", "Switch", "WhileLoop", "ForiLoop"), "calls what it is given"),
    },
    "keras.src.ops.linalg": {"JVP": "calls what it is given"},
}
GET = {"get", "serialize", "deserialize"}


@pytest.mark.parametrize(
    "module",
    [name for name in CLASSES if not set(name.split(".")) & {"models", "engine", "applications"} and name != "keras"],
)
def test_every_class_of_keras_is_in_one_of_the_lists(module):
    """A new version of Keras that brings a class fails here: is it data?"""
    home = importlib.import_module(module)
    from keras.src.ops.operation import Operation

    there = {name for name, one in vars(home).items() if inspect.isclass(one)}
    if module.startswith("keras.src.ops."):
        there = {name for name in there if vars(home)[name].__module__ == module}
        there = {name for name in there if issubclass(vars(home)[name], Operation)}
    assert there == CLASSES[module] | set(LEFT_OUT.get(module, ()))
    assert not CLASSES[module] & set(LEFT_OUT.get(module, ()))


@pytest.mark.parametrize("module", FUNCTIONS)
def test_every_function_of_keras_is_in_the_list(module):
    home = importlib.import_module(module)
    assert {name for name, one in vars(home).items() if inspect.isfunction(one)} == FUNCTIONS[module] | GET


def configurations_of(model, path):
    for suffix in (".keras", ".h5"):
        model.save(path.with_suffix(suffix))
        keras_archive.check(path.with_suffix(suffix))
        yield from keras_archive.configurations(path.with_suffix(suffix))


def harmless(model, path):
    return [code_in(config, name) for name, config in configurations_of(model, path)]


QUICK = {"MobileNetV2", "EfficientNetV2B0", "ConvNeXtTiny"}
ARCHITECTURES = sorted(name for name, one in vars(keras.applications).items() if name[0].isupper() and callable(one))


@pytest.mark.parametrize(
    "name", [pytest.param(one, marks=() if one in QUICK else pytest.mark.slow) for one in ARCHITECTURES]
)
def test_an_architecture_is_data(name):
    """Its configuration, as it is saved; the weights do not matter."""
    from keras.src.legacy.saving import serialization as legacy
    from keras.src.saving import serialization_lib

    model = getattr(keras.applications, name)(weights=None)
    model.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
    assert code_in(parsed(json.dumps(serialization_lib.serialize_keras_object(model)), "c"), "c") == ""
    assert code_in(parsed(json.dumps(legacy.serialize_keras_object(model)), "c"), "c") == ""


def test_layers_of_every_kind_are_data(tmp_path):
    image = keras.Input((16, 16, 3))
    x = layers.RandomFlip()(layers.Rescaling(1 / 255)(image))
    x = layers.Normalization(mean=[0.1] * 3, variance=[1.0] * 3)(layers.RandomRotation(0.1)(x))
    x = layers.Conv2D(4, 3, activation="relu", kernel_regularizer="l2", kernel_constraint="max_norm")(x)
    x = layers.SpectralNormalization(layers.Conv2D(4, 3, activation=layers.PReLU()))(x)
    x = layers.Activation("silu")(keras.ops.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))) * 2 + 1)
    inner = sequential(layers.Conv2D(4, 3, activation=keras.activations.gelu), shape=(12, 12, 4))
    x = inner(layers.Resizing(12, 12)(x))
    x = layers.TimeDistributed(layers.Dense(3, dtype="mixed_bfloat16"))(layers.Reshape((10, 40))(x))
    x = layers.Bidirectional(layers.LSTM(3))(x)
    model = keras.Model(image, layers.Dense(2, activation="softmax", kernel_initializer="he_normal")(x))
    schedule = keras.optimizers.schedules.CosineDecay(0.1, 10)
    loss = keras.losses.CategoricalCrossentropy(label_smoothing=0.1)
    model.compile(keras.optimizers.AdamW(schedule), loss, metrics=[keras.metrics.AUC(), "accuracy"])
    # The legacy format cannot write operations; it is read for the inner model.
    model.save(tmp_path / "m.keras")
    keras_archive.check(tmp_path / "m.keras")
    assert [code_in(c, n) for n, c in keras_archive.configurations(tmp_path / "m.keras")] == [""]
    inner.compile("sgd", "mse")
    assert harmless(inner, tmp_path / "inner") == ["", "", ""]


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_the_projects_own_networks_are_data(keras_models, tmp_path, suffix):
    for name in ("cats_and_dogs", "sd_unet", "two_in_two_out", "open_size", "signals", "volumes", "grouped"):
        path = tmp_path / f"m{suffix}"
        getattr(keras_models, name)().save(path)
        keras_archive.check(path)
        found = [code_in(config, document) for document, config in keras_archive.configurations(path)]
        assert set(found) == {""} or "Standardise" in found[0], name


def test_code_that_the_program_registered_is_its_own(tmp_path):
    @keras.saving.register_keras_serializable("onnxviz_tests")
    class Doubled(layers.Layer):
        def call(self, x):
            return x * 2

    model = sequential(layers.Conv2D(4, 3, name="c"), Doubled(name="own"))
    model.save(tmp_path / "m.keras")
    try:
        assert conversion(tmp_path / "m.keras").model.layer("c").weight.shape == (4, 3, 3, 3)
    finally:
        keras.saving.get_custom_objects().pop("onnxviz_tests>Doubled")
    with pytest.raises(CodeExecution, match=r"layer 'own' of config.json: \S*Doubled: .*module:factory"):
        onnxviz.convert(tmp_path / "m.keras")


# ------------------------------------------------------------------------------------------------------ containers


def is_refused(path, match):
    with pytest.raises(ConversionError, match=match) as caught:
        onnxviz.convert(path)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "name", ["run.py", "../outside.txt", "/etc/outside", "assets/../../x", "assets/words.txt", "é"]
)
def test_members_that_no_one_asked_for(parts, tmp_path, watched, name):
    is_refused(archived(parts[0], tmp_path / "m.keras", **{name: b"x"}), "which no .keras file of a network")
    assert watched() == []


def test_a_member_that_is_there_twice(parts, tmp_path):
    path = archived(parts[0], tmp_path / "m.keras")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("config.json", b"{}")
    is_refused(path, "config.json more than once")


@pytest.mark.parametrize("member", ["model.weights.h5", "config.json"])
def test_an_archive_that_unpacks_to_far_more(parts, tmp_path, member):
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, data in parts[0].items():
            if name != member:
                archive.writestr(name, data)
        with archive.open(member, "w") as file:
            for _ in range(260):
                file.write(bytes(2**20))
    is_refused(path, r"bytes that would become|the limit is")


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, '{"a": [' * 300 + "]}" * 300])
def test_a_configuration_that_is_too_deep(parts, tmp_path, text):
    is_refused(archived(parts[0], tmp_path / "m.keras", **{"config.json": text}), "nested more than 256 deep")


@pytest.mark.parametrize(("data", "match"), [(b"\xff\xfe", "no UTF-8"), (b"{", "no JSON"), (b"", "no JSON")])
def test_a_configuration_that_is_none(parts, tmp_path, data, match):
    is_refused(archived(parts[0], tmp_path / "m.keras", **{"config.json": data}), match)


def external_link(file):
    file["model_weights/elsewhere"] = h5py.ExternalLink("/etc/secret.h5", "/x")


def soft_link(file):
    file["model_weights/elsewhere"] = h5py.SoftLink("/model_weights")


def virtual(file):
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("/etc/secret.h5", "x", shape=(4,))
    file.create_virtual_dataset("model_weights/elsewhere", layout)


def external_storage(file):
    file.create_dataset("model_weights/elsewhere", (4,), "f4", external=[("/etc/passwd", 0, 16)])


def unwritten(file):
    file.create_dataset("model_weights/large", (2**30,), "f4", chunks=(2**20,), compression="gzip")


HDF5 = {
    external_link: "a link that leads elsewhere",
    soft_link: "a link that leads elsewhere",
    virtual: "lie in another file",
    external_storage: "lie in another file",
    unwritten: "bytes that would become 4,29",
}


@pytest.mark.parametrize("change", HDF5, ids=lambda one: one.__name__)
@pytest.mark.parametrize("how", ["model", "weights", "archive"])
def test_hdf5_that_leads_elsewhere_or_is_larger_than_it_looks(parts, tmp_path, change, how):
    path = tmp_path / "m.h5"
    path.write_bytes(parts[1])
    with h5py.File(path, "r+") as file:
        change(file)
    if how == "archive":
        path = archived(parts[0], tmp_path / "m.keras", **{"model.weights.h5": path.read_bytes()})
    if how == "weights":
        with pytest.raises(ConversionError, match=HDF5[change]):
            onnxviz.convert(sequential(layers.Conv2D(4, 3, name="c1"), shape=(8, 8, 3)), weights=path)
    else:
        is_refused(path, HDF5[change])


def test_the_good_file_is_taken(parts, tmp_path):
    for suffix in (".keras", ".h5"):
        assert len(onnxviz.convert(written(parts, tmp_path / f"m{suffix}", BASE)).layers) == 1


def test_a_savedmodel_is_not_loaded(watched, program_of_tensorflow):
    folder, _ = program_of_tensorflow
    with pytest.raises(CodeExecution, match="is a SavedModel, a program that loading would run"):
        onnxviz.convert(folder)
    assert watched() == []


def test_weights_of_another_form(tmp_path):
    """Weights in several files would name the others."""
    path = tmp_path / "m.weights.json"
    path.write_text('{"weight_map": {"c1": "../../secret.weights.h5"}}')
    with pytest.raises(ConversionError, match="lists weights in several files, which is not supported"):
        onnxviz.convert(sequential(layers.Conv2D(4, 3, name="c1")), weights=path)
