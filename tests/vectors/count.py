"""Counts records by plain sets, from the contract's words, and compares every figure of the bill.

The input is one JSON file: the sites with their settings, and what happened, in its order: each
request with its time and its answer, backfills, erasures, and what the server said when it was
asked. Statements are compared with what had happened when they were issued. What is wrong is
printed, one figure a line. Shares no code with the server.
"""

import json
import sys
from hashlib import sha256

from explain import Explained
from judge import AGE, DAY, Arrivals, ms, outside, place, read
from tally import FIRST, REASONS, Group, Site, Tally, active, late_of, license, session

# The digest over no user at all.
NOBODY = sha256(b"").hexdigest()
# The order in which the server has the DRM systems: of two equally small ones the first is taken.
SYSTEMS = ["widevine", "playready", "fairplay", "ncg", "wiseplay", "clearkey", "oma", "other"]
# What of the quality of ids is the sum of a group's members.
SUMS = [
    "records_counted", "records_seen", "sentinel_licenses", "unattributed_licenses",
    "suspect_shared_users", "suspect_users_by_devices", "suspect_users_by_share",
    "suspect_user_licenses", "suspect_shared_devices", "suspect_device_licenses",
]
ALGORITHMS = {"hmac-sha-256", "blake3"}


def differences(label, found, wanted):
    """The figures that are wrong, and how many there are."""
    if isinstance(found, dict) and isinstance(wanted, dict) and (found or wanted):
        names = {**wanted, **found}
        parts = [differences(f"{label} {of}", found.get(of), wanted.get(of)) for of in names]
        return [line for lines, _ in parts for line in lines], sum(count for _, count in parts)
    return ([] if found == wanted else [f"{label}: {found}, not {wanted}"]), 1


