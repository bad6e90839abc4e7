"""Pages with small networks behind them, served on ports of their own, and photographs to send there."""

import contextlib
import http.client
import io
import json
import threading
from typing import NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from sact_tf import checkpoints, demo
from sact_tf.config import DemoConfig, ModelConfig
from sact_tf.demo import networks
from sact_tf.tasks import task_of

CIFAR = {"network": "cifar", "model": "2_3_2", "num_classes": 10, "base_channels": 4}
DETECTOR = {
    "network": "imagenet",
    "model": "1_2_1_1",
    "model_type": "sact",
    "num_classes": 10,
    "base_channels": 4,
    "anchor_base_size": 64.0,
    "crop_size": 4,
}
NETWORKS = {
    "sact": ("cluttered_digits", ModelConfig(**CIFAR, model_type="sact")),
    "act": ("cluttered_digits", ModelConfig(**CIFAR, model_type="act")),
    "vanilla": ("cluttered_digits", ModelConfig(**CIFAR, model_type="vanilla")),
    "detector": ("digit_scenes", ModelConfig(**DETECTOR)),
}


class Page(NamedTuple):
    """A page that is served.

    Attributes:
        config: `DemoConfig`.
        server: `DemoServer`.
        lines: list of what it said.
    """

    config: DemoConfig
    server: object
    lines: list

    def request(self, method, path, body=None, headers=None, host=None):
        """Status, headers and body of an answer."""
        with contextlib.closing(http.client.HTTPConnection(*self.server.server_address[:2], timeout=600)) as connection:
            connection.request(method, path, body, {**({"Host": host} if host else {}), **(headers or {})})
            response = connection.getresponse()
            return response.status, response.headers, response.read()

    def look(self, content, query="epsilon=0.01"):
        """Status and answer for a photograph."""
        status, _, body = self.request("POST", f"/look?{query}", content)
        return status, json.loads(body)


@pytest.fixture(scope="session")
def serve(tmp_path_factory, spread_halting):
    """Function from a key of `NETWORKS` to its `Page`, loaded once."""
    pages, threads = {}, []

    def start(name):
        dataset, network = NETWORKS[name]
        keras.utils.set_random_seed(17)
        model = spread_halting(task_of(dataset).build_model(network), bias=0.2, gain=6.0)
        directory = tmp_path_factory.mktemp(name)
        saved = tf.train.Checkpoint(
            **{checkpoints.VARIABLES_KEY: checkpoints.named_variables(model)}, step=tf.Variable(3, dtype=tf.int64)
        )
        saved.save(str(directory / "model.ckpt"))
        size = 64 if name == "detector" else None
        config = DemoConfig(model=network, dataset=dataset, checkpoint_dir=str(directory), port=0, image_size=size)
        ready, found, lines = threading.Event(), [], []

        def started(server):
            found.append(server)
            ready.set()

        threads.append(threading.Thread(target=demo.serve, args=(config, lines.append, started), daemon=True))
        threads[-1].start()
        assert ready.wait(600), lines
        return Page(config, found[0], lines)

    def page_of(name):
        if name not in pages:
            pages[name] = start(name)
        return pages[name]

    with pytest.MonkeyPatch.context() as patch:
        # Nobody looks at how long anything took.
        patch.setattr(networks, "_ROUNDS", 2)
        yield page_of
    for page in pages.values():
        page.server.shutdown()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()


@pytest.fixture(scope="session")
def picture():
    """Function from a size to a PIL picture of smooth noise, the same every time."""

    def make(height=40, width=56):
        small = np.random.default_rng(2).integers(0, 256, (height // 8, width // 8, 3), np.uint8)
        return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)

    return make


@pytest.fixture(scope="session")
def file_of():
    """Function from a PIL picture to the bytes of a file."""

    def save(image, kind="PNG", **settings):
        file = io.BytesIO()
        image.save(file, kind, **settings)
        return file.getvalue()

    return save
