# SPDX-License-Identifier: Apache-2.0
"""A picture as the accelerator takes it, for ``$readmemh``: one beat a line.

    python picture.py DESCRIPTION IMAGES.npy NUMBER > picture.hex

``DESCRIPTION`` is the ``.json`` file that ``tepal generate`` wrote; images are int8, or real numbers as the float model
takes them.
"""

import json
import sys
from pathlib import Path

import numpy as np


def beats(description: dict, image: np.ndarray) -> list[str]:
    """Hexadecimal beats of one (rows, columns, channels) image, its first byte lowest.

    ``description`` is what the description holds."""
    model = description["input"]
    if image.dtype != np.int8:
        image = np.clip(np.rint(image / model["scale"]) + model["zero_point"], -128, 127).astype(np.int8)
    width = description["ports"]["s_axis"]["tdata_width"] // 8
    return [beat[::-1].tobytes().hex() for beat in image.reshape(model["shape"]).reshape(-1, width)]


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    description, images, number = sys.argv[1:]
    print(*beats(json.loads(Path(description).read_text()), np.load(images)[int(number)]), sep="\n")
