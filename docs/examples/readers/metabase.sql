-- Metabase: a question in SQL; a line chart over `day`.
select day, added, returned, "left", active from consent_days order by day;
