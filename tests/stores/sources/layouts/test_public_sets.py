"""Public data sets as they unpack, in miniature: labels, captions and splits right, or named what is not read."""

import json

import pytest

from tests.stores.sources.layouts.conftest import jpgs, lines, put, read, tar

CELEBA = [f"img_align_celeba/{n:06d}.jpg" for n in range(1, 7)]
CELEBA_ATTRIBUTES = lines(
    "6", "5_o_Clock_Shadow Arched_Eyebrows Smiling", *(f"{n:06d}.jpg -1  1 -1" for n in range(1, 7))
)
VOC = [f"JPEGImages/2008_{n:06d}.jpg" for n in range(1, 7)]
COCO = {
    "images": [{"id": n, "file_name": f"{n:012d}.jpg"} for n in range(1, 4)],
    "annotations": [{"image_id": n, "category_id": 18, "bbox": [0, 0, 1, 1], "id": n} for n in range(1, 4)],
    "categories": [{"id": 18, "name": "dog"}],
}

# Data sets whose images have no label that is read: the files that would give one are named among those not used.
UNLABELED = {
    "celeba, attributes": (jpgs(*CELEBA) | {"list_attr_celeba.txt": CELEBA_ATTRIBUTES}, ".txt"),
    "celeba, attributes as csv": (
        jpgs(*CELEBA)
        | {"list_attr_celeba.csv": lines("image_id,Smiling,Young", *(f"{n:06d}.jpg,-1,1" for n in range(1, 7)))},
        ".csv",
    ),
    "celeba, boxes": (
        jpgs(*CELEBA)
        | {
            "list_bbox_celeba.csv": lines(
                "image_id,x_1,y_1,width,height", *(f"{n:06d}.jpg,1,2,3,4" for n in range(1, 7))
            )
        },
        ".csv",
    ),
    "oxford flowers": (
        jpgs(*(f"jpg/image_{n:05d}.jpg" for n in range(1, 5))) | {"imagelabels.mat": b"MATLAB", "setid.mat": b"MATLAB"},
        ".mat",
    ),
    "stanford cars": (
        jpgs(*(f"cars_train/{n:05d}.jpg" for n in range(1, 5))) | {"devkit/cars_train_annos.mat": b"MATLAB"},
        ".mat",
    ),
    "pascal voc, boxes": (
        jpgs(*VOC) | {f"Annotations/2008_{n:06d}.xml": "<annotation/>" for n in range(1, 7)},
        ".xml",
    ),
    "pascal voc, one class against all": (
        jpgs(*VOC)
        | {"ImageSets/Main/dog_train.txt": lines(*(f"2008_{n:06d} {' 1' if n % 2 else '-1'}" for n in range(1, 7)))},
        ".txt",
    ),
    "coco instances": (
        jpgs(*(f"val2017/{n:012d}.jpg" for n in range(1, 4))) | {"annotations/instances_val2017.json": COCO},
        ".json",
    ),
    "segment anything": (
        jpgs(*(f"sa_{n}.jpg" for n in range(3)))
        | {f"sa_{n}.json": {"image": {"image_id": n}, "annotations": [{"area": 4}]} for n in range(3)},
        None,
    ),
    "places, categories alone": (
        jpgs(*(f"val_256/Places365_val_{n:08d}.jpg" for n in range(1, 5)))
        | {"categories_places365.txt": lines("/a/airfield 0", "/a/airplane_cabin 1")},
        ".txt",
    ),
    "conceptual captions, urls": (
        jpgs(*(f"images/{n}.jpg" for n in range(4)))
        | {"Train_GCC-training.tsv": lines(*(f"a caption {n}\thttp://example.org/{n}x" for n in range(4)))},
        ".tsv",
    ),
    "ffhq": (
        jpgs(*(f"{n // 1000 * 1000:05d}/{n:05d}.png" for n in (0, 1, 1000, 1001))) | {"LICENSE.txt": "CC"},
        ".txt",
    ),
    "dogs against cats": (jpgs(*(f"train/{kind}.{n}.jpg" for kind in ("cat", "dog") for n in range(3))), None),
}


@pytest.mark.parametrize("name", UNLABELED)
def test_what_gives_no_label_is_not_taken_for_one(data, name):
    files, named = UNLABELED[name]
    found = data(files)
    images = [file for file in files if file.endswith((".jpg", ".png"))]
    assert len(found.rows) == len(images)
    assert set(found.labels().values()) == {None}
    assert not any(found.captions().values())
    assert named is None or named in {kind.kind for kind in found.summary.unused}


