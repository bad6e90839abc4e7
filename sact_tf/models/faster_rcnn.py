"""Faster R-CNN (Ren et al. 2015) whose extractor computes where the picture needs it (Figurnov et al. 2017, 4.2)."""

import keras
import tensorflow as tf

from sact_tf import losses
from sact_tf.config import check_tau, imagenet_units
from sact_tf.config.checks import check_anchor_base_size, check_counts
from sact_tf.detection import anchors as anchor_grid
from sact_tf.detection import answers, crops, geometry, proposals
from sact_tf.detection.sampling import PROPOSALS_SAMPLED
from sact_tf.layers.checkpointed import FoundByCheckpoints
from sact_tf.layers.freezing import PARTS, KeepsFrozenParts, flags_of
from sact_tf.layers.parts import NORM_EPSILON, NORM_MOMENTUM, normalization
from sact_tf.models import detection_flops, detection_losses
from sact_tf.models.backbone import check_images
from sact_tf.models.detection_fit import FitsBoxes
from sact_tf.models.detection_inputs import check_inputs, in_original_pixels, refuse_no_images
from sact_tf.models.detection_parts import check_crops, dense, freeze_norms, proposal_convolution
from sact_tf.models.extractor import EXTRACTOR_BLOCKS, HEAD_BLOCK, STRIDE, extract
from sact_tf.models.finite import nan_unless
from sact_tf.models.imagenet_resnet import WEIGHT_DECAY, ImageNetBackbone
from sact_tf.models.own_loss import HasItsOwnLoss
from sact_tf.models.predicting import PredictsWithoutFeatures

# For each of `base_channels`: 512 of the standard network's 64.
PROPOSAL_FILTERS = 8


