-- Internal: 16 hex digits keyed hash of the item that the row was last stored from, byte for byte, so that it need not be
-- read again; null where that is not known, and in every row whose item alone does not say what becomes of it.
alter table consents add column item_hash text collate "C" check (item_hash is null or (consent_id is not null
    and missing_since is null and withheld_since is null and removed_at is null and erased_at is null));
