"""A detector as one graph of ONNX: images and their sizes to what the extractor says of them, or the whole answer."""

from sact_tf.config import DETECTOR_PARTS
from sact_tf.detection import answers
from sact_tf.flops.costs import BlockCosts
from sact_tf.models import FasterRCNN
from sact_tf.models.detection_flops import cost_of
from sact_tf.models.extractor import EXTRACTOR_BLOCKS, HEAD_BLOCK, STRIDE
from sact_tf.sparse.folding import Normalization
from sact_tf.sparse.onnx import boxes, flops, maps
from sact_tf.sparse.onnx.blocks import write_block
from sact_tf.sparse.onnx.crops import write_crops
from sact_tf.sparse.onnx.features import Features, Size
from sact_tf.sparse.onnx.graph import FLOAT, INT32, INT64
from sact_tf.sparse.onnx.network import IMAGES, Writer, check_weights, describe_known
from sact_tf.sparse.onnx.parts import ceil_divide, squeeze, stop_where
from sact_tf.sparse.onnx.pictures import Picture, blank_unless_finite, mask, nan_unless
from sact_tf.sparse.onnx.proposals import write_proposals

IMAGE_SIZE = "image_size"
# What is written as it is here; a subclass may compute something else.
_WRITTEN = ("call", "region_proposals", "select_proposals", "anchors_of", "head", "more_flops")


def write_detector(model, engine="sparse", features=False, part="whole"):
    """Returns a detector as a checked `onnx.ModelProto`.

    Its inputs are `images`, float32 `(batch, height, width, 3)` as the network takes them, padded below and to the
    right, and `image_size`, int32 `(batch, 2)`, height and width of the picture in each; of any batch, height and
    width. Its outputs have the names, types and shapes of the model's, and `flops` and `<block>/flops`, int64
    `(batch,)`.

    Args:
        model: `FasterRCNN`.
        engine: "sparse" computes active positions only, "masked" all of them.
        features: bool, whether the features of each block of the extractor are among the outputs; those of blocks 1
            and 2 mean nothing in the padding.
        part: "whole", or "extractor" for its outputs alone, without boxes.

    Raises:
        ValueError: for another model, or parts of one that are not known.
    """
    changed = [name for name in _WRITTEN if getattr(type(model), name, None) is not getattr(FasterRCNN, name)]
    if changed:
        raise ValueError(
            "ONNX files are written of detectors as sact_tf.faster_rcnn makes them. Received: "
            f"'{model.name}', a {type(model).__name__} with its own {', '.join(changed)}"
        )
    if part not in DETECTOR_PARTS:
        raise ValueError(f"`part` must be one of {DETECTOR_PARTS}. Received: part={part!r}")
    check_weights(model)
    return _DetectorWriter(model, engine, features, part).write()


