"""Plots: filters, feature maps, explanations and synthetic inputs as matplotlib figures.

A file a plot. What is asked for becomes scaled pictures and words there; `sheet` lays them out as tiles of a single
image, `page` puts the words around it. Numbers, pictures and words come from outside: nothing here knows of models.
"""

from onnxviz.plots.comparison import plot_comparison
from onnxviz.plots.contact_sheet import ROWS_ON_A_PAGE, ContactRow, plot_contact_sheet
from onnxviz.plots.difference import plot_difference
from onnxviz.plots.encoding import Encoding, encode_picture
from onnxviz.plots.explanation import overlays, plot_explanation
from onnxviz.plots.faithfulness import plot_faithfulness
from onnxviz.plots.feeding import strongest_channels
from onnxviz.plots.filters import plot_filters
from onnxviz.plots.maps import are_bars, plot_maps, refuse_look_of_bars
from onnxviz.plots.options import known_cmap
from onnxviz.plots.patches import plot_patches
from onnxviz.plots.photos import Photo
from onnxviz.plots.prediction import CARDS_ON_A_PAGE, plot_prediction, plot_predictions
from onnxviz.plots.sanity import plot_sanity
from onnxviz.plots.saving import pdf_pages, save_figure, save_picture
from onnxviz.plots.statistics import plot_statistics
from onnxviz.plots.synthetic import plot_synthetic
from onnxviz.plots.together import MOST_TOGETHER, plot_maps_together

__all__ = [
    "CARDS_ON_A_PAGE",
    "MOST_TOGETHER",
    "ROWS_ON_A_PAGE",
    "ContactRow",
    "Encoding",
    "Photo",
    "are_bars",
    "encode_picture",
    "known_cmap",
    "overlays",
    "pdf_pages",
    "plot_comparison",
    "plot_contact_sheet",
    "plot_difference",
    "plot_explanation",
    "plot_faithfulness",
    "plot_filters",
    "plot_maps",
    "plot_maps_together",
    "plot_patches",
    "plot_prediction",
    "plot_predictions",
    "plot_sanity",
    "plot_statistics",
    "plot_synthetic",
    "refuse_look_of_bars",
    "save_figure",
    "save_picture",
    "strongest_channels",
]
