"""Counts records by plain sets, from the contract's words, and compares every figure of the bill.

The input is one JSON file: the sites with their settings, each record with the time at which it
came, what the server answered, and the time of that answer. Shares no code with the server.
"""

import json
import sys
from datetime import datetime
from zoneinfo import ZoneInfo

from check import user_form

HOUR = 3_600_000
DAY = 24 * HOUR
AGE = 35 * DAY
SENTINELS = {"", "LICENSETOKEN", "guest", "anonymous"}
JUNK = {"9774d56d682e549c"}
# What the sent error codes are in the table of reference/domain.md; the others are unknown.
ERRORS = {
    "7011": "token", "2001": "server", "8716": "customer", "1002": "quota", "7306": "fairplay",
}
DRM = ["widevine", "playready", "fairplay", "ncg", "other"]


def ms(text):
    return round(datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000)


def after(month):
    year, number = map(int, month.split("-"))
    return f"{year + number // 12}-{number % 12 + 1:02}"


def midnight(zone, month):
    """The first instant of a month in a zone, milliseconds."""
    year, number = map(int, month.split("-"))
    return round(datetime(year, number, 1, tzinfo=ZoneInfo(zone)).timestamp() * 1000)


class Site:
    def __init__(self, said):
        self.said = said
        self.months = []
        month, begin = "2026-08", None
        while month < "2027-04":
            zone = self.zone(month)
            begin = midnight(zone, month) if begin is None else begin
            end = midnight(zone, after(month))
            self.months.append((month, begin, end))
            month, begin = after(month), end

    def zone(self, month):
        zones = [zone for first, zone in self.said["zones"] if first <= month]
        return zones[-1]

    def group(self, month):
        """The billing group that the users of a month are counted with, or None."""
        return [name for first, name in self.said["groups"] if first <= month][-1]

    def options(self, month):
        """What is done to the user ids of a month before they are compared."""
        return [options for first, options in self.said["options"] if first <= month][-1]

    def fold(self, record, month):
        """The record with its user id in the form of the month, nobody's as it is byte for byte."""
        user, options = record.get("user_id", ""), self.options(month)
        if not options or not user:
            return record
        form = user_form(user, options)
        nobody = {user_form(text, options) for text in SENTINELS.union(self.said["sentinel_user_ids"])}
        if form and form in nobody:
            form = "LICENSETOKEN"
        return {**record, "user_id": form}

    def month(self, at):
        return next(name for name, begin, end in self.months if begin <= at < end)

    def span(self, month):
        return next((begin, end) for name, begin, end in self.months if name == month)

    def due(self, month):
        hours = self.said["closing_hours"] * HOUR
        return max(self.span(month)[1] + hours, self.said["created_at"] + 72 * HOUR)


class Tally:
    def __init__(self):
        self.users, self.late, self.devices, self.device_users = set(), set(), set(), set()
        self.late_devices = set()
        self.records = self.late_issued = 0
        self.sessions, self.viewers = set(), set()
        self.by_drm = {drm: [set(), 0] for drm in DRM}
        self.n = dict.fromkeys(
            "issued failed counted unattributed duplicates corrections trial test no_user "
            "sentinel renewal no_license elsewhere".split(),
            0,
        )

    def figures(self):
        n = self.n
        return {
            "mau": len(self.users),
            "licenses_issued": n["issued"],
            "licenses_failed": n["failed"],
            "devices": len(self.devices),
            "unattributed_licenses": n["unattributed"],
            "device_users": len(self.device_users),
            "failures_counted": n["counted"],
            "by_drm_type": {
                drm: {"mau": len(users), "licenses_issued": licenses}
                for drm, (users, licenses) in self.by_drm.items()
                if users or licenses
            },
            "watermark_sessions": len(self.sessions),
            "watermark_users": len(self.viewers),
            "duplicates": n["duplicates"],
            "corrections": {
                "records": n["corrections"],
                "users": len(self.late),
                **({"device_users": len(self.late_devices)} if self.late_devices else {}),
            },
            "other_environments": {"trial": n["trial"], "test": n["test"]},
            "excluded": {
                "failed": n["failed"] - n["counted"],
                "no_user_id": n["no_user"],
                "sentinel_user_id": n["sentinel"],
                "renewal": n["renewal"],
                "no_license": n["no_license"],
                "trial": n["trial"],
                "test": n["test"],
                "failed_elsewhere": n["elsewhere"],
            },
        }


