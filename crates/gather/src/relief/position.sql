SELECT CASE WHEN pg_is_in_recovery() THEN
  json_build_object('part', 'position', 'recovery', true, 'received', pg_last_wal_receive_lsn(), 'replayed', pg_last_wal_replay_lsn())
ELSE
  json_build_object('part', 'position', 'recovery', false, 'written', pg_current_wal_lsn(), 'file', pg_walfile_name(pg_current_wal_lsn()))
END
