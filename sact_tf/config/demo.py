"""What the page to play with needs to know."""

import dataclasses

from sact_tf.config.checks import check_image_size
from sact_tf.config.commands import CheckpointConfig
from sact_tf.config.recipes import check_dataset


@dataclasses.dataclass(frozen=True, kw_only=True)
class DemoConfig(CheckpointConfig):
    """A network behind a page in the browser, of any model_type and task; see `CheckpointConfig`.

    Attributes:
        image_size: int, length in pixels that the longer edge of a photograph is brought to, of a detector the shorter
            one, unless the page asks for another; None for the file's own, up to a bound, of a classifier alone.
        labels: path of a text file with the name of each class; None for those that the data set is known to have.
        dataset_dir: directory of the data set, whose classes have names; None for its default.
        host: name or address of the interface to serve on.
        port: int, 0 for any that is free.
    """

    image_size: int | None = None
    labels: str | None = None
    dataset_dir: str | None = None
    host: str = "127.0.0.1"
    port: int = 8077

    def __post_init__(self):
        super().__post_init__()
        check_image_size(self, optional=check_dataset(self.dataset)["task"] != "detection")
        if not isinstance(self.port, int) or not 0 <= self.port < 65536:
            raise ValueError(f"`port` must lie between 0 (any that is free) and 65535. Received: port={self.port!r}")
        if not self.host:
            raise ValueError("`host` is missing. Leave --host out for this machine alone, 127.0.0.1.")
