"""What may happen to a training image: the fields of an `Augmentation`, their ranges, the paper's values."""

import math
from dataclasses import dataclass, field
from typing import Any

from keras_inception.errors import InputError
from keras_inception.rules import COUNT, FROM_0, SHARE, SWITCH, between, check, is_number, is_whole, maybe, rule


def _is_range(value: Any, most: float = math.inf) -> bool:
    is_pair = isinstance(value, tuple) and len(value) == 2 and all(map(is_number, value))
    return is_pair and 0 < value[0] <= value[1] <= most


def _is_layers_and_magnitude(value: Any) -> bool:
    is_pair = isinstance(value, tuple) and len(value) == 2
    return is_pair and is_whole(value[0], 1) and is_number(value[1], 0, 10)


ALPHA = maybe("a finite number above 0", lambda value: is_number(value, 0) and value > 0)


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """What may happen to a training image, step by step in the order of the fields; by default nothing.

    0, False or None leaves a step out. `PAPER_DISTORTIONS` are the paper's.

    Attributes:
        crop_area: Smallest and largest area of a crop as shares of the image's, in (0, 1], drawn evenly (paper: 8% to
            100%). Without it the largest centred window is cut, as in validation.
        crop_aspect: Smallest and largest ratio of a crop's width to its height (paper: 3/4 to 4/3), drawn evenly in
            its logarithm (as torchvision does; the paper does not say).
        random_interpolation: Whether to resize with a method drawn from bilinear, area, nearest and cubic (paper)
            rather than always bilinearly.
        flip: Whether to mirror half of the images left to right (Krizhevsky et al. 2012, on which the paper builds).
            Not for digits and letters.
        shift: Largest shift along each axis, as a share of the image's side, in [0, 1); without rotation and zoom by
            whole pixels, as He et al. 2016 shift images of 32x32 by up to 4 (0.125). For small data; not in the paper.
        rotation_degrees: Largest rotation to either side, in degrees, in [0, 180]. For small data; not in the paper.
        zoom: Largest relative enlargement or reduction, in [0, 1). For small data; not in the paper.
        randaugment: Layers and magnitude: how many operations are drawn (1 or more), and how strong they are, in
            [0, 10]. Cubuk et al. use 2 and 9 for ResNet-50 on ImageNet.
        brightness: Largest relative change, in [0, 1]; 0.5 draws factors from 0.5 to 1.5 (Howard 2013, section 2.2,
            which the paper cites for its photometric distortions).
        contrast: The same for the distance from the image's mean grey (Howard).
        saturation: The same for the distance from grey; no effect on greyscale (Howard's "color").
        hue: Largest rotation of the hue to either side, as a share of the circle, in [0, 0.5]; no effect on greyscale.
            TF-slim's Inception uses 0.2, Howard none.
        lighting: Standard deviation of the noise along ImageNet's principal colours, at least 0; no effect on
            greyscale (Krizhevsky et al. 2012, section 4.1: 0.1; Howard adds "similar" noise).
        mixup: Alpha of MixUp's Beta distribution, above 0 (Zhang et al. 2018: 0.2 for ImageNet).
        cutmix: Alpha of CutMix's Beta distribution, above 0 (Yun et al. 2019: 1). With both, a coin
            decides for each batch (as timm does).
        mixup_off_epoch: How many epochs MixUp and CutMix take part in; the later ones show whole images (timm's name).
            By default all of them.

    Raises:
        InputError: A field is out of range, or `mixup_off_epoch` has nothing to turn off.

    Reference: Szegedy et al., Going Deeper with Convolutions, section 6; Howard, Some Improvements on Deep
    Convolutional Neural Network Based Image Classification.
    """

    crop_area: tuple[float, float] | None = field(
        default=None,
        metadata=maybe(
            "two shares of the image's area, 0 < smallest <= largest <= 1", lambda value: _is_range(value, most=1)
        ),
    )
    crop_aspect: tuple[float, float] = field(
        default=(3 / 4, 4 / 3), metadata=rule("two ratios of width to height, 0 < smallest <= largest", _is_range)
    )
    random_interpolation: bool = field(default=False, metadata=SWITCH)
    flip: bool = field(default=False, metadata=SWITCH)
    shift: float = field(default=0.0, metadata=SHARE)
    rotation_degrees: float = field(default=0.0, metadata=between(0, 180))
    zoom: float = field(default=0.0, metadata=SHARE)
    randaugment: tuple[int, float] | None = field(
        default=None,
        metadata=maybe(
            "(layers, magnitude), a whole number from 1 and a number from 0 to 10", _is_layers_and_magnitude
        ),
    )
    brightness: float = field(default=0.0, metadata=between(0, 1))
    contrast: float = field(default=0.0, metadata=between(0, 1))
    saturation: float = field(default=0.0, metadata=between(0, 1))
    hue: float = field(default=0.0, metadata=between(0, 0.5))
    lighting: float = field(default=0.0, metadata=FROM_0)
    mixup: float | None = field(default=None, metadata=ALPHA)
    cutmix: float | None = field(default=None, metadata=ALPHA)
    mixup_off_epoch: int | None = field(default=None, metadata=maybe(*COUNT["rule"]))

    def __post_init__(self) -> None:
        check(self)
        if self.mixup_off_epoch is not None and self.mixup is None and self.cutmix is None:
            raise InputError(
                '`mixup_off_epoch` needs `mixup` or `cutmix`, which it turns off: leave it out (None, "off"). '
                f"Received: mixup_off_epoch={self.mixup_off_epoch}"
            )


# Section 6: crops of 8% to 100% of the area, aspect 3/4 to 4/3, photometric distortions, random interpolation. The
# strengths of the distortions are Howard's, whom the paper cites, and those of the light Krizhevsky et al.'s.
PAPER_DISTORTIONS = Augmentation(
    crop_area=(0.08, 1.0),
    random_interpolation=True,
    flip=True,
    brightness=0.5,
    contrast=0.5,
    saturation=0.5,
    lighting=0.1,
)
