"""Judges each line of a request by the words of the contract, and counts what arrived from whom.

Part of the second count (count.py). A line has one flaw at most; which of two would be named hangs
on the order of the members and is nobody's promise. Shares no code with the server.
"""

import json
from datetime import datetime

SECOND = 1_000
HOUR = 3_600 * SECOND
DAY = 24 * HOUR
# How old a record may be, and how far ahead of the clock.
AGE = 35 * DAY
AHEAD = 300 * SECOND
# How long after their day it is known why records were refused.
REASONS = 30 * DAY

TYPES = {
    "drm.license.issued", "drm.content.packaged", "watermark.session.created",
    "watermark.content.packaged", "watermark.detected",
}
# The members that the run sends (reference/domain.md 9), and the words that they may have.
MEMBERS = {
    "event_id", "type", "site_id", "occurred_at", "producer", "environment", "outcome", "user_id",
    "user_id_kind", "cid", "drm_type", "request_type", "license", "device", "wm_session_id",
    "error_class", "error_code",
}
WORDS = {
    "environment": {"production", "trial", "test"},
    "outcome": {"success", "fail"},
    "drm_type": {"widevine", "playready", "fairplay", "ncg"},
    "request_type": {"new", "renewal", "offline", "release", "server_cert"},
    "user_id_kind": {"anonymous", "account"},
    "error_class": {"token", "server", "quota"},
}
SECRETS = {"cek", "key", "signing_key", "token", "spc"}
KINDS = {"android_id"}
LONGEST = {"event_id": 64, "user_id": 256, "cid": 200}
REQUIRED = ("event_id", "type", "site_id", "occurred_at")
# What is found out only once the record is read and its sender is known.
BY_PLACE = {"unknown_site", "site_terminated", "in_future", "not_in_backfill", "too_old"}


def ms(text):
    return round(datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000)


class Twice(Exception):
    """A member that is given twice."""


def once(pairs):
    if len({name for name, _ in pairs}) != len(pairs):
        raise Twice
    return dict(pairs)


def read(line):
    """The record of a line, or None, and why its form is refused, or None."""
    try:
        record = json.loads(line, object_pairs_hook=once)
    except Twice:
        return None, "duplicate_field"
    except ValueError:
        return None, "bad_json"
    return (record, form(record)) if isinstance(record, dict) else (None, "bad_json")


def form(record):
    if SECRETS & set(record):
        return "secret_field"
    if set(record) - MEMBERS:
        return "unknown_field"
    required = REQUIRED + (("outcome",) if record.get("type") == "drm.license.issued" else ())
    if any(name not in record for name in required):
        return "missing_field"
    texts = [value for name, value in record.items() if name not in ("device", "license")]
    if not all(isinstance(value, str) for value in texts):
        return "wrong_type"
    if any(len(record.get(name, "").encode()) > most for name, most in LONGEST.items()):
        return "too_long"
    if record["type"] not in TYPES:
        return "unknown_type"
    if any(name in record and record[name] not in words for name, words in WORDS.items()):
        return "bad_value"
    ids = record.get("device", {}).get("ids", [])
    if len(ids) > 8:
        return "too_many_devices"
    if any(each["kind"] not in KINDS for each in ids):
        return "unknown_device_kind"
    try:
        ms(record["occurred_at"])
    except ValueError:
        return "bad_time"
    return None


def place(record, come, names, sites, ended):
    """Why a record that can be read is refused before it is judged; `names` are those that its
    credential may use, where they are listed."""
    own = "producer" not in record
    if names is not None and not own and record["producer"] not in names:
        return "producer_not_allowed"
    if record["site_id"] in ended:
        return "site_terminated"
    if record["site_id"] not in sites:
        return "unknown_site"
    return "in_future" if ms(record["occurred_at"]) - come > AHEAD else None


def outside(record, job):
    """Whether a record does not belong into a backfill."""
    inside = job["from"] <= ms(record["occurred_at"]) < job["to"]
    return record["site_id"] != job["site_id"] or not inside


class Arrivals:
    """What arrived, by hour of arrival, credential and producer."""

    def __init__(self):
        self.rows = {}

    def row(self, come, credential, producer):
        name = come - come % HOUR, credential, producer
        return self.rows.setdefault(name, {
            "received": 0, "accepted": 0, "duplicates": 0, "rejected": {}, "corrected": 0,
            "not_retained": 0, "unreadable_requests": 0,
        })

    def refuse(self, come, credential, record, reason):
        """Counts a refused record. Its producer is written down only where the credential lists
        its names, and the record was read."""
        listed = credential["producers"] is not None and reason in BY_PLACE
        name = credential["name"]
        producer = record.get("producer", name) if listed else name
        row = self.row(come, name, producer)
        row["received"] += 1
        row["rejected"][reason] = row["rejected"].get(reason, 0) + 1

    def take(self, come, credential, producer, verdict):
        """Counts a record that was judged: a duplicate, or whether it came late and is kept."""
        row = self.row(come, credential["name"], producer)
        row["received"] += 1
        if verdict == "duplicate":
            row["duplicates"] += 1
            return
        late, kept = verdict
        row["accepted"] += 1
        row["corrected"] += late
        row["not_retained"] += not kept

    def compare(self, said, now):
        """What the server says, and what it should say: of what is long ago no reasons."""
        found, wanted = {}, {}
        for item in said:
            name = ms(item["hour"]), item["credential"], item["producer"]
            found[name] = {member: item[member] for member in self.rows.get(name, item)}
            assert name not in wanted, "a row twice"
            row = dict(self.rows.get(name, {}))
            wanted[name] = row
            over = now >= name[0] - name[0] % DAY + DAY + REASONS
            if over and "reasons_ended" in item["rejected"]:
                row["rejected"] = {"reasons_ended": sum(row["rejected"].values())}
        return found, {**self.rows, **wanted}
