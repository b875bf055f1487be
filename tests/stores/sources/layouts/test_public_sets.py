"""Public data sets as they unpack, in miniature: labels, captions and splits right, or named what is not read."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stores.sources import SourceError
from tests.stores.sources.layouts.conftest import put, read, tar


def lines(*rows):
    return "\n".join(rows) + "\n"


def jpgs(*names):
    return dict.fromkeys(names, "")


CELEBA = [f"img_align_celeba/{n:06d}.jpg" for n in range(1, 7)]
CELEBA_ATTRIBUTES = lines(
    "6", "5_o_Clock_Shadow Arched_Eyebrows Smiling", *(f"{n:06d}.jpg -1  1 -1" for n in range(1, 7))
)
VOC = [f"JPEGImages/2008_{n:06d}.jpg" for n in range(1, 7)]
PETS = lines("#Image CLASS-ID SPECIES BREED ID", *(f"Abyssinian_{n} 1 1 1" for n in range(1, 5)))
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
    "oxford pets": (
        jpgs(*(f"images/Abyssinian_{n}.jpg" for n in range(1, 5))) | {"annotations/list.txt": PETS},
        ".txt",
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


def test_a_partition_of_celeba_gives_splits_and_no_labels(data):
    rows = [f"{n:06d}.jpg {n % 3}" for n in range(1, 7)]
    found = data(jpgs(*CELEBA) | {"list_eval_partition.txt": lines(*rows), "list_attr_celeba.txt": CELEBA_ATTRIBUTES})
    assert set(found.labels().values()) == {None}
    assert found.splits() == {name: ("train", "val", "val")[n % 3] for n, name in enumerate(CELEBA, start=1)}


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


def test_lists_of_labels_by_part(data):
    files = jpgs(*(f"images/im_{n}.jpg" for n in range(4)))
    found = data(files | {"train.txt": "im_0.jpg 3\nim_1.jpg 4\n", "val.txt": "im_2.jpg 4\nim_3.jpg 3\n"})
    assert list(found.labels().values()) == [3, 4, 4, 3]
    assert list(found.splits().values()) == ["train", "train", "val", "val"]


@pytest.mark.parametrize(("folder", "listed"), [("val_256", "places365_val.txt"), ("data", "places365_val.txt")])
def test_a_list_of_labels_of_one_part(data, folder, listed):
    names = [f"Places365_val_{n:08d}.jpg" for n in range(1, 4)]
    found = data(jpgs(*(f"{folder}/{name}" for name in names)) | {listed: lines(*(f"{name} 7" for name in names))})
    assert set(found.labels().values()) == {7}
    assert set(found.splits().values()) == {"val"}


@pytest.mark.parametrize("suffix", ["", ".jpg"])
def test_lists_of_names_give_splits(data, suffix):
    files = jpgs(*(f"images/{name}.jpg" for name in FOOD))
    files |= {
        f"meta/{part}.txt": lines(*(name + suffix for name in FOOD[k::2])) for k, part in enumerate(("train", "test"))
    }
    found = data(files)
    assert [found.splits()[f"images/{name}.jpg"] for name in FOOD] == ["train", "val"] * 2
    assert {table.path for table in found.summary.tables} == {"meta/train.txt", "meta/test.txt"}


def test_lists_of_names_tell_equal_names_by_their_folders(data):
    names = [f"{kind}/{n}" for kind in ("apple_pie", "waffles") for n in (1, 2)]
    found = data(
        jpgs(*(f"images/{name}.jpg" for name in names))
        | {"train.txt": lines(*names[::2]), "val.txt": lines(*names[1::2])}
    )
    assert [found.splits()[f"images/{name}.jpg"] for name in names] == ["train", "val"] * 2


@pytest.mark.parametrize(
    "part",
    [
        ["bad"],
        ["apple_pie/1005649", "no image", "neither"],
        ["apple_pie/1005649\tA pie on a table.", "waffles/2\tTwo waffles."],
        ["apple_pie/1005649 1 0 1", "waffles/2 0 0 1"],
        ["1 0.5", "2 0.25"],
    ],
)
def test_other_lists_give_no_splits(data, part):
    found = data(jpgs(*(f"images/{name}.jpg" for name in FOOD)) | {"train.txt": lines(*part)})
    assert set(found.splits().values()) == {None}
    assert found.summary.unused_files == 1


def test_lists_that_disagree_give_no_splits(data):
    lists = {f"{part}.txt": lines(*FOOD[:2]) for part in ("train", "val")}
    found = data(jpgs(*(f"images/{name}.jpg" for name in FOOD)) | lists)
    assert set(found.splits().values()) == {None}
    assert "disagree" in found.summary.unused[0].reason


MASKED = {
    "pascal voc": ([f"JPEGImages/{n}.jpg" for n in range(3)], [f"SegmentationClass/{n}.png" for n in range(2)]),
    "ade20k": (
        [f"images/{part}/A_{n}.jpg" for part in ("training", "validation") for n in range(2)],
        [f"annotations/{part}/A_{n}.png" for part in ("training", "validation") for n in range(2)],
    ),
    "oxford pets": ([f"images/pug_{n}.jpg" for n in range(3)], [f"annotations/trimaps/pug_{n}.png" for n in range(3)]),
    "carvana": ([f"train/{n}.jpg" for n in range(3)], [f"train_masks/{n}_mask.gif" for n in range(3)]),
    "beside the images": ([f"{n}.jpg" for n in range(3)], [f"{n}_depth.png" for n in range(3)]),
}


@pytest.mark.parametrize("name", MASKED)
def test_masks_are_no_images(data, name):
    images, masks = MASKED[name]
    found = data(jpgs(*images, *masks))
    assert set(found.rows) == set(images)
    assert set(found.labels().values()) == {None}
    assert [(kind.count, "masks" in kind.reason) for kind in found.summary.unused] == [(len(masks), True)]


@pytest.mark.parametrize(
    "images",
    [
        [f"{kind}/{n}.png" for kind in ("mask", "no_mask") for n in range(3)],
        [
            f"{part}/{kind}/{n}.png"
            for part in ("train", "val")
            for kind in ("alpha", "beta", "gamma")
            for n in range(3)
        ],
        [f"{kind}/{n}.png" for kind in ("hats", "masks", "shoes") for n in range(3)],
        [f"{kind}/{n}.png" for kind in ("depth_10", "depth_20", "surface") for n in range(3)],
        [f"{kind}.png" for kind in ("ninja", "ninja-mask", "pirate", "knight")],
        [f"{kind}/{n}.jpg" for kind in ("depth", "color") for n in range(3)],
        [f"{kind}/{kind}_{n}.png" for kind in ("seg", "cat") for n in range(3)],
        [f"masks/{n}.png" for n in range(3)],
    ],
)
def test_images_that_are_only_called_like_masks_stay(data, images):
    assert set(data(jpgs(*images)).rows) == set(images)


def test_masks_that_a_table_names_or_a_layout_asks_for_are_images(data, tmp_path):
    files = jpgs(*(f"{kind}/{n}.png" for kind in ("images", "depth") for n in range(3)))
    assert len(data(files, layout="images").rows) == 6
    named = data(files | {"metadata.csv": lines("file_name,text", *(f"{name},of {name}" for name in files))})
    assert named.captions() == {name: [f"of {name}"] for name in files}


def test_tables_of_two_folders_of_equal_names(data):
    files = jpgs(*(f"{kind}/{n}.png" for kind in ("matte", "glossy") for n in range(3)))
    found = data(files | {"labels.csv": lines("file_name,label", *(f"{name},{name.split('/')[0]}" for name in files))})
    assert found.labels() == {name: name.split("/")[0] for name in files}


@pytest.mark.parametrize("line", ["100.jpg 200.jpg", "100.jpg 0.13", f"100.jpg {'0a' * 16}"])
def test_lists_of_other_things_are_no_labels(data, line):
    found = data(jpgs("100.jpg", "200.jpg") | {"list.txt": lines(line, line.replace("100", "200", 1))})
    assert set(found.labels().values()) == {None}


def test_lists_of_labels_of_parts_with_equal_names(data):
    files = jpgs(*(f"{part}/{n}.png" for part in ("train", "test") for n in (1, 2)))
    found = data(files | {"train_labels.txt": "1.png 0\n2.png 1\n", "test_labels.txt": "1.png 1\n2.png 0\n"})
    assert found.labels() == {"train/1.png": 0, "train/2.png": 1, "test/1.png": 1, "test/2.png": 0}


def test_boxes_are_no_captions(data):
    boxes = "0 0.5 0.5 0.25 0.25\n1 -0.1 .2 1.002 4e-05\n"
    found = data(jpgs("a.jpg", "b.jpg") | {"a.txt": boxes, "b.txt": boxes})
    assert set(found.captions().values()) == {None}
    assert [(kind.count, kind.reason) for kind in found.summary.unused] == [(2, "boxes of objects, no captions")]
    mixed = data({"a.txt": "a dog", "b.txt": boxes})
    assert mixed.captions() == {"a.jpg": ["a dog"], "b.jpg": None}
    assert mixed.summary.unused_files == 1


def test_every_split_with_every_class(data):
    found = data(jpgs(*(f"{part}{kind}/{n}.jpg" for part in ("train", "test") for kind in "AB" for n in range(2))))
    assert {key: row[::2] for key, row in found.rows.items() if key.endswith("0.jpg")} == {
        f"{part}{kind}/0.jpg": (kind, split) for part, split in (("train", "train"), ("test", "val")) for kind in "AB"
    }


def test_classes_that_begin_like_splits_stay_classes(data):
    names = [f"{kind}/{n}.jpg" for kind in ("train_station", "test_tube") for n in range(2)]
    assert data(jpgs(*names)).labels() == {name: name.split("/")[0] for name in names}


def test_a_split_without_one_of_the_classes(data):
    partial = data(jpgs("trainA/1.jpg", "trainB/1.jpg", "testA/1.jpg"))
    assert [row[::2] for row in partial.rows.values()] == [("A", "val"), ("A", "train"), ("B", "train")]


def test_a_file_of_class_names_is_pointed_out(data):
    files = jpgs("1/a.jpg", "0/b.jpg") | {"classes.txt": "cat\ndog\n"}
    (hint,) = [warning for warning in data(files).summary.warnings if warning.option == "class_names"]
    named = data(files, class_names=hint.value)
    assert named.labels() == {"0/b.jpg": "cat", "1/a.jpg": "dog"}
    assert not [warning for warning in named.summary.warnings if warning.option == "class_names"]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"data.mdb": b"x", "lock.mdb": b"x"}, "LMDB"),
        ({"train_32x32.mat": b"MATLAB 5.0"}, r"\.mat"),
        ({"x.tfrecord": b"x"}, "TFRecord"),
        ({"shard.00000.mds": b"x", "index.json": {}}, "MosaicML"),
        ({"train.rec": b"x", "train.idx": "0"}, "RecordIO"),
        ({"cifar-10-batches-py/data_batch_1": b"\x80\x02}q"}, "no suffix"),
        ({"imagenet.h5": b"\x89HDF"}, "HDF5"),
    ],
)
def test_formats_that_are_not_read_are_named(tmp_path, files, said):
    put(tmp_path / "set", files)
    with pytest.raises(SourceError, match=said):
        read(tmp_path / "set")


def test_parquet_files_of_addresses_name_their_columns(tmp_path):
    (tmp_path / "set").mkdir()
    pq.write_table(pa.table({"URL": ["http://127.0.0.1/1.jpg"], "TEXT": ["a"]}), tmp_path / "set" / "part.parquet")
    with pytest.raises(SourceError, match=r"URL, TEXT.*not downloaded"):
        read(tmp_path / "set")


def test_imagenet_21k_as_a_folder_of_class_tars(tmp_path):
    put(
        tmp_path / "set",
        {f"n0000{n}740.tar": tar(jpgs(f"n0000{n}740_1.JPEG", f"n0000{n}740_2.JPEG")) for n in range(2)},
    )
    found = read(tmp_path / "set")
    assert sorted(set(found.labels().values())) == ["n00000740", "n00001740"]
