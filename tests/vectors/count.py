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
FIRST = "2026-08"
# What the sent error codes are in the table of reference/domain.md; the others are unknown.
ERRORS = {
    "7011": "token", "2001": "server", "8716": "customer", "1002": "quota", "7306": "fairplay",
}


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
        month, begin = FIRST, None
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

    def counting(self, month):
        """The counting options of a month: they change with one, and never inside."""
        return [options for first, options in self.said["counting"] if first <= month][-1]

    def options(self, month):
        """What is done to the user ids of a month before they are compared."""
        return [options for first, options in self.said["options"] if first <= month][-1]

    def fold(self, record, month):
        """The record with its user id in the form of the month, nobody's as it is byte for byte."""
        user, options = record.get("user_id", ""), self.options(month)
        if not options or not user:
            return record
        form, sentinels = user_form(user, options), self.counting(month)["sentinel_user_ids"]
        nobody = {user_form(text, options) for text in SENTINELS.union(sentinels)}
        if form and form in nobody:
            form = "LICENSETOKEN"
        return {**record, "user_id": form}

    def month(self, at):
        return next(name for name, begin, end in self.months if begin <= at < end)

    def span(self, month):
        return next((begin, end) for name, begin, end in self.months if name == month)

    def due(self, month):
        hours = self.counting(month)["closing_hours"] * HOUR
        return max(self.span(month)[1] + hours, self.said["created_at"] + 72 * HOUR)


REASONS = (
    "failed no_user_id sentinel_user_id anonymous renewal no_license trial test failed_elsewhere "
    "session_failed session_trial session_test"
).split()


class Part:
    """Records of a month that came before its close, or those that came after it.

    Every record is written down once with what became of it, so that all of them add up.
    """

    def __init__(self):
        self.became = {}
        self.users, self.devices, self.stand_ins = set(), set(), set()
        self.sessions, self.viewers = set(), set()
        self.by_drm = {}

    def note(self, what):
        self.became[what] = self.became.get(what, 0) + 1

    def n(self, *names):
        return sum(self.became.get(name, 0) for name in names)

    @property
    def records(self):
        return sum(self.became.values())

    def excluded(self):
        return {reason: self.n(reason) for reason in REASONS}

    def counts(self, before=None):
        """The figures; of what is distinct what was not there before."""
        new = {
            name: len(getattr(self, name) - (getattr(before, name) if before else set()))
            for name in ("users", "devices", "stand_ins", "sessions", "viewers")
        }
        nobodys = ["no_user_id", "sentinel_user_id", "anonymous"]
        nobodys += [f"{reason} by device" for reason in nobodys]
        return {
            "mau": new["users"],
            "licenses_issued": self.n("user", "renewal", *nobodys),
            "licenses_failed": self.n("failed", "failure counted"),
            "failures_counted": self.n("failure counted"),
            "devices": new["devices"],
            "unattributed_licenses": self.n(*nobodys),
            "licenses_by_device": self.n(*nobodys[3:]),
            "device_users": new["stand_ins"],
            "watermark_sessions": new["sessions"],
            "watermark_users": new["viewers"],
            "session_records": self.n("session"),
            "other_records": self.n("other"),
            "records": self.records,
        }


class Tally:
    def __init__(self):
        self.own, self.late, self.duplicates = Part(), Part(), 0

    def corrections(self):
        """What came late: only what there is any of, but for records and users."""
        counts = self.late.counts(self.own)
        said = {"records": counts.pop("records"), "users": counts.pop("mau")}
        said.update({name: count for name, count in counts.items() if count})
        excluded = {reason: count for reason, count in self.late.excluded().items() if count}
        if excluded:
            said["excluded"] = excluded
        return said

    def figures(self):
        return {
            **self.own.counts(),
            "by_drm_type": {
                drm: {"mau": len(users), "licenses_issued": licenses}
                for drm, (users, licenses) in self.own.by_drm.items()
                if users or licenses
            },
            "duplicates": self.duplicates,
            "corrections": self.corrections(),
            "other_environments": {name: self.own.n(name) for name in ("trial", "test")},
            "excluded": self.own.excluded(),
        }


def person(record, said):
    """The user, the device that stands for one, the device, and why there is no user."""
    given = record.get("user_id", "")
    ids = [each["value"] for each in record.get("device", {}).get("ids", [])]
    good = [value for value in ids if value not in JUNK]
    device = good[0] if good else None
    anonymous = said["anonymous_by_device"] and record.get("user_id_kind") == "anonymous"
    if given == "":
        reason = "no_user_id"
    elif given in SENTINELS or given in said["sentinel_user_ids"]:
        reason = "sentinel_user_id"
    else:
        reason = "anonymous" if anonymous else None
    falls_back = reason is not None and said["device_as_user"]
    stands = device if anonymous or falls_back else None
    return (given if reason is None else None), stands, device, reason


