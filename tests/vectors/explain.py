"""What the licences of a month were, and how far its ids can be trusted, by plain sets.

Part of the second count (count.py). Shares no code with the server.
"""

from tally import JUNK, SENTINELS, person

# A report names no suspects where less than this of the month was left to be read.
READ_LEAST_PERCENT = 90
# What the sent error codes are in the table of reference/domain.md; the others are unknown.
ERRORS = {
    "7011": "token", "2001": "server", "8716": "customer", "1002": "quota", "7306": "fairplay",
}


class Explained:
    """What the licences of a site's month were, late ones included."""

    def __init__(self, said):
        self.said = said
        self.records, self.parts = 0, {}
        self.licenses, self.devices_of, self.users_of = {}, {}, {}
        self.sessions, self.requests, self.request_licenses = {}, set(), 0
        self.ids, self.by_quality, self.device_licenses = {}, {}, {}
        self.stand_ins, self.platforms = set(), {}
        self.unattributed = 0

    def take(self, record):
        self.records += 1
        if record["type"] != "drm.license.issued":
            return
        said = self.said
        user, stands, device, _ = person(record, said)
        request = record.get("request_type", "new")
        environment = record.get("environment", "production")
        success = record["outcome"] == "success"
        name = (
            environment, record["outcome"], record.get("drm_type", "other"), request,
            record.get("error_class") or ERRORS.get(record.get("error_code")),
        )
        part = self.parts.setdefault(name, [0, set()])
        part[0] += 1
        real = record.get("user_id", "")
        nobody = real in SENTINELS or real in said["sentinel_user_ids"]
        values = [each["value"] for each in record.get("device", {}).get("ids", [])]
        part[1].add(("user", real) if not nobody else ("device", (values or [self.records])[0]))
        if request not in ("new", "renewal", "offline") or environment != "production":
            return
        if request == "renewal" and not said["count_renewals"]:
            return
        if not success and not said["include_failures"]:
            return
        if user is not None:
            self.licenses.setdefault(user, 0)
            self.devices_of.setdefault(user, set())
        elif stands is not None:
            self.stand_ins.add(stands)
        if not success:
            return
        self.unattributed += user is None
        if user is not None:
            self.licenses[user] += 1
        for value in values:
            self.ids.setdefault("junk" if value in JUNK else "good", set()).add(value)
        best = "good" if device else "junk" if values else "none"
        self.by_quality[best] = self.by_quality.get(best, 0) + 1
        if device is not None:
            users = self.users_of.setdefault(device, set())
            self.device_licenses[device] = self.device_licenses.get(device, 0) + 1
            os = record["device"].get("os", "")
            place = {"android": 0, "ios": 1, "windows": 2}.get(os, 3)
            self.platforms[device] = min(place, self.platforms.get(device, 3))
            if user is not None:
                users.add(user)
                self.devices_of[user].add(device)
        of = record.get("license", {})
        if "session_id" in of and request != "renewal":
            self.sessions[of["session_id"]] = self.sessions.get(of["session_id"], 0) + 1
        if "request_id" in of:
            self.requests.add(of["request_id"])
            self.request_licenses += 1

    def issued(self, member):
        return member[0] == "production" and member[1] == "success" and \
            member[3] in ("new", "renewal", "offline")

    def figures(self, tally, limits):
        users, per_device = self.licenses, self.users_of.values()
        issued = sum(part[0] for name, part in self.parts.items() if self.issued(name))
        return {
            "records_counted": tally.own.records + tally.late.records,
            "records_seen": self.records,
            "licenses_issued": issued,
            "licenses_failed": sum(
                part[0] for name, part in self.parts.items()
                if self.issued((name[0], "success" if name[1] == "fail" else "", *name[2:]))
            ),
            "unattributed_licenses": self.unattributed,
            "duplicates": tally.duplicates,
            "users": len(users),
            "devices": len(self.users_of),
            "device_users": len(self.stand_ins),
            "session_licenses": sum(self.sessions.values()),
            "sessions": len(self.sessions),
            "request_licenses": self.request_licenses,
            "license_requests": len(self.requests),
            "repeated_license_requests": self.request_licenses - len(self.requests),
            "renewals": sum(
                part[0] for name, part in self.parts.items()
                if self.issued(name) and name[3] == "renewal"
            ),
            "licenses_per_user": ranges(users.values()),
            "devices_per_user": ranges(len(own) for own in self.devices_of.values()),
            "users_per_device": ranges(len(own) for own in per_device),
            "licenses_per_session": ranges(self.sessions.values()),
            "licenses_by_device_quality": self.by_quality,
            "device_ids": {
                name: len(self.ids.get(name, ()))
                for name in ("good", "shared", "randomised", "junk", "checksum_failed")
            },
            "quality": self.quality(tally, limits),
            "pallycon": {
                "license_count": issued,
                "device_count": len(self.users_of),
                "user_count": len(users),
                "android_count": list(self.platforms.values()).count(0),
                "ios_count": list(self.platforms.values()).count(1),
                "pc_count": list(self.platforms.values()).count(2),
            },
        }


    def quality(self, tally, limits):
        """How far the ids can be trusted: shares of what was counted, and who is suspect of what
        is left to be read."""
        users, own = self.licenses, tally.own
        issued = sum(part[0] for name, part in self.parts.items() if self.issued(name))
        counted = sum(self.by_quality.values())
        many = {user for user in users if len(self.devices_of[user]) > limits["devices_per_user"]}
        greedy = {
            user for user, n in users.items()
            if counted >= limits["license_share_least"]
            and n * 1_000_000 > counted * limits["license_share_ppm"]
        }
        shared = [d for d, own in self.users_of.items() if len(own) > limits["users_per_device"]]
        suspect = sum(users[user] for user in many | greedy)
        figures = own.counts()
        sentinels = own.n("sentinel_user_id", "sentinel_user_id by device")
        of_all = own.records + tally.late.records
        suspects = {
            "suspect_shared_users": len(many | greedy),
            "suspect_users_by_devices": len(many),
            "suspect_users_by_share": len(greedy),
            "suspect_user_licenses": suspect,
            "suspect_user_share_ppm": suspect * 1_000_000 // issued if issued else 0,
            "suspect_shared_devices": len(shared),
            "suspect_device_licenses": sum(self.device_licenses[device] for device in shared),
        }
        if self.records * 100 < of_all * READ_LEAST_PERCENT:
            suspects = dict.fromkeys(suspects)
        return {
            "records_counted": of_all,
            "records_seen": self.records,
            "sentinel_licenses": sentinels,
            "sentinel_share_ppm": part_of(sentinels, figures["licenses_issued"]),
            "unattributed_licenses": figures["unattributed_licenses"],
            "unattributed_share_ppm": part_of(
                figures["unattributed_licenses"], figures["licenses_issued"]
            ),
            **suspects,
        }


def part_of(part, whole):
    return part * 1_000_000 // whole if whole else 0


def ranges(numbers):
    found = {}
    for number in numbers:
        begin, end = 0, 0
        while number > end:
            begin = begin * 2 or 1
            end = begin * 2 - 1
        begin, end = (1024, None) if begin >= 1024 else (begin, end)
        found[begin, end] = found.get((begin, end), 0) + 1
    return found
