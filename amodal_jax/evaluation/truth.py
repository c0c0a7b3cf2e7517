"""The ground truth of a built dataset, for scoring."""

from amodal_jax.canvas import check_input_canvas
from amodal_jax.config import Config
from amodal_jax.errors import ConfigError, DataError
from amodal_jax.evaluation.annotated import AnnotatedImages, AnnotatedInstance


def check_dataset(config: Config) -> None:
    """Finds out at little cost whether `evaluate.evaluate_network` can begin.

    Raises:
      DataError: the dataset is missing or empty, or known to hold what a batch has no room for.
      ConfigError: the dataset has other classes than the network.
    """
    from amodal_jax.input_pipeline.batches import check_split

    read_categories(config)
    check_split(config, config.data.test_split)


def read_truth(config: Config) -> AnnotatedImages:
    """The ground truth of the test split, with the category ids of the files that the dataset was built from.

    Args:
      config: its `data` section is read, and the model's class names; without any, the dataset's are taken.

    Raises:
      DataError: the dataset is missing, damaged or empty.
      ConfigError: the dataset has other classes than the network.
    """
    from amodal_jax.input_pipeline.records import evaluation_records

    categories = read_categories(config)
    ids = tuple(categories)
    image_sizes: dict[int, tuple[int, int]] = {}
    file_names: dict[int, str] = {}
    instances = []
    for record in evaluation_records(config, with_pixels=False):
        image_id = int(record["image/id"])
        size = (int(record["image/height"]), int(record["image/width"]))
        if image_id in image_sizes:
            raise DataError(
                f"{config.data.directory}, split {config.data.test_split}: two images have the id {image_id}"
            )
        image_sizes[image_id] = size
        file_names[image_id] = record["image/filename"].decode()
        objects = record["objects"]
        for index, label in enumerate(objects["label"]):
            x1, y1, x2, y2 = map(float, objects["amodal_bbox"][index])
            instances.append(
                AnnotatedInstance(
                    image_id=image_id,
                    category_id=ids[label],
                    box=(x1, y1, x2 - x1, y2 - y1),
                    amodal_rle={"size": list(size), "counts": objects["amodal_rle"][index].decode("ascii")},
                    inmodal_rle={"size": list(size), "counts": objects["inmodal_rle"][index].decode("ascii")},
                    occlusion_ratio=float(objects["occlusion_ratio"][index]),
                    is_crowd=bool(objects["is_crowd"][index]),
                )
            )
    return AnnotatedImages(image_sizes, categories, instances, file_names)


def read_fitting_truth(config: Config) -> AnnotatedImages:
    """What `read_truth` gives, for a network to be run over the images.

    Raises:
      DataError: as `read_truth`, or an image does not fit the network's input canvas.
      ConfigError: as `read_truth`.
    """
    truth = read_truth(config)
    check_input_canvas(truth.image_sizes.items(), config.model.input)
    return truth


def read_categories(config: Config) -> dict[int, str]:
    """The dataset's classes by category id, which have to be the network's, if that has any.

    Raises:
      DataError: the dataset is missing or damaged.
      ConfigError: it has other classes than the network.
    """
    from amodal_jax.input_pipeline.records import dataset_categories

    class_names = config.model.class_names
    categories = dataset_categories(config)
    if class_names and tuple(categories.values()) != class_names:
        raise ConfigError(
            f"the network has the classes {', '.join(class_names)}, but the dataset at {config.data.directory} has "
            f"{', '.join(categories.values())}; name another dataset in data.directory"
        )
    return categories