def license(part, record, said):
    """What becomes of a licence record (domain.md 8.2): each is of one kind."""
    user, stands, device, reason = person(record, said)
    request = record.get("request_type", "new")
    success = record["outcome"] == "success"
    environment = record.get("environment", "production")
    if request in ("release", "server_cert", "preflight"):
        part.note("no_license")
        return
    if environment != "production":
        part.note(environment if success else "failed_elsewhere")
        return
    by_drm = part.by_drm.setdefault(record.get("drm_type", "other"), [set(), 0])
    by_drm[1] += success
    excluded = request == "renewal" and not said["count_renewals"]
    if not success and (excluded or not said["include_failures"]):
        part.note("failed")
        return
    if excluded:
        part.note("renewal")
        return
    if user is not None:
        part.users.add(user)
        by_drm[0].add(user)
    elif stands is not None:
        part.stand_ins.add(stands)
    if not success:
        part.note("failed" if user is None and stands is None else "failure counted")
        return
    part.note("user" if reason is None else reason if stands is None else f"{reason} by device")
    if device is not None:
        part.devices.add(device)


def session(part, record, said):
    """What becomes of a watermark session: only those of the production that did not fail count."""
    environment = record.get("environment", "production")
    if environment != "production":
        part.note(f"session_{environment}")
    elif record.get("outcome") == "fail":
        part.note("session_failed")
    else:
        part.note("session")
        part.sessions.add(record["wm_session_id"])
        user = record.get("user_id", "")
        if user not in SENTINELS and user not in said["sentinel_user_ids"]:
            part.viewers.add(user)


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
        self.users, self.late, self.by_drm = set(), set(), {}

    def take(self, user, drm, come):
        if come < self.due:
            self.users.add(user)
            self.by_drm.setdefault(drm, set()).add(user)
        elif user not in self.users:
            self.late.add(user)


