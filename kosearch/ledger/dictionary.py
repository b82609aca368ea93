"""Words of the user in the ledger, and the reanalyses that bring their changes to collections."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

import sqlalchemy as sa
from sqlalchemy import orm

from kosearch import reanalyses
from kosearch.errors import InvalidRequestError, LeaseLostError
from kosearch.korean.dictionary import Dictionary, DictionaryChange, UserWord
from kosearch.ledger.database import Database
from kosearch.ledger.rows import lease_of, write_lease
from kosearch.ledger.tables import CollectionRow, DictionaryChangeRow, JobRow, ReanalysisRow, UserWordRow
from kosearch.reanalyses import Reanalysis, ReanalysisState, ReanalysisStatus, ReanalysisSummary

# The analyser is built anew with all of them at each change.
MAX_WORDS = 100_000
# Variables in one statement; SQLite of old takes 999.
_FORMS_AT_ONCE = 900
_OPEN_STATES = [state for state in ReanalysisState if not state.is_ended]


class DictionaryBook:
    """The dictionary's operations; every one is a transaction of its own. Safe to use from several threads."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock

    # Words

    def version(self) -> int:
        """Return the version of the dictionary, which goes up with each change; 0: there was none yet."""
        with self._database.session() as session:
            return _version(session)

    def words(self) -> Dictionary:
        """Return all words, and the version that has exactly these."""
        # One statement: between two, a change might come, and the version be one whose words were not seen.
        newest = sa.select(sa.func.max(DictionaryChangeRow.version).label("version")).subquery()
        every_word = newest.outerjoin(UserWordRow, sa.true())
        query = sa.select(newest.c.version, UserWordRow.form, UserWordRow.tag).select_from(every_word)
        with self._database.session() as session:
            rows = session.execute(query).all()
        words = sorted(UserWord(form, tag) for _, form, tag in rows if form is not None)
        return Dictionary(rows[0].version or 0, tuple(words))

    def put(self, words: Iterable[UserWord], collections: Iterable[str], listed_at: float) -> DictionaryChange:
        """Add words, or give them another tag, and ask for the reanalysis of collections.

        collections: those that there were at `listed_at`, in seconds since the epoch; those that jobs made since are
        added. Words that are there already change nothing. Raises InvalidRequestError when there are too many.
        """
        wanted = {word.form: word for word in words}
        with self._database.session() as session:
            _lock(session)
            known = _tags(session, wanted)
            changed = [wanted[form] for form in sorted(wanted) if known.get(form) != wanted[form].tag]
            forms = [word.form for word in changed]
            _delete(session, forms)
            if changed:
                session.execute(sa.insert(UserWordRow), [{"form": word.form, "tag": word.tag} for word in changed])
            _check_count(session)
            return self._record(session, forms, collections, listed_at)

    def remove(self, forms: Iterable[str], collections: Iterable[str], listed_at: float) -> DictionaryChange:
        """Remove words, and ask for the reanalysis of collections, as `put` does. Unknown ones change nothing."""
        with self._database.session() as session:
            _lock(session)
            gone = sorted(_tags(session, set(forms)))
            _delete(session, gone)
            return self._record(session, gone, collections, listed_at)

    # Reanalyses

    def reanalyses(self, limit: int) -> list[ReanalysisSummary]:
        """Return those that go on, and then those that ended, the newest first."""
        with self._database.session() as session:
            has_ended = ReanalysisRow.ended_at.is_not(None)
            query = sa.select(ReanalysisRow).order_by(has_ended, ReanalysisRow.id.desc()).limit(limit)
            return [_summary(row) for row in session.scalars(query)]

    def due_reanalyses(self, quiet_s: float) -> list[int]:
        """Take those that nobody is at and that were not sent in the last `quiet_s` seconds, in order."""
        with self._database.session() as session:
            now = self._clock()
            query = sa.select(ReanalysisRow).where(ReanalysisRow.state.in_(_OPEN_STATES)).order_by(ReanalysisRow.id)
            due = []
            for row in session.scalars(query.with_for_update(skip_locked=True)):
                if lease_of(row).is_due(now, quiet_s):
                    row.dispatched_at = now
                    due.append(row.id)
            return due

    def claim_reanalysis(self, reanalysis_id: int, owner: str, lease_s: float, max_attempts: int) -> Reanalysis | None:
        """Take its lease. Returns None when it has ended, another worker has it, or `max_attempts` died on it."""
        with self._database.session() as session:
            row = _row(session, reanalysis_id)
            if row is None:
                return None
            claimed = reanalyses.claim_reanalysis(_status(row), owner, self._clock(), lease_s, max_attempts)
            if claimed is None:
                return None
            _write(row, claimed)
            return None if claimed.state.is_ended else _reanalysis(session, row)

    def renew_reanalysis(self, reanalysis_id: int, owner: str, lease_s: float) -> None:
        """Extend its lease. Raises LeaseLostError."""
        with self._database.session() as session:
            row = _required(session, reanalysis_id)
            _write(row, reanalyses.renew_reanalysis(_status(row), owner, self._clock(), lease_s))

    def begin_page(self, reanalysis_id: int, owner: str, last_point: str) -> None:
        """Write down to which point something is about to be written, before it is. Raises LeaseLostError."""
        with self._database.session() as session:
            row = _required(session, reanalysis_id)
            reanalyses.check_owner(_status(row), owner)
            row.doubtful_to = last_point

    def finish_page(self, reanalysis_id: int, owner: str, next_point: str, *, seen: int, changed: int) -> None:
        """Count points that are done; the next to do is `next_point`. Raises LeaseLostError."""
        with self._database.session() as session:
            row = _required(session, reanalysis_id)
            _write(row, reanalyses.advance_reanalysis(_status(row), owner))
            _count(row, seen, changed)
            row.cursor = next_point

    def finish_reanalysis(self, reanalysis_id: int, owner: str, *, seen: int = 0, changed: int = 0) -> None:
        """End it with its last points. Raises LeaseLostError."""
        with self._database.session() as session:
            row = _required(session, reanalysis_id)
            _write(row, reanalyses.finish_reanalysis(_status(row), owner, self._clock()))
            _count(row, seen, changed)

    def release_reanalysis(self, reanalysis_id: int, owner: str, waits_for: str) -> None:
        """Give its lease back because a neighbour does not answer; it is sent again. Raises LeaseLostError."""
        with self._database.session() as session:
            row = _required(session, reanalysis_id)
            _write(row, reanalyses.release_reanalysis(_status(row), owner, waits_for))

    def fail_reanalysis(self, reanalysis_id: int, owner: str, error: str) -> None:
        """End it, since it cannot go on. Raises LeaseLostError."""
        with self._database.session() as session:
            row = _required(session, reanalysis_id)
            reanalyses.check_owner(_status(row), owner)
            _write(row, reanalyses.fail_reanalysis(_status(row), error, self._clock()))

    def _record(
        self, session: orm.Session, forms: Sequence[str], collections: Iterable[str], listed_at: float
    ) -> DictionaryChange:
        """Make a version of a change, and reanalyses of it."""
        version = _version(session)
        if not forms:
            return DictionaryChange(version, 0)
        version += 1
        session.add(DictionaryChangeRow(version=version, forms="\n".join(forms), changed_at=self._clock()))
        for collection in sorted({*collections, *_written_since(session, listed_at)}):
            self._ask(session, collection, version, len(forms))
        return DictionaryChange(version, len(forms))

    def _ask(self, session: orm.Session, collection: str, version: int, words: int) -> None:
        """Ask for the reanalysis of a collection: one that was not begun does for this change, too."""
        of_collection = sa.select(ReanalysisRow).where(
            ReanalysisRow.collection == collection, ReanalysisRow.state == ReanalysisState.PENDING
        )
        for row in session.scalars(of_collection.with_for_update()):
            if reanalyses.can_take_more_words(_status(row), row.cursor):
                row.version = version
                row.words += words
                return
        session.add(
            ReanalysisRow(
                collection=collection,
                first_version=version,
                version=version,
                words=words,
                state=ReanalysisState.PENDING,
                created_at=self._clock(),
            )
        )


