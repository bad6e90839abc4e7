"""Serves a page in the browser to play with a network: what it sees on a photograph, what it spends where, how fast.

python -m sact_tf.demo --checkpoint_dir=runs/sact
"""

from sact_tf import command_line, demo


def main():
    """Flags to configuration to one call."""
    demo.serve(command_line.demo_config())


if __name__ == "__main__":
    command_line.define_model_flags(
        image_size="Length in pixels to resize the longer edge to, of a detector the shorter; the page can change it.",
        reads="others",
    )
    command_line.define_demo_flags()
    command_line.run(main)
