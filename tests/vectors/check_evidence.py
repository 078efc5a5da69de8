#!/usr/bin/env python3
"""A second implementation of the check of an evidence pack, written from docs/FORMATS.md alone, with
nothing but the standard library and the second implementation of the ledger beside it.

    python3 tests/vectors/check_evidence.py KEY FOLDER

KEY is the verifier key, one line of text (`name+hash+key`). Exit status 1 if anything is found.
"""

import collections
import hashlib
import json
import pathlib
import sys

from check_ledger import Key, Tree, read_entry, read_note, root_of_proof, sha256

CERTIFICATE = "certificates/"
FORMATS = ["blindtally evidence pack, format 1", "blindtally evidence pack, format 2"]


def proved(proof, key):
    """The entry of a proof, or None."""
    note, _ = read_note(proof["checkpoint"], key)
    line = proof["entry"].encode()
    entry = read_entry(line)
    hashes = [bytes.fromhex(text) for text in proof["hashes"]]
    good = note and entry and entry["number"] == proof["index"] and note[0] == proof["size"]
    good = good and root_of_proof(line, proof["index"], proof["size"], hashes) == note[1]
    return entry if good else None


def left_of(index, size, hashes):
    """Number of leaves and hash of each full subtree left of a leaf, largest first."""
    found, first, hashes = [], 0, list(hashes)
    while size > 1:
        split, other = 1 << ((size - 1).bit_length() - 1), hashes.pop()
        if index - first < split:
            size = split
        else:
            found.append((split, other))
            first, size = first + split, size - split
    return found


def check_index(folder, say):
    """The files, each as the index says it is."""
    text = (folder / "index.json").read_bytes()
    try:
        index = json.loads(text)
        again = json.dumps(index, separators=(",", ":"), ensure_ascii=False).encode()
        entries = {file["name"]: file for file in index["files"]}
    except (ValueError, KeyError, TypeError):
        say("index.json: not an index")
        return None, {}
    if again != text or index["format"] not in FORMATS:
        say("index.json: not an index of this form")
    ends = [name in entries for name in ("last.json", "stated.json")]
    if ends != [index.get("to") is not None] * 2 or (any(ends) and index["format"] == FORMATS[0]):
        say("index.json: last.json and stated.json belong to a pack with an end, which has both")
    files = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name != "index.json":
            files[name] = path.read_bytes()
    for name in sorted(set(files) ^ set(entries)):
        say(f"{name}: {'not in the index' if name in files else 'missing'}")
    for name, file in entries.items():
        data = files.get(name)
        if data is None:
            continue
        if len(data) != file["bytes"] or hashlib.sha256(data).hexdigest() != file["sha256"]:
            say(f"{name}: changed")
    return index, files


def check_end(files, lines, tree, key, say):
    """Whether the lines, all but the last of which are in the tree, are those up to the last."""
    try:
        proof = json.loads(files["last.json"])
        entry = proved(proof, key)
        hashes = [bytes.fromhex(text) for text in proof["hashes"]]
        good = entry and entry["number"] == tree.size and proof["entry"].encode() == lines[-1]
        good = good and proof["checkpoint"].encode() == files["checkpoint"]
        good = good and left_of(tree.size, proof["size"], hashes) == tree.peaks
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        good = False
    if not good:
        say("last.json: the lines do not end with the entry that it is of")
    return good


def check_lines(files, index, key, say):
    """The entries up to the checkpoint, or to the last one that the index names."""
    first, last = index["from"], index.get("to")
    note, wrong = read_note(files["checkpoint"].decode(errors="replace"), key)
    if wrong:
        say(f"checkpoint: {wrong}")
        return []
    tree = Tree()
    if first:
        try:
            proof = json.loads(files["before.json"])
            before = proved(proof, key)
        except (ValueError, KeyError, TypeError, AttributeError):
            proof, before = None, None
        if not before or before["number"] != first:
            say("before.json: proves nothing")
            return []
        hashes = [bytes.fromhex(text) for text in proof["hashes"]]
        tree.size, tree.peaks = first, left_of(first, proof["size"], hashes)
    entries, lines = [], files["ledger.ndjson"].split(b"\n")
    if lines.pop() != b"":
        say("ledger.ndjson: its last line does not end")
    for at, line in enumerate(lines):
        if last is not None and at + 1 == len(lines):
            if not check_end(files, lines, tree, key, say):
                return []
        entry = read_entry(line)
        if entry is None or entry["number"] != tree.size:
            say(f"ledger.ndjson: entry {tree.size} is not what it should be")
        else:
            entries.append(entry)
        tree.push(line)
    if last is not None:
        if tree.size != last + 1:
            say("ledger.ndjson: does not end where the index says")
            return []
    elif (tree.size, tree.root()) != note:
        say("ledger.ndjson: not what the checkpoint signs")
        return []
    return entries


def whole(body, intent):
    """Whether a certificate has the members of its format, and they agree with each other."""
    backups, search = body.get("backups") or {}, body["verification"].get("register")
    since_2 = ["backups" in body, "home" in body["vek"], "files_searched" in body["verification"]]
    since_3 = ["hold_check" in body, "covered" in backups, "dead" in backups, search is not None]
    forms = {"1": (False, False), "2": (True, False), "3": (True, True)}
    name, _, number = body["format"].rpartition("/")
    if name != "blindtally/certificate" or number not in forms:
        return False
    for members, there in zip((since_2, since_3), forms[number]):
        if members != [there] * len(members):
            return False
    if number != "3":
        return number == "2" or "requested_by" not in body
    check, held = body["hold_check"], sum(bool(lot.get("held_by")) for lot in body["lots"])
    keys = sum(len(lot["keys"]) for lot in body["lots"])
    covered = [backup["operation"] for backup in backups["covered"]]
    good = check["covered"] == held and (check["open"] > 0 or not held)
    good = good and (search["copies"], search["keys"], search["found"]) == (2, keys, 0)
    good = good and 0 <= search["wrapped"] <= keys
    good = good and (not held or '"held_by"' in backups["dead"])
    good = good and covered == sorted(set(covered)) and len(covered) <= backups["made"]
    return good and all(operation < intent for operation in covered)


