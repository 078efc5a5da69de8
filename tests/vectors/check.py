#!/usr/bin/env python3
"""A second implementation of Blindtally's pseudonyms, written from the specification alone.

It recomputes every row of pseudonyms.json (canonical form, quality, scope, message, base pseudonym
and tag) from the raw input and the keys, with nothing but the standard library, and exits with 1
on any difference. It shares no code with the server; the two agree or one of them is wrong.

    python3 tests/vectors/check.py [pseudonyms.json]
"""

import base64
import hashlib
import hmac
import json
import pathlib
import re
import sys
import unicodedata

WHITE = b" \t\n\x0c\r"

# ---------------------------------------------------------------- AES-256, one block (FIPS 197)


def _times_two(value):
    value <<= 1
    return (value ^ 0x11B) & 0xFF if value & 0x100 else value


def _multiply(left, right):
    product = 0
    while right:
        if right & 1:
            product ^= left
        left, right = _times_two(left), right >> 1
    return product


def _make_sbox():
    box = []
    for value in range(256):
        inverse = next((i for i in range(256) if _multiply(value, i) == 1), 0)
        out = 0x63
        for turn in range(5):
            out ^= (inverse << turn | inverse >> (8 - turn)) & 0xFF
        box.append(out)
    return box


SBOX = _make_sbox()


def aes256(key, block):
    """Encrypts one block of 16 bytes under a key of 32."""
    words = [list(key[i : i + 4]) for i in range(0, 32, 4)]
    constant = 1
    for i in range(8, 60):
        word = list(words[i - 1])
        if i % 8 == 0:
            word = [SBOX[b] for b in word[1:] + word[:1]]
            word[0] ^= constant
            constant = _times_two(constant)
        elif i % 8 == 4:
            word = [SBOX[b] for b in word]
        words.append([a ^ b for a, b in zip(words[i - 8], word)])
    keys = [sum(words[i : i + 4], []) for i in range(0, 60, 4)]
    state = [a ^ b for a, b in zip(block, keys[0])]
    for number in range(1, 15):
        state = [SBOX[b] for b in state]
        state = [state[(i + 4 * (i % 4)) % 16] for i in range(16)]
        if number < 14:
            mixed = []
            for column in range(0, 16, 4):
                a = state[column : column + 4]
                for row in range(4):
                    mixed.append(
                        _times_two(a[row])
                        ^ _times_two(a[(row + 1) % 4]) ^ a[(row + 1) % 4]
                        ^ a[(row + 2) % 4]
                        ^ a[(row + 3) % 4]
                    )
            state = mixed
        state = [a ^ b for a, b in zip(state, keys[number])]
    return bytes(state)


assert aes256(  # FIPS 197, appendix C.3
    bytes(range(32)), bytes(0x11 * i for i in range(16))
).hex() == "8ea2b7ca516745bfeafc49904b496089"

# ---------------------------------------------------------------- keyed BLAKE3, one chunk

BLAKE3_IV = [
    0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19,
]
BLAKE3_ORDER = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8]
CHUNK_START, CHUNK_END, ROOT, KEYED_HASH = 1, 2, 8, 16


def _mix(state, a, b, c, d, x, y):
    for shifts, word in (((16, 12), x), ((8, 7), y)):
        state[a] = (state[a] + state[b] + word) & 0xFFFFFFFF
        for to, source, by, shift in ((d, a, d, shifts[0]), (b, c, b, shifts[1])):
            if to == b:
                state[c] = (state[c] + state[d]) & 0xFFFFFFFF
            value = state[by] ^ state[source]
            state[to] = (value >> shift | value << 32 - shift) & 0xFFFFFFFF