class _DetectorWriter(Writer):
    def __init__(self, model, engine, features, part):
        super().__init__(model, engine, features)
        self.part = part

    def write(self):
        graph = self.graph
        images, pixels = self._checked_inputs()
        self._note_outputs(images, pixels)
        self.outputs[IMAGE_SIZE] = (IMAGE_SIZE, INT32, ("batch", 2))
        inputs = {IMAGES: (FLOAT, ("batch", "height", "width", 3)), IMAGE_SIZE: (INT32, ("batch", 2))}
        return graph.model("sact_tf", inputs, self.outputs, {**self._metadata(), "part": self.part})

    def _network(self, images, pixels):
        features, picture = self._extractor(images, pixels)
        if self.part == "whole":
            self._answer(features, picture, pixels)

    def _checked_inputs(self):
        """Images, and sizes as int64 `(batch, 2)`; a runtime stops with the name of a node where they do not fit."""
        graph, least = self.graph, self.backbone.minimum_size
        images = self._checked_images()
        others = graph.op("Equal", graph.size(images, 0), graph.size(IMAGE_SIZE, 0))
        nothing = stop_where(graph, graph.op("Not", others), "there must be as many sizes as images")
        pixels = graph.op("Add", graph.cast(IMAGE_SIZE, INT64), nothing)
        largest = graph.op("Shape", images, start=1, end=3)
        wrong = graph.op("Or", graph.op("Less", pixels, graph.ints([least])), graph.op("Greater", pixels, largest))
        # A batch may have no images.
        wrong = graph.op("Concat", graph.ints([0]), graph.reshape(graph.cast(wrong, INT64), -1), axis=0)
        wrong = graph.op("Greater", graph.op("ReduceMax", wrong, graph.ints([0])), graph.ints([0]))
        name = f"image_size must be at least {least} pixels each way and no more than the image has"
        return images, graph.op("Add", pixels, stop_where(graph, wrong, name))

    def _extractor(self, images, pixels):
        """Features of the last block, 0 in the padding, and their `Picture`; its outputs are noted."""
        graph = self.graph
        features, picture = self._stem(*self._padded(images, pixels))
        total = self.stem_flops
        for name in EXTRACTOR_BLOCKS:
            block = self.backbone.blocks[name]
            features, of_block = self._block(name, block, features, picture)
            picture = picture.after(graph, getattr(block.units[0], "stride", 1))
            total = graph.op("Add", total, of_block)
        self.outputs["flops"] = (total, INT64, ("batch",))
        inside = picture.on_rows(graph) if features.on_rows else picture.inside
        features = features._replace(value=mask(graph, features.value, inside))
        if self.features:
            last = EXTRACTOR_BLOCKS[-1]
            self.outputs[last] = (features.channels_last(graph), *self.outputs[last][1:])
        return features, picture

    def _padded(self, images, pixels):
        """Images as `Features`, a multiple of the extractor's stride high and wide, with their `Picture`."""
        graph = self.graph
        batch, *sizes = (graph.size(images, axis) for axis in range(3))
        stride = graph.ints([STRIDE])
        size = Size(batch, *(graph.op("Mul", ceil_divide(graph, each, STRIDE), stride) for each in sizes))
        more = [graph.op("Sub", padded, each) for padded, each in zip(size[1:], sizes, strict=True)]
        pads = graph.op("Concat", graph.ints([0] * 6), *more, axis=0)
        images = graph.op("Pad", graph.op("Transpose", images, perm=[0, 3, 1, 2]), pads)
        heights, widths = (squeeze(graph, graph.slice(pixels, axis, axis + 1, axis=1), [1]) for axis in range(2))
        picture = Picture.of(graph, size, heights, widths)
        images = mask(graph, images, picture.inside)
        images, self.finite = blank_unless_finite(graph, images)
        return Features(images, size, 3), picture

    def _answer(self, features, picture, pixels):
        """Notes the boxes that are proposed and looked at, and what that costs."""
        graph, model = self.graph, self.model
        limits = graph.cast(graph.op("Concat", pixels, pixels, axis=1), FLOAT)
        limits = graph.op("Unsqueeze", limits, graph.ints([1]))
        proposals = write_proposals(graph, model, features, picture, limits)
        layers = (model.proposal_conv, model.proposal_scores, model.proposal_codes)
        regions = graph.op("Mul", picture.area(graph), graph.ints(sum(map(cost_of, layers))))
        # Image and number of each proposal, (proposals, 2).
        chosen = graph.op("Transpose", graph.op("NonZero", proposals.found), perm=[1, 0])
        objects, scores, spent = self._head(features, proposals, chosen, pixels, limits)
        self._found(objects, scores)
        of_images = [
            ("num_proposals", graph.cast(boxes.count(graph, proposals.found), INT32), INT32),
            ("region_proposals/flops", regions, INT64),
            ("head/flops", spent, INT64),
        ]
        for name, value, kind in of_images:
            self.outputs[name] = (value, kind, ("batch",))

    def _head(self, features, proposals, chosen, pixels, limits):
        """Boxes `(batch, number, classes, 4)`, scores `(batch, number, classes)` and FLOPs `(batch,)`."""
        graph, model = self.graph, self.model
        proposed = graph.op("GatherND", proposals.boxes, chosen)
        numbers = squeeze(graph, graph.slice(chosen, 0, 1, axis=1), [1])
        crops = write_crops(graph, features, proposed, numbers, pixels, model.crop_size, model.crop_max_pool)
        block = model.backbone.blocks[HEAD_BLOCK]
        outcome = write_block(graph, crops, describe_known(block), self.engine)
        after, dense = outcome["features"], (model.class_dense, model.box_dense)
        spent = flops.count_block(graph, BlockCosts.of(block), crops.size, after.size, outcome.get("num_units"))
        spent = graph.op("Add", spent, graph.ints(sum(map(cost_of, dense))))
        pooled = self._pooled(after)
        logits, codes = (_dense(graph, pooled, layer) for layer in dense)
        classes = model.num_classes
        scores = graph.slice(graph.op("Softmax", logits, axis=-1), 1, classes + 1, axis=-1)
        codes = graph.reshape(codes, after.size.batch, classes, 4)
        found = boxes.decode(graph, codes, graph.op("Unsqueeze", proposed, graph.ints([1])))
        found = boxes.clip(graph, found, graph.op("Gather", limits, numbers, axis=0))
        place = graph.op("Shape", proposals.found)

        def put(values, *more, kind=graph.floats):
            shape = graph.op("Concat", place, graph.ints(more), axis=0) if more else place
            return graph.op("ScatterND", graph.op("Expand", kind(0), shape), chosen, values)

        found, scores = boxes.candidates(graph, found, scores)
        spent = graph.op("ReduceSum", put(spent, kind=graph.ints), graph.ints([1]), keepdims=0)
        return put(found, classes, 4), put(scores, classes), spent

    def _pooled(self, features):
        """Mean features of each crop, `(crops, channels)`, after the last normalization."""
        graph, normalization = self.graph, Normalization.of(self.model.postnorm)
        normalized = graph.op("Relu", maps.normalize(graph, features.as_maps(graph), normalization))
        return squeeze(graph, graph.op("GlobalAveragePool", normalized), [maps.HEIGHT, maps.WIDTH])

    def _found(self, found, scores):
        """Notes the best boxes of all classes; see `sact_tf.detection.answers.answer`."""
        graph, number, most = self.graph, self.model.num_proposals, answers.MAX_DETECTIONS
        found = graph.op("Transpose", found, perm=[0, 2, 1, 3])
        scores = graph.op("Transpose", scores, perm=[0, 2, 1])
        batch, classes = graph.size(scores, 0), graph.ints([self.model.num_classes])
        # As a batch of images times classes.
        rows = graph.op("Mul", batch, classes)
        boxes_of_rows, scores = graph.reshape(found, rows, number, 4), graph.reshape(scores, rows, number)
        scores = boxes.suppress(graph, boxes_of_rows, scores, answers.MAX_PER_CLASS, answers.IOU_THRESHOLD)
        all_of_image = graph.ints([number * self.model.num_classes])
        scores, places, valid = boxes.best(graph, graph.reshape(scores, batch, all_of_image), most)
        found = boxes.rows_at(graph, graph.reshape(found, batch, all_of_image, 4), places)
        found = mask(graph, found, graph.op("Unsqueeze", valid, graph.ints([-1])))
        kinds = graph.op("Add", graph.op("Div", places, graph.ints(number)), graph.ints(1))
        kinds = graph.cast(graph.op("Where", valid, kinds, graph.ints(0)), INT32)
        found, scores = (nan_unless(graph, self.finite, *each) for each in ((found, 3), (scores, 2)))
        self.outputs["boxes"] = (found, FLOAT, ("batch", most, 4))
        self.outputs["scores"] = (scores, FLOAT, ("batch", most))
        self.outputs["classes"] = (kinds, INT32, ("batch", most))
        self.outputs["num_detections"] = (graph.cast(boxes.count(graph, valid), INT32), INT32, ("batch",))


def _dense(graph, rows, layer):
    kernel, bias = (value.numpy().astype("float64") for value in (layer.kernel, layer.bias))
    return maps.product(graph, rows, kernel, bias)
