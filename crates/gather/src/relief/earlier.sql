WITH slots AS MATERIALIZED (
  SELECT coalesce(json_agg(json_build_object('name', slot_name, 'restart', restart_lsn)), '[]') AS list FROM pg_replication_slots)
SELECT json_build_object('part', 'earlier', 'slots', list, 'end',
  CASE WHEN pg_is_in_recovery() THEN greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) ELSE pg_current_wal_insert_lsn() END)
FROM slots
