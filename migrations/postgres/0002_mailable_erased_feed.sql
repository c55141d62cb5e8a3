-- Contract version 2: normal form of addresses, erased lines, returns that wait, the change feed.
drop view active_consents;
drop view consent_history;

-- `address`: normal form of `email` (filled by the program, which knows Unicode). `previous_key`: the natural key before an
-- id took the row over. Statistics would keep addresses and names in plain text after they are erased: none are made, and
-- a column that is given its own type anew loses those that were.
alter table consents
    add column address text,
    add column previous_key text collate "C",
    add column missing_run_at timestamptz,
    alter column email type text,
    alter column full_name type text,
    alter column refs type jsonb,
    alter column extra type jsonb;
alter table consents
    alter column email set statistics 0,
    alter column full_name set statistics 0,
    alter column refs set statistics 0,
    alter column extra set statistics 0,
    alter column address set statistics 0;

-- Internal: when the run began that marked the row missing on its absence alone (neither its page nor an acceptance).
update consents set missing_run_at = missing_since where missing_since is not null;

-- An address may be longer than a B-tree takes.
create index consents_address on consents using hash (address);
create index consents_changed on consents (changed_at, consent_key);

alter table consent_changes drop constraint consent_changes_change_check;
alter table consent_changes
    add column previous_key text collate "C",
    add constraint consent_changes_change_check
        check (change in ('updated', 'missing', 'removed', 'returned', 'erased')),
    alter column run_id drop not null,
    alter column before type jsonb;
alter table consent_changes alter column before set statistics 0;
alter table rejected_items alter column item type text;
alter table rejected_items alter column item set statistics 0;
create index consent_changes_erased on consent_changes (changed_at, consent_key) where change = 'erased';

alter table sync_runs add column returns_pending bigint not null default 0;
alter table sync_runs add column accepted_removals bigint;
alter table sync_runs add column accepted_by text;

-- Internal: what the page of a consent answered last ('there', 'gone', 'unclear'), and since when it has answered so.
alter table consent_checks add column answer text;
alter table consent_checks add column answered_since timestamptz;

-- Internal: listed consents whose row is removed or erased, until their return is confirmed.
create table pending_returns (
    consent_key     text collate "C" not null primary key,
    listed_since    timestamptz not null,
    listed_runs     bigint not null,
    checked_at      timestamptz,
    last_run_id     bigint not null
);

-- Internal: rows that only a rejected item listed: for how many complete runs in a row it kept the row active, and how many
-- judged runs do not count towards the removal of a missing one.
create table rejected_listings (
    consent_key text collate "C" not null primary key,
    runs        bigint not null,
    skipped     bigint not null,
    last_run_id bigint not null
);

-- Internal: every company whose consents this database has ever held.
create table companies (
    company_id text collate "C" not null primary key
);
insert into companies (company_id) select distinct company_id from consents;

create table suppressed_ids (
    id_hash    text collate "C" not null,
    email_hash text collate "C" not null,
    created_at timestamptz not null,
    primary key (id_hash, email_hash)
);

-- Internal: suppressed addresses that are listed under an id that was not erased: the person may have consented anew.
create table renewed_consents (
    consent_id    text collate "C" not null primary key,
    email_hash    text collate "C" not null,
    first_seen_at timestamptz not null,
    last_run_id   bigint not null
);

-- Internal: one line a transaction that gave out a `changed_at`. The nonce tells it from another one of the same time in a
-- restored copy.
create table feed_log (
    changed_at timestamptz not null primary key,
    nonce      text not null
);
insert into feed_log (changed_at, nonce)
select last_changed_at, substr(replace(gen_random_uuid()::text, '-', ''), 1, 16) from sync_state;

-- Internal: whoever reads the change feed, how far, and which process holds the name.
create table feed_readers (
    name       text not null primary key,
    cursor     text,
    updated_at timestamptz not null,
    holder     text,
    held_until timestamptz
);

-- Internal: what was notified last, so that a restart does not repeat it.
create table notifications (
    event     text    not null primary key,
    since     timestamptz not null,
    sent_at   timestamptz,
    amount    bigint not null default 0,
    failed_at timestamptz,
    error     text
);

