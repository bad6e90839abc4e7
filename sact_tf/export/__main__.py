"""Writes a trained network as a SavedModel, ONNX, a Keras file, a file of weights, or a checkpoint of the release.

python -m sact_tf.export --checkpoint_dir=runs/sact --output_dir=models/sact/1
"""

from sact_tf import command_line, export

command_line.define_model_flags(
    image_size="Height and width in pixels that a SavedModel brings files to, and an ONNX file with --preprocess "
    "pictures; of a detector the shorter side, the longer one to at most 1024/600 of it. Nothing else has one.",
    reads="others",
)
command_line.define_export_flags()


def main():
    """Flags to configuration to one call."""
    config = command_line.export_config()
    with command_line.full_disk_named(config.output_dir, "output_dir"):
        export.export(config)


if __name__ == "__main__":
    command_line.run(main)