def blake3_keyed(key, message):
    """The keyed hash of at most 1,024 bytes (the specification's sections 2.2 to 2.4)."""
    assert len(message) <= 1024
    words = lambda data: [int.from_bytes(data[i : i + 4], "little") for i in range(0, len(data), 4)]
    value = words(key)
    blocks = [message[i : i + 64] for i in range(0, len(message), 64)] or [b""]
    for number, block in enumerate(blocks):
        flags = KEYED_HASH
        flags |= CHUNK_START if number == 0 else 0
        flags |= CHUNK_END | ROOT if number == len(blocks) - 1 else 0
        state = value + BLAKE3_IV[:4] + [0, 0, len(block), flags]
        data = words(block.ljust(64, b"\0"))
        for _ in range(7):
            for half, places in enumerate((((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15)),
                                           ((0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)))):
                for turn, place in enumerate(places):
                    at = 8 * half + 2 * turn
                    _mix(state, *place, data[at], data[at + 1])
            data = [data[i] for i in BLAKE3_ORDER]
        value = [state[i] ^ state[i + 8] for i in range(8)]
    return b"".join(word.to_bytes(4, "little") for word in value)


for _length, _wanted in (  # the official test_vectors.json
    (0, "92b2b75604ed3c761f9d6f62392c8a9227ad0ea3f09573e783f1498a4ed60d26"),
    (1, "6d7878dfff2f485635d39013278ae14f1454b8c0a3a2d34bc1ab38228a80c95b"),
    (1023, "c951ecdf03288d0fcc96ee3413563d8a6d3589547f2c2fb36d9786470f1b9d6e"),
    (1024, "75c46f6f3d9eb4f55ecaaee480db732e6c2105546f1e675003687c31719c7ba4"),
):
    _input = bytes(i % 251 for i in range(_length))
    assert blake3_keyed(b"whats the Elvish word for friend", _input).hex() == _wanted

# ---------------------------------------------------------------- junk (domain rules)

SENTINELS = {
    b"", b"LICENSETOKEN", b"purchase", b"test", b"test-user", b"tester-user", b"utest",
    b"proxySample", b"test2", b"anonymous", b"guest", b"null", b"undefined", b"0", b"-1",
}
# Unicode property White_Space; Python's own `strip` takes four controls more.
WHITE_SPACE = "\t\n\x0b\x0c\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007" \
    "\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
OPTION_BITS = {"trim": 0x10, "nfc": 0x20, "lower": 0x40}


def user_form(text, options):
    """The canonical form of a user id under the options of its site and month."""
    if "nfc" in options:
        text = unicodedata.normalize("NFC", text)
    if "trim" in options:
        text = text.strip(WHITE_SPACE)
    if "lower" in options:
        # Each by itself: of a whole text Python would write a final sigma.
        text = "".join(char.lower() for char in text)
    return unicodedata.normalize("NFC", text) if "nfc" in options else text


SHARED_WIDEVINE = [
    bytes.fromhex("b2761ec9e81a8448ad4d7cf48bc55a06aba1789aeaccf2c7374dc101d11fdf5a"),
    bytes.fromhex("b7dd10dc0900f79eee3b77dcd0204a136a2818fef92cca4d09655b8fa64cd5f9"),
]
JUNK_MACS = {"020000000000", "000000000000", "ffffffffffff", "001122334455"}
JUNK_IMEIS = ["004999010640000", "012345678901237", "111111111111119", "123456789012347"]


def _junk_texts():
    known = {text: "junk" for text in SENTINELS}
    more = ["9774d56d682e549c", "android_id", "unknown", "nul", "Unknown_DeviceID"]
    more += ["00000000-0000-0000-0000-000000000000"]
    more += ["0" * n for n in (14, 15, 16)] + ["*" * n for n in (14, 15)]
    more += JUNK_IMEIS + [imei[:14] for imei in JUNK_IMEIS]
    for mac in JUNK_MACS:
        colons = ":".join(mac[i : i + 2] for i in range(0, 12, 2))
        more += [mac, mac.upper(), colons, colons.upper()]
    known.update({text.encode(): "junk" for text in more})
    for value in SHARED_WIDEVINE:
        for text in (value.hex(), value.hex().upper(), base64.b64encode(value).decode()):
            known[text.encode()] = "shared"
    return known