def grouped(given, sites, tallies, groups):
    """Compares what the server says of billing groups; answers figures and wrong ones."""
    checked, wrong = 0, []
    for said in given["groups"]:
        name, month = said["group"], said["month"]
        group = groups.get((name, month)) or Group(sites, name, month)
        tallied = [tallies.get((of, month), Tally()) for of in group.members]
        own = [one.figures() for one in tallied]
        over = all(sites[of].span(month)[1] <= given["now"] for of in group.members)
        wanted = {
            "mau": len(group.users),
            "licenses_issued": sum(one["licenses_issued"] for one in own),
            "licenses_failed": sum(one["licenses_failed"] for one in own),
            "corrections": late_of(group, tallied),
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


def late_of(group, own):
    """What came late for a group: its own users, and the sums of its members."""
    corrections = [one.corrections() for one in own]
    said = {"records": sum(one["records"] for one in corrections), "users": len(group.late)}
    names = [
        "licenses_issued", "licenses_failed", "failures_counted", "unattributed_licenses",
        "licenses_by_device", "device_users", "watermark_sessions", "session_records",
        "other_records",
    ]
    sums = {name: sum(one.get(name, 0) for one in corrections) for name in names}
    said.update({name: count for name, count in sums.items() if count})
    parts = [one.get("excluded", {}) for one in corrections]
    sums = {reason: sum(one.get(reason, 0) for one in parts) for reason in REASONS}
    excluded = {reason: count for reason, count in sums.items() if count}
    if excluded:
        said["excluded"] = excluded
    return said


def statement(own, group):
    """What a statement of these months says; of a group with the group's users."""
    counts = [{**one.own.counts(), "duplicates": one.duplicates} for one in own]
    alone = ("mau", "devices", "watermark_users")
    total = {name: sum(one[name] for one in counts) for name in counts[0] if name not in alone}
    parts = [one.own.excluded() for one in own]
    excluded = {reason: sum(one[reason] for one in parts) for reason in REASONS}
    by_drm = {}
    for one in own:
        for drm, (users, licenses) in one.own.by_drm.items():
            if users or licenses:
                row = by_drm.setdefault(drm, [0, 0])
                row[0] += len(users)
                row[1] += licenses
    if group is None:
        total.update({name: counts[0][name] for name in alone})
        late = own[0].corrections()
    else:
        total["mau"], late = len(group.users), late_of(group, own)
        for drm in list(by_drm) + list(group.by_drm):
            by_drm.setdefault(drm, [0, 0])[0] = len(group.by_drm.get(drm, ()))
    return total, excluded, {"licenses_issued": 0, **late}, by_drm


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
        figures, excluded, late, by_drm = statement(own, group)
        bills = {
            "mau": late["users"], "licenses_issued": late["licenses_issued"],
            "device_users": late.get("device_users", 0),
        }
        # The first version bills the month as it closed.
        bills = bills if said["version"] > 1 else dict.fromkeys(bills, 0)
        recount = said["recount"]
        wanted = {
            "figures": figures,
            "excluded": excluded,
            "by_drm_type": by_drm,
            "billable": {each: figures[each] + more for each, more in bills.items()},
            "recount": figures["mau"],
            "late_recount": late["users"] if said["version"] > 1 and recount else None,
            "group": sites[name].group(month) if group is None else said["billing_group"],
            # The sets of a month end 60 days after its close.
            "evidence": "live" if recount else "destroyed",
        }
        found = {
            "figures": said["figures"],
            "excluded": as_map(said["excluded"]),
            "by_drm_type": {
                each["drm_type"]: [each["mau"], each["licenses_issued"]]
                for each in said["by_drm_type"]
            },
            "billable": said["billable"],
            "recount": (recount or figures)["mau"],
            "late_recount": (recount or {}).get("late_users"),
            "group": said.get("billing_group"),
            "evidence": said["evidence"],
        }
        if said["version"] > 1:
            wanted["late"] = late
            found["late"] = plain(said["corrections"])
            wanted["earlier"] = earlier(said, members, month, sites, tallies, groups)
            found["earlier"] = {
                each["month"]: plain(each["corrections"]) for each in said["earlier_corrections"]
            }
        if group is None:
            begin, end = sites[name].span(month)
            wanted["span"] = [begin, end, sites[name].zone(month)]
            found["span"] = [ms(said["from"]), ms(said["to"]), said["time_zone"]]
            wanted["method"] = method(sites[name], month)
            found["method"] = {
                each: value for each, value in said["method"].items() if each in wanted["method"]
            }
            wanted["closed"] = True
            found["closed"] = ms(said["closed_at"]) >= sites[name].due(month)
            if said["version"] > 1:
                quality = said["quality"]
                wanted["read"] = [own[0].own.records + own[0].late.records] * 2
                found["read"] = [quality["records_counted"], quality["records_seen"]]
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


def as_map(excluded):
    return {each["reason"]: each["records"] for each in excluded}


def plain(corrections):
    """Corrections of a statement in the form of those of the usage."""
    said = dict(corrections)
    if "excluded" in said:
        said["excluded"] = as_map(said["excluded"])
    return said


def method(site, month):
    """The options by which a month is counted."""
    said = site.counting(month)
    names = ("include_failures", "count_renewals", "device_as_user", "anonymous_by_device")
    return {"rule_set": "mau/1", "closing_hours": said["closing_hours"],
            **{name: said[name] for name in names}}


def earlier(said, members, month, sites, tallies, groups):
    """What came late for the months before: a statement of now says all that came until now."""
    wanted = {}
    for before in months_before(month):
        own = [tallies.get((of, before), Tally()) for of in members]
        late = {"licenses_issued": 0, **own[0].corrections()} if said.get("site_id") else None
        if late is None:
            key = said["billing_group"], before
            group = groups.get(key) or Group(sites, *key)
            own = [tallies.get((of, before), Tally()) for of in group.members]
            late = {"licenses_issued": 0, **late_of(group, own)}
        if late["records"] or late["users"]:
            wanted[before] = late
    return wanted


def months_before(month):
    """The seven months before one."""
    found, of = [], month
    for _ in range(7):
        year, number = map(int, of.split("-"))
        of = f"{year - (number == 1)}-{(number + 10) % 12 + 1:02}"
        found.append(of)
    return [of for of in found if of >= FIRST]


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
        duplicates = tallies[name, month].duplicates
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
            tally.duplicates += not late
            continue
        if come - at > AGE:
            continue
        seen.add(event)
        record = site.fold(record, month)
        part, options = (tally.late if late else tally.own), site.counting(month)
        key = record["site_id"], month
        explanations.setdefault(key, Explained(options)).take(record)
        if record["type"] == "drm.license.issued":
            license(part, record, options)
            name, user = site.group(month), active(record, options)
            if name is not None and user is not None:
                if (name, month) not in groups:
                    groups[name, month] = Group(sites, name, month)
                groups[name, month].take(user, record.get("drm_type", "other"), come)
        elif record["type"] == "watermark.session.created":
            session(part, record, options)
        else:
            part.note("other")
    return sites, tallies, explanations, groups


def whole(usage):
    """All records by what became of them, from what the server says."""
    excluded, nobodys = usage["excluded"], usage["unattributed_licenses"]
    of_users = usage["licenses_issued"] - nobodys - excluded["renewal"]
    counted = of_users + usage["licenses_by_device"] + usage["failures_counted"]
    return counted + sum(excluded.values()) + usage["session_records"] + usage["other_records"]


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
        wanted["sum"], said["sum"] = usage["records"], whole(usage)
        for member, value in wanted.items():
            checked += 1
            if said[member] != value:
                wrong += 1
                print(f"{name} {month} {member}: {said[member]}, and not {value}")
    print(f"{checked} figures, {wrong} wrong")
    return 1 if wrong or not checked else 0


if __name__ == "__main__":
    sys.exit(main())