def person(record, said):
    """The user, the device that stands for one, and whether a sentinel was given."""
    user = record.get("user_id", "")
    nobody = user in SENTINELS or user in said["sentinel_user_ids"]
    ids = [each["value"] for each in record.get("device", {}).get("ids", [])]
    good = [value for value in ids if value not in JUNK]
    device = good[0] if good else None
    anonymous = said["anonymous_by_device"] and record.get("user_id_kind") == "anonymous"
    stands = device if anonymous or (nobody and said["device_as_user"]) else None
    return (None if nobody or anonymous else user), stands, device, nobody and user != ""


def license(tally, record, said, late):
    n = tally.n
    user, stands, device, sentinel = person(record, said)
    request = record.get("request_type", "new")
    success = record["outcome"] == "success"
    environment = record.get("environment", "production")
    if request in ("release", "server_cert", "preflight"):
        if not late:
            n["no_license"] += 1
        return
    if environment != "production":
        if not late:
            n[environment if success else "elsewhere"] += 1
        return
    excluded = request == "renewal" and not said["count_renewals"]
    counts = not excluded and (success or said["include_failures"])
    if late:
        tally.late_issued += success
        if counts and user is not None and user not in tally.users:
            tally.late.add(user)
        if counts and user is None and stands is not None and stands not in tally.device_users:
            tally.late_devices.add(stands)
        return
    by_drm = tally.by_drm[record.get("drm_type", "other")]
    if success:
        n["issued"] += 1
        by_drm[1] += 1
        n["renewal"] += excluded
    else:
        n["failed"] += 1
        n["counted"] += counts and (user is not None or stands is not None)
    if not counts:
        return
    if user is not None:
        tally.users.add(user)
        by_drm[0].add(user)
    elif stands is not None:
        tally.device_users.add(stands)
    if success:
        if user is None:
            n["unattributed"] += 1
            n["sentinel" if sentinel else "no_user"] += 1
        if device is not None:
            tally.devices.add(device)


def active(record, said):
    """The user that a licence record makes active, if it does."""
    request = record.get("request_type", "new")
    counts = request in ("new", "offline") or request == "renewal" and said["count_renewals"]
    success = record["outcome"] == "success" or said["include_failures"]
    production = record.get("environment", "production") == "production"
    return person(record, said)[0] if counts and success and production else None


class Group:
    """The users of several sites in a month."""

    def __init__(self, sites, name, month):
        self.members = sorted(of for of, site in sites.items() if site.group(month) == name)
        self.due = max((sites[of].due(month) for of in self.members), default=0)
        self.users, self.late = set(), set()

    def take(self, user, come):
        if come < self.due:
            self.users.add(user)
        elif user not in self.users:
            self.late.add(user)


def grouped(given, sites, tallies, groups):
    """Compares what the server says of billing groups; answers figures and wrong ones."""
    checked, wrong = 0, []
    for said in given["groups"]:
        name, month = said["group"], said["month"]
        group = groups.get((name, month)) or Group(sites, name, month)
        own = [tallies.get((of, month), Tally()).figures() for of in group.members]
        over = all(sites[of].span(month)[1] <= given["now"] for of in group.members)
        wanted = {
            "mau": len(group.users),
            "licenses_issued": sum(one["licenses_issued"] for one in own),
            "licenses_failed": sum(one["licenses_failed"] for one in own),
            "corrections": {
                "users": len(group.late),
                "records": sum(one["corrections"]["records"] for one in own),
            },
            "members": [[of, one["mau"]] for of, one in zip(group.members, own)],
            "state": "closed" if group.due <= given["now"] else "closing" if over else "open",
        }
        found = {member: said[member] for member in wanted}
        found["members"] = [[one["site_id"], one["mau"]] for one in said["members"]]
        for member, value in wanted.items():
            checked += 1
            if found[member] != value:
                wrong.append(f"group {name} {month} {member}: {found[member]}, not {value}")
    return checked, wrong


