"""The options of an augmentation: nothing by default, the paper's by name, refused out of range."""

import math

import pytest

from keras_inception.recipes import PAPER_DISTORTIONS, Augmentation


def test_the_papers_distortions_are_those_of_its_text():
    # Section 6: patches of 8% to 100% of the area, aspect ratio in [3/4, 4/3].
    what = PAPER_DISTORTIONS
    assert (what.crop_area, what.crop_aspect) == ((0.08, 1.0), (0.75, 4 / 3))
    assert what.random_interpolation
    assert what.flip
    assert (what.randaugment, what.mixup, what.cutmix) == (None, None, None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crop_area": (0, 1)}, r"`crop_area` must be None or two shares.*Received: crop_area=\(0, 1\)"),
        ({"crop_area": (0.5, 1.1)}, r"0 < smallest <= largest <= 1\. Received: crop_area=\(0.5, 1.1\)"),
        ({"crop_area": (0.5, 0.2)}, "`crop_area` must be"),
        ({"crop_area": 0.5}, "`crop_area` must be"),
        ({"crop_aspect": (-1, 2)}, r"`crop_aspect` must be two ratios of width to height.*crop_aspect=\(-1, 2\)"),
        ({"crop_aspect": None}, "`crop_aspect` must be"),
        ({"flip": 1}, "`flip` must be True or False. Received: flip=1"),
        ({"random_interpolation": "cubic"}, "`random_interpolation` must be True or False"),
        ({"shift": 1}, "`shift` must be at least 0 and below 1. Received: shift=1"),
        ({"zoom": -0.1}, "`zoom` must be at least 0 and below 1. Received: zoom=-0.1"),
        ({"rotation_degrees": 181}, "a number from 0 to 180. Received: rotation_degrees=181"),
        ({"brightness": 1.5}, "`brightness` must be a number from 0 to 1. Received: brightness=1.5"),
        ({"contrast": math.nan}, "`contrast` must be a number from 0 to 1. Received: contrast=nan"),
        ({"saturation": True}, "`saturation` must be a number"),
        ({"hue": 0.6}, "`hue` must be a number from 0 to 0.5. Received: hue=0.6"),
        ({"lighting": -0.1}, "`lighting` must be a finite number of at least 0. Received: lighting=-0.1"),
        ({"randaugment": (0, 9)}, r"`randaugment` must be None or \(layers, magnitude\).*randaugment=\(0, 9\)"),
        ({"randaugment": (2, 11)}, "a number from 0 to 10"),
        ({"randaugment": (1.5, 9)}, "a whole number from 1"),
        ({"randaugment": 2}, "`randaugment` must be"),
        ({"mixup": 0}, "`mixup` must be None or a finite number above 0. Received: mixup=0"),
        ({"mixup_off_epoch": 0, "mixup": 0.2}, "`mixup_off_epoch` must be None or a whole number of at least 1"),
        ({"mixup_off_epoch": 3}, "`mixup_off_epoch` needs `mixup` or `cutmix`.*Received: mixup_off_epoch=3"),
        ({"cutmix": math.inf}, "`cutmix` must be None or a finite number above 0. Received: cutmix=inf"),
    ],
)
def test_values_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Augmentation(**options)