@keras.saving.register_keras_serializable(package="sact_tf")
class FasterRCNN(FitsBoxes, HasItsOwnLoss, PredictsWithoutFeatures, KeepsFrozenParts, FoundByCheckpoints, keras.Model):
    """Pictures to boxes, with what the extractor spent on them.

    Maps a dict of `images`, float32 `(batch, height, width, 3)` in [-1, 1], padded below and to the right, and
    `image_size`, int32 `(batch, 2)`, height and width in pixels of the part that is picture, to a flat dict:

    - `boxes` float32 `(batch, 300, 4)`: ymin, xmin, ymax, xmax in pixels of the network's input, or, where the inputs
      have `original_size`, int32 `(batch, 2)`, in pixels of a picture of that size; `scores` float32 and `classes`
      int32 `(batch, 300)`, classes from 1, best first; `num_detections` int32 `(batch,)`, the others are zeros. Boxes
      and scores are NaN for a picture with NaN or infinity in it;
    - `num_proposals` int32, `region_proposals/flops` and `head/flops` int64, `(batch,)`;
    - what `Backbone` returns of blocks 1 to 3, the extractor; padding has no units and no cost.

    Images alone stand for pictures without padding. In training it returns, in the place of boxes, what `loss_terms`
    needs: `region_scores`, `region_codes`, `proposals`, `num_proposals`. `predict` leaves the features of the blocks
    out, unless called with `features=True`; `fit` and `evaluate` report the loss.

    Args:
        backbone: `ImageNetBackbone`. Blocks 1 to 3 are the extractor, block 4 is run on each proposal.
        num_classes: int, without the background.
        tau: float >= 0, weight of the extractor's ponder cost in the loss. It can be set later.
        anchor_base_size: float, pixels; anchors have .25, .5, 1 and 2 times this side, see `sact_tf.detection`.
        crop_max_pool: bool. False leaves the halving of crops to block 4's stride; True halves them by max pooling,
            and block 4 has stride 1, as in the TF Object Detection API: the backbone's `last_stride`.
        freeze_batch_norm: bool, whether batch normalization keeps its statistics, scales and shifts in training, all
            but that of the halting branches. For fine-tuning, whose batches are small.
        weight_decay: float, L2 of the kernels of the dense layers and of the region proposals.
        num_proposals: int, boxes of an image that the head looks at.
        head_samples: int, how many of them it learns from in a training step.
        crop_size: even int, positions of a proposal's crop in height and width before they are halved.
    """

    _settled = ("num_classes", "anchor_base_size", "crop_max_pool", "crop_size", "freeze_batch_norm", "weight_decay")
    _draws_name = "sample_seed"
    # Names of variables that no classifier has, and of those among them that depend on the number of classes.
    CLASS_SCOPES = ("class_scores/", "box_codes/")
    HEAD_SCOPES = ("proposal_conv/", "proposal_scores/", "proposal_codes/", *CLASS_SCOPES)

    def __init__(
        self,
        backbone,
        num_classes,
        tau=0.0,
        anchor_base_size=anchor_grid.BASE_SIZE,
        crop_max_pool=False,
        freeze_batch_norm=False,
        weight_decay=WEIGHT_DECAY,
        num_proposals=proposals.MAX_PROPOSALS,
        head_samples=PROPOSALS_SAMPLED,
        crop_size=crops.CROP_SIZE,
        **kwargs,
    ):
        check_crops(backbone, crop_max_pool, crop_size)
        check_counts(num_classes=num_classes, num_proposals=num_proposals, head_samples=head_samples)
        super().__init__(**kwargs)
        self.dtype_policy = backbone.dtype_policy
        self.backbone = backbone
        self.num_classes = num_classes
        self._tau = losses.PonderWeight(check_tau(tau))
        self.anchor_base_size = check_anchor_base_size(anchor_base_size)
        self.crop_max_pool = crop_max_pool
        self.freeze_batch_norm = freeze_batch_norm
        self.weight_decay = weight_decay
        self.num_proposals = num_proposals
        self.head_samples = head_samples
        self.crop_size = crop_size
        self._make_heads()
        self.sample_seed = keras.random.SeedGenerator(name=self._draws_name)
        freeze_norms(self, freeze_batch_norm)
        self._freeze_parts()
        self.built = True  # All parts are; without a call, Keras would warn of a file without weights.

    def _make_heads(self):
        policy, decay = self.dtype_policy, self.weight_decay
        count = anchor_grid.anchors_per_position()
        filters = self.backbone.blocks[EXTRACTOR_BLOCKS[-1]].units[-1].filters
        wide = self.backbone.blocks[HEAD_BLOCK].units[-1].filters
        hidden = PROPOSAL_FILTERS * self.backbone.base_channels
        self.proposal_conv = proposal_convolution(filters, hidden, 3, decay, policy, "proposal_conv")
        self.proposal_scores = proposal_convolution(hidden, 2 * count, 1, decay, "float32", "proposal_scores")
        self.proposal_codes = proposal_convolution(hidden, 4 * count, 1, decay, "float32", "proposal_codes")
        self.postnorm = normalization(NORM_MOMENTUM, NORM_EPSILON, policy, "postnorm")
        self.postnorm.build((None, None, None, wide))
        self.class_dense = dense(wide, self.num_classes + 1, decay, "class_scores")
        self.box_dense = dense(wide, 4 * self.num_classes, decay, "box_codes")

    def build(self, input_shape=None):
        self.built = True  # By the constructor.

    @property
    def blocks(self):
        """Dict from names to the `AdaptiveBlock`s of the extractor, whose computation is counted and penalised."""
        return {name: self.backbone.blocks[name] for name in EXTRACTOR_BLOCKS}

    @property
    def crop_positions(self):
        """Height and width of what block 4 is given of a proposal, int."""
        return self.crop_size // 2 if self.crop_max_pool else self.crop_size

    def call(self, inputs, training=None, regions=False):
        """See the class; with `regions` it returns what it does in training, computed as in inference."""
        inputs = refuse_no_images(check_inputs(inputs))
        check_images(inputs["images"], self.backbone.minimum_size)
        outputs = extract(self.backbone, inputs["images"], inputs["image_size"], training)
        finite = outputs.pop("finite")
        scores, codes = self.region_proposals(outputs[EXTRACTOR_BLOCKS[-1]])
        chosen = self.select_proposals(scores, codes, outputs, training or regions)
        if training or regions:
            outputs.update(region_scores=nan_unless(finite, scores), region_codes=nan_unless(finite, codes))
            return {**outputs, "proposals": chosen.boxes, "num_proposals": chosen.count}
        scores, codes, num_units = self.head(outputs, chosen.boxes)
        found = answers.answer(chosen.boxes, chosen.valid, codes, scores, outputs["image_size"])
        boxes = nan_unless(finite, in_original_pixels(found.boxes, inputs))
        outputs.update(found._asdict(), boxes=boxes, scores=nan_unless(finite, found.scores))
        return {**outputs, "num_proposals": chosen.count, **self.more_flops(outputs, chosen, num_units)}

    def region_proposals(self, features):
        """Scores `(batch, anchors, 2)`, background first, and codes `(batch, anchors, 4)` of all anchors, float32."""
        hidden = tf.nn.relu6(self.proposal_conv(features))
        batch = tf.shape(features)[0]
        scores, codes = self.proposal_scores(hidden), self.proposal_codes(hidden)
        return tf.reshape(scores, (batch, -1, 2)), tf.reshape(codes, (batch, -1, 4))

    def anchors_of(self, outputs):
        """Anchors of the extractor's map, float32 `(anchors, 4)`, in pixels."""
        _, height, width, _ = keras.ops.shape(outputs[EXTRACTOR_BLOCKS[-1]])
        return anchor_grid.grid_anchors(height, width, base_size=self.anchor_base_size, stride=STRIDE)

    def select_proposals(self, scores, codes, outputs, training=None):
        """The boxes that the head looks at, see `sact_tf.detection.proposals`; no gradient goes through them."""
        anchors, sizes = self.anchors_of(outputs), outputs["image_size"]
        which = geometry.inside if training else geometry.centred_inside
        return proposals.propose(
            anchors, codes, scores, sizes, which(anchors[None], sizes), max_proposals=self.num_proposals
        )

    def head(self, outputs, boxes, training=None):
        """What is in boxes: block 4 on a crop of each.

        Args:
            outputs: dict of `extract`.
            boxes: float32 `(batch, boxes, 4)`, pixels.
            training: bool or `None`.

        Returns:
            `(class_scores, box_codes, num_units)`: float32 `(batch, boxes, classes + 1)` logits, background first,
            `(batch, boxes, classes, 4)`, and the `num_units` of block 4, of each crop, or `None` if nothing halts.
        """
        features = outputs[EXTRACTOR_BLOCKS[-1]]
        cut = crops.crop(features, boxes, outputs["image_size"], STRIDE, self.crop_size, self.crop_max_pool)
        block = dict(self.backbone.blocks[HEAD_BLOCK](cut, training=training))
        cut = tf.nn.relu(self.postnorm(block["features"], training=training))
        pooled = tf.reduce_mean(tf.cast(cut, tf.float32), axis=(1, 2))
        batch, number = tf.unstack(tf.shape(boxes)[:2])
        scores = tf.reshape(self.class_dense(pooled), (batch, number, self.num_classes + 1))
        codes = tf.reshape(self.box_dense(pooled), (batch, number, self.num_classes, 4))
        return scores, codes, block.get("num_units")

    def loss_terms(self, truth, outputs, tau=None, draws=None, training=True):
        """The terms of the loss, see `sact_tf.models.detection_losses`.

        Args:
            truth: dict of `boxes`, `classes`, and maybe `crowd`.
            outputs: what the model returned in training.
            tau: float or float32 scalar in the place of the model's `tau`.
            draws: what the sampled boxes are a function of; `None` takes the next draw of a seed generator that is
                saved with the model.
            training: bool, whether the head runs as in training.
        """
        if draws is None:
            seed = tf.cast(self.sample_seed.next(), tf.int64)
            draws = (seed[0], seed[1], tf.range(tf.shape(outputs["proposals"])[0]))
        tau = self._tau.tensor() if tau is None else tau
        return detection_losses.loss_terms(self, truth, outputs, draws, tau, training)

    def more_flops(self, outputs, chosen, num_units):
        """FLOPs of an image beside the extractor's: `region_proposals/flops` and `head/flops`, int64 `(batch,)`."""
        return {
            "region_proposals/flops": detection_flops.of_region_proposals(self, outputs),
            "head/flops": detection_flops.of_head(self, chosen, num_units),
        }

    def get_config(self):
        return {
            **super().get_config(),
            "backbone": keras.saving.serialize_keras_object(self.backbone),
            "num_classes": self.num_classes,
            "tau": self.tau,
            "anchor_base_size": self.anchor_base_size,
            "crop_max_pool": self.crop_max_pool,
            "freeze_batch_norm": self.freeze_batch_norm,
            PARTS: flags_of(self),  # Always: the constructor freezes normalization that may be free again by now.
            "weight_decay": self.weight_decay,
            "num_proposals": self.num_proposals,
            "head_samples": self.head_samples,
            "crop_size": self.crop_size,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        backbone = keras.saving.deserialize_keras_object(config["backbone"], custom_objects)
        return super().from_config({**config, "backbone": backbone})


def faster_rcnn(
    model="50",
    model_type="sact",
    num_classes=90,
    base_channels=64,
    tau=0.005,
    anchor_base_size=anchor_grid.BASE_SIZE,
    crop_max_pool=False,
    freeze_batch_norm=False,
    head_samples=PROPOSALS_SAMPLED,
    weight_decay=WEIGHT_DECAY,
    dtype=None,
    final_survival_probability=1.0,
    crop_size=crops.CROP_SIZE,
    name=None,
):
    """Faster R-CNN on a network of `sact_tf.imagenet_resnet` as a Keras model.

    Args:
        model, model_type, base_channels, dtype, final_survival_probability: as of `sact_tf.imagenet_resnet`.
        num_classes: int, without the background.
        tau: float >= 0, weight of the extractor's ponder cost in the loss.
        anchor_base_size, crop_max_pool, freeze_batch_norm, head_samples, crop_size, weight_decay: as of
            `FasterRCNN`.
        name: name of the model.

    Returns:
        `FasterRCNN`, for images of any height and width.

    Raises:
        ValueError: for an argument outside of what is listed.
    """
    backbone = ImageNetBackbone(
        imagenet_units(model),
        model_type,
        base_channels,
        weight_decay=weight_decay,
        dtype=dtype,
        final_survival_probability=final_survival_probability,
        last_stride=1 if crop_max_pool else 2,
    )
    return FasterRCNN(
        backbone,
        num_classes,
        tau,
        anchor_base_size,
        crop_max_pool,
        freeze_batch_norm,
        weight_decay,
        head_samples=head_samples,
        crop_size=crop_size,
        name=name,
    )