def statement(own, group):
    """What a statement of these months says; of a group with the group's users."""
    figures = [one.figures() for one in own]
    total = {
        name: sum(one[name] for one in figures)
        for name in ("licenses_issued", "licenses_failed", "failures_counted", "device_users",
                     "unattributed_licenses", "watermark_sessions", "duplicates")
    }
    total["records"] = sum(one.records for one in own)
    excluded = {
        reason: sum(one["excluded"][reason] for one in figures) for reason in Tally().figures()["excluded"]
    }
    late = {
        name: sum(one["corrections"].get(name, 0) for one in figures)
        for name in ("records", "users", "device_users")
    }
    late["licenses_issued"] = sum(one.late_issued for one in own)
    if group is None:
        total["mau"], total["devices"] = figures[0]["mau"], figures[0]["devices"]
        total["watermark_users"] = figures[0]["watermark_users"]
    else:
        total["mau"], late["users"] = len(group.users), len(group.late)
    return total, excluded, late


def stated(given, sites, tallies, groups):
    """Compares the statements; answers figures and wrong ones."""
    checked, wrong = 0, []
    for said in given["statements"]:
        month, name, group = said["month"], said.get("site_id"), None
        if name is None:
            key = said["billing_group"], month
            group = groups.get(key) or Group(sites, *key)
        members = [name] if group is None else group.members
        own = [tallies.get((of, month), Tally()) for of in members]
        figures, excluded, late = statement(own, group)
        if said["version"] == 1:
            late_then = {"mau": 0, "licenses_issued": 0}
        else:
            late_then = {"mau": late["users"], "licenses_issued": late["licenses_issued"]}
        wanted = {
            "figures": figures,
            "excluded": excluded,
            "billable": {each: figures[each] + more for each, more in late_then.items()},
            "recount": figures["mau"],
            "group": sites[name].group(month) if group is None else said["billing_group"],
        }
        found = {
            "figures": said["figures"],
            "excluded": {each["reason"]: each["records"] for each in said["excluded"]},
            "billable": said["billable"],
            "recount": (said["recount"] or figures)["mau"],
            "group": said.get("billing_group"),
        }
        if said["version"] == 2:
            wanted["late"] = late
            found["late"] = {"device_users": 0, **said["corrections"]}
        if group is not None:
            wanted["members"] = [
                [of, statement([one], None)[0]] for of, one in zip(group.members, own)
            ]
            found["members"] = [[each["site_id"], each["figures"]] for each in said["members"]]
        for member, value in wanted.items():
            checked += 1
            if found[member] != value:
                of = f"{name or said['billing_group']} {month} statement {said['version']}"
                wrong.append(f"{of} {member}: {found[member]}, not {value}")
    return checked, wrong


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

    def figures(self, duplicates, limits):
        users, per_device = self.licenses, self.users_of.values()
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
        return {
            "records_counted": self.records,
            "records_seen": self.records,
            "licenses_issued": issued,
            "licenses_failed": sum(
                part[0] for name, part in self.parts.items()
                if self.issued((name[0], "success" if name[1] == "fail" else "", *name[2:]))
            ),
            "unattributed_licenses": self.unattributed,
            "duplicates": duplicates,
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
            "suspects": {
                "suspect_shared_users": len(many | greedy),
                "suspect_users_by_devices": len(many),
                "suspect_users_by_share": len(greedy),
                "suspect_user_licenses": suspect,
                "suspect_user_share_ppm": suspect * 1_000_000 // issued if issued else 0,
                "suspect_shared_devices": len(shared),
                "suspect_device_licenses": sum(self.device_licenses[device] for device in shared),
            },
            "pallycon": {
                "license_count": issued,
                "device_count": len(self.users_of),
                "user_count": len(users),
                "android_count": list(self.platforms.values()).count(0),
                "ios_count": list(self.platforms.values()).count(1),
                "pc_count": list(self.platforms.values()).count(2),
            },
        }


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


