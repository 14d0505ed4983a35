"""The gallery: five systems that people wrote for one framework each, done by onnxviz from any model's `.onnx`.

`make gallery` trains what must be trained and runs the scripts s1 to s5; `make gallery-check` holds what they made
against the source frameworks, as the tests do with shorter runs. `originals` is what the programs themselves do.
"""
