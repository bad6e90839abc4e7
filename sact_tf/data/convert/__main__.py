"""The command; see `sact_tf.data.convert`."""

from absl import app, flags

from sact_tf.data import convert

# What --help shows: what the command is for, and the flags of it that another module defines.
__doc__ = convert.__doc__

if __name__ == "__main__":
    convert.define_flags()
    flags.adopt_module_key_flags(convert)
    app.run(convert.main)
