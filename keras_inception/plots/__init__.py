"""All plots: of trainings, networks, evaluations, early exits, searches and studies."""

from keras_inception.plots.evaluation import explanation
from keras_inception.plots.gradients import gradient_flow
from keras_inception.plots.network import graph
from keras_inception.plots.training import curves, head_colour

__all__ = ["curves", "explanation", "gradient_flow", "graph", "head_colour"]