def check_certificate(name, data, key, say):
    """What a certificate says must be what the entries in its proofs say."""
    try:
        text = data.decode()
        certificate = json.loads(text)
        body, issued = certificate["body"], proved(certificate["issued"], key)
        intent, result = proved(body["intent"], key), proved(body["result"], key)
        # The digest is over the bytes of the body as they stand in the file.
        begin, end = len('{"body":'), text.rindex(',"issued":')
        digest = hashlib.sha256(text[begin:end].encode()).hexdigest()
        good = issued and intent and result
        good = good and issued["kind"] == "certificate_issued"
        good = good and issued["fields"] == {"destruction": intent["number"], "digest": digest}
        good = good and result["operation"] == intent["number"]
        good = good and result["fields"]["verification"]["passed"] is True
        keys = sorted((key["key"], key["commitment"]) for lot in body["lots"] for key in lot["keys"])
        told = sha256(*(n.to_bytes(8, "big") + bytes.fromhex(c) for n, c in keys)).hex()
        good = good and intent["fields"]["commitments"] == told
        good = good and whole(body, intent["number"])
        good = good and name == f"{CERTIFICATE}{body['id']}.json"
        good = good and text == json.dumps(certificate, separators=(",", ":"), ensure_ascii=False)
    except (ValueError, KeyError, TypeError, AttributeError):
        good = False
    if not good:
        say(f"{name}: certifies nothing")


def check_statement(files, index, entries, key, say):
    """The ledger has its digest; what it says of keys, processors and reads agrees."""
    text = files["statement.json"]
    told = entries
    if index.get("to") is not None:
        try:
            proof = json.loads(files["stated.json"])
            # Else the lines and the statement may be of two ledgers.
            same = proof["checkpoint"].encode() == files["checkpoint"]
            told = [proved(proof, key)] if same else []
        except (ValueError, KeyError, TypeError, AttributeError):
            told = []
        if not any(told):
            say("stated.json: proves nothing")
            told = []
    stated = [entry for entry in told if entry["kind"] == "evidence_exported"]
    if hashlib.sha256(text).hexdigest() not in [entry["fields"]["digest"] for entry in stated]:
        say("statement.json: not what the ledger says")
        return
    if index["format"] == FORMATS[0]:
        return
    try:
        said = json.loads(text)
        size = said["ledger"]["size"]
        living = collections.Counter(
            key["kind"] for key in said["key_list"] if key["state"] != "held"
        )
        if said["all_sites"] and living != said["keys"]:
            say("statement.json: lists other keys than it counts")
        paper = said["processors"]
        if paper and paper["sha256"]:
            if hashlib.sha256(paper["text"].encode()).hexdigest() != paper["sha256"]:
                say("statement.json: the text about processors has another SHA-256")
        record = said.get("processing_record")
        if record is not None:
            named = sorted(one["site_id"] for one in record["controllers"])
            if named != sorted(site["site_id"] for site in said["sites"]):
                say("statement.json: its record of processing is of other sites")
        whole = index["from"] == 0 and entries and entries[-1]["number"] + 1 >= size
        if whole and said["privileged_reads"] is not None:
            reads = collections.Counter(
                entry["fields"]["route"]
                for entry in entries
                if entry["kind"] == "privileged_read" and entry["number"] < size
            )
            if reads != said["privileged_reads"]:
                say("statement.json: counts other reads than the lines have")
    except (ValueError, KeyError, TypeError, AttributeError):
        say("statement.json: not a statement of this form")


def check_lacking(files, index, entries, say):
    """In a pack of all sites every certificate of its lines is there, unless a restore lost it. Where
    the pack ends before the ledger does, a restore may have come after it."""
    if index.get("to") is not None:
        return
    try:
        of_all = json.loads(files["statement.json"])["all_sites"]
    except (ValueError, KeyError, TypeError):
        of_all = True
    restores = [
        (entry["fields"]["backup"], entry["number"])
        for entry in entries
        if (entry["kind"], entry["phase"]) == ("restore", "intent")
    ]
    for entry in entries:
        if entry["kind"] != "certificate_issued":
            continue
        name, number = f"{CERTIFICATE}c{entry['fields']['destruction']}.json", entry["number"]
        lost = any(backup < number < restore for backup, restore in restores)
        if of_all and not lost and name not in files:
            say(f"{name}: missing, and entry {number} says that it was issued")


def main(key, folder):
    key, folder, findings = Key(key), pathlib.Path(folder), []
    say = findings.append
    index, files = check_index(folder, say)
    needed = ["statement.json", "ledger.ndjson", "checkpoint", "verifier.key", "README.txt"]
    if index and not [say(f"{name}: missing") for name in needed if name not in files]:
        own = files["verifier.key"].decode(errors="replace").split("+")
        if own != f"{key.name}+{key.hash}+{key.text}\n".split("+"):
            say("verifier.key: another key")
        entries = check_lines(files, index, key, say)
        check_statement(files, index, entries, key, say)
        for name in files:
            if name.startswith(CERTIFICATE):
                check_certificate(name, files[name], key, say)
        check_lacking(files, index, entries, say)
    for finding in findings:
        print(finding)
    print(f"{len(files)} files, {len(findings)} findings")
    return bool(findings)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    sys.exit(main(*sys.argv[1:]))