CUB = "images/{:03d}.Black_footed_Albatross/Black_Footed_Albatross_{:04d}.jpg"
FOOD = ["apple_pie/1005649", "apple_pie/1011328", "waffles/2", "waffles/1"]
LABELED = {
    "cub-200": (
        jpgs(*(CUB.format(k, n) for k in (1, 2) for n in range(2)))
        | {
            "images.txt": lines(*(f"{2 * k + n} {CUB.format(k, n)[7:]}" for k in (1, 2) for n in range(2))),
            "image_class_labels.txt": lines("2 1", "3 1", "4 2", "5 2"),
            "train_test_split.txt": lines("2 0", "3 1", "4 0", "5 1"),
            "classes.txt": lines("1 001.Black_footed_Albatross", "2 002.Black_footed_Albatross"),
        },
        {CUB.format(k, n): f"{k:03d}.Black_footed_Albatross" for k in (1, 2) for n in range(2)},
    ),
    "food-101": (
        jpgs(*(f"images/{name}.jpg" for name in FOOD))
        | {
            "meta/train.txt": lines(*FOOD[::2]),
            "meta/test.txt": lines(*FOOD[1::2]),
            "meta/train.json": {"apple_pie": FOOD[:1], "waffles": FOOD[2:3]},
            "meta/classes.txt": lines("apple_pie", "waffles"),
            "meta/labels.txt": lines("Apple pie", "Waffles"),
        },
        {f"images/{name}.jpg": name.split("/")[0] for name in FOOD},
    ),
    "describable textures": (
        jpgs(*(f"images/{kind}/{kind}_{n:04d}.jpg" for kind in ("banded", "dotted") for n in range(2)))
        | {"labels/train1.txt": lines("banded/banded_0000.jpg", "dotted/dotted_0000.jpg")},
        {f"images/{kind}/{kind}_{n:04d}.jpg": kind for kind in ("banded", "dotted") for n in range(2)},
    ),
    "caltech-256": (
        jpgs(*(f"256_ObjectCategories/{kind}/{n}.jpg" for kind in ("001.ak47", "002.flag") for n in range(2))),
        {f"256_ObjectCategories/{kind}/{n}.jpg": kind for kind in ("001.ak47", "002.flag") for n in range(2)},
    ),
    "cifar as folders": (
        jpgs(
            *(
                f"{split}/{kind}/{n:04d}.png"
                for split in ("train", "test")
                for kind in ("cat", "ship")
                for n in range(2)
            )
        ),
        {
            f"{split}/{kind}/{n:04d}.png": kind
            for split in ("train", "test")
            for kind in ("cat", "ship")
            for n in range(2)
        },
    ),
    "inaturalist": (
        jpgs(*(f"train_val2018/{kind}/{n}.jpg" for kind in ("Aves/2761", "Fungi/12") for n in range(2)))
        | {"train2018.json": COCO},
        None,
    ),
    "places": (
        jpgs(*(f"val_256/Places365_val_{n:08d}.jpg" for n in range(1, 5)))
        | {"places365_val.txt": lines(*(f"Places365_val_{n:08d}.jpg {160 + n}" for n in range(1, 5)))},
        {f"val_256/Places365_val_{n:08d}.jpg": 160 + n for n in range(1, 5)},
    ),
    "celeba, identities": (
        jpgs(*CELEBA) | {"identity_CelebA.txt": lines(*(f"{n:06d}.jpg {n % 3}" for n in range(1, 7)))},
        {name: n % 3 for n, name in enumerate(CELEBA, start=1)},
    ),
    "open images": (
        jpgs(*(f"validation/{n:016x}.jpg" for n in range(3)))
        | {
            "validation-annotations-human-imagelabels.csv": lines(
                "ImageID,Source,LabelName,Confidence", *(f"{n:016x},verification,/m/0{n},1" for n in range(3))
            )
        },
        {f"validation/{n:016x}.jpg": f"/m/0{n}" for n in range(3)},
    ),
    "traffic signs": (
        jpgs(*(f"Test/{n:05d}.png" for n in range(4)))
        | {
            "Test.csv": lines(
                "Width,Height,Roi.X1,Roi.Y1,Roi.X2,Roi.Y2,ClassId,Path",
                *(f"53,54,6,5,48,49,{n},Test/{n:05d}.png" for n in range(4)),
            )
        },
        {f"Test/{n:05d}.png": n for n in range(4)},
    ),
    "plant pathology": (
        jpgs(*(f"images/Train_{n}.jpg" for n in range(3)))
        | {
            "train.csv": lines(
                "image_id,healthy,multiple_diseases,rust", "Train_0,0,0,1", "Train_1,1,0,0", "Train_2,0,1,0"
            )
        },
        {"images/Train_0.jpg": "rust", "images/Train_1.jpg": "healthy", "images/Train_2.jpg": "multiple_diseases"},
    ),
    "dog breeds": (
        jpgs(*(f"train/{n:032x}.jpg" for n in range(3)))
        | {"labels.csv": lines("id,breed", *(f"{n:032x},{'pug' if n else 'boxer'}" for n in range(3)))},
        {f"train/{n:032x}.jpg": "pug" if n else "boxer" for n in range(3)},
    ),
    "animal faces": (
        jpgs(
            *(
                f"afhq/{split}/{kind}/{n}.jpg"
                for split in ("train", "val")
                for kind in ("cat", "wild")
                for n in range(2)
            )
        ),
        {
            f"afhq/{split}/{kind}/{n}.jpg": kind
            for split in ("train", "val")
            for kind in ("cat", "wild")
            for n in range(2)
        },
    ),
}