def uuid_v3(name):
    """Java's UUID.nameUUIDFromBytes."""
    out = bytearray(hashlib.md5(name).digest())
    out[6] = out[6] & 0x0F | 0x30
    out[8] = out[8] & 0x3F | 0x80
    return bytes(out)


JUNK_TEXTS = _junk_texts()
DERIVED = {uuid_v3(text): quality for text, quality in JUNK_TEXTS.items()}
DERIVED.update({uuid_v3(value): "shared" for value in SHARED_WIDEVINE})

# ---------------------------------------------------------------- spellings


def read_hex(text, lengths):
    """The bytes that hex digits of either case spell, if there are as many as asked for."""
    if re.fullmatch(rb"(?:[0-9a-fA-F]{2})+", text) and len(text) // 2 in lengths:
        return bytes.fromhex(text.decode())
    return None


def read_base64(text, lengths):
    """Either alphabet, padded rightly or not at all, no left-over bits."""
    match = re.fullmatch(rb"([A-Za-z0-9+/_-]*)(={0,2})", text)
    if not match:
        return None
    body, padding = match.groups()
    missing = -len(body) % 4
    if missing == 3 or (padding and len(padding) != missing):
        return None
    body = body.replace(b"-", b"+").replace(b"_", b"/")
    value = base64.b64decode(body + b"=" * missing)
    canonical = base64.b64encode(value).rstrip(b"=") == body
    return value if canonical and len(value) in lengths else None


def read_blob(text, lengths):
    for candidate in (text, bytes(b for b in text if b not in WHITE)):
        value = read_hex(candidate, lengths)
        if value is not None:
            return value
        value = read_base64(candidate, lengths)
        if value is not None and not (len(candidate) <= 16 and candidate in JUNK_TEXTS):
            return value
    return None


UUID = re.compile(rb"(\{)?([0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})(?(1)\})")


def read_uuid(text):
    match = UUID.fullmatch(text)
    return bytes.fromhex(match.group(2).replace(b"-", b"").decode()) if match else None


# ---------------------------------------------------------------- quality


def uniform(value):
    return len(set(value)) <= 1


def plain_quality(value):
    return "junk" if uniform(value) else "good"


def uuid_quality(value):
    if uniform(value):
        return "junk"
    if len(value) == 16 and value[6] >> 4 == 3:
        return DERIVED.get(value, "good")
    return "good"


def text_quality(text):
    if not text or len(text) > 256:
        return "junk"
    if any(unicodedata.category(char) == "Cc" for char in text.decode()):
        return "junk"
    return JUNK_TEXTS.get(text, "good")


def check_digit_fits(body, check, base):
    if check == "0":
        return True
    total = 0
    for place, digit in enumerate(reversed(body)):
        value = int(digit, base)
        if place % 2 == 0:
            value = sum(divmod(value * 2, base))
        total += value
    return (total + int(check, base)) % base == 0


# ---------------------------------------------------------------- kinds
# Each reader answers (canonical bytes, quality), or None when the text does not fit the kind.


def imei(text, lengths):
    digits = re.sub(rb"[ /-]", b"", text).decode()
    if not re.fullmatch(r"[0-9]+", digits) or len(digits) not in lengths:
        return None
    body, rest = digits[:14], digits[14:]
    quality = "good"
    if len(rest) == 1 and not check_digit_fits(body, rest, 10):
        quality = "checksum_failed"
    if body.startswith("0" * 9) or uniform(body) or body in [junk[:14] for junk in JUNK_IMEIS]:
        quality = "junk"
    return body.encode(), quality


