"""Words of the folders and names by which data sets call masks and maps of their images."""

from __future__ import annotations

import re

from stores.sources.fields.splits import FILLERS, without_size, word_list, words_of

# Words of folders and names by which public sets call the second image of each image, JPEG files or not.
SURE_WORDS = frozenset(
    word_list(
        "mask masks masklabel trimap trimaps segmentation segmentations annotation annotations annot anno gt "
        "groundtruth truth thumb thumbs thumbnail thumbnails resized conditioning"
    )
)
MASK_WORDS = SURE_WORDS | frozenset(
    word_list(
        "seg label labels depth depths matte mattes alpha parsing contour contours saliency semantic depthcrop "
        "maskcrop stuffthingmaps stuffthing pixelmaps disparity disparities disp flow normals canny edges openpose "
        "densepose lineart scribble scribbles softedge mlsd hed heatmap heatmaps skeleton skeletons keypoints landmarks"
    )
)
# Words that say this behind the name of an image, but alone are classes: ADE20K's "_parts_1.png".
NAME_WORDS = MASK_WORDS | {"parts"}
LONGEST_WORD = max(map(len, NAME_WORDS))
MASK_FILLERS = FILLERS | frozenset(
    word_list("class object instance semantic ground fine coarse map maps raw ids id rgb occ noc obj")
)
# Folders of images beside those of their depths.
COLOR_WORDS = frozenset(("rgb", "color", "colour"))
LOSSLESS = (".png", ".bmp", ".tif", ".tiff", ".gif")
_FUSED = re.compile(r"(?:train|val|valid|test|trainval)(annot|annots|masks?|labels?|gt|seg)")


def names_masks(folder: str) -> bool:
    """Whether a folder is called like one of masks, or of maps of a kind ("obj_map")."""
    words = folder_words(folder)
    return bool(set(words) & MASK_WORDS) or (len(words) > 1 and words[-1] in ("map", "maps"))


def folder_words(name: str) -> list[str]:
    """The words of a folder's name without a size; "trainannot" is two."""
    words: list[str] = []
    for word in words_of(without_size(name)):
        fused = _FUSED.fullmatch(word)
        words += [word.removesuffix(fused[1]), fused[1]] if fused else [word]
    return words
