"""Which records a run learns from, kept beside its configuration: data that have changed while it was stopped are told.

Batches are numbers of records, so that a run which goes on with other records is not the one that was stopped. Dates
and places of files may change, as in a copy; the bytes of some records are compared. A run that began before there was
such a note has none, and data are taken as they come.
"""

import json
import os
import zlib

import numpy as np

from sact_tf.config import json_files
from sact_tf.data.records import BadRecord
from sact_tf.data.whole_files import write_atomically

RECORDS_FILE = "records.json"
# Evenly from the first to the last: all of a large data set would have to be read.
LOOKED_AT = 100


def note(train_log_dir, source):
    """Writes how many records a run that begins learns from, and checksums of some; of data that are computed none.

    Args:
        train_log_dir: directory of the run.
        source: what `pipeline.open_source` returned for training.
    """
    path = os.path.join(train_log_dir, RECORDS_FILE)
    if facts := facts_of(source):
        write_atomically(path, [f"{json.dumps(facts, indent=1)}\n".encode()])
    elif os.path.exists(path):  # left by a start that failed
        os.remove(path)


def compare(train_log_dir, source, log, consequence):
    """Says so in a line if data have other records than those that a run noted.

    Args:
        train_log_dir, source: as in `note`.
        log: called with a line of text.
        consequence: what follows from it, and the way out, as sentences.
    """
    there, here = _read(train_log_dir), facts_of(source)
    if not there or not here:
        return
    if there["records"] != here["records"]:
        changed = f"{there['records']} training records then, {here['records']} now"
    else:
        # What was damaged, or is, is told where it is met.
        both = {*there["checksums"]} & {*here["checksums"]}
        others = sum(there["checksums"][number] != here["checksums"][number] for number in both)
        if not others:
            return
        changed = f"{others} of {len(both)} training records that were compared are others"
    log(f"Note: the data are not those that this run began with: {changed}. {consequence}")


def facts_of(source):
    """Dict of the number of records and of checksums by the numbers of records, as text; empty for computed data."""
    if not hasattr(source, "fetch"):
        return {}
    checksums = {}
    for number in np.unique(np.linspace(0, source.num_examples - 1, LOOKED_AT).astype(int)).tolist():
        try:
            checksums[str(number)] = zlib.crc32(source.fetch(number))
        except BadRecord:
            continue
    return {"records": source.num_examples, "checksums": checksums}


def _read(train_log_dir):
    """What a run noted; an empty dict where there is nothing, or it is damaged."""
    try:
        facts = json_files.read_object(os.path.join(train_log_dir, RECORDS_FILE))
        return {"records": int(facts["records"]), "checksums": dict(facts["checksums"])}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
