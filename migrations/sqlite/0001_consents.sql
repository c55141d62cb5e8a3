-- 'USYN': a SQLite file with another application id is not ours and is left alone.
pragma application_id = 1431525710;

create table consents (
    consent_key     text    not null primary key,
    consent_id      text,
    company_id      text    not null,
    email           text,
    full_name       text,
    source          text,
    refs            text,
    extra           text,
    first_seen_at   text    not null,
    changed_at      text    not null,
    missing_since   text,
    withheld_since  text,
    removed_at      text,
    erased_at       text,
    first_run_id    integer not null,
    changed_run_id  integer not null,
    -- Internal from here on: 16 hex digits keyed hash of the key, 14 of the content; a hash of the natural key;
    -- the number of the judged run that marked the row missing.
    row_hash        text    not null,
    natural_hash    integer,
    missing_judged  integer,
    check (email is not null or erased_at is not null)
) strict;

create index consents_natural on consents (natural_hash);
create index consents_unlisted on consents (consent_key) where missing_since is not null;
create index consents_withheld on consents (consent_key) where withheld_since is not null;

create view active_consents as
select consent_key, consent_id, company_id, email, full_name, source, refs, extra, first_seen_at, changed_at,
       missing_since, withheld_since, removed_at, erased_at, first_run_id, changed_run_id
from consents
where missing_since is null and removed_at is null;

create table consent_changes (
    id          integer not null primary key autoincrement,
    consent_key text    not null,
    run_id      integer not null,
    changed_at  text    not null,
    change      text    not null check (change in ('updated', 'missing', 'removed', 'returned')),
    before      text
) strict;

create index consent_changes_key on consent_changes (consent_key);

-- A first load writes each person once: the `added` of a row is read from the row itself.
create view consent_history as
select id, consent_key, run_id, changed_at, change, before from consent_changes
union all
select 0, consent_key, first_run_id, first_seen_at, 'added', null from consents;

create table sync_runs (
    id                integer not null primary key autoincrement,
    started_at        text    not null,
    finished_at       text,
    outcome           text    not null check (outcome in ('running', 'succeeded', 'failed', 'interrupted')),
    absence           text    check (absence in ('judged', 'withheld', 'blocked')),
    trigger           text    not null check (trigger in ('schedule', 'start', 'signal', 'once')),
    endpoint          text,
    pages             integer not null default 0,
    items             integer not null default 0,
    added             integer not null default 0,
    updated           integer not null default 0,
    unchanged         integer not null default 0,
    returned          integer not null default 0,
    duplicates        integer not null default 0,
    rejected          integer not null default 0,
    suppressed        integer not null default 0,
    foreign_items     integer not null default 0,
    missing           integer not null default 0,
    removed           integer not null default 0,
    removals_withheld integer not null default 0,
    active            integer,
    requests          integer not null default 0,
    retries           integer not null default 0,
    error             text,
    -- Internal: transactions of this run that were committed.
    batches           integer not null default 0
) strict;

create table rejected_items (
    id           integer not null primary key autoincrement,
    first_run_id integer not null,
    last_run_id  integer not null,
    resolved_at  text,
    reason       text    not null,
    item         text    not null,
    -- Internal: whether the item had an id that counts as listed; what makes it the same item again.
    has_id       integer not null,
    fingerprint  blob    not null unique
) strict;

create table suppressions (
    email_hash text not null primary key,
    created_at text not null
) strict;

create table sync_lease (
    name       text    not null primary key,
    holder     text,
    fence      integer not null,
    expires_at text    not null
) strict;

insert into sync_lease (name, fence, expires_at) values ('sync', 0, '1970-01-01T00:00:00.000Z');

-- Internal: when a missing consent's own page was last asked for.
create table consent_checks (
    consent_key text not null primary key,
    checked_at  text not null
) strict;

-- Internal: one row. The salt of every hash in this database, the last value of changed_at that was committed, how many
-- runs have judged absence, the path that last worked, and how often `suppressions` was changed.
create table sync_state (
    id              integer not null primary key check (id = 1),
    salt            blob    not null,
    last_changed_at text    not null,
    judged_runs     integer not null,
    endpoint        text,
    suppression_no  integer not null
) strict;

insert into sync_state (id, salt, last_changed_at, judged_runs, suppression_no)
values (1, randomblob(32), '1970-01-01T00:00:00.000Z', 0, 0);
