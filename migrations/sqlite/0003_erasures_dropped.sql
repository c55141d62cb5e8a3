-- Internal: the last erased line that the change feed has dropped stood at `erasures_dropped_at` and this key.
alter table sync_state add column erasures_dropped_key text;