class World:
    """What happened so far."""

    def __init__(self, given):
        self.given = given
        self.sites = {said["site_id"]: Site(said) for said in given["sites"]}
        self.tallies, self.groups, self.kept, self.seen = {}, {}, {}, set()
        self.arrivals, self.jobs, self.suppressed = Arrivals(), {}, []
        # When the erasure of somebody of a site was asked for.
        self.erased = [
            (event["site_id"], event["at"]) for event in given["events"] if event["kind"] == "erase"
        ]
        # The digest over the users of a closed month, which stays what it was.
        self.digests = {}
        self.ended = set(given["ended"])
        self.checked, self.wrong = 0, []
        # Of each statement the best that was found: its body, and the quality of its ids.
        self.best = {}

    def compare(self, label, found, wanted):
        lines, count = differences(label, found, wanted)
        self.wrong += lines
        self.checked += count

    def run(self):
        before = last = 0
        for event in self.given["events"]:
            self.settle(before, last, event["at"])
            before, last = last, event["at"]
            getattr(self, event["kind"])(event)
        self.settle(before, last, sys.maxsize)
        for lines, count in self.best.values():
            self.wrong += lines
            self.checked += count

    def tally(self, site, month):
        return self.tallies.get((site, month)) or Tally()

    def group(self, name, month):
        return self.groups.get((name, month)) or Group(self.sites, name, month)

    # ------------------------------------------------------------------ what happened

    def post(self, event):
        """A request with records; the answer is None where nobody got it, and all came."""
        come, name = event["at"], event["credential"]
        credential = self.given["credentials"][name]
        sums = dict.fromkeys(("received", "accepted", "duplicates", "corrected", "not_retained"), 0)
        errors = []
        for index, line in enumerate(event["lines"]):
            sums["received"] += 1
            record, reason = self.look(line, come, credential)
            producer = name if record is None else record.get("producer", name)
            verdict = reason or self.judge(record, producer, come)
            if verdict == "too_old":
                reason = verdict
            if reason is not None:
                errors.append([index, reason])
                self.arrivals.refuse(come, credential, record, reason)
                continue
            self.arrivals.take(come, credential, producer, verdict)
            if verdict == "duplicate":
                sums["duplicates"] += 1
                continue
            late, kept = verdict
            sums["accepted"] += 1
            sums["corrected"] += late
            sums["not_retained"] += not kept
        if event["answer"] is not None:
            said = event["answer"]
            found = {member: said.get(member, 0) for member in sums}
            listed = [[each["index"], each["code"]] for each in said["errors"]]
            label = f"answer at {come}"
            self.compare(label, {**found, "errors": listed}, {**sums, "errors": errors})

    def terminated(self, event):
        self.ended.add(event["site_id"])

    def unreadable(self, event):
        name = event["credential"]
        self.arrivals.row(event["at"], name, name)["unreadable_requests"] += 1

    def look(self, line, come, credential):
        """The record, and why it is refused before it is judged."""
        record, reason = read(line)
        names = credential["producers"]
        names = None if names is None else {*names, credential["name"]}
        return record, reason or place(record, come, names, self.sites, self.ended)

    def judge(self, record, producer, come, ages=True):
        """Counts a record: a duplicate, too old, or whether it came late and is kept."""
        name = record["site_id"]
        site, at = self.sites[name], ms(record["occurred_at"])
        event = (name, producer, record["event_id"], at // DAY)
        month = site.month(at)
        late = come >= site.due(month)
        if event in self.seen:
            self.tallies[name, month].duplicates += not late
            return "duplicate"
        if ages and come - at >= AGE:
            return "too_old"
        self.seen.add(event)
        record = site.fold(record, month)
        kept = not any(self.is_of(name, month, record, who) for who in self.suppressed)
        if kept:
            self.kept.setdefault((name, month), []).append(record)
        tally, options = self.tallies.setdefault((name, month), Tally()), site.counting(month)
        part = tally.late if late else tally.own
        if record["type"] == "drm.license.issued":
            license(part, record, options)
            group, user = site.group(month), active(record, options)
            if group is not None and user is not None:
                if (group, month) not in self.groups:
                    self.groups[group, month] = Group(self.sites, group, month)
                self.groups[group, month].take(user, record.get("drm_type", "other"), come)
        elif record["type"] == "watermark.session.created":
            session(part, record, options)
        else:
            part.note("other")
        return late, kept

    def is_of(self, name, month, record, who):
        """Whether a record, its user id in the form of its month, is of a person."""
        site, user = who
        form = self.sites[name].somebody(user, month)
        return site == name and form is not None and record.get("user_id") == form

    def erase(self, event):
        """A person is gone from the records at once, whatever the server has to wait for."""
        who, gone = (event["site_id"], event["user_id"]), 0
        for (name, month), records in self.kept.items():
            rest = [of for of in records if not self.is_of(name, month, of, who)]
            gone += len(records) - len(rest)
            self.kept[name, month] = rest
        if event["suppress"]:
            self.suppressed.append(who)
        said = event["answer"]
        if said["state"] == "done":
            self.compare(f"erasure at {event['at']}", said["records_erased"], gone)

    # ------------------------------------------------------------------ backfills

    def made(self, event):
        self.jobs[event["id"]] = {**event, "staged": [], "refused": []}

    def loaded(self, event):
        """Puts records aside; a request of which nothing is put aside is counted at once."""
        job, name = self.jobs[event["id"]], event["credential"]
        credential = self.given["credentials"][name]
        staged, refused, errors = [], [], []
        for index, line in enumerate(event["lines"]):
            record, reason = self.look(line, event["at"], credential)
            if reason is None and outside(record, job):
                reason = "not_in_backfill"
            if reason is None:
                staged.append((record, credential))
            else:
                refused.append((credential, record, reason))
                errors.append([index, reason])
        if staged:
            job["staged"] += staged
            job["refused"] += refused
        else:
            for each in refused:
                self.arrivals.refuse(event["at"], *each)
        said = event["answer"]
        self.compare(f"load at {event['at']}", {
            "staged": said.get("staged", 0), "rejected": said["rejected"],
            "errors": [[each["index"], each["code"]] for each in said["errors"]],
        }, {"staged": len(staged), "rejected": len(refused), "errors": errors})

    def closed(self, event):
        """Counts all of a backfill, as of now, however old it is."""
        job, come = self.jobs.pop(event["id"]), event["at"]
        for each in job["refused"]:
            self.arrivals.refuse(come, *each)
        names = ("accepted", "duplicates", "corrected", "not_retained", "too_old")
        sums = dict.fromkeys(names, 0)
        for record, credential in job["staged"]:
            producer = record.get("producer", credential["name"])
            verdict = self.judge(record, producer, come, ages=False)
            self.arrivals.take(come, credential, producer, verdict)
            if verdict == "duplicate":
                sums["duplicates"] += 1
                continue
            late, kept = verdict
            sums["accepted"] += 1
            sums["corrected"] += late
            sums["not_retained"] += not kept
        self.compare(f"backfill at {come}", event["answer"], sums)

    def abandoned(self, event):
        """Nothing of it ever came."""
        self.jobs.pop(event["id"])

    # ------------------------------------------------------------------ what the server said

    def asked(self, event):
        now = event["at"]
        found, wanted = self.arrivals.compare(event["arrivals"], now)
        self.compare("arrivals", found, wanted)
        for said in event["explained"]:
            self.explained(said, event["pallycon"])
        for said in event.get("usage", []):
            if said["site_id"] in self.sites:
                self.usage(said, now, event["destroyed"])
        for said in event.get("groups", []):
            self.group_usage(said, now, event["destroyed"])

    def explain(self, name, month):
        one = Explained(self.sites[name].counting(month))
        for record in self.kept.get((name, month), []):
            one.take(record)
        return one

    def explained(self, said, pallycon):
        name, month = said["site_id"], said["month"]
        one, tally = self.explain(name, month), self.tally(name, month)
        wanted = one.figures(tally, said["quality"]["limits"])
        found = {member: said.get(member) for member in wanted}
        for member in ("licenses_per_user", "devices_per_user", "users_per_device",
                       "licenses_per_session"):
            found[member] = {(r["from"], r["to"]): r["count"] for r in said[member]["ranges"]}
            assert said[member]["suppressed"] == {"parts": 0, "count": 0}
        found["quality"] = figures_of(said["quality"])
        found["pallycon"] = pallycon[f"{name} {month}"]
        wanted["requests"] = {part: records for part, (records, _) in one.parts.items()}
        found["requests"] = {
            (r["environment"], r["result"], r["drm_type"], r["request_type"], r["error_class"]):
                r["records"]
            for r in said["requests"]
        }
        self.compare(f"{name} {month} explained", found, wanted)

    def usage(self, said, now, destroyed):
        name, month = said["site_id"], said["month"]
        site = self.sites[name]
        begin, end = site.span(month)
        due = site.due(month)
        wanted = self.tally(name, month).figures()
        wanted["time_zone"] = site.zone(month)
        wanted["state"] = "closed" if due <= now else "closing" if end <= now else "open"
        found = {member: said[member] for member in wanted}
        for member, instant in (("from", begin), ("to", end), ("closes_at", due)):
            wanted[member], found[member] = instant, ms(said[member])
        wanted["sum"], found["sum"] = said["records"], whole(said)
        if destroyed and said["records"] + said["corrections"]["records"]:
            wanted["evidence"] = self.evidence([name], month, now)
            found["evidence"] = said["evidence"]
        self.compare(f"{name} {month}", found, wanted)

    def evidence(self, members, month, now):
        """What became of the sets of a month, by the time alone: those of a group go with the
        last of its members'."""
        if now < max(self.sites[of].sets_end(month) for of in members):
            return "live"
        is_held = any([of, month] in self.given["held"] for of in members)
        return "held" if is_held else "destroyed"

    def group_usage(self, said, now, destroyed):
        """Compares what the server says of a billing group."""
        name, month = said["group"], said["month"]
        group = self.group(name, month)
        tallied = {of: self.tally(of, month) for of in group.members}
        own = {of: one.figures() for of, one in tallied.items()}
        over = all(self.sites[of].span(month)[1] <= now for of in group.members)
        sums = ("licenses_issued", "licenses_failed", "unattributed_licenses")
        _, _, _, by_drm = statement(tallied, group)
        wanted = {
            "mau": len(group.users),
            **{member: sum(own[of][member] for of in group.in_time) for member in sums},
            "by_drm_type": {
                drm: {"mau": users, "licenses_issued": issued}
                for drm, (users, issued) in by_drm.items()
            },
            "corrections": late_of(group, tallied),
            "state": "closed" if group.due <= now else "closing" if over else "open",
            "members": {
                of: {member: one[member] for member in ("mau", "device_users", "corrections", *sums)}
                for of, one in own.items()
            },
        }
        found = {member: said[member] for member in wanted}
        found["members"] = {
            of["site_id"]: {member: of[member] for member in wanted["members"].get(of["site_id"], of)}
            for of in said["members"]
        }
        # Who joined since the close moves nothing.
        wanted["closes_at"], found["closes_at"] = group.due, ms(said["closes_at"])
        if destroyed and any(one["records"] for one in own.values()):
            wanted["evidence"] = self.evidence(group.members, month, now)
            found["evidence"] = said["evidence"]
        self.compare(f"group {name} {month}", found, wanted)

    # ------------------------------------------------------------------ statements

    def stated(self, event):
        """A statement is there once its month has closed, but of a time before the site."""
        name, month, now = event["of"], event["month"], event["at"]
        if name.startswith("+"):
            of = self.group(name[1:], month)
            due, has = of.due, any(self.has_records(each, month) for each in of.members)
        else:
            site = self.sites[name]
            due, has = site.due(month), site.is_older(month) or self.has_records(name, month)
        wanted = 409 if now < due else 200 if has else 404
        self.compare(f"{name} {month} stated at {now}", event["status"], wanted)

    def has_records(self, name, month):
        tally = self.tally(name, month)
        return tally.own.records + tally.late.records > 0

    def settle(self, before, last, now):
        """Compares the statements that were issued when the last thing had happened and this one
        had not. Of those at the same instant nobody knows which was first; and the server reads its
        clock before the figures, so one thing more may have happened in between."""
        for number, said in enumerate(self.given["statements"]):
            if before <= ms(said["issued_at"]) <= now:
                self.keep((number, "body"), self.statement(said))
            for of in said["members"] if said.get("site_id") is None else [said]:
                if of["quality"] is not None:
                    self.settle_quality(number, said, of, (before, now))

    def settle_quality(self, number, said, of, span):
        """Compares how far the ids of a site are trusted, as of the fold that says so."""
        name, quality = of["site_id"], of["quality"]
        as_of, (before, now) = ms(quality["as_of"]), span
        if not before <= as_of <= now:
            return
        one, tally = self.explain(name, said["month"]), self.tally(name, said["month"])
        wanted = one.quality(tally, quality["limits"])
        label, found = f"{name} {said['month']} statement {said['version']} quality", quality
        # Who is to be erased is left out since it was asked for, also of what an older fold says:
        # that is no moment of this count, but for what was counted.
        asked = (at for site, at in self.erased if site == name)
        if any(as_of <= at <= ms(said["issued_at"]) for at in asked):
            found, wanted = ({"records_counted": each["records_counted"]} for each in (found, wanted))
        label = label if said.get("site_id") else f"{said['billing_group']} of {label}"
        self.keep((number, "quality", name), (label, figures_of(found), wanted))

    def keep(self, name, compared):
        tried = differences(*compared)
        best = self.best.get(name, tried)
        self.best[name] = min(best, tried, key=lambda of: len(of[0]))

    def statement(self, said):
        month, name, version = said["month"], said.get("site_id"), said["version"]
        group = self.group(said["billing_group"], month) if name is None else None
        members = [name] if group is None else self.members(group, said)
        own = {of: self.tally(of, month) for of in members}
        figures, excluded, late, by_drm = statement(own, group)
        alone = [] if group is None else [of for of in members if of in group.in_time]
        parts = [statement({of: own[of]}, None) for of in alone]
        parts = [(each[3], each[0]["mau"]) for each in parts]
        bills = {
            "mau": late["users"], "licenses_issued": late["licenses_issued"],
            "device_users": late.get("device_users", 0),
        }
        # The first version bills the month as it closed.
        bills = bills if version > 1 else dict.fromkeys(bills, 0)
        label = f"{name or said['billing_group']} {month}"
        # Where nothing ever came there are no sets: none to count again, and none to destroy.
        has = any(self.has_records(of, month) for of in members)
        evidence = self.evidence(members, month, ms(said["issued_at"])) if has else "live"
        # Who they are is not told; that it is the same set as before is.
        digest = (said["recount"] or {}).get("user_set")
        digest = self.digests.setdefault((name or "+" + said["billing_group"], month), digest)
        due = group.due if name is None else self.sites[name].due(month)
        spans = [self.sites[of].span(month) for of in members]
        again = counted_again(figures, late, version, digest)
        wanted = {
            "figures": figures,
            "excluded": excluded,
            "by_drm_type": told(by_drm, figures["mau"], said["subjects_least"], parts),
            "billable": {each: figures[each] + more for each, more in bills.items()},
            "recount": again if evidence == "live" and has else None,
            "group": self.sites[name].group(month) if group is None else said["billing_group"],
            "late": late,
            "earlier": self.earlier(said, members),
            "span": [min(begin for begin, _ in spans), max(end for _, end in spans)],
            "closed": True,
            "replaces": version - 1,
            "evidence": evidence,
        }
        found = {
            "figures": said["figures"],
            "excluded": as_map(said["excluded"]),
            "by_drm_type": {
                each["drm_type"]: [each["mau"], each["licenses_issued"]]
                for each in said["by_drm_type"]
            },
            "billable": said["billable"],
            "recount": said["recount"],
            "group": said.get("billing_group"),
            "late": plain(said["corrections"]),
            "earlier": {
                each["month"]: plain(each["corrections"]) for each in said["earlier_corrections"]
            },
            "span": [ms(said["from"]), ms(said["to"])],
            "closed": self.is_close(said["closed_at"], due, said),
            "replaces": (said["replaces"] or {"version": 0})["version"],
            "evidence": said["evidence"],
        }
        if group is None:
            wanted["method"], found["method"] = self.method(name, month), said["method"]
            wanted["zone"], found["zone"] = self.sites[name].zone(month), said["time_zone"]
            wanted["has quality"], found["has quality"] = True, said["quality"] is not None
        else:
            wanted["quality"], found["quality"] = sums_of(said)
            wanted["members"] = {of: self.member(of, month) for of in members}
            found["members"] = {
                of["site_id"]: self.said_member(of, month, said) for of in said["members"]
            }
        return f"{label} statement {version}", found, wanted

    def members(self, group, said):
        """The members of a group's month that there were when it was stated. Of one that was made
        at that instant nobody knows which was first."""
        at, there = ms(said["issued_at"]), {of["site_id"] for of in said["members"]}
        made = {of: self.sites[of].said["created_at"] for of in group.members}
        return [of for of in made if made[of] < at or made[of] == at and of in there]

    def is_close(self, closed_at, due, said):
        """Whether a month closed when it was due or when the server next looked, and before it was
        stated: a record that came after it was due is late already. That of a member who was made
        later may be open still."""
        if closed_at is None:
            return due > ms(said["issued_at"])
        return due <= ms(closed_at) <= ms(said["issued_at"])

    def member(self, name, month):
        figures, _, late, _ = statement({name: self.tally(name, month)}, None)
        begin, end = self.sites[name].span(month)
        return {
            "figures": figures, "late": late, "span": [begin, end],
            "zone": self.sites[name].zone(month), "method": self.method(name, month),
            "closed": True,
        }

    def said_member(self, of, month, said):
        due = self.sites[of["site_id"]].due(month)
        return {
            "figures": of["figures"], "late": plain(of["corrections"]),
            "span": [ms(of["from"]), ms(of["to"])], "zone": of["time_zone"],
            "method": of["method"], "closed": self.is_close(of["closed_at"], due, said),
        }

    def method(self, name, month):
        """The options by which a month is counted."""
        site = self.sites[name]
        said, options = site.counting(month), site.options(month)
        assert site.said["pseudonym_algorithm"] in ALGORITHMS
        names = ("include_failures", "count_renewals", "device_as_user", "anonymous_by_device")
        return {
            "rule_set": "mau/1", "canonicalizer": 1,
            "pseudonym_algorithm": site.said["pseudonym_algorithm"],
            **{f"user_id_{option}": option in options for option in ("trim", "nfc", "lower")},
            "closing_hours": said["closing_hours"], **{each: said[each] for each in names},
        }

    def earlier(self, said, members):
        """What came late for the months before, until the statement was issued."""
        wanted = {}
        for before in months_before(said["month"]):
            if said.get("site_id"):
                late = self.tally(members[0], before).corrections()
            else:
                group = self.group(said["billing_group"], before)
                late = late_of(group, {of: self.tally(of, before) for of in group.members})
            if late["records"] or late["users"]:
                wanted[before] = {"licenses_issued": 0, **late}
        return wanted


def statement(own, group):
    """What a statement of these months says; of a group with the group's users."""
    late = late_of(group, own) if group else own[next(iter(own))].corrections()
    own = [one for of, one in own.items() if group is None or of in group.in_time]
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
    else:
        total["mau"] = len(group.users)
        for drm in list(by_drm) + list(group.by_drm):
            by_drm.setdefault(drm, [0, 0])[0] = len(group.by_drm.get(drm, ()))
    return total, excluded, {"licenses_issued": 0, **late}, by_drm


def left_out(by_drm, least):
    """The systems whose licences are not told: those of too few users, and where their sum is about
    too few with them the smallest of the others."""
    few = {drm for drm, (users, _) in by_drm.items() if users < least}
    rest = [(users, SYSTEMS.index(drm), drm) for drm, (users, _) in by_drm.items() if drm not in few]
    if few and rest and all(by_drm[drm][0] < least for drm in few):
        few.add(min(rest)[2])
    return few


def told(by_drm, mau, least, members=()):
    """What a statement tells by DRM system; of a group nothing that a member does not tell."""
    whole, parts = silent(by_drm, mau, least), [silent(*each, least) for each in members]
    no_users, no_licenses = (set().union(*each) for each in zip(whole, *parts))
    return {
        drm: [None if drm in no_users else users, None if drm in no_licenses else licenses]
        for drm, (users, licenses) in by_drm.items()
    }


def silent(by_drm, mau, least):
    """The systems whose users are not told, and those whose licences are not. Of users also those
    of whom few are without the system, and all where few have more than one."""
    out = left_out(by_drm, least)
    more = sum(users for users, _ in by_drm.values()) - mau
    few = {drm for drm, (users, _) in by_drm.items() if 0 < mau - users < least}
    return out | (set(by_drm) if not out and 0 < more < least else few), out


def counted_again(figures, late, version, digest):
    """What a second count of the live sets says: of a group its users only, and of what came late
    only where it is billed."""
    alone = "devices" in figures
    names = ("mau", "devices", "watermark_users", "device_users") if alone else ("mau",)
    said = {name: figures[name] for name in names}
    if version > 1:
        said["late_users"] = late["users"]
        if alone:
            said["late_device_users"] = late.get("device_users", 0)
    return {**said, "user_set": NOBODY if figures["mau"] == 0 else digest}


def as_map(excluded):
    return {each["reason"]: each["records"] for each in excluded}


def plain(corrections):
    """Corrections of a statement in the form of those of the usage."""
    said = dict(corrections)
    if "excluded" in said:
        said["excluded"] = as_map(said["excluded"])
    return said


def months_before(month):
    """The seven months before one."""
    found, of = [], month
    for _ in range(7):
        year, number = map(int, of.split("-"))
        of = f"{year - (number == 1)}-{(number + 10) % 12 + 1:02}"
        found.append(of)
    return [of for of in found if of >= FIRST]


def sums_of(said):
    """The quality of a group's ids from that of its members, and as it is said."""
    members = [of["quality"] for of in said["members"]]
    quality = said.get("quality")
    if not members or None in members:
        return None, quality
    sums = {
        name: None if any(of[name] is None for of in members) else sum(of[name] for of in members)
        for name in SUMS
    }
    sums["as_of"] = min(of["as_of"] for of in members)
    return sums, quality and {name: quality[name] for name in sums}


def figures_of(quality):
    """The figures of the quality of ids: neither when nor from where on."""
    return {name: count for name, count in quality.items() if name not in ("as_of", "limits")}


def whole(usage):
    """All records by what became of them, from what the server says."""
    excluded, nobodys = usage["excluded"], usage["unattributed_licenses"]
    of_users = usage["licenses_issued"] - nobodys - excluded["renewal"]
    counted = of_users + usage["licenses_by_device"] + usage["failures_counted"]
    return counted + sum(excluded.values()) + usage["session_records"] + usage["other_records"]


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        world = World(json.load(file))
    world.run()
    print("\n".join(world.wrong))
    print(f"{world.checked} figures, {len(world.wrong)} wrong")
    return 1 if world.wrong or not world.checked else 0


if __name__ == "__main__":
    sys.exit(main())
