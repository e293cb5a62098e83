SELECT json_build_object(
  'part', 'moving',
  'checkpoint', (SELECT json_build_object('redo', redo_lsn, 'timeline', timeline_id, 'file', redo_wal_file) FROM pg_control_checkpoint()),
  'slots', (SELECT coalesce(json_agg(json_build_object(
      'name', slot_name, 'type', slot_type, 'active', active, 'temporary', temporary, 'restart', restart_lsn,
      'lost', coalesce(wal_status = 'lost', false))), '[]')
    FROM pg_replication_slots),
  'senders', (SELECT coalesce(json_agg(json_build_object(
      'name', r.application_name, 'state', r.state, 'flushed', r.flush_lsn, 'slot', s.slot_name)), '[]')
    FROM pg_stat_replication r LEFT JOIN pg_replication_slots s ON s.active_pid = r.pid),
  'receiver', (SELECT json_build_object('status', status, 'timeline', received_tli) FROM pg_stat_wal_receiver),
  'recovered', (SELECT nullif(min_recovery_end_timeline, 0) FROM pg_control_recovery()),
  'backups', (SELECT coalesce(json_agg(coalesce(nullif(a.application_name, ''), 'process ' || b.pid)), '[]')
    FROM pg_stat_progress_basebackup b LEFT JOIN pg_stat_activity a USING (pid)),
  'label', (pg_stat_file('backup_label', true)).size IS NOT NULL,
  'summaries', nullif(current_setting('csm.summaries'), '')::json,
  'settings', json_build_object(
    'version', current_setting('server_version_num')::int,
    'walKeepSize', (SELECT setting::bigint * 1048576 FROM pg_settings WHERE name = 'wal_keep_size'),
    'maxWalSize', (SELECT setting::bigint * 1048576 FROM pg_settings WHERE name = 'max_wal_size'),
    'maxSlotWalKeepSize', (SELECT setting::bigint FROM pg_settings WHERE name = 'max_slot_wal_keep_size'),
    'segmentSize', (SELECT setting::bigint FROM pg_settings WHERE name = 'wal_segment_size'),
    'archiveMode', current_setting('archive_mode'),
    'summarizes', coalesce(current_setting('summarize_wal', true), 'off'),
    'bin', (SELECT setting FROM pg_config WHERE name = 'BINDIR'),
    'data', current_setting('data_directory')))
