"""Images in class folders, from an archive of them."""

import random
import tarfile
from pathlib import Path


def unpacked(archive, folder, per_class=None, seed=0):
    """Unpacks an archive of class folders, unless that was done.

    Args:
        archive: A tar file of images whose folders are named after their classes.
        folder: Where the class folders are put.
        per_class: How many images of each class, drawn with the seed; None for all.
        seed: Of the drawing.

    Returns:
        `folder`.
    """
    if not folder.exists():
        aside = folder.with_name(f"part-{folder.name}")
        with tarfile.open(archive) as tar:
            by_class = {}
            for member in sorted((m for m in tar.getmembers() if m.isfile()), key=lambda member: member.name):
                by_class.setdefault(Path(member.name).parent.name, []).append(member)
            draw = random.Random(seed)
            chosen = [member for found in by_class.values() for member in draw.sample(found, per_class or len(found))]
            for member in sorted(chosen, key=lambda member: member.offset):  # the archive is a stream
                member.name = "/".join(Path(member.name).parts[-2:])
                tar.extract(member, aside, filter="data")
        aside.rename(folder)
    return folder
