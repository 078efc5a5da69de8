"""Months of sites and groups, counted by plain sets from the contract's words (domain.md 8.2).

Part of the second count (count.py). Shares no code with the server.
"""

from datetime import datetime
from zoneinfo import ZoneInfo

from check import user_form
from judge import AGE, DAY, HOUR

# Sets live so long after the close of their month.
OBJECTION = 60 * DAY
SENTINELS = {"", "LICENSETOKEN", "guest", "anonymous"}
JUNK = {"9774d56d682e549c"}
FIRST = "2026-08"

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

    def somebody(self, user, month):
        """The form of a user id in a month; None of an id that is nobody's."""
        form = self.fold({"user_id": user}, month)["user_id"]
        nobody = form in SENTINELS or form in self.counting(month)["sentinel_user_ids"]
        return None if nobody else form

    def month(self, at):
        return next(name for name, begin, end in self.months if begin <= at < end)

    def span(self, month):
        return next((begin, end) for name, begin, end in self.months if name == month)

    def is_older(self, month):
        return self.said["created_at"] < self.span(month)[1]

    def due(self, month):
        hours = self.counting(month)["closing_hours"] * HOUR
        return max(self.span(month)[1] + hours, self.said["created_at"] + 72 * HOUR)

    def sets_end(self, month):
        """When the sets of a month are due to be destroyed."""
        return max(self.due(month) + OBJECTION, self.span(month)[1] + AGE)


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
        # A site that was made after the month is not waited for, unless all of them were; and none
        # that was made after the close.
        older = [of for of in self.members if sites[of].is_older(month)] or self.members
        self.due = 0
        for of in sorted(older, key=lambda of: sites[of].said["created_at"]):
            if self.due == 0 or sites[of].said["created_at"] < self.due:
                self.due = max(self.due, sites[of].due(month))
        self.in_time = {of for of in self.members if sites[of].due(month) <= self.due}
        self.users, self.late, self.by_drm = set(), set(), {}

    def take(self, user, drm, come):
        if come < self.due:
            self.users.add(user)
            self.by_drm.setdefault(drm, set()).add(user)
        elif user not in self.users:
            self.late.add(user)


def late_of(group, own):
    """What came late for a group: its own users, and the sums of its members; of one that joined
    after the close all that it has."""
    corrections = [one.corrections() for one in own.values()]
    for of, one in own.items():
        if of not in group.in_time:
            corrections.append({**one.own.counts(), "excluded": one.own.excluded()})
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
