-- dbt: models/consents.sql, an incremental copy (PostgreSQL); a later line replaces an earlier one, and what an id took over goes.
-- https://docs.getdbt.com/docs/build/incremental-models
{{ config(materialized='incremental', unique_key='consent_key', post_hook="
  delete from {{ this }} old where exists (select 1 from {{ this }} later
    where later.previous_key = old.consent_key and later.changed_at >= old.changed_at)") }}
select f.consent_key, f.changed_at, f.state, f.email, f.full_name, f.source, f.withheld, f.mailable,
       -- A natural key that is in use again stays.
       case when not exists (select 1 from {{ source('understory', 'consent_feed') }} k
                             where k.consent_key = f.previous_key) then f.previous_key end as previous_key
from {{ source('understory', 'consent_feed') }} f
{% if is_incremental() %}
where f.changed_at > (select coalesce(max(changed_at), '-infinity') from {{ this }})
{% endif %}
