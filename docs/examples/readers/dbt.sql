-- dbt: an incremental model over the change feed (PostgreSQL); unique_key lets a later line replace an earlier one.
-- {{ config(materialized='incremental', unique_key='consent_key') }}
select consent_key, previous_key, changed_at, state, email, full_name, source, mailable
from consent_feed
-- {% if is_incremental() %} where changed_at > (select max(changed_at) from {{ this }}) {% endif %}
order by changed_at, consent_key;