def meid(text):
    digits = re.sub(rb"[ /-]", b"", text).decode()
    quality = "good"
    if re.fullmatch(r"[0-9]{18}", digits):
        high, low = int(digits[:10]), int(digits[10:])
        if high >= 1 << 32 or low >= 1 << 24:
            return None
        value = high.to_bytes(4, "big") + low.to_bytes(3, "big")
    elif re.fullmatch(r"[0-9a-fA-F]{14}[0-9a-fA-F]?", digits):
        value = bytes.fromhex(digits[:14])
        if digits[14:]:
            base = 10 if digits[:14].isdigit() else 16
            if base == 10 and not digits[14].isdigit():
                return None
            if not check_digit_fits(digits[:14], digits[14], base):
                quality = "checksum_failed"
    else:
        return None
    return value, "junk" if uniform(value) else quality


def wifi_mac(text):
    pairs = rb"[0-9a-fA-F]{2}(?:([:-])[0-9a-fA-F]{2})(?:\1[0-9a-fA-F]{2}){4}"
    dots = rb"[0-9a-fA-F]{4}(?:\.[0-9a-fA-F]{4}){2}"
    bare = rb"[0-9a-fA-F]{12}"
    if not any(re.fullmatch(form, text) for form in (pairs, dots, bare)):
        return None
    value = bytes.fromhex(re.sub(rb"[:.-]", b"", text).decode())
    if value.hex() in JUNK_MACS or value[0] & 1:
        return value, "junk"
    return value, "randomised" if value[0] & 2 else "good"


def android_id(text):
    if not re.fullmatch(rb"[0-9a-fA-F]{1,16}", text):
        return None
    value = bytes.fromhex(text.decode().rjust(16, "0"))
    nibbles = set(value.hex())
    junk = len(nibbles) == 1 or value.hex() == "9774d56d682e549c"
    return value, "junk" if junk else "good"


def widevine_device_unique_id(text):
    value = read_uuid(text)
    if value is None:
        value = read_blob(text, range(8, 65))
    if value is None:
        return None
    return value, "shared" if value in SHARED_WIDEVINE else uuid_quality(value)


def widevine_cert_serial(text):
    value = read_blob(text, range(8, 129))
    if value is None:
        return None
    inner = read_hex(value, range(8, 65))
    value = value if inner is None else inner
    return (value, plain_quality(value)) if len(value) <= 64 else None


def ncg_device_id(text, raw):
    value = read_uuid(text)
    return (raw, text_quality(raw)) if value is None else (value, uuid_quality(value))


def uuid_kind(text):
    value = read_uuid(text)
    if value is None:
        value = read_hex(text, [16])
    return None if value is None else (value, uuid_quality(value))


def playready_client_id(text, encoding):
    value = read_uuid(text)
    if value is None:
        value = read_blob(text, [16])
    elif encoding != "uuid_be":
        value = value[3::-1] + value[5:3:-1] + value[7:5:-1] + value[8:]
    return None if value is None else (value, plain_quality(value))


def opaque(raw):
    value, quality = read_uuid(raw), text_quality(raw)
    if quality == "good" and value is not None:
        quality = uuid_quality(value)
    return raw, quality


def blob_kind(text, lengths):
    value = read_blob(text, lengths)
    return None if value is None else (value, plain_quality(value))


SCOPES = {
    "widevine_device_unique_id": "app", "ncg_device_id": "app", "android_id": "app",
    "idfv": "app", "lgudid": "app", "samsung_tv_uuid": "install",
}


def device(kind, raw, encoding, desktop):
    """Namespace, canonical bytes, quality and scope of a device id."""
    text = raw.strip(WHITE)
    readers = {
        "widevine_device_unique_id": lambda: widevine_device_unique_id(text),
        "widevine_cert_serial": lambda: widevine_cert_serial(text),
        "ncg_device_id": lambda: ncg_device_id(text, raw),
        "android_id": lambda: android_id(text),
        "imei": lambda: imei(text, (14, 15)),
        "imeisv": lambda: imei(text, (16,)),
        "meid": lambda: meid(text),
        "wifi_mac": lambda: wifi_mac(text),
        "idfv": lambda: uuid_kind(text),
        "aaid": lambda: uuid_kind(text),
        "idfa": lambda: uuid_kind(text),
        "lgudid": lambda: uuid_kind(text),
        "samsung_tv_uuid": lambda: uuid_kind(text),
        "playready_client_id": lambda: playready_client_id(text, encoding),
        "fairplay_hu": lambda: blob_kind(text, [20]),
        "prehashed": lambda: blob_kind(text, range(16, 65)),
        "opaque": lambda: opaque(raw),
    }
    canonical, quality = readers[kind]() or (raw, "junk")
    scope = SCOPES.get(kind, "device")
    if kind == "widevine_cert_serial" and desktop:
        scope, quality = "model", "shared" if quality == "good" else quality
    return {"imeisv": "imei"}.get(kind, kind), canonical, quality, scope


