import signal
import threading
import time

from sact_tf.data.whole_files import write_atomically

WRITER = """
import sys, time
from sact_tf.data.whole_files import write_atomically

def pieces():
    yield b"half"
    print("half", flush=True)
    time.sleep(600)

write_atomically(sys.argv[1], pieces())
"""


def hidden(directory):
    return {path.name for path in directory.iterdir() if path.name.startswith(".")}


def test_what_a_killed_writer_left_is_removed_and_what_a_living_one_writes_is_not(start_script, tmp_path):
    (tmp_path / "writer.py").write_text(WRITER)
    (directory := tmp_path / "files").mkdir()
    # A name with what patterns have a meaning for, and one that is too long for a temporary file.
    name, long = "a[0-9]*.txt", 240 * "l"
    writers = [start_script(tmp_path / "writer.py", directory / each) for each in (name, name, long, "other.txt")]
    while not all(writer.output() for writer in writers):
        time.sleep(0.01)
    assert len(hidden(directory)) == 4
    for killed in (writers[0], *writers[2:]):
        killed.send_signal(signal.SIGKILL)
        killed.wait()
    assert len(hidden(directory)) == 4
    for each in (name, long):
        write_atomically(directory / each, [b"whole"])
    # Of files that nobody writes again it stays.
    assert hidden(directory) == {f".{name}.{writers[1].pid}.tmp", f".other.txt.{writers[3].pid}.tmp"}
    assert (directory / name).read_bytes() == (directory / long).read_bytes() == b"whole"


def test_threads_that_write_the_same_file_each_write_a_whole_one(tmp_path):
    begun, go_on, path = threading.Event(), threading.Event(), tmp_path / "file"

    def slow():
        yield b"sl"
        begun.set()
        go_on.wait()
        yield b"ow"

    first = threading.Thread(target=write_atomically, args=(path, slow()))
    second = threading.Thread(target=write_atomically, args=(path, [b"fast"]))
    first.start()
    begun.wait()
    second.start()
    time.sleep(0.05)
    go_on.set()
    first.join()
    assert path.read_bytes() in (b"slow", b"fast")
    second.join()
    assert path.read_bytes() == b"fast" and hidden(tmp_path) == set()