def _lock(session: orm.Session) -> None:
    """Let changes be made one after the other: a version must not be seen before those below it."""
    session.execute(sa.select(DictionaryChangeRow.version).where(DictionaryChangeRow.version == 0).with_for_update())


def _version(session: orm.Session) -> int:
    return session.scalar(sa.select(sa.func.max(DictionaryChangeRow.version))) or 0


def _tags(session: orm.Session, forms: Iterable[str]) -> dict[str, str]:
    """Return the tags of those of the forms that there are."""
    found: dict[str, str] = {}
    for some in _in_portions(forms):
        query = sa.select(UserWordRow.form, UserWordRow.tag).where(UserWordRow.form.in_(some))
        for form, tag in session.execute(query):
            found[form] = tag
    return found


def _delete(session: orm.Session, forms: Iterable[str]) -> None:
    for some in _in_portions(forms):
        query = sa.delete(UserWordRow).where(UserWordRow.form.in_(some))
        session.execute(query.execution_options(synchronize_session=False))


def _check_count(session: orm.Session) -> None:
    count = session.scalar(sa.select(sa.func.count()).select_from(UserWordRow)) or 0
    if count > MAX_WORDS:
        raise InvalidRequestError(f"the dictionary would hold {count:,} words; {MAX_WORDS:,} are possible")


