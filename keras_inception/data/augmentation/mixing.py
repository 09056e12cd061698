"""MixUp and CutMix: examples of a batch mixed with each other, their labels by the same share.

Images are `(batch, height, width, channels)`, labels distributions `(batch, classes)`, float32; each of those that come
back sums to 1. `alpha` is that of the distribution Beta(alpha, alpha) of an image's own share, drawn for each image.
"""

import tensorflow as tf

from keras_inception.recipes.augmentation import Augmentation
from keras_inception.types import Tensor


def mix(
    images: Tensor, labels: Tensor, classes: int, seed: Tensor, augmentation: Augmentation, on: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Mixes the examples of a batch as an augmentation says; without MixUp and CutMix nothing changes.

    Args:
        images: `(batch, height, width, channels)`, float.
        labels: Integers `(batch,)` or distributions `(batch, classes)`.
        classes: The number of classes.
        seed: See `batch_seed`.
        augmentation: With both, a coin decides for each batch.
        on: Whether this batch is mixed, a scalar bool; by default it is. Otherwise its labels alone are converted.

    Returns:
        The images, and float32 labels `(batch, classes)`; as they came without MixUp and CutMix.
    """
    mixers = [
        (mixer, alpha)
        for mixer, alpha in ((mix_up, augmentation.mixup), (cut_mix, augmentation.cutmix))
        if alpha is not None
    ]
    if not mixers:
        return images, labels
    labels = tf.one_hot(labels, classes) if labels.shape.rank == 1 else tf.cast(labels, tf.float32)
    coin_seed, seed = tf.unstack(tf.random.split(seed, 2))
    ways = [lambda mixer=mixer, alpha=alpha: mixer(images, labels, seed, alpha) for mixer, alpha in mixers]

    def mixed() -> tuple[Tensor, Tensor]:
        return ways[0]() if len(ways) == 1 else tf.cond(tf.random.stateless_uniform((), coin_seed) < 0.5, *ways)

    return mixed() if on is None else tf.cond(on, mixed, lambda: (images, labels))


def mix_up(images: Tensor, labels: Tensor, seed: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """Blends each image, and its label, with another one of the batch.

    Reference: Zhang et al., mixup: Beyond Empirical Risk Minimization, 2018.
    """
    order, share, _ = _partners(images, seed, alpha)
    own = tf.cast(share[:, tf.newaxis, tf.newaxis, tf.newaxis], images.dtype)
    mixed = own * images + (1 - own) * tf.gather(images, order)
    share = share[:, tf.newaxis]
    return mixed, share * labels + (1 - share) * tf.gather(labels, order)


def cut_mix(images: Tensor, labels: Tensor, seed: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """Replaces a box of each image by that of another one of the batch; the label by the same share.

    `alpha` is that of the share before the box is cut off at the edges.

    Reference: Yun et al., CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features, 2019.
    """
    order, share, box_seed = _partners(images, seed, alpha)
    sides = tf.shape(images)[1:3]  # height, width
    box = tf.cast(tf.sqrt(1.0 - share)[:, tf.newaxis] * tf.cast(sides, tf.float32), tf.int32)  # (batch, 2)
    draws = tf.random.stateless_uniform(tf.shape(box), box_seed)
    begin = tf.cast(draws * tf.cast(sides, tf.float32), tf.int32) - box // 2  # the centre is anywhere
    end = tf.clip_by_value(begin + box, 0, sides)
    begin = tf.clip_by_value(begin, 0, sides)

    def inside(axis: int) -> Tensor:
        places = tf.range(sides[axis])
        return (places >= begin[:, axis, tf.newaxis]) & (places < end[:, axis, tf.newaxis])  # (batch, side)

    replaced = inside(0)[:, :, tf.newaxis, tf.newaxis] & inside(1)[:, tf.newaxis, :, tf.newaxis]
    mixed = tf.where(replaced, tf.gather(images, order), images)
    area = tf.cast(tf.reduce_prod(end - begin, -1), tf.float32) / tf.cast(tf.reduce_prod(sides), tf.float32)
    area = area[:, tf.newaxis]
    return mixed, (1 - area) * labels + area * tf.gather(labels, order)


def _partners(images: Tensor, seed: Tensor, alpha: float) -> tuple[Tensor, Tensor, Tensor]:
    """Returns a partner's index and the own share in [0, 1] for each image, both `(batch,)`, and a further seed."""
    count = tf.shape(images)[0]
    seeds = tf.unstack(tf.random.split(seed, 4))
    order = tf.random.experimental.stateless_shuffle(tf.range(count), seeds[0])
    first, second = (tf.random.stateless_gamma((count,), seeds[i], alpha, dtype=tf.float64) for i in (1, 2))
    # Of a small alpha both may be 0, that is below the smallest number.
    return order, tf.cast(tf.math.divide_no_nan(first, first + second), tf.float32), seeds[3]