def payload(raw, encoding):
    """Bytes and bit length of a watermark payload."""
    if encoding == "hex" and re.fullmatch(rb"[0-9a-fA-F]+", raw):
        digits = raw.decode()
        return bytes.fromhex(digits + "0" * (len(digits) % 2)), 4 * len(digits)
    if encoding == "base64":
        value = read_base64(raw, range(1, 1 << 16))
        if value is not None:
            return value, 8 * len(value)
    if encoding == "uint" and re.fullmatch(rb"[0-9]{1,154}", raw):
        number = int(raw)
        size = max(1, (number.bit_length() + 7) // 8)
        if size <= 64:
            return number.to_bytes(size, "big"), 8 * size
    if encoding == "ab" and re.fullmatch(rb"[aAbB01]+", raw):
        bits = "".join("1" if variant in b"bB1" else "0" for variant in raw)
        padded = bits + "0" * (-len(bits) % 8)
        return int(padded, 2).to_bytes(len(padded) // 8, "big"), len(bits)
    return raw, 8 * len(raw)


# ---------------------------------------------------------------- pseudonyms


def compute(row):
    """Everything of a row that follows from its input and its keys."""
    raw, out = row["input"].encode(), {}
    version = 1
    if row["what"] == "user":
        options = row.get("options", [])
        canonical = user_form(row["input"], options).encode()
        if canonical in {user_form(text.decode(), options).encode() for text in SENTINELS}:
            return {"quality": "sentinel"}
        kind, version = "user", sum((OPTION_BITS[option] for option in options), version)
    elif row["what"] == "device":
        kind, canonical, out["quality"], out["scope"] = device(
            row["kind"], raw, row.get("encoding"), row.get("desktop", False)
        )
    elif row["kind"] == "payload":
        kind, (canonical, out["bits"]) = "payload", payload(raw, row.get("encoding"))
    else:
        kind, canonical = row["kind"], raw
    ident = canonical
    if kind == "payload":
        ident = out["bits"].to_bytes(4, "big") + canonical
    name = kind.encode()
    head = b"bt/1" + bytes([len(name)]) + name + bytes([version])
    message, key = head + len(ident).to_bytes(2, "big") + ident, bytes.fromhex(row["base_key"])
    if row.get("algorithm") == "blake3":
        base = blake3_keyed(key, message)[:16]
    else:
        base = hmac.new(key, message, hashlib.sha256).digest()[:16]
    out["canonical"], out["message"], out["base"] = canonical.hex(), message.hex(), base.hex()
    out["tag"] = aes256(bytes.fromhex(row["use_key"]), base).hex()
    return out


GIVEN = {"algorithm", "options", "note", "what", "kind", "input", "encoding", "desktop", "base_key", "use_key"}


def main():
    default = pathlib.Path(__file__).with_name("pseudonyms.json")
    path = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else default
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
    wrong = 0
    for number, row in enumerate(rows):
        stated = {name: value for name, value in row.items() if name not in GIVEN}
        found = compute(row)
        if stated != found:
            wrong += 1
            print(f"row {number} ({row['note']}): states {stated}, computed {found}")
    print(f"{len(rows)} rows, {wrong} wrong")
    return 1 if wrong or not rows else 0


if __name__ == "__main__":
    sys.exit(main())
