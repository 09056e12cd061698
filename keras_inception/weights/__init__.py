"""The published weights of GoogLeNet, loaded exactly, and the choice of the weights that training changes.

`sources` lists what was published, and under which names and in which order of axes each file holds what layer;
`caffe`, `slim` and `torchvision` read the three formats; `download` fetches the files and keeps what was converted;
`published` puts the weights into a model, all or none; `freezing` says which rows of a network learn.
"""

from keras_inception.weights.freezing import freeze
from keras_inception.weights.published import load_published_weights, source_of
from keras_inception.weights.sources import SOURCES

__all__ = ["SOURCES", "freeze", "load_published_weights", "source_of"]
