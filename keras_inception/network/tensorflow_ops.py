"""Operations that TensorFlow has and Keras does not use. Imported only where TensorFlow is the backend of Keras."""

import tensorflow as tf

from keras_inception.types import Tensor


def fused_batch_norm(
    x: Tensor, gamma: Tensor | None, beta: Tensor | None, epsilon: float, axis: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the normalized batch, its mean and its variance (the mean square, as Keras has it) by channel."""
    channels = x.shape[axis]
    outputs, mean, unbiased, *_ = tf.raw_ops.FusedBatchNormV3(
        x=x,
        scale=tf.ones(channels) if gamma is None else tf.cast(gamma, "float32"),
        offset=tf.zeros(channels) if beta is None else tf.cast(beta, "float32"),
        mean=tf.zeros(0),  # they are those of the batch
        variance=tf.zeros(0),
        epsilon=epsilon,
        data_format="NHWC" if axis % 4 == 3 else "NCHW",
        is_training=True,
    )
    count = tf.cast(tf.size(x) // channels, "float32")
    return outputs, mean, unbiased * tf.maximum(count - 1, 1) / tf.maximum(count, 1)
