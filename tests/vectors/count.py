"""Counts records by plain sets, from the contract's words, and compares every figure of the bill.

The input is one JSON file: the sites with their settings, each record with the time at which it
came, what the server answered, and the time of that answer. Shares no code with the server.
"""

import json
import sys
from datetime import datetime
from zoneinfo import ZoneInfo

HOUR = 3_600_000
DAY = 24 * HOUR
AGE = 35 * DAY
SENTINELS = {"", "LICENSETOKEN", "guest", "anonymous"}
JUNK = {"9774d56d682e549c"}
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
            "corrections": {"records": n["corrections"], "users": len(self.late)},
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
        if counts and user is not None and user not in tally.users:
            tally.late.add(user)
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


def count(given):
    sites = {said["site_id"]: Site(said) for said in given["sites"]}
    tallies, seen = {}, set()
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
        tally.n["corrections"] += late
        if record["type"] == "drm.license.issued":
            license(tally, record, site.said, late)
        elif not late and record.get("environment", "production") == "production":
            tally.sessions.add(record["wm_session_id"])
            user = record.get("user_id", "")
            if user not in SENTINELS and user not in site.said["sentinel_user_ids"]:
                tally.viewers.add(user)
    return sites, tallies


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        given = json.load(file)
    sites, tallies = count(given)
    wrong = checked = 0
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
