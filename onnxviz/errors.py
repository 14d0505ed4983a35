"""Errors that onnxviz raises on purpose.

Each message says what was asked, what there is and what to do, in one or two sentences.
The command line prints the message of an `OnnxvizError` without a traceback and leaves with its exit code;
anything else that is raised is a bug and keeps its traceback.
"""


class OnnxvizError(Exception):
    """Family of all errors that are the input's or the request's fault, not a bug of onnxviz."""

    exit_code = 2


class ModelError(OnnxvizError):
    """The model file cannot be used: not ONNX, damaged, contradictory, or beyond what onnxruntime can run."""


class SelectionError(OnnxvizError):
    """A layer, filter, channel or operator was asked for that the model does not have."""


class InputError(OnnxvizError):
    """An image, array or preprocessing cannot be used, or does not fit the model's input."""


class UnheededOptionError(SelectionError, InputError):
    """Options were given that nothing would heed in what was asked for."""


class ProviderError(OnnxvizError):
    """An execution provider was asked for that this machine does not offer."""


class ConversionError(OnnxvizError):
    """A model of another framework cannot be converted, or its conversion differs from it."""


class CodeExecution(OnnxvizError):
    """Going on would run code that a file brings along, and nobody has allowed it."""

    exit_code = 3


class UnsupportedGradientError(OnnxvizError, NotImplementedError):
    """A tensor cannot be differentiated; the message lists every node that stands in the way, and what helps.

    Attributes:
        gradient_free: explanation methods that need no gradient; the message offers them. `explain` leaves out those
            that do not work on the sample.
    """

    def __init__(self, reason: str, gradient_free: tuple[str, ...] = ()) -> None:
        offer = f"\n  Explanation methods that need no gradient: {', '.join(gradient_free)}."
        super().__init__(reason + offer if gradient_free else reason)
        self._reason = reason
        self.gradient_free = gradient_free

    def offering(self, gradient_free: tuple[str, ...]) -> "UnsupportedGradientError":
        """The same with other methods that it offers."""
        return UnsupportedGradientError(self._reason, gradient_free)
