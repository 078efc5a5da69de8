#!/usr/bin/env python3
"""A second implementation of the check of Blindtally's ledger, written from docs/FORMATS.md, RFC 6962,
RFC 8032 and the C2SP notes alone, with nothing but the standard library. It shares no code with the
server; the two agree or one of them is wrong.

    python3 tests/vectors/check_ledger.py KEY DIRECTORY [--second FILE] [--mark SIZE:ROOT]...
    python3 tests/vectors/check_ledger.py KEY --proof FILE

KEY is the verifier key, one line of text (`name+hash+key`). Exit status 1 if anything is found.
"""

import base64
import hashlib
import json
import pathlib
import re
import sys


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


# ---------------------------------------------------------------- Ed25519 (RFC 8032, section 5.1)

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
ROOT_OF_MINUS_ONE = pow(2, (P - 1) // 4, P)


def add(one, two):
    x1, y1, z1, t1 = one
    x2, y2, z2, t2 = two
    a, b = (y1 - x1) * (y2 - x2) % P, (y1 + x1) * (y2 + x2) % P
    c, d = 2 * t1 * t2 * D % P, 2 * z1 * z2 % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def multiply(scalar, point):
    product = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            product = add(product, point)
        point = add(point, point)
        scalar >>= 1
    return product


def same(one, two):
    return (one[0] * two[2] - two[0] * one[2]) % P == 0 and (
        one[1] * two[2] - two[1] * one[2]
    ) % P == 0


def decompress(data):
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & ((1 << 255) - 1)
    if y >= P:
        return None
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * ROOT_OF_MINUS_ONE % P
    if (x * x - square) % P or (x == 0 and sign):
        return None
    if x & 1 != sign:
        x = P - x
    return x, y, 1, x * y % P


BASE = decompress((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))


def verifies(public, message, signature):
    """Whether it is the signature of the message."""
    point, commitment = decompress(public), decompress(signature[:32])
    scalar = int.from_bytes(signature[32:], "little")
    if point is None or commitment is None or len(signature) != 64 or scalar >= ORDER:
        return False
    digest = hashlib.sha512(signature[:32] + public + message).digest()
    challenge = int.from_bytes(digest, "little") % ORDER
    return same(multiply(scalar, BASE), add(commitment, multiply(challenge, point)))


# ---------------------------------------------------------------- Merkle tree (RFC 6962, section 2.1)


class Tree:
    """Grows by leaves; knows the root at each size."""

    def __init__(self):
        self.size, self.peaks = 0, []

    def push(self, line):
        self.peaks.append((1, sha256(b"\0", line)))
        self.size += 1
        while len(self.peaks) > 1 and self.peaks[-1][0] == self.peaks[-2][0]:
            (count, right), (_, left) = self.peaks.pop(), self.peaks.pop()
            self.peaks.append((2 * count, sha256(b"\1", left, right)))

    def root(self):
        if not self.peaks:
            return sha256()
        root = self.peaks[-1][1]
        for _, left in reversed(self.peaks[:-1]):
            root = sha256(b"\1", left, root)
        return root


def root_of_proof(line, index, size, hashes):
    """The root that a proof of inclusion leads to, by the recursion of section 2.1.1."""
    if size == 1:
        return sha256(b"\0", line) if index == 0 and not hashes else None
    if not hashes or index >= size:
        return None
    split = 1 << ((size - 1).bit_length() - 1)
    if index < split:
        left, right = root_of_proof(line, index, split, hashes[:-1]), hashes[-1]
    else:
        right = root_of_proof(line, index - split, size - split, hashes[:-1])
        left = hashes[-1]
    return left and right and sha256(b"\1", left, right)


# ---------------------------------------------------------------- signed notes


class Key:
    """A verifier key."""

    def __init__(self, text):
        self.name, self.hash, key = text.strip().split("+", 2)
        key = base64.b64decode(key, validate=True)
        digest = sha256(self.name.encode() + b"\n" + key)
        if len(key) != 33 or key[0] != 1 or digest[:4].hex() != self.hash:
            raise SystemExit("the verifier key is not one")
        self.public, self.text = key[1:], base64.b64encode(key).decode()


def read_note(text, key):
    """Size and root of a checkpoint with a good signature, else None and why."""
    form = r"([!-*,-~]+)\n(0|[1-9][0-9]*)\n([A-Za-z0-9+/]{43}=)\n\n\u2014 ([!-*,-~]+) ([A-Za-z0-9+/]{91}=)\n"
    match = re.fullmatch(form, text)
    if not match:
        return None, "is not a checkpoint"
    origin, size, root, name, signature = match.groups()
    raw = base64.b64decode(signature)
    plain = base64.b64encode(raw).decode() == signature
    plain = plain and base64.b64encode(base64.b64decode(root)).decode() == root
    body = "".join(line + "\n" for line in text.split("\n")[:3]).encode()
    named = origin == name == key.name and raw[:4].hex() == key.hash
    if not (plain and named and verifies(key.public, body, raw[4:])):
        return None, "is not signed by the ledger's key"
    return (int(size), base64.b64decode(root)), None


def read_notes(data, key, source, say):
    """All checkpoints of a file."""
    try:
        lines = data.decode().split("\n")
    except UnicodeDecodeError:
        say(f"{source}: not text")
        return []
    if lines.pop() != "" or len(lines) % 5:
        say(f"{source}: does not end with a whole checkpoint")
    found = []
    for at in range(0, len(lines) - 4, 5):
        note, wrong = read_note("\n".join(lines[at : at + 5]) + "\n", key)
        if wrong:
            say(f"{source}: note {at // 5} {wrong}")
        elif found and note[0] < found[-1][0]:
            say(f"{source}: the checkpoint over {note[0]} entries comes after a later one")
        else:
            found.append(note)
    if not found:
        say(f"{source}: there is no checkpoint in it")
    return found


# ---------------------------------------------------------------- entries

MEMBERS = ["number", "time", "operation", "phase", "kind", "actor", "fields"]
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z"


def read_entry(line):
    """An entry, or None."""
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    # Members in order, no white space, nothing twice: written again it is the same.
    if not isinstance(entry, dict) or list(entry) != MEMBERS:
        return None
    if json.dumps(entry, separators=(",", ":"), ensure_ascii=False).encode() != line:
        return None
    numbers = all(type(entry[name]) is int and entry[name] >= 0 for name in ("number", "operation"))
    texts = all(isinstance(entry[name], str) for name in ("time", "phase", "kind", "actor"))
    if not (numbers and texts and isinstance(entry["fields"], dict)):
        return None
    if not re.fullmatch(TIME, entry["time"]) or not re.fullmatch("server|[a-z0-9]{16}", entry["actor"]):
        return None
    first = entry["operation"] == entry["number"]
    placed = {"intent": first, "done": first, "result": entry["operation"] < entry["number"]}
    return entry if placed.get(entry["phase"]) else None


def check_entries(data, known, say):
    """Numbers, operations, and every root that somebody knows; the tree."""
    lines = data.split(b"\n")
    if lines.pop() != b"":
        say(f"entry {len(lines)}: its line does not end")
    tree, expected, begun, lost, agreed = Tree(), 0, {}, set(), {}
    places = {}
    for source, size, root in known:
        places.setdefault(size, []).append((source, root))

    def compare():
        for source, root in places.get(tree.size, []):
            if root == tree.root():
                agreed[source] = tree.size
            elif source not in lost:
                lost.add(source)
                first = agreed.get(source, 0)
                say(f"entry {first}: from here to entry {tree.size - 1} not what {source} knows")

    compare()
    for line in lines:
        entry = read_entry(line)
        if entry is None:
            say(f"entry {expected}: its line is not an entry")
            expected += 1
        else:
            number = entry["number"]
            if number > expected:
                say(f"entry {expected}: missing, with all up to entry {number - 1}")
            elif number < expected:
                say(f"entry {number}: comes again, or out of order")
            expected = max(expected, number + 1)
            if entry["phase"] == "intent":
                begun[number] = entry["kind"]
            elif entry["phase"] == "result" and begun.pop(entry["operation"], None) != entry["kind"]:
                say(f"entry {number}: a result without an open intent of its kind")
        tree.push(line)
        compare()
    return tree


def check_ledger(key, directory, second, marks):
    findings = []
    say = findings.append
    own = read_notes((directory / "checkpoints").read_bytes(), key, "checkpoints", say)
    known = [("checkpoints", *note) for note in own]
    if second:
        copied = read_notes(pathlib.Path(second).read_bytes(), key, "second copy", say)
        known += [("second copy", *note) for note in copied]
    for mark in marks:
        size, root = mark.split(":")
        known.append(("mark", int(size), bytes.fromhex(root)))
    tree = check_entries((directory / "entries.ndjson").read_bytes(), known, say)
    longest = {}
    for source, size, _ in known:
        longest[source] = max(size, longest.get(source, 0))
    for source, size in longest.items():
        if size > tree.size:
            say(f"entry {tree.size}: missing, with all that follow: {source} knows {size} entries")
    if longest.get("checkpoints", 0) < tree.size:
        say(f"entry {longest.get('checkpoints', 0)}: not signed by any checkpoint")
    for finding in findings:
        print(finding)
    print(f"{tree.size} entries, {len(known)} roots, {len(findings)} findings")
    return bool(findings)


def check_proof(key, file):
    proof = json.loads(pathlib.Path(file).read_bytes())
    note, wrong = read_note(proof["checkpoint"], key)
    line, index, size = proof["entry"].encode(), proof["index"], proof["size"]
    entry = read_entry(line)
    hashes = [bytes.fromhex(text) for text in proof["hashes"]]
    good = note and entry and entry["number"] == index and note[0] == size
    good = good and root_of_proof(line, index, size, hashes) == note[1]
    print(f"entry {index} is proved" if good else f"entry {index} is not proved: {wrong or 'changed'}")
    return not good


def main(arguments):
    key, *rest = arguments
    key = Key(key)
    if rest[0] == "--proof":
        return check_proof(key, rest[1])
    directory, second, marks = pathlib.Path(rest.pop(0)), None, []
    while rest:
        option, value = rest.pop(0), rest.pop(0)
        if option == "--second":
            second = value
        elif option == "--mark":
            marks.append(value)
        else:
            raise SystemExit(__doc__)
    return check_ledger(key, directory, second, marks)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    sys.exit(main(sys.argv[1:]))
