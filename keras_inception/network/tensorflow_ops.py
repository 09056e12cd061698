"""Operations that TensorFlow has and Keras does not use. Imported only where TensorFlow is the backend of Keras."""

import tensorflow as tf

from keras_inception.types import Tensor

# oneDNN normalizes 16-bit numbers in blocks of so many channels. What does not divide into blocks takes four times as
# long as in float32, casts included, at 24 channels, ten times at 8 (one core of an AMD EPYC, TensorFlow 2.21).
BLOCK = 16


def fused_batch_norm(
    x: Tensor, gamma: Tensor | None, beta: Tensor | None, epsilon: float, axis: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the normalized batch, its mean and its variance (the mean square, as Keras has it) by channel."""
    channels = x.shape[axis]
    is_slow = x.dtype.size == 2 and channels % BLOCK and not tf.config.list_physical_devices("GPU")
    outputs, mean, unbiased, *_ = tf.raw_ops.FusedBatchNormV3(
        x=tf.cast(x, "float32") if is_slow else x,
        scale=tf.ones(channels) if gamma is None else tf.cast(gamma, "float32"),
        offset=tf.zeros(channels) if beta is None else tf.cast(beta, "float32"),
        mean=tf.zeros(0),  # they are those of the batch
        variance=tf.zeros(0),
        epsilon=epsilon,
        data_format="NHWC" if axis % 4 == 3 else "NCHW",
        is_training=True,
    )
    count = tf.cast(tf.size(x) // channels, "float32")
    return tf.cast(outputs, x.dtype), mean, unbiased * tf.maximum(count - 1, 1) / tf.maximum(count, 1)