@pytest.mark.parametrize("name", LABELED)
def test_labels_of_public_sets(data, name):
    files, labels = LABELED[name]
    found = data(files)
    assert len(found.rows) == sum(file.endswith((".jpg", ".png")) for file in files)
    if labels is None:
        assert None not in found.labels().values()
        assert len(set(found.labels().values())) == 2
    else:
        assert found.labels() == labels


CAPTIONED = {
    "flickr8k tokens": {
        **jpgs(*(f"Flicker8k_Dataset/{n:04d}_a.jpg" for n in range(3))),
        "captions.txt": lines("image,caption", *(f"{n:04d}_a.jpg,A child {n} ." for n in range(3))),
    },
    "journeydb": {
        **jpgs(*(f"imgs/000/{n:04d}.jpg" for n in range(3))),
        "train_anno_realease_repath.jsonl": lines(
            *(json.dumps({"img_path": f"./000/{n:04d}.jpg", "prompt": f"A child {n} .", "Task2": {}}) for n in range(3))
        ),
    },
    "danbooru tags": {
        **jpgs(*(f"0{n}/{n}.jpg" for n in range(3))),
        **{f"0{n}/{n}.txt": f"A child {n} ." for n in range(3)},
    },
    "coco captions": {
        **jpgs(*(f"val2017/{n:012d}.jpg" for n in range(3))),
        "annotations/captions_val2017.json": {
            "images": [{"id": n, "file_name": f"{n:012d}.jpg"} for n in range(3)],
            "annotations": [{"image_id": n, "id": n, "caption": f"A child {n} ."} for n in range(3)],
        },
        "annotations/instances_val2017.json": COCO,
    },
    "pick-a-pic": {
        **jpgs(*(f"{n}.png" for n in range(3))),
        "metadata.csv": lines("file_name,prompt,score", *(f"{n}.png,A child {n} .,0.5" for n in range(3))),
    },
}


@pytest.mark.parametrize("name", CAPTIONED)
def test_captions_of_public_sets(data, name):
    found = data(CAPTIONED[name])
    assert sorted(text for texts in found.captions().values() for text in texts) == [f"A child {n} ." for n in range(3)]
    assert set(found.labels().values()) == {None}


def test_tiny_imagenet_from_its_top_folder(data):
    words = ("n01443537", "n01629819")
    files = jpgs(*(f"train/{word}/images/{word}_{n}.JPEG" for word in words for n in range(2)))
    files |= {f"train/{word}/{word}_boxes.txt": lines(f"{word}_0.JPEG\t0\t10\t63\t58") for word in words}
    files |= jpgs(*(f"val/images/val_{n}.JPEG" for n in range(2))) | jpgs("test/images/test_0.JPEG")
    files["val/val_annotations.txt"] = lines(
        "val_0.JPEG\tn01629819\t0\t32\t44\t62", "val_1.JPEG\tn01443537\t52\t55\t57\t59"
    )
    # As many ids as val has images: they are the classes, not the labels of these images one after the other.
    files |= {"wnids.txt": lines(*words), "words.txt": lines(*(f"{word}\ta name" for word in words))}
    found = data(files)
    assert {key: row[0] for key, row in found.rows.items() if key.startswith("train")} == {
        f"train/{word}/images/{word}_{n}.JPEG": word for word in words for n in range(2)
    }
    held = {key: row for key, row in found.rows.items() if key.startswith("val")}
    assert {row[2] for row in held.values()} == {"val"}
    assert [held[f"val/images/val_{n}.JPEG"][0] for n in range(2)] == [*reversed(words)]


def test_imagenet_21k_as_a_folder_of_class_tars(tmp_path):
    put(
        tmp_path / "set",
        {f"n0000{n}740.tar": tar(jpgs(f"n0000{n}740_1.JPEG", f"n0000{n}740_2.JPEG")) for n in range(2)},
    )
    found = read(tmp_path / "set")
    assert sorted(set(found.labels().values())) == ["n00000740", "n00001740"]