alter table sync_state add column accepted_removals bigint;
alter table sync_state add column accepted_by text;
alter table sync_state add column accepted_at timestamptz;
-- When a control look-up last found its page.
alter table sync_state add column pages_usable_at timestamptz;
alter table sync_state add column next_run_at timestamptz;
alter table sync_state add column feed_id text;
alter table sync_state add column feed_file text;
alter table sync_state add column restored_at timestamptz;
alter table sync_state add column erasures_dropped_at timestamptz;
update sync_state set feed_id = replace(gen_random_uuid()::text, '-', '');

create view active_consents as
select consent_key, consent_id, company_id, email, full_name, source, refs, extra, first_seen_at, changed_at,
       missing_since, withheld_since, removed_at, erased_at, first_run_id, changed_run_id
from consents
where missing_since is null and removed_at is null;

create view consent_states as
select consent_key, consent_id, company_id, email, full_name, source, refs, extra, first_seen_at, changed_at,
       missing_since, withheld_since, removed_at, erased_at, first_run_id, changed_run_id, address,
       case when erased_at is not null then 'erased'
            when removed_at is not null then 'removed'
            when missing_since is not null then 'missing'
            when withheld_since is not null then 'withheld'
            else 'active' end as state
from consents;

create view mailable_consents as
select address, email, full_name, source, consents,
       (select started_at from sync_runs where outcome = 'succeeded' and absence = 'judged'
        order by id desc limit 1) as as_of
from (select address, email, full_name, source,
             row_number() over (partition by address order by first_seen_at, consent_key) as place,
             count(*) over (partition by address) as consents,
             count(withheld_since) over (partition by address) as withheld
      from consents
      where missing_since is null and removed_at is null and address is not null) as by_address
where place = 1 and withheld = 0;

-- A first load writes each person once: the `added` of a row is read from the row itself.
create view consent_history as
select id, consent_key, previous_key, run_id, changed_at, change, before from consent_changes
union all
select 0::bigint, consent_key, null::text, first_run_id, first_seen_at, 'added', null::jsonb from consents;

-- Counted backwards from today, so that lines which retention has dropped do not matter.
create view consent_days as
with lines as (
    select to_char(first_seen_at at time zone 'UTC', 'YYYY-MM-DD') as day, 1 as added, 0 as returned, 0 as gone from consents
    union all
    select to_char(changed_at at time zone 'UTC', 'YYYY-MM-DD'), 0, case when change = 'returned' then 1 else 0 end,
           case when change = 'missing' then 1 else 0 end
    from consent_changes where change in ('returned', 'missing')
), days as (
    select day, sum(added) as added, sum(returned) as returned, sum(gone) as gone from lines group by day
)
select day, added, returned, gone as "left",
       ((select count(*) from active_consents)
        - coalesce(sum(added + returned - gone) over (order by day desc
                   rows between unbounded preceding and 1 preceding), 0))::bigint as active
from days;

create view consent_feed as
select c.changed_at, c.consent_key, c.previous_key,
       case when c.erased_at is not null then 'erased'
            when c.missing_since is null and c.removed_at is null then 'active'
            else 'inactive' end as state,
       c.email, c.full_name, c.source,
       (c.withheld_since is not null and c.missing_since is null and c.removed_at is null) as withheld,
       (exists (select 1 from consents a where a.address = c.address and a.missing_since is null
                and a.removed_at is null)
        and not exists (select 1 from consents a where a.address = c.address and a.missing_since is null
                        and a.removed_at is null and a.withheld_since is not null)) as mailable
from consents c
union all
select e.changed_at, e.consent_key, e.previous_key, 'erased', null, null, null, false, false
from consent_changes e
where e.change = 'erased' and e.run_id is null
  and not exists (select 1 from consents c where c.consent_key = e.consent_key)
  and not exists (select 1 from consent_changes later where later.change = 'erased'
                  and later.consent_key = e.consent_key and later.id > e.id);
