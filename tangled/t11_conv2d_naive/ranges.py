# Tangled from chapters/11-conv2d-naive.qmd; edit the chapter, then run make tangle. sha256:416ff98f7d515a9d
"""Which windows read inside a picture, along an axis; for level 3 here and in the next two chapters."""


def inside(first, count, stride, size):
    """Slices: of the o < count for which first + o stride is one of `size` entries, of those.

    With first = i d - p it is eq. 11.11, all int; both slices are empty where nothing is inside.
    """
    low = max(0, -(first // stride))                            # rounded up
    high = max(low, min(count, (size - 1 - first) // stride + 1))
    start = low * stride + first
    return slice(low, high), slice(start, start + max(0, (high - low - 1) * stride + 1), stride)
