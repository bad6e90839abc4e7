"""Writes what a network spends on each image of a split to one HDF5 file, laid out as the release's.

  python -m sact_tf.export_maps --checkpoint_dir=runs/sact --export_path=maps.h5

Data sets, the first axis of each the images: `images`, `flops`; for each block `<block>/ponder_cost`, `num_units`,
`halting_distribution`, `flops`; for SACT `ponder_cost_map` and `num_units_map` `(images, height, width, 1)`. Numbers of
units are int32, FLOPs int64, all else is float32. The attribute `block_scopes` lists the blocks. The file is there only
once it is whole; started again after a stop, the command goes on.
"""

from sact_tf import command_line, export_maps

command_line.define_model_flags()
command_line.define_map_export_flags()


def main():
    """Flags to configuration to one call."""
    config = command_line.map_export_config()
    with command_line.full_disk_named(config.export_path, "export_path"):
        export_maps.export_maps(config, strategy=command_line.strategy())


if __name__ == "__main__":
    command_line.run(main)