def _in_portions(forms: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(forms)
    while some := list(islice(rest, _FORMS_AT_ONCE)):
        yield some


def _written_since(session: orm.Session, listed_at: float) -> list[str]:
    """Return the collections that jobs may have made since then."""
    is_open = sa.or_(JobRow.ended_at.is_(None), JobRow.ended_at >= listed_at)
    query = sa.select(CollectionRow.name).join(JobRow, JobRow.collection_id == CollectionRow.id).where(is_open)
    return list(session.scalars(query.distinct()))


def _row(session: orm.Session, reanalysis_id: int) -> ReanalysisRow | None:
    return session.scalar(sa.select(ReanalysisRow).where(ReanalysisRow.id == reanalysis_id).with_for_update())


def _required(session: orm.Session, reanalysis_id: int) -> ReanalysisRow:
    row = _row(session, reanalysis_id)
    if row is None:
        raise LeaseLostError("the ledger does not know the reanalysis any more")
    return row


def _forms(session: orm.Session, row: ReanalysisRow) -> Iterator[str]:
    of_changes = DictionaryChangeRow.version.between(row.first_version, row.version)
    for forms in session.scalars(sa.select(DictionaryChangeRow.forms).where(of_changes)):
        yield from forms.split("\n")


def _reanalysis(session: orm.Session, row: ReanalysisRow) -> Reanalysis:
    forms = tuple(sorted(set(_forms(session, row))))
    return Reanalysis(row.id, row.collection, row.version, forms, row.cursor, row.doubtful_to)


def _status(row: ReanalysisRow) -> ReanalysisStatus:
    return ReanalysisStatus(ReanalysisState(row.state), lease_of(row), row.error, row.ended_at)


def _write(row: ReanalysisRow, status: ReanalysisStatus) -> None:
    row.state, row.error, row.ended_at = status.state, status.error, status.ended_at
    write_lease(row, status.lease)


def _count(row: ReanalysisRow, seen: int, changed: int) -> None:
    row.points_seen += seen
    row.points_changed += changed


def _summary(row: ReanalysisRow) -> ReanalysisSummary:
    return ReanalysisSummary(
        id=row.id,
        collection=row.collection,
        first_version=row.first_version,
        version=row.version,
        words=row.words,
        state=ReanalysisState(row.state),
        points_seen=row.points_seen,
        points_changed=row.points_changed,
        created_at=row.created_at,
        ended_at=row.ended_at,
        error=row.error,
    )
