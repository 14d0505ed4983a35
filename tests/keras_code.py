"""Keras files with code in them, in every place."""

import copy
import json
import zipfile

import pytest
from keras_checks import keras, layers

h5py = pytest.importorskip("h5py")


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


def good_model(folder):
    """The members of a good `.keras` file in the folder, and its configuration; `BASE` is that from then on."""
    path = folder / "m.keras"
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