def explained(given, tallies, explanations):
    """Compares what the server explains; answers figures and wrong ones."""
    checked, wrong = 0, []
    for said in given.get("explained", []):
        name, month = said["site_id"], said["month"]
        one = explanations.get((name, month))
        if one is None:
            continue
        duplicates = tallies[name, month].n["duplicates"]
        wanted = one.figures(duplicates, said["quality"]["limits"])
        found = {member: said.get(member) for member in wanted}
        for member in ("licenses_per_user", "devices_per_user", "users_per_device",
                       "licenses_per_session"):
            found[member] = {(r["from"], r["to"]): r["count"] for r in said[member]["ranges"]}
            assert said[member]["suppressed"] == {"parts": 0, "count": 0}
        found["suspects"] = {each: said["quality"][each] for each in wanted["suspects"]}
        found["pallycon"] = given["pallycon"][f"{name} {month}"]
        wanted["requests"] = {part: records for part, (records, _) in one.parts.items()}
        found["requests"] = {
            (r["environment"], r["result"], r["drm_type"], r["request_type"], r["error_class"]):
                r["records"]
            for r in said["requests"]
        }
        for member, value in wanted.items():
            checked += 1
            if found[member] != value:
                wrong.append(f"{name} {month} explained {member}: {found[member]}, not {value}")
    return checked, wrong


def count(given):
    sites = {said["site_id"]: Site(said) for said in given["sites"]}
    tallies, explanations, groups, seen = {}, {}, {}, set()
    for come, record in given["records"]:
        site = sites[record["site_id"]]
        at = ms(record["occurred_at"])
        event = (record["site_id"], record["event_id"], at // DAY)
        month = site.month(at)
        tally = tallies.setdefault((record["site_id"], month), Tally())
        late = come >= site.due(month)
        if event in seen:
            tally.n["duplicates"] += not late
            continue
        if come - at > AGE:
            continue
        seen.add(event)
        record = site.fold(record, month)
        tally.n["corrections"] += late
        tally.records += not late
        explanations.setdefault((record["site_id"], month), Explained(site.said)).take(record)
        if record["type"] == "drm.license.issued":
            license(tally, record, site.said, late)
            name, user = site.group(month), active(record, site.said)
            if name is not None and user is not None:
                if (name, month) not in groups:
                    groups[name, month] = Group(sites, name, month)
                groups[name, month].take(user, come)
        elif not late and record.get("environment", "production") == "production":
            tally.sessions.add(record["wm_session_id"])
            user = record.get("user_id", "")
            if user not in SENTINELS and user not in site.said["sentinel_user_ids"]:
                tally.viewers.add(user)
    return sites, tallies, explanations, groups


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        given = json.load(file)
    sites, tallies, explanations, groups = count(given)
    checked, others = explained(given, tallies, explanations)
    more, of_groups = grouped(given, sites, tallies, groups)
    checked, others = checked + more, others + of_groups
    more, of_statements = stated(given, sites, tallies, groups)
    checked, others = checked + more, others + of_statements
    print("\n".join(others))
    wrong = len(others)
    for usage in given["usage"]:
        name, month = usage["site_id"], usage["month"]
        if name not in sites:
            continue
        site = sites[name]
        begin, end = site.span(month)
        due = site.due(month)
        now = given["now"]
        wanted = tallies.get((name, month), Tally()).figures()
        wanted["time_zone"] = site.zone(month)
        wanted["state"] = "closed" if due <= now else "closing" if end <= now else "open"
        said = dict(usage)
        for member, instant in (("from", begin), ("to", end), ("closes_at", due)):
            wanted[member], said[member] = instant, ms(usage[member])
        for member, value in wanted.items():
            checked += 1
            if said[member] != value:
                wrong += 1
                print(f"{name} {month} {member}: {said[member]}, and not {value}")
    print(f"{checked} figures, {wrong} wrong")
    return 1 if wrong or not checked else 0


if __name__ == "__main__":
    sys.exit(main())
