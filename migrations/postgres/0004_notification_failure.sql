-- When a message about the event last failed, and why; null again once one was accepted.
alter table notifications add column failed_at timestamptz;
alter table notifications add column error text;
